"""Advice on real PyMDP agents whose faults are planted, and the lines that a report prints."""

import numpy as np
import pytest

from memprof.profile.next_step import next_step
from tests.conftest import run_command

MODEL = """
import numpy as np
import heavy_of_ours
from pymdp.legacy.agent import Agent


class Hoarder(Agent):
    def infer_states(self, observation):
        self.log.append(bytes(152 - 33))
        return super().infer_states(observation)


def make(agent):
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0] = np.eye(40)
    B[0] = np.stack([np.eye(40)[:, np.roll(range(40), n)] for n in range(4)], axis=2)
    if agent == 2:
        B[0][:, 0, 0] = np.roll(B[0][:, 0, 0], 1)
    D = np.empty(1, dtype=object)
    D[0] = np.eye(90)[4, :40]
    found = Hoarder(A=A, B=B, D=D)
    found.log = []
    return found
"""


@pytest.mark.usefixtures("whole_imports")
def test_planted_faults_are_found_by_a_real_worker(memprof, scenario):
    path = scenario(
        model={"kind": "factory", "callable": "planted:make"}, agents=4, passes=[],
        instruments=["pympler"], effort="normal",
    )  # fmt: skip
    (path.parent / "planted.py").write_text(MODEL)
    (path.parent / "heavy_of_ours.py").write_text("HELD = bytearray(b'1') * 40_000_000\n")
    run = memprof("profile", path)
    assert run.code == 0, run.err
    report = run.report()
    before = report["variants"]["before"]
    content = {row["component"]: row for row in before["contents"]}
    assert [content["A"][k] for k in ("compared", "alike", "copies")] == [4, 4, 3]
    assert [content["B"][k] for k in ("compared", "alike", "copies")] == [4, 3, 2]
    assert content["A"]["number_bytes"] == 40 * 40 * 8
    assert content["B"]["zeros"] == pytest.approx(0.975)
    gains = {row["attribute"]: row["bytes_per_step"] for row in before["gains"]}
    assert set(gains) == {"Hoarder.log", "Hoarder.prev_actions"}
    assert gains["Hoarder.log"] == pytest.approx(152 + 8, abs=8)
    imports = {(row["package"], row["asked_by"]): row["private_bytes"] for row in before["imports"]}
    assert imports["heavy_of_ours", "model"] == pytest.approx(40e6, rel=0.05)
    assert imports["pandas", "pymdp"] > 5e6
    advice = {each["finding"]: each for each in report["advice"]}
    assert {each["kind"] for each in report["advice"]} >= {"alike", "growth", "imports", "views"}
    assert "B is the same for 3 of 4 agents." in advice
    assert "D and A are the same for all 4 agents." in advice
    (views,) = (each for each in report["advice"] if each["kind"] == "views")
    assert views["stake_bytes"] == pytest.approx(4 * (90 * 90 - 40) * 8, rel=0.01)
    assert all(each["solved_by"] == "" for each in report["advice"])
    assert all(each["saves_bytes"] is None for each in report["advice"])
    assert f"memprof profile {path} --passes auto" in run.out
    assert "## Advice" in (run.folder / "reports" / "case.md").read_text()


@pytest.mark.usefixtures("whole_imports")
def test_a_plan_that_solves_it_is_said_to(tmp_path, scenario):
    path = scenario(
        model={"kind": "grid_world", "size": 15}, passes=["lean_imports", "share", "history"],
        instruments=["pympler"], steps=4, history_steps=2,
    )  # fmt: skip
    run = run_command(tmp_path, "profile", path)
    assert run.code == 0, run.err
    report = run.report()
    found = {each["kind"]: each for each in report["advice"]}
    assert found["alike"]["solved_by"] == "share"
    share = next(row for row in report["passes"] if row["name"] == "share")
    assert found["alike"]["saves_bytes"] == pytest.approx(4 * share["saved_bytes_per_agent"])
    assert found["imports"]["solved_by"] == "lean_imports"
    assert found["imports"]["saves_bytes"] > 3e7
    left = {row["package"] for row in report["variants"]["after"]["imports"]}
    assert not left & {"pandas", "seaborn", "matplotlib"}
    assert found["growth"]["solved_by"] == "history"
    assert "lean_imports acts before PyMDP is imported" in " ".join(run.out.split())


def agents():
    from pymdp.legacy import utils
    from pymdp.legacy.agent import Agent

    for _ in range(3):
        yield Agent(
            A=utils.to_obj_array(np.eye(4)), B=utils.to_obj_array(np.dstack([np.eye(4)] * 2))
        )


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        (("share",), {}),
        (("share", "history", "pool", "template"), {"history_steps": 4, "keep": ["qs", "action"]}),
        (("lean_imports", "template", "working_set"), {"working_set": 2**20}),
    ],
)
def test_the_lines_that_are_printed_work_on_real_agents(plan, options, tmp_path):
    report = _report(plan, options)
    found = next_step(report)
    names = {"agents": list(agents())}
    exec(found.code, names)  # as a user would
    with names["population"] as population:
        assert len(population) == 3
        with population.activate(1) as agent:
            agent.infer_states([2])
            agent.infer_policies()
            agent.sample_action()
            assert np.argmax(agent.qs[0]) == 2


def _report(plan, options):
    """As if the whole plan had been found to be needed."""
    from msgspec.structs import replace

    from memprof.export.json_text import parse
    from memprof.values.profile import PassResult
    from tests.conftest import ROOT

    example = parse((ROOT / "reports" / "examples" / "grid-29.json").read_text())
    was = example.variants.before.per_agent.marginal_bytes
    costs = [was * 0.5**count for count in range(1, len(plan))] + [1000.0]
    after = replace(example.variants.after, passes=plan)
    return replace(
        example,
        scenario=replace(example.scenario, passes=plan, options=options),
        variants=replace(example.variants, after=after),
        passes=tuple(
            PassResult(
                name, "exact", 1.0, 1.0, "saves", "", marginal_bytes=cost, ci95_bytes=(cost, cost)
            )
            for name, cost in zip(plan, costs, strict=True)
        ),
    )
