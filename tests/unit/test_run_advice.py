"""What a run's report advises, on a real run's report with other figures."""

import pytest
from msgspec.structs import replace

from memprof.export.json_text import parse
from memprof.run.advice import advise
from memprof.text import format_size
from memprof.values.watch import Growth, OperationUse, Saving
from memprof.values.watch_jax import Arrays, Compiling, Rollout, TracedLine
from tests.conftest import ROOT
from tests.report_views import EXAMPLES


@pytest.fixture(scope="module")
def ran():
    return parse((ROOT / "reports" / "examples" / EXAMPLES["run"]).read_text())


def found(report, kind):
    return [each for each in advise(report) if each.kind == kind]


def steps(report):
    (calls,) = [use.calls for use in report.watched.operations if use.operation == "sample_action"]
    return calls


def seen(report, **fields):
    return replace(report, watched=replace(report.watched, **fields))


def of_kind(report, **fields):
    return replace(report, kinds=(replace(report.kinds[0], **fields),))


def test_what_is_alike_is_advised_with_what_was_measured_and_only_then(ran):
    (advice,) = found(ran, "alike")
    (kind,) = ran.kinds
    assert "memprof.optimize(agents)" in advice.remedy
    assert f"{kind.saving.bytes_per_agent:.0f} B each" in advice.remedy
    each = kind.per_agent.bytes - kind.saving.bytes_per_agent
    assert advice.saves_bytes == pytest.approx(kind.agents * each)
    for saving in (None, replace(kind.saving, exact=False)):
        assert not found(of_kind(ran, saving=saving), "alike")
    large = replace(kind.saving, bytes_per_agent=0.9 * kind.per_agent.bytes)
    assert not found(of_kind(ran, saving=large), "alike")
    shared = Saving(49, 48.0, None, exact=True, pass_name="share", once_bytes=2000)
    (advice,) = found(of_kind(ran, backend="jax", saving=shared), "alike")
    assert "48 B each, and 2.00 KB once" in advice.remedy
    assert "49 agents compared" in advice.evidence


def test_growth_is_advised_where_it_is_one_and_histories_with_it(ran):
    assert not found(seen(ran, growth=None), "growth")
    leak = Growth(50, 5, 45, "leak", 7000.0, (6900.0, 7100.0), 400.0)
    histories, process = sorted(found(seen(ran, growth=leak), "growth"), key=lambda a: a.remedy)
    assert 'passes=["history"]' in histories.remedy
    assert f"{steps(ran) / 50:.0f} calls of sample_action per agent" in histories.evidence
    assert "grows by 7.00 KB in each step of 50 agents" in process.finding
    assert process.stake_bytes == 40 * 7000
    clean = replace(leak, verdict="clean")
    assert not found(seen(ran, growth=clean), "growth")


def test_lines_that_trace_in_every_step_are_told_from_those_that_do_so_at_first(ran):
    lived = steps(ran)
    line = TracedLine("loop.py", 7, "q_pi, _ = agent.infer_policies(qs)", lived, lived)
    first = replace(line, line=3, traces=90, steps=1)
    compiling = Compiling(lived + 90, lived, 61.0, (line, first))
    (advice,) = found(seen(ran, compiling=compiling), "retracing")
    assert f"loop.py:7: {lived:,} traces, in {lived:,} of {lived:,} steps" in advice.evidence
    assert "loop.py:3" not in advice.evidence
    assert "jax.jit" in advice.remedy
    assert not found(seen(ran, compiling=replace(compiling, lines=(first,))), "retracing")


def test_what_rollouts_return_of_every_step_is_advised_where_it_is_much(ran):
    parts = (Arrays("info['pA']", 6000, 1), Arrays("info['qs']", 3000, 1))
    rolled = Rollout(None, 4, 9.0, 10_000, parts)
    (advice,) = found(seen(ran, rollouts=(rolled,)), "rollout")
    assert advice.stake_bytes == 4 * 6000
    assert "6.00 KB of 10.0 KB in each of 4 calls" in advice.evidence
    assert not found(seen(ran, rollouts=(replace(rolled, parts=parts[1:]),)), "rollout")


def test_a_call_that_needs_more_than_all_agents_hold_is_advised_pool(ran):
    held = ran.kinds[0].per_agent.bytes * ran.kinds[0].agents
    for size, count in ((int(held * 2), 1), (int(held / 2), 0)):
        use = OperationUse("infer_policies", 9, 1.0, 0.0, 1, peak_bytes=size, peaks=3)
        advice = found(seen(ran, operations=(use,)), "transient")
        assert len(advice) == count
    assert not found(replace(seen(ran, operations=(use,)), kinds=()), "transient")


def test_agents_that_take_next_to_nothing_are_said_to(ran):
    assert not found(seen(ran, peak_bytes=120_000_000), "few_agents")
    (advice,) = found(seen(ran, peak_bytes=900_000_000), "few_agents")
    held = format_size(50 * ran.kinds[0].per_agent.bytes)
    assert f"50 agents take {held} of the 900 MB" in advice.evidence
