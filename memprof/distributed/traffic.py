"""What goes between a program and its shards."""

from __future__ import annotations

import pickle
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np


@dataclass(slots=True)
class Traffic:
    """Messages to shards and from them, and their bytes: those of arrays, and of what is beside
    them as pickle writes it; without what Ray adds to each."""

    sent: int = 0
    received: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def messages(self) -> int:
        """Both ways."""
        return self.sent + self.received

    @property
    def size_bytes(self) -> int:
        """Both ways."""
        return self.sent_bytes + self.received_bytes

    def send(self, message: Any) -> None:
        """One more to a shard."""
        self.sent += 1
        self.sent_bytes += size_of(message)

    def receive(self, message: Any) -> None:
        """One more from a shard."""
        self.received += 1
        self.received_bytes += size_of(message)

    def copy(self) -> Traffic:
        """As it is now."""
        return replace(self)

    def since(self, earlier: Traffic) -> Traffic:
        """What came since then."""
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return Traffic(*(now - then for now, then in pairs))


def size_of(message: Any) -> int:
    """About the bytes of a message; exactly those of its arrays, which are not read for it."""
    if isinstance(message, np.ndarray) and not message.dtype.hasobject:
        return int(message.nbytes)
    if isinstance(message, bytes):
        return len(message)
    if isinstance(message, list | tuple):
        return sum(map(size_of, message))
    if isinstance(message, dict):
        return sum(size_of(each) for pair in message.items() for each in pair)
    try:
        return len(pickle.dumps(message))
    except Exception:  # a reference of Ray's, or a function of the user's
        return 0
