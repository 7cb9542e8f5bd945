"""Transforms of NumPy agents: `share`, `policies`, `float32`, `belief`, `sparse`, `history`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import is_not
from typing import Any

import numpy as np

from memprof.errors import ScenarioError
from memprof.optimise import Pass
from memprof.storage.activation import Loans
from memprof.storage.constants import ChangedArray, constant, is_constant, noted_equal
from memprof.storage.flatten import NotStorable
from memprof.storage.history import History
from memprof.storage.identity import held_by_user, held_elsewhere, links_of
from memprof.storage.in_place import Packed
from memprof.storage.layout import plain, zeros
from memprof.storage.template_values import Constants, arrays_in, filled, with_arrays_changed
from memprof.text import counted, format_size
from memprof.upstream.attributes import BELIEFS, HISTORIES, LATEST, MATRICES, MODEL
from memprof.upstream.keywords import history_problem
from memprof.values.measurements import Effect


class Share(Pass):
    """Interns the arrays of agents' models by content, so that a population holds each distinct
    array once.

    Copy on write happens where PyMDP writes: its learning methods replace `agent.B` by a new array,
    which is the agent's own again. Code that writes into a shared array in place gets NumPy's
    "read-only" error instead of changing other agents; `agent.B[0] = agent.B[0].copy()` gives an
    agent its own copy. Containers (object arrays, lists) stay private for that reason. Arrays that
    an agent's own class has added may be written into, and are left alone, as is what these have in
    common with the model.
    """

    def build(self, agent: Any, index: int) -> None:
        constants, attributes = Constants(), vars(agent)
        users = links_of(agent, copied=True).users  # who builds holds what there was
        shared = {
            id(value): _shared(value, constants)
            for name, value in attributes.items()
            if name in MODEL and name not in users
        }
        for name, value in list(attributes.items()):
            if name not in users and shared.get(id(value), value) is not value:
                attributes[name] = shared[id(value)]  # whatever its class does when one is set

    def effect(self, agents: Sequence[Any]) -> Effect:
        return _held_together(agents, sorted(MODEL), "arrays of models", rows=False)

    def world_array(self, array: Any, first: Any) -> Any:
        return noted_equal(array)


def _shared(value: Any, constants: Constants) -> Any:
    """`value` with its arrays replaced by shared ones; `value` itself if there are none."""
    if type(value) is np.ndarray:
        if value.dtype == object:
            return _container(value, value.ravel().tolist(), constants, lambda e: _filled(value, e))
        return constants(value) if plain(value.dtype) and value.flags.aligned else value
    if type(value) in (list, tuple):
        return _container(value, value, constants, type(value))
    if type(value) is dict:
        return _container(
            value, value.values(), constants, lambda e: dict(zip(value, e, strict=True))
        )
    return value


def _container(
    value: Any, elements: Any, constants: Constants, rebuild: Callable[[list[Any]], Any]
) -> Any:
    shared = [_shared(element, constants) for element in elements]
    return rebuild(shared) if any(map(is_not, shared, elements)) else value


def _filled(like: np.ndarray, elements: list[Any]) -> np.ndarray:
    container = filled(like, elements)
    container.flags.writeable = like.flags.writeable
    return container


class Policies(Pass):
    """Replaces the arrays (steps x factors) in the list `agent.policies` by the rows of one
    read-only array of (policies x steps x factors), of the same type: PyMDP makes actions of its
    entries. The list is the agent's own; the rows are the same objects for all agents.

    Policies of unequal shapes or types are left as they are, as are those that the user's own
    attributes hold.
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}

    def empty(self) -> None:
        self._rows.clear()

    def effect(self, agents: Sequence[Any]) -> Effect:
        return _held_together(agents, ["policies"], "arrays of policies", rows=True)

    def build(self, agent: Any, index: int) -> None:
        policies = getattr(agent, "policies", None)
        if type(policies) is not list or not policies:
            return
        first = policies[0]
        if not all(
            type(policy) is np.ndarray
            and policy.dtype.kind == "i"
            and policy.dtype == first.dtype
            and policy.shape == first.shape
            for policy in policies
        ):
            return
        if "policies" in links_of(agent, copied=True).users:
            return
        together = constant(np.stack(policies))
        if id(together) not in self._rows:
            self._rows[id(together)] = together, [*together]
        vars(agent)["policies"] = [*self._rows[id(together)][1]]


FLOAT32_BOUND = 1e-5
"""Largest change of a belief that may come of it."""

_ROUNDED = (*BELIEFS, "q_pi", "G", "F")


class Float32(Pass):
    """Rounds arrays to single precision, relative error at most 2**-24.

    Matrices are rounded when an agent is built, and those that it learns when it comes to rest;
    PyMDP multiplies them with beliefs in double precision, so its sums are double as ever. Beliefs
    are rounded at rest and doubles in use. Arrays that `share` has united before are left alone;
    named before `share`, this pass rounds and `share` unites what is rounded.
    """

    def build(self, agent: Any, index: int) -> None:
        _replace(agent, MATRICES, _rounded)

    def rest(self, agent: Any, index: int) -> None:
        _replace(agent, (*MATRICES, *_ROUNDED), _rounded)

    def wake(self, agent: Any, index: int, loans: Loans) -> None:
        _replace(agent, _ROUNDED, _widened)

    def effect(self, agents: Sequence[Any]) -> Effect:
        arrays = {id(each): each for each in _arrays(agents, MATRICES)}
        size = sum(each.nbytes for each in arrays.values() if each.dtype == np.float32)
        return Effect(f"{format_size(size)} of matrices in single precision" if size else "")


def _rounded(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float64 or is_constant(array):
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _replace(
    agent: Any, names: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    attributes = vars(agent)
    for name in names:
        if name in attributes:
            attributes[name] = with_arrays_changed(attributes[name], change)


BELIEF_BOUND = 1e-6
"""Largest change of any later belief that may come of it."""

CUT = 1e-9
"""Largest probability that is cut from a belief at rest."""


class Belief(Pass):
    """Prunes beliefs about states when an agent comes to rest.

    The smallest entries are set to zero as long as they sum to at most `CUT`, and the others are
    scaled up to sum to one. With pruned mass m, an entry changes by at most m / (1 - m), and the
    divergence of the pruned from the full posterior is -ln(1 - m) nats, both about 1e-9. What comes
    of it later is measured in every report and held to `BOUND`, which leaves room for a model that
    amplifies it.
    """

    packs = BELIEFS

    def rest(self, agent: Any, index: int) -> None:
        attributes = vars(agent)
        for name in BELIEFS:
            if name in attributes:
                attributes[name] = with_arrays_changed(attributes[name], prune)

    def effect(self, agents: Sequence[Any]) -> Effect:
        return _packed(agents, self.packs)


def prune(distribution: np.ndarray) -> np.ndarray:
    """A distribution without its smallest entries, which sum to at most `CUT`.

    Anything that is no distribution is returned as it is.
    """
    if distribution.dtype != np.float64 or not distribution.size:
        return distribution
    flat = distribution.reshape(-1)
    if not (np.all(flat >= 0) and abs(flat.sum() - 1) < 1e-9):
        return distribution
    order = np.argsort(flat)
    cut = int(np.searchsorted(np.cumsum(flat[order]), CUT, side="right"))
    pruned = flat.copy()
    pruned[order[:cut]] = 0.0
    result: np.ndarray = (pruned / pruned.sum()).reshape(distribution.shape)
    return result


class Sparse(Pass):
    """An agent's own A, B and their priors at rest: positions and values of the nonzero entries.

    PyMDP's functions get dense arrays: waking scatters the entries into a buffer that holds zeros
    and is lent from agent to agent. (Sparse matrices in place of arrays would be mis-handled by
    `np.einsum` and `np.dot` without a word.) Arrays that agents share are left alone.
    """

    packs = MATRICES

    def effect(self, agents: Sequence[Any]) -> Effect:
        return _packed(agents, self.packs)

    def world_array(self, array: Any, first: Any) -> Any:
        if is_constant(array):
            return array
        return ChangedArray.of(array, zeros(array.dtype.str, array.shape, "C"))


class Histories(Pass):
    """Replaces the lists of an agent's past by a `History`, which behaves as a list.

    PyMDP appends an array to `prev_actions` in every step (and to others with MMP and
    `save_belief_hist`) and reads a few at the end.

    Attributes:
        steps: entries that each history keeps; None for all of them, or as many as one from a store
            does.
        begun: the same of a history that an agent begins.
    """

    def __init__(self, history_steps: int | None = None) -> None:
        self.steps = self.begun = history_steps

    def rest(self, agent: Any, index: int) -> None:
        if self.begun is not None:
            names = ("inference_algo", "inference_horizon")
            problem = history_problem(self.begun, {name: getattr(agent, name) for name in names})
            if problem:
                raise ScenarioError("history_steps", problem)
        attributes = vars(agent)
        held = held_by_user(agent)
        for name in HISTORIES:
            entries = attributes.get(name)
            if type(entries) is list:
                if not entries or held_elsewhere(attributes, name, references=1):
                    continue  # whoever holds the list would not see what is appended
                entries = History(entries, self.begun)
            elif type(entries) is not History:
                continue
            elif self.steps is not None:
                entries.limit = self.steps  # one from a store may have another
            with suppress(NotStorable):  # entries of the user's own stay objects
                entries.pack({id(attributes.get(LATEST.get(name))), *held})
            attributes[name] = entries

    def effect(self, agents: Sequence[Any]) -> Effect:
        """Of the chunks, how many bytes they are less than what is in them; who rests as a record
        has them there."""
        kept = "all past steps" if self.begun is None else f"the last {counted(self.begun, 'step')}"
        found = [vars(agent).get(name) for agent in agents for name in HISTORIES]
        histories = [each for each in found if type(each) is History]
        if not histories:
            return Effect(f"keeps {kept}")
        kept += f": {sum(map(len, histories)):,} entries"
        size, raw = History.packed_bytes(histories)
        packed = f", packed in {format_size(size)}" if size else ""
        return Effect(f"keeps {kept}{packed}", raw - size or None)


def _arrays(agents: Sequence[Any], names: Sequence[str]) -> list[np.ndarray]:
    """The arrays in these attributes, of each agent once."""
    found: list[np.ndarray] = []
    for agent in agents:
        attributes = vars(agent)
        values = [attributes[name] for name in names if name in attributes]
        found += {id(each): each for each in arrays_in(values)}.values()
    return found


def _held_together(agents: Sequence[Any], names: Sequence[str], what: str, rows: bool) -> Effect:
    """How many arrays, or rows of them, are one for all that have them. What they would take
    otherwise cannot be told: some may have been one object before."""
    places, memory = 0, {}
    for array in _arrays(agents, names):
        known: Any = array if is_constant(array) else array.base
        is_known = type(known) is np.ndarray and is_constant(known)
        if is_known and (rows or known.nbytes == array.nbytes):
            places += 1
            memory[id(known)] = known.nbytes
    size = format_size(sum(memory.values()))
    as_few = f"{places:,} {what} held as {counted(len(memory), 'shared one')}, {size}"
    return Effect(as_few if memory else "")


def _packed(agents: Sequence[Any], names: Sequence[str]) -> Effect:
    """How many attributes rest encoded."""
    found = [vars(agent).get(name) for agent in agents for name in names]
    packed = [each for each in found if isinstance(each, Packed)]
    size = sum(len(each.frame) for each in packed)
    what = f"{counted(len(packed), 'attribute')} packed in {format_size(size)}"
    return Effect(what if packed else "")
