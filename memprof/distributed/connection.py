"""The program's connection to Ray: its own, or one that ends with the last population there."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memprof.distributed import sweeper
from memprof.distributed.installed import check_installed
from memprof.errors import ClusterError, UsageError
from memprof.text import raised

# Ray's own reports home, and a warning about accelerators that no shard asks for.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_ADDRESS = re.compile(r"[^/]+:\d+")
_ANSWER_SECONDS = 10.0
_LONGEST_TEMP = 40  # what Ray adds makes sockets, whose paths have 107 bytes at most


@dataclass(slots=True, eq=False)
class _Ours:
    """The connection that was made here: how many use it, and what sweeps up a cluster that was
    started for it; and what tells it from a later one, which the program may make itself."""

    users: int
    sweeper: Sweeper | None
    session: Any


class Sweeper:
    """The folder of a cluster, and the process that leaves nothing of it should this one die."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        place = place if len(place) < _LONGEST_TEMP else "/tmp"
        self.folder = tempfile.mkdtemp(prefix="memprof-", dir=place)
        command = [sys.executable, "-I", "-S", sweeper.__file__, str(os.getpid()), self.folder]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def end(self) -> None:
        """Ray has ended: have it swept up."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


_ours: list[_Ours] = []


def connected(user: object, address: str | None) -> Callable[[], object]:
    """Connect to the cluster at `address`, unless the program is connected already; without an
    address, to one of this machine that is started now.

    Returns:
        What ends the use by this `user`, at the latest with it.

    Raises:
        UsageError: there is no Ray, or none at the address, or it is no address, or the program is
            connected to another.
        ClusterError: it does not start, or refuses.
    """
    check_installed()
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    import ray

    if not ray.is_initialized():
        _ours[:] = [_Ours(0, _connect(address), session())]
    elif address not in (None, "auto", here := ray.get_runtime_context().gcs_address):
        raise UsageError(
            f"address: expected none or {here}, to which this program is connected, found "
            f"{address}; leave it out, or call ray.shutdown() before"
        )
    _ours[:] = [each for each in _ours if each.session == session()]
    for each in _ours:
        each.users += 1
    return weakref.finalize(user, _left, *_ours)


def _left(*used: _Ours) -> None:
    """One user less of the connection that he had; the program may have ended that meanwhile, and
    have another."""
    import ray

    for each in used:
        each.users -= 1
        if not each.users and each.session == session():
            _ours.clear()
            ray.shutdown()
        if not each.users and each.sweeper is not None:
            each.sweeper.end()


def session() -> Any:
    """Which connection the program has; None for none."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return context.worker.node.session_name, context.get_job_id()


def _connect(address: str | None) -> Sweeper | None:
    """Connect; what sweeps up a cluster that was started for that."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        own = Sweeper()
        try:
            ray.init("local", include_dashboard=False, _temp_dir=own.folder, **quiet)
        except BaseException as error:
            ray.shutdown()
            own.end()
            if not isinstance(error, Exception):
                raise
            raise ClusterError(
                f"Ray does not start here: {raised(error)}; try python -c 'import ray; ray.init()'"
            ) from error
        return own
    if address != "auto" and not _ADDRESS.fullmatch(address):
        raise UsageError(
            "address: expected HOST:PORT of a cluster, or auto for the one of this machine; found "
            f"{address!r}"
        )
    try:
        _see_who_answers(address)
        ray.init(address, **quiet)
    except (OSError, OverflowError):  # or no such port
        where = "on this machine" if address == "auto" else f"at {address}"
        raise UsageError(
            f"address: no cluster answers {where}; start one (ray start --head), or leave the "
            "address out, and one of this machine is started"
        ) from None
    except Exception as error:  # such as another version of Ray or Python
        raise ClusterError(f"the cluster at {address} refuses: {raised(error)}") from error
    return None


def _see_who_answers(address: str) -> None:
    """Ray itself would try for ten minutes.

    Raises:
        OSError: nobody is there.
    """
    place = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = place.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
