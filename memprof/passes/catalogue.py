"""The passes by name, readable without importing NumPy or PyMDP."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.results import Claim

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class PassInfo:
    """One pass: `target` is the `module:class` that does it, `cost` what it costs in words.

    An `early` pass is installed before PyMDP is imported. `requires` names the passes that must
    come before it in a plan. `bound` is the largest change of any belief that a bounded pass may
    cause; None for an exact one. `auto` tries the exact passes, but for those that only make sense
    `on_request`.
    """

    name: str
    claim: Claim
    backends: tuple[str, ...]
    summary: str
    cost: str
    target: str
    early: bool = False
    on_request: bool = False
    requires: tuple[str, ...] = ()
    bound: float | None = None


# In the order in which a plan applies them.
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
            name="float32",
            claim="bounded",
            backends=("numpy",),
            summary="an agent's own matrices, and its beliefs at rest, in single precision",
            cost="beliefs rounded and widened at every use; steps with large matrices are faster",
            target="memprof.passes.float32:Float32",
            bound=1e-5,
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
            name="belief",
            claim="bounded",
            backends=("numpy",),
            summary="beliefs at rest without their smallest entries, a billionth of probability",
            cost="sorting the beliefs at every step",
            target="memprof.passes.belief:Belief",
            bound=1e-6,
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
            on_request=True,
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
            name="fake-half",
            claim="exact",
            backends=("fake",),
            summary="cuts the calibration agents' buffers in half",
            cost="nothing",
            target="memprof.passes.fake:FakeHalf",
        ),
        PassInfo(
            name="fake-slow",
            claim="exact",
            backends=("fake",),
            summary="cuts the buffers to a quarter, and sleeps before every step",
            cost="10 ms per step",
            target="memprof.passes.fake:FakeSlow",
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
            name="fake-idle",
            claim="exact",
            backends=("fake",),
            summary="does nothing, on top of fake-share",
            cost="nothing",
            target="memprof.passes.base:Pass",
            requires=("fake-share",),
        ),
        PassInfo(
            name="fake-break",
            claim="exact",
            backends=("fake",),
            summary="changes one action of the second agent, to show that the check catches it",
            cost="nothing",
            target="memprof.passes.fake:FakeBreak",
        ),
        PassInfo(
            name="fake-crash",
            claim="exact",
            backends=("fake",),
            summary="fails when the second agent is built",
            cost="the worker",
            target="memprof.passes.fake:FakeCrash",
        ),
        PassInfo(
            name="fake-blur",
            claim="bounded",
            backends=("fake",),
            summary="halves the buffers, and changes beliefs by a thousandth",
            cost="nothing",
            target="memprof.passes.fake:FakeBlur",
            bound=0.002,
        ),
    )
}


def passes_for(backend: str) -> tuple[str, ...]:
    """Names of the passes that work on `backend`."""
    return tuple(name for name, info in PASSES.items() if backend in info.backends)


def candidates(backend: str) -> tuple[str, ...]:
    """The passes among which `auto` chooses: the exact ones, in order."""
    return tuple(
        name
        for name in passes_for(backend)
        if PASSES[name].claim == "exact" and not PASSES[name].on_request
    )


def bound_of(names: tuple[str, ...]) -> float | None:
    """Largest change of a belief that these passes may cause; None if all of them are exact."""
    return max((b for name in names if (b := PASSES[name].bound) is not None), default=None)
