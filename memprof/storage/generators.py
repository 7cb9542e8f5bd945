"""An agent's own generators of random numbers as plain values, which a folder can keep, and back.

Nobody has to believe such a value: a generator is made by the name of its kind, and takes a state
or refuses it.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

_KINDS = (np.random.Generator, np.random.RandomState, random.Random)
_BITS = {
    each.__name__: each
    for each in (
        *(np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM),
        *(np.random.Philox, np.random.SFC64),
    )
}
_PUT_AWAY = "memprof: generators"
"""The attribute with the names of those that are generators."""


def put_away(attributes: dict[str, Any]) -> dict[str, Any]:
    """Replace the generators among an agent's attributes by plain values; what they were, by name.
    One under several names is one again."""
    generators = {n: value for n, value in attributes.items() if _has_value(value)}
    names: dict[int, str] = {}
    for name, generator in generators.items():
        first = names.setdefault(id(generator), name)
        attributes[name] = _value(generator) if first == name else first
    if generators:
        attributes[_PUT_AWAY] = tuple(generators)
    return generators


def put_back(attributes: dict[str, Any], generators: dict[str, Any]) -> None:
    """Undo what `put_away` did."""
    attributes.pop(_PUT_AWAY, None)
    attributes.update(generators)


def brought_back(attributes: dict[str, Any]) -> None:
    """Let generators that were put away be generators again, in the same state.

    Raises:
        ValueError, TypeError, KeyError: they were not.
    """
    for name in attributes.pop(_PUT_AWAY, ()):
        value = attributes[name]
        attributes[name] = attributes[value] if type(value) is str else _generator(*value)


def _has_value(value: Any) -> bool:
    """Whether it is a generator that can be made again."""
    if type(value) is random.Random:
        return True
    if type(value) not in _KINDS:
        return False
    bits = _bits(value)
    return _BITS.get(type(bits).__name__) is type(bits)


def _bits(generator: Any) -> Any:
    return getattr(generator, "bit_generator", None) or generator._bit_generator


def _value(generator: Any) -> tuple[Any, ...]:
    if type(generator) is random.Random:
        version, words, gauss = generator.getstate()
        return ("Random", (version, np.array(words, np.uint32), gauss))
    if type(generator) is np.random.RandomState:
        return ("RandomState", generator.get_state(legacy=False))
    bits = generator.bit_generator
    spawns = bits.seed_seq.state if type(bits.seed_seq) is np.random.SeedSequence else None
    return ("Generator", bits.state, spawns)


def _generator(kind: str, state: Any, spawns: Any = None) -> Any:
    if kind == "Random":
        version, words, gauss = state
        found = random.Random()
        found.setstate((version, tuple(words.tolist()), gauss))
        return found
    made = _BITS[state["bit_generator"]]
    if kind == "RandomState":
        drawing = np.random.RandomState(made())
        drawing.set_state(state)
        return drawing
    bits = made(np.random.SeedSequence(**spawns) if spawns else None)
    bits.state = state
    return np.random.Generator(bits)
