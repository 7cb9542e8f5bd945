"""Stacks as a flame graph: what one further agent holds, callees on callers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from memprof.measurements import AllocationStack, Frame, LineHotspot
from memprof.reports.common import named_variants
from memprof.reports.page import Node, Role, Tree
from memprof.results import Report
from memprof.units import format_size

_ROOT = "one agent"
_DOMINATES = 0.5
_MOST_LINES_SHOWN = 3
_Source = Mapping[tuple[str, int], str]


@dataclass(slots=True)
class _Branch:
    """What was allocated below one function, whatever line of it led there."""

    path: str = ""
    lines: dict[int, float] = field(default_factory=dict)
    size: float = 0.0
    children: dict[tuple[str, str], _Branch] = field(default_factory=dict)


def held_stacks(report: Report) -> Iterator[tuple[Role, tuple[AllocationStack, ...]]]:
    """`before` and `after`, each with its stacks that hold something, where there are any."""
    for name, variant in named_variants(report):
        stacks = tuple(each for each in variant.hotspots.stacks if each.bytes_per_agent > 0)
        if stacks:
            yield name, stacks


def flame(name: str, stacks: Sequence[AllocationStack], lines: Sequence[LineHotspot]) -> Tree:
    """The flame graph of the variant `name`: operations on the agent, functions on them, call sites
    of the same function as one; `stacks` hold something each, and `lines` know source text."""
    root = _Branch()
    for stack in stacks:
        _add(root, stack)
    source = {(each.path, each.line): each.text for each in lines}
    tree = _node(_ROOT, root, source)
    return Tree(
        f"held by one further agent, by call, {name}", _alt(name, tree), "bytes", "flame", tree
    )


def _add(root: _Branch, stack: AllocationStack) -> None:
    size = stack.bytes_per_agent
    root.size += size
    branch = root.children.setdefault(("", stack.operation), _Branch())
    branch.size += size
    # A function that calls itself, or a comprehension of its own, is no further box.
    for (path, function), frames in groupby(stack.frames, lambda each: (each.path, each.function)):
        branch = branch.children.setdefault((path, function), _Branch(path))
        branch.size += size
        for line in dict.fromkeys(frame.line for frame in frames):
            branch.lines[line] = branch.lines.get(line, 0.0) + size


def _node(name: str, branch: _Branch, source: _Source) -> Node:
    order = sorted(branch.children.items(), key=lambda item: item[1].size, reverse=True)
    children = tuple(_node(function, child, source) for (_, function), child in order)
    return Node(name, branch.size, _note(branch, source), children)


def _note(branch: _Branch, source: _Source) -> str:
    """Path and lines, most bytes first, with the source of the first where it is known."""
    if not branch.lines:
        return ""
    order = sorted(branch.lines, key=lambda line: branch.lines[line], reverse=True)
    shown = ", ".join(map(str, order[:_MOST_LINES_SHOWN]))
    more = f" and {len(order) - _MOST_LINES_SHOWN} more" if len(order) > _MOST_LINES_SHOWN else ""
    text = source.get((branch.path, order[0]), "")
    return f"{branch.path}:{shown}{more}" + (f"  {text}" if text else "")


def _alt(name: str, tree: Node) -> str:
    """How much there is, and the calls down which most of it was allocated."""
    path, node = [], tree
    while node.children and node.children[0].value >= _DOMINATES * tree.value:
        node = node.children[0]
        path.append(node.name)
    whole = f"{name}: one further agent holds {format_size(tree.value)}"
    if not path:
        largest = tree.children[0]
        return f"{whole}; no operation allocated half of it, {largest.name} the most"
    return f"{whole}; {node.value / tree.value:.0%} was allocated in {' > '.join(path)}"


def frame_label(frame: Frame) -> str:
    """`function (path:line)`, as profilers of Python write it."""
    return f"{frame.function} ({frame.path}:{frame.line})"
