"""The passes by name, readable without importing NumPy or PyMDP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from memprof.catalogue import Catalogue, load_target
from memprof.upstream.attributes import RESULTS

if TYPE_CHECKING:  # it takes as long as `memprof --help`
    from memprof.values.profile import Claim

AUTO = "auto"


# What XLA may change in a belief by computing sums in another order.
REORDERED = 1e-5


@dataclass(frozen=True, slots=True)
class Option:
    """What passes can be told: a keyword of their constructors and of `optimize`, a field of the
    scenario, and an option of the command line. Where it is not given, a pass has its own default.

    Attributes:
        kind: `count`, a whole number above zero; `size`, bytes or text such as 64 MiB; `names`,
            some of `choices`, which the command line leaves to the scenario; `folder`, which only
            `optimize` takes.
        description: what it says, for the scenario's schema and `memprof passes`.
        problem: `module:function` that tells what is wrong with a value for agents built with
            some keywords, and whether these are all; None where nothing is.
    """

    name: str
    kind: Literal["count", "size", "names", "folder"]
    description: str
    choices: tuple[str, ...] = ()
    problem: str = ""


_KEEP = Option(
    "keep",
    "names",
    "inference results that a record keeps; all if omitted. What the next step reads is always "
    "kept",
    choices=("qs", "action", *RESULTS),
)


@dataclass(frozen=True, slots=True)
class PassForm:
    """What a pass is on one backend: `target` is the `module:class` that does it, built with the
    `options` that are given; `cost` what it costs in words.

    `bound` is the largest change of any belief that it may cause; None for an exact one. A pass
    that `reorders` computes the same in another program: bit-identical for the most part, and where
    it is not, within the bound and with the same actions.

    On NumPy agents a pass is, by its `kind`, a transform of each agent, a setting of the process
    (kernels too), a way of storing agents, or what a way of storing may hold active.
    """

    summary: str
    cost: str
    target: str
    bound: float | None = None
    reorders: bool = False
    options: tuple[Option, ...] = ()
    kind: Literal["transform", "setting", "storage", "budget"] = "transform"

    @property
    def claim(self) -> Claim:
        return "exact" if self.bound is None else "bounded"


@dataclass(frozen=True, slots=True)
class PassInfo:
    """One pass, in its form for each backend that it is for.

    An `early` pass is installed before PyMDP is imported: a process that tries plan after plan
    cannot tell what it does. `requires` names the passes that must
    come before it in a plan, `requires_one` some of which one must, and `excludes` those that must
    not be in it. `auto` tries the passes that
    are exact or only reorder, but for those that only make sense `on_request`; and, where it keeps
    one of those that a pass is `done_by` as well, that pass.
    """

    name: str
    forms: Mapping[str, PassForm]
    early: bool = False
    on_request: bool = False
    requires: tuple[str, ...] = ()
    requires_one: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    done_by: tuple[str, ...] = ()

    def form(self, backend: str) -> PassForm:
        """The pass on `backend`, one of those that have a form of it."""
        return self.forms[backend]


def _pass(
    name: str,
    *,
    early: bool = False,
    on_request: bool = False,
    requires: tuple[str, ...] = (),
    requires_one: tuple[str, ...] = (),
    excludes: tuple[str, ...] = (),
    done_by: tuple[str, ...] = (),
    **forms: PassForm,
) -> PassInfo:
    return PassInfo(name, forms, early, on_request, requires, requires_one, excludes, done_by)


# In the order in which a plan applies them.
PASSES = Catalogue(
    "passes",
    "pass",
    PassInfo,
    (
        _pass(
            name="lean_imports",
            numpy=PassForm(
                summary="libraries that PyMDP needs only for plotting (seaborn, pandas, "
                "matplotlib, scipy) load on first use: 130 MB less per process, whatever "
                "the number of agents",
                cost="the first plot waits for the imports",
                target="memprof.optimise.settings:LeanImports",
                kind="setting",
            ),
            early=True,
        ),
        _pass(
            name="jit",
            jax=PassForm(
                summary="one compiled step, or rollout, instead of PyMDP's eager calls, which "
                "retrace at every step and stay in JAX's cache forever",
                cost="nothing; steps are much faster after the first",
                target="memprof.optimise.jax:Jit",
                bound=REORDERED,
                reorders=True,
            ),
        ),
        _pass(
            name="float32",
            numpy=PassForm(
                summary="an agent's own matrices, and its beliefs at rest, in single precision",
                cost="beliefs rounded and widened at every use; steps with large matrices are "
                "faster",
                target="memprof.optimise.transforms:Float32",
                bound=1e-5,
            ),
        ),
        _pass(
            name="share",
            done_by=("template",),
            numpy=PassForm(
                summary="equal arrays of different agents become one read-only array; an agent "
                "that learns gets its own again (copy on write)",
                cost="each array is read once when an agent is built; nothing per step",
                target="memprof.optimise.transforms:Share",
            ),
            jax=PassForm(
                summary="one template agent, mapped over each agent's own data, instead of "
                "PyMDP's batch, which holds A and B once per agent",
                cost="nothing; steps are faster",
                target="memprof.optimise.jax:Share",
                bound=REORDERED,
                reorders=True,
            ),
        ),
        _pass(
            name="policies",
            done_by=("template",),
            numpy=PassForm(
                summary="the policy list as rows of one array that all agents share",
                cost="nothing",
                target="memprof.optimise.transforms:Policies",
            ),
        ),
        _pass(
            name="history",
            numpy=PassForm(
                summary="past actions, observations and beliefs in lossless compressed chunks; "
                "with history_steps, only the last ones",
                cost="a few microseconds per step, and compression of a chunk every 32 steps",
                target="memprof.optimise.transforms:Histories",
                options=(
                    Option(
                        "history_steps",
                        "count",
                        "past steps that agents keep under the pass history, so that long runs "
                        "take no more memory than short ones; all if omitted",
                        problem="memprof.upstream.keywords:history_problem",
                    ),
                ),
            ),
        ),
        _pass(
            name="sparse",
            done_by=("template",),
            numpy=PassForm(
                summary="an agent's own matrices are stored as their nonzero entries, and "
                "scattered into a lent buffer for use",
                cost="writing the entries into the buffer and clearing them, at every use",
                target="memprof.optimise.transforms:Sparse",
            ),
        ),
        _pass(
            name="pool",
            numpy=PassForm(
                summary="PyMDP computes without its large temporaries, and caches results for "
                "arrays that never change (put it after share)",
                cost="one comparison with PyMDP's own result per function and shared array or kind "
                "of call; most steps are faster",
                target="memprof.optimise.pool:Pool",
                kind="setting",
            ),
        ),
        _pass(
            name="belief",
            numpy=PassForm(
                summary="beliefs at rest without their smallest entries, at most a billionth of "
                "the probability",
                cost="sorting the beliefs at every step",
                target="memprof.optimise.transforms:Belief",
                bound=1e-6,
            ),
            jax=PassForm(
                summary="beliefs at rest in half precision (float16)",
                cost="rounding at every step",
                target="memprof.optimise.jax:Belief",
                bound=5e-3,
            ),
        ),
        _pass(
            name="template",
            numpy=PassForm(
                summary="agents at rest are records, exact differences from a template agent",
                cost="a record written and read at every use of an agent, tens of microseconds; "
                "learned matrices are compared with the template",
                target="memprof.storage.template:Template",
                kind="storage",
                options=(_KEEP,),
            ),
            jax=PassForm(
                summary="agents step in chunks, and rest on the host as exact differences from the "
                "template agent; includes share",
                cost="a block of records read and written at every step of a chunk",
                target="memprof.optimise.jax:Template",
                bound=REORDERED,
                reorders=True,
                options=(
                    Option(
                        "chunk",
                        "count",
                        "JAX agents that step together under the pass template; if omitted, as "
                        "many as take 64 MiB, up to 1024",
                    ),
                ),
            ),
        ),
        _pass(
            name="batch",
            numpy=PassForm(
                summary="agents whose models are equal rest in columns, and take their turns "
                "together, as arrays; includes `template`",
                cost="nothing for these, whose steps are many times faster; a record written and "
                "read at every use of any other agent",
                target="memprof.storage.batch:Batch",
                bound=1e-12,
                reorders=True,
                kind="storage",
            ),
            excludes=("float32", "belief", "sparse", "mmap", "working_set"),
        ),
        _pass(
            name="mmap",
            numpy=PassForm(
                summary="the template and the records in memory-mapped files, which survive a "
                "killed process and which processes share; includes `template`",
                cost="a record committed to the store at every use of an agent, about 20 "
                "microseconds more than `template`; disk space",
                target="memprof.storage.mmap:Mmap",
                kind="storage",
                options=(
                    _KEEP,
                    Option("store", "folder", "a new or empty folder that outlives the program"),
                ),
            ),
            on_request=True,
        ),
        _pass(
            name="working_set",
            numpy=PassForm(
                summary="agents stay active after use, within a budget of bytes (working_set); "
                "the least recently used are passivated, and active agents step first",
                cost="the budget, in memory; a killed process loses what active agents did",
                target="memprof.storage.working_set:Budget",
                kind="budget",
                options=(
                    Option(
                        "working_set",
                        "size",
                        "bytes that active agents may take in total under the pass working_set; "
                        "64 MiB if omitted",
                    ),
                ),
            ),
            on_request=True,
            requires_one=("template", "mmap"),
        ),
        _pass(
            name="gc",
            numpy=PassForm(
                summary="built agents are excluded from garbage collection, and collections "
                "become rarer if they take more than 1 % of the time",
                cost="one full collection before new agents are first used; half a microsecond per "
                "step; garbage may wait longer, up to a cap",
                target="memprof.optimise.settings:GcTuning",
                kind="setting",
            ),
        ),
    ),
    attrgetter("name"),
)


OPTIONS = {
    option.name: option
    for info in PASSES.ours.values()
    for form in info.forms.values()
    for option in form.options
}
"""What passes can be told, by name."""


def passes_with(option: Option) -> dict[str, tuple[str, ...]]:
    """Names of our passes that take an option, by backend."""
    found: dict[str, tuple[str, ...]] = {}
    for name, info in PASSES.ours.items():
        for backend, form in info.forms.items():
            if option in form.options:
                found[backend] = (*found.get(backend, ()), name)
    return found


def new_pass(name: str, backend: str, options: Mapping[str, Any]) -> Any:
    """A pass of a backend, told those of the `options` that it knows; imports its module."""
    form = PASSES[name].form(backend)
    given = {each.name: options.get(each.name) for each in form.options}
    return load_target(form.target)(**{n: value for n, value in given.items() if value is not None})


def passes_for(backend: str) -> tuple[str, ...]:
    """Names of the passes that work on `backend`."""
    return tuple(name for name, info in PASSES.items() if backend in info.forms)


def order_problem(names: Sequence[str]) -> str | None:
    """Which of these passes lacks one before it that it needs, or excludes another; None where none
    does."""
    for position, name in enumerate(names):
        info = PASSES[name]
        for needed in (*((each,) for each in info.requires), info.requires_one):
            if needed and not {*needed} & {*names[:position]}:
                return f"{name!r} needs {' or '.join(map(repr, needed))} before it"
        for other in info.excludes:
            if other in names:
                return f"{name!r} and {other!r} exclude each other; leave one out"
    return None


def without_stores(names: Sequence[str], backend: str) -> tuple[str, ...]:
    """Those of the passes under which agents stay active: none that stores agents, or that needs
    one which does."""
    kept: tuple[str, ...] = ()
    for name in names:
        if PASSES[name].form(backend).kind != "storage" and order_problem((*kept, name)) is None:
            kept += (name,)
    return kept


def candidates(backend: str) -> tuple[str, ...]:
    """The passes among which `auto` chooses, in order."""
    return tuple(
        name
        for name in passes_for(backend)
        if (PASSES[name].form(backend).claim == "exact" or PASSES[name].form(backend).reorders)
        and not PASSES[name].on_request
    )


def bound_of(names: tuple[str, ...], backend: str) -> float | None:
    """Largest change of a belief that these passes may cause; None if all of them are exact."""
    bounds = (PASSES[name].form(backend).bound for name in names)
    return max((bound for bound in bounds if bound is not None), default=None)


def only_reorders(names: tuple[str, ...], backend: str) -> bool:
    """Whether nothing but the order of sums may change, and so no action."""
    forms = [PASSES[name].form(backend) for name in names]
    return all(form.claim == "exact" or form.reorders for form in forms)
