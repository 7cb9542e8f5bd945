"""The passes of one population, told apart by what they are, and what their caller says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from memprof.catalogue import load_target
from memprof.catalogue.backends import OF_PROGRAMS
from memprof.catalogue.passes import (
    OPTIONS,
    PASSES,
    Option,
    new_pass,
    order_problem,
    passes_for,
    passes_with,
)
from memprof.errors import UsageError, nearest
from memprof.optimise import Pass, Setting
from memprof.optimise.transforms import Histories
from memprof.storage import compression
from memprof.storage.activation import Activation, check_references
from memprof.storage.agent_class import agent_class
from memprof.storage.batch import rests_as_data
from memprof.storage.constants import all_segments
from memprof.storage.identity import close_shared_containers
from memprof.storage.in_place import InPlace
from memprof.text import parse_size
from memprof.values.measurements import Effect


class Plan:
    """Builds agents, and brings them to rest and back, as its passes say.

    Attributes:
        settings: of the process, kernels among them.
        transforms: of agents, in the order in which they are applied.
        storage: how agents at rest are kept.
        budget_bytes: what active agents may take together; None where agents rest after every use.
        rests: whether agents at rest differ from active ones at all.
    """

    def __init__(
        self,
        settings: Sequence[Setting] = (),
        transforms: Sequence[Pass] = (),
        storage: InPlace | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        packs = dict.fromkeys(name for each in transforms for name in each.packs)
        self.settings, self.transforms = tuple(settings), tuple(transforms)
        self.storage = InPlace(tuple(packs)) if storage is None else storage
        self.budget_bytes = budget_bytes
        if self.any:
            check_references()
        self.rests = (
            self.storage.passivates
            or any(type(each).resume is not Setting.resume for each in self.settings)
            or any(
                type(each).rest is not Pass.rest or type(each).wake is not Pass.wake
                for each in self.transforms
            )
        )

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        options: Mapping[str, Any] = MappingProxyType({}),
        backend: str = OF_PROGRAMS,
    ) -> Plan:
        """New instances of the named passes, told those of the options that they know.

        Of those that store records, `mmap` and `batch` include `template`.
        """
        made: dict[str, list[Any]] = {"setting": [], "transform": [], "storage": [], "budget": []}
        for name in names:
            if name != "template" or not {"mmap", "batch"} & {*names}:
                kind = PASSES[name].form(backend).kind
                made[kind].append(new_pass(name, backend, options))
        budget = next((each.working_set for each in made["budget"]), None)
        storage = next(iter(made["storage"]), None)
        if storage is not None:
            storage.passes, storage.history_steps = tuple(names), options.get("history_steps")
        return cls(made["setting"], made["transform"], storage, budget)

    @property
    def any(self) -> bool:
        """Whether there is a pass at all."""
        return bool(self.settings or self.transforms) or type(self.storage) is not InPlace

    @property
    def records(self) -> Any:
        """Where the stored forms of agents are kept, by index."""
        return self.storage.records

    @property
    def history_steps(self) -> int | None:
        """Past steps that histories keep which agents begin; None for all."""
        return next((each.begun for each in self.transforms if isinstance(each, Histories)), None)

    @history_steps.setter
    def history_steps(self, steps: int | None) -> None:
        for each in self.transforms:
            if isinstance(each, Histories):
                each.begun = steps

    @property
    def not_replaced(self) -> dict[str, str]:
        """PyMDP's functions that `pool` does not replace, with what it does not know of them."""
        return {name: why for each in self.settings for name, why in each.not_replaced().items()}

    def install(self) -> None:
        """Prepare the process for every pass."""
        if self.budget_bytes is not None:
            self.storage.bound_scratch()
        for each in self.settings:
            each.install()

    def build(self, agent: Any, index: int) -> dict[str, Any]:
        """Apply every pass to a newly built agent; the attributes that it had before in place of
        those that passes have replaced."""
        attributes = getattr(agent, "__dict__", {})  # agents for calibration have none
        originals = close_shared_containers(agent) if attributes else {}
        before = dict(attributes)
        for setting in self.settings:
            setting.built()
        for each in self.transforms:
            each.build(agent, index)
        self.storage.build(agent, index)
        replaced = {name: value for name, value in before.items() if value is not attributes[name]}
        return {**replaced, **originals}

    def passivate(self, agent: Any, index: int, activation: Activation | None = None) -> Any:
        """The stored form of an agent that is no longer used; the agent is what it was, until
        `release`.

        Raises:
            UsageError: it cannot be stored.
        """
        if not self.rests:
            return agent
        for each in self.transforms:
            each.rest(agent, index)
        for setting in self.settings:
            setting.pause()
        return self.storage.passivate(agent, index, activation)

    def release(self, agent: Any, index: int, activation: Activation | None = None) -> None:
        """Let go of an agent whose stored form is kept, and of what was lent to it."""
        self.storage.release(agent, index)
        if activation is not None:
            activation.end()

    def drop(self, agent: Any, index: int, activation: Activation) -> None:
        """Let go of an agent that could not be stored, and of what was lent to it."""
        self.storage.drop(agent, index)
        activation.end()

    def activate(self, stored: Any, index: int) -> Activation:
        """An agent from its stored form."""
        activation = self.storage.activate(stored, index)
        for setting in self.settings:
            setting.resume()
        for each in reversed(self.transforms):
            each.wake(activation.agent, index, activation.loans)
        return activation

    @contextmanager
    def shown(self, stored: Any, index: int) -> Iterator[Activation]:
        """The agent of a stored form as it would be in use, to be read in the block. Neither its
        stored form nor the agent that somebody holds is another one afterwards."""
        before = dict(getattr(stored, "__dict__", ()))
        activation = self.storage.shown(stored, index)
        agent = activation.agent
        kind: type = type(agent)
        for each in reversed(self.transforms):
            each.wake(agent, index, activation.loans)
        # No more than these, as what somebody else holds is told by counts of references.
        replaced = {n: before[n] for n in before if vars(agent).get(n) is not before[n]}
        del before
        try:
            yield activation
        finally:
            if agent is stored:
                vars(agent).update(replaced)
            else:
                agent_class(kind).empty(agent)
            del agent
            activation.end()

    def leave(self, index: int) -> None:
        """Forget an agent, and what was kept for all of them if it was the last one."""
        records = self.records
        del records[index]
        parts: tuple[Pass | InPlace, ...] = (*self.transforms, self.storage)
        for each in parts:
            each.leave(index)
        if records.removed == len(records):
            for each in parts:
                each.empty()
            compression.let_go()

    def world_array(self, array: Any, first: Any) -> Any:
        """The form in which an environment keeps an array of its model; `first` is the same array
        of the first environment."""
        kept, alone = array, array is first
        parts: tuple[Pass | InPlace, ...] = (*self.transforms, self.storage)
        for each in parts:
            kept = each.world_array(kept, kept if alone else first)
            if not isinstance(kept, np.ndarray):
                break  # nothing is left for another pass to change
        return kept

    def close(self) -> None:
        """Let go of the agents, and leave the process as it was before `install`."""
        self.storage.close()
        compression.let_go()
        for each in reversed(self.settings):
            each.close()

    def effect(self, name: str) -> Effect:
        """What a pass has done until now."""
        kind: type = load_target(PASSES[name].form(OF_PROGRAMS).target)
        for setting in self.settings:
            if isinstance(setting, kind):
                return setting.effect()
        parts: tuple[Pass | InPlace, ...] = (*self.transforms, self.storage)
        for part in parts:
            if isinstance(part, kind):
                return part.effect(self._objects())
        return Effect()

    def _objects(self) -> list[Any]:
        """The agents that rest as objects."""
        if self.storage.in_files:
            return []
        stored = (each for _, each in self.records.items())
        return [each for each in stored if not rests_as_data(each)]

    def holdings(self) -> Iterator[tuple[str, Any]]:
        """What the plan holds beside the agents, as (component, object)."""
        yield from self.storage.holdings()
        yield "passes", [self.settings, self.transforms, all_segments(), compression.kept()]


NUMPY_OPTIONS = [option for option in OPTIONS.values() if OF_PROGRAMS in passes_with(option)]
"""What the passes of NumPy agents can be told."""


def read_options(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the options that are given, as the named passes take them."""
    found = {}
    for name, value in options.items():
        option = next((each for each in NUMPY_OPTIONS if each.name == name), None)
        if option is None:
            known = [each.name for each in NUMPY_OPTIONS]
            raise TypeError(f"optimize() has no option {name!r}; {nearest(name, known)}")
        if value is not None:
            found[name] = _READERS[option.kind](option, value)
            takers = passes_with(option)[OF_PROGRAMS]
            if not {*takers} & {*names}:
                add = "one" if len(takers) > 1 else "it"
                raise UsageError(
                    f"{name}: takes effect under {' and '.join(takers)} only; add {add} to passes"
                )
    return found


def _read_size(option: Option, value: Any) -> int:
    try:
        size = 0 if isinstance(value, bool) else parse_size(value)
    except ValueError as error:
        raise UsageError(f"{option.name}: {error}, found {value!r}") from None
    if size < 1:
        raise UsageError(f"{option.name}: expected a size above 0, found {value!r}")
    return size


def _read_count(option: Option, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{option.name}: expected a whole number, 1 or more; found {value!r}")
    return value


def _read_names(option: Option, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    _check_names(option.name, names, option.choices)
    return names


_READERS: dict[str, Callable[[Option, Any], Any]] = {
    "count": _read_count,
    "size": _read_size,
    "names": _read_names,
    "folder": lambda option, value: Path(value),
}


def check_passes(names: Sequence[str]) -> None:
    """Refuse a pass that is none of the backend's, or lacks a pass before it that it needs."""
    _check_names("passes", names, passes_for(OF_PROGRAMS))
    problem = order_problem(names)
    if problem:
        raise UsageError(f"passes: {problem}")


def _check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Whether all names of an option are known."""
    for name in names:
        if name not in known:
            raise UsageError(f"{field}: unknown name {name!r}; {nearest(name, known)}")
