"""The verdict on a population, from scripted readings of clean workers."""

import pytest
from msgspec.structs import replace

from memprof.leak.verdict import attributed, outside_records, verdict_on
from memprof.posix import PAGE_BYTES
from memprof.values.instruments import UNSEEN, Calibration
from memprof.values.leak import Attribution, CycleReading, CycleRun, Site

MB = 10**6


def run(cycles=21, native=0, python=0, objects=0, process=0, device=None, compiled=()):
    """A worker whose readings gain so much in every cycle, after a first that gains a megabyte."""
    readings = tuple(
        CycleReading(
            native_bytes=MB * (n > 0) + native * n,
            python_bytes=MB * (n > 0) + python * n,
            python_blocks=1000 * (n > 0) + objects * n,
            process_bytes=100 * MB + PAGE_BYTES * (process * n // PAGE_BYTES),
            device_bytes=None if device is None else device * n,
        )
        for n in range(cycles + 1)
    )
    return CycleRun(readings, (0.1,) * cycles, compiled, facts={})


def verdict(*runs, cycles=10):
    return verdict_on(runs, "lifecycle", cycles, 20, 3, ())


def of(leak, name):
    return next(each for each in leak.signals if each.name == name)


def test_without_growth_it_is_clean_and_the_first_cycle_is_warm_up():
    leak = verdict(run(), run())
    assert leak.verdict == "clean"
    assert leak.warm_up_cycles == (1, 1)
    assert leak.floor_bytes == 16
    assert of(leak, "objects").floor == 1
    assert "device" not in [each.name for each in leak.signals]


def without(name, *runs):
    """The same readings, as a worker gives them in which this one failed its trial."""
    field = {"python": "python_bytes", "objects": "python_blocks"}.get(name, f"{name}_bytes")
    return [
        replace(each, readings=tuple(replace(r, **{field: None}) for r in each.readings))
        for each in runs
    ]


def test_where_malloc_tells_nothing_nothing_is_clean():
    """However still all else is. What malloc hands out may be free memory of the process, so that
    no leak is sure to be found."""
    leak = verdict(*without("native", run(), run()))
    assert "native" not in [each.name for each in leak.signals]
    assert (leak.verdict, leak.floor_bytes, leak.cycles_needed) == ("inconclusive", None, None)
    assert of(leak, "process").floor == PAGE_BYTES
    assert leak.detail.startswith("no byte-exact reading of malloc is available here")


def test_what_no_reading_of_a_worker_saw_is_not_clean_either():
    """As where Python's allocator counts objects and not their bytes."""
    blind = Calibration(left_out={"python": "none"}, unseen=(UNSEEN["python"],))
    runs = [replace(each, calibration=blind) for each in without("python", run(), run())]
    leak = verdict(*runs)
    assert (leak.verdict, leak.floor_bytes) == ("inconclusive", None)
    assert "Python's allocator" in leak.detail
    mixed = verdict(run(), runs[0])
    assert mixed.verdict == "inconclusive", "in one of the repeats"
    assert "python" not in [each.name for each in mixed.signals]


def test_a_process_that_grows_by_huge_pages_is_known_to_the_huge_page():
    leak = verdict(*(replace(run(), grain_bytes=2 * MB) for _ in range(2)))
    assert (leak.verdict, leak.floor_bytes) == ("clean", 16)
    assert of(leak, "process").floor == 2 * MB


def test_what_leaks_leaks_whatever_else_is_not_seen():
    leak = verdict(*without("native", run(python=64, objects=1), run(python=64, objects=1)))
    assert leak.verdict == "leak"


def test_objects_that_malloc_counts_need_no_account_of_their_own():
    """PYTHONMALLOC=malloc."""
    leak = verdict(*without("objects", *without("python", run(), run())))
    assert (leak.verdict, leak.floor_bytes) == ("clean", 16)


def test_with_nothing_but_the_number_of_objects_there_is_a_verdict():
    runs = [run(), run()]
    for name in ("native", "python", "process"):
        runs = without(name, *runs)
    leak = verdict(*runs)
    assert (leak.verdict, leak.floor_bytes, leak.bytes_per_cycle) == ("inconclusive", None, 0)


def test_native_and_python_growth_add_up_per_cycle_and_per_agent():
    leak = verdict(run(native=256, python=64, objects=1), run(native=256, python=64, objects=1))
    assert leak.verdict == "leak"
    assert leak.bytes_per_cycle == pytest.approx(320)
    assert leak.bytes_per_agent == pytest.approx(16)
    assert of(leak, "objects").per_cycle == pytest.approx(1)
    assert leak.detail.endswith("native, python, objects")


def test_memory_that_is_mapped_directly_shows_in_the_process_alone():
    leak = verdict(run(process=MB), run(process=MB))
    assert leak.verdict == "leak"
    assert leak.bytes_per_cycle == pytest.approx(MB, rel=0.01)
    assert of(leak, "native").verdict == "clean"


def test_what_the_heap_tells_to_the_byte_is_not_outbid_by_the_pages_of_the_process():
    """Which are taken in steps: 6,080 bytes a cycle were these pages of a process."""
    pages = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 10, 13, 13, 15, 17, 18, 22, 22, 24, 26, 29]
    found = run(python=6080, objects=80)
    readings = [
        replace(reading, process_bytes=100 * MB + n * PAGE_BYTES)
        for reading, n in zip(found.readings, pages, strict=True)
    ]
    leak = verdict(replace(found, readings=tuple(readings)))
    assert of(leak, "process").verdict == "leak"
    assert of(leak, "process").per_cycle > 6080
    assert leak.bytes_per_cycle == 6080


def test_a_process_that_fills_free_memory_first_gains_no_more_than_the_heap():
    """Few pages at first, and then more in a cycle than the heap: readings of a worker."""
    heap = [5760, 6400, 5760, 7040, *[5760, 5760, 5760, 7040] * 3, 5760, 5760, 5760, 7680, 5760]
    pages = [0, 1, 0, 1, 1, 1, 1, 1, 1, 3, 2, 1, 2, 2, 1, 3, 1, 1, 2, 3, 2]
    found = run(cycles=22, python=1, objects=80)
    readings = [
        replace(
            each,
            python_bytes=MB * (n > 0) + sum(heap[: max(0, n - 1)]),
            process_bytes=100 * MB + MB * (n > 0) + PAGE_BYTES * sum(pages[: max(0, n - 1)]),
        )
        for n, each in enumerate(found.readings)
    ]
    leak = verdict(replace(found, readings=tuple(readings)))
    process, python = of(leak, "process"), of(leak, "python")
    assert process.verdict == "leak"
    assert process.per_cycle > python.per_cycle
    assert leak.bytes_per_cycle == python.per_cycle == pytest.approx(6080, rel=0.01)


def test_a_page_now_and_then_is_no_mapping_that_leaks_and_nothing_clean_if_malloc_tells_nothing():
    slow = run(process=PAGE_BYTES // 4)
    leak = verdict(slow, slow)
    assert leak.verdict == "clean"
    assert of(leak, "process").floor == PAGE_BYTES
    blind = verdict(*without("native", slow, slow))
    assert blind.verdict == "inconclusive", "it may be a leak, or malloc that gives back later"


def test_a_leak_that_one_signal_is_sure_of_is_not_sized_by_the_noise_of_another():
    def noisy(factor):
        found = run(python=32)
        readings = tuple(
            replace(
                each, native_bytes=each.native_bytes + factor * (9000, 0, 5000, 1000, 7000)[n % 5]
            )
            for n, each in enumerate(found.readings)
        )
        return replace(found, readings=readings)

    leak = verdict(noisy(1), noisy(-1))
    assert (leak.verdict, of(leak, "native").verdict) == ("leak", "clean")
    assert (leak.bytes_per_cycle, leak.ci95_bytes) == (32, (32, 32))


def mapping(cycles=21, pages=None, data=None, files=None):
    """A worker whose process, private address space and mapped files gain so much in cycle n."""
    still = run(cycles)
    readings = tuple(
        replace(
            each,
            process_bytes=each.process_bytes + sum(map(pages or flat, range(n))),
            data_bytes=500 * MB + sum(map(data or flat, range(n))),
            mapped_bytes=200 * MB + sum(map(files or flat, range(n))),
        )
        for n, each in enumerate(still.readings)
    )
    return replace(still, readings=readings)


def flat(cycle):
    return 0


def every_third(cycle):
    return PAGE_BYTES * (cycle % 3 == 0)


def test_a_page_that_is_mapped_now_and_then_leaks_and_one_that_was_mapped_long_ago_does_not():
    leak = verdict(mapping(pages=every_third, data=every_third))
    assert (leak.verdict, leak.detail) == ("leak", "growing, cycle after cycle: process")
    assert verdict(mapping(pages=every_third)).verdict == "clean"
    arena = mapping(pages=every_third, data=lambda cycle: MB * (cycle == 15))
    assert verdict(arena).verdict == "clean"


def test_mapped_files_leak_though_their_pages_are_no_memory_of_the_process():
    leak = verdict(mapping(files=lambda cycle: 2 * PAGE_BYTES))
    assert (leak.verdict, leak.detail) == ("leak", "growing, cycle after cycle: mapped")
    assert leak.bytes_per_cycle == 2 * PAGE_BYTES
    assert verdict(mapping(files=every_third)).verdict == "leak", "the address space is exact"
    library = mapping(files=lambda cycle: MB * (cycle == 5))
    assert verdict(library).verdict == "clean"


def test_records_that_change_their_size_are_no_leak_but_objects_are():
    """Agents at rest whose records have become 96 bytes larger after 37 cycles."""

    def rising(blocks):
        readings = tuple(
            replace(
                reading,
                python_bytes=MB + 16 * (n // 6 + n % 3 % 2),
                python_blocks=1000 + blocks * (n // 6),
            )
            for n, reading in enumerate(run(cycles=39).readings)
        )
        return replace(run(cycles=39), readings=readings)

    assert verdict(rising(blocks=0)).verdict == "clean"
    assert verdict(rising(blocks=1)).verdict == "leak"
    assert verdict(run(cycles=39, python=16)).verdict == "leak"


def test_memory_on_a_device_counts():
    leak = verdict(run(device=4096), run(device=4096))
    assert (leak.verdict, leak.bytes_per_cycle) == ("leak", pytest.approx(4096))


def test_repeats_that_disagree_decide_nothing_and_say_so():
    leak = verdict(run(native=256), run())
    assert leak.verdict == "inconclusive"
    assert leak.cycles_needed >= 20
    assert "native: leak in 1, clean in 1 of 2 repeats" in leak.detail


def test_a_leak_is_not_believed_from_cycles_that_ended_too_early():
    """As when the time is up: what rises has to be watched for twice the cycles."""
    leak = verdict(run(cycles=12, native=256), run(cycles=12, native=256))
    assert leak.verdict == "inconclusive"
    assert leak.cycles_needed == 20


def test_the_warm_up_is_no_part_of_the_cycles_that_a_leak_is_watched_for():
    """25 readings are more than twice the cycles, but the 19 after the warm-up are not."""
    still = run(cycles=24, native=256)
    warming = [0, 9, 12, 19, 20, 25, *[27] * 19]
    readings = tuple(
        replace(each, native_bytes=each.native_bytes + MB * more)
        for each, more in zip(still.readings, warming, strict=True)
    )
    found = replace(still, readings=readings)
    leak = verdict(found, found)
    assert leak.warm_up_cycles == (6, 6)
    assert (leak.verdict, leak.cycles_needed) == ("inconclusive", 20)


def test_a_reading_that_leaks_ends_the_run_and_the_others_are_judged_by_what_there_is():
    """Python's bytes warmed up for three more cycles than malloc's, which decided."""
    still = run(cycles=21, native=256, python=64, objects=1)
    warming = [0, 9, 19, 20, *[27] * 18]
    readings = tuple(
        replace(each, python_bytes=each.python_bytes + MB * more)
        for each, more in zip(still.readings, warming, strict=True)
    )
    found = replace(still, readings=readings)
    assert verdict(found, found).detail.endswith("cycle after cycle: native, python, objects")


def test_too_few_cycles_to_settle_decide_nothing():
    leak = verdict(run(cycles=4), run(cycles=4))
    assert leak.verdict == "inconclusive"
    assert "had not settled" in leak.detail


def test_compilations_count_after_the_warm_up():
    leak = verdict(run(compiled=(5, *(1,) * 20)))
    assert leak.compilations_per_cycle == 1
    assert verdict(run()).compilations_per_cycle is None


def test_what_the_sites_do_not_account_for_is_unattributed():
    leak = verdict(run(native=256), run(native=256))
    site = Site("a.KEPT", (), "bytes", 200.0, 1.0, ("module a",), "object graph")
    found = attributed(leak, Attribution((site,), 0.0, 300.0))
    assert found.unattributed_bytes == pytest.approx(56)
    assert found.sites == (site,)
    more = replace(site, bytes_per_cycle=300.0)
    assert attributed(leak, Attribution((more,), 0.0, 0.0)).unattributed_bytes == pytest.approx(-44)


def test_sites_of_active_agents_add_up_to_what_those_gain():
    leak = verdict(run(native=256), run(native=256))
    site = Site("a.KEPT", (), "bytes", 2000.0, 1.0, ("module a",), "object graph")
    found = attributed(leak, Attribution((site,), 0.0, 2500.0), ("template",))
    assert found.bytes_per_cycle == leak.bytes_per_cycle
    assert found.unattributed_bytes == pytest.approx(500)


def test_what_only_records_gain_is_told_apart():
    """A record of some hundred bytes moves from Python's allocator to malloc as it grows."""
    found = run(native=300, python=-44)
    learning = replace(
        found,
        readings=tuple(
            replace(each, records_bytes=256 * n) for n, each in enumerate(found.readings)
        ),
    )
    assert verdict(learning).verdict == "leak"
    assert verdict(outside_records(learning)).verdict == "clean"
    assert verdict(outside_records(found)).verdict == "leak"
