"use strict";
// Pictures with a row for each name: bars and waterfalls.

function bars(picture, width, colors) {
  const places = placesOf(picture.series);
  const abreast = Math.max(...places) + 1;
  const alone = abreast === 1;
  const above = legend(alone ? [] : picture.series.map((each) => each.name), width, colors);
  const edge = edgeOf(picture);
  const figure = (value) => shown(value, picture.unit) + (Math.abs(value) > edge ? ", cut off" : "");
  const known = picture.series.flatMap((each) => each.values).filter((value) => value !== null);
  const rows = rowed(picture.names, known.map(figure), alone ? 22 : 19 * abreast, above.height, width, colors);
  return {
    height: rows.height,
    option: {
      ...base(colors),
      ...rows.axes,
      legend: above.option,
      xAxis: axis(colors, picture.unit, {
        splitNumber: width < 500 ? 2 : 5,
        min: Math.min(...known) < -edge ? -edge : undefined,
        max: Math.max(...known) > edge ? edge : undefined,
        ...(picture.log ? logarithmic(known) : {}),
      }),
      tooltip: {
        ...base(colors).tooltip,
        formatter: (point) => tip(picture.names[point.dataIndex], alone ? "" : point.seriesName, shown(point.data.size, picture.unit)),
      },
      series: picture.series.map((each, index) => ({
        name: each.name, type: "bar", stack: `place ${places[index]}`, barGap: "5%", barMaxWidth: alone ? 22 : 17,
        itemStyle: { color: colors.of(each.role, index) },
        label: {
          show: true, position: "right", color: colors.text,
          formatter: (point) => (typeof point.data.size === "number" ? figure(point.data.size) : ""),
        },
        // What is 0 has a figure, and no bar.
        data: each.values.map((size) => ({ size, value: size === null ? "-" : picture.log ? Math.max(size, lowest(known)) : size })),
      })),
    },
  };
}

// Where a series' bars are in each row: series of which no row has two share a place.
function placesOf(series) {
  const taken = [];
  return series.map(({ values }) => {
    const rows = values.flatMap((value, row) => (value === null ? [] : [row]));
    const free = taken.findIndex((used) => rows.every((row) => !used.has(row)));
    const place = free < 0 ? taken.push(new Set()) - 1 : free;
    rows.forEach((row) => taken[place].add(row));
    return place;
  });
}

// The least power of ten on a logarithmic axis: below the smallest bar, so that it has a length.
const lowest = (values) => 10 ** Math.floor(Math.log10(Math.min(...values.filter((value) => value > 0))) - 0.2);
const logarithmic = (values) => ({ type: "log", min: lowest(values), max: 10 ** Math.ceil(Math.log10(Math.max(...values))) });

// Beside what is allowed, a bar far beyond it would leave nothing to be seen of the others.
function edgeOf(picture) {
  const allowed = picture.series.filter((each) => each.role === "quiet").flatMap((each) => each.values);
  return allowed.length ? 4 * Math.max(...allowed) : Infinity;
}

// The first and the last bar are levels; between them, each goes from one level to the next.
function waterfall(picture, width, colors) {
  const values = picture.levels.map((level) => level.value);
  const ground = picture.log ? lowest(values) : 0;
  const above = (value) => Math.max(value, ground);
  const steps = picture.levels.map((level, index) => {
    const from = index ? picture.levels[index - 1].value : 0;
    const change = level.value - from;
    return {
      name: level.name, note: level.note, low: above(Math.min(from, level.value)), size: Math.abs(above(from) - above(level.value)),
      color: index === 0 ? colors.of("before") : change > 0 ? colors.worse : colors.of("after"),
      text: index === 0 ? shown(level.value, picture.unit) : shown(change, "change"),
    };
  });
  const last = picture.levels[picture.levels.length - 1];
  steps.push({ name: "after", note: "", low: ground, size: above(last.value) - ground, color: colors.of("plain"), text: shown(last.value, picture.unit) });
  const rows = rowed(steps.map((step) => step.name), steps.map((step) => step.text), 22, 0, width, colors);
  return {
    height: rows.height,
    option: {
      ...base(colors),
      ...rows.axes,
      xAxis: axis(colors, picture.unit, { splitNumber: width < 500 ? 2 : 5, ...(picture.log ? logarithmic(values) : {}) }),
      tooltip: {
        ...base(colors).tooltip,
        formatter: (point) => tip(steps[point.dataIndex].name, steps[point.dataIndex].text, steps[point.dataIndex].note),
      },
      series: [
        {
          type: "bar", stack: "levels", barMaxWidth: 22, silent: true, itemStyle: { color: "transparent" },
          data: steps.map((step) => step.low),
        },
        {
          type: "bar", stack: "levels", barMaxWidth: 22, barMinHeight: 1,
          label: { show: true, position: "right", color: colors.text, formatter: (point) => steps[point.dataIndex].text },
          data: steps.map((step) => ({ value: step.size, itemStyle: { color: step.color } })),
        },
      ],
    },
  };
}

// Names beside the bars where there is room for them, else above; figures to the right of the bars.
// `thick` is the height of a row's bars.
function rowed(names, texts, thick, top, width, colors) {
  const beside = Math.max(...names.map((name) => name.length)) <= Math.max(8, width / 26);
  const room = Math.floor((width - 40) / 7.5);
  const lines = beside ? 1 : Math.max(...names.map((name) => Math.ceil(name.length / room)));
  const rowHeight = thick + (beside ? 12 : 8 + 16 * lines);
  const first = top + (beside ? 8 : 8 + 8 * lines);
  return {
    height: first + rowHeight * names.length + 32,
    axes: {
      grid: { left: beside ? 12 : 28, right: 20 + 7 * Math.max(...texts.map((text) => text.length)), top: first, bottom: 8, containLabel: true },
      yAxis: {
        type: "category", data: names, inverse: true,
        axisLabel: {
          color: colors.text, fontFamily: FONT, interval: 0,
          ...(beside ? {} : { width: width - 40, overflow: "break", lineHeight: 16, inside: true, margin: 2, verticalAlign: "bottom", padding: [0, 0, thick / 2 + 3, 0] }),
        },
        axisLine: { lineStyle: { color: colors.line } }, axisTick: { show: false },
      },
    },
  };
}
