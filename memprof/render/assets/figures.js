"use strict";
// Figures in words, as memprof.units has them.

// As toFixed, but what is halfway goes to the even digit, as in Python.
function fixed(value, digits) {
  const halfway = Math.abs((value * 2 ** (digits + 1)) % 2) === 1;
  if (!halfway) return value.toFixed(digits);
  const below = Math.floor(value * 10 ** digits);
  return ((below % 2 ? below + 1 : below) / 10 ** digits).toFixed(digits);
}

const threeDigits = (value) => fixed(value, value >= 100 ? 0 : value >= 10 ? 1 : 2);

function formatSize(bytes, signed) {
  const sign = bytes < 0 ? "-" : signed && bytes > 0 ? "+" : "";
  const size = Math.abs(bytes);
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) {
    if (size >= factor * 0.9995) return `${sign}${threeDigits(size / factor)} ${unit}`;
  }
  return `${sign}${fixed(size, 0)} B`;
}

function formatSeconds(seconds) {
  for (const [unit, factor] of [["s", 1], ["ms", 1e-3]]) {
    if (seconds >= factor) return `${threeDigits(seconds / factor)} ${unit}`;
  }
  return `${threeDigits(seconds / 1e-6)} µs`;
}

// So many digits, and all of those before the point.
function formatNumber(value, digits) {
  const whole = Math.trunc(Math.abs(value));
  const behind = Math.max(0, digits - (whole ? String(whole).length : 0));
  const text = fixed(value, behind);
  const short = behind ? text.replace(/\.?0+$/, "") : text;
  return short === "-0" ? "0" : short.includes(".") ? short : short.replace(/\B(?=(\d{3})+$)/g, ",");
}

function shown(value, unit) {
  switch (unit) {
    case "bytes": return formatSize(value, false);
    case "change": return formatSize(value, true);
    case "seconds": return value === 0 ? "0 s" : formatSeconds(value);
    case "percent": return `${formatNumber(value, 3)} %`;
    default: return formatNumber(value, 4);
  }
}
