"""The instruments by name, with what each sees and is blind to, readable without importing them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from memprof.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class InstrumentInfo:
    """One way of reading memory.

    Attributes:
        always: it is part of every measurement and cannot be left out.
        target: `module:class` of an instrument that needs a worker of its own; empty otherwise.
        backends: those whose memory it can read; empty for all.
    """

    name: str
    summary: str
    sees: str
    blind_to: str
    always: bool = False
    target: str = ""
    backends: tuple[str, ...] = ()

    def reads(self, backend: str) -> bool:
        """Whether it can read the memory of a backend's agents."""
        return not self.backends or backend in self.backends


INSTRUMENTS = Catalogue(
    "instruments",
    "instrument",
    InstrumentInfo,
    (
        InstrumentInfo(
            name="process",
            summary="unique set size (USS) of the clean worker: the headline figure",
            sees="every private page the kernel has given to the process",
            blind_to="what the page is used for; anything finer than a page",
            always=True,
        ),
        InstrumentInfo(
            name="heap",
            summary="live bytes of malloc and of Python's small-object allocator",
            sees="every live allocation, to the byte, without slowing the worker",
            blind_to="memory mapped directly (mmap), fragmentation, untouched pages (counted full)",
            always=True,
        ),
        InstrumentInfo(
            name="tracemalloc",
            summary="traced Python heap, by operation and by source line",
            sees="allocations through Python's allocators and NumPy's array data, per line",
            blind_to="native libraries (JAX buffers, BLAS), residency, fragmentation",
            target="memprof.instruments.traced:TracedHeap",
        ),
        InstrumentInfo(
            name="memory_profiler",
            summary="resident set sampled from outside, as a timeline",
            sees="the resident set of the whole process over time",
            blind_to="anything between two samples; who owns the memory; shared or private",
        ),
        InstrumentInfo(
            name="pympler",
            summary="object graph: sizes and types of the Python objects",
            sees="Python objects and plain NumPy arrays, by type",
            blind_to="arrays inside object arrays (PyMDP's A, B, qs), native memory (JAX buffers), "
            "fragmentation",
            target="memprof.instruments.objects:ObjectGraph",
        ),
        InstrumentInfo(
            name="device",
            summary="JAX's live arrays, its compiled programs and caches, and where it retraces",
            sees="arrays on the device, each buffer once, by component; traces and compilations",
            blind_to="Python objects and NumPy arrays; a compiled program's temporary arrays",
            target="memprof.instruments.device:DeviceMemory",
            backends=("jax",),
        ),
    ),
    attrgetter("name"),
)

_BY_DEFAULT = ("device", "tracemalloc", "memory_profiler", "pympler")


def default_instruments(backend: str) -> list[str]:
    """The instruments of a scenario that names none."""
    return [name for name in _BY_DEFAULT if INSTRUMENTS[name].reads(backend)]
