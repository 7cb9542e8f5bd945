"""Asking a watched process what it says of itself."""

from __future__ import annotations

import os
import socket

import msgspec

from memprof.values.live import Live
from memprof.watching import address

_SECONDS = 2.0

NOT_WATCHED = (
    "Nobody watches it, so that nothing is known of agents in it. Start it with memprof run, or "
    "put its work into: with memprof.watch():"
)
_OTHERS = "It is watched, but tells only its own user of its agents: run memprof top as {user}."
_SILENT = "It is watched, but does not answer: it may be stopped, or busy in a long call."
_OTHER_VERSION = "It is watched by another version of memprof, which this one cannot read."


def ask(pid: int, user: str) -> tuple[Live | None, str]:
    """What that process of that user says; or why nothing."""
    for name in address.listed():
        connection = address.connected(name, _SECONDS)
        if connection is None:
            continue
        with connection:
            found, owner = address.peer(connection)
            if found != pid:
                continue
            if owner != os.geteuid():
                return None, _OTHERS.format(user=user)
            answer = _answer(connection)
        if not answer:
            return None, _SILENT
        try:
            return msgspec.json.decode(answer, type=Live), ""
        except msgspec.MsgspecError:
            return None, _OTHER_VERSION
    return None, NOT_WATCHED


def watched() -> list[int]:
    """The processes of this user that are watched."""
    found = set()
    for name in address.listed():
        connection = address.connected(name, _SECONDS)
        if connection is not None:
            with connection:
                pid, owner = address.peer(connection)
            if owner == os.geteuid():
                found.add(pid)
    return sorted(found)


def _answer(connection: socket.socket) -> bytes:
    """All that is said; nothing where that is too long, or takes too long."""
    data = bytearray()
    try:
        connection.sendall(address.REQUEST)
        while more := connection.recv(1 << 16):
            data += more
            if len(data) > address.MOST_BYTES:
                return b""
    except OSError:
        return b""
    return bytes(data)
