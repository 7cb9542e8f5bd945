"""How much freed memory the C library keeps for the next array."""

from __future__ import annotations

import numpy as np

_MOST_BYTES = 31 << 20
"""glibc takes arrays above 32 MiB from the kernel one by one, and learns nothing from them."""


def keep_freed(size: int) -> None:
    """Have glibc keep twice `size` bytes of freed memory, at most 62 MiB, for the next array.

    It gives back what is free at the end of its heap beyond twice the largest block that it has
    ever taken from the kernel and freed (mallopt(3), M_MMAP_THRESHOLD). An agent that comes to rest
    frees all that it learned at once: it would be given back, and every page of it cleared by the
    kernel again, for the next agent and for each temporary. So a block of that size is freed here,
    untouched, and takes no memory. Other C libraries don't notice.
    """
    np.empty(min(size, _MOST_BYTES), np.uint8)
