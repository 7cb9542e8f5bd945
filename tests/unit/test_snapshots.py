"""Whole reports as a terminal shows them: what they say, in which words and which order."""

from dataclasses import replace

import pytest

from memprof.profile.view import profile_view
from memprof.render import terminal
from tests.report_views import views


@pytest.mark.parametrize("kind", ["profile", "leak", "density", "gate", "compare", "self_check"])
def test_a_report_reads_as_it_did(kind, snapshot):
    snapshot(kind, terminal.render(views()[kind], width=80, color=False))


def test_a_profile_of_jax_agents_reads_as_it_did(report, good_variant, device, snapshot):
    made = report("bounded", after=good_variant(10.0, passes=("jit",), device=device(0.0)))
    made = replace(made, variants=replace(made.variants, before=good_variant(device=device())))
    snapshot("profile_jax", terminal.render(profile_view(made), width=80, color=False))
