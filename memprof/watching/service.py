"""Answering who connects to a socket of this process, without being in the program's way."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable

from memprof.watching import unseen

# Who has connected and says nothing waits; of more than so many, the first goes.
_MOST_WAITING = 32
# How long to wait where no file can be opened.
_PAUSE_SECONDS = 1.0
ANSWER_SECONDS, BACKLOG = 2.0, 32
"""What one who asks may take to ask or to hear, and how many may wait to connect."""

Answer = Callable[[socket.socket], None]


class Service:
    """Hears one request after the other at a socket that listens; `answer` is given a connection on
    which something was said. A fork of the program has neither the thread nor the socket."""

    def __init__(self, listening: socket.socket, answer: Answer) -> None:
        listening.setblocking(False)
        self._listening, self._file = listening, _file(listening)
        self._answer = answer
        self._resting = False
        self._answered: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._at_work: threading.Lock | None = None

    def go_on(self) -> None:
        """Hear requests from now on; none where no file can be opened."""
        self._resting = False
        try:
            self._waker, wake = socket.socketpair()
        except OSError:
            return
        self._at_work = unseen.start(lambda: self._serve(wake))

    def rest(self) -> None:
        """Hear none; who is just being answered is cut off."""
        self._resting = True
        answered, waker = self._answered, self._waker
        if answered is not None:
            with contextlib.suppress(OSError):
                answered.shutdown(socket.SHUT_RDWR)
        if waker is not None:
            waker.close()
        unseen.wait_for(self._at_work)
        self._waker = self._at_work = None

    def let_go(self) -> None:
        """Close the socket."""
        if self._is_ours():
            self._listening.close()
        else:
            self._listening.detach()

    def _is_ours(self) -> bool:
        """A program may close all descriptors, and open files of its own under their numbers."""
        return self._file is not None and _file(self._listening) == self._file

    def _serve(self, wake: socket.socket) -> None:
        waiting: dict[int, socket.socket] = {}
        try:
            while not self._resting and self._is_ours():
                poll = select.poll()
                for each in (wake, self._listening, *waiting.values()):
                    poll.register(each, select.POLLIN)
                for descriptor, _ in poll.poll():
                    if descriptor in waiting:
                        self._answer_to(waiting.pop(descriptor))
                    elif descriptor == self._listening.fileno():
                        self._accept(waiting, wake)
        except OSError:
            pass  # the descriptors are gone
        finally:
            for each in (wake, *waiting.values()):
                each.close()

    def _accept(self, waiting: dict[int, socket.socket], wake: socket.socket) -> None:
        if self._resting or not self._is_ours():
            return
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # who wanted to connect no longer does
        except OSError:
            select.select([wake], [], [], _PAUSE_SECONDS)
            return
        waiting[connection.fileno()] = connection
        if len(waiting) > _MOST_WAITING:
            waiting.pop(next(iter(waiting))).close()

    def _answer_to(self, connection: socket.socket) -> None:
        """Whatever goes wrong is its own loss: the program has nothing to do with it."""
        connection.settimeout(ANSWER_SECONDS)
        self._answered = connection
        try:
            if not self._resting:
                self._answer(connection)
        except Exception:
            pass
        finally:
            self._answered = None
            connection.close()


def _file(sock: socket.socket) -> tuple[int, int] | None:
    """What its descriptor stands for."""
    try:
        found = os.fstat(sock.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino
