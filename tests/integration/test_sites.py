"""The planted leaks of `scenarios/leaks`, each in a worker: the first site is the planted one.

The smallest are in `test_leak_command.py`.
"""

import sys

import pytest
from msgspec.structs import replace

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import FindSites
from tests.conftest import SCENARIOS

AGENTS, STEPS, CYCLES = 8, 3, 3
# The saturating cache is full by then, and a finalizer's number no longer one that Python caches,
# which takes all of its agents.
WARM_UP = 10
# What PyMDP only plots with is most of the object graph, and no part of these agents.
LEAN = ("lean_imports",)
LIMITS = Limits(timeout_seconds=240)


def attribution(name, mode="lifecycle", warm_up=WARM_UP, cycles=CYCLES, **fields):
    spec = replace(load_scenario(SCENARIOS / f"{name}.yaml").spec(()), **fields)
    request = FindSites(spec, mode=mode, warm_up=warm_up, count=cycles)
    return run_worker(request, LIMITS, lambda mark: None).value


@pytest.mark.parametrize(
    ("name", "agents", "owner", "kept_by", "objects", "size", "text", "cause"),
    [
        ("finalizer-cycle", 20, "finalize._registry", "class finalize", 7, 1450,
         "self.buffer = bytearray(1000)", "finalizer"),
        ("lru-cache", AGENTS, "planted.lookup (lru_cache)", "function lookup", 3, 1020,
         "return np.zeros(100)", None),
        ("pinned-views", AGENTS, "planted.ROWS", "module planted", 2, 8250,
         "table = np.zeros((100, 10))", None),
        ("callback-registry", AGENTS, "planted.SUBSCRIBERS", "module planted", 9, 1470,
         "moves = np.stack(", None),
        ("method-cache", AGENTS, "planted.Chart.area (lru_cache)", "function Chart.area", 3, 1050,
         "self.depths = np.zeros(100)", "method cache"),
    ],
)  # fmt: skip
def test_what_keeps_it_is_the_first_site(name, agents, owner, kept_by, objects, size, text, cause):
    found = attribution(f"leaks/{name}", passes=LEAN, agents=agents)
    first = found.sites[0]
    assert (first.owner, first.kept_by[0], first.seen_by) == (owner, kept_by, "object graph")
    assert first.objects_per_cycle == agents * objects
    assert first.bytes_per_cycle == pytest.approx(agents * size, rel=0.05)
    assert first.lines[0].text.startswith(text)
    assert first.lines[0].path == "planted.py"
    assert (first.cause.kind if first.cause else None) == cause
    assert len(found.sites) == 1, found.sites[1:]


def test_a_cycle_that_python_cannot_see_is_said_link_by_link_with_its_line():
    (first,) = attribution("leaks/object-grid", passes=LEAN, agents=AGENTS).sites
    assert (first.owner, first.kept_by) == ("Grid.cells", ("Grid", "Walker.grid", "Grid.cells"))
    assert first.objects_per_cycle == AGENTS * 4
    assert first.bytes_per_cycle == pytest.approx(AGENTS * 2600, rel=0.05)
    made = first.yours[0]
    assert made.text == "self.cells = np.empty((5, 5), dtype=object)"
    assert first.cause.says == (
        f"Each Grid is kept by a cycle through a NumPy object array (made at {made.place}), which "
        "Python's collector cannot see into: Grid.cells -> Walker.grid -> Grid."
    )


def test_an_exception_keeps_what_its_frames_had():
    (first,) = attribution("leaks/kept-exception", passes=LEAN, agents=AGENTS).sites
    assert (first.owner, first.type_name) == ("planted.ERRORS", "ValueError")
    assert first.bytes_per_cycle > AGENTS * 8_000
    assert first.lines[0].text == "samples = np.zeros(1_000)"
    assert (first.cause.kind, "ValueError" in first.cause.says) == ("exception", True)


def test_garbage_that_its_finalizer_makes_anew_is_named():
    (first,) = attribution("leaks/endless-finalizer", passes=LEAN, agents=AGENTS).sites
    assert first.owner == "Phoenix.__del__"
    assert first.objects_per_cycle == 2
    assert first.bytes_per_cycle == pytest.approx(1150, rel=0.05)
    assert sum(line.bytes_per_cycle for line in first.lines) == pytest.approx(1150, rel=0.05)
    assert first.lines[0].text == "self.ashes = bytearray(1000)"
    assert first.cause.says.startswith("Garbage never ends: finalizers (Phoenix.__del__)")


def test_interned_names_stay_in_some_versions_of_python():
    found = attribution("leaks/interned-names", cycles=6, passes=LEAN, agents=AGENTS)
    if not (3, 12) <= sys.version_info[:3] < (3, 12, 7):
        assert found.sites == ()
        return
    first = found.sites[0]
    assert first.lines[0].text.startswith("sys.intern(")
    assert first.objects_per_cycle == AGENTS * 10
    assert first.cause.kind == "interned names"


def test_a_native_buffer_is_found_by_memray_to_the_byte():
    found = attribution("leaks/native-buffer", cycles=6, passes=LEAN)
    assert found.native_bytes_per_cycle == pytest.approx(272, abs=64), "what malloc takes for 256"
    assert [(site.seen_by, site.bytes_per_cycle) for site in found.sites] == [("memray", 256)]
    (line,) = found.sites[0].lines
    assert (line.path, line.text) == ("planted.py", '_libc.strdup(b"x" * 255)')


def test_a_cache_that_is_full_is_no_site():
    assert attribution("leaks/saturating-cache", passes=LEAN).sites == ()


def test_pymdps_own_leak_is_named_with_what_keeps_the_agents():
    found = attribution("leaks/prev-actions", "steps", warm_up=2, steps=STEPS, agents=AGENTS)
    (first,) = found.sites
    assert first.owner == "Agent.prev_actions"
    assert first.objects_per_cycle == AGENTS * STEPS
    # An array of one number: its header, its shape, its data, and its place in the list.
    assert first.bytes_per_cycle == AGENTS * STEPS * (96 + 16 + 8 + 8)
    assert first.kept_by == ("Agent", "the living population"), "and nothing of how memprof does it"
    assert first.lines[0].path == "pymdp/legacy/control.py"
    assert first.type_name == "ndarray"


def test_agents_that_come_and_go_leave_no_site():
    """NumPy keeps up to seven blocks of shapes of each size; until it has them, each is a site."""
    assert attribution("leaks/prev-actions", warm_up=10, steps=2, agents=AGENTS).sites == ()


def test_the_pass_history_keeps_no_action_but_the_last():
    """Which is the very object that `Agent.action` is, and stays it."""
    found = attribution(
        "leaks/prev-actions",
        "steps",
        warm_up=2,
        steps=STEPS,
        agents=AGENTS,
        passes=(*LEAN, "history"),
    )
    kept = [site for site in found.sites if site.owner == "Agent.prev_actions"]
    assert sum(site.objects_per_cycle for site in kept) <= AGENTS < AGENTS * STEPS


def test_eager_jax_is_named_by_the_line_that_traces():
    found = attribution("leaks/eager-jax", "steps", warm_up=1)
    first = found.sites[0]
    assert (first.seen_by, first.traces_per_cycle) == ("jax", 1)
    assert first.lines[0].path == "pymdp/control.py"
    assert "lax.scan(" in first.lines[0].text
    assert first.bytes_per_cycle > 1_000_000
    assert all(site.bytes_per_cycle < 0.1 * first.bytes_per_cycle for site in found.sites[1:])
