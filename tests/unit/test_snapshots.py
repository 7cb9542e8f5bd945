"""Whole reports as a terminal shows them: what they say, in which words and which order."""

from dataclasses import replace

import pytest

from memprof.profile.view import profile_view
from memprof.render import terminal
from tests.report_views import views

KINDS = ["profile", "leak", "density", "gate", "compare", "self_check"]


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
