"""`memprof compare` on reports of calibration agents, which cost exactly their size."""

import json

import pytest

from tests.cli.test_gate import MIB, scenarios, words, write
from tests.conftest import ROOT, run_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Reports of agents of 1 MiB and of 2 MiB."""
    folder = tmp_path_factory.mktemp("reports")
    for name, size in (("light", MIB), ("heavy", 2 * MIB)):
        path = write(folder, size=size)
        run = run_command(folder, "profile", path.name, "-q", "--json", f"{name}.json")
        assert run.code == 0, run.err
    return folder


@pytest.fixture
def changed(folder, tmp_path):
    """Write the light report with another `what`."""

    def write(**what):
        file = tmp_path / "changed.json"
        file.write_text(json.dumps({**json.loads((folder / "light.json").read_text()), **what}))
        return file

    return write


def found(run):
    return scenarios(run, "case-compare")["case"]


def test_a_report_is_the_same_as_itself(memprof, folder):
    light = folder / "light.json"
    run = memprof("compare", light, light)
    assert run.code == 0, run.err
    assert {each["verdict"] for each in found(run)["metrics"]} == {"same"}
    report = run.report("case-compare")
    assert (report["schema"], report["kind"]) == ("memprof.report/2", "compare")
    assert report["baseline"] == found(run)["file"] == str(light)
    assert found(run)["warnings"] == []
    assert "No metric changed by more than its tolerance." in words(run.out)


def test_what_is_worse_is_named_and_another_scenario_is_said(memprof, folder):
    run = memprof(
        "compare", folder / "light.json", folder / "heavy.json", "--junit", "junit.xml", "--github"
    )
    assert run.code == 1
    said = "case: marginal_bytes worse by +1.05 MB per agent (buffer: +1.05 MB private per agent)"
    assert f"memprof: {said}" in run.err
    (warning,) = found(run)["warnings"]
    assert warning["kind"] == "other_scenario"
    assert "model.size: 1048576, now 2097152" in warning["evidence"]
    assert "::warning file=" in run.out
    assert "case: marginal_bytes worse by +1.05 MB per agent." in words(run.out)
    assert said.removeprefix("case: ") in words(run.out)
    assert "<failure " in (run.folder / "junit.xml").read_text()


def test_the_other_way_round_it_is_better(memprof, folder):
    run = memprof("compare", folder / "heavy.json", folder / "light.json", "-q", "--json", "-")
    assert run.code == 0
    (scenario,) = json.loads(run.out)["scenarios"]
    marginal = scenario["metrics"][0]
    assert marginal["verdict"] == "better"
    assert marginal["change"] == pytest.approx(-MIB, rel=0.002)


def test_tolerances_are_those_of_the_scenario_and_of_the_command_line(memprof, folder):
    reports = (folder / "light.json", folder / "heavy.json", "-q")
    run = memprof("compare", *reports, "--tolerance", "marginal_bytes=101%")
    assert run.code == 0, run.err
    allowed = {each["metric"]: each["allowed"] for each in found(run)["metrics"]}
    assert allowed["marginal_bytes"] == pytest.approx(1.01 * MIB, rel=0.001)
    assert allowed["peak_bytes"] == 64_000_000, "the scenario's own"
    assert allowed["growth_bytes_per_step"] == 32, "by default"


def test_reports_of_different_environments_are_not_compared(memprof, folder, changed):
    light = folder / "light.json"
    environment = json.loads(light.read_text())["environment"]
    other = changed(environment={**environment, "huge_pages": "never"})
    run = memprof("compare", light, other)
    assert run.code == 3
    assert "are from environments whose figures cannot be compared: huge pages: " in run.err
    assert "now never; measure both in one environment" in run.err
    assert not (run.folder / "reports").exists()


def test_a_report_without_raw_samples_is_said_to_be_old(memprof, folder, changed):
    variants = json.loads((folder / "light.json").read_text())["variants"]
    del variants["before"]["samples"]
    run = memprof("compare", changed(variants=variants), folder / "light.json")
    assert run.code == 2
    (line,) = run.err.splitlines()
    assert line.endswith(
        "changed.json: variants.before.samples: is missing; if an older memprof wrote the file, "
        "measure again"
    )


def test_only_reports_of_a_profile_are_compared(memprof, folder):
    light = folder / "light.json"
    examples = ROOT / "reports" / "examples"
    assert memprof("compare", light, light, "-q").code == 0
    cases = (
        (
            examples / "prev-actions-leak-steps.json",
            "expected a report of memprof profile, found one of",
        ),
        (examples / "grid-10-density.json", "found one of kind 'density'"),
        ("reports/case-compare.json", "found one of kind 'compare'"),
        (
            folder / "case.yaml",
            "case.yaml: expected JSON as memprof writes it, but expecting value",
        ),
        ("none.json", "none.json: No such file or directory"),
        ("reports", "reports: Is a directory"),
    )
    for file, said in cases:
        run = memprof("compare", light, file)
        assert run.code == 2, file
        (line,) = run.err.splitlines()
        assert said in line
