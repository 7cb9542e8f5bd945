"""The page without a browser: what is in it, and what is not. `tests/browser` opens it."""

import hashlib
import re
from importlib.resources import files

from memprof.render import Section, Table, View
from memprof.render.document import render_view

ASSETS = files("memprof.render") / "assets"


def test_the_plotting_library_is_the_one_that_its_readme_names():
    script = (ASSETS / "echarts" / "echarts.min.js").read_bytes()
    readme = (ASSETS / "echarts" / "README.md").read_text()
    version = re.search(r"ECharts (\d+\.\d+\.\d+)", readme)[1]
    assert hashlib.sha256(script).hexdigest() in readme
    assert f'version="{version}"' in script.decode()
    assert "Apache License" in (ASSETS / "echarts" / "LICENSE").read_text()


def test_a_page_names_no_other_file():
    page = render_view(
        View("title", "headline", (Section("S", (), (Table("", ("a",), (("b",),)),)),))
    )
    markup = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', markup)


def test_text_is_text_and_control_characters_are_shown_as_unfit():
    hostile = '<script>alert(1)</script>\x1b[2J\ud800 & "quotes"'
    page = render_view(View(hostile, hostile, (Section(hostile, (hostile,)),)))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page
    page.encode()
