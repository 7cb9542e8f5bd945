"""The report as one HTML file that needs nothing else: no network, no other file.

The pictures are drawn by Apache ECharts, which is in the file; what they show is data in it, and
stands in tables beside them. Everything in a report is text to HTML, and the file's own policy
(Content-Security-Policy) lets nothing run but its own scripts and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from memprof.export.json_text import AnyReport
from memprof.render import Picture, Section, Tree, View, view_of
from memprof.text import one_line

if TYPE_CHECKING:
    from jinja2 import Template

# In the order in which they need each other.
_SCRIPTS = (
    "echarts/echarts.min.js",
    "figures.js",
    "theme.js",
    "charts.js",
    "bars.js",
    "trees.js",
    "report.js",
)


def load() -> None:
    """Make ready what every page needs."""
    _template()
    _scripts()


def render(report: AnyReport) -> str:
    """The whole report as an HTML page."""
    return render_view(view_of(report))


def render_view(view: View) -> str:
    """The same of a view."""
    pictures = _pictures(view)
    places = {id(picture): number for number, picture in enumerate(pictures)}
    return _template().render(
        view=view,
        place=lambda picture: places[id(picture)],
        data=_data(pictures),
        style=_asset("report.css"),
        scripts=_scripts(),
        policy=_policy(),
        drawn=partial(_drawn, view),
        is_tree=lambda picture: isinstance(picture, Tree),
    )


def _pictures(view: View) -> list[Picture]:
    first = [view.picture] if view.picture else []
    return [*first, *(each for section in view.sections for each in _drawn(view, section))]


def _drawn(view: View, section: Section) -> tuple[Picture, ...]:
    """The section's pictures, without the one that stands above all sections."""
    all_of_it = (*section.charts, *section.pictures)
    return tuple(each for each in all_of_it if each is not view.picture)


def _data(pictures: list[Picture]) -> str:
    """What the scripts draw, as JSON that ends no script element, whatever names are in it."""
    values = [{"type": type(each).__name__.lower(), **asdict(each)} for each in pictures]
    text = json.dumps(_fit(values), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fit(value: Any) -> Any:
    """Every text in `value` as one line of characters that can be shown."""
    match value:
        case str():
            return one_line(value)
        case dict():
            return {key: _fit(each) for key, each in value.items()}
        case list() | tuple():
            return [_fit(each) for each in value]
        case _:
            return value


def _policy() -> str:
    """Only the page's own scripts run, known by their digests; nothing is fetched."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _scripts())
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _scripts() -> tuple[str, ...]:
    return tuple(_asset(name) for name in _SCRIPTS)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
    )
    return made.from_string(_asset("report.html.j2"))


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")
