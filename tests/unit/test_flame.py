"""Stacks as a tree whose every node is the sum of what is above it."""

from __future__ import annotations

from msgspec.structs import replace

from memprof.profile.pictures import flame
from memprof.profile.view import profile_view
from memprof.render import Node, Tree, markdown, terminal
from memprof.values.instruments import AllocationStack, Frame, LineHotspot


def stack(size: float, *functions: str, operation: str = "build") -> AllocationStack:
    frames = tuple(Frame("a.py", line, name) for line, name in enumerate(functions, 1))
    return AllocationStack(operation, frames, size, 1.0)


def shown(node: Node) -> list[object]:
    return [node.name, node.value, *map(shown, node.children)]


def test_functions_stand_on_their_callers_largest_first():
    stacks = (
        stack(10, "f", "g"), stack(30, "f", "h"), stack(7, "f"), stack(100, "f", operation="act"),
    )  # fmt: skip
    tree = flame("before", stacks, ()).root
    assert shown(tree) == [
        "one agent", 147,
        ["act", 100, ["f", 100]],
        ["build", 47, ["f", 47, ["h", 30], ["g", 10]]],
    ]  # fmt: skip


def test_call_sites_of_a_function_are_one_and_the_note_has_their_lines():
    sizes = {10: 5.0, 20: 50.0, 30: 1.0, 40: 0.5}
    stacks = [AllocationStack("build", (Frame("a.py", n, "f"),), s, 1.0) for n, s in sizes.items()]
    other = AllocationStack("build", (Frame("b.py", 20, "f"),), 2.0, 1.0)
    lines = (LineHotspot("a.py", 20, "held = np.zeros(9)", 50.0, 1.0),)
    (build,) = flame("before", (*stacks, other), lines).root.children
    assert [(each.value, each.note) for each in build.children] == [
        (56.5, "a.py:20, 10, 30 and 1 more  held = np.zeros(9)"),
        (2.0, "b.py:20"),
    ]
    assert build.note == ""


def test_a_function_that_calls_itself_is_one_box():
    frames = tuple(Frame("a.py", line, name) for line, name in ((1, "f"), (2, "f"), (3, "g")))
    (build,) = flame("before", (AllocationStack("build", frames, 8.0, 1.0),), ()).root.children
    assert shown(build) == ["build", 8, ["f", 8, ["g", 8]]]


def test_the_words_say_where_most_of_it_was_allocated():
    stacks = (stack(600, "f", "g"), stack(300, "f", "h"), stack(100, "f", operation="act"))
    assert flame("after", stacks, ()).alt == (
        "after: one further agent holds 1.00 KB; 60% was allocated in build > f > g"
    )
    even = [stack(30, operation=name) for name in ("build", "act", "wake")]
    assert flame("before", even, ()).alt == (
        "before: one further agent holds 90 B; no operation allocated half of it, build the most"
    )


def flames(report):
    (section,) = (s for s in profile_view(report).sections if s.title == "Hotspots")
    return [each for each in section.pictures if isinstance(each, Tree)]


def test_the_view_has_one_for_each_variant_and_text_formats_stay_as_they_are(full_report):
    found = full_report()
    before, after = flames(found)
    assert before.title == "held by one further agent, by call, before"
    assert (before.kind, before.unit) == ("flame", "bytes")
    assert before.root.value == 999.6, "what was let go of has no box"
    assert after.root.value == 99.96
    assert markdown.render(found)
    assert terminal.render(profile_view(found), width=80, color=False)


def test_there_is_none_without_stacks_and_none_of_a_plan_without_passes(report, full_report):
    assert flames(report()) == []
    found = full_report()
    kept = replace(found.variants, after=found.variants.before)
    assert len(flames(replace(found, variants=kept))) == 1
    assert flames(full_report(stacks=(stack(-5.0, "f"),))) == []
