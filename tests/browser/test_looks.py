"""Colours, and figures in words: what the page has in two languages is the same."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from itertools import product

import pytest

from memprof.render import shown
from tests.gate_reports import GATE

THEMES = ("light", "dark")


def luminance(color: str) -> float:
    """As WCAG 2 defines it, of #rgb or #rrggbb."""
    digits = color.removeprefix("#")
    pairs = (
        [each * 2 for each in digits]
        if len(digits) == 3
        else [digits[n : n + 2] for n in (0, 2, 4)]
    )
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in (int(pair, 16) / 255 for pair in pairs)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_what_wcag_calls_it():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("scheme", THEMES)
def test_texts_and_graphics_stand_out_from_what_they_are_on(opened, scheme, media):
    page = opened("everything", scheme=scheme).page
    page.emulate_media(media=media, color_scheme=scheme)
    names = ("page", "panel", "text", "quiet", "link", "before", "after", "plain", "worse")
    colors = page.evaluate(
        "names => Object.fromEntries(names.map((name) => "
        "[name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))",
        names,
    )
    parts = page.evaluate("PARTS")
    low = {
        f"{front} on {back}": ratio
        for front, back in product(("text", "quiet", "link"), ("page", "panel"))
        if (ratio := contrast(colors[front], colors[back])) < 4.5
    }
    graphics = {name: colors[name] for name in ("before", "after", "plain", "worse", "quiet")}
    graphics |= {each: each for each in parts}
    low |= {
        f"{name} on page": ratio
        for name, color in graphics.items()
        if (ratio := contrast(color, colors["page"])) < 3
    }
    low |= {f"white on {each}": r for each in parts if (r := contrast("#fff", each)) < 4.5}
    assert low == {}
    assert len(parts) == 8


@pytest.mark.parametrize("scheme", THEMES)
def test_what_is_worse_has_the_colour_of_what_is_worse(opened, scheme):
    page = opened("gate", scheme=scheme).page
    metrics = [metric for scenario in GATE.scenarios for metric in scenario.metrics]
    drawn = [each for each in metrics if each.was and each.change is not None and each.allowed]
    colors, fills = page.evaluate("""[
      Object.fromEntries(["worse", "after", "quiet"].map((role) => [theme().of(role), role])),
      [...document.querySelector(".picture svg").querySelectorAll("path[fill]")].map((path) => path.getAttribute("fill")),
    ]""")  # noqa: E501
    found = Counter(colors[fill] for fill in fills if fill in colors)
    marks = 1  # of the legend
    assert found["worse"] == sum(each.verdict == "worse" for each in drawn) + marks
    assert found["after"] == sum(each.verdict != "worse" for each in drawn) + marks
    assert found["quiet"] == len(drawn) + marks


def figures() -> list[tuple[float, str]]:
    """Sizes from far below one to far above all, halves where rounding is a question, edges."""
    chance = random.Random(10)
    units = ("bytes", "change", "seconds", "percent", "count")
    magnitudes = [chance.uniform(1, 10) * 10 ** chance.uniform(-9, 13) for _ in range(1_000)]
    halves = [chance.randrange(1, 2**12) / 2 ** chance.randrange(1, 8) for _ in range(1_000)]
    edges = [
        f * 10.0**power
        for power in range(-7, 13)
        for f in (0.5, 0.9994999, 0.9995, 0.99949999999, 0.99995, 1, 1.005, 1.015, 2.5, 9.995)
    ]
    wholes = [float(each) for each in range(0, 2_500, 7)]
    values = [0.0, *magnitudes, *halves, *edges, *wholes, *(each * 1e3 for each in halves)]
    signed = [(sign * each, unit) for each in values for unit in units for sign in (1, -1)]
    return [(each, unit) for each, unit in signed if each >= 0 or unit != "seconds"]


def test_a_page_says_figures_as_all_other_formats_do(opened):
    known = [(value, unit, shown(value, unit)) for value, unit in figures()]
    # As one text: one by one, they take Playwright seconds.
    said = opened("everything").page.evaluate(
        "all => JSON.stringify(JSON.parse(all).map(([value, unit]) => shown(value, unit)))",
        json.dumps([each[:2] for each in known]),
    )
    different = [
        (*each, other)
        for each, other in zip(known, json.loads(said), strict=True)
        if each[2] != other
    ]
    assert different == []
    assert math.isclose(len(known), 35_000, rel_tol=0.3)
