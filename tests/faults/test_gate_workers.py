"""Gates whose workers fail or are interrupted, and baselines that cannot be written: what was
judged stays, nobody passes unseen, and a baseline is whole or as it was."""

import json
import resource
import signal
import subprocess
import time

import junitparser
import pytest

from tests.cli.test_gate import BASELINE, MIB, keep, planted, scenarios, write
from tests.conftest import COMMAND, run_command, whole_path
from tests.faults.test_workers import errors, gone, start, wait_for_worker, workers_of

LITTLE = 4096  # more than a gate's report needs, and less than a baseline


def entry(folder, **environment):
    """The entry of agents of 1 MiB."""
    run = run_command(folder, "gate", write(folder).name, "--update", "-q", **environment)
    assert run.code == 0, run.err
    return json.loads((folder / BASELINE).read_text())["scenarios"]["case"]


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    return entry(tmp_path_factory.mktemp("light"))


@pytest.fixture(scope="module")
def started_light(tmp_path_factory):
    """Of workers that are started, to be compared with others that are."""
    return entry(tmp_path_factory.mktemp("started"), PYTHONPATH=whole_path())


def hidden(folder):
    """Files that were begun and not finished."""
    return [each for each in folder.rglob(".*") if each.is_file()]


def report(folder):
    return json.loads((folder / "reports" / "gate.json").read_text())


@pytest.mark.parametrize(
    ("fault", "seconds", "said"),
    [
        ("die", 300, "was killed (SIGKILL) in phase 'build'"),
        # Time enough for the scenario that is fine, on a busy machine too.
        ("hang", 15, "exceeded the time limit of 15 s, in phase 'build'"),
        ("raise", 300, "failed: RuntimeError: this fault was asked for"),
    ],
)
def test_a_scenario_whose_worker_fails_is_not_measured_and_the_others_are_judged(
    memprof, tmp_path, light, fault, seconds, said
):
    bad = write(tmp_path, name="bad", model={"fault": fault})
    good = write(tmp_path, repeats=1)
    file = keep(tmp_path, bad=planted(light, bad), case=light)
    before = file.read_bytes()
    run = memprof(
        "gate", bad.name, good.name, "--timeout", seconds, "--junit", "junit.xml", "--github",
        "--benchmark-json", "benchmark.json",
    )  # fmt: skip
    assert run.code == 3
    assert f"bad: the worker {said}" in run.err
    found = scenarios(run)
    assert said in found["bad"]["failure"]
    assert {each["verdict"] for each in found["case"]["metrics"]} == {"same"}
    assert run.report("gate")["complete"], "it went through to the end"
    suites = {
        each.name: each for each in junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    }
    assert (suites["bad"].errors, suites["case"].errors) == (1, 0)
    assert "::error file=bad.yaml,title=memprof%3A bad could not be measured::" in run.out
    drawn = json.loads((tmp_path / "benchmark.json").read_text())
    assert {each["name"].split(":")[0] for each in drawn} == {"case"}
    assert file.read_bytes() == before
    assert gone(tmp_path)


def test_a_worker_that_fails_hides_no_regression(memprof, tmp_path, light):
    bad = write(tmp_path, name="bad", model={"fault": "die"})
    heavy = write(tmp_path, size=2 * MIB, repeats=1)
    keep(tmp_path, bad=planted(light, bad), case=planted(light, heavy))
    run = memprof("gate", bad.name, heavy.name, "-q")
    assert run.code == 1
    assert "case: marginal_bytes worse by +1.05 MB" in run.err
    assert "killed" in scenarios(run)["bad"]["failure"]


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_what_could_not_be_measured_is_in_no_baseline(memprof, tmp_path, light, force):
    """Nor are the others: all of it or nothing."""
    bad = write(tmp_path, name="bad", model={"fault": "die"})
    good = write(tmp_path, repeats=1)
    file = keep(tmp_path, case=light)
    before = file.read_bytes()
    run = memprof("gate", good.name, bad.name, "--update", *force)
    assert run.code == 3
    assert "bad: the worker was killed" in run.err
    assert file.read_bytes() == before
    assert run.report("gate")["updated"] == []
    assert "Replaced" not in run.out


def test_a_worker_killed_in_a_later_repeat_leaves_no_verdict_on_its_scenario(tmp_path, light):
    """What the others measured is shown, but a scenario that did not end has not passed."""
    slow = write(tmp_path, name="slow", model={"delay": 0.02}, steps=20, repeats=3)
    fine = write(tmp_path, repeats=1)
    keep(tmp_path, slow=planted(light, slow), case=light)
    process = start(slow, fine.name, command="gate")
    wait_for_worker(tmp_path, 2)
    for worker in workers_of(tmp_path):
        worker.kill()
    process.communicate(timeout=300)
    assert process.returncode == 3
    found = {each["name"]: each for each in report(tmp_path)["scenarios"]}
    assert "the worker was killed (SIGKILL)" in found["slow"]["failure"]
    assert found["slow"]["repeats"] == [2, 1]
    assert found["slow"]["metrics"]
    assert found["case"]["failure"] == ""


@pytest.mark.usefixtures("whole_imports")
@pytest.mark.parametrize(
    ("sent", "update"), [(signal.SIGTERM, ()), (signal.SIGINT, ("--update", "--force"))]
)
def test_an_interruption_keeps_what_was_judged_and_leaves_nothing_else(
    tmp_path, started_light, sent, update
):
    fine = write(tmp_path, repeats=1)
    slow = write(tmp_path, name="slow", model={"delay": 0.05}, steps=400)
    last = write(tmp_path, name="last")
    file = keep(
        tmp_path,
        case=started_light,
        slow=planted(started_light, slow),
        last=planted(started_light, last),
    )
    before = file.read_bytes()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(fine, slow.name, last.name, *update, command="gate", TMPDIR=str(temporary))
    wait_until(tmp_path, "slow: before")
    process.send_signal(sent)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "memprof: interrupted; the report has what was measured so far" in errors(tmp_path)
    assert "Traceback" not in errors(tmp_path)
    assert "Cut short: " in out
    found = report(tmp_path)
    assert found["complete"] is False
    assert found["updated"] == []
    first, second = found["scenarios"]
    assert {each["verdict"] for each in first["metrics"]} == {"same"}
    assert "interrupted" in second["failure"]
    assert gone(tmp_path)
    assert file.read_bytes() == before
    assert hidden(tmp_path) == []
    assert list(temporary.iterdir()) == []


def test_a_folder_that_takes_no_baseline_is_found_out_before_measuring(memprof, tmp_path):
    run = memprof("gate", write(tmp_path).name, "--update", "--baseline", "/proc/memprof.json")
    assert run.code == 2
    assert "cannot write /proc/memprof.json: " in run.err
    assert "worker" not in run.err
    assert not (tmp_path / "reports").exists()


def test_a_full_disk_leaves_the_baseline_as_it_was(tmp_path, light):
    """Files may have four kilobytes only: enough for reports, and too little for a baseline."""
    path = write(tmp_path, repeats=1)
    file = keep(tmp_path, case=light)
    before = file.read_bytes()
    assert len(before) > LITTLE
    process = subprocess.Popen(
        [*COMMAND, "gate", path.name, "--update"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LITTLE, LITTLE))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3
    assert f"memprof: cannot write {BASELINE}: File too large" in err
    assert file.read_bytes() == before
    assert hidden(tmp_path) == []
    assert report(tmp_path)["scenarios"][0]["name"] == "case"
    assert "Written: reports/gate.{json,md" in out
    assert report(tmp_path)["updated"] == []
    assert "Replaced" not in out


def wait_until(folder, text):
    deadline = time.monotonic() + 300
    while text not in errors(folder) or not workers_of(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)
