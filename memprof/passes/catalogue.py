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
            name="share",
            claim="exact",
            backends=("numpy",),
            summary="equal arrays of different agents become one read-only array; an agent that "
            "learns gets its own again (copy on write)",
            cost="one hash of each array when an agent is built; nothing per step",
            target="memprof.passes.share:Share",
        ),
        PassInfo(
            name="policies",
            claim="exact",
            backends=("numpy",),
            summary="the policy list as one compact integer array that all agents share",
            cost="nothing",
            target="memprof.passes.policies:Policies",
        ),
        PassInfo(
            name="history",
            claim="exact",
            backends=("numpy",),
            summary="actions, observations and beliefs of the past as compressed chunks that read "
            "back whole",
            cost="a few microseconds per step, and a chunk compressed every 32",
            target="memprof.passes.history:Histories",
        ),
        PassInfo(
            name="sparse",
            claim="exact",
            backends=("numpy",),
            summary="an agent's own matrices rest as their nonzero entries, and are scattered "
            "into a lent buffer for use",
            cost="the entries written into the buffer and cleared again, at every use",
            target="memprof.passes.sparse:Sparse",
        ),
        PassInfo(
            name="belief",
            claim="bounded",
            backends=("numpy",),
            summary="beliefs at rest without their smallest entries, in single precision; no entry "
            "changes by more than 1e-6",
            cost="sorting the beliefs at every step",
            target="memprof.passes.belief:Belief",
        ),
        PassInfo(
            name="float32",
            claim="bounded",
            backends=("numpy",),
            summary="matrices and beliefs rest in single precision",
            cost="an agent's own matrices widened at every use",
            target="memprof.passes.float32:Float32",
        ),
        PassInfo(
            name="template",
            claim="exact",
            backends=("numpy",),
            summary="agents at rest are records, exact differences from a template agent",
            cost="a record written and read at every use of an agent, tens of microseconds; "
            "learned matrices are compared with the template",
            target="memprof.passes.template:Template",
        ),
        PassInfo(
            name="mmap",
            claim="exact",
            backends=("numpy",),
            summary="the template and the records in memory-mapped files, which survive a killed "
            "process and which processes share; brings `template` along",
            cost="a record committed to the store at every use of an agent, some 20 microseconds "
            "beyond `template`; room on disk",
            target="memprof.passes.mmap:Mmap",
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
