"""The process that workers are forked from:
`python -P -m memprof.launch.server SOCKET FOLDER TARGET MODULE...`.

It imports what the workers of a backend import, the MODULEs last, and says on the socket that it is
ready. For each request, a folder and four descriptors, it forks a keeper, which forks the worker,
and answers with a descriptor of the keeper's process. It ends when nobody asks any more, as when
memprof is gone; its keepers end with it, and their workers with them.
"""

from __future__ import annotations

import importlib
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Collection

from memprof.catalogue import load_target
from memprof.launch import anew, keeper

WORKER = "memprof.worker"
READY, FORKED = b"ready", b"forked"
_LONGEST_REQUEST = 1 << 13  # a path


def main() -> None:
    """Serve; a worker comes out of it, and goes on as `python -m memprof.worker EVENTS`."""
    listens, folder = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    target, *modules = sys.argv[3:]
    importlib.import_module(f"{WORKER}.job")
    load_target(target)
    load_target("memprof.instruments.process:at_start")()
    for each in modules:
        importlib.import_module(each)
    if os.listdir(folder):
        raise anew.Unfit("an import left a file, which would be that of all forks")
    os.close(os.pidfd_open(os.getpid()))  # an error where it would be one later
    origin = anew.Origin()
    listens.send(READY)
    events = _serve(listens)
    if events is None:
        keeper.remove(folder)  # nobody else does, if memprof is gone
        os._exit(0)
    try:
        origin.begin_anew()
    except Exception:
        os.set_inheritable(events, True)
        keeper.execute([sys.executable, "-P", "-m", WORKER, str(events)])
    del origin
    anew.run_as_main(WORKER, str(events))


def _serve(listens: socket.socket) -> int | None:
    """Fork for as long as somebody asks for it. In a worker, the descriptor of its events; None in
    the end, when nothing is left of any."""
    keepers: dict[int, tuple[int, str]] = {}  # by descriptor, their processes and folders
    poll = select.poll()
    poll.register(listens, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in keepers:
                os.waitpid(keepers.pop(ready)[0], 0)
                poll.unregister(ready)
                os.close(ready)
                continue
            asked, given, *_ = socket.recv_fds(listens, _LONGEST_REQUEST, 4)
            if not asked:
                _end(keepers.values())
                return None
            server, process, folder = os.getpid(), anew.forked(), os.fsdecode(asked)
            if process == 0:
                for each in keepers:
                    os.close(each)
                listens.close()
                return _kept(server, folder, *given)
            descriptor = os.pidfd_open(process)
            keepers[descriptor] = process, folder
            poll.register(descriptor, select.POLLIN)
            for each in given:
                os.close(each)
            socket.send_fds(listens, [FORKED], [descriptor])


def _end(keepers: Collection[tuple[int, str]]) -> None:
    """Let keepers end their workers. Nobody else removes their folders when memprof is gone."""
    for process, _ in keepers:
        os.kill(process, signal.SIGTERM)
    for process, folder in keepers:
        os.waitpid(process, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _kept(server: int, folder: str, stdin: int, output: int, events: int, status: int) -> int:
    """Be a keeper, and end as one; in the worker, the descriptor of its events."""
    os.setsid()
    for number, each in enumerate((stdin, output, output)):
        os.dup2(each, number)
    os.close(stdin)
    os.close(output)
    os.environ["TMPDIR"] = folder
    if not keeper.keep(server, status, events, folder):
        os._exit(0)
    return events


if __name__ == "__main__":
    main()
