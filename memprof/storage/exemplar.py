"""One class of agents: the template's state, and agents as differences from it."""

from __future__ import annotations

import contextlib
import hashlib
import marshal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from memprof.errors import StoreError
from memprof.storage.agent_class import agent_class
from memprof.storage.constants import same_bits
from memprof.storage.flatten import Flattener, NotStorable
from memprof.storage.graph import reachable_ids
from memprof.storage.identity import Links, Names, links
from memprof.storage.layout import Layout
from memprof.storage.template_values import (
    Frozen,
    all_same,
    arrays_in,
    copier,
    is_plain,
    plain_content,
    same,
)
from memprof.storage.unflatten import Reader
from memprof.upstream.attributes import MODEL, PRIORS, left_out
from memprof.upstream.functions import DERIVED

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
        self._group = tuple([name for name, value in self.state.items() if is_plain(value)])
        self._copies = marshal.dumps([state[name] for name in self._group])
        self._others = [
            (name, value, copier(value, name in MODEL))
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
        frozen = Frozen()
        for name, value in left_out(own, keep).items():
            if name in found.whole or (name in found.linked and name not in known.pymdps):
                continue
            with contextlib.suppress(NotStorable, RecursionError):
                state[name] = frozen(value)
        return cls(kind, state)

    @classmethod
    def from_store(cls, kind: type, state: dict[str, Any]) -> Exemplar:
        """The template of a stored state, whose small arrays become constants again."""
        frozen = Frozen()
        return cls(kind, {name: frozen(value) for name, value in state.items()})

    @cached_property
    def array_bytes(self) -> int:
        """Bytes of the template's arrays."""
        return sum(leaf.nbytes for leaf in arrays_in([*self.state.values()]))

    def flatten(self, agent: Any, keep: tuple[str, ...] | None, flattener: Flattener) -> Changes:
        """How an agent differs from the template; the data goes to the flattener."""
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
            if not linked and same(value, known):
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
            if not linked and all_same(layout, value, known):
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
        """The names of an agent's attributes, classified once and then remembered."""
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
        if prior is None or same(prior, self.state.get(PRIORS[name], self)):
            return False
        size = sum(array.nbytes for array in arrays_in([state[name]]))
        return size >= _DERIVED_BYTES and derives(name, state)

    def _steady_in(self, state: dict[str, Any]) -> _Steady:
        """Plain attributes equal to the template's; others are no longer compared this way."""
        steady = self._steady
        try:
            if plain_content([state[name] for name in steady.compared]) == steady.content:
                return steady
        except (KeyError, ValueError):
            pass  # missing, or no longer plain
        kept = [name for name in steady.compared if same(state.get(name), self.state[name])]
        self._steady = steady = self._compared(tuple(kept))
        return steady

    def _compared(self, names: tuple[str, ...]) -> _Steady:
        return _Steady(names, plain_content([self.state[name] for name in names]))

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
                state[name] = None  # in its place
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
                    f"{name} of an agent, which the store derives from its other attributes, "
                    "differs from when the agent was stored: PyMDP, NumPy or the processor "
                    "computes another result. Open the store where it was written"
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
    """A linked attribute has no encoding after all, for example a cycle through a tuple."""

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.names = names


def derives(name: str, state: dict[str, Any]) -> bool:
    """Whether computing the attribute anew gives the bits that it has: only then a record leaves it
    out, which is asked every time that one is made."""
    try:
        with np.errstate(all="ignore"):
            derived = DERIVED[name](state)
    except Exception:  # a user's own attribute of that name, with another meaning
        return False
    return type(derived) is type(state[name]) is np.ndarray and same_bits(derived, state[name])


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
    for leaf in arrays_in([value]):
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.digest()


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
