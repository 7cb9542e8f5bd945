"""The unit in which this system hands out memory: 4 KiB on most machines, 16 or 64 KiB on some."""

import mmap

PAGE_BYTES = mmap.PAGESIZE
