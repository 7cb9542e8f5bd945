"""Reports in a real browser: Chromium, as Debian packages it, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from memprof.render import View
from memprof.render.document import render_view
from tests.report_views import views

_MOST_QUESTIONS, _PAUSE_MS = 1000, 20
PHONE, DESK = (390, 844), (1280, 800)


class Opened:
    """A tab with a report, and all that happened there which should not.

    There is one tab: a document is loaded anew into it at a fifth of what a new tab costs.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.file = ""
        self.wrong: list[str] = []
        page.on("console", lambda said: self.note(said.type in ("error", "warning"), said.text))
        page.on("pageerror", lambda error: self.note(True, str(error)))
        page.on(
            "request", lambda asked: self.note(asked.url not in (self.file, "data:,"), asked.url)
        )
        page.on("dialog", lambda dialog: (self.note(True, "a dialog"), dialog.dismiss()))

    def note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.wrong.append(text)

    def open(self, file: Path, size: tuple[int, int] = DESK, scheme: str = "light") -> None:
        width, height = size
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(media="null", color_scheme=scheme)
        self.file = file.as_uri()
        self.page.goto(self.file)

    def leave(self) -> None:
        """Of the report nothing stays, and no mouse hovers where the next one will be."""
        self.page.mouse.move(0, 0)
        self.page.goto("about:blank")


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        missing = "needs Chromium: apt-get install --no-install-recommends chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    # Chromium has no sandbox for root, which is who tests in a container are.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | View], Path]:
    """The file of a report, by its kind or of a view; each kind is written once."""
    folder = tmp_path_factory.mktemp("pages")
    files: dict[str, Path] = {}

    def write(what: str | View) -> Path:
        name = what if isinstance(what, str) else f"view-{len(files)}"
        if name not in files:
            files[name] = folder / f"{name}.html"
            text = render_view(views()[what] if isinstance(what, str) else what)
            files[name].write_text(text, encoding="utf-8")
        return files[name]

    return write


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Opened:
    return Opened(browser.new_page(locale="en-US"))


@pytest.fixture
def opened(tab: Opened, written: Callable[[str | View], Path]) -> Iterator[Open]:
    """Open a report; the test fails if it complains, asks for anything, or raises a dialog."""

    def open_report(
        what: str | View, size: tuple[int, int] = DESK, scheme: str = "light"
    ) -> Opened:
        tab.open(written(what), size, scheme)
        return tab

    yield open_report
    tab.leave()
    wrong, tab.wrong = tab.wrong, []
    assert wrong == []


def wait_until(page: Page, true: str) -> None:
    """Ask the page again and again; Playwright's own way evaluates text, which the page's policy
    lets nobody do."""
    for _ in range(_MOST_QUESTIONS):
        if page.evaluate(true):
            return
        page.wait_for_timeout(_PAUSE_MS)
    raise AssertionError(f"never true: {true}")


@contextmanager
def expected_wrong(tab: Opened) -> Iterator[None]:
    """What goes wrong inside is what the test is about."""
    yield
    assert tab.wrong
    tab.wrong.clear()
