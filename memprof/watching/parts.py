"""What works beside an observer, each in a thread of its own: all begin, rest and end together."""

from __future__ import annotations

from typing import Protocol


class Part(Protocol):
    """It begins with `go_on`, and ends with `rest` and `let_go`."""

    def go_on(self) -> None:
        """Work, also after a fork."""

    def rest(self) -> None:
        """Have no thread, as before a fork."""

    def let_go(self) -> None:
        """Leave nothing open, as in a fork."""


class Parts:
    """Those of one observer."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Have it work from now on."""
        self._parts.append(part)
        part.go_on()

    def remove(self, part: Part) -> None:
        """No longer."""
        if part in self._parts:
            self._parts.remove(part)
        part.rest()
        part.let_go()

    def go_on(self) -> None:
        for part in [*self._parts]:
            part.go_on()

    def rest(self) -> None:
        for part in [*self._parts]:
            part.rest()

    def let_go(self) -> None:
        """For good."""
        while self._parts:
            self._parts.pop().let_go()
