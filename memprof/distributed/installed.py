"""Which Ray is here; nothing of it is imported."""

from __future__ import annotations

import importlib.util
from importlib import metadata

from memprof.errors import UsageError
from memprof.upstream.installed import release

OLDEST = "2.50"
INSTALL = "pip install 'memprof-pymdp[ray]'"


def check_installed() -> None:
    """Check that there is a Ray that memprof works with; it is not imported.

    Raises:
        UsageError: there is none.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"engine: Ray is not installed here; {INSTALL}")
    found = metadata.version("ray")
    if release(found) < release(OLDEST):
        raise UsageError(f"engine: expected Ray {OLDEST} or newer, found {found}; {INSTALL}")
