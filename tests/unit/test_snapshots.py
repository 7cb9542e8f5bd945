"""Whole reports as a terminal shows them: what they say, in which words and which order."""

import re
from collections.abc import Mapping

import pytest
from msgspec import Struct
from msgspec.structs import replace

from memprof.export.json_text import parse
from memprof.profile.view import profile_view
from memprof.render import terminal, view_of
from tests.conftest import ROOT
from tests.gate_reports import GATE
from tests.report_views import EXAMPLES, views

KINDS = ["profile", "leak", "density", "run", "gate", "compare", "self_check"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_reads_as_it_did(kind, snapshot):
    snapshot(kind, terminal.render(views()[kind], width=80, color=False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_of_it_reads_as_it_did(kind, snapshot):
    screen = terminal.render_brief(views()[kind], width=80, color=False)
    assert len(screen.splitlines()) <= terminal.SCREEN_LINES
    snapshot(f"{kind}_brief", screen)


def test_a_screen_that_is_too_small_says_what_is_left():
    view = views()["profile"]
    whole = terminal.render_brief(view, width=80, color=False, room=1000).splitlines()
    screen = terminal.render_brief(view, width=80, color=False, room=10).splitlines()
    assert screen[:9] == whole[:9]
    assert screen[9:] == [f"… {len(whole) - 9} more lines: --full"]


def test_a_profile_of_jax_agents_reads_as_it_did(report, good_variant, device, snapshot):
    made = report("bounded", after=good_variant(10.0, passes=("jit",), device=device(0.0)))
    made = replace(made, variants=replace(made.variants, before=good_variant(device=device())))
    snapshot("profile_jax", terminal.render(profile_view(made), width=80, color=False))


NUMBERS = (
    "agents",
    "steps",
    "repeats",
    "lived",
    "replaced",
    "active_agents",
    "hits",
    "activations",
)
NUMBERS += ("threads", "hibernations", "compared", "cycles_needed", "comparisons", "history_steps")


PLURALS = "agents|steps|workers|repeats|passes|cycles|threads|uses|comparisons|activations"


def ones(value):
    """The same report where there was one of everything."""
    if isinstance(value, tuple):
        return tuple(map(ones, value))
    if isinstance(value, Mapping):
        return {name: ones(each) for name, each in value.items()}
    if not isinstance(value, Struct):
        return value
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    changed = {
        name: 1 if name in NUMBERS and type(found) is int else ones(found)
        for name, found in fields.items()
    }
    return replace(value, **changed)


@pytest.mark.parametrize("name", [*EXAMPLES, "gate"])
def test_one_of_a_kind_is_not_written_as_several(name):
    found = GATE
    if name in EXAMPLES:
        found = parse((ROOT / "reports" / "examples" / EXAMPLES[name]).read_text())
    text = " ".join(terminal.render(view_of(ones(found)), width=300, color=False).split())
    assert re.findall(rf"(?<![\d.,])1 (?:\w+ )?(?:{PLURALS})\b", text) == []


def test_every_operation_that_is_not_pymdps_is_explained():
    (section,) = [each for each in views()["profile"].sections if each.title == "Hotspots"]
    rows = [row[0] for table in section.tables for row in table.rows if "per call" in table.title]
    own = {each for each in rows if not each.startswith(("infer_", "sample_", "update_"))}
    assert {"activate", "passivate", "optimise", "environment"} <= own
    for each in own:
        assert re.search(rf"\b{each} (is|makes|applies|turns) ", section.text[0]), each
