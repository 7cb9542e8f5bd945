"""`memprof gate` on calibration agents, which cost exactly their size.

A regression is planted in the baseline: it gets the report of a lighter population under the
scenario's own hash, as if the code had changed since. Steps of calibration agents take no time, so
a busy machine may take a thousand times as long; and what they cost together is in the peak.
"""

import json
import re
import signal
import subprocess
import time

import jsonschema
import junitparser
import numpy as np
import pytest
import yaml

from memprof.gate.case import case_of
from memprof.scenario import load_scenario
from tests.conftest import COMMAND, run_command

MIB = 2**20
BASELINE = "memprof-baseline.json"
CASE = {
    "name": "case",
    "backend": "fake",
    "model": {"kind": "buffer", "size": MIB},
    "agents": 4,
    "steps": 3,
    "repeats": 2,
    "instruments": [],
    "passes": [],
    "tolerances": {"step_ratio": "100000%", "peak_bytes": "64 MB"},
}
METRICS = ["marginal_bytes", "fixed_bytes", "peak_bytes", "growth_bytes_per_step", "step_ratio"]


def write(folder, size=MIB, file=None, model=None, **fields):
    """A scenario; its file has its name if no other is given."""
    chosen = {**CASE["model"], "size": size, **(model or {})}
    values = {**CASE, "model": chosen, **fields}
    path = folder / (file or f"{values['name']}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def planted(entry, path):
    """An entry under the hash of the scenario in a file: as if the code had changed since."""
    loaded = load_scenario(path)
    scenario = loaded.scenario.reported.flat()
    return {
        "file": path.name,
        "scenario_hash": case_of(loaded, {}).hash(),
        "report": {**entry["report"], "scenario": scenario},
    }


def keep(folder, **entries):
    """A baseline of these entries, as memprof writes it."""
    values = {"schema": "memprof.baseline/1", "scenarios": entries}
    file = folder / BASELINE
    file.write_text(json.dumps(values, indent=1) + "\n")
    return file


def changed(entry, **fields):
    """An entry from another environment."""
    report = entry["report"]
    return {**entry, "report": {**report, "environment": {**report["environment"], **fields}}}


def noisier(entry, extra):
    """An entry whose last worker found agents heavier by so many bytes."""
    copy = json.loads(json.dumps(entry))
    for point in copy["report"]["variants"]["before"]["samples"][-1]["points"]:
        for reading in ("heap_bytes", "private_bytes"):
            point["reading"][reading] += int(extra * point["agents"])
    return copy


def scenarios(run, name="gate"):
    return {each["name"]: each for each in run.report(name)["scenarios"]}


def metrics(run, scenario="case"):
    return {each["metric"]: each for each in scenarios(run)[scenario]["metrics"]}


def verdicts(run, scenario="case"):
    return {name: each["verdict"] for name, each in metrics(run, scenario).items()}


def measured(run):
    return "worker 1 of" in run.err


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A baseline of agents of 1 MiB, made by the command."""
    folder = tmp_path_factory.mktemp("made")
    write(folder)
    return run_command(folder, "gate", "case.yaml", "--update")


@pytest.fixture(scope="module")
def light(made):
    """The entry of that baseline."""
    return json.loads((made.folder / BASELINE).read_text())["scenarios"]["case"]


# ---------------------------------------------------------------- verdicts


def test_update_makes_a_baseline_and_says_so(made):
    assert made.code == 0, made.err
    assert verdicts(made) == dict.fromkeys(METRICS, "new")
    assert metrics(made)["marginal_bytes"]["now"] == pytest.approx(MIB, rel=0.001)
    assert made.report("gate")["updated"] == ["case"]
    assert scenarios(made)["case"]["repeats"] == [0, 2]
    said = words(made.out)
    assert "case new" in said
    assert "as before" not in said, "there was nothing before"
    assert f"to {BASELINE}: case." in said
    assert "Written: reports/gate.{json,md" in said
    written = json.loads((made.folder / BASELINE).read_text())
    assert written["schema"] == "memprof.baseline/1"
    (entry,) = written["scenarios"].values()
    assert entry["file"] == "case.yaml"
    assert len(entry["report"]["variants"]["before"]["samples"]) == 2
    assert [each.name for each in made.folder.iterdir() if each.name.startswith(".")] == []


def test_what_has_not_changed_is_the_same(memprof, tmp_path, light):
    write(tmp_path)
    file = keep(tmp_path, case=light)
    before = file.read_bytes()
    run = memprof("gate", "case.yaml")
    assert run.code == 0, run.err
    assert verdicts(run) == dict.fromkeys(METRICS, "same")
    found = metrics(run)["marginal_bytes"]
    assert found["was"] == pytest.approx(MIB, rel=0.001)
    assert found["now"] == pytest.approx(MIB, rel=0.001)
    assert found["allowed"] == pytest.approx(0.05 * found["was"])
    assert found["change_ci95"][0] <= found["change"] <= found["change_ci95"][1]
    assert "No metric changed by more than its tolerance." in words(run.out)
    assert scenarios(run)["case"]["repeats"] == [2, 2]
    assert file.read_bytes() == before


def test_a_saving_is_better(memprof, tmp_path, light):
    path = write(tmp_path, size=MIB // 2, repeats=1)
    keep(tmp_path, case=planted(light, path))
    run = memprof("gate", path.name)
    assert run.code == 0, run.err
    assert verdicts(run)["marginal_bytes"] == "better"
    assert metrics(run)["marginal_bytes"]["change"] == pytest.approx(-MIB / 2, rel=0.002)
    assert "Nothing is worse; case: marginal_bytes better by -524 KB per agent" in words(run.out)


def test_what_agents_gain_per_step_is_a_metric_of_its_own(memprof, tmp_path, light):
    path = write(tmp_path, model={"growth": 1000}, repeats=1)
    keep(tmp_path, case=planted(light, path))
    run = memprof("gate", path.name, "-q")
    assert run.code == 1
    found = metrics(run)["growth_bytes_per_step"]
    assert found["verdict"] == "worse"
    assert found["change"] == pytest.approx(1000, rel=0.2)
    assert "case: growth_bytes_per_step worse by +1." in run.err
    assert run.out == ""


def test_a_broken_budget_is_worse_whatever_the_baseline_says(memprof, tmp_path, light):
    """The budget is no part of what makes a scenario foreign."""
    path = write(tmp_path, budget={"per_agent": "1 MB"})
    keep(tmp_path, case=light)
    run = memprof("gate", path.name, "--repeats", 1)
    assert run.code == 1
    assert verdicts(run)["budget"] == "worse"
    assert verdicts(run)["marginal_bytes"] == "same"
    assert metrics(run)["budget"]["allowed"] == 1_000_000
    assert "case: budget worse (exceeded)" in run.err


def test_behaviour_that_diverges_makes_no_baseline(memprof, tmp_path):
    path = write(tmp_path, passes=["fake-break"], repeats=1, agents=2)
    run = memprof("gate", path.name, "--update", "-q")
    assert run.code == 1
    assert "equivalence worse (diverged with fake-break" in run.err
    assert not (tmp_path / BASELINE).exists()


def test_too_noisy_is_measured_again_until_it_is_decided(memprof, tmp_path, light):
    path = write(tmp_path)
    keep(tmp_path, case=noisier(light, 0.06 * MIB))
    run = memprof("gate", path.name)
    assert run.code == 0, run.err
    assert verdicts(run)["marginal_bytes"] == "same"
    assert scenarios(run)["case"]["repeats"] == [2, 3], "by Student's t of two and three workers"


def test_too_noisy_in_the_end_is_inconclusive(memprof, tmp_path, light):
    path = write(tmp_path, repeats=1)
    keep(tmp_path, case=noisier(light, 0.3 * MIB))
    run = memprof("gate", path.name, "--max-repeats", 2)
    assert run.code == 3
    assert verdicts(run)["marginal_bytes"] == "could_not_measure"
    assert verdicts(run)["fixed_bytes"] == "same"
    assert scenarios(run)["case"]["repeats"] == [2, 2]
    assert "case: marginal_bytes inconclusive (too noisy; " in run.err


def test_a_baseline_of_one_worker_says_at_once_what_it_cannot_judge(memprof, tmp_path):
    """And what it says to do makes one that can."""
    path = write(tmp_path, repeats=1)
    run = memprof("gate", path.name, "--update")
    assert run.code == 0, run.err
    (warning,) = scenarios(run)["case"]["warnings"]
    assert warning["kind"] == "wide_baseline"
    assert "step_ratio unknown from one worker" in warning["evidence"]
    assert "Commit the file" not in run.out
    remedy = re.search(r"run this command again with (--force --repeats \d)\.", words(run.out))
    run = memprof("gate", path.name, "--update", *remedy[1].split())
    assert run.code == 0, run.err
    assert scenarios(run)["case"]["warnings"] == []
    assert "Commit the file" in run.out


def test_auto_takes_the_plan_of_the_baseline(memprof, tmp_path):
    """A new search might come to another plan, and the plan is not what is judged."""
    path = write(tmp_path, passes=["fake-share"], repeats=1)
    assert memprof("gate", path.name, "--update", "-q").code == 0
    (entry,) = json.loads((tmp_path / BASELINE).read_text())["scenarios"].values()
    path = write(tmp_path, passes="auto", repeats=1)
    keep(tmp_path, case=planted(entry, path))
    run = memprof("gate", path.name)
    assert run.code == 0, run.err
    assert "worker 2 of 2: case: after" in run.err
    assert "auto" not in run.err
    assert verdicts(run)["equivalence"] == "same"
    assert metrics(run)["marginal_bytes"]["now"] < 1000, "they share their buffer"
    assert scenarios(run)["case"]["failure"] == ""


# ---------------------------------------------------------------- a regression, in all formats


@pytest.fixture(scope="module")
def worse(tmp_path_factory, light):
    """Agents of 2 MiB compared with agents of 1 MiB, with all that can be written about it."""
    folder = tmp_path_factory.mktemp("worse")
    path = write(folder, size=2 * MIB)
    keep(folder, case=planted(light, path))
    return run_command(
        folder, "gate", path.name, "--github", "--json", "all.json", "--junit", "junit.xml",
        "--benchmark-json", "benchmark.json", "--bencher-json", "ci/bencher.json",
        GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
    )  # fmt: skip


def test_a_regression_ends_with_1_and_names_the_metric_and_what_grew(worse):
    assert worse.code == 1
    said = "case: marginal_bytes worse by +1.05 MB per agent (buffer: +1.05 MB private per agent)"
    assert f"memprof: {said}" in words(worse.err)
    assert "case: marginal_bytes worse by +1.05 MB per agent." in words(worse.out)
    assert said.removeprefix("case: ") in words(worse.out)
    found = metrics(worse)["marginal_bytes"]
    assert found["verdict"] == "worse"
    assert found["was"] == pytest.approx(MIB, rel=0.001)
    assert found["now"] == pytest.approx(2 * MIB, rel=0.001)
    low, high = found["change_ci95"]
    assert low <= MIB <= high or found["change"] == pytest.approx(MIB, rel=0.001)
    (grown,) = scenarios(worse)["case"]["components"]
    assert grown["component"] == "buffer"
    assert grown["private_bytes"] == pytest.approx(MIB, rel=0.001)
    assert verdicts(worse)["growth_bytes_per_step"] == "same"


def test_its_json_keeps_the_contract(worse):
    report = json.loads((worse.folder / "all.json").read_text())
    assert report == worse.report("gate")
    assert list(report)[:2] == ["schema", "kind"]
    interval = {"type": ["array", "null"], "items": {"type": "number"}}
    number = {"type": ["number", "null"]}
    jsonschema.validate(
        report,
        {
            "type": "object",
            "required": ["baseline", "updated", "alarms"],
            "properties": {
                "schema": {"const": "memprof.report/2"},
                "kind": {"const": "gate"},
                "complete": {"const": True},
                "scenarios": {
                    "minItems": 1,
                    "items": {
                        "required": ["name", "file", "repeats", "failure", "components", "passes"],
                        "properties": {
                            "metrics": {
                                "minItems": 5,
                                "items": {
                                    "required": ["metric", "unit", "verdict", "change", "allowed"],
                                    "properties": {
                                        "was": number,
                                        "now": number,
                                        "was_ci95": interval,
                                        "now_ci95": interval,
                                        "change_ci95": interval,
                                    },
                                },
                            }
                        },
                    },
                },
            },
        },
    )


def test_its_junit_has_a_failure_where_it_should(worse):
    (suite,) = junitparser.JUnitXml.fromfile(str(worse.folder / "junit.xml"))
    assert suite.name == "case"
    cases = {each.name: each for each in suite}
    assert list(cases) == ["measured", *METRICS]
    failed = {name for name, each in cases.items() if not each.is_passed}
    assert "marginal_bytes" in failed
    (failure,) = cases["marginal_bytes"].result
    assert isinstance(failure, junitparser.Failure)
    assert "marginal_bytes worse by +1.05 MB per agent" in failure.message
    assert cases["measured"].is_passed
    assert suite.failures == len(failed)
    assert suite.errors == 0


def test_its_figures_are_there_for_those_who_draw_histories(worse):
    drawn = json.loads((worse.folder / "benchmark.json").read_text())
    (marginal,) = [each for each in drawn if each["name"] == "case: marginal_bytes"]
    assert marginal["value"] == metrics(worse)["marginal_bytes"]["now"]
    assert marginal["unit"] == "bytes per agent"
    bencher = json.loads((worse.folder / "ci" / "bencher.json").read_text())
    assert bencher["case"]["marginal-bytes"]["value"] == marginal["value"]
    assert set(bencher["case"]) == {name.replace("_", "-") for name in METRICS}


def test_github_gets_annotations_and_a_summary(worse):
    (line, *_) = worse.out.splitlines()
    assert line.startswith("::error file=case.yaml,title=memprof%3A case%3A marginal_bytes worse::")
    assert "%0Athen: 1.05 MB" in line
    assert "worse by +1.05 MB per agent" in (worse.folder / "summary.md").read_text()
    assert "Written: reports/gate.{json,md" in words(worse.out)
    assert ", all.json, junit.xml" in words(worse.out)


# ---------------------------------------------------------------- outputs


def test_summaries_of_several_steps_follow_each_other(memprof, tmp_path, light):
    path = write(tmp_path)
    keep(tmp_path, other=light)
    for _ in range(2):
        run = memprof("gate", path.name, "-q", GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
        assert run.code == 3
    assert (tmp_path / "summary.md").read_text().count("the baseline has no scenario") >= 2


def test_a_summary_that_cannot_be_written_takes_no_report_along(memprof, tmp_path, light):
    path = write(tmp_path, repeats=1)
    keep(tmp_path, case=light)
    nowhere = tmp_path / "nowhere" / "summary.md"
    run = memprof("gate", path.name, "--junit", "junit.xml", GITHUB_STEP_SUMMARY=str(nowhere))
    assert run.code == 3
    assert f"cannot write GITHUB_STEP_SUMMARY={nowhere}: No such file or directory" in run.err
    assert set(verdicts(run).values()) == {"same"}
    assert (tmp_path / "junit.xml").exists()


def test_json_on_standard_output_is_alone_there(memprof, tmp_path, light):
    keep(tmp_path, other=light)
    run = memprof("gate", write(tmp_path).name, "--json", "-", "--out", "elsewhere")
    assert run.code == 3
    report = json.loads(run.out)
    assert report["kind"] == "gate"
    assert report == json.loads((tmp_path / "elsewhere" / "gate.json").read_text())
    assert not (tmp_path / "reports").exists()


def test_what_could_not_be_measured_is_an_error_for_ci(memprof, tmp_path, light):
    keep(tmp_path, other=light)
    run = memprof(
        "gate", write(tmp_path).name, "--github", "--junit", "junit.xml",
        "--benchmark-json", "benchmark.json", "--bencher-json", "bencher.json",
    )  # fmt: skip
    assert run.code == 3
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    ((error,),) = [each.result for each in suite]
    assert isinstance(error, junitparser.Error)
    assert "the baseline has no scenario 'case'" in error.message
    assert run.out.startswith("::error file=case.yaml,title=memprof%3A case could not be measured")
    assert json.loads((tmp_path / "benchmark.json").read_text()) == []
    assert json.loads((tmp_path / "bencher.json").read_text()) == {}


# ---------------------------------------------------------------- what cannot be compared


def as_text(text):
    def place(folder, entry):
        (folder / BASELINE).write_text(text)

    return place


def as_entry(name="case", **fields):
    def place(folder, entry):
        keep(folder, **{name: changed(entry, **fields)})

    return place


def without_samples(folder, entry):
    copy = json.loads(json.dumps(entry))
    del copy["report"]["variants"]["before"]["samples"]
    keep(folder, case=copy)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (as_entry("other"), "the baseline has no scenario 'case', only other; --update adds it"),
        (as_entry(versions={"python": "3.11.1", "numpy": "1.0"}), "numpy: 1.0, now "),
        (as_entry(platform="Darwin 23 arm64"), "platform: Darwin arm64, now Linux"),
    ],
    ids=["other", "numpy", "platform"],
)
def test_what_cannot_be_compared_is_not_measured_and_does_not_pass(
    memprof, tmp_path, light, place, said
):
    path = write(tmp_path)
    place(tmp_path, light)
    run = memprof("gate", path.name)
    assert run.code == 3
    (line,) = run.err.splitlines()
    assert said in line
    assert "; --update" in line
    found = scenarios(run)["case"]
    assert found["metrics"] == []
    assert said in found["failure"]
    assert "case inconclusive" in words(run.out)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (lambda folder, entry: None, f"there is no baseline {BASELINE} to compare with; make one"),
        (as_text("{\n oops"), f"{BASELINE}: expected JSON as memprof writes it, but expecting"),
        (
            as_text('{"schema": "memprof.report/1"}'),
            'schema: expected memprof.baseline/1, found "memprof.report/1"',
        ),
        (lambda folder, entry: (folder / BASELINE).mkdir(), f"{BASELINE}: Is a directory"),
        (without_samples, "variants.before.samples: is missing"),
    ],
    ids=["missing", "damaged", "report", "folder", "no samples"],
)
def test_without_a_baseline_to_trust_it_only_says_what_to_do(memprof, tmp_path, light, place, said):
    """There is nothing that a report could say."""
    path = write(tmp_path)
    place(tmp_path, light)
    run = memprof("gate", path.name)
    assert run.code == 3
    (line,) = run.err.splitlines()
    assert said in line
    assert "run this command again with --update" in line
    assert run.out == ""
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("NUMPY_MADVISE_HUGEPAGE", "huge pages: "),
        ("MALLOC_TRIM_THRESHOLD_", "allocator MALLOC_TRIM_THRESHOLD_: none, now 0"),
    ],
)
def test_another_environment_of_the_process_is_foreign(memprof, tmp_path, light, variable, said):
    path = write(tmp_path)
    keep(tmp_path, case=light)
    run = memprof("gate", path.name, **{variable: "0"})
    assert run.code == 3
    assert f"the baseline's figures are from another environment ({said}" in run.err
    assert not measured(run)


def test_what_only_a_worker_knows_of_the_environment_counts_too(memprof, tmp_path, light):
    path = write(tmp_path, repeats=1)
    keep(tmp_path, case=changed(light, device="NVIDIA H100"))
    run = memprof("gate", path.name)
    assert run.code == 3
    assert "(device: NVIDIA H100, now cpu); --update --force" in run.err
    assert scenarios(run)["case"]["metrics"] == []


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        (["--agents", 5], {}, "agents: 4, now 5"),
        (["--steps", 4, "--seed", 1], {}, "steps: 3, now 4; seed: 0, now 1"),
        (["--passes", "fake-half"], {}, 'passes: [], now ["fake-half"]'),
        ([], {"model": {"growth": 7}, "agents": 6}, "agents: 4, now 6"),
    ],
)
def test_another_scenario_is_foreign_and_the_field_is_named(
    memprof, tmp_path, light, options, fields, said
):
    path = write(tmp_path, **fields)
    keep(tmp_path, case=light)
    run = memprof("gate", path.name, *options)
    assert run.code == 3
    assert "the scenario differs from that of the baseline (" in run.err
    assert said in run.err
    assert not measured(run)


def test_another_content_of_the_models_file_is_foreign(memprof, scenario, light, tmp_path):
    arrays = {"A0": np.eye(2), "B0": np.eye(2)[:, :, None], "D0": np.full(2, 0.5)}
    np.savez(tmp_path / "model.npz", **arrays)
    path = scenario(model={"kind": "npz", "path": "model.npz"})
    keep(tmp_path, case=planted(light, path))
    np.savez(tmp_path / "model.npz", **{**arrays, "D0": np.array([0.9, 0.1])})
    run = memprof("gate", path)
    assert run.code == 3
    assert "differs from that of the baseline (the content of its model's file)" in run.err
    assert not measured(run)


def test_how_a_scenario_is_measured_judged_and_described_makes_it_no_other(
    memprof, tmp_path, light
):
    path = write(
        tmp_path,
        repeats=3,
        instruments=["fake"],
        description="Something else.",
        budget={"per_agent": "2 MiB"},
        tolerances={"step_ratio": "200000%", "peak_bytes": "10 MB"},
    )
    keep(tmp_path, case=light)
    run = memprof("gate", path.name, "--repeats", 1)
    assert run.code == 0, run.err
    assert verdicts(run) == dict.fromkeys([*METRICS, "budget"], "same")
    assert metrics(run)["peak_bytes"]["allowed"] == 10_000_000
    assert scenarios(run)["case"]["repeats"] == [2, 1]


def test_a_foreign_scenario_hides_no_regression_of_another(memprof, tmp_path, light):
    first = write(tmp_path, name="foreign", agents=9)
    second = write(tmp_path, size=2 * MIB, repeats=1)
    other = planted(light, write(tmp_path, name="foreign", file="was.yaml"))
    keep(tmp_path, case=planted(light, second), foreign=other)
    run = memprof("gate", first.name, second.name, "--junit", "junit.xml")
    assert run.code == 1
    assert "case: marginal_bytes worse by" in run.err
    assert scenarios(run)["foreign"]["failure"].endswith("--update --force renews it")
    assert verdicts(run)["marginal_bytes"] == "worse"
    assert "foreign could not be measured" in words(run.out)
    suites = {
        each.name: each for each in junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    }
    assert suites["foreign"].errors == 1
    assert suites["case"].failures >= 1


def test_a_baseline_of_no_scenarios_does_not_pass(memprof, tmp_path):
    keep(tmp_path)
    run = memprof("gate")
    assert run.code == 3
    assert f"{BASELINE} is empty; name the scenarios" in run.err


# ---------------------------------------------------------------- update


def test_update_hides_no_regression_unless_forced(memprof, tmp_path, light):
    path = write(tmp_path, size=2 * MIB, repeats=1)
    file = keep(tmp_path, case=planted(light, path))
    before = file.read_bytes()
    run = memprof("gate", path.name, "--update")
    assert run.code == 1
    assert "marginal_bytes worse by +1.05 MB per agent" in run.err
    assert "the baseline is unchanged; --force replaces it" in run.err
    assert file.read_bytes() == before
    assert run.report("gate")["updated"] == []
    assert "Replaced" not in run.out

    run = memprof("gate", path.name, "--update", "--force")
    assert run.code == 0, run.err
    assert verdicts(run)["marginal_bytes"] == "worse"
    assert run.report("gate")["updated"] == ["case"]
    said = words(run.out)
    assert "case: marginal_bytes worse by" in said
    assert f"Written to {BASELINE}: case." in said
    (entry,) = json.loads(file.read_text())["scenarios"].values()
    cost = entry["report"]["variants"]["before"]["per_agent"]["marginal_bytes"]
    assert cost == pytest.approx(2 * MIB, rel=0.01)


def test_update_leaves_scenarios_alone_that_are_not_named(memprof, tmp_path, light):
    path = write(tmp_path, repeats=1)
    other = planted(light, write(tmp_path, name="other", agents=7))
    file = keep(tmp_path, case=light, other=other)
    before = file.read_text()
    run = memprof("gate", path.name, "--update", "-q")
    assert run.code == 0, run.err
    after = file.read_text()
    kept = before[before.index(' "other": {') :]
    assert after.endswith(kept)
    assert after != before
    assert run.report("gate")["updated"] == ["case"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (as_text("{\n oops"), "expected JSON as memprof writes it"),
        (as_text('{"schema": "memprof.baseline/2", "scenarios": {}}'), "expected memprof.baseline"),
        (as_entry(versions={"numpy": "1.0"}), "numpy: 1.0, now "),
    ],
    ids=["damaged", "newer", "foreign"],
)
def test_update_replaces_what_it_cannot_read_or_compare_only_if_forced(
    memprof, tmp_path, light, place, said
):
    path = write(tmp_path, repeats=1)
    place(tmp_path, light)
    before = (tmp_path / BASELINE).read_bytes()
    run = memprof("gate", path.name, "--update", "-q")
    assert run.code == 3
    assert said in run.err
    assert "--force replaces it" in run.err
    assert not measured(run)
    assert (tmp_path / BASELINE).read_bytes() == before

    run = memprof("gate", path.name, "--update", "--force", "-q")
    assert run.code == 0, run.err
    assert set(verdicts(run).values()) == {"new"}
    assert list(json.loads((tmp_path / BASELINE).read_text())["scenarios"]) == ["case"]


# ---------------------------------------------------------------- which scenarios


def test_without_scenarios_those_of_the_baseline_are_taken_from_anywhere(memprof, tmp_path, light):
    path = write(tmp_path / "ci" / "memory", repeats=1)
    keep(tmp_path / "ci", case={**planted(light, path), "file": "memory/case.yaml"})
    run = memprof("gate", "--baseline", f"ci/{BASELINE}", "-q")
    assert run.code == 0, run.err
    assert scenarios(run)["case"]["file"] == "ci/memory/case.yaml"
    assert set(verdicts(run).values()) == {"same"}


def test_a_baseline_names_its_scenarios_from_where_it_is(memprof, tmp_path):
    path = write(tmp_path / "scenarios", repeats=1, agents=2)
    run = memprof("gate", path, "--baseline", "ci/held.json", "--update", "-q")
    assert run.code == 0, run.err
    (entry,) = json.loads((tmp_path / "ci" / "held.json").read_text())["scenarios"].values()
    assert entry["file"] == "../scenarios/case.yaml"


def test_without_scenarios_and_baseline_it_says_how_to_begin(memprof, tmp_path):
    run = memprof("gate")
    assert run.code == 3
    assert f"there is no baseline {BASELINE}; name the scenarios, and add --update" in run.err
    assert not (tmp_path / "reports").exists()


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["case.yaml", "twin.yaml"], "two scenarios are named 'case' (case.yaml, twin.yaml)"),
        (["case.yaml", "--force"], "--force: only works with --update"),
        (
            ["case.yaml", "--self-check", "2", "--update"],
            "--self-check: cannot be combined with --update",
        ),
        (["case.yaml", "--self-check", "0"], "--self-check: expected 1 to 1,000, found 0"),
        (["case.yaml", "--max-repeats", "0"], "--max-repeats: expected 1 or more, found 0"),
        (
            ["case.yaml", "--github", "--json", "-"],
            "--github: prints annotations to standard output",
        ),
        (["case.yaml", "--junit", "/proc/none/junit.xml"], "cannot write /proc/none/junit.xml"),
        (["case.yaml", "wrong.yaml"], "wrong.yaml:2: tolerances.marginal_byte: unknown metric"),
        (["worse.yaml"], "worse.yaml:2: tolerances.peak_bytes: expected a percentage or a size, "),
        (
            ["case.yaml", "--tolerance", "marginal_byte=5%"],
            "--tolerance: unknown metric 'marginal_byte'; did you mean 'marginal_b",
        ),
        (["case.yaml", "--tolerance", "peak_bytes"], "expected METRIC=TOLERANCE, such as marginal"),
        (
            ["case.yaml", "--tolerance", "peak_bytes=1MB,peak_bytes=2MB"],
            "--tolerance: duplicate metric peak_bytes",
        ),
        (["case.yaml", "--tolerance", "equivalence=5%"], "equivalence has no tolerance: it is the"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_measures_nothing(memprof, fake, arguments, said):
    folder = fake().parent
    (folder / "twin.yaml").write_bytes((folder / "case.yaml").read_bytes())
    rest = "model: {kind: buffer}\nbackend: fake\npasses: none\n"
    (folder / "wrong.yaml").write_text(f"name: a\ntolerances: {{marginal_byte: 5%}}\n{rest}")
    (folder / "worse.yaml").write_text(f"name: a\ntolerances: {{peak_bytes: 0.05}}\n{rest}")
    run = memprof("gate", *arguments)
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert said in line
    assert run.out == ""
    assert not (folder / "reports").exists()


def test_the_command_line_has_the_last_word_on_tolerances(memprof, tmp_path, light):
    own = {"step_ratio": "100000%", "marginal_bytes": "30%", "peak_bytes": "9%"}
    path = write(tmp_path, size=MIB + 2**18, tolerances=own, repeats=1)
    keep(tmp_path, case=planted(light, path))
    run = memprof("gate", path.name, "-q")
    assert run.code == 0, run.err
    was, found = metrics(run)["marginal_bytes"]["was"], metrics(run)
    assert found["marginal_bytes"]["allowed"] == pytest.approx(0.3 * was)
    assert found["peak_bytes"]["allowed"] == pytest.approx(0.09 * found["peak_bytes"]["was"])

    run = memprof("gate", path.name, "-q", "--tolerance", "marginal_bytes=20% or 100 KB")
    assert run.code == 1
    assert "case: marginal_bytes worse by" in run.err
    found = metrics(run)
    assert found["marginal_bytes"]["allowed"] == pytest.approx(0.2 * was)
    assert found["peak_bytes"]["allowed"] == pytest.approx(0.09 * found["peak_bytes"]["was"])


def test_its_help_tells_the_exit_codes(memprof):
    run = memprof("gate", "--help")
    assert run.code == 0
    assert "0 nothing is worse; 1 something is; 2 the command line or a" in words(run.out)
    assert "3 inconclusive, not measured, or there is no baseline" in words(run.out)


# ---------------------------------------------------------------- self-check


def test_a_self_check_counts_false_alarms(memprof, tmp_path):
    path = write(tmp_path, repeats=1, agents=2)
    run = memprof("gate", path.name, "--self-check", 2, "--junit", "junit.xml")
    assert run.code == 0, run.err
    report = run.report("self-check")
    assert report["kind"] == "self_check"
    assert report["complete"]
    found = {each["metric"]: each for each in report["alarms"]}
    assert list(found) == METRICS
    for each in found.values():
        assert (each["comparisons"], each["false_alarms"]) == (2, 0)
        assert each["most_ci95"] == pytest.approx(1 - 0.05**0.5), "Clopper and Pearson, 0 of 2"
    assert found["marginal_bytes"]["allowed"] == pytest.approx(0.05 * MIB, rel=0.01)
    assert "0 of 10 comparisons of a scenario with itself came out worse (0.0%)" in words(run.out)
    assert "case, run 3 of 3: before" in run.err
    assert not (tmp_path / BASELINE).exists()
    assert len(list(junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml")))) == 1


def test_a_self_check_that_is_interrupted_keeps_what_it_found(tmp_path):
    write(tmp_path, repeats=1, agents=2)
    with (tmp_path / "stderr").open("w") as stream:
        process = subprocess.Popen(
            [*COMMAND, "gate", "case.yaml", "--self-check", "50", "--json", "found.json"],
            cwd=tmp_path, stderr=stream, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    interrupt(process, tmp_path, "run 3 of 51")
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["complete"] is False
    assert {each["comparisons"] for each in report["alarms"]} == {1}
    assert report == json.loads((tmp_path / "reports" / "self-check.json").read_text())


def interrupt(process, folder, until):
    deadline = time.monotonic() + 300
    while until not in (folder / "stderr").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
