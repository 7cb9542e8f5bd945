"""Each kind of report, opened: nothing is asked for, nothing complains, everything is drawn."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from memprof.render import Bars, BarSeries, Section, Table, View
from tests.browser.conftest import DESK, PHONE, expected_wrong, wait_until
from tests.conftest import ROOT
from tests.report_views import KINDS

SCREENSHOTS = ROOT / "reports" / "screenshots"

# For each picture: how much of it is drawn, and the words that are cut off at an edge or lie on
# others.
PICTURES = """[...document.querySelectorAll(".picture")].map((box) => {
  const svg = box.querySelector("svg"), outer = svg.getBoundingClientRect();
  const words = [...svg.querySelectorAll("text")]
    .map((each) => [each.textContent, each.getBoundingClientRect()])
    .filter(([text]) => text);
  const cut = words.filter(([, r]) => r.left < outer.left - 1 || r.right > outer.right + 1
    || r.top < outer.top - 1 || r.bottom > outer.bottom + 1);
  const over = ([, a], [, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const mixed = words.filter((one) => words.some((other) => other !== one && over(one, other)));
  return {
    of: box.getAttribute("aria-label"), height: outer.height, fits: outer.width <= box.clientWidth,
    shapes: svg.querySelectorAll("path, rect, circle, polygon").length, words: words.length,
    cut: cut.map(([text]) => text), mixed: mixed.map(([text]) => text),
    faint: svg.querySelectorAll("text[fill-opacity]").length,
  };
})"""


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_whole_at_any_width_and_accessible_in_both_themes(opened, kind, size):
    """A screenshot of each stays in reports/screenshots, for a person to look at."""
    page = opened(kind, size).page
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert_drawn(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for scheme, color in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(13, 17, 23)")):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body")).to_have_css("background-color", color)
        dark = str(scheme == "dark").lower()
        expect(page.locator("#theme")).to_have_attribute("aria-pressed", dark)  # it is drawn anew
        page.screenshot(path=SCREENSHOTS / f"{kind}-{size[0]}-{scheme}.png", full_page=True)
        if size == PHONE:
            assert_accessible(page)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20


def assert_drawn(page: Page) -> None:
    """Every picture has what a picture has, and its words are neither cut off nor mixed."""
    pictures = page.evaluate(PICTURES)
    assert pictures
    for picture in pictures:
        assert picture["height"] > 50, picture
        assert picture["fits"], picture
        assert picture["shapes"] >= 3, picture
        assert picture["words"] >= 2, picture
        assert (picture["cut"], picture["mixed"], picture["faint"]) == ([], [], 0), picture["of"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_small(written, kind):
    assert written(kind).stat().st_size < 5_000_000


@pytest.mark.parametrize("kind", ["leak", "gate", "everything"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_first_screen_has_what_was_found_and_what_to_do(opened, kind, size):
    page = opened(kind, size).page
    bottom = {
        part: page.locator(part).evaluate("each => each.getBoundingClientRect().bottom")
        for part in ("#brief .headline", "#brief .next", "#brief figcaption")
    }
    assert max(bottom.values()) < size[1], bottom


def test_only_the_pages_own_scripts_run_and_nothing_is_fetched(opened):
    tab = opened("everything")
    with expected_wrong(tab):
        found = tab.page.evaluate("""async () => {
          const broken = [];
          addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          const button = document.createElement("button");
          button.setAttribute("onclick", "window.ran = true");
          button.click();
          const image = new Image();
          const loaded = new Promise((resolve) => { image.onload = image.onerror = (event) => resolve(event.type); });
          image.src = "https://example.org/pixel.png";
          const asked = ["data:,x", "https://example.org/"].map((each) => fetch(each).then(() => "fetched", () => "no"));
          return { ran: window.ran, fetched: await Promise.all(asked), loaded: await loaded, broken };
        }""")  # noqa: E501
    assert (found.get("ran"), found["fetched"], found["loaded"]) == (None, ["no", "no"], "error")
    assert sorted(found["broken"]) == [
        "connect-src", "connect-src", "img-src", "script-src-attr", "script-src-elem",
    ]  # fmt: skip


def test_the_button_changes_the_theme_of_page_and_pictures(opened):
    page = opened("everything", scheme="dark").page
    button = page.get_by_role("button", name="Dark")
    word = page.locator(".picture svg text").first
    dark = word.get_attribute("fill")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(word).not_to_have_attribute("fill", dark)
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(word).to_have_attribute("fill", dark)


def test_pictures_are_drawn_anew_for_another_width(opened):
    page = opened("everything", DESK).page
    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(
        page,
        """[...document.querySelectorAll(".picture")].every((box) => (
      box.clientWidth < 390 && box.querySelector("svg").clientWidth === box.clientWidth
    ))""",
    )
    assert_drawn(page)


@pytest.mark.parametrize("kind", KINDS)
def test_paper_is_light_and_wide_enough(opened, kind):
    page = opened(kind, DESK, "dark").page
    page.locator("#theme").click()
    page.locator("#theme").click()  # dark by choice too
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    drawn = "[...document.querySelectorAll('.picture svg')]"
    wait_until(page, f"{drawn}.every((each) => each.clientWidth <= 680)")
    found = page.evaluate("""({
      page: getComputedStyle(document.body).backgroundColor,
      text: getComputedStyle(document.querySelector("h1 + *")).color,
      widths: [...document.querySelectorAll(".picture svg")].map((each) => each.clientWidth),
    })""")
    assert (found["page"], found["text"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert max(found["widths"]) <= 680
    assert "#000" in page.locator(".picture svg").first.inner_html()


def small_beside_large(names=("before", "after")):
    bars = Bars.visible("cost", "", "bytes", names, [BarSeries("", (31_400_000.0, 790.0))])
    return View("t", "h", (Section("Environment", ("python 3",), reference=True),), bars)


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_smallest_bar_can_be_seen_beside_the_largest(opened, size):
    page = opened(small_beside_large(), size).page
    widths = page.evaluate(
        'colors => [...document.querySelectorAll(".picture svg path")]'
        ".map((each) => each.getBBox()).filter((box) => box.height > 10 && box.height < 23)"
        ".map((box) => box.width)"
    )
    assert len(widths) >= 2
    assert min(widths) > 8, widths
    expect(page.locator("figcaption")).to_contain_text("logarithmic")


def test_a_long_label_is_whole(opened):
    long = "Forager." + "likelihood_of_what_is_seen_" * 6
    page = opened(small_beside_large((long, "after")), PHONE).page
    words = page.evaluate(
        '[...document.querySelectorAll(".picture svg text")].map((t) => t.textContent)'
    )
    assert long in "".join(words).replace(" ", "")
    assert_drawn(page)


def test_the_environment_is_folded_until_it_is_asked_for(opened):
    page = opened(small_beside_large()).page
    text = page.get_by_text("python 3")
    expect(text).not_to_be_visible()
    page.locator("nav.sections a").click()
    expect(text).to_be_visible()


def test_the_environment_is_on_paper(opened):
    page = opened(small_beside_large()).page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.get_by_text("python 3")).to_be_visible()


def test_a_table_that_is_too_wide_says_so(opened):
    row = ("name", *["31,400,000,000"] * 8)
    table = Table("", ("", *"abcdefgh"), (row,))
    page = opened(View("t", "h", (Section("s", (), (table,)),)), PHONE).page
    hint = 'getComputedStyle(document.querySelector(".scroll"), "::before").content'
    assert "Scroll" in page.evaluate(hint)
    page.set_viewport_size({"width": 1280, "height": 800})
    wait_until(page, f"{hint} === 'none'")
