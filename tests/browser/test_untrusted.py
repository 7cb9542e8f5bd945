"""Names are other people's: whatever they are, they are shown, and do nothing."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import PHONE
from tests.report_views import everything

HOSTILE = {
    "markup": "<script>alert(1)</script><b>]]></style>&lt;&#60;",
    "end of a script": "</script x",
    "a script in a comment": "<!--<script x",
    "attribute": '"><img src=x onerror=alert(1)> javascript:alert(1)',
    "jinja": "{{7*7}}{% raw %}${7*7}",
    "templates of ECharts": "{a} {b} {c} {d} {@x} {x|rich}",
    "property": "__proto__",
    "unfit": "bell\x07 esc\x1b[31m nul\x00 \x9b31m half \ud800 file\udce9",
    "lines": "two\nlines\u2028three\u2029four\tand a tab",
    "long": "a word of " + "many" * 60,
    "languages": "name 🧠 ÄÖ 日本語 שלום",
}
UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def fit(text: str) -> str:
    return UNFIT.sub("\ufffd", text)


def one_line(text: str) -> str:
    return fit(" ".join(text.expandtabs(1).splitlines()))


TAGS = """[...document.querySelectorAll("*")]
  .filter((each) => !each.closest("svg")).map((each) => each.tagName).sort().join(" ")"""

TEXTS = """[...document.querySelectorAll(
  "h1, .headline, main section > h2, td, tbody th, caption, .sections a"
)].map((each) => each.textContent)"""
PICTURES = """[...document.querySelectorAll(".picture")].map((box) => [
  box.getAttribute("aria-label"),
  [...box.querySelectorAll("svg text")].map((each) => each.textContent),
])"""


@pytest.fixture(scope="module")
def tags(tab, written):
    """The elements of a page whose texts are harmless."""
    tab.open(written(everything(lambda _: "a name")), PHONE)
    return tab.page.evaluate(TAGS)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_name_is_shown_as_it_is_and_does_nothing(opened, tags, text):
    """`opened` sees to it that there is no dialog, no request and no complaint."""
    page = opened(everything(lambda _: text), PHONE).page
    assert page.evaluate(TAGS) == tags
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert " ".join(page.title().split()) == " ".join(f"{fit(text)} · memprof".split())
    assert set(page.evaluate(TEXTS)) == {one_line(text)}
    for label, words in page.evaluate(PICTURES):
        assert label.startswith(f"{one_line(text)}: {one_line(text)}")
        assert any(len(word) > 6 and says(word, one_line(text)) for word in words), words
    for tree in page.locator("figure:has([role=application])").all():
        path = tree.get_by_role("navigation").get_by_role("button")
        assert path.all_text_contents() == [f"{one_line(text)} 100 MB"]
        assert tree.get_by_role("status").text_content().startswith(f"{one_line(text)}, 100 MB")
        words = tree.locator("svg text").all_text_contents()
        assert all(says(word, one_line(text)) or word[0].isdigit() for word in words), words
        tree.get_by_role("application").hover(position={"x": 20, "y": 60})
        assert tree.locator(".tip b").text_content() == one_line(text)


def says(word: str, name: str) -> bool:
    """Labels are cut off where there is no room, and figures may follow."""
    return word.startswith(name) or name.startswith(word.rstrip(".…"))
