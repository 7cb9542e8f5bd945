"use strict";
// Points and lines. What draws a picture takes one of memprof.reports.page and the width that there
// is, and gives ECharts' option and the height that it needs.

function axis(colors, unit, more) {
  return {
    type: "value",
    axisLabel: { color: colors.quiet, formatter: (value) => shown(value, unit), hideOverlap: true },
    axisLine: { lineStyle: { color: colors.line } },
    splitLine: { lineStyle: { color: colors.line, opacity: 0.6 } },
    nameTextStyle: { color: colors.quiet },
    ...more,
  };
}

function chart(picture, width, colors) {
  const fitting = picture.series.filter((each) => each.fits).flatMap((each) => each.points);
  const low = Math.min(...fitting.map(([, y]) => y));
  const high = Math.max(...fitting.map(([, y]) => y), low + picture.least_span);
  const range = roundRange(low >= 0 && low < high - low ? 0 : low, high);
  const inside = (y) => Math.min(Math.max(y, range.min), range.max);
  const xs = [...picture.series.flatMap((each) => each.points), ...picture.moments.map((each) => [each.x])].map(([x]) => x);
  const series = picture.bands.map((band, index) => bandSeries(band, colors.of(band.role, index)));
  for (const [index, each] of picture.series.entries()) {
    const color = colors.of(each.role, index);
    series.push({
      name: each.name, type: each.joined ? "line" : "scatter", symbol: "circle", symbolSize: each.joined ? 5 : 8,
      showSymbol: each.points.length <= 100, z: 10 - index, clip: false,
      lineStyle: { color, width: 2 },
      itemStyle: each.role === "quiet" ? { color: colors.page, borderColor: color, borderWidth: 2 } : { color },
      data: each.points.map(([x, y]) => ({ value: [x, inside(y)], full: y, ...outside(y, range.min, range.max) })),
    });
  }
  const phases = phaseSeries(picture, Math.max(...xs), colors);
  if (phases) series.push(phases);
  const names = [...picture.bands, ...picture.series].filter((each) => each.name).map((each) => each.name);
  const above = legend(names, width, colors);
  const bottom = phases ? 50 : 24;
  return {
    height: 270 + above.height + bottom,
    option: {
      ...base(colors),
      legend: above.option,
      grid: { left: 12, right: 36, top: above.height + 12, bottom, containLabel: true },
      xAxis: axis(colors, picture.x_unit, {
        name: picture.x_label, nameLocation: "middle", nameGap: phases ? 50 : 26,
        type: picture.x_log ? "log" : "value", min: Math.min(...xs), max: Math.max(...xs), splitLine: { show: false },
        axisLabel: { color: colors.quiet, formatter: (value) => shown(value, picture.x_unit), hideOverlap: true, margin: phases ? 30 : 8 },
      }),
      yAxis: axis(colors, picture.unit, range),
      tooltip: {
        ...base(colors).tooltip,
        formatter: (point) => tip(
          point.data.title || point.seriesName || picture.title,
          point.data.note || `${picture.x_label}: ${shown(point.value[0], picture.x_unit)}`,
          point.data.note ? "" : shown(point.data.full, picture.unit),
        ),
      },
      series,
    },
  };
}

// What lies beyond the axis is at its edge, and points there.
function outside(y, low, high) {
  if (y >= low && y <= high) return {};
  return { symbol: "triangle", symbolSize: 10, symbolRotate: y > high ? 0 : 180, symbolOffset: [0, y > high ? "60%" : "-60%"] };
}

// The names of series in as many rows as they need.
function legend(names, width, colors) {
  if (names.length < 2) return { height: 0, option: undefined };
  const room = Math.floor((width - 60) / 7);
  const rows = names.reduce(([count, used], name) => {
    const needed = 45 + 7 * Math.min(name.length, room);
    return used + needed > width - 12 ? [count + 1, needed] : [count, used + needed];
  }, [1, 0])[0];
  return {
    height: 24 * rows,
    option: {
      data: names, top: 0, selectedMode: false, textStyle: { color: colors.text },
      formatter: (name) => cut(name, room),
    },
  };
}

// From at or below `low` to at or above `high`, by 1, 2 or 5 times a power of ten.
function roundRange(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 5));
  const interval = [1, 2, 5, 10].map((times) => times * power).find((each) => (high - low) / each <= 6);
  return { min: Math.floor(low / interval) * interval, max: Math.ceil(high / interval) * interval, interval };
}

// An interval, as one polygon.
function bandSeries(band, color) {
  const outline = [...band.points.map(([x, , high]) => [x, high]), ...band.points.map(([x, low]) => [x, low]).reverse()];
  return {
    name: band.name, type: "custom", silent: true, clip: true, z: 1, itemStyle: { color, opacity: 0.2 }, data: [outline[0]],
    renderItem: (params, api) => ({
      type: "polygon", shape: { points: outline.map((point) => api.coord(point)) }, style: { fill: color, opacity: 0.2 },
    }),
  };
}

// What went on, as a strip below the x axis: each moment lasts until the next.
function phaseSeries(picture, end, colors) {
  if (!picture.moments.length) return null;
  const labels = [...new Set(picture.moments.map((each) => each.label))];
  return {
    type: "custom", clip: false, z: 2,
    encode: { x: [0, 1] },
    data: picture.moments.map((each, index) => {
      const until = index + 1 < picture.moments.length ? picture.moments[index + 1].x : end;
      return { value: [each.x, until], title: each.label, note: `${shown(each.x, picture.x_unit)} to ${shown(until, picture.x_unit)}` };
    }),
    renderItem: (params, api) => {
      const { label } = picture.moments[params.dataIndex];
      const left = api.coord([api.value(0), 0])[0], right = api.coord([api.value(1), 0])[0];
      const top = params.coordSys.y + params.coordSys.height + 4;
      const text = right - left > 7 * label.length + 6 ? label : "";
      return {
        type: "rect", shape: { x: left, y: top, width: Math.max(right - left, 1), height: 20 },
        style: { fill: PARTS[labels.indexOf(label) % PARTS.length] },
        textContent: { style: { text, fill: "#ffffff", fontSize: 11, fontFamily: FONT } }, textConfig: { position: "inside" },
      };
    },
  };
}
