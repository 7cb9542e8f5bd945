"""One class of agents: the template's state, and agents as differences from it."""

from __future__ import annotations

import contextlib
import marshal
from dataclasses import dataclass
from typing import Any

import numpy as np

from memprof.store.constants import Constants
from memprof.store.derived import DERIVED, derives
from memprof.store.flatten import Flattener, NotStorable, is_objects
from memprof.store.held import reachable_ids
from memprof.store.layout import LARGE_BYTES, Layout, plain
from memprof.store.unflatten import Reader

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS = (list, tuple, dict, np.ndarray)
_PLAIN = (type(None), bool, int, float, complex, str)
_PYMDPS_OWN = frozenset(("A", "B", "C", "D", "E", "H", "I", "pA", "pB", "pD", "policies"))
"""Attributes that PyMDP replaces and never writes into, so that agents can share their arrays."""

_DERIVED_BYTES = 64
"""What takes fewer is cheaper to keep than to derive."""


@dataclass(frozen=True, slots=True)
class _Plain:
    """Attributes that are nested lists, tuples and dicts of atoms, as a group.

    `marshal` copies and compares them many times faster than anything else; its bytes never leave
    this process.
    """

    names: tuple[str, ...]
    copies: bytes
    content: bytes

    @classmethod
    def of(cls, names: tuple[str, ...], state: dict[str, Any]) -> _Plain:
        values = [state[name] for name in names]
        return cls(names, marshal.dumps(values), _content(values))


class Exemplar:
    """A template: the state that all agents of one class are stored as differences from.

    Attributes:
        kind: the class.
        state: attributes of the template, arrays that never change in them.
    """

    def __init__(self, kind: type, state: dict[str, Any]) -> None:
        self.kind = kind
        self.state = state
        self._slots = _slots(kind)
        names = tuple(name for name, value in self.state.items() if _is_plain(value))
        self._plain = _Plain.of(names, self.state)
        self._ids: frozenset[int] | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The identities of all objects of the template, by which agents share them."""
        if self._ids is None:
            self._ids = frozenset(reachable_ids([self.state]))
        return self._ids

    @classmethod
    def of(cls, agent: Any) -> Exemplar:
        """The template that this agent is now; its arrays become constants."""
        state: dict[str, Any] = {}
        constants = Constants()
        for name, value in _state(agent, _slots(type(agent))).items():
            with contextlib.suppress(NotStorable, RecursionError):
                state[name] = _constant(value, constants)
        return cls(type(agent), state)

    def flatten(self, agent: Any, left_out: frozenset[str], flattener: Flattener) -> Changes:
        """What an agent differs in from the template; its data goes to the flattener."""
        state = _state(agent, self._slots)
        unchanged = self._unchanged(state)
        entries: list[Any] = []
        whole: dict[str, Any] = {}
        for name, value in state.items():
            known = self.state.get(name, self)
            if name in left_out or name in unchanged or _same(value, known):
                continue
            mark = flattener.mark()
            try:
                layout = flattener.flatten(value, known)
            except (NotStorable, RecursionError):
                flattener.back_to(mark)
                whole[name] = value
                continue
            if _all_same(layout, value, known):
                flattener.back_to(mark)
                continue
            if (
                name in DERIVED
                and flattener.size_since(mark) >= _DERIVED_BYTES
                and derives(name, state)
            ):
                flattener.back_to(mark)
                layout = ("~",)
            entries += (name, layout)
        missing = tuple(name for name in self.state if name not in state)
        return Changes((missing, *entries), whole)

    def _unchanged(self, state: dict[str, Any]) -> frozenset[str]:
        """Plain attributes that say what the template says; others leave the group."""
        group = self._plain
        try:
            if _content([state[name] for name in group.names]) == group.content:
                return frozenset(group.names)
        except (KeyError, ValueError):
            pass  # missing, or no longer plain
        steady = tuple(name for name in group.names if _same(state.get(name), self.state[name]))
        self._plain = _Plain.of(steady, self.state)
        return frozenset(steady)

    def unflatten(self, changes: Changes, reader: Reader) -> Any:
        """A new agent of the state that was flattened."""
        missing, *entries = changes.layout
        group = self._plain
        state = dict(zip(group.names, marshal.loads(group.copies), strict=True))
        changed = dict(zip(entries[::2], entries[1::2], strict=True))
        for name, value in self.state.items():
            if name not in state and name not in changed:
                state[name] = _copied(value, name in _PYMDPS_OWN)
        for name in missing:
            del state[name]
        for name, layout in changed.items():
            if layout[0] != "~":
                state[name] = reader.unflatten(layout, self.state.get(name))
        state.update(changes.whole)
        for name, layout in changed.items():
            if layout[0] == "~":
                state[name] = DERIVED[name](state)
        agent: Any = object.__new__(self.kind)
        for name in self._slots:
            if name in state:
                object.__setattr__(agent, name, state.pop(name))
        if state:
            agent.__dict__.update(state)
        return agent

    def clear(self, agent: Any) -> None:
        """Take all attributes from an agent that has been stored; whoever still holds it is told
        so when using it."""
        getattr(agent, "__dict__", {}).clear()
        for name in self._slots:
            if hasattr(agent, name):
                object.__delattr__(agent, name)
        with contextlib.suppress(TypeError):  # slots: an object of another shape
            object.__setattr__(agent, "__class__", StoredAgent)


class StoredAgent:
    """What is left of an agent object whose state a population has stored."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{name}: this agent is stored in a population; use `with population.activate(index) "
            "as agent:`, and that agent only inside the block"
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """Layouts of the attributes that differ from the template (first the names of those that are
    missing), and attributes without exact encoding, kept whole."""

    layout: Layout
    whole: dict[str, Any]


def _state(agent: Any, slots: tuple[str, ...]) -> dict[str, Any]:
    """All attributes of an agent, those in slots too."""
    if not slots:
        state: dict[str, Any] = agent.__dict__
        return state
    inside = {name: getattr(agent, name) for name in slots if hasattr(agent, name)}
    return {**inside, **getattr(agent, "__dict__", {})}


def _slots(kind: type) -> tuple[str, ...]:
    found: list[str] = []
    for base in kind.__mro__:
        own = base.__dict__.get("__slots__", ())
        found += [own] if isinstance(own, str) else own
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


def _content(values: list[Any]) -> bytes:
    """Equal for equal nested atoms of equal types only (version 2 has no marks for sharing)."""
    return marshal.dumps(values, 2)


def _is_plain(value: Any) -> bool:
    """Whether marshal says all that there is to say."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(element) for key, element in value.items())
    return type(value) in _PLAIN


def _same(value: Any, known: Any) -> bool:
    """Whether a value surely is what the template holds; large arrays by identity only."""
    if value is known:
        return True
    if type(value) is not type(known):
        return False
    if isinstance(value, list | tuple):
        return len(value) == len(known) and all(map(_same, value, known))
    if isinstance(value, dict):
        return list(value) == list(known) and all(map(_same, value.values(), known.values()))
    if is_objects(value):
        return value.shape == known.shape and all(
            map(_same, value.ravel().tolist(), known.ravel().tolist())
        )
    if type(value) is np.ndarray and value is not known and value.nbytes < LARGE_BYTES:
        alike = (value.dtype, value.shape, value.strides) == (
            known.dtype,
            known.shape,
            known.strides,
        )
        return alike and value.tobytes() == known.tobytes()
    if type(value) in (float, complex):
        return _content([value]) == _content([known])
    return type(value) in _ATOMS and bool(value == known)


def _all_same(layout: Layout, value: Any, known: Any) -> bool:
    """Whether a container was found to hold what the template holds, element by element."""
    if layout[0] == "=":
        return True
    if layout[0] == "o":
        same = type(known) is np.ndarray and known.shape == value.shape
        return same and all(inner == ("=",) for inner in layout[2:])
    if layout[0] in "lt":
        same = type(known) is type(value) and len(known) == len(value)
        return same and all(inner == ("=",) for inner in layout[1:])
    return False


def _copied(value: Any, shares: bool) -> Any:
    """New containers around the same atoms and, if it `shares`, the same constants; large ones in
    any case."""
    if is_objects(value):
        copy = value.copy()
        for position, element in enumerate(value.ravel().tolist()):
            if not shares or type(element) is not np.ndarray or element.dtype == object:
                copy.reshape(-1)[position] = _copied(element, shares)
        return copy
    if type(value) is np.ndarray:
        return value if shares or value.nbytes >= LARGE_BYTES else value.copy(order="K")
    if type(value) is list:
        return [
            _copied(element, shares) if type(element) in _CONTAINERS else element
            for element in value
        ]
    if type(value) is tuple:
        return tuple(_copied(element, shares) for element in value)
    if type(value) is dict:
        return {key: _copied(element, shares) for key, element in value.items()}
    return value


def _constant(value: Any, constants: Constants) -> Any:
    """A copy of nested containers in which every array is a constant."""
    if type(value) is np.ndarray:
        if value.dtype != object:
            if not plain(value.dtype):
                raise NotStorable(f"NumPy array of {value.dtype}")
            return constants(value)
        copy = value.copy()
        flat = copy.reshape(-1)
        for position, element in enumerate(value.ravel().tolist()):
            flat[position] = _constant(element, constants)
        return copy
    if type(value) in (list, tuple):
        return type(value)(_constant(element, constants) for element in value)
    if type(value) is dict:
        return {key: _constant(element, constants) for key, element in value.items()}
    if type(value) in _ATOMS or isinstance(value, np.generic):
        return value
    raise NotStorable(type(value).__qualname__)
