"""The planted leaks of `scenarios/leaks/counted.py`: each is counted, and its line is found."""

import os
import subprocess

import psutil
import pytest

from memprof.instruments import resources
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.values.counts import COUNTS
from memprof.values.requests import FindSites
from tests.conftest import COMMAND, SCENARIOS

LIMITS = Limits(timeout_seconds=240)


@pytest.fixture(scope="module")
def sites():
    """Of one of each per cycle."""
    spec = load_scenario(SCENARIOS / "leaks" / "everything.yaml").spec(())
    request = FindSites(spec, mode="lifecycle", warm_up=1, count=3, counts=(*COUNTS,), heap=False)
    return run_worker(request, LIMITS, lambda mark: None).value.sites


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [
        ("descriptors", "os.open(os.devnull, os.O_RDONLY)", "/dev/null"),
        ("descriptors", "receiver = socket.socket(", "UDP 127.0.0.1:"),
        ("threads", "threading.Thread(target=self.stop.wait", "target Event.wait"),
        ("threads", "_libc.pthread_create(", "not Python's"),
        ("children", 'subprocess.Popen(["sleep", "600"])', "sleep 600"),
        ("segments", "SharedMemory(create=True, size=4096)", "psm_"),
        ("maps", "mmap.mmap(file.fileno()", "counted.py"),
        ("files", "tempfile.mkstemp()", "/tmp"),
        ("programs", "double(1.0)", "jit__lambda"),
        ("figures", "matplotlib.pyplot.figure(", "number "),
        ("loggers", 'logging.getLogger(f"agent', "agent "),
        ("handlers", ".addHandler(logging.NullHandler())", "NullHandler of planted"),
    ],
)
def test_its_line_and_what_it_is_are_named(sites, name, text, target):
    (found,) = (each for each in sites if each.counted == name and text in each.yours[0].text)
    assert target in found.targets[0]
    assert found.objects_per_cycle == 1
    assert found.yours[0].path == "counted.py"


def test_what_holds_it_is_named_where_anything_does(sites):
    owners = {(each.counted, each.owner) for each in sites}
    for name in ("descriptors", "children", "maps"):
        assert (name, "counted.KEPT") in owners
    assert ("figures", "Gcf.figs") in owners


def test_no_process_and_no_segment_is_left(sites):
    left = {name for each in sites if each.counted == "segments" for name in each.targets}
    assert left
    assert not left & set(os.listdir("/dev/shm"))
    alive = (e for e in resources.below(psutil.Process()) if e.status() != psutil.STATUS_ZOMBIE)
    assert ["sleep", "600"] not in [each.cmdline() for each in alive]


def test_what_there_is_no_more_of_is_a_leak_however_few_the_cycles(tmp_path):
    """A worker has some thirty descriptors of its own here, and each cycle keeps one more."""
    scenario = SCENARIOS / "leaks" / "descriptor.yaml"
    command = [*COMMAND, "leak", str(scenario), "--repeats", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 48; exec "$0" "$@"', *command, "--mode", "lifecycle"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "1 file descriptor per cycle" in done.stderr


def test_what_is_opened_in_some_cycles_is_waited_for(tmp_path):
    (tmp_path / "seldom.py").write_text(
        f"import itertools, os, sys\n"
        f"sys.path.append({str(SCENARIOS / 'leaks')!r})\n"
        "from planted import Ring, model\n"
        "CYCLES = itertools.count()\n"
        "def make(agent):\n"
        "    if agent == 0 and next(CYCLES) % 3 == 2:\n"
        "        os.open(os.devnull, os.O_RDONLY)\n"
        "    return model(), Ring()\n"
    )
    scenario = tmp_path / "seldom.yaml"
    scenario.write_text(
        "name: seldom\nmodel: {kind: factory, callable: seldom:make}\nagents: 2\nsteps: 1\n"
    )
    spec = load_scenario(scenario).spec(())
    request = FindSites(
        spec, mode="lifecycle", warm_up=3, count=9, counts=("descriptors",), heap=False
    )
    (site,) = run_worker(request, LIMITS, lambda mark: None).value.sites
    assert site.yours[0].text == "os.open(os.devnull, os.O_RDONLY)"
    assert site.objects_per_cycle == pytest.approx(1 / 3)
