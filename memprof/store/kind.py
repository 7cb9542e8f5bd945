"""What a store knows of its agents' class, to recognise it wherever it lives by then."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FunctionType, MemberDescriptorType
from typing import Self

from memprof.errors import StoreError
from memprof.store.header import CREATE_AGAIN
from memprof.store.untrusted import parsed, shown

_MOST_BYTES = 1 << 18
_NAMED = 5
_LIBRARIES = frozenset((*sys.stdlib_module_names, "pymdp"))
"""What their classes have, a class does not owe to its author."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of agents: its name, and what its author gave it.

    Attributes:
        place: module and qualified name, for people only: a script's class is in `__main__`, and
            in the script's module for those who import it.
        slots: as they are called inside, private ones with their class's name.
        attributes: names of methods, properties and other attributes of the class.
    """

    place: str
    name: str
    slots: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, kind: type) -> Self:
        slots, attributes = set(), set()
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] in _LIBRARIES:
                continue
            for name, value in vars(base).items():
                if type(value) is MemberDescriptorType:
                    slots.add(name)
                elif _is_authors(name, value):
                    attributes.add(name)
        place = f"{kind.__module__}:{kind.__qualname__}"
        return cls(place, kind.__name__, tuple(sorted(slots)), tuple(sorted(attributes)))

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, data: memoryview, folder: Path) -> Self:
        """The class that the bytes in a store describe."""
        try:
            if len(data) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            value = parsed(bytes(data))
            if type(value) is not dict or [*value] != ["place", "name", "slots", "attributes"]:
                raise ValueError("expected place, name, slots and attributes")
            place, name, *lists = value.values()
            if any(type(each) is not list for each in lists):
                raise ValueError("expected lists of slots and attributes")
            if any(type(each) is not str for each in (place, name, *lists[0], *lists[1])):
                raise ValueError("expected names")
        except ValueError as error:
            raise StoreError(
                f"{shown(folder)}: the description of the agents' class is damaged ({error}): "
                f"{CREATE_AGAIN}"
            ) from error
        return cls(place, name, *map(tuple, lists))

    def check(self, kind: type, folder: Path) -> None:
        """Whether `kind` is this class, or has become of it: it has the name, and all that was
        there; more is fine."""
        found = type(self).of(kind)
        lacks = "" if found.name == self.name else f"the name {self.name}, "
        for what, mine, others in (
            ("slots", self.slots, found.slots),
            ("attributes", self.attributes, found.attributes),
        ):
            missing = sorted({*mine} - {*others})
            if missing:
                more = ", ..." if len(missing) > _NAMED else ""
                lacks += f"the {what} {', '.join(missing[:_NAMED])}{more}, "
        if lacks:
            raise StoreError(
                f"{shown(folder)}: holds agents of class {shown(self.place)}, found "
                f"{found.place}, which lacks {shown(lacks.removesuffix(', '))}; open it with "
                "the class that it was made with"
            )


def _is_authors(name: str, value: object) -> bool:
    """Whether an attribute of a class was written by its author, and not by Python around it."""
    if name.startswith("__") and name.endswith("__"):
        return isinstance(value, FunctionType | classmethod | staticmethod | property)
    return name != "_abc_impl"
