"use strict";
// Colours come from the style sheet, so that pictures follow it: light, dark and printed.

const FONT = '"DejaVu Sans", Verdana, Arial, sans-serif';

// White text on each of these has a contrast of 4.5 or more, each with a light and a dark page one of
// 3 or more.
const PARTS = ["#2563eb", "#0f766e", "#7c3aed", "#b45309", "#be185d", "#4d7c0f", "#0369a1", "#636c76"];

function theme() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    worse: color("worse"), page: color("page"), text: color("text"), quiet: color("quiet"), line: color("line"), panel: color("panel"),
    of: (role, position) => (
      ["before", "after", "worse", "quiet"].includes(role) ? color(role)
        : position ? [color("after"), color("before"), color("quiet")][(position - 1) % 3] : color("plain")
    ),
  };
}

// Names are other people's: they become text, never markup.
function tip(title, ...lines) {
  const box = document.createElement("div");
  box.className = "tip";
  const head = document.createElement("b");
  head.textContent = title;
  box.append(head);
  for (const line of lines.filter(Boolean)) {
    const row = document.createElement("div");
    row.textContent = line;
    box.append(row);
  }
  return box;
}

function base(colors) {
  return {
    animation: false,
    textStyle: { color: colors.text, fontFamily: FONT },
    tooltip: {
      confine: true, backgroundColor: colors.panel, borderColor: colors.line,
      textStyle: { color: colors.text, fontSize: 13 },
    },
  };
}

const cut = (text, most) => {
  const letters = [...text];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
};
