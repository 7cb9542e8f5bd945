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
        self._listening = _Own(listening)
        self._answer = answer
        self._resting = False
        self._answered: socket.socket | None = None
        self._waker: _Own | None = None
        self._at_work: threading.Lock | None = None

    def go_on(self) -> None:
        """Hear requests from now on; none where no file can be opened."""
        self._resting = False
        try:
            waker, wake = map(_Own, socket.socketpair())
        except OSError:
            return
        self._waker = waker
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
        self._listening.close()

    def _serve(self, wake: _Own) -> None:
        waiting: list[_Own] = []
        try:
            while not self._resting and self._listening.is_there():
                poll = select.poll()
                for each in (wake, self._listening, *waiting):
                    poll.register(each.socket, select.POLLIN)
                ready = {descriptor for descriptor, _ in poll.poll()}
                asking = [each for each in waiting if each.socket.fileno() in ready]
                for each in asking:
                    waiting.remove(each)
                    self._answer_to(each)
                if self._listening.socket.fileno() in ready:
                    self._accept(waiting, wake)
        except OSError:
            pass  # descriptors are gone
        finally:
            for each in (wake, *waiting):
                each.close()

    def _accept(self, waiting: list[_Own], wake: _Own) -> None:
        if self._resting or not self._listening.is_there():
            return
        try:
            connection, _ = self._listening.socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # who wanted to connect no longer does
        except OSError:  # no further file can be opened
            poll = select.poll()
            poll.register(wake.socket, select.POLLIN)
            poll.poll(_PAUSE_SECONDS * 1000)
            return
        waiting.append(_Own(connection))
        if len(waiting) > _MOST_WAITING:
            waiting.pop(0).close()

    def _answer_to(self, asking: _Own) -> None:
        """Whatever goes wrong is its own loss: the program has nothing to do with it."""
        self._answered = asking.socket
        try:
            if not self._resting and asking.is_there():
                asking.socket.settimeout(ANSWER_SECONDS)
                self._answer(asking.socket)
        except Exception:
            pass
        finally:
            self._answered = None
            asking.close()


class _Own:
    """A socket that is ours as long as its number stands for it: a program may close all
    descriptors, and open files of its own under their numbers."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._file = self._stands_for()

    def is_there(self) -> bool:
        """Whether it is still ours."""
        return self._file is not None and self._stands_for() == self._file

    def close(self) -> None:
        """Or forget it."""
        if self.is_there():
            self.socket.close()
        else:
            self.socket.detach()

    def _stands_for(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self.socket.fileno())
        except OSError:
            return None
        return found.st_dev, found.st_ino
