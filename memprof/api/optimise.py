"""The doors to a population of the user's own agents: `optimize` and `reopen`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any

from memprof.api.checks import check_agent_class
from memprof.api.kinds import is_jax_store, of_jax
from memprof.api.population import OptimizedPopulation
from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import AUTO, new_pass
from memprof.errors import UsageError
from memprof.optimise.default import DEFAULT, default_plan
from memprof.optimise.plan import NUMPY_OPTIONS, Plan, check_passes, read_options
from memprof.storage.header import Place
from memprof.storage.mmap import Mmap


def optimize(
    agents: Iterable[Any] | Any, passes: str | Sequence[str] = "auto", **options: Any
) -> Any:
    """A population of the caller's own PyMDP agents, stored under the given passes: an
    `OptimizedPopulation`, or an `OptimizedJaxPopulation` of JAX agents.

    The iterable is consumed agent by agent, so a generator can build a population that would never
    fit in memory at once: the peak is the template, one agent and the records. An agent is empty
    after it has been taken over; arrays that the caller still holds do not change.

    JAX agents have one form, without passes, and two options: `chunk`, agents that are awake at
    once, as many as are no burden if omitted; and `store`, a new or empty folder for what is each
    agent's own, in memory if omitted. The agents that were handed over do not change: let go of
    them.

    Args:
        agents: one or many agents of PyMDP's NumPy backend (`pymdp.legacy.agent.Agent`, until
            0.0.7.1 `pymdp.agent.Agent`, or a subclass); or an agent of its JAX backend
            (`pymdp.agent.Agent`), which is as many as its batch, or many of them.
        passes: names, as `memprof passes` lists them, or "auto" for "history", "pool" and
            "template", under which agents that learn large dense matrices stay active, because
            records would make them much slower (`OptimizedPopulation.because`).
        options: options of the passes, as `memprof passes` lists them. Those of memprof's own
            passes: `keep`, inference results that agents keep at rest (`qs`, `action`, `q_pi`, `G`,
            `F`, `prev_actions`, `prev_obs`, `qs_hist`, `q_pi_hist`), all if omitted; `store`, a new
            or empty folder for the pass `mmap`, which outlives the program (see `reopen`) and is
            left unchanged on failure, a temporary one if omitted; `history_steps`, past steps that
            agents keep under the pass `history`, all if omitted; `working_set`, memory that active
            agents may take in total under that pass, in bytes or as text, "64 MiB" if omitted.

    Raises:
        UsageError: an unknown pass, an invalid option, or something that is not such an agent.
        StoreError: the folder cannot be used.
    """
    agents, jax = of_jax(agents, options)
    if jax:
        from memprof.api.jax_optimise import optimize_jax  # takes a second, as JAX does

        return optimize_jax(agents, passes, options)
    plan, names, given = planned(passes, options)
    if "store" in given:
        Place(given["store"]).check()  # before the first agent is built
    try:
        return OptimizedPopulation(agents, plan, names, given)
    except BaseException:
        plan.storage.discard()  # half a population is none
        raise


def planned(
    passes: str | Sequence[str], options: Mapping[str, Any]
) -> tuple[Plan, tuple[str, ...], dict[str, Any]]:
    """What `optimize` makes of its arguments for NumPy agents: the plan, the names of its passes,
    and the options that are given.

    Raises:
        UsageError: an unknown pass, or an invalid option.
    """
    if options.get("chunk") is not None:
        raise UsageError(
            "chunk: expected JAX agents, found NumPy agents, which step alone; leave it out"
        )
    names = (passes,) if isinstance(passes, str) else tuple(passes)
    chooses = names == (AUTO,)
    names = DEFAULT if chooses else names
    check_passes(names)
    given = read_options({n: value for n, value in options.items() if n != "chunk"}, names)
    plan = default_plan(**given) if chooses else Plan.of(names, given)
    return plan, names, given


_PARAMETERS = [
    *[*signature(optimize).parameters.values()][:2],
    *(Parameter(each.name, Parameter.KEYWORD_ONLY, default=None) for each in NUMPY_OPTIONS),
    Parameter("chunk", Parameter.KEYWORD_ONLY, default=None),
]
optimize.__signature__ = Signature(_PARAMETERS)  # type: ignore[attr-defined]


def reopen(
    store: Path | str,
    agent_class: type | None = None,
    *,
    history_steps: int | None = None,
    working_set: int | str | None = None,
    readonly: bool = False,
) -> Any:
    """The population that `optimize(..., passes=[..., "mmap"], store=store)` left in a folder, in
    this program or in one that was killed: every agent in its last stored state, under its index.
    Removed agents are not in it. Of the passes that it was made with, `history` and `pool` work on;
    the others have done their work when the agents were built.

    Only one process at a time can open a store for writing; any number may read it meanwhile, with
    `readonly=True`. They get each agent in its last stored state when they activate it, and their
    changes to it are discarded.

    A store of JAX agents is whole once it was saved or closed, and refused otherwise. It has their
    settings, too, and of their class the name.

    Args:
        store: the folder.
        agent_class: the class of the agents, with all slots, methods and other attributes that it
            had then; it may have others too, and another name or module, as nothing is imported by
            the name in the store. May be omitted where it is PyMDP's own.
        history_steps: as for `optimize`; None keeps the limit that the store has.
        working_set: as for `optimize`, with the pass of that name; None is without it.
        readonly: change nothing, and let other processes write. Excludes the two options above,
            which only matter when agents are stored.

    Raises:
        StoreError: the folder is damaged, is not such a store, is in use by another process, or
            holds agents of another class.
        UsageError: an invalid option, not a class of PyMDP agents, or none where the agents are of
            a class of the user's own.
    """
    if is_jax_store(store):
        from memprof.api.jax_optimise import reopen_jax

        options = {"history_steps": history_steps, "working_set": working_set}
        return reopen_jax(store, agent_class, options, readonly=readonly)
    if agent_class is not None:
        check_agent_class(agent_class)
    names = ("history", "pool", "mmap", *(() if working_set is None else ("working_set",)))
    given = read_options({"history_steps": history_steps, "working_set": working_set}, names)
    for name in given if readonly else ():
        raise UsageError(
            f"{name}: takes effect only when agents are stored, and with readonly=True none are; "
            "remove one of the two"
        )
    stored = Mmap.reopen(Path(store), agent_class, readonly=readonly)
    asked = {"mmap", *(() if history_steps is None else ("history",)), "working_set"}
    names = tuple(name for name in names if name in asked or name in stored.passes)
    pool, history = (
        [new_pass(each, OF_PROGRAMS, given)] if each in names else []
        for each in ("pool", "history")
    )
    plan = Plan(pool, history, stored, given.get("working_set"))
    if history_steps is None:
        plan.history_steps = stored.history_steps
    return OptimizedPopulation((), plan, names, given)
