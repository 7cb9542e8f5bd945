"""Stacks as speedscope and flamegraph.pl read them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memprof.export import profilers
from memprof.values.instruments import AllocationStack, Frame
from tests import gate_reports

SCHEMA = json.loads((Path(__file__).parents[1] / "golden" / "speedscope.json").read_text())
# As stackcollapse files are read: everything up to the last blank is the stack.
COLLAPSED = re.compile(r"^(.*) (\d+)$")
ANYTHING = st.text(max_size=12)


def opened(report) -> dict:
    """The file, valid by speedscope's schema and by what its importer demands beyond it."""
    file = json.loads(profilers.speedscope(report))
    jsonschema.Draft7Validator(SCHEMA).validate(file)
    frames = file["shared"]["frames"]
    for profile in file["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] == pytest.approx(sum(profile["weights"]))
        assert all(0 <= n < len(frames) for sample in profile["samples"] for n in sample)
    return file


def read_back(text: str) -> list[tuple[list[str], int]]:
    found = [COLLAPSED.match(line) for line in text.removesuffix("\n").split("\n")]
    return [(each[1].split(";"), int(each[2])) for each in found]


def test_speedscope_has_a_profile_in_bytes_for_each_variant(full_report):
    file = opened(full_report())
    assert [(p["name"], p["type"], p["unit"]) for p in file["profiles"]] == [
        ("before", "sampled", "bytes"), ("after", "sampled", "bytes"),
    ]  # fmt: skip
    before, after = file["profiles"]
    assert before["weights"] == [600.0, 300.0, 99.6], "what was let go of is no stack"
    assert after["weights"] == pytest.approx([60.0, 30.0, 9.96])
    named = [
        [file["shared"]["frames"][n].get("name") for n in sample] for sample in before["samples"]
    ]
    assert named == [
        ["build", "Agent.__init__", "full"], ["build", "Agent.__init__"],
        ["infer_states", "<module>"],
    ]  # fmt: skip
    assert file["shared"]["frames"][2] == {"name": "full", "file": "pymdp/utils.py", "line": 5}
    frames = [json.dumps(frame) for frame in file["shared"]["frames"]]
    assert Counter(frames).most_common(1)[0][1] == 1, "the variants share them"


def test_a_file_that_speedscope_would_refuse_fails(full_report):
    file = opened(full_report())
    file["profiles"][0]["unit"] = "B"
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(file)


def test_collapsed_stacks_read_back(full_report):
    text = profilers.collapsed(full_report())
    lead = ["build", "Agent.__init__ (pymdp/agent.py:10)"]
    assert read_back(text) == [
        (["before", *lead, "full (pymdp/utils.py:5)"], 600),
        (["before", "build", "Agent.__init__ (pymdp/agent.py:12)"], 300),
        (["before", "infer_states", "<module> (my, model.py:3)"], 100),
        (["after", *lead, "full (pymdp/utils.py:5)"], 60),
        (["after", "build", "Agent.__init__ (pymdp/agent.py:12)"], 30),
        (["after", "infer_states", "<module> (my, model.py:3)"], 10),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING, ANYTHING, ANYTHING)
def test_text_from_outside_stays_in_its_frame(full_report, name, path, function):
    stack = AllocationStack("build", (Frame(path, 7, function),), 5000.0, 1.0)
    found = full_report(name=name, stacks=(stack,))
    for names, size in read_back(profilers.collapsed(found)):
        assert len(names) == 3
        assert size in (5000, 500)
    for text in (profilers.collapsed(found), profilers.speedscope(found)):
        text.encode()
    assert {len(sample) for p in opened(found)["profiles"] for sample in p["samples"]} == {2}


@pytest.mark.parametrize("render", [profilers.speedscope, profilers.collapsed])
def test_without_stacks_there_is_no_file(render, report):
    assert render(report()) is None
    assert [render(each) for each in gate_reports.ALL] == [None] * len(gate_reports.ALL)
