"""Readings are tried before they are trusted: on planted faults, and on what is installed here."""

import gc
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from memprof.errors import MeasurementError
from memprof.instruments import MappedPages, failure, heap, process, pymalloc, residency
from memprof.posix import PAGE_BYTES
from tests.environments import NOBODY

# Other tests' threads would allocate while a reading is tried.
pytestmark = pytest.mark.serial

ROLLUP_4_18 = """\
564007177000-7ffdb8b80000 ---p 00000000 00:00 0                          [rollup]
Rss:                1912 kB
Pss:                 194 kB
Shared_Clean:       1768 kB
Shared_Dirty:          0 kB
Private_Clean:        32 kB
Private_Dirty:       112 kB
Referenced:         1912 kB
Anonymous:           112 kB
Swap:                  8 kB
"""
MAPPINGS = """\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
Size:                328 kB
Rss:                 100 kB
Pss:                  60 kB
Private_Clean:        40 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex
00651000-00652000 rw-p 00051000 08:02 173521      [heap]
Size:                  4 kB
Rss:                  24 kB
Pss:                  24 kB
Private_Clean:         0 kB
Private_Dirty:        24 kB
Anonymous:            24 kB
"""


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing has been tried yet, and nothing that is found here stays."""
    process.left_out.cache_clear()
    heap.tried.cache_clear()
    residency.residency_failure.cache_clear()
    yield
    process.left_out.cache_clear()
    heap.tried.cache_clear()
    residency.residency_failure.cache_clear()


class Load:
    """Moves a counter instead of memory."""

    def __init__(self, up=100, down=100):
        self.level, self.up, self.down = 0, up, down

    def take(self):
        self.level += self.up

    def free(self):
        self.level -= self.down


@pytest.mark.parametrize(
    ("up", "down", "said"),
    [
        (100, 100, ""),
        (128, 130, ""),
        (0, 0, "when 100 B were allocated, it moved by 0 B"),
        (-100, -100, "moved by -100 B"),
        (200, 200, "moved by 200 B"),
        (100, 0, "when 100 B were freed, it moved by 0 B"),
    ],
)
def test_a_reading_has_to_move_by_what_comes_and_goes(up, down, said):
    load = Load(up, down)
    found = failure(lambda: load.level, load, 100)
    assert said in found
    assert bool(found) == bool(said)


def test_what_moves_once_more_is_what_others_did():
    """A thread that allocates in the first attempt; what never moves fails as often."""
    load, noise = Load(), iter((0, 500))
    assert failure(lambda: load.level + next(noise, 0), load, 100) == ""


def test_a_reading_that_is_not_there_is_left_out():
    assert failure(lambda: None, Load(), 100) == "this process has no such statistics"


def test_on_this_machine_every_reading_moves():
    """Else nothing below would show anything."""
    if not Path("/proc/self/smaps_rollup").exists() or os.environ.get("PYTHONMALLOC"):
        pytest.skip("Linux with Python's own allocator has all readings")
    assert process.left_out() == {}
    assert process.calibration().unseen == ()


def test_a_flat_account_of_malloc_is_left_out_and_the_heap_with_it(monkeypatch):
    flat = psutil.heap_info()
    monkeypatch.setattr(psutil, "heap_info", lambda: flat)
    assert heap.native_bytes() is None
    assert heap.live_bytes() is None
    assert process.read().heap_bytes is None
    found = process.calibration()
    assert "moved by 0 B" in found.left_out["native"]
    assert found.unseen == ("malloc",)
    private = process.read().private_bytes
    assert process.held_bytes() == pytest.approx(private, rel=0.05), "it stands in"


def test_an_account_that_is_too_high_is_left_out(monkeypatch):
    heap_info = psutil.heap_info

    def doubled():
        found = heap_info()
        return found._replace(heap_used=2 * found.heap_used, mmap_used=2 * found.mmap_used)

    monkeypatch.setattr(psutil, "heap_info", doubled)
    assert heap.native_bytes() is None


def test_an_account_that_counts_what_a_thread_puts_by_is_left_out(monkeypatch):
    """Of 64 KB at once, as a thread of jemalloc takes them: between two of these nothing moves."""
    whole = psutil.heap_info

    def by_batches():
        found = whole()
        if threading.active_count() == alone:
            return found
        used = found.heap_used + found.mmap_used
        return found._replace(heap_used=-(-used // (64 << 10)) * (64 << 10), mmap_used=0)

    alone = threading.active_count()
    monkeypatch.setattr(psutil, "heap_info", by_batches)
    assert heap.native_bytes() is None
    assert "glibc: in another thread, when 24.0 KB were" in heap.tried().left_out["native"]


def test_where_there_can_be_no_thread_none_is_tried(monkeypatch):
    """RLIMIT_NPROC."""
    monkeypatch.setattr(heap.Thread, "start", _refused)
    assert heap.native_bytes() is not None


def _refused(self):
    raise RuntimeError("can't start new thread")


def test_a_thread_without_room_ends_the_trial(monkeypatch):
    monkeypatch.setattr(heap, "_TRIED_IN_THREAD", (1, 1 << 50))
    with pytest.raises(MemoryError, match="malloc has no room"):
        heap.native_bytes()
    assert not [each for each in threading.enumerate() if "_work" in each.name]


def test_pages_of_the_systems_pool_are_the_process_s(monkeypatch, tmp_path):
    """No other size of the rollup has them."""
    (tmp_path / "smaps_rollup").write_text(ROLLUP_4_18 + "Private_Hugetlb:     2048 kB\n")
    monkeypatch.setattr(process, "_ROLLUP", tmp_path / "smaps_rollup")
    monkeypatch.setattr(process, "_STATUS", tmp_path / "none")
    found = process.read()
    assert found.private_bytes == (112 + 8 + 2048) << 10
    assert found.uss_bytes == (32 + 112 + 2048) << 10


@pytest.mark.parametrize("pages", [1, 16, 512])
def test_the_least_by_which_the_process_grows_is_found_out(monkeypatch, pages):
    """Huge pages, and gVisor: more than a page is there when one is touched. Others of the process
    may take some as well, but not each time."""
    private, noise = iter(range(6)), (0, 5, 0, 0, 0, 7)
    level = [0]

    def reading():
        number = next(private)
        level[0] += (pages * (number % 2) + noise[number]) * PAGE_BYTES
        return process.Reading(0, 0, 0, level[0], None)

    monkeypatch.setattr(process, "_of_system", reading)
    process.grain_bytes.cache_clear()
    assert process.grain_bytes() == pages * PAGE_BYTES
    process.grain_bytes.cache_clear()


def test_the_process_alone_cannot_be_read(monkeypatch, tmp_path):
    (tmp_path / "smaps_rollup").write_text(ROLLUP_4_18)
    monkeypatch.setattr(process, "_ROLLUP", tmp_path / "smaps_rollup")
    assert process.private_bytes() is None
    assert "directly mapped memory" in process.calibration().unseen
    with pytest.raises(MeasurementError, match="cannot be read here: when"):
        process.expect_process()


def test_a_rollup_of_linux_4_18_has_no_shared_memory(monkeypatch, tmp_path):
    """That is in /proc/self/status since Linux 4.5."""
    (tmp_path / "smaps_rollup").write_text(ROLLUP_4_18)
    (tmp_path / "status").write_text("VmRSS:\t1912 kB\nRssShmem:\t4 kB\n")
    monkeypatch.setattr(process, "_ROLLUP", tmp_path / "smaps_rollup")
    monkeypatch.setattr(process, "_STATUS", tmp_path / "status")
    found = process.read()
    assert (found.rss_bytes, found.uss_bytes, found.pss_bytes) == (1912 << 10, 144 << 10, 194 << 10)
    assert found.private_bytes == (112 + 4 + 8) << 10


@pytest.mark.parametrize("rollup", [None, "", "Rss: many\n", "no such account\n"])
def test_without_a_rollup_the_mappings_are_summed(monkeypatch, tmp_path, rollup):
    """As in gVisor, and before Linux 4.14."""
    if rollup is not None:
        (tmp_path / "smaps_rollup").write_text(rollup)
    (tmp_path / "smaps").write_text(MAPPINGS)
    monkeypatch.setattr(process, "_ROLLUP", tmp_path / "smaps_rollup")
    monkeypatch.setattr(process, "_SMAPS", tmp_path / "smaps")
    found = process.read()
    assert (found.rss_bytes, found.uss_bytes, found.pss_bytes) == (124 << 10, 64 << 10, 84 << 10)
    assert found.private_bytes == 24 << 10


def test_without_any_page_of_proc_the_resident_set_stands_in(monkeypatch, tmp_path):
    for name in ("_ROLLUP", "_SMAPS", "_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(process, name, tmp_path / "none")
    monkeypatch.setattr(type(process._process()), "memory_full_info", _denied)
    process.expect_process()
    found = process.read()
    assert (found.uss_bytes, found.private_bytes) == (None, found.rss_bytes)
    left_out = process.left_out()
    assert left_out.keys() == {"uss", "peak", "data segment", "address space"}
    assert process.status() == {}
    assert (process.reset_peak(), process.peak_rss_bytes()) == (False, None)


def _denied(self):
    raise psutil.AccessDenied(self.pid)


def test_shared_memory_that_no_file_tells_of_is_named(monkeypatch, tmp_path):
    """The rollup of this process as an older kernel would write it."""
    rollup = process._rollup
    monkeypatch.setattr(
        process, "_rollup", lambda: {n: v for n, v in rollup().items() if n[:5] != "Pss_S"}
    )
    process.expect_process()
    assert process.left_out() == {}, "status has it"
    process.left_out.cache_clear()
    status = process._status
    monkeypatch.setattr(
        process, "_status", lambda: {n: v for n, v in status().items() if n != "RssShmem"}
    )
    assert process.left_out().keys() == {"shared memory"}


def test_a_peak_that_is_not_forgotten_is_left_out(monkeypatch, tmp_path):
    """Where /proc/self/clear_refs may be written, and nothing comes of it."""
    monkeypatch.setattr(process, "_CLEAR_REFS", tmp_path / "clear_refs")
    held = MappedPages(64 * 2**20)
    held.take()
    held.free()
    assert process.peak_rss_bytes() is None
    assert not process.reset_peak()


@pytest.mark.parametrize("fault", ["absent", "empty", "zeros"])
def test_a_page_table_that_does_not_tell_is_not_believed(monkeypatch, tmp_path, fault):
    file = tmp_path / "pagemap"
    if fault == "empty":
        file.touch()
    if fault == "zeros":
        with file.open("wb") as sparse:
            sparse.truncate(1 << 40)
    monkeypatch.setattr(residency, "_FILE", str(file))
    assert str(file) in residency.residency_failure()
    with residency.PageTable() as table:
        assert not table.readable


@pytest.mark.usefixtures("frozen")
def test_garbage_that_never_ends_ends_the_settling_and_is_named(monkeypatch):
    class Canary:
        alive, made = True, 0

        def __init__(self):
            self.itself = self

        def __del__(self):
            Canary.made += 1
            if Canary.alive:
                Canary()

    garbage = process._Garbage()
    monkeypatch.setattr(process, "_garbage", garbage)
    Canary()
    process.settle()
    assert process.calibration().endless_garbage
    (finalizer,) = process.calibration().finalizers
    assert finalizer.endswith("Canary.__del__")
    first, before = Canary.made, gc.get_stats()[2]["collections"]
    process.settle()
    assert gc.get_stats()[2]["collections"] - before == garbage._FEW
    assert Canary.made - first == garbage._FEW
    Canary.alive = False
    gc.collect()


@pytest.mark.usefixtures("frozen")
def test_garbage_of_garbage_is_collected_to_its_end(monkeypatch):
    class Link:
        left = 12

        def __init__(self):
            self.itself = self

        def __del__(self):
            Link.left -= 1
            if Link.left > 0:
                Link()

    monkeypatch.setattr(process, "_garbage", process._Garbage())
    Link()
    process.settle()
    assert Link.left == 0
    assert not process.calibration().endless_garbage


# ---------------------------------------------------------------- other allocators

TELL = """
import json, sys
from memprof.instruments import heap, process
found = process.calibration()
before = heap.native_bytes()
blocks = heap.Blocks(64, 256)
blocks.take()
native = heap.native_bytes()
kept, live = [bytes(100) for _ in range(1000)], heap.live_bytes()
del kept
print(json.dumps([
    found.malloc, sorted(found.left_out), found.unseen,
    None if before is None else native - before,
    None if live is None else live - heap.live_bytes(),
]))
"""


def tell(code: str = TELL, **environment: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def library(name: str) -> str:
    found = next((str(each) for each in sorted(Path("/usr/lib").glob(f"*/{name}"))), None)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


@pytest.mark.parametrize(
    ("name", "malloc"),
    [
        ("libjemalloc.so.2", "jemalloc"),
        ("libtcmalloc_minimal.so.4", "tcmalloc"),
        ("libc_malloc_debug.so.0", "glibc"),
    ],
)
def test_the_malloc_in_use_is_asked_for_its_account(name, malloc):
    """64 blocks of 256 bytes, and 1,000 objects of 144, with a list of them."""
    found, left_out, unseen, native, heap = tell(LD_PRELOAD=library(name))
    assert (found, left_out, unseen) == (malloc, [], [])
    assert 0.9 * 64 * 256 <= native <= 1.3 * 64 * 256
    assert 0.9 * 144_000 <= heap <= 1.3 * 144_000


IN_THREAD = """
import json
from memprof.instruments import heap
found = []
with heap._InThread(heap.Blocks(1, 256)) as load:
    for _ in range(20):
        before = heap.native_bytes()
        load.take()
        found.append(heap.native_bytes() - before)
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ["", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"])
def test_each_block_of_another_thread_is_seen_when_it_is_taken(name):
    """jemalloc's own figure moves once in a hundred such blocks."""
    preload = {"LD_PRELOAD": library(name)} if name else {}
    assert tell(IN_THREAD, **preload)[1:] == [256 if name else 272] * 19


PUT_BY = """
import json
from memprof.instruments import heap, process
blocks = heap.Blocks(4000, 256)
process.settle()
before, taken = process.private_bytes(), process.taken_bytes()
blocks.take()
for block in blocks._blocks:
    heap.ctypes.memset(block, 1, 256)
blocks.free()
process.settle()
print(json.dumps([process.private_bytes() - before, process.taken_bytes() - taken]))
"""


def test_what_tcmalloc_puts_by_is_not_taken_by_the_process():
    """It goes on doing so for hundreds of cycles under XLA, where nothing leaks."""
    private, taken = tell(PUT_BY, LD_PRELOAD=library("libtcmalloc_minimal.so.4"))
    assert private > 250_000
    assert abs(taken) < 100_000


CLOSED = """
import json, os
from memprof.instruments import heap
known = heap.small_object_bytes()
kept = os.dup(2)
os.close(2)
held = [bytes(100) for _ in range(1000)]
found = heap.small_object_bytes() - known
os.dup2(kept, 2)
os.close(2)
print(json.dumps([found, len(held)]))
"""


def test_python_tells_of_its_objects_where_nobody_hears_of_errors():
    """A daemon closes its descriptors."""
    found, _ = tell(CLOSED)
    assert found == pytest.approx(144_000, rel=0.1)


BLOCKS = """
import json
from memprof.instruments import heap, mallocs, process
found = []
for size in (1, 24, 25, 100, 200, 500, 1000, 3000):
    blocks = heap.Blocks(4000, size)
    before = heap.native_bytes()
    blocks.take()
    found.append([size, mallocs.block_bytes(size), (heap.native_bytes() - before) / 4000])
    blocks.free()
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ["", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"])
def test_a_block_takes_what_the_account_moves_by(name):
    preload = {"LD_PRELOAD": library(name)} if name else {}
    for size, block, moved in tell(BLOCKS, **preload):
        assert block == pytest.approx(moved, abs=4), size


def test_a_malloc_without_an_account_is_named():
    found = tell(LD_PRELOAD=library("libmimalloc.so.2"))
    assert found == ["mimalloc", ["native"], ["malloc"], None, None]


@pytest.mark.parametrize(
    ("allocator", "left_out"),
    [("malloc", ["objects", "python"]), ("malloc_debug", ["objects", "python"]), ("debug", [])],
)
def test_pythons_objects_are_in_one_account_or_the_other(allocator, left_out):
    _, missing, unseen, _, heap = tell(PYTHONMALLOC=allocator)
    assert (missing, unseen) == (left_out, [])
    assert 0.9 * 144_000 <= heap <= 1.5 * 144_000


def test_objects_without_bytes_tell_of_no_list_that_grows(monkeypatch):
    """As with the allocator of free-threaded builds, which has no table."""
    monkeypatch.setattr(pymalloc, "live_bytes", lambda: None)
    found = process.calibration()
    assert found.left_out.keys() == {"python"}
    assert found.unseen == ("Python's allocator",)
    assert heap.live_bytes() is None


# ---------------------------------------------------------------- other users, other views of /proc


def as_root(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if os.geteuid() or done.returncode == 127 or "ermitted" in done.stderr:
        pytest.skip(f"only root can try this, where it may: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


ASK = (
    "import os; from memprof.instruments import process, residency;"
    "from memprof.launch import limits;"
    "process.expect_process(); found = process.calibration();"
    "print(sorted(found.left_out), found.unseen, bool(residency.residency_failure()),"
    " limits.machine_memory().total_bytes > 0, os.getuid())"
)


@pytest.mark.parametrize(
    "mount",
    [
        "true",
        *(
            f"mount -t proc -o {options} proc /proc"
            for options in ("hidepid=2", "hidepid=4", "hidepid=4,subset=pid")
        ),
    ],
)
def test_a_user_without_privileges_reads_all_of_his_own_process(mount):
    """Also where others' processes are hidden, and the machine's memory with them."""
    shell = f'{mount} && exec {shlex.join(NOBODY)} "$0" -c "$1"'
    found = as_root("unshare", "-mpf", "sh", "-c", shell, sys.executable, ASK)
    assert found == "[] () False True 65534\n"
