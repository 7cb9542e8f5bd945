"""The passes by name, readable without importing NumPy or PyMDP."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.results import Claim


@dataclass(frozen=True, slots=True)
class PassInfo:
    """One pass: `target` is the `module:class` that does it, `cost` what it costs in words.

    An `early` pass is installed before PyMDP is imported.
    """

    name: str
    claim: Claim
    backends: tuple[str, ...]
    summary: str
    cost: str
    target: str
    early: bool = False


PASSES = {
    info.name: info
    for info in (
        PassInfo(
            name="share",
            claim="exact",
            backends=("numpy",),
            summary="equal arrays of different agents become one read-only array; an agent that "
            "learns gets its own again (copy on write)",
            cost="one hash of each array when an agent is built; nothing per step",
            target="memprof.passes.share:Share",
        ),
        PassInfo(
            name="pool",
            claim="exact",
            backends=("numpy",),
            summary="PyMDP computes without its large temporaries, and remembers what it computed "
            "of arrays that never change (put it after share)",
            cost="one comparison with PyMDP's own result per function and shared array; most steps "
            "are faster",
            target="memprof.passes.pool:Pool",
        ),
        PassInfo(
            name="fake-share",
            claim="exact",
            backends=("fake",),
            summary="the calibration agents' buffers become one",
            cost="nothing",
            target="memprof.passes.fake:FakeShare",
        ),
        PassInfo(
            name="fake-break",
            claim="exact",
            backends=("fake",),
            summary="changes one action of the second agent, to show that the check catches it",
            cost="nothing",
            target="memprof.passes.fake:FakeBreak",
        ),
    )
}


def passes_for(backend: str) -> tuple[str, ...]:
    """Names of the passes that work on `backend`."""
    return tuple(name for name, info in PASSES.items() if backend in info.backends)
