"use strict";
// Figures in words, as memprof.units has them.

const threeDigits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

function formatSize(bytes, signed) {
  const sign = bytes < 0 ? "-" : signed && bytes > 0 ? "+" : "";
  const size = Math.abs(bytes);
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) {
    if (size >= factor * 0.9995) return `${sign}${threeDigits(size / factor)} ${unit}`;
  }
  return `${sign}${size.toFixed(0)} B`;
}

function formatSeconds(seconds) {
  for (const [unit, factor] of [["s", 1], ["ms", 1e-3]]) {
    if (seconds >= factor) return `${threeDigits(seconds / factor)} ${unit}`;
  }
  return `${threeDigits(seconds / 1e-6)} µs`;
}

function formatCount(value) {
  const rounded = Math.abs(value) < 1000 ? Number(value.toPrecision(4)) : Math.round(value);
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 6 });
}

function shown(value, unit) {
  switch (unit) {
    case "bytes": return formatSize(value, false);
    case "change": return formatSize(value, true);
    case "seconds": return value === 0 ? "0 s" : formatSeconds(value);
    case "percent": return `${Number(value.toPrecision(3))} %`;
    default: return formatCount(value);
  }
}
