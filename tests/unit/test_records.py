"""Records in memory and on disk: round trips, planted damage, killed and competing processes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from itertools import chain, islice
from pathlib import Path
from unittest import mock

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memprof.errors import StoreError
from memprof.instruments import process
from memprof.storage import disk_records
from memprof.storage.checkpoints import Counts
from memprof.storage.disk_records import DiskRecords
from memprof.storage.records import MemoryRecords

ROOT = Path(__file__).parents[2]
IDENTITY = b"template".ljust(16)
SMALL_MAP = mock.patch.object(disk_records, "_FIRST_MAP_BYTES", 1 << 16)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def stored(folder):
    """A closed store of 300 records."""
    records = DiskRecords.create(folder, IDENTITY, {"A": np.arange(1000.0), "note": b"{}"})
    for index in range(300):
        records.append(record(index))
    records.close()
    return folder


def record(seed):
    return seed.to_bytes(4, "big") * (10 + seed % 90)


def python(script, *arguments, **options):
    command = [sys.executable, "-c", f"{PRELUDE}\n{script}", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


PRELUDE = """
import sys
from pathlib import Path
from memprof.errors import StoreError
from memprof.storage import disk_records
from memprof.storage.disk_records import DiskRecords
folder = Path(sys.argv[1])
IDENTITY = b"template".ljust(16)
"""


# --- what both implementations do


@pytest.fixture(params=["memory", "disk"])
def records(request, folder):
    made = (
        MemoryRecords() if request.param == "memory" else DiskRecords.create(folder, IDENTITY, {})
    )
    yield made
    made.close()


def test_records_are_numbered_and_replaceable(records):
    assert [records.append(data) for data in (b"a", b"", b"c" * 5000)] == [0, 1, 2]
    records[0] = b"longer than before"
    assert list(records) == [b"longer than before", b"", b"c" * 5000]
    assert len(records) == 3


@pytest.mark.parametrize("index", [-1, 1, 10**6])
def test_an_index_never_appended_is_an_index_error(records, index):
    records.append(b"a")
    with pytest.raises(IndexError):
        records[index]
    with pytest.raises(IndexError):
        records[index] = b"b"
    assert list(records) == [b"a"]


contents = st.builds(
    lambda piece, times: piece * times, st.binary(max_size=40), st.integers(1, 900)
)
operations = st.one_of(
    st.tuples(st.just("append"), contents),
    st.tuples(st.just("set"), st.integers(0, 30), contents),
    st.tuples(st.just("reopen"), st.booleans()),
)


@given(st.lists(operations, max_size=40))
def test_records_on_disk_behave_like_a_list(steps):
    with tempfile.TemporaryDirectory() as scratch, SMALL_MAP:
        folder, model = Path(scratch, "store"), []
        records = DiskRecords.create(folder, IDENTITY, {})
        for kind, *arguments in steps:
            if kind == "append":
                assert records.append(arguments[0]) == len(model)
                model.append(arguments[0])
            elif kind == "set" and model:
                index = arguments[0] % len(model)
                records[index] = model[index] = arguments[1]
            elif kind == "reopen":
                records.close()
                if arguments[0]:
                    reader = DiskRecords.open(folder, None, readonly=True)
                    assert list(reader) == model
                    reader.close()
                records = DiskRecords.open(folder, IDENTITY)
            assert len(records) == len(model)
        assert list(records) == model
        records.close()


changes = st.one_of(
    st.tuples(st.just("append"), contents),
    st.tuples(st.just("set"), st.integers(0, 30), contents),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("reopen"), st.booleans()),
)


@settings(max_examples=50)
@given(st.lists(changes, max_size=40))
def test_a_store_with_checkpoints_is_what_it_was_at_the_last_one(steps):
    """Closing it makes none, nor does the death of the process, which does nothing else."""
    with tempfile.TemporaryDirectory() as scratch, SMALL_MAP:
        folder, model, saved = Path(scratch, "store"), [], None
        records = DiskRecords.create(folder, IDENTITY, {})
        for kind, *arguments in steps:
            present = [index for index, data in enumerate(model) if data is not None]
            if kind == "append":
                assert records.append(arguments[0]) == len(model)
                model.append(arguments[0])
            elif kind == "checkpoint":
                records.checkpoint()
                saved = [*model]
            elif kind == "reopen":
                records.close()
                model = model if saved is None else [*saved]
                if arguments[0]:
                    reader = DiskRecords.open(folder, None, readonly=True)
                    assert (everything(reader), reader.removed) == (model, model.count(None))
                    reader.close()
                records = DiskRecords.open(folder, IDENTITY)
            elif present and kind == "set":
                index = present[arguments[0] % len(present)]
                records[index] = model[index] = arguments[1]
            elif present:
                index = present[arguments[0] % len(present)]
                del records[index]
                model[index] = None
            if kind in ("checkpoint", "reopen"):
                assert (everything(records), records.removed) == (model, model.count(None))
        assert (everything(records), records.removed) == (model, model.count(None))
        records.close()


def everything(records):
    """All records, and None in the place of removed ones."""
    return [records[index] if index in records else None for index in range(len(records))]  # noqa: SIM401


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("key", [b"then", b"\0" * 8])
def test_what_a_checkpoint_keeps_is_checked(stored, key, readonly):
    records = DiskRecords.open(stored, None)
    records.checkpoint()
    records[0] = b"later"
    records.close()
    with lmdb.open(str(stored), max_dbs=1) as env:
        kept = env.open_db(b"undo")
        with env.begin(db=kept, write=True) as transaction:
            value = transaction.get(key)
            transaction.put(key, value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"(the store|it) is damaged"):
        DiskRecords.open(stored, None, readonly=readonly)[0]


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(("records", "removed"), [(301, 0), (10**15, 0), (300, 301)])
def test_a_checkpoint_of_what_was_never_there_is_refused(stored, records, removed, readonly):
    """Whoever lists the indices of so many would never end."""
    made = DiskRecords.open(stored, None)
    with mock.patch.object(made, "_now", return_value=Counts(records, removed)):
        made.checkpoint()
    made.close()
    with pytest.raises(StoreError, match=r"its last checkpoint has .* the store is damaged"):
        DiskRecords.open(stored, None, readonly=readonly)


def test_a_record_that_the_last_checkpoint_has_not_is_not_put_back(stored):
    made = DiskRecords.open(stored, None)
    made.checkpoint()
    made.close()
    with lmdb.open(str(stored), max_dbs=1) as env:
        kept = env.open_db(b"undo")
        with env.begin(db=kept, write=True) as transaction:
            transaction.put((10**12).to_bytes(8, "big"), b"more")
    with pytest.raises(StoreError, match="keeps a record that its last checkpoint has not"):
        DiskRecords.open(stored, None)


# --- the template's blobs


def test_blobs_are_read_in_place_read_only_and_aligned(folder):
    arrays = {"odd": np.arange(7, dtype=np.int8), "A": np.random.default_rng(0).random((30, 30))}
    blobs = {**arrays, "none": np.zeros((0, 3)), "empty": b"", "note": b'{"a": 1}'}
    records = DiskRecords.create(folder, IDENTITY, blobs)
    views = {name: records.blob(name) for name in blobs}
    records.close()
    assert {name: view.tobytes() for name, view in views.items()} == {
        name: bytes(memoryview(data)) for name, data in blobs.items()
    }
    for name, array in arrays.items():
        mapped = np.frombuffer(views[name], array.dtype).reshape(array.shape)
        assert np.array_equal(mapped, array)
        assert not mapped.flags.writeable
        assert mapped.ctypes.data % 64 == 0


def test_an_unknown_blob_is_named(stored):
    with pytest.raises(StoreError, match=r"no blob 'B'; it has: A, note"):
        DiskRecords.open(stored, None, readonly=True).blob("B")


def test_neither_records_nor_blobs_cost_private_memory(folder):
    records = DiskRecords.create(folder, IDENTITY, {"A": np.ones(4_000_000)})
    for _ in range(1000):  # LMDB's own buffers and the first reading's are there once
        records.append(os.urandom(300))
    process.read()
    process.settle()
    before = process.read()
    array = np.frombuffer(records.blob("A"))
    for _ in range(10_000):
        records[records.append(os.urandom(300))]
    total = array.sum()
    process.settle()
    after = process.read()
    assert total == 4_000_000
    assert records.file_bytes > 35_000_000
    assert after.private_bytes - before.private_bytes < 500_000
    records.close()


# --- stores that cannot be used


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path, place):
    """Change one bit of the only occurrence of `place`."""
    offset = path.read_bytes().index(place)
    overwrite(path, offset, bytes([place[0] ^ 1]))


def with_raw_lmdb(folder, change):
    with lmdb.open(str(folder), map_size=1 << 26) as env, env.begin(write=True) as transaction:
        change(transaction)


def foreign_lmdb(folder):
    (folder / "store.json").unlink()
    with_raw_lmdb(folder, lambda transaction: transaction.put(b"key", b"value"))


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def rename_format(name):
    def plant(folder):
        header = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps({**header, "format": name}))

    return plant


def truncate(name, size):
    return lambda folder: os.truncate(folder / name, size)


def used_pages(folder):
    with lmdb.open(str(folder), map_size=1 << 26) as env:
        return env.info()["last_pgno"] + 1


def cut_used_pages(folder):
    os.truncate(folder / "data.mdb", (used_pages(folder) - 1) * 4096)


DAMAGE = {
    "empty folder": (empty, "is not a store of memprof"),
    "foreign LMDB environment": (foreign_lmdb, "is not a store of memprof"),
    "other JSON": (lambda f: (f / "store.json").write_text("[1]"), "is not a store of memprof"),
    "other application": (rename_format("tidy.store/1"), "not a store of memprof but of tidy"),
    "other version": (rename_format("memprof.store/99"), "has format 99.*create it again"),
    "half a header": (truncate("store.json", 90), "is not a store of memprof"),
    "flipped header": (lambda f: flip(f / "store.json", b"8000,"), "store.json has changed"),
    "no records file": (lambda f: (f / "data.mdb").unlink(), "No such file.*create it again"),
    "empty records file": (truncate("data.mdb", 0), "data.mdb has 0 bytes"),
    "half a meta page": (truncate("data.mdb", 100), "data.mdb has 100 bytes"),
    "missing pages": (cut_used_pages, "data.mdb has .* bytes instead of"),
    "overwritten records file": (
        lambda f: overwrite(f / "data.mdb", 0, bytes(8192)),
        "cannot be opened.*create it again",
    ),
    "no blobs": (lambda f: (f / "template.bin").unlink(), "No such file.*create it again"),
    "truncated blobs": (truncate("template.bin", 5000), "has 5000 bytes instead of 8002"),
    "longer blobs": (truncate("template.bin", 9000), "has 9000 bytes instead of 8002"),
    "missing record": (
        lambda f: with_raw_lmdb(f, lambda t: t.delete((150).to_bytes(8, "big"))),
        "there are 299 records where the last is number 299",
    ),
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("name", DAMAGE)
def test_an_unusable_store_is_refused_when_opened(stored, name, readonly):
    plant, message = DAMAGE[name]
    plant(stored)
    with pytest.raises(StoreError, match=message) as caught:
        DiskRecords.open(stored, IDENTITY, readonly=readonly)
    assert caught.value.exit_code == 3
    assert str(stored) in str(caught.value)


def test_a_truncated_store_that_has_outgrown_its_first_map_is_refused(folder):
    with SMALL_MAP:
        records = DiskRecords.create(folder, IDENTITY, {})
        for index in range(1000):
            records.append(record(index))
        records.close()
        cut_used_pages(folder)
        with pytest.raises(StoreError, match=r"data\.mdb has .* bytes instead of"):
            DiskRecords.open(folder, IDENTITY)


def test_another_template_is_refused(stored):
    with pytest.raises(StoreError, match="belongs to another template"):
        DiskRecords.open(stored, bytes(16))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        DiskRecords.open(tmp_path / "nowhere", None)


def test_a_changed_record_is_refused_and_the_others_are_read(stored):
    flip(stored / "data.mdb", record(123))
    records = DiskRecords.open(stored, IDENTITY)
    with pytest.raises(StoreError, match="record 123 has changed"):
        records[123]
    assert records[122] == record(122)
    records[123] = b"new"
    assert records[123] == b"new"
    records.close()


def test_a_record_in_the_place_of_another_is_refused(stored):
    def swap(transaction):
        transaction.put((7).to_bytes(8, "big"), transaction.get((8).to_bytes(8, "big")))

    with_raw_lmdb(stored, swap)
    records = DiskRecords.open(stored, IDENTITY)
    with pytest.raises(StoreError, match="record 7 has changed"):
        records[7]
    records.close()


def test_a_changed_blob_is_refused(stored):
    overwrite(stored / "template.bin", 800, b"\x01")
    records = DiskRecords.open(stored, IDENTITY)
    with pytest.raises(StoreError, match="blob 'A' have changed"):
        records.blob("A")
    assert bytes(records.blob("note")) == b"{}"
    records.close()


def test_a_closed_store_says_so(stored):
    records = DiskRecords.open(stored, IDENTITY)
    records.close()
    records.close()
    with pytest.raises(StoreError, match=r"records cannot be read.*closed"):
        records[0]


# --- creating


@pytest.mark.parametrize("occupant", ["store", "folder", "file"])
def test_nothing_is_overwritten(folder, occupant):
    if occupant == "store":
        DiskRecords.create(folder, IDENTITY, {}).close()
    elif occupant == "folder":
        folder.mkdir()
        (folder / "mine").write_text("mine")
    else:
        folder.write_text("mine")
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(StoreError, match="new or empty"):
        DiskRecords.create(folder, IDENTITY, {})
    assert sorted(folder.parent.rglob("*")) == before


def test_an_interrupted_create_leaves_nothing(folder):
    with (
        mock.patch.object(disk_records.Header, "write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        DiskRecords.create(folder, IDENTITY, {"A": bytes(1000)})
    assert not list(folder.parent.iterdir())


def test_a_create_that_is_killed_leaves_nothing_that_opens(folder):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    script = f"""
def kill(*_):
    {kill}
disk_records.Header.write = kill
DiskRecords.create(folder, IDENTITY, {{"A": bytes(1000)}})
"""
    with python(script, folder) as child:
        assert child.wait(30) == -signal.SIGKILL
    left = [path for path in folder.parent.rglob("*") if path.is_dir()]
    assert left
    for path in [folder, *left]:
        with pytest.raises(StoreError):
            DiskRecords.open(path, None)
    DiskRecords.create(folder, IDENTITY, {}).close()


# --- several processes and threads


def operations_of_the_killed_writer():
    """Endless writes (index, record); an index beyond the last is an append."""
    length = 0
    for step in range(10**9):
        if step % 3 == 2:
            yield step * 7919 % length, record(step)
        else:
            yield length, record(step)
            length += 1


def test_a_killed_writer_loses_no_committed_record(folder):
    script = """
from tests.unit.test_records import operations_of_the_killed_writer
disk_records._FIRST_MAP_BYTES = 1 << 16
records = DiskRecords.create(folder, IDENTITY, {})
for step, (index, record) in enumerate(operations_of_the_killed_writer()):
    if index == len(records):
        records.append(record)
    else:
        records[index] = record
    print(step, flush=True)
"""
    for announced in (1, 700, 3000):
        path = folder / str(announced)
        with python(script, path) as child:
            for _ in range(announced):
                child.stdout.readline()
            child.kill()
            steps = announced + child.stdout.read().count("\n")
        # The writer may have died between a commit and its announcement.
        wanted = [{}, {}]
        for more in (0, 1):
            for index, data in islice(operations_of_the_killed_writer(), steps + more):
                wanted[more][index] = data
        with SMALL_MAP:
            records = DiskRecords.open(path, IDENTITY)
        assert dict(enumerate(records)) in wanted
        records[0] = b"and it can be written again"
        records.close()


def test_one_process_writes_and_others_read(folder):
    script = """
for readonly in (False, True):
    sys.stdin.readline()
    try:
        records = DiskRecords.open(folder, IDENTITY, readonly=readonly)
        print(list(records), flush=True)
    except StoreError as error:
        print(error, flush=True)
sys.stdin.readline()
print(len(records), records[99] == bytes(50_000), flush=True)
try:
    records.append(b"mine")
except StoreError as error:
    print(error, flush=True)
"""
    with SMALL_MAP:
        records = DiskRecords.create(folder, IDENTITY, {})
    records.append(b"a")
    with python(f"disk_records._FIRST_MAP_BYTES = 1 << 16\n{script}", folder) as child:

        def answer():
            child.stdin.write("\n")
            child.stdin.flush()
            return child.stdout.readline()

        assert f"process {os.getpid()} has it open for writing" in answer()
        assert answer() == "[b'a']\n"
        for _ in range(99):  # which the reader's map has no room for
            records.append(bytes(50_000))
        assert answer() == "100 True\n"
        assert "cannot be written" in child.stdout.readline()
    records.close()


def test_a_store_is_open_once_in_a_process(stored):
    records = DiskRecords.open(stored, IDENTITY)
    for readonly in (False, True):
        with pytest.raises(StoreError, match="already open in this process"):
            DiskRecords.open(stored, IDENTITY, readonly=readonly)
    with python("DiskRecords.open(folder, None)", stored, stderr=subprocess.PIPE) as child:
        assert "has it open for writing" in child.communicate(timeout=300)[1]
    records.close()
    DiskRecords.open(stored, IDENTITY).close()


def test_a_forked_process_opens_the_store_for_itself(stored):
    script = """
import os
records = DiskRecords.open(folder, None)
assert len(records[5]) > 0
child = os.fork()
if child == 0:
    try:
        records[5]
    except StoreError as error:
        print(error, flush=True)
    records.close()
    print(len(DiskRecords.open(folder, None, readonly=True)), flush=True)
    os._exit(0)
os.waitpid(child, 0)
records.append(b"a")
print(len(records))
"""
    with python(script, stored) as child:
        refused, *lengths = child.communicate(timeout=300)[0].splitlines()
    assert "before this process was forked" in refused
    assert lengths == ["300", "301"]


def test_a_full_disk_is_an_error_and_loses_nothing(folder):
    script = """
import resource
disk_records._FIRST_MAP_BYTES = 1 << 20
records = DiskRecords.create(folder, IDENTITY, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
try:
    while True:
        records.append(bytes(300))
except StoreError as error:
    print(error)
print(len(records), set(records) == {bytes(300)})
"""
    with python(script, folder) as child:
        message, state = child.communicate(timeout=300)[0].splitlines()
    assert "records cannot be written" in message
    assert "make room on the disk" in message
    length, intact = state.split()
    assert int(length) > 5000
    assert intact == "True"


def test_threads_share_a_store(folder):
    with SMALL_MAP:
        records = DiskRecords.create(folder, IDENTITY, {})
    appended = [[] for _ in range(4)]

    def work(number):
        for round_ in range(200):
            data = record(number * 1000 + round_)
            index = records.append(data)
            appended[number].append(index)
            assert records[index] == data
            records[index] = data + b"!"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chain(*appended)) == list(range(800))
    for number, indices in enumerate(appended):
        for round_, index in enumerate(indices):
            assert records[index] == record(number * 1000 + round_) + b"!"
    records.close()
