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
            name="lean_imports",
            claim="exact",
            backends=("numpy",),
            summary="what PyMDP only plots with (seaborn, pandas, matplotlib, scipy) loads on "
            "first use: 130 MB less per process, whatever the number of agents",
            cost="the first plot takes the seconds that the import would have taken",
            target="memprof.passes.lean_imports:LeanImports",
            early=True,
        ),
        PassInfo(
            name="gc",
            claim="exact",
            backends=("numpy",),
            summary="built agents are set aside, so that garbage collections do not walk them, and "
            "collections that take more than 1 % of the time happen less often",
            cost="one full collection before new agents are first used; half a microsecond per "
            "step; garbage may wait longer, up to a cap",
            target="memprof.passes.gc_tuning:GcTuning",
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
