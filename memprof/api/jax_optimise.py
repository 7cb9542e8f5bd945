"""The doors to a population of the user's own JAX agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memprof.api.jax_checks import check_agent
from memprof.api.jax_population import OptimizedJaxPopulation
from memprof.errors import UsageError
from memprof.populations.jax_resting import Resting
from memprof.populations.jax_store import Stored, load, read_header
from memprof.storage.numbering import Numbering
from memprof.text import shown
from memprof.upstream.installed import agent_of
from memprof.upstream.jax_agent import Agent

_OPTIONS = ("chunk", "store")


def optimize_jax(
    agents: Agent | Iterable[Any], passes: Any, options: Mapping[str, Any]
) -> OptimizedJaxPopulation:
    """That of a batch, or of an iterable of agents and batches, consumed one by one."""
    given = read_options(passes, options)
    chunk = given.get("chunk")
    if "store" not in given:
        return OptimizedJaxPopulation(*_taken(agents, chunk, None))
    stored, place = Stored.new(Path(given["store"]))
    try:
        return OptimizedJaxPopulation(*_taken(agents, chunk, stored.folder), stored)
    except BaseException:
        stored.close()
        place.clear()  # half a population is none
        raise


def read_options(passes: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are given, as JAX agents take them.

    Raises:
        UsageError: there are passes, or another option.
    """
    if passes not in ("auto", ("auto",), ["auto"]):
        raise UsageError(
            f"passes: expected 'auto' for JAX agents, which are held in one form, found "
            f"{shown(passes)}; leave it out"
        )
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - {*_OPTIONS}:
        raise UsageError(
            f"{name}: expected chunk or store for JAX agents, found {name}, which takes effect for "
            "NumPy agents only; leave it out"
        )
    chunk = given.get("chunk")
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise UsageError(f"chunk: expected a whole number, 1 or more; found {shown(chunk)}")
    return given


def _taken(
    agents: Agent | Iterable[Any], chunk: int | None, folder: Path | None
) -> tuple[Resting, Numbering]:
    resting, numbering = None, Numbering()
    for number, agent in enumerate([agents] if isinstance(agents, Agent) else agents):
        check_agent(agent)
        if resting is None:
            resting = Resting(agent, chunk, folder)
        numbering.add(resting.take(agent, f"agent {number}"))
    if resting is None:
        raise UsageError(
            "agents: expected at least one agent, found none; a population needs its template"
        )
    resting.even_out()
    return resting, numbering


def reopen_jax(
    store: Path | str, agent_class: Any, options: Mapping[str, Any], *, readonly: bool
) -> OptimizedJaxPopulation:
    """The population in a folder: in its files, or with `readonly` a copy in memory."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"{name}: expected no such option for a store of JAX agents, found {shown(value)}; "
                "leave it out"
            )
    if agent_class is not None and not (
        isinstance(agent_class, type) and issubclass(agent_class, Agent)
    ):
        raise UsageError(
            f"agent_class: expected the class of the agents ({agent_of('jax')} or a subclass), "
            f"found {shown(agent_class)}; leave it out, or import the class and hand it over"
        )
    folder = Path(store)
    if readonly:
        return OptimizedJaxPopulation(*load(folder, agent_class, in_place=False))
    read_header(folder)  # this process may have it open, which a lock does not tell
    stored = Stored(folder)
    try:
        population = OptimizedJaxPopulation(*load(folder, agent_class, in_place=True), stored)
        stored.begin()
    except BaseException:
        stored.close()
        raise
    return population
