"""`memprof doctor`: what makes figures worse here, planted one by one."""

import json
import os
from pathlib import Path

import pytest

from memprof.doctor.checks import check_machine
from memprof.doctor.view import headline
from memprof.errors import BackendFailed
from memprof.values.instruments import Calibration

FINE = Calibration("glibc")


def state(checks, name):
    return {each.name: each.state for each in checks}[name]


def test_it_says_of_this_machine_that_it_can_measure(memprof):
    run = memprof("doctor", "--json", "-")
    assert run.code == 0, run.err
    checks = {each["name"]: each for each in json.loads(run.out)}
    assert checks["PyMDP"]["found"].startswith("inferactively-pymdp 1.")
    assert checks["memory left"]["state"] in ("fine", "worse")
    assert all(each["remedy"] for each in checks.values() if each["state"] != "fine")


def test_a_reading_that_cannot_be_trusted_is_named(memprof):
    run = memprof("doctor", "--json", "found.json", PYTHONMALLOC="malloc")
    assert run.code == 0, run.err
    checks = {each["name"]: each for each in json.loads((run.folder / "found.json").read_text())}
    assert checks["reading: objects"]["state"] == "worse"
    assert checks["allocator"]["found"].endswith("set by PYTHONMALLOC=malloc")
    assert "make figures less reliable" in run.out


def test_a_pymdp_that_memprof_was_not_tried_with_is_named(memprof, tmp_path):
    about = tmp_path / "inferactively_pymdp-9.0.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text("Name: inferactively-pymdp\nVersion: 9.0\n")
    run = memprof("doctor", "--json", "-", PYTHONPATH=f"{tmp_path}:{os.environ['PYTHONPATH']}")
    assert run.code == 0, run.err
    found = next(each for each in json.loads(run.out) if each["name"] == "PyMDP")
    assert found["state"] == "worse"
    assert found["found"] == "PyMDP 9.0; memprof was tried with 0.0.7.1 to 1.0.4"


def test_what_stands_in_the_way_ends_with_3(memprof, tmp_path):
    (tmp_path / "pymdp").mkdir()
    (tmp_path / "pymdp" / "__init__.py").write_text("raise ImportError('broken')")
    run = memprof("doctor", PYTHONPATH=f"{tmp_path}:{os.environ['PYTHONPATH']}")
    assert run.code == 3
    assert "memprof cannot measure here yet." in run.err


def test_without_a_process_reading_nothing_can_be_measured():
    checks = check_machine(Calibration(left_out={"process": "it moved by 0 B"}))
    assert state(checks, "reading: process") == "broken"
    assert "cannot measure" in headline(checks)
    assert state(check_machine(BackendFailed("no PyMDP")), "worker") == "broken"


@pytest.mark.parametrize(
    ("mode", "asked", "found"),
    [
        ("always [madvise] never", "", "worse"),
        ("always [madvise] never", "0", "fine"),
        ("[always] madvise never", "0", "worse"),
        ("always madvise [never]", "", "fine"),
    ],
)
def test_huge_pages_make_figures_depend_on_them(tmp_path, monkeypatch, mode, asked, found):
    monkeypatch.delenv("NUMPY_MADVISE_HUGEPAGE", raising=False)
    if asked:
        monkeypatch.setenv("NUMPY_MADVISE_HUGEPAGE", asked)
    plant(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", mode)
    assert state(check_machine(FINE, tmp_path), "huge pages") == found


def test_a_processor_that_changes_its_speed_makes_times_unsure(tmp_path):
    plant(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    assert state(check_machine(FINE, tmp_path), "processor speed") == "worse"


def test_files_of_stores_in_memory_are_no_saving(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plant(tmp_path, "proc/self/mounts", f"/dev/sda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    assert state(check_machine(FINE, tmp_path), "temporary folder") == "worse"
    plant(tmp_path, "proc/self/mounts", "/dev/sda / ext4 rw 0 0\n")
    assert state(check_machine(FINE, tmp_path), "temporary folder") == "fine"


def test_other_work_makes_times_unsure(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (64.0, 0, 0))
    monkeypatch.setattr("memprof.doctor.checks.processors", lambda: 2)
    assert state(check_machine(FINE), "load") == "worse"
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0, 0))
    assert state(check_machine(FINE), "load") == "fine"


def plant(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
