"""What the garbage collector has set aside (`gc.freeze`), and by whom."""

from __future__ import annotations

import gc

_INTERPRETERS_OWN = 1000  # CPython 3.12 starts with 375, others with none; a bare program has 5,000


def somebody_froze() -> bool:
    """Whether the program, or memprof for it, has frozen its objects."""
    return gc.get_freeze_count() > _INTERPRETERS_OWN
