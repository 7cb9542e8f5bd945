"""`memprof density --predict` on real PyMDP agents: against what they take, and against programs
of populations that were built."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import scenario_of
from memprof.values.requests import Forecast, Grow
from tests.conftest import ROOT

TOLERANCE = 0.05
AGENTS = 60
MB = 10**6


def spec(passes=(), *, size=3, agents=AGENTS, **fields):
    given = {
        "name": "case",
        "backend": "jax",
        "model": {"kind": "grid_world", "size": size},
        "agents": agents,
        "steps": 3,
        "passes": [*passes],
        **fields,
    }
    return scenario_of(given, ROOT / "case.yaml").spec(tuple(passes))


def work(request):
    return run_worker(request, Limits(timeout_seconds=300), lambda mark: None).value


@pytest.mark.usefixtures("users_compiler")
def test_a_population_takes_what_was_predicted_and_each_part_counts(monkeypatch):
    """Without outputs, temporaries or what agents hold, the prediction is off by far more. A
    program that comes from a file takes other memory than one that is compiled."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    batch = spec(size=20)
    (found,) = work(Forecast(batch, sizes=(AGENTS,))).sizes
    run = work(Grow(batch, sizes=(AGENTS,)))
    measured = run.points[-1].peak_rss_bytes - run.baseline.rss_bytes
    account = found.account
    assert found.peak_bytes == pytest.approx(measured, rel=TOLERANCE)
    for part in (
        account.program.output_bytes,
        account.program.temporary_bytes,
        account.held_bytes,
    ):
        assert found.peak_bytes - part != pytest.approx(measured, rel=TOLERANCE)


def population(agents, passes, **fields):
    from memprof.instruments import DirectCalls, live
    from memprof.populations.jax_agents import JaxPopulation

    chosen = spec(passes, agents=agents, **fields)
    found = JaxPopulation(chosen, DirectCalls())
    found.grow(agents)
    live(found, range(agents), range(chosen.steps))
    return found


@pytest.mark.parametrize(
    ("passes", "fields"),
    [
        ((), {"loop": "jit", "learning": ["A", "B"]}),
        (("share",), {"loop": "jit", "learning": ["A", "B"]}),
        (("template",), {"loop": "jit", "learning": ["B"], "chunk": 8}),
        (("jit",), {"loop": "rollout", "learning": ["A"]}),
        (("share",), {"loop": "rollout", "learning": ["A"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_few_agents_tell_the_program_of_many(passes, fields):
    """The same account as those of a population that was built has."""
    few, many = (population(agents, passes, **fields).account(24) for agents in (4, 24))
    assert few.program == many.program
    assert few.device_bytes == many.device_bytes
    assert few.program.agents == (8 if "chunk" in fields else 24)
    assert few.program.steps == (3 if fields["loop"] == "rollout" else 1)
    assert min(few.program.argument_bytes, few.program.output_bytes) > 0


def test_what_agents_hold_is_what_they_hold():
    """Of a batch, by the arrays of PyMDP's own agent."""
    import jax

    many = population(24, (), loop="jit")
    held = sum(
        array.nbytes
        for _, component, root in many.holdings()
        if component in ("A", "B", "C", "D", "E")
        for array in jax.tree_util.tree_leaves(root)
    )
    account = population(4, (), loop="jit").account(24)
    assert held < account.held_bytes < 1.1 * held  # and beliefs, observations, keys


def test_the_best_chunk_is_the_largest_that_holds_as_many():
    from memprof.density.predict import _best_first
    from memprof.values.instruments import Account, ProgramMemory
    from memprof.values.prediction import Forecasted

    def found(agents, chunk):
        program = ProgramMemory(chunk, 1, 0, 0, 0, 0, 0)
        return Forecasted(chunk, Account(agents, program, 0, 0), 0, 0)

    fits = [found(1000, 16), found(995, 64), found(900, 256), found(400, 1024)]
    assert [each.chunk for each in _best_first(fits)] == [64, 16, 256, 1024]


def test_the_command_says_how_many_fit_in_a_device_that_is_not_here(memprof, scenario):
    path = scenario(
        backend="jax",
        loop="jit",
        passes=[],
        instruments=[],
    )
    run = memprof("density", path, "--predict", "--device-memory", "1GB", "--agents", 100)
    assert run.code == 0, run.err
    report = run.report("case-predict")
    assert (report["kind"], report["limit"]) == ("prediction", "--device-memory")
    (found,) = report["predictions"]
    best, asked = found["fitting"][0], found["scenario"]
    assert 0.97e9 < best["peak_bytes"] <= 1e9
    assert asked["account"]["agents"] == 100
    assert best["account"]["agents"] == pytest.approx(1e9 / asked["peak_bytes"] * 100, rel=0.05)
    assert [each["kind"] for each in report["warnings"]] == ["another_device"]
    assert "In 1.00 GB (--device-memory), " in run.out
    assert "agents fit without passes." in " ".join(run.out.split())
    again = memprof("report", "reports/case-predict.json")
    assert again.code == 0, again.err
    assert "In 1.00 GB (--device-memory), " in again.out


def test_a_loop_without_one_program_is_not_predicted_and_the_other_variant_is(memprof, scenario):
    path = scenario(
        backend="jax",
        model={"kind": "grid_world", "size": 3},
        loop="eager",
        passes=["jit"],
        instruments=[],
        agents=4,
        steps=2,
    )
    run = memprof("density", path, "--predict", "--device-memory", "10MB", "--full")
    assert run.code == 0, run.err
    before, after = run.report("case-predict")["predictions"]
    assert "set loop: jit, or add the" in before["refused"]
    assert before["fitting"] == []
    assert after["refused"] == ""
    assert "before: not predicted." in " ".join(run.out.split())
    alone = memprof("density", path, "--predict", "--passes", "none")
    assert alone.code == 2
    assert "loop: eager runs many small programs" in alone.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--predict: needs agents that live by a compiled program, as with backend jax"),
        (["--verify"], "--verify: --predict runs no population"),
        (["--memory-limit", "1GB"], "--memory-limit: --predict runs no population"),
        (["--device-memory", "80XB"], "--device-memory: expected a size such as"),
        (["--device-memory", "0"], "--device-memory: expected a size above 0"),
    ],
)
def test_what_cannot_be_predicted_is_refused(memprof, scenario, options, said):
    run = memprof("density", scenario(), "--predict", *options)
    assert run.code == 2
    assert said in run.err


def test_a_device_is_for_predictions_alone(memprof, scenario):
    run = memprof("density", scenario(), "--device-memory", "80GB")
    assert run.code == 2
    assert "--device-memory: is for --predict" in run.err


def test_passes_are_not_searched_without_running(memprof, scenario):
    path = scenario(backend="jax", passes=["auto"], instruments=[])
    run = memprof("density", path, "--predict")
    assert run.code == 2
    assert "--predict: cannot search for passes" in run.err


def test_where_pymdp_rolls_in_parts_nothing_is_predicted():
    found = work(Forecast(spec(loop="rollout", agents=4), sizes=(4,)))
    assert "PyMDP's rollout is compiled in parts" in found.refused
    assert found.sizes == ()
    assert replace(found, refused="").few == 4
