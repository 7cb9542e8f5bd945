"""What a user can see of a value, as plain tuples that compare: types to the bit, and which objects
are one object."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
import struct
import types
import warnings
import weakref
from collections import defaultdict, deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from memprof.upstream.numpy_agent import Agent

_ATOMS = (type(None), bool, int, float, complex, str, bytes, range, type(...))
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_WHOLE = (Agent, type, types.ModuleType, types.FunctionType, np.ma.MaskedArray, weakref.WeakSet)
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)


class Picture(NamedTuple):
    """A value as it was when it was looked at.

    Attributes:
        content: nested tuples of strings, numbers and bytes.
        writeable: of each array in it, whether it could be written to.
    """

    content: Any
    writeable: tuple[bool, ...]

    def shows(self, found: Picture) -> bool:
        """Whether `found` is the same. Its arrays may be read-only where ours are not, since a
        write is then refused aloud; never the other way round."""
        return self.content == found.content and all(
            ours >= theirs for ours, theirs in zip(self.writeable, found.writeable, strict=True)
        )

    def difference(self, found: Picture) -> str:
        """The first place in which they differ, in words."""
        if self.content == found.content:
            return "an array that was read-only can be written to"
        ours, theirs = self.content, found.content
        while isinstance(ours, tuple | list) and isinstance(theirs, tuple | list):
            apart = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
            if len(ours) != len(theirs) or not apart:
                break
            ours, theirs = apart[0]
        return f"plain {str(ours)[:120]}, found {str(theirs)[:120]}"


def picture(value: Any) -> Picture:
    """Everything that can be seen of a value."""
    eye = _Eye()
    return Picture(eye.see(value), tuple(eye.writeable))


def numbers(value: Any) -> Any:
    """Nested results of PyMDP to the bit, wherever in memory they are."""
    if isinstance(value, list | tuple) or _stands_for_a_list(type(value)):
        return tuple(map(numbers, value))
    if not isinstance(value, np.ndarray):
        return type(value).__name__, repr(value)
    if value.dtype == object:
        return value.shape, tuple(map(numbers, value.ravel().tolist()))
    return value.dtype.str, value.shape, value.tobytes().hex()


def picture_of_agent(agent: Any) -> Picture:
    """Everything that can be seen of an agent. What its user added is looked at as one graph; of
    what PyMDP keeps, every attribute alone, so that identities are checked only where a quirk asks
    for them."""
    return picture(agent)


def _numbers(policies: Any) -> Any:
    """Policies as numbers: the pass of that name says that it makes one array of them."""
    return [policy.tolist() for policy in policies]


@functools.cache
def pymdp_names() -> frozenset[str]:
    """Attributes that PyMDP itself gives to agents."""
    likelihood, transition = np.empty(1, object), np.empty(1, object)
    likelihood[0], transition[0] = np.eye(2), np.stack([np.eye(2)] * 2, axis=2)
    names: set[str] = set()
    for algorithm in ("VANILLA", "MMP"):
        agent = Agent(A=likelihood, B=transition, inference_algo=algorithm, save_belief_hist=True)
        with contextlib.redirect_stdout(io.StringIO()):  # PyMDP's MMP prints
            agent.infer_states([0])
        agent.infer_policies()
        agent.sample_action()
        names |= vars(agent).keys()
    return frozenset(names)


class _Eye:
    """Looks at values, and knows those again that it has seen."""

    def __init__(self, identities: bool = True) -> None:
        self.identities = identities
        self.known: dict[int, int] = {}
        self.alive: list[Any] = []
        self.writeable: list[bool] = []

    def see(self, value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMS or isinstance(value, np.generic):
            return _name(kind), self.content(value)
        if isinstance(value, Enum):
            return _name(kind), value.name
        if kind in _PROXIES:
            return _name(kind)
        if _is_atomic(value):
            return "tuple", *map(self.see, value)  # nobody asks which of two equal ones it is
        if self.identities:
            if id(value) in self.known:
                return "again", self.known[id(value)]
            self.known[id(value)] = len(self.known)
            self.alive.append(value)  # so that its identity stays its own
        return _name(kind), self.content(value), self.attributes(value)

    def content(self, value: Any) -> Any:  # noqa: PLR0912 - a case for each kind
        match value:
            case Agent():
                return self.agent(value)
            case np.ndarray():
                return self.array(value)
            case np.generic():
                return repr(value.dtype), _bits(np.asarray(value))
            case bool() | int():
                return int(value)
            case float():
                return struct.pack("<d", value)
            case complex():
                return struct.pack("<dd", value.real, value.imag)
            case str():
                return [ord(letter) for letter in value]
            case bytes() | bytearray() | memoryview():
                return bytes.hex(bytes(value))
            case dict():
                made = value.default_factory if isinstance(value, defaultdict) else None
                pairs = [(self.see(k), self.see(v)) for k, v in dict.items(value)]
                return repr(made), tuple(pairs)
            case deque():
                return value.maxlen, tuple(map(self.see, value))
            case list() | tuple() | set() | frozenset():
                return tuple(map(self.see, value))
            case types.MethodType():
                return value.__name__, self.see(value.__self__)
            case functools.partial():
                return self.see(value.func), self.see(value.args), self.see(value.keywords)
            case types.FunctionType() | types.BuiltinFunctionType() | type():
                return value.__qualname__
            case weakref.WeakSet():
                return len(value)
            case weakref.ReferenceType():
                return self.see(value())
            case np.random.Generator():
                return self.see(value.bit_generator.state)
            case np.random.RandomState():
                return self.see(value.get_state(legacy=False))
        if type(value).__module__.startswith("memprof."):
            if _stands_for_a_list(type(value)):
                return tuple(map(self.see, value))
            value.gamma  # noqa: B018  # a stored agent refuses to be read
        return _ADDRESS.sub("", repr(value))

    def agent(self, value: Agent) -> Any:
        """What its user added, and what PyMDP keeps, in which only the user's names count: passes
        let agents share arrays that nobody writes to."""
        pymdps = _Eye(identities=False)
        state = dict(sorted(_state(value).items(), key=lambda item: repr(item[0])))
        added = {name: held for name, held in state.items() if name not in pymdp_names()}
        base = next((kind for kind in (dict, list) if isinstance(value, kind)), None)
        content = (
            () if base is None else self.see(base(value)),
            tuple((self.see(name), self.see(held)) for name, held in added.items()),
            tuple(
                (name, pymdps.see(_numbers(held) if name == "policies" else held))
                for name, held in state.items()
                if name not in added
            ),
        )
        self.writeable += pymdps.writeable
        return content

    def array(self, value: np.ndarray) -> Any:
        flat = value.view(np.ndarray)
        self.writeable.append(bool(flat.flags.writeable))
        strides = tuple(
            stride for stride, size in zip(flat.strides, flat.shape, strict=True) if size > 1
        )
        layout = (repr(flat.dtype), flat.shape, strides if flat.size else (), flat.flags.aligned)
        if flat.dtype.hasobject:
            return layout, tuple(map(self.see, flat.ravel().tolist()))
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            return layout, _bits(flat), mask.tobytes(), repr(value.fill_value)
        return layout, _bits(flat)

    def attributes(self, value: Any) -> Any:
        if isinstance(value, _WHOLE) or _stands_for_a_list(type(value)):
            return ()
        state = _state(value)
        return tuple((name, self.see(state[name])) for name in sorted(state, key=repr))


def _state(value: Any) -> dict[Any, Any]:
    """Attributes of an object, those in slots by class and name."""
    state: dict[Any, Any] = {}
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            slot = base.__dict__.get(_mangled(base, name))
            if isinstance(slot, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):
                    state[f"{base.__name__}: {name}"] = slot.__get__(value)
    with contextlib.suppress(AttributeError):
        state |= object.__getattribute__(value, "__dict__")
    return state


def _mangled(base: type, name: str) -> str:
    private = name.startswith("__") and not name.endswith("__")
    return f"_{base.__name__.lstrip('_')}{name}" if private else name


def _is_atomic(value: Any) -> bool:
    """Whether a value is a tuple of what nobody can change."""
    return type(value) is tuple and all(type(e) in _ATOMS or _is_atomic(e) for e in value)


def _bits(array: np.ndarray) -> Any:
    """All bits that count: extended precision and structures have bytes that nobody sets."""
    if array.dtype.names:
        return tuple(_bits(array[name]) for name in array.dtype.names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (
            array.dtype.kind in "fc"
            and array.dtype.itemsize in (16, 32)
            and array.dtype.char in "gG"
        ):
            return repr(array.tolist())
    bits = array.tobytes()
    return bits.hex() if len(bits) <= 64 else hashlib.blake2b(bits, digest_size=16).hexdigest()


def _stands_for_a_list(kind: type) -> bool:
    return kind.__module__.startswith("memprof.") and issubclass(kind, Sequence)


def _name(kind: type) -> str:
    """A class by name; what memprof puts in the place of a list counts as one."""
    if _stands_for_a_list(kind):
        return "list"
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
