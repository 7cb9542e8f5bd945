"""Reports in a real browser: Chromium, as Debian packages it, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from memprof.reports.html.document import render_view
from memprof.reports.page import View
from tests.report_views import views

PHONE, DESK = (390, 844), (1280, 800)


@dataclass
class Opened:
    """A report in a tab, and all that happened there which should not."""

    page: Page
    wrong: list[str] = field(default_factory=list)


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


@pytest.fixture
def opened(browser: Browser, written: Callable[[str | View], Path]) -> Iterator[Open]:
    """Open a report; the test fails if it complains, asks for anything, or raises a dialog."""
    tabs: list[Opened] = []

    def open_report(
        what: str | View, size: tuple[int, int] = DESK, scheme: str = "light"
    ) -> Opened:
        width, height = size
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-US"
        )
        tab = Opened(page)
        tabs.append(tab)
        file = written(what).as_uri()
        page.on("console", lambda said: _note(tab, said.type in ("error", "warning"), said.text))
        page.on("pageerror", lambda error: _note(tab, True, str(error)))
        page.on("request", lambda asked: _note(tab, asked.url not in (file, "data:,"), asked.url))
        page.on("dialog", lambda dialog: (_note(tab, True, "a dialog"), dialog.dismiss()))
        page.goto(file)
        return tab

    yield open_report
    for tab in tabs:
        tab.page.close()
    assert [each for tab in tabs for each in tab.wrong] == []


def _note(tab: Opened, wrong: bool, text: str) -> None:
    if wrong:
        tab.wrong.append(text)


@contextmanager
def expected_wrong(tab: Opened) -> Iterator[None]:
    """What goes wrong inside is what the test is about."""
    yield
    assert tab.wrong
    tab.wrong.clear()
