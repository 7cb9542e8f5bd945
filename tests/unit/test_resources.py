"""What is counted beside memory, one of each taken and given back in this process."""

import ctypes
import errno
import io
import logging
import mmap
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import get_args

import pytest

from memprof.instruments import process, resources
from memprof.instruments.graph import everything
from memprof.instruments.targets import targets
from memprof.values.counts import COUNTS, CountName


@pytest.fixture(autouse=True)
def created():
    return resources.created()


def run(code):
    """Python code, in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def new(name, take):
    """What there is of a kind after `take` that was not before, and what it is called."""
    before = set(resources.present(name))
    kept = take()
    keys = set(resources.present(name)) - before
    called = sorted(each.called for each in targets(name, keys, everything()).values())
    return kept, keys, called


def test_all_counts_can_be_trusted_here():
    assert resources.left_out() == {}
    assert set(resources.counts()) == set(COUNTS) == set(get_args(CountName))


def test_a_file_and_a_pipe_are_descriptors(tmp_path):
    path = tmp_path / "log"
    file, keys, called = new("descriptors", lambda: path.open("w"))
    assert len(keys) == 1
    assert called[0].lstrip("…") in str(path)
    assert called[0].endswith("/log")
    file.close()
    ends, keys, called = new("descriptors", os.pipe)
    assert (len(keys), called) == (2, ["pipe", "pipe"])
    for end in ends:
        os.close(end)


def test_a_socket_is_named_by_its_ends():
    def connected():
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        return server, client, server.accept()[0]

    kept, keys, called = new("descriptors", connected)
    port = kept[0].getsockname()[1]
    assert len(keys) == 3
    assert f"TCP listens at 127.0.0.1:{port}" in called
    assert any(each.endswith(f" to 127.0.0.1:{port}") for each in called)
    for each in kept:
        each.close()


def test_a_descriptor_knows_the_object_that_has_it():
    with tempfile.TemporaryFile() as file:
        keys = [key for key in resources.present("descriptors") if key[0] == file.fileno()]
        (found,) = targets("descriptors", keys, everything()).values()
        assert found.thing.fileno() == file.fileno()


def test_a_thread_is_named_with_its_target():
    def waits():
        end = threading.Event()
        thread = threading.Thread(target=end.wait, name="beat")
        thread.start()
        return thread, end

    (thread, end), keys, called = new("threads", waits)
    assert (keys, called) == ({thread.native_id}, ["beat, target Event.wait"])
    end.set()
    thread.join()


def test_one_of_which_nothing_is_known_has_no_name():
    assert targets("uncollectable", [140_183_544_074_624], []).popitem()[1].called == ""
    assert targets("files", ["/tmp/log"], []).popitem()[1].called == "/tmp/log"


def test_a_child_counts_until_somebody_waits_for_it():
    command = [sys.executable, "-c", "pass"]
    child, keys, _ = new("children", lambda: subprocess.Popen(command))
    assert [pid for pid, _ in keys] == [child.pid]
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert keys <= set(resources.present("children")), "its entry is still taken"
    (found,) = targets("children", keys, everything()).values()
    assert found.thing is child
    assert found.called.endswith("(ended; nobody waited for it)")
    child.wait()
    assert not keys & set(resources.present("children"))


def test_maps_of_one_file_are_as_many_as_they_are(tmp_path):
    file = tmp_path / "table"
    file.write_bytes(bytes(mmap.PAGESIZE))

    def maps():
        with file.open("rb") as opened:
            return [mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) for _ in range(3)]

    kept, keys, called = new("maps", maps)
    assert len(keys) == 3
    assert {name[-6:] for name in called} == {"/table"}
    for each in kept:
        each.close()


@pytest.mark.parametrize("make", [tempfile.mkdtemp, lambda: tempfile.mkstemp()[1]])
def test_a_temporary_file_counts_while_it_is_there(make):
    name, keys, _ = new("files", make)
    assert name in keys
    os.rmdir(name) if os.path.isdir(name) else os.unlink(name)
    assert name not in resources.present("files")


def test_a_file_that_was_renamed_is_there_under_its_new_name():
    handle, name = tempfile.mkstemp()
    os.close(handle)
    os.rename(name, f"{name}.done")
    assert {f"{name}.done"} == {each for each in resources.present("files") if name in each}
    os.unlink(f"{name}.done")


@pytest.fixture
def elsewhere():
    """A folder in which nobody expects temporary files."""
    folder = Path(tempfile.mkdtemp(dir=Path(__file__).parent))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("make", [tempfile.mkdtemp, lambda dir: tempfile.mkstemp(dir=dir)[1]])
def test_a_temporary_file_counts_in_whichever_folder_it_is(elsewhere, make):
    name, keys, _ = new("files", lambda: make(dir=elsewhere))
    assert keys == {name}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder, fd: os.mkdir("new", dir_fd=fd),
        lambda folder, fd: (folder / "new").mkdir(),
        lambda folder, fd: (folder / "new").touch(),
        lambda folder, fd: (folder / "new").symlink_to("/"),
        lambda folder, fd: os.link(__file__, folder / "new"),
        lambda folder, fd: io.FileIO(folder / "new", "w").close(),
        lambda folder, fd: sqlite3.connect(folder / "new").execute("create table t (x)"),
        lambda folder, fd: os.rename(folder / "old", "new", dst_dir_fd=fd),
    ],
)
def test_a_file_counts_however_it_is_made(make):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        (Path(folder) / "old").touch()
        fd = os.open(folder, os.O_RDONLY)
        _, keys, _ = new("files", lambda: make(Path(folder), fd))
        os.close(fd)
        assert f"{folder}/new" in keys


def test_what_was_there_before_is_not_created():
    """As of a folder that need not be new, or a log that goes on."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        code = (
            "import os, sys\n"
            "from memprof.instruments import resources\n"
            "resources.created()\n"
            f"os.makedirs({folder!r}, exist_ok=True)\n"
            f"open({folder + '/log'!r}, 'a').close()\n"
            f"open({folder + '/new'!r}, 'a').close()\n"
            "print(*resources.present('files'))\n"
        )
        (Path(folder) / "log").touch()
        done = run(code)
    assert [name for name in done.stdout.split() if name.startswith(folder)] == [f"{folder}/new"]


def test_a_name_that_is_none_is_refused_in_pythons_words():
    with pytest.raises(ValueError, match="null"):
        open("/tmp/\0", "w")  # noqa: SIM115
    with pytest.raises(UnicodeEncodeError):
        open("/tmp/\ud800", "w")  # noqa: SIM115


def test_who_closes_all_descriptors_and_opens_files_keeps_them_whole(tmp_path):
    """Such a file may come to have the number of the one that memprof keeps names in."""
    code = (
        "import os\n"
        "from memprof.instruments import heap, resources\n"
        "resources.created(), heap.small_object_bytes()\n"
        "spare = resources.Spare()\n"
        "os.closerange(3, 256)\n"
        f"kept = [open('{tmp_path}/' + str(n), 'w') for n in range(20)]\n"
        "for each in kept: each.write('mine'), each.flush()\n"
        "open('/tmp/memprof-another', 'w').close(), os.unlink('/tmp/memprof-another')\n"
        "print(resources.present('files'), resources.present('segments'))\n"
        "assert heap.small_object_bytes()\n"
        "spare.release()\n"
        "for each in kept: each.flush(), os.fstat(each.fileno())\n"
    )
    done = run(code)
    assert done.stdout == "None None\n", done.stderr
    assert {each.read_text() for each in tmp_path.iterdir()} == {"mine"}


def test_names_of_files_that_come_and_go_take_no_memory():
    def one():
        handle, name = tempfile.mkstemp()
        os.close(handle)
        os.unlink(name)

    one(), resources.present("files")
    process.collect()
    before = sys.getallocatedblocks()
    for _ in range(200):
        one()
        resources.present("files")
    process.collect()
    assert sys.getallocatedblocks() - before < 50


def test_a_segment_counts_until_it_is_unlinked():
    from multiprocessing.shared_memory import SharedMemory

    segment, keys, called = new("segments", lambda: SharedMemory(create=True, size=8))
    assert called == [segment.name]
    segment.close()
    assert keys <= set(resources.present("segments"))
    segment.unlink()
    assert not keys & set(resources.present("segments"))


def test_a_segment_of_system_v_counts_until_it_is_removed():
    library = ctypes.CDLL(None)
    segment, _, called = new("segments", lambda: library.shmget(0, 4096, 0o600))
    assert called == [f"System V {segment}"]
    library.shmctl(segment, 0, None)  # IPC_RMID
    assert f"System V {segment}" not in resources.present("segments")


def test_loggers_handlers_and_warnings_are_counted_and_named():
    logger, _, called = new("loggers", lambda: logging.getLogger("only here"))
    assert called == ["only here"]
    _, _, called = new("handlers", lambda: logger.addHandler(logging.NullHandler()))
    assert called == ["NullHandler of only here"]
    logging.root.manager.loggerDict.pop("only here")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        _, _, called = new("warnings", lambda: warnings.warn("once", stacklevel=1))
    assert called == [f"'once' in {__name__}"]
    with warnings.catch_warnings():
        _, _, called = new("warnings", lambda: warnings.filterwarnings("ignore", "slow"))
    assert called == ["filter ignore 'slow'"]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.EMFILE, "too many"), ["descriptors"]),
        (BlockingIOError(errno.EAGAIN, "no more"), ["children", "threads"]),
        (RuntimeError("can't start new thread"), ["threads", "children"]),
        (OSError(errno.ENOSPC, "full"), ["files", "segments"]),
        (OSError(errno.ENOENT, "gone"), []),
        (ValueError("no"), []),
    ],
)
def test_what_there_was_no_more_of_is_read_from_the_error_behind(error, what):
    outer = ValueError("the model failed")
    outer.__context__, outer.__suppress_context__ = error, True
    assert [name for name, _ in resources.exhausted(outer)] == what


def test_who_imports_jax_need_not_have_a_device_for_it():
    done = run(
        "import os\n"
        "os.environ['JAX_PLATFORMS'] = 'cuda'\n"
        "import jax\n"
        "from memprof.instruments import device, resources\n"
        "print(resources.counts().get('programs'), device.live_device_bytes())\n"
    )
    assert done.stdout == "None None\n", done.stderr
