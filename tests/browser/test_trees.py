"""The treemap and the flame graph, gone into by mouse and by keyboard; what a hover says."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.report_views import MB

TREES = {"treemap": ("ledger", "20 agents"), "flame": ("calls", "all calls")}


class Tree:
    """One of the trees of the view `everything`."""

    def __init__(self, page: Page, kind: str) -> None:
        self.page = page
        self.title, self.root = TREES[kind]
        self.figure = page.locator("figure", has=page.get_by_role("application", name=self.title))
        self.box = self.figure.get_by_role("application")
        self.status = self.figure.get_by_role("status")

    def word(self, text: str):
        return self.box.locator("svg text", has_text=re.compile(f"^{re.escape(text)}"))

    def click(self, text: str) -> None:
        """Where the word is; the picture takes the click as a whole, so nothing is checked."""
        self.word(text).click(force=True)

    def expect_at(self, *path: str, status: str) -> None:
        steps = self.figure.get_by_role("navigation").get_by_role("button")
        expect(steps).to_have_text([re.compile(f"^{re.escape(each)} ") for each in path])
        expect(steps.last).to_have_attribute("aria-current", "location")
        expect(self.status).to_have_text(re.compile(f"^{re.escape(status)}"))


@pytest.fixture(params=TREES)
def tree(request, opened):
    return Tree(opened("everything").page, request.param)


def test_a_click_goes_into_a_part_and_the_path_leads_back(opened):
    page = opened("everything").page
    ledger = Tree(page, "treemap")
    ledger.expect_at("20 agents", status="20 agents, 100 MB")
    ledger.click("private")
    ledger.expect_at("20 agents", "private", status="private, 60.0 MB, 60.0 % of 20 agents")
    expect(ledger.word("template")).to_have_count(0)
    ledger.figure.get_by_role("button", name="20 agents").click()
    ledger.expect_at("20 agents", status="20 agents, 100 MB")
    expect(ledger.word("template")).to_have_count(1)
    expect(ledger.box).to_be_focused()


def test_a_click_on_a_frame_goes_as_deep_as_it_is_and_one_on_the_root_back(opened):
    flame = Tree(opened("everything").page, "flame")
    flame.click("control.py:991")
    path = ("all calls", "build", "agent.py:172", "control.py:991")
    flame.expect_at(*path, status="control.py:991, 40.0 MB, 40.0 % of all calls")
    expect(flame.word("infer_states")).to_have_count(0)
    flame.click("control.py:991")
    flame.expect_at(*path[:3], status="control.py:991, 40.0 MB")
    flame.click("maths")  # has no callees
    flame.expect_at(*path[:3], status="maths.py:370, 15.0 MB")


def test_the_keyboard_alone_goes_in_and_back(tree):
    reach(tree.page, tree.box)
    expect(tree.box).to_have_css("outline-style", "solid")
    expect(tree.box).to_have_css("outline-width", "3px")
    first, second = ("private", "A") if tree.title == "ledger" else ("build", "agent.py:172")
    tree.page.keyboard.press("ArrowRight")
    tree.expect_at(tree.root, status=first)
    expect(tree.status).to_have_text(re.compile(r", 1 of \d$"))
    tree.page.keyboard.press("Enter")
    tree.expect_at(tree.root, first, status=first)
    tree.page.keyboard.press("ArrowDown")
    tree.expect_at(tree.root, first, status=second)
    tree.page.keyboard.press("Escape")
    tree.expect_at(tree.root, status=first)
    tree.page.keyboard.press("ArrowLeft")  # round to the last
    expect(tree.status).not_to_have_text(re.compile(f"^{first}"))
    tree.page.keyboard.press("ArrowRight")
    tree.page.keyboard.press("Enter")
    tree.page.keyboard.press("Backspace")
    tree.expect_at(tree.root, status=first)
    tree.page.keyboard.press("Escape")  # there is nothing above
    tree.expect_at(tree.root, status=first)


def test_what_the_keyboard_chose_is_marked(tree):
    plain = tree.box.inner_html()
    tree.box.focus()
    tree.page.keyboard.press("ArrowRight")
    marked = tree.box.inner_html()
    tree.page.keyboard.press("ArrowRight")
    assert len({plain, marked, tree.box.inner_html()}) == 3


def test_a_hover_says_name_size_share_and_note(tree):
    part = "template" if tree.title == "ledger" else "infer_states"
    tree.word(part).hover(force=True)
    tip = tree.box.locator(".tip")
    expect(tip).to_be_visible()
    expect(tip.locator("b")).to_have_text(part)
    expect(tip).to_contain_text(f"30.0 MB30.0 % of {tree.root}of {part}")


@pytest.mark.parametrize(
    ("picture", "place", "offset", "said"),
    [
        ("by component", [1 * MB, "A"], 8, "Abefore5.00 MB"),
        ("by pass", [1 * MB, "before"], 0, "before5.00 MB"),
        ("growth", [9, 9e3], 0, "countedagents: 99.00 KB"),
    ],
)
def test_a_hover_over_a_bar_or_a_point_says_its_figure(opened, picture, place, offset, said):
    page = opened("everything").page
    box = page.get_by_role("img", name=picture).last
    x, y = box.evaluate(
        "(box, place) => echarts.getInstanceByDom(box).convertToPixel({ gridIndex: 0 }, place)",
        place,
    )
    box.hover(position={"x": x, "y": y - offset})
    expect(box.locator(".tip")).to_be_visible()
    expect(box.locator(".tip")).to_have_text(said)


def reach(page: Page, box) -> None:
    """Go there as those do who have no mouse."""
    for _ in range(60):
        if box.evaluate("each => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail("the tree cannot be reached by Tab")
