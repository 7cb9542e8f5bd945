"""Stores that a stranger has made: whatever their files are, they open, or are a StoreError."""

import json
import os
import sys
import tempfile
import zlib
from pathlib import Path

import lmdb
import numpy as np
import pytest

from memprof.errors import StoreError
from memprof.storage.disk_records import DiskRecords
from memprof.storage.header import Extent, Header

IDENTITY = bytes(range(16))
MIB = 2**20


@pytest.fixture
def stored(tmp_path):
    """A closed store of 3 records and two blobs."""
    folder = tmp_path / "store"
    records = DiskRecords.create(folder, IDENTITY, {"A": np.arange(100.0), "note": b"{}"})
    for index in range(3):
        records.append(b"record %d" % index)
    records.close()
    return folder


def header(change=lambda content: None, **fields):
    """The text of a header with the right checksum, whatever its content."""

    def write(folder):
        content = json.loads((folder / "store.json").read_text())["content"]
        content = change(content) or content
        text = json.dumps(content, separators=(",", ":"))
        whole = {"format": "memprof.store/4", "checksum": zlib.crc32(text.encode())}
        return json.dumps({**whole, "content": content, **fields}, separators=(",", ":"))

    return write


def with_extent(name="A", **fields):
    return header(lambda content: content["blobs"][name].update(fields))


def edited(old, new):
    """The store's own header, changed as text."""

    def write(folder):
        text = (folder / "store.json").read_text()
        assert old in text
        return text.replace(old, new)

    return write


HEADERS = {
    "a number": "1",
    "nothing": "",
    "null": "null",
    "no UTF-8": b"\xff\xfe",
    "half a character": '"\ud800'.encode("utf-8", "surrogatepass"),
    "many lists": "[" + "[]," * 300_000 + "[]]",
    "deep lists": "[" * MIB,
    "deep objects": '{"a":' * 200_000,
    "too long": " " * (MIB + 1),
    "another format": header(format=7),
    "a format of control characters": header(format="\x1b[2J/2"),
    "a number of 5,000 digits": edited('"start":0', '"start":' + "9" * 5000),
    "a number beyond 8 bytes": with_extent(start=2**64),
    "a negative number": with_extent(start=-64),
    "a negative size": with_extent(size=-1),
    "a fraction": with_extent(start=0.0),
    "true": with_extent(start=True),
    "not a number": edited('"start":0', '"start":NaN'),
    "infinity": edited('"start":0', '"start":Infinity'),
    "text as a number": with_extent(size="800"),
    "null as a number": with_extent(size=None),
    "an extent too much": with_extent(more=1),
    "no size": header(lambda content: content["blobs"]["A"].pop("size") and None),
    "an extent that is a list": header(lambda content: content["blobs"].update(A=[0, 1, 2])),
    "blobs that overlap": with_extent("note", start=0),
    "a blob beyond the file": with_extent("note", start=2**40),
    "a blob of a terabyte": with_extent("note", size=2**40),
    "blobs that are text": header(lambda content: {**content, "blobs": "A"}),
    "no content": header(lambda content: {"identity": content["identity"]}),
    "more content": header(lambda content: {**content, "more": 1}),
    "content that is text": header(lambda content: "content"),
    "a short identity": header(lambda content: {**content, "identity": "00"}),
    "no hex": header(lambda content: {**content, "identity": "x" * 32}),
    "spaces in hex": header(lambda content: {**content, "identity": " 00" * 16}),
    "upper case": header(lambda content: {**content, "identity": "AB" * 16}),
    "identity that is a number": header(lambda content: {**content, "identity": 16}),
    "a name twice": edited('"content":', '"checksum":0,"content":'),
    "a blob twice": edited('"note":', '"A":{"start":0,"size":0,"checksum":0},"note":'),
    "another field": header(more=1),
    "a wrong checksum": header(checksum=1),
    "a checksum that is true": header(checksum=True),
    "spaces": edited(":", ": "),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_crafted_header_is_refused(stored, name):
    made = HEADERS[name]
    made = made if isinstance(made, str | bytes) else made(stored)
    (stored / "store.json").write_bytes(made.encode() if isinstance(made, str) else made)
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"give another folder|create it again") as caught:
            DiskRecords.open(stored, None, readonly=readonly)
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()


def test_the_reader_takes_what_is_written(stored):
    text = header()(stored)
    assert (stored / "store.json").read_text() == text
    blobs = {f"array{n}": Extent(n * 4096, 4096, 2**32 - 1) for n in range(10_000)}
    Header(IDENTITY, blobs).write(stored)
    assert Header.read(stored) == Header(IDENTITY, blobs)


def test_a_header_that_could_not_be_read_again_is_not_written(tmp_path):
    blobs = {f"array{n}": Extent(n * 4096, 4096, 2**32 - 1) for n in range(20_000)}
    with pytest.raises(StoreError, match=r"found 20000 blobs.*leave mmap out"):
        Header(IDENTITY, blobs).write(tmp_path)
    assert not list(tmp_path.iterdir())


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_folder(path):
    path.unlink()
    path.mkdir()


def as_link(path):
    victim = path.parent.parent / "precious"
    victim.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(victim)


def as_dangling_link(path):
    path.unlink()
    path.symlink_to(path.parent.parent / "nowhere")


def as_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", [as_pipe, as_folder, as_link, as_dangling_link, as_device])
@pytest.mark.parametrize("name", ["store.json", "template.bin", "data.mdb", "lock.mdb", "writer"])
def test_names_stand_for_plain_files_only(stored, name, kind):
    """Opening a pipe waits for ever, and a link would have somebody's file overwritten."""
    kind(stored / name)
    victim = stored.parent / "precious"
    before = victim.read_bytes() if victim.exists() else None
    with pytest.raises(StoreError, match=f"{name} is not a plain file.*(create it again|another)"):
        DiskRecords.open(stored, None)
    assert not (stored.parent / "nowhere").exists()
    assert (victim.read_bytes() if victim.exists() else None) == before


def key(index):
    return index.to_bytes(8, "big")


def sealed(index, record):
    """A record in its place, with the checksum that a reader expects."""
    place = zlib.crc32(key(index), zlib.crc32(IDENTITY))
    return zlib.crc32(record, place).to_bytes(4, "big") + record


def removed(count):
    return zlib.crc32(count, zlib.crc32(IDENTITY)).to_bytes(4, "big") + count


ENTRIES = {
    "the last index there is": (key(2**64 - 1), b""),
    "a gap": (key(10**9), b""),
    "a long key": (b"\xff" * 500, b""),
    "a short key": (b"\xff", b""),
    "a key of 9 bytes": (key(2) + b"\0", b""),
    "more removed than there are": (b"\0", removed(key(2**64 - 1))),
    "a long number of removed": (b"\0", removed(bytes(500))),
    "a short number of removed": (b"\0", removed(b"\1")),
    "a wrong number of removed": (b"\0", b"1234" + key(1)),
    "half a number of removed": (b"\0", b"12"),
    "nothing of a number": (b"\0", b""),
}


def put(folder, *entries):
    with lmdb.open(str(folder), map_size=64 * MIB) as env, env.begin(write=True) as transaction:
        for name, value in entries:
            transaction.put(name, value)
    os.truncate(folder / "data.mdb", 64 * MIB)


@pytest.mark.parametrize("name", ENTRIES)
def test_crafted_keys_are_refused(stored, name):
    put(stored, ENTRIES[name])
    for readonly in (False, True):
        with pytest.raises(StoreError, match="create it again"):
            DiskRecords.open(stored, None, readonly=readonly)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (24, b"\x01"),  # an address to be mapped at
        (40, b"\0\0"),  # size of pages
        (40, b"\x01\x10"),
        (44, b"\x0c"),  # flags of the tree of free pages, and of the main one: several values
        (46, b"\x21"),  # their depths
        (92, b"\x04"),
        (94, b"\xff\xff"),
    ],
)
@pytest.mark.parametrize("page", [0, 1])
def test_first_pages_that_lmdb_would_end_the_process_over_are_refused(stored, page, offset, value):
    with (stored / "data.mdb").open("r+b") as file:
        file.seek(40)
        size = int.from_bytes(file.read(4), sys.byteorder)
        file.seek(page * size + offset)
        file.write(value)
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"first pages.*create it again"):
            DiskRecords.open(stored, None, readonly=readonly)


@pytest.mark.parametrize("value", [b"", b"\0", b"123", b"1234", bytes(5000)])
def test_crafted_values_are_refused_when_they_are_read(stored, value):
    put(stored, (key(1), value))
    records = DiskRecords.open(stored, None)
    with pytest.raises(StoreError, match=r"record 1 has changed.*create it again"):
        records[1]
    assert records[2] == b"record 2"
    records.close()


def test_a_key_between_two_others_hides_no_record(stored):
    with lmdb.open(str(stored), map_size=64 * MIB) as env, env.begin(write=True) as transaction:
        transaction.delete(key(1))
        transaction.put(key(0) + b"\0", b"")
    os.truncate(stored / "data.mdb", 64 * MIB)
    records = DiskRecords.open(stored, None)
    with pytest.raises(StoreError, match="record 1 is missing"):
        records[1]
    records.close()


def test_a_crafted_lock_names_no_process(stored):
    records = DiskRecords.open(stored, None)
    child = os.fork()
    if child == 0:
        records.close()
        (stored / "writer").write_bytes(b"\x1b[2J" * MIB)
        try:
            DiskRecords.open(stored, None)
        except StoreError as error:
            os._exit(0 if "process of unknown number has it open" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    records.close()


# --- folders


def a_file(folder):
    folder.write_text("mine")
    return folder


def in_a_file(folder):
    folder.write_text("mine")
    return folder / "store"


def a_pipe(folder):
    os.mkfifo(folder)
    return folder


def a_dangling_link(folder):
    folder.symlink_to(folder.parent / "nowhere")
    return folder


def a_link_to_itself(folder):
    folder.symlink_to(folder)
    return folder


FOLDERS = {
    "a name that is too long": lambda folder: folder / ("x" * 300),
    "a path that is too long": lambda folder: Path(folder, *["x" * 100] * 60),
    "a NUL": lambda folder: Path(f"{folder}\0"),
    "half a character": lambda folder: Path(f"{folder}\ud800"),
    "a file": a_file,
    "in a file": in_a_file,
    "a pipe": a_pipe,
    "a dangling link": a_dangling_link,
    "a link to itself": a_link_to_itself,
    "no folder of anybody's": lambda folder: Path("/proc/nowhere"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_is_refused_in_one_sentence(tmp_path, name):
    folder = FOLDERS[name](tmp_path / "store")
    before = sorted(tmp_path.rglob("*"))
    for attempt in (
        lambda: DiskRecords.create(folder, IDENTITY, {}),
        lambda: DiskRecords.open(folder, None),
        lambda: DiskRecords.open(folder, None, readonly=True),
    ):
        with pytest.raises(StoreError, match=r"it needs a|give the folder|create the") as caught:
            attempt()
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "store"] == [
        path for path in before if path.name != "store"
    ]


def test_the_longest_name_of_a_folder_will_do(tmp_path):
    folder = tmp_path / ("ü" * 127)
    DiskRecords.create(folder, IDENTITY, {}).close()
    DiskRecords.open(folder, IDENTITY).close()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to change its user")
def test_a_folder_without_rights_is_refused_with_the_remedy():
    with tempfile.TemporaryDirectory() as scratch:
        stored = Path(scratch, "store")
        DiskRecords.create(stored, IDENTITY, {}).close()
        Path(scratch).chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(
                StoreError, match=r"Permission denied.*it needs a new or empty folder"
            ):
                DiskRecords.create(Path(scratch, "new"), IDENTITY, {})
            for readonly in (False, True):
                with pytest.raises(StoreError, match=r"Permission denied.*or work on a copy"):
                    DiskRecords.open(stored, None, readonly=readonly)
        finally:
            os.seteuid(0)
