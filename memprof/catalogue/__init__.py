"""What there is to choose from, by name: memprof's own, and what installed packages add to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import Any, TypeVar

from memprof.errors import unknown
from memprof.text import raised, shown

T = TypeVar("T")


def load_target(target: str) -> Any:
    """What `module:name` names; imports the module. Entries of catalogues name code in this way,
    so that listing them imports none of it."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


class _Unusable(Exception):
    """Why an entry is not taken."""


class Catalogue(Mapping[str, T]):
    """Entries by name: ours in their order, then those of installed packages.

    A package adds an entry by an entry point in the group `memprof.KINDS`, which has the entry's
    name and leads to the entry. Every process that reads the catalogue imports that module, so it
    should be light and name heavy code as a target. What cannot be loaded, or has a name that is
    taken, is left out, and `problems` says why.
    """

    def __init__(
        self,
        kinds: str,
        what: str,
        base: type,
        ours: Iterable[T],
        name_of: Callable[[T], str],
        place_of: Callable[[T], str] = lambda entry: "",
    ) -> None:
        """`kinds` are these things, and one of them is `what`, in words; `base` is what each entry
        is an instance or subclass of; no two have the same place, if they have one."""
        self.kinds, self.what, self._base = kinds, what, base
        self._name_of, self._place_of = name_of, place_of
        self.ours = {name_of(entry): entry for entry in ours}

    @cached_property
    def _added(self) -> tuple[dict[str, tuple[T, str]], list[tuple[str, str]]]:
        """Entries of packages, each with its package; and what is wrong with others, by name."""
        points = sorted(_entry_points().select(group=f"memprof.{self.kinds}"), key=_package)
        entries: dict[str, tuple[T, str]] = {}
        problems = []
        for point in points:
            package = _package(point)
            takers = [_package(each) for each in points if each.name == point.name]
            takers.remove(package)
            if point.name in self.ours:
                takers.append("memprof")
            try:
                entries[point.name] = self._entry(point, sorted({*takers}), entries), package
            except Exception as error:
                problem = str(error) if isinstance(error, _Unusable) else raised(error)
                what = f"memprof.{self.kinds}: {shown(point.name)} of the package {package}"
                problems.append((point.name, f"{what} cannot be used: {problem}"))
        return entries, problems

    def _entry(self, point: Any, takers: list[str], others: Mapping[str, tuple[T, str]]) -> T:
        if takers:
            raise _Unusable(
                f"{' and '.join(takers)} already uses this name; rename or uninstall one"
            )
        entry: T = point.load()
        kind = entry if isinstance(entry, type) else type(entry)
        if not issubclass(kind, self._base):
            raise _Unusable(f"expected {self._base.__name__}, found {shown(entry)}")
        if self._name_of(entry) != point.name:
            raise _Unusable(
                f"its own name is {shown(self._name_of(entry))}; use the same name for both"
            )
        known = [*self.ours.values(), *(each for each, _ in others.values())]
        if any(self._place_of(entry) == self._place_of(each) != "" for each in known):
            raise _Unusable(f"{shown(self._place_of(entry))} is taken; choose another")
        return entry

    def __getitem__(self, name: str) -> T:
        return self.ours[name] if name in self.ours else self._added[0][name][0]

    def __contains__(self, name: object) -> bool:
        return name in self.ours or name in self._added[0]

    def __iter__(self) -> Iterator[str]:
        yield from self.ours
        yield from self._added[0]

    def __len__(self) -> int:
        return len(self.ours) + len(self._added[0])

    def origin(self, name: str) -> str:
        """The package that an entry comes from; empty for ours."""
        return "" if name in self.ours else self._added[0][name][1]

    @property
    def problems(self) -> list[str]:
        """What packages add that cannot be used, and why."""
        return [problem for _, problem in self._added[1]]

    def unknown(self, name: str, known: Iterable[str] | None = None) -> str:
        """What to say of a name that nothing has here: why it cannot be used, or what it could have
        been, of those `known`."""
        found = [problem for other, problem in self._added[1] if other == name]
        return "; ".join(found) or unknown(self.what, name, self if known is None else known)


@cache
def _entry_points() -> Any:
    from importlib import metadata  # takes half as long as `memprof --help`

    return metadata.entry_points()


def _package(point: Any) -> str:
    return str(getattr(point.dist, "name", None) or "unknown")
