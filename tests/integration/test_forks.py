"""A worker that is forked from a process that has imported its backend is like one that is started:
to the user's code, and in every figure."""

import json
from dataclasses import replace

import pytest

from memprof.catalogue.backends import BACKENDS
from memprof.launch.forks import Forks
from memprof.launch.spawn import run_worker
from memprof.posix import Limits
from memprof.scenario import load_scenario
from memprof.stats.lines import memory_line
from memprof.values.requests import Measure

# What a factory may know of its process, which a fork could have of another.
CURIOUS = '''
import atexit, faulthandler, gc, importlib, json, locale, logging, multiprocessing, os, random
import resource, signal, stat, subprocess, sys, tempfile, threading, warnings
import numpy as np

DRAWN = random.random(), np.random.random()

def kind_of(descriptor):
    try:
        return stat.S_IFMT(os.fstat(int(descriptor)).st_mode)
    except OSError:  # the one that lists them
        return 0

def of_process():
    main = sys.modules["__main__"]
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
    limits = open("/proc/self/limits").read()
    return {
        "argv": [sys.argv[0], len(sys.argv)],
        "command line": [sys.orig_argv[:4], open("/proc/self/cmdline").read().split("\\0")[:4]],
        "events": sys.argv[1] == sys.orig_argv[4] and os.get_inheritable(int(sys.argv[1])),
        "flags": [repr(sys.flags), sys.path, sys.prefix, sys.executable, sys.platlibdir],
        "main": [main.__name__, main.__spec__.name, main.__package__, main.__file__,
                 main.__doc__, sorted(set(vars(main)))],
        "modules": "memprof.worker.__main__" in sys.modules,
        "environment": {n: v for n, v in os.environ.items() if n != "TMPDIR"},
        "temporary": [tempfile.gettempdir() == os.environ["TMPDIR"], os.listdir(tempfile.tempdir)],
        "in a child": subprocess.run(["env"], capture_output=True, text=True).stdout.count("\\n"),
        "folder": os.getcwd(),
        "umask": status["Umask"],
        "signals": [status[n] for n in ("SigBlk", "SigIgn", "SigCgt", "SigPnd")],
        "handlers": {str(n): str(signal.getsignal(n)) for n in signal.valid_signals()
                     if not callable(signal.getsignal(n))},
        "no new privileges": [status.get(n) for n in ("NoNewPrivs", "Seccomp", "Uid", "Gid")],
        "limits": limits,
        "niceness": [os.nice(0), os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))],
        "descriptors": sorted([min(int(n), 3), kind_of(n)] for n in os.listdir("/proc/self/fd")),
        "streams": [[s.name, s.encoding, s.errors, s.line_buffering, s.write_through, s.mode]
                    for s in (sys.stdin, sys.stdout, sys.stderr)],
        "original streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "filters": [str(each) for each in warnings.filters],
        "collector": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks],
        "threads": [len(os.listdir("/proc/self/task")), threading.active_count(),
                    threading.main_thread() is threading.current_thread(),
                    threading.main_thread().native_id == os.getpid()],
        "session": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
        "parent": open(f"/proc/{os.getppid()}/stat").read().split()[2] in "SR",
        "processes": multiprocessing.current_process().name,
        "start method": multiprocessing.get_start_method(),
        "random": len({random.random() for _ in range(3)}) == 3,
        "hashes": [hash("a"), hash(("b", 1))],
        "locale": [locale.getlocale(), locale.setlocale(locale.LC_ALL)],
        "logging": [str(logging.root.handlers), logging.root.level],
        "faults": faulthandler.is_enabled(),
        "numpy": [np.geterr(), np.random.get_state()[0], np.random.get_state()[2:]],
        "switches": [sys.getswitchinterval(), sys.getrecursionlimit()],
        "hooks": [sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__],
        "importers": [str(each).split(" at ")[0] for each in sys.meta_path],
    }

def square(number):
    return number * number

def of_children():
    """Processes by each of the start methods: spawn imports __main__ again."""
    found = {}
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[method] = pool.map(square, [1, 2, 3])
    return found

def make(size, file):
    if not os.path.exists(file):
        print("printed once")
        atexit.register(lambda: open(file + ".end", "a").write("ended"))
        known = {**of_process(), "children": of_children()}
        with open(file, "w") as stream:
            json.dump([known, DRAWN], stream, default=str)
    A, B = np.empty(1, dtype=object), np.empty(1, dtype=object)
    A[0], B[0] = np.eye(size), np.eye(size)[:, :, None]
    return {"A": A, "B": B}
'''


_NOISE = 1.5e6


def slope(run):
    return memory_line([(p.agents, p.reading.private_bytes) for p in run.sample.points]).slope


def measured(path, forks=None, **fields):
    request = Measure(load_scenario(path).spec(()), resolve=0, trend=False, **fields)
    return run_worker(request, Limits(), lambda mark: None, forks=forks).value


@pytest.fixture
def forks(monkeypatch):
    """Whose next worker is forked, whatever was forked before."""
    numpy = BACKENDS["numpy"]
    drawn = replace(numpy, imports=(*numpy.imports, "numpy.random"))  # as all of PyMDP imports it
    monkeypatch.setattr("memprof.launch.forks.BACKENDS", {"numpy": drawn})
    with Forks() as found:
        yield found


def forked(forks, path):
    forks._forked.clear()
    found = measured(path, forks)
    assert forks._forked, "it was"
    return found


def test_a_factory_finds_nothing_of_the_process_that_its_worker_was_forked_from(
    scenario, tmp_path, forks
):
    (tmp_path / "curious.py").write_text(CURIOUS)

    def known(number, run):
        file = tmp_path / f"known {number}"
        model = {
            "kind": "factory",
            "callable": "curious:make",
            "params": {"size": 3, "file": str(file)},
        }
        run(scenario(model=model, passes=[]))
        assert (tmp_path / f"known {number}.end").read_text() == "ended"
        return json.loads(file.read_text())

    started, _ = known(1, measured)
    found = [known(number, lambda path: forked(forks, path)) for number in (2, 3)]
    for each, _ in found:
        other = {
            what: (each[what], started[what]) for what in started if each[what] != started[what]
        }
        assert not other
    assert found[0][1][0] != found[1][1][0], "Python's random numbers are each worker's own"
    assert found[0][1][1] != found[1][1][1], "and NumPy's"


def test_every_figure_is_that_of_a_worker_that_was_started(scenario, forks):
    path = scenario(model={"kind": "grid_world", "size": 7}, agents=20, steps=10)
    started, others = measured(path), [forked(forks, path) for _ in range(2)]
    for each in others:
        assert each.digests == started.digests
        assert each.ledger.rows == started.ledger.rows
        assert each.calibration == started.calibration
        was, now = started.sample, each.sample
        for before, after in (
            (was.start, now.start),
            (was.imported, now.imported),
            (started.baseline, each.baseline),
            (was.at_n.reading, now.at_n.reading),
        ):
            assert after.private_bytes == pytest.approx(before.private_bytes, abs=_NOISE)
            assert after.heap_bytes == pytest.approx(before.heap_bytes, abs=_NOISE)
        # Before that, how many pages of files are resident is chance: the kernel maps those around
        # one that is read, if they are cached.
        assert now.at_n.reading.rss_bytes == pytest.approx(
            was.at_n.reading.rss_bytes, abs=2 * _NOISE
        )
        assert each.baseline.uss_bytes > 0.97 * each.baseline.private_bytes
        assert now.peak_rss_bytes == pytest.approx(was.peak_rss_bytes, abs=2 * _NOISE)
        assert slope(each) == pytest.approx(slope(started), rel=0.05)
