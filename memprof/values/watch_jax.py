"""What JAX does in a watched program: what it traces and compiles, and which arrays live."""

from __future__ import annotations

from msgspec import Struct

from memprof.values.instruments import Count, Positive, SourceLine


class TracedLine(SourceLine, frozen=True):
    """A line of the user's at which JAX traces.

    Attributes:
        steps: in how many it did so; a step ends with PyMDP's `sample_action`.
    """

    traces: Positive
    steps: Count = 0


class Compiling(Struct, frozen=True):
    """What JAX traced and compiled over the whole run.

    Attributes:
        seconds: of compiling, tracing not included.
        lines: that traced most often, first.
    """

    traces: Count
    compilations: Count
    seconds: float
    lines: tuple[TracedLine, ...]


class Arrays(Struct, frozen=True):
    """Arrays of JAX under one name, such as `info['qs']` or a component of agents; nominal bytes of
    all together."""

    name: str
    bytes: Count
    count: Count


class Rollout(Struct, frozen=True):
    """Calls of PyMDP's `rollout` at one line that returned as much of the same.

    Attributes:
        at: the user's line; None where only libraries call it.
        seconds: of all calls, until they returned: JAX may still have been at work.
        bytes_per_call: of all arrays that a call returned.
        parts: the largest of these, by name.
    """

    at: SourceLine | None
    calls: Positive
    seconds: float
    bytes_per_call: Count
    parts: tuple[Arrays, ...]
