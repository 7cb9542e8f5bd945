"use strict";
// Trees that can be gone into, by mouse and by keyboard: a treemap and a flame graph.

const ROW = 22; // height of a frame, in pixels
const MOST_ROWS = 40;

class TreeView {
  constructor(picture, box) {
    this.picture = picture;
    this.path = [picture.root];
    this.chosen = -1;
    this.crumbs = box.parentElement.querySelector(".path");
    this.status = box.parentElement.querySelector(".status");
    this.box = box;
    box.addEventListener("keydown", (event) => this.key(event));
  }

  get node() { return this.path[this.path.length - 1]; }

  attach(drawn, draw) {
    this.draw = draw;
    drawn.on("click", (point) => { if (point.data && point.data.trail) this.into(point.data.trail); });
    this.show();
  }

  // `trail` leads from the present node to one below it: which child, which child of that, ...
  along(trail) {
    let node = this.node;
    return trail.map((index) => (node = node.children[index]));
  }

  into(trail) {
    if (!trail.length) { this.up(); return; }
    const nodes = this.along(trail), last = nodes[nodes.length - 1];
    this.path.push(...nodes.filter((node) => node.children.length));
    this.chosen = this.node.children.indexOf(last); // what has no parts is chosen where it is
    this.redraw();
  }

  up() {
    if (this.path.length === 1) return;
    const left = this.path.pop();
    this.chosen = this.node.children.indexOf(left);
    this.redraw();
  }

  key(event) {
    const { children } = this.node;
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (move && children.length) {
      this.chosen = this.chosen < 0 && move < 0 ? children.length - 1 : (this.chosen + move + children.length) % children.length;
      this.redraw();
    } else if (event.key === "Enter" && this.chosen >= 0) {
      this.into([this.chosen]);
    } else if (event.key === "Escape" || event.key === "Backspace") {
      this.up();
    } else {
      return;
    }
    event.preventDefault();
  }

  redraw() { this.draw(); this.show(); }

  show() {
    this.crumbs.replaceChildren(...this.path.map((node, depth) => {
      const step = document.createElement("button");
      step.type = "button";
      step.textContent = `${node.name} ${shown(node.value, this.picture.unit)}`;
      if (depth === this.path.length - 1) step.setAttribute("aria-current", "location");
      step.addEventListener("click", () => {
        this.path.length = depth + 1;
        this.chosen = -1;
        this.redraw();
        this.box.focus();
      });
      return step;
    }));
    const node = this.chosen >= 0 ? this.node.children[this.chosen] : this.node;
    const place = this.chosen >= 0 ? `, ${this.chosen + 1} of ${this.node.children.length}` : "";
    this.status.textContent = `${this.words(node).join(", ")}${place}`;
  }

  words(node) {
    const { root, unit } = this.picture;
    const share = root.value ? `${(100 * node.value / root.value).toFixed(1)} % of ${root.name}` : "";
    return [node.name, shown(node.value, unit), node === root ? "" : share, node.note].filter(Boolean);
  }

  option(width, colors) {
    const tooltip = {
      ...base(colors).tooltip,
      formatter: ({ data }) => (data && data.trail ? tip(...this.words(this.along(data.trail).pop() || this.node)) : ""),
    };
    return this.picture.kind === "treemap" ? this.treemap(colors, tooltip) : this.flame(width, colors, tooltip);
  }

  treemap(colors, tooltip) {
    const parts = this.node.children.length ? this.node.children : [this.node];
    const leaf = (node, trail, color) => ({
      name: node.name, value: node.value, trail,
      itemStyle: { color, borderColor: colors.page, borderWidth: 1, gapWidth: 1 },
      label: { formatter: () => `${node.name}\n${shown(node.value, this.picture.unit)}` },
    });
    const data = parts.map((part, index) => {
      const color = PARTS[index % PARTS.length];
      const made = leaf(part, part === this.node ? [] : [index], color);
      if (index === this.chosen) Object.assign(made.itemStyle, { borderColor: colors.text, borderWidth: 4 });
      if (part !== this.node && part.children.length) {
        Object.assign(made.itemStyle, { borderColor: index === this.chosen ? colors.text : color, borderWidth: 2 });
        made.children = part.children.map((child, place) => leaf(child, [index, place], color));
        made.upperLabel = { show: true, height: 22, color: "#ffffff", formatter: () => `${part.name} ${shown(part.value, this.picture.unit)}` };
      }
      return made;
    });
    return {
      height: 380,
      option: {
        ...base(colors), tooltip,
        series: [{
          type: "treemap", data, roam: false, nodeClick: false, breadcrumb: { show: false }, animation: false,
          itemStyle: { borderColor: colors.page }, left: 0, right: 0, top: 0, bottom: 0, visibleMin: 1, colorMappingBy: "id",
          label: { color: "#ffffff", overflow: "truncate", lineHeight: 16 }, upperLabel: { show: false },
        }],
      },
    };
  }

  flame(width, colors, tooltip) {
    const frames = [], nodes = [];
    const lay = (node, trail, depth, start, scale) => {
      const share = node.value * scale;
      if (share * width < 0.5 || depth >= MOST_ROWS) return;
      frames.push({ value: [depth, start, start + share], trail });
      nodes.push(node);
      let left = start;
      for (const [index, child] of node.children.entries()) {
        lay(child, [...trail, index], depth + 1, left, scale);
        left += child.value * scale;
      }
    };
    lay(this.node, [], 0, 0, this.node.value ? 1 / this.node.value : 0);
    const chosen = this.chosen >= 0 ? this.node.children[this.chosen] : null;
    const rows = 1 + Math.max(0, ...frames.map((frame) => frame.value[0]));
    const colorOf = (name) => PARTS[[...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 7) % (PARTS.length - 1)];
    return {
      height: ROW * rows + 4,
      option: {
        ...base(colors), tooltip,
        grid: { left: 0, right: 0, top: 0, bottom: 0 },
        xAxis: { show: false, min: 0, max: 1 },
        yAxis: { show: false, min: 0, max: rows, inverse: true },
        series: [{
          type: "custom", data: frames,
          renderItem: (params, api) => {
            const node = nodes[params.dataIndex];
            const [left, top] = api.coord([api.value(1), api.value(0)]);
            const [right] = api.coord([api.value(2), 0]);
            const room = right - left - 8;
            const name = `${node.name} ${shown(node.value, this.picture.unit)}`;
            return {
              type: "rect", shape: { x: left, y: top, width: Math.max(right - left - 1, 0.5), height: ROW - 1, r: 2 },
              style: { fill: colorOf(node.name), ...(node === chosen ? { stroke: colors.text, lineWidth: 3 } : {}) },
              textConfig: { position: "insideLeft" },
              textContent: { style: { text: room > 20 ? name : "", fill: "#ffffff", fontSize: 12, fontFamily: FONT, width: room, overflow: "truncate" } },
            };
          },
          encode: { x: [1, 2], y: 0 },
        }],
      },
    };
  }
}
