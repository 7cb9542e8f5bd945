"""Systems with pages of 16 and 64 KiB: nothing counts in pages of 4."""

import json
import subprocess
import sys

import pytest

TELL = """
import json, mmap, sys
mmap.PAGESIZE = int(sys.argv[1])
import numpy as np
from memprof.leak import verdict as leak_verdict
from memprof.gate import judge
from memprof.stats.lines import memory_line
from memprof.instruments import walker
from memprof.instruments.memory import own_buffer
from memprof.values.leak import CycleReading

asked = []

class Pages:
    readable = True
    def resident_bytes(self, address, size):
        asked.append(size)
        return size

line = memory_line([(n, 1000.0 * n) for n in range(1, 12)])
process = leak_verdict.series_of([CycleReading(0, 0, 0, 0, None)] * 3)["process"]
for size in (8 << 10, 32 << 10, 128 << 10):
    walker.resident_bytes(own_buffer(np.zeros(size, np.uint8)), Pages())
print(json.dumps([
    line.half_width * 10, process.grain, process.least, asked, walker.PAGE_BYTES,
    judge.PAGE_BYTES,
]))
"""


@pytest.mark.parametrize("page", [4096, 16384, 65536])
def test_what_is_known_to_the_page_is_known_to_the_page_of_this_system(page):
    done = subprocess.run(
        [sys.executable, "-c", TELL, str(page)], capture_output=True, text=True, check=True
    )
    width, grain, least, asked, resident, peak = json.loads(done.stdout)
    assert width == pytest.approx(2 * page)
    assert (grain, least) == (page, page / 2)
    assert asked == [size for size in (8 << 10, 32 << 10, 128 << 10) if size >= page]
    assert (resident, peak) == (page, page)
