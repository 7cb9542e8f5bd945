"""The door for `memprof top`: the process says at a socket what is known of it, to its own user."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import msgspec

from memprof.values.live import Live
from memprof.watching import address
from memprof.watching.service import Service


class Door:
    """Is open between `go_on` and `let_go`; where the system has no such sockets, never."""

    def __init__(self, live: Callable[[], Live]) -> None:
        self._live = live
        listening = address.listening()
        self._service = None if listening is None else Service(listening, self._answer)

    def go_on(self) -> None:
        if self._service is not None:
            self._service.go_on()

    def rest(self) -> None:
        if self._service is not None:
            self._service.rest()

    def let_go(self) -> None:
        if self._service is not None:
            self._service.let_go()

    def _answer(self, connection: socket.socket) -> None:
        _, user = address.peer(connection)
        if user == os.geteuid() and connection.recv(len(address.REQUEST)) == address.REQUEST:
            connection.sendall(msgspec.json.encode(self._live()))
