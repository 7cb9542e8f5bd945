"""One class of agents: the template's state, and agents as differences from it."""

from __future__ import annotations

import contextlib
import hashlib
import marshal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from memprof.errors import StoreError
from memprof.store.agent_class import agent_class
from memprof.store.constants import Constants
from memprof.store.derived import DERIVED, PRIORS, derives
from memprof.store.flatten import Flattener, NotStorable, is_objects
from memprof.store.held import reachable_ids
from memprof.store.identity import Links, Names, links
from memprof.store.layout import ATOMS, LARGE_BYTES, Layout, copied, is_value, plain
from memprof.store.unflatten import Reader
from memprof.upstream.attributes import MODEL, left_out

_CONTAINERS = (list, tuple, dict, np.ndarray)
_PLAIN = (type(None), bool, int, float, complex, str)

_DERIVED_BYTES = 64
"""What takes fewer is cheaper to keep than to derive."""
_DIGEST_BYTES = 8
_MOST_SHAPES = 256
"""Sets of attributes that are told apart; agents of one class have a few."""


class Exemplar:
    """A template: the state that all agents of one class are stored as differences from.

    Attributes that are nested lists, tuples and dicts of atoms are treated as a group: `marshal`
    copies and compares them many times faster than anything else, and keeps what is one object in
    the copy; its bytes never leave this process.

    Attributes:
        kind: the class.
        state: attributes of the template, arrays that never change in them. What is linked in the
            template agent, or stays whole, is not there.
    """

    def __init__(self, kind: type, state: dict[str, Any]) -> None:
        self.kind = kind
        self.state = state
        self._class = agent_class(kind)
        self._skeleton = dict.fromkeys(state)
        self._group = tuple([name for name, value in self.state.items() if _is_plain(value)])
        self._copies = marshal.dumps([state[name] for name in self._group])
        self._others = [
            (name, value, _copier(value, name in MODEL))
            for name, value in state.items()
            if name not in self._group
        ]
        self._steady = self._compared(self._group)
        self._ids: frozenset[int] | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The identities of all objects of the template, by which agents share them."""
        if self._ids is None:
            self._ids = frozenset(reachable_ids([self.state]))
        return self._ids

    @classmethod
    def of(cls, agent: Any, keep: tuple[str, ...] | None = None) -> Exemplar:
        """The template that this agent is now; its arrays become constants."""
        kind: type = type(agent)
        known = agent_class(kind)
        own = known.state(agent)
        found = links(own, Names.of(own, known.pymdps), copied=known.copies)
        state: dict[str, Any] = {}
        frozen = _Frozen()
        for name, value in left_out(own, keep).items():
            if name in found.whole or (name in found.linked and name not in known.pymdps):
                continue
            with contextlib.suppress(NotStorable, RecursionError):
                state[name] = frozen(value)
        return cls(kind, state)

    @classmethod
    def from_store(cls, kind: type, state: dict[str, Any]) -> Exemplar:
        """The template of a stored state, whose small arrays become constants again."""
        frozen = _Frozen()
        return cls(kind, {name: frozen(value) for name, value in state.items()})

    @property
    def array_bytes(self) -> int:
        """Bytes of the template's arrays."""
        return sum(leaf.nbytes for leaf in _arrays([*self.state.values()]))

    def flatten(self, agent: Any, keep: tuple[str, ...] | None, flattener: Flattener) -> Changes:
        """What an agent differs in from the template; its data goes to the flattener."""
        own = self._class.state(agent)
        steady = self._steady_in(own)
        shape = self._shape(steady, own)
        found = links(own, shape.names, flattener.handed, self._class.copies)
        state = left_out(own, keep)
        if state is not own:
            shape = self._shape(steady, state)
        start = flattener.mark()
        try:
            return self._flatten(state, shape, found, flattener)
        except _NotLinked as error:  # as above, but for what has turned out to have no encoding
            flattener.back_to(start)
            together = {*found.linked, *error.names}
            whole = {**dict.fromkeys(together, "with what it shares"), **error.names, **found.whole}
            return self._flatten(state, shape, Links(whole=whole), flattener)

    def _flatten(
        self, state: dict[str, Any], shape: _Shape, found: Links, flattener: Flattener
    ) -> Changes:
        entries: list[Any] = []
        whole: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        thorough, flattener.bases = flattener.thorough, found.bases
        flattener.pymdps_own = flattener.thorough = False
        changing = shape.names.changing
        if not found.linked <= shape.looked_at or not found.whole.keys() <= shape.looked_at:
            changing = tuple(state)
        all_linked, all_whole = found.linked, found.whole
        for name in changing:
            value = state[name]
            stays = name in all_whole
            if stays:
                whole[name], reasons[name] = value, found.whole[name]
                if not flattener.lasts or name in found.opaque:
                    continue
            known = self.state.get(name, self)
            linked = stays or name in all_linked
            if not linked and _same(value, known):
                continue
            if linked and name not in self._class.pymdps:
                known = None
            if name in PRIORS and not linked and self._follows(name, state):
                entries += (name, _derived(value, flattener))
                continue
            own = name in MODEL
            if own is not flattener.pymdps_own:
                flattener.pymdps_own, flattener.thorough = own, thorough and own
            mark = flattener.mark()
            try:
                layout = flattener.flatten(value, known)
            except (NotStorable, RecursionError):
                if linked and not stays:
                    raise _NotLinked({name: type(value).__qualname__}) from None
                flattener.back_to(mark)
                whole[name] = value
                reasons.setdefault(name, type(value).__qualname__)
                continue
            if not linked and _all_same(layout, value, known):
                flattener.back_to(mark)
                continue
            if (
                name in DERIVED
                and not linked
                and flattener.size_since(mark) >= _DERIVED_BYTES
                and derives(name, state)
            ):
                flattener.back_to(mark)
                layout = _derived(value, flattener)
            entries += (name, layout)
        flattener.thorough = thorough
        # What stays as it is comes last, where the template does not say where it comes.
        known = not whole or self.state.keys() >= whole.keys()
        order = shape.order if known else tuple(state)
        return Changes((shape.missing, order, *entries), whole, reasons, found.held)

    def _shape(self, steady: _Steady, state: dict[str, Any]) -> _Shape:
        """What the names of an agent's attributes say; they are looked at once."""
        key = tuple(state)
        found = steady.shapes.get(key)
        if found is None:
            if len(steady.shapes) >= _MOST_SHAPES:
                steady.shapes.clear()
            expected = (
                *(name for name in self.state if name in state),
                *(name for name in key if name not in self.state),
            )
            names = Names.of(key, self._class.pymdps, steady.compared)
            found = steady.shapes[key] = _Shape(
                names,
                tuple(name for name in self.state if name not in state),
                () if key == expected else key,
                frozenset(names.changing),
            )
        return found

    def _follows(self, name: str, state: dict[str, Any]) -> bool:
        """Whether an attribute follows from a prior that is not the template's, so that it would be
        compared with the template in vain."""
        prior = state.get(PRIORS[name])
        if prior is None or _same(prior, self.state.get(PRIORS[name], self)):
            return False
        size = sum(array.nbytes for array in _arrays([state[name]]))
        return size >= _DERIVED_BYTES and derives(name, state)

    def _steady_in(self, state: dict[str, Any]) -> _Steady:
        """Plain attributes that are as the template's; others are no longer compared so."""
        steady = self._steady
        try:
            if _content([state[name] for name in steady.compared]) == steady.content:
                return steady
        except (KeyError, ValueError):
            pass  # missing, or no longer plain
        kept = [name for name in steady.compared if _same(state.get(name), self.state[name])]
        self._steady = steady = self._compared(tuple(kept))
        return steady

    def _compared(self, names: tuple[str, ...]) -> _Steady:
        return _Steady(names, _content([self.state[name] for name in names]))

    def unflatten(
        self, layout: Layout, whole: Mapping[str, Any], reader: Reader, stored: Any = None
    ) -> Any:
        """An agent of the state that was flattened: `stored`, if that is what is left of it.

        Raises:
            StoreError: a derived attribute is not what it was.
        """
        missing, order, *entries = layout
        state: dict[str, Any] = self._skeleton.copy()
        state.update(zip(self._group, marshal.loads(self._copies), strict=True))
        changed = dict(zip(entries[::2], entries[1::2], strict=True))
        for name, value, copy in self._others:
            if name not in changed:
                state[name] = copy(value)
        for name in missing:
            del state[name]
        derived: dict[str, bytes] = {}
        for name, inner in changed.items():
            if inner[0] == "~":
                if inner not in (("~",), ("~", _DIGEST_BYTES)):
                    raise ValueError(f"{name} is derived as {inner}")
                derived[name] = reader.take(_DIGEST_BYTES if len(inner) > 1 else 0)
                continue
            own = name in MODEL
            if own is not reader.pymdps_own:
                reader.pymdps_own = own
            state[name] = reader.unflatten(inner, self.state.get(name))
        if reader.place != len(reader.data):
            raise ValueError(f"{len(reader.data) - reader.place} bytes more than it takes")
        state.update(whole)
        for name, digest in derived.items():
            state[name] = DERIVED[name](state)
            if digest and digest != _digest(state[name]):
                raise StoreError(
                    f"{name} of an agent, which a store leaves out where it follows from others of "
                    "its attributes, is not what it was when the agent was stored: PyMDP, NumPy or "
                    "the processor computes otherwise. Open the store where it was written"
                )
        if order:
            if len(order) != len(state):
                raise ValueError(f"{len(state)} attributes, of which it orders {len(order)}")
            state = {name: state[name] for name in order}
        return self._class.made(state, stored)

    def is_kept(self, agent: Any) -> bool:
        """Whether somebody has a weak reference to the agent, or holds its dict."""
        return self._class.is_kept(agent)

    def empty(self, agent: Any) -> None:
        """Take all attributes from an agent that has been stored."""
        self._class.empty(agent)


@dataclass(frozen=True, slots=True)
class _Steady:
    """Plain attributes that all agents have as the template has them, compared at once."""

    compared: tuple[str, ...]
    content: bytes
    shapes: dict[tuple[str, ...], _Shape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the names of an agent's attributes say, with those of the template.

    Attributes:
        missing: names that the template has.
        order: all names, where they come in another order than the template's first.
        looked_at: names that are compared one by one.
    """

    names: Names
    missing: tuple[str, ...]
    order: tuple[str, ...]
    looked_at: frozenset[str]


class _NotLinked(Exception):
    """A linked attribute has no encoding after all: a cycle through a tuple, say."""

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.names = names


def _derived(value: Any, flattener: Flattener) -> Layout:
    """The layout of an attribute that is derived; where the data outlives PyMDP as it is now, with
    its digest in the data."""
    if not flattener.lasts:
        return ("~",)
    flattener.parts.append(_digest(value))
    return ("~", _DIGEST_BYTES)


def _digest(value: Any) -> bytes:
    """BLAKE2b of the numbers in nested object arrays."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for leaf in _arrays([value]):
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _arrays(values: list[Any]) -> Iterator[np.ndarray]:
    """The arrays of numbers in lists, tuples, dicts and object arrays."""
    while values:
        value = values.pop()
        if type(value) is dict:
            values += value.values()
        elif type(value) in (list, tuple):
            values += value
        elif is_objects(value):
            values += value.ravel().tolist()
        elif type(value) is np.ndarray:
            yield value


class Changes(NamedTuple):
    """What an agent differs in from its template.

    Attributes:
        layout: first the names of attributes that are missing, and all names where their order is
            another than the template's; then a name and a layout each.
        whole: attributes that stay as they are.
        reasons: their types, and why.
        held: objects in them that somebody else holds too.
    """

    layout: Layout
    whole: dict[str, Any]
    reasons: dict[str, str]
    held: tuple[Any, ...]


def _content(values: list[Any]) -> bytes:
    """Equal for equal nested atoms of equal types only (version 2 has no marks for sharing)."""
    return marshal.dumps(values, 2)


def _is_plain(value: Any) -> bool:
    """Whether marshal says all that there is to say."""
    if type(value) in (list, tuple):
        return all(type(each) in _PLAIN or _is_plain(each) for each in value)
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(element) for key, element in value.items())
    return type(value) in _PLAIN


def _same(value: Any, known: Any) -> bool:
    """Whether a value surely is what the template holds; large arrays by identity only."""
    if value is known:
        return True
    kind = type(value)
    if kind is not type(known):
        return False
    if kind is np.ndarray:
        return _same_array(value, known)
    if kind is list or kind is tuple:
        return len(value) == len(known) and (
            all(map(is_, value, known)) or all(map(_same, value, known))
        )
    if kind is dict:
        return _same([*value], [*known]) and all(map(_same, value.values(), known.values()))
    if kind is float or kind is complex:
        return _content([value]) == _content([known])
    return kind in ATOMS and bool(value == known)


def _same_array(value: np.ndarray, known: np.ndarray) -> bool:
    if value.shape != known.shape or value.dtype != known.dtype:
        return False
    if value.dtype.char == "O":
        if value.flags.writeable != known.flags.writeable:
            return False
        if value.ndim != 1:
            value, known = value.ravel(), known.ravel()
        return _same(value.tolist(), known.tolist())
    return (
        value.nbytes < LARGE_BYTES
        and value.strides == known.strides
        and value.tobytes() == known.tobytes()
        and value.dtype.char == known.dtype.char
    )


def _all_same(layout: Layout, value: Any, known: Any) -> bool:
    """Whether a container was found to hold what the template holds, element by element."""
    if layout[0] == "=":
        return True
    if layout[0] == "F":
        return not known.flags.writeable and _all_same(layout[1], value, known)
    if layout[0] == "o":
        same = type(known) is np.ndarray and known.shape == value.shape
        return same and all(inner == ("=",) for inner in layout[2:])
    if layout[0] in "lt":
        same = type(known) is type(value) and len(known) == len(value)
        return same and all(inner == ("=",) for inner in layout[1:])
    return False


def _copier(value: Any, shares: bool) -> Callable[[Any], Any]:
    """What copies a value of the template, as `_copied` does: at once, where all that is in a
    container is shared."""
    if shares and type(value) is np.ndarray and value.dtype != object:
        return _itself
    writable = is_objects(value) and value.ndim == 1 and value.flags.writeable
    if shares and (writable or type(value) is list):
        elements = value.tolist() if is_objects(value) else value
        if all(type(each) is np.ndarray and each.dtype != object for each in elements):
            return np.ndarray.copy if writable else list
    return partial(_copied, shares=shares)


def _itself(value: Any) -> Any:
    return value


def _copied(value: Any, shares: bool) -> Any:
    """New containers around the same atoms and, if it `shares`, the same constants; large ones in
    any case."""
    if is_objects(value):
        copy = value.copy()
        for position, element in enumerate(value.ravel().tolist()):
            if not shares or type(element) is not np.ndarray or element.dtype == object:
                copy.reshape(-1)[position] = _copied(element, shares)
        copy.flags.writeable = value.flags.writeable
        return copy
    if type(value) is np.ndarray:
        return value if shares or value.nbytes >= LARGE_BYTES else copied(value)
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


class _Frozen:
    """Copies of nested containers in which every array is a constant, and what is one stays one."""

    def __init__(self) -> None:
        self._constants = Constants()
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """The copy of a value.

        Raises:
            NotStorable: there is no exact one.
        """
        if is_value(value):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = value, self._copy(value)
        return self._known[id(value)][1]

    def _copy(self, value: Any) -> Any:
        if is_objects(value):
            copy = value.copy()
            flat = copy.reshape(-1)
            for position, element in enumerate(value.ravel().tolist()):
                flat[position] = self(element)
            copy.flags.writeable = value.flags.writeable
            return copy
        if type(value) is np.ndarray and plain(value.dtype) and value.flags.aligned:
            return self._constants(value)
        if type(value) in (list, tuple):
            return type(value)([each if type(each) in ATOMS else self(each) for each in value])
        if type(value) is dict and all(map(is_value, value)):
            return {key: self(element) for key, element in value.items()}
        raise NotStorable(type(value).__qualname__)
