"use strict";
// Pictures on axes: points and lines, bars, waterfalls. Each takes a picture of memprof.reports.page
// and the width that there is, and gives ECharts' option and the height that it needs.

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
  const inside = (y) => Math.min(Math.max(y, low), high);
  const xs = [...picture.series.flatMap((each) => each.points), ...picture.moments.map((each) => [each.x])].map(([x]) => x);
  const series = picture.bands.map((band, index) => bandSeries(band, colors.of(band.role, index)));
  for (const [index, each] of picture.series.entries()) {
    const color = colors.of(each.role, index);
    series.push({
      name: each.name, type: each.joined ? "line" : "scatter", symbolSize: each.joined ? 4 : 7,
      showSymbol: each.points.length <= 100, z: 10 - index, clip: false,
      lineStyle: { color, width: 2 },
      itemStyle: each.role === "quiet" ? { color: colors.page, borderColor: color, borderWidth: 2 } : { color },
      data: each.points.map(([x, y]) => ({ value: [x, inside(y)], full: y, symbol: inside(y) === y ? undefined : y > high ? "triangle" : "arrow" })),
    });
  }
  const phases = phaseSeries(picture, Math.max(...xs), colors);
  if (phases) series.push(phases);
  const names = [...picture.bands, ...picture.series].filter((each) => each.name).map((each) => each.name);
  const bottom = phases ? 74 : 48;
  return {
    height: 320 + (phases ? 24 : 0),
    option: {
      ...base(colors),
      legend: names.length > 1 ? { data: names, top: 0, textStyle: { color: colors.text }, type: "scroll" } : undefined,
      grid: { left: 12, right: 24, top: names.length > 1 ? 36 : 16, bottom: bottom - 24, containLabel: true },
      xAxis: axis(colors, picture.x_unit, {
        name: picture.x_label, nameLocation: "middle", nameGap: phases ? 50 : 26,
        min: Math.min(...xs), max: Math.max(...xs), splitLine: { show: false },
        axisLabel: { color: colors.quiet, formatter: (value) => shown(value, picture.x_unit), hideOverlap: true, margin: phases ? 30 : 8 },
      }),
      yAxis: axis(colors, picture.unit, roundRange(low >= 0 && low < high - low ? 0 : low, high)),
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
        textContent: { style: { text, fill: "#ffffff", fontSize: 11 } }, textConfig: { position: "inside" },
      };
    },
  };
}

function bars(picture, width, colors) {
  const alone = picture.names.every((_, row) => picture.series.filter((each) => each.values[row] !== null).length <= 1);
  const perName = alone ? 30 : 14 + 18 * picture.series.length;
  const room = Math.max(8, Math.floor(width / 26));
  return {
    height: 40 + perName * picture.names.length + (alone ? 0 : 24),
    option: {
      ...base(colors),
      legend: alone ? undefined : { top: 0, textStyle: { color: colors.text } },
      grid: { left: 12, right: 90, top: alone ? 8 : 32, bottom: 8, containLabel: true },
      xAxis: axis(colors, picture.unit, { splitNumber: width < 500 ? 2 : 5 }),
      yAxis: categories(picture.names, room, colors),
      tooltip: {
        ...base(colors).tooltip,
        formatter: (point) => tip(picture.names[point.dataIndex], alone ? "" : point.seriesName, shown(point.value, picture.unit)),
      },
      series: picture.series.map((each, index) => ({
        name: each.name, type: "bar", barGap: alone ? "-100%" : "10%", barMaxWidth: 22,
        itemStyle: { color: colors.of(each.role, index) },
        label: {
          show: true, position: "right", color: colors.text,
          formatter: (point) => (typeof point.value === "number" ? shown(point.value, picture.unit) : ""),
        },
        data: each.values.map((value) => (value === null ? "-" : value)),
      })),
    },
  };
}

// The first and the last bar are levels; between them, each goes from one level to the next.
function waterfall(picture, width, colors) {
  const { levels } = picture;
  const rows = levels.map((level, index) => {
    const from = index ? levels[index - 1].value : 0;
    const change = level.value - from;
    return {
      name: level.name, note: level.note, low: Math.min(from, level.value), size: Math.abs(change),
      color: index === 0 ? colors.of("before") : change > 0 ? "#be185d" : colors.of("after"),
      text: index === 0 ? shown(level.value, picture.unit) : shown(change, "change"),
    };
  });
  const last = levels[levels.length - 1];
  rows.push({ name: "after", note: "", low: 0, size: last.value, color: colors.of("plain"), text: shown(last.value, picture.unit) });
  const plain = { itemStyle: { color: "transparent" }, silent: true, data: rows.map((row) => row.low) };
  return {
    height: 48 + 34 * rows.length,
    option: {
      ...base(colors),
      grid: { left: 12, right: 90, top: 8, bottom: 8, containLabel: true },
      xAxis: axis(colors, picture.unit, { splitNumber: width < 500 ? 2 : 5 }),
      yAxis: categories(rows.map((row) => row.name), Math.max(8, Math.floor(width / 26)), colors),
      tooltip: {
        ...base(colors).tooltip,
        formatter: (point) => tip(rows[point.dataIndex].name, rows[point.dataIndex].text, rows[point.dataIndex].note),
      },
      series: [
        { type: "bar", stack: "levels", barMaxWidth: 22, ...plain },
        {
          type: "bar", stack: "levels", barMaxWidth: 22, barMinHeight: 1,
          label: { show: true, position: "right", color: colors.text, formatter: (point) => rows[point.dataIndex].text },
          data: rows.map((row) => ({ value: row.size, itemStyle: { color: row.color } })),
        },
      ],
    },
  };
}

function categories(names, room, colors) {
  return {
    type: "category", data: names, inverse: true,
    axisLabel: { color: colors.text, fontFamily: FONT, formatter: (name) => cut(name, room) },
    axisLine: { lineStyle: { color: colors.line } }, axisTick: { show: false },
  };
}
