"""Populations that grow until something gives way: what was measured stays, and nothing else."""

import json
import resource
import signal
import subprocess
import time

import pytest

from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.requests import Grow
from tests.conftest import COMMAND
from tests.faults.test_workers import gone, workers_of

MIB = 2**20
GRID = {"kind": "grid_world", "size": 29}


def start(path, *options):
    """`memprof density`, in the background; its standard error goes to a file."""
    with (path.parent / "errors").open("w") as errors:
        return subprocess.Popen(
            [*COMMAND, "density", str(path), *map(str, options)],
            cwd=path.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def wait_until_it_holds(folder, size):
    """Until the worker's population takes so many bytes."""
    deadline = time.monotonic() + 300
    while not any(each.memory_info().rss > size for each in workers_of(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def report_of(folder):
    return json.loads((folder / "reports" / "case-density.json").read_text())


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (lambda parent, worker: worker.kill(), 3, "the worker was killed (SIGKILL)"),
        (lambda parent, worker: parent.send_signal(signal.SIGINT), 130, "interrupted"),
        (lambda parent, worker: parent.send_signal(signal.SIGTERM), 130, "interrupted"),
    ],
    ids=["killed", "Ctrl-C", "terminated"],
)
def test_a_sweep_that_is_cut_off_keeps_the_sizes_it_had(
    fake, tmp_path, temporary, end, code, words
):
    path = fake("512 KiB", model={"delay": 0.02}, steps=1)
    process = start(path, "--max-agents", 1000)
    wait_until_it_holds(tmp_path, 220 * MIB)
    end(process, workers_of(tmp_path)[0])
    out, _ = process.communicate(timeout=300)
    said = (tmp_path / "errors").read_text()
    assert process.returncode == code, said
    assert words in said
    assert "Traceback" not in said
    assert gone(tmp_path)
    assert list(temporary.iterdir()) == []
    report = report_of(tmp_path)
    assert report["complete"] is False
    assert [row["agents"] for row in report["density"]["points"]][:3] == [1, 100, 250]
    assert report["variants"]["before"]["per_agent"]["marginal_bytes"] == pytest.approx(
        MIB / 2, rel=0.02
    )
    assert "Written: reports/case-density.{json" in out


def test_cut_off_before_there_was_a_line_nothing_is_written(fake, tmp_path, temporary):
    process = start(fake(model={"fault": "hang"}))
    deadline = time.monotonic() + 300
    while not workers_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(tmp_path)
    assert not (tmp_path / "reports").exists()
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def one_agent_bytes(tmp_path_factory):
    """Data segment of a worker with one agent of 34 MB at rest, on this machine."""
    path = tmp_path_factory.mktemp("one") / "case.yaml"
    path.write_text(json.dumps({**SCENARIO, "passes": []}))
    request = Grow(load_scenario(path).spec(()), sizes=(1,))
    (point,) = run_worker(request, Limits(), lambda mark: None).value.points
    return point.data_bytes


SCENARIO = {"name": "case", "model": GRID, "steps": 1, "repeats": 1, "instruments": []}


@pytest.mark.parametrize(
    ("room", "operations"),
    [
        (-15 * MIB, {"before": "build"}),  # its matrices
        # 5.6 MB of products; and the template is a copy
        (2 * MIB, {"before": "infer_states", "after": "optimise"}),
    ],
)
def test_the_limit_is_met_wherever_it_is_met(
    memprof, scenario, temporary, one_agent_bytes, room, operations
):
    path = scenario(**{**SCENARIO, "passes": ["template"] if "after" in operations else []})
    limit = one_agent_bytes + room
    run = memprof("density", path, "--memory-limit", limit)
    assert run.code == 0, run.err
    report = run.report("case-density")
    evidence = [each["evidence"] for each in report["warnings"] if each["kind"] == "memory_limit"]
    capacity = {each["variant"]: each for each in report["density"]["capacity"]}
    for (name, operation), said in zip(operations.items(), evidence, strict=True):
        assert report["variants"][name]["ended"] == "memory"
        assert report["variants"][name]["lived"] == 0
        assert f"out of memory during {operation}" in said
        assert capacity[name]["room"]["agents"] == 0
    assert list(temporary.iterdir()) == []
    assert gone(run.folder)


DENSE = {"kind": "random_pomdp", "num_obs": [2], "num_states": [510], "num_controls": [2]}


def test_a_full_disk_ends_the_sweep_with_what_it_has(scenario, tmp_path, temporary):
    """Records that fill the first 64 MiB of their store, where a file may have no more: those of
    13 agents, which take 5 MB each."""
    path = scenario(model={**DENSE, "per_agent": True}, steps=1, passes=["mmap"])
    process = start(path, "--max-agents", 17)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (80 * MIB, 80 * MIB))
    process.communicate(timeout=300)
    said = (tmp_path / "errors").read_text()
    assert process.returncode == 3, said
    assert "records cannot be written" in said
    assert "make room on the disk" in said
    report = report_of(tmp_path)
    assert report["complete"] is False
    assert 10 < report["variants"]["after"]["lived"] < 17
    assert report["equivalence"]["verdict"] != "diverged"
    assert list(temporary.iterdir()) == []
    assert gone(tmp_path)
