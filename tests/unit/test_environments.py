"""What is read in environments that `tests.figures_environments` tries in full: what is left out,
and that it is left out by name."""

import json
import os
import subprocess

import pytest

from memprof.launch.machine import worker_environment
from memprof.values.requests import LiveInCycles, Measure
from tests.environments import Environment, environments

# Other tests' threads would allocate while a reading is tried.
pytestmark = pytest.mark.serial

TELL = """
import json
from memprof.instruments import heap, process
from memprof.posix import take_single_pages

take_single_pages()
process.expect_process()
found = process.calibration()
read = [heap.native_bytes, process.private_bytes]
before = [each() for each in read]
held = heap.Blocks(1, 4 << 20)
held.take()
for block in held._blocks:
    heap.ctypes.memset(block, 1, 4 << 20)
moved = [None if was is None else each() - was for each, was in zip(read, before)]
print(json.dumps([
    found.malloc, sorted(found.left_out), found.unseen, process.grain_bytes(), *moved,
]))
"""
ALL = ("glibc", [], [], 4096)
NO_FILES = ["peak"]
OBJECTS = ["objects", "python"]
EXPECTED = {
    "jemalloc": ("jemalloc", *ALL[1:]),
    "tcmalloc": ("tcmalloc", *ALL[1:]),
    "mimalloc": ("mimalloc", ["native"], ["malloc"], 4096),
    "a malloc without an account": ("glibc", ["native"], ["malloc"], 4096),
    "PYTHONMALLOC=malloc": ("glibc", OBJECTS, [], 4096),
    "PYTHONMALLOC=malloc, jemalloc": ("jemalloc", OBJECTS, [], 4096),
    "PYTHONMALLOC=malloc, tcmalloc": ("tcmalloc", OBJECTS, [], 4096),
    "pages of 16 KiB": ("glibc", [], [], 16 << 10),
    "pages of 64 KiB": ("glibc", [], [], 64 << 10),
    **{
        each.name: ("glibc", ["python"], ["Python's allocator"], 4096)
        for each in environments()
        if "mimalloc, " in each.name
    },
    "gVisor": ("glibc", NO_FILES, [], 4096),
    "no smaps": ("glibc", [*NO_FILES, "uss"], [], 4096),
}
"""Where it is not the same as without any of them."""


@pytest.mark.parametrize("environment", environments(), ids=lambda each: each.name)
def test_readings_follow_or_are_left_out(environment: Environment, tmp_path, monkeypatch):
    """In a worker's own environment."""
    if environment.switches:
        pytest.skip("it would change the machine for everybody; the figures do")
    if missing := environment.missing():
        pytest.skip(missing)
    with environment.made(tmp_path) as variables:
        monkeypatch.setattr(os, "environ", variables)
        done = subprocess.run(
            [*environment.command, environment.python, "-P", "-c", TELL],
            env=worker_environment("numpy", LiveInCycles),
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    *found, native, private = json.loads(done.stdout)
    assert tuple(found) == EXPECTED.get(environment.name, ALL)
    assert environment.unseen == ", ".join(found[2])
    assert native is None or 0.99 * (4 << 20) <= native <= 1.5 * (4 << 20)
    assert 0.9 * (4 << 20) <= private <= 1.5 * (4 << 20)


def test_no_preloaded_malloc_moves_what_is_free_in_the_midst_of_the_cycles(monkeypatch):
    """It shows in the process alone, which grows or shrinks by that where nothing leaks."""
    for library, name in (("libjemalloc.so.2", "MALLOC_CONF"), ("libmimalloc.so.2", "MIMALLOC_")):
        monkeypatch.setenv("LD_PRELOAD", f"/usr/lib/{library}")
        assert _names(LiveInCycles, name)
        assert not _names(Measure, name), "others have users' settings"
    monkeypatch.delenv("LD_PRELOAD")
    assert not _names(LiveInCycles, "MALLOC_CONF")


def _names(job, prefix):
    return [name for name in worker_environment("numpy", job) if name.startswith(prefix)]


def test_a_worker_has_no_tracemalloc_that_was_not_asked_for(monkeypatch):
    """Its traces are native memory, which seemed to leak."""
    monkeypatch.setenv("PYTHONTRACEMALLOC", "1")
    assert not _names(Measure, "PYTHONTRACEMALLOC")
