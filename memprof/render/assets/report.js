"use strict";
// Draws every picture of the page, and again when its width or its colours change.

const pictures = JSON.parse(document.getElementById("pictures").textContent);
const makers = { chart, bars, waterfall };
const scrolled = [...document.querySelectorAll(".scroll")];

const views = [...document.querySelectorAll(".picture")].map((box) => {
  const picture = pictures[Number(box.dataset.picture)];
  const tree = picture.type === "tree" ? new TreeView(picture, box) : null;
  const drawn = echarts.init(box, null, { renderer: "svg", width: box.clientWidth, height: 1 });
  const draw = () => {
    const width = box.clientWidth, colors = theme();
    if (!width) return; // there is no room yet; it will be drawn when there is
    const { option, height } = tree ? tree.option(width, colors) : makers[picture.type](picture, width, colors);
    box.style.height = `${height}px`;
    drawn.resize({ width, height });
    drawn.setOption(option, { notMerge: true });
  };
  if (tree) tree.attach(drawn, draw);
  return draw;
});

function drawAll() {
  views.forEach((draw) => draw());
  // What has to be scrolled can be reached by keyboard; what fits is no stop on the way.
  for (const box of scrolled) {
    const wide = box.scrollWidth > box.clientWidth;
    box.tabIndex = wide ? 0 : -1;
    box.classList.toggle("wide", wide);
  }
}

let width = document.body.clientWidth;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  drawAll();
}).observe(document.body);

const dark = matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("theme");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const repaint = () => {
  button.setAttribute("aria-pressed", String(isDark()));
  drawAll();
};
button.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  repaint();
});
dark.addEventListener("change", repaint);
// Paper is light, has a width of its own, and cannot be unfolded.
matchMedia("print").addEventListener("change", drawAll);
const folded = [...document.querySelectorAll("details")];
addEventListener("beforeprint", () => folded.forEach((each) => { each.open = true; }));
for (const each of folded) each.addEventListener("toggle", drawAll);
addEventListener("hashchange", unfold);
function unfold() {
  const found = location.hash && document.getElementById(location.hash.slice(1));
  const details = found && found.querySelector(":scope > details");
  if (details) details.open = true;
}
unfold();
repaint();
