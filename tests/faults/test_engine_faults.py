"""`memprof density --engine ray` whose shard dies, or that is interrupted, keeps what it has and
leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import COMMAND

BUSY_SECONDS = 3.0  # of a processor: more than it takes to import PyMDP
HOW = ("--engine", "ray", "--shards", "2", "--max-agents", "10", "--agents", "1000000")


def shards_of(run: psutil.Popen) -> list[psutil.Process]:
    """Those that have agents by now."""
    shards = []
    for each in run.children(recursive=True):
        with suppress(psutil.Error):
            if each.name().startswith("ray::Shard") and each.cpu_times().user > BUSY_SECONDS:
                shards.append(each)
    return shards


@contextmanager
def growing(path: Path, folder: Path) -> Iterator[psutil.Popen]:
    """The command, whose population is growing over shards."""
    said = folder / "said"
    with said.open("w") as stream:
        run = psutil.Popen(
            [*COMMAND, "density", path, *HOW],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder / "t")},
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )
    try:
        while len(shards_of(run)) < 2:
            assert run.poll() is None, said.read_text()
            time.sleep(0.1)
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        run.wait(30)


@pytest.mark.parametrize(
    ("what", "code"),
    [("a shard dies", 3), pytest.param("interrupted", 130, marks=pytest.mark.long)],
)
def test_what_one_process_measured_is_kept(scenario, tmp_path, what, code):
    (tmp_path / "t").mkdir()
    with growing(scenario(), tmp_path) as run:
        started = run.children(recursive=True)
        if what == "interrupted":
            run.send_signal(signal.SIGINT)
        else:
            shards_of(run)[0].kill()
        assert run.wait(60) == code, (tmp_path / "said").read_text()
    _, alive = psutil.wait_procs(started, 10)
    assert alive == []
    assert os.listdir(tmp_path / "t") == []
    report = json.loads((tmp_path / "reports" / "case-density.json").read_text())
    assert not report["complete"]
    assert report["distributed"] is None
    assert report["variants"]["before"]["per_agent"]["marginal_bytes"] > 0
    if what != "interrupted":
        assert "a shard has died" in (tmp_path / "said").read_text()
