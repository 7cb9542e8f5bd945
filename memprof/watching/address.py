"""Where a watched process can be asked: an abstract Unix socket of Linux's.

Such a socket has a name and no file. It goes with the process, whatever ends that, so that nothing
is ever left to remove. Anybody may connect and anybody may take any name, so that both ends ask the
kernel who the other is: the process answers its own user only, and who asks takes no answer but of
that process. Names are random: nobody can take one before the process does.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
import sys
from pathlib import Path

_NAME = "memprof/{}"
_LISTED = re.compile(r" @(memprof/[0-9a-f]{16})$", re.MULTILINE)
_SOCKETS = Path("/proc/net/unix")
_CREDENTIALS = struct.Struct("3i")
REQUEST = b"live\n"
MOST_BYTES = 16 * 2**20
"""No answer is longer."""


def listening() -> socket.socket | None:
    """A socket at a name of its own; None where the system has no such sockets."""
    if sys.platform != "linux":
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(f"\0{_NAME.format(secrets.token_hex(8))}")
        found.listen()
    except OSError:
        found.close()
        return None
    return found


def listed() -> list[str]:
    """All such names that there are, whoever has taken them."""
    try:
        text = _SOCKETS.read_text("utf-8", "replace")
    except OSError:
        return []
    return [*dict.fromkeys(_LISTED.findall(text))]


def connected(name: str, seconds: float) -> socket.socket | None:
    """A connection to it, on which nothing takes longer than so; None where nobody takes it."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(seconds)
    try:
        found.connect(f"\0{name}")
    except OSError:
        found.close()
        return None
    return found


def peer(connection: socket.socket) -> tuple[int, int]:
    """PID and user of the process at the other end, by the kernel's word."""
    size = _CREDENTIALS.size
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, user, _ = _CREDENTIALS.unpack(data)
    return pid, user
