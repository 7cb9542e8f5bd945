"""`memprof leak` on real agents: a short form of `make soak`."""

import pytest

from tests.conftest import SCENARIOS

BOUNDED = ("--passes", "history,pool,template", "--history-steps", 4)


@pytest.mark.parametrize(
    ("scenario", "mode", "options"),
    [
        ("grid-5", "lifecycle", ("--passes", "policies,history,pool,template")),
        ("grid-5", "steps", BOUNDED),
        ("learning-10", "lifecycle", ("--passes", "sparse,belief")),
        ("leaks/saturating-cache", "lifecycle", ()),
        ("grid-10-jax", "lifecycle", ("--passes", "share,template")),
        ("leaks/eager-jax", "steps", ("--passes", "jit")),
    ],
)
@pytest.mark.usefixtures("users_compiler")
def test_what_does_not_leak_is_clean_down_to_a_stated_floor(memprof, scenario, mode, options):
    path = SCENARIOS / f"{scenario}.yaml"
    run = memprof(
        "leak", path, "--mode", mode, "--agents", 10, "--steps", 2, "--repeats", 1, *options
    )
    assert run.code == 0, run.out + run.err
    leak = run.report(f"{path.stem}-leak-{mode}")["leak"]
    assert leak["verdict"] == "clean"
    assert leak["floor_bytes"] < (1000 if "jax" in scenario else 256)
    assert leak["compilations_per_cycle"] in (None, 0), "a program per population would stay"
    objects = next(each for each in leak["signals"] if each["name"] == "objects")
    assert objects["floor"] == 1


@pytest.mark.parametrize(
    ("scenario", "signal", "per_cycle", "site"),
    [
        ("small-object", "objects", 1, "planted.NOTES"),
        ("native-buffer", "native", 272, "planted.py:75"),
        ("diary", "objects", 5 * 2, "Diary.seen (planted.py:151)"),
    ],
)
def test_the_smallest_planted_leaks_are_found_and_named(memprof, scenario, signal, per_cycle, site):
    run = memprof("leak", SCENARIOS / "leaks" / f"{scenario}.yaml", "--repeats", 1)
    assert run.code == 1, run.out + run.err
    report = run.report(f"{scenario}-leak")
    found = next(each for each in report["leak"]["signals"] if each["name"] == signal)
    assert found["verdict"] == "leak"
    assert found["per_cycle"] == pytest.approx(per_cycle, rel=0.05)
    assert f"first at {site}" in run.err
    assert f"first at {site}" in " ".join(run.out.split())


LEAKY = """
import numpy as np
from pymdp.legacy.agent import Agent

class Leaky(Agent):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seen = []

    def infer_states(self, *arguments, **keywords):
        drawn = np.random.rand(34)
        self.seen.append(drawn)
        return super().infer_states(*arguments, **keywords)

def make(agent):
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(4)
    B[0] = np.stack([np.eye(4), np.roll(np.eye(4), 1, axis=0)], axis=2)
    return Leaky(A=A, B=B)
"""


def test_an_agents_own_attribute_is_named_though_agents_rest_as_records(memprof, tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY)
    (tmp_path / "leaky.yaml").write_text(
        "name: leaky\nmodel: {kind: factory, callable: 'leaky:make'}\n"
        "passes: [share, pool, template]\nagents: 5\nsteps: 2\n"
    )
    run = memprof("leak", "leaky.yaml", "--effort", "quick", "--repeats", 1, "--full")
    assert run.code == 1, run.out + run.err
    leak = run.report("leaky-leak")["leak"]
    assert leak["passes"] == ["share", "pool", "template"]
    heap = next(each for each in leak["signals"] if each["name"] == "native")
    assert heap["per_cycle"] == pytest.approx(5 * 2 * 34 * 8, rel=0.1), "numbers, at rest"
    assert leak["sites_without"] == ["template"]
    site = leak["sites"][0]
    made = LEAKY.splitlines().index("        drawn = np.random.rand(34)") + 1
    assert (site["owner"], site["objects_per_cycle"]) == ("Leaky.seen", 5 * 2)
    where = f"Leaky.seen (made at leaky.py:{made}, added at leaky.py:{made + 1})"
    assert f"first at {where}" in run.err
    assert site["kept_by"] == ["Leaky", "the living population"]
    known = sum(each["bytes_per_cycle"] for each in leak["sites"])
    active = 5 * 2 * (34 * 8 + 112 + 16 + 8)  # an array, its shape, and its place in the list
    assert known + leak["unattributed_bytes"] == pytest.approx(active, rel=0.1)
    assert not [each for each in leak["sites"] if each["owner"].startswith("memprof")]
    assert "from agents that stay active (without template)" in " ".join(run.out.split())


def test_the_default_scenario_has_a_verdict(memprof):
    run = memprof("leak", "--mode", "lifecycle")
    assert run.code == 0, run.out + run.err
    assert "Clean: nothing grows; a leak of" in run.out
    assert "Written: reports/default-leak-lifecycle.{json" in run.out


def test_pymdps_own_leak_is_found_and_ends_with_a_bounded_history(memprof):
    path = SCENARIOS / "leaks" / "prev-actions.yaml"
    short = ("--mode", "steps", "--steps", 2, "--repeats", 1)
    plain = memprof("leak", path, *short)
    assert plain.code == 1
    leak = plain.report("prev-actions-leak-steps")["leak"]
    assert leak["sites"][0]["owner"] == "Agent.prev_actions"
    assert leak["bytes_per_agent"] == pytest.approx(2 * 175, rel=0.1)
    assert "--passes history --history-steps" in " ".join(plain.out.split())
    held = memprof("leak", path, *short, "--passes", "history", "--history-steps", 8)
    assert held.code == 0


KEEPS = """
import numpy as np
from pymdp.legacy.agent import Agent

class Keeper(Agent):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.kept = []

    def reset(self, init_qs=None):
        if hasattr(self, "kept"):
            drawn = np.random.rand(40)
            self.kept.append(drawn)
        return super().reset(init_qs)

class Tidy(Agent):
    def __init__(self, **arguments):
        self.seen = []
        super().__init__(**arguments)

    def infer_states(self, *arguments, **keywords):
        self.seen.append(np.zeros(40))
        return super().infer_states(*arguments, **keywords)

    def reset(self, init_qs=None):
        self.seen.clear()
        return super().reset(init_qs)

def arguments(**more):
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(4)
    B[0] = np.stack([np.eye(4), np.roll(np.eye(4), 1, axis=0)], axis=2)
    return {"A": A, "B": B, **more}

def keeper():
    return Keeper(**arguments())

def tidy():
    return Tidy(**arguments())

def mmp():
    return arguments(inference_algo="MMP", inference_horizon=2)
"""


def keeps(folder, model, **fields):
    (folder / "keeps.py").write_text(KEEPS)
    lines = [f"{name}: {value}" for name, value in fields.items()]
    (folder / "keeps.yaml").write_text(
        f"name: keeps\nmodel: {{kind: factory, callable: 'keeps:{model}'}}\nagents: 5\nsteps: 5\n"
        "episodes: {steps: 3}\nrepeats: 1\neffort: quick\n" + "\n".join(lines)
    )
    return folder / "keeps.yaml"


def test_what_a_reset_leaves_behind_is_a_leak_with_its_line(memprof, tmp_path):
    path = keeps(tmp_path, "keeper", passes="[share, template]")
    run = memprof("leak", path)
    assert run.code == 1, run.out + run.err
    leak = run.report("keeps-leak")["leak"]
    assert (leak["mode"], leak["steps"]) == ("steps", 6)
    site = leak["sites"][0]
    assert (site["owner"], site["objects_per_cycle"]) == ("Keeper.kept", 5 * 2)
    made = KEEPS.splitlines().index("            drawn = np.random.rand(40)") + 1
    where = f"Keeper.kept (made at keeps.py:{made}, added at keeps.py:{made + 1})"
    assert f"first at {where}" in run.err


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("tidy", ("--mode", "steps", "--passes", "history", "--history-steps", 4)),
        ("mmp", ("--mode", "steps", "--passes", "none")),
    ],
)
def test_what_a_reset_empties_is_no_growth(memprof, tmp_path, model, options):
    path = keeps(tmp_path, model)
    run = memprof("leak", path, *options)
    assert run.code == 0, run.out + run.err
    path.write_text(path.read_text().replace("episodes: {steps: 3}\n", ""))
    run = memprof("leak", path, *options)
    assert run.code == 1, run.out + run.err


def test_records_that_grow_as_agents_learn_are_no_leak(memprof):
    run = memprof("leak", SCENARIOS / "learning-10.yaml", "--mode", "steps", "--passes",
                  "history,share,template", "--history-steps", 4, "--agents", 5, "--steps", 2,
                  "--repeats", 1)  # fmt: skip
    assert run.code == 0, run.out + run.err
    report = run.report("learning-10-leak-steps")
    assert report["leak"]["passes"] == ["history", "share"]
    assert "records_grow" in [each["kind"] for each in report["warnings"]]


ONCE = """
import functools
import numpy as np

KEPT = []

@functools.cache
def is_first_worker():
    try:
        open("first", "x").close()
    except FileExistsError:
        return False
    return True

def make(agent):
    if is_first_worker():
        KEPT.append(bytearray(5000))
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(4)
    B[0] = np.stack([np.eye(4), np.roll(np.eye(4), 1, axis=0)], axis=2)
    return {"A": A, "B": B}
"""


def test_repeats_that_do_not_agree_on_a_mode_decide_nothing(memprof, tmp_path):
    """The first leaks as agents come and go, and does not come to the other mode."""
    (tmp_path / "once.py").write_text(ONCE)
    (tmp_path / "once.yaml").write_text(
        "name: once\nmodel: {kind: factory, callable: 'once:make'}\nagents: 5\nsteps: 2\n"
    )
    run = memprof("leak", "once.yaml", "--effort", "quick", "--repeats", 3)
    assert run.code == 3, run.out + run.err
    report = run.report("once-leak")
    leak = report["leak"]
    assert (leak["mode"], leak["verdict"], leak["repeats"]) == ("lifecycle", "inconclusive", 3)
    native = next(each for each in leak["signals"] if each["name"] == "native")
    gained = sorted((series[-1] - series[5]) / (len(series) - 6) for series in native["series"])
    assert native["verdict"] == "inconclusive"
    assert gained == [pytest.approx(each, abs=500) for each in (0, 0, 5 * 5024)]
    (steps,) = report["also"]
    assert (steps["mode"], steps["verdict"], steps["repeats"]) == ("steps", "clean", 2)
