"""The pictures of a profile: each shows at a glance what the table beside it has in figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePath

from memprof.profile.held import held_lines
from memprof.render import (
    Band,
    Bars,
    BarSeries,
    Chart,
    Level,
    Moment,
    Node,
    Role,
    Series,
    Tree,
    Waterfall,
    one_each,
)
from memprof.stats.lines import robust_fit
from memprof.text import counted, format_size
from memprof.values.instruments import AllocationStack, LineHotspot
from memprof.values.measurements import Ledger
from memprof.values.profile import Report, Timeline, Variant

Named = tuple[Role, Variant]
"""A variant, as `before` or `after`."""
_MOST_BARS = 12


def cost_bars(variants: Sequence[Named]) -> Bars:
    """What an agent costs, before and after; its upper end where it is below resolution."""
    costs = [(name, max(0.0, variant.per_agent.at_most_bytes)) for name, variant in variants]
    names = [_called(name, variant) for name, variant in variants]
    alt = ", ".join(f"{n} {format_size(cost)}" for n, (_, cost) in zip(names, costs, strict=True))
    return one_each("memory per agent (USS)", alt, "bytes", names, costs)


def _called(name: Role, variant: Variant) -> str:
    if not variant.passes:
        return name
    return (
        variant.passes[0]
        if len(variant.passes) == 1
        else f"with {counted(len(variant.passes), 'pass', 'passes')}"
    )


def component_bars(variants: Sequence[Named]) -> Iterator[Bars]:
    """Resident bytes of each component, before and after: what each agent holds alone, and what
    agents share, which is there once for all of them."""
    alone = {
        name: {
            row.component: variant.ledger.private_each(row.component) for row in variant.ledger.rows
        }
        for name, variant in variants
    }
    shared = {
        name: {row.component: float(row.shared_bytes) for row in variant.ledger.rows}
        for name, variant in variants
    }
    for title, sizes in (
        ("resident bytes that an agent holds alone, by component", alone),
        ("resident bytes that agents share, in total, by component", shared),
    ):
        drawn = _largest_first(title, sizes)
        if drawn is not None:
            yield drawn


def _largest_first(title: str, sizes: Mapping[Role, Mapping[str, float]]) -> Bars | None:
    largest: dict[str, float] = {}
    for found in sizes.values():
        for component, size in found.items():
            largest[component] = max(size, largest.get(component, 0.0))
    names = sorted((c for c, size in largest.items() if size > 0), key=lambda c: -largest[c])
    if not names:
        return None
    names = names[:_MOST_BARS]
    series = tuple(
        BarSeries(name, tuple(found.get(component, 0.0) for component in names), name)
        for name, found in sizes.items()
    )
    first, *_, last = (*sizes.values(), *sizes.values())
    alt = "; ".join(
        f"{c} {format_size(first.get(c, 0.0))}"
        + (f", after {format_size(last.get(c, 0.0))}" if len(sizes) > 1 else "")
        for c in names[:4]
    )
    return Bars.visible(title, alt, "bytes", names, series)


def passes_waterfall(report: Report) -> Waterfall | None:
    """The marginal cost from plan to plan, as each pass of the plan is added."""
    levels = [Level("before", max(0.0, report.variants.before.per_agent.marginal_bytes))]
    for each in report.passes:
        if each.kept and each.marginal_bytes is not None:
            note = f"{each.claim}, {each.outcome.replace('_', ' ')}"
            levels.append(Level(each.name, max(0.0, each.marginal_bytes), note))
    if len(levels) == 1:
        return None
    alt = ", ".join(f"{each.name} {format_size(each.value)}" for each in levels)
    return Waterfall.visible("memory per agent, pass by pass", alt, "bytes", levels)


def growth_chart(name: Role, variant: Variant) -> Chart | None:
    """Private memory against the number of agents in every worker, had they come in an even
    mixture, above what the worker has without them; with the fitted line and its interval, which
    turns around the middle."""
    readings = [
        [(each.agents, each.private_bytes) for each in sample.points] for sample in variant.samples
    ]
    if not readings or len({agents for agents, _ in readings[0]}) < 2:
        return None
    slope = fitted_slope(variant)
    low, high = variant.per_agent.ci95_bytes
    points: list[tuple[float, float]] = []
    for sizes in readings:
        start = statistics.median(size - slope * agents for agents, size in sizes)
        points += [(float(agents), size - start) for agents, size in sizes]
    numbers = sorted({agents for agents, _ in points})
    line = tuple((agents, slope * agents) for agents in (numbers[0], numbers[-1]))
    bands: tuple[Band, ...] = ()
    if math.isfinite(low) and math.isfinite(high):
        middle = statistics.fmean((numbers[0], numbers[-1]))
        sides = [
            sorted(slope * middle + (agents - middle) * each for each in (low, high))
            for agents in numbers
        ]
        outline = zip(numbers, sides, strict=True)
        bands = (
            Band("95 % interval", tuple((n, least, most) for n, (least, most) in outline), name),
        )
    return Chart(
        title=f"growth of memory with agents, {name}",
        alt=f"{format_size(slope)} for each further agent, from {numbers[0]:g} to {numbers[-1]:g}",
        x_label="agents",
        unit="bytes",
        series=(
            Series("private memory", tuple(points), role=name),
            Series("fit", line, joined=True, role=name),
        ),
        bands=bands,
    )


def fitted_slope(variant: Variant) -> float:
    """Bytes per agent by the line through memory against agents, the mean over the repeats."""
    return statistics.fmean(
        robust_fit([(each.agents, each.private_bytes) for each in sample.points]).slope
        for sample in variant.samples
    )


def timeline_chart(name: Role, timeline: Timeline) -> Chart | None:
    """Resident memory of one worker over its life, with its phases."""
    if len({each.seconds for each in timeline.samples}) < 2:
        return None
    points = tuple((each.seconds, each.rss_bytes) for each in timeline.samples)
    peak = max(size for _, size in points)
    moments: list[Moment] = []
    for mark in timeline.marks:
        if not moments or moments[-1].label != mark.label:
            moments.append(Moment(mark.seconds, mark.label))
    return Chart(
        title=f"memory against time, {name}",
        alt=f"resident memory peaks at {format_size(peak)} in {points[-1][0]:.1f} s",
        x_label="time",
        x_unit="seconds",
        unit="bytes",
        series=(Series("resident memory (RSS)", points, joined=True, role=name),),
        moments=tuple(moments),
    )


def ledger_tree(name: Role, ledger: Ledger) -> Tree | None:
    """The ledger with private and shared apart, by component, and what is unexplained."""
    private: list[Node] = []
    shared: list[Node] = []
    for row in ledger.rows:
        note = f"{row.objects:,} arrays and objects; nominal {format_size(row.nominal_bytes)}"
        for nodes, size in ((private, row.private_bytes), (shared, row.shared_bytes)):
            if size:
                nodes.append(Node(row.component, float(size), note))
    parts = [_node("private", private, "one agent's alone"), _node("shared", shared, "several's")]
    if ledger.unexplained_bytes and ledger.unexplained_bytes > 0:
        parts.append(Node("unexplained", float(ledger.unexplained_bytes), "allocators, fragments"))
    parts = [each for each in parts if each.value]
    if not parts:
        return None
    alt = ", ".join(f"{each.name} {format_size(each.value)}" for each in parts)
    root = _node(f"{counted(ledger.agents, 'agent')}", parts, "")
    return Tree(f"ledger, {name}", alt, "bytes", "treemap", root)


def _node(name: str, children: Sequence[Node], note: str) -> Node:
    ordered = tuple(sorted(children, key=lambda child: -child.value))
    return Node(name, sum(child.value for child in ordered), note, ordered)


def hotspot_bars(variants: Sequence[Named]) -> Iterator[Bars]:
    """What each operation needs in passing, and what each line holds."""
    peaks = {
        name: {each.operation: each.peak_bytes for each in variant.hotspots.operations}
        for name, variant in variants
    }
    if any(size for found in peaks.values() for size in found.values()):
        yield _compared("transient peak of a call, by operation", peaks)
    held = {
        name: {
            PurePath(each.place).name: each.bytes
            for each in held_lines(variant.hotspots.lines)[: _MOST_BARS // 2]
        }
        for name, variant in variants
    }
    for name, lines in held.items():
        if lines:
            yield _compared(f"held by one further agent, by line, {name}", {name: lines})


def instrument_bars(variants: Sequence[Named]) -> Bars | None:
    """What each instrument says that an agent costs."""
    found = {
        name: {each.name: each.per_agent_bytes for each in variant.instruments}
        for name, variant in variants
    }
    if not any(size for sizes in found.values() for size in sizes.values()):
        return None
    return _compared("bytes per agent, by instrument", found)


def _compared(title: str, found: Mapping[Role, Mapping[str, float | None]]) -> Bars:
    """A bar for each variant and name, in the order of the first variant."""
    names = tuple(dict.fromkeys(name for sizes in found.values() for name in sizes))
    series = tuple(
        BarSeries(role, tuple(_drawable(sizes.get(name)) for name in names), role)
        for role, sizes in found.items()
    )
    first = next(iter(found.values()))
    known = [(name, size) for name, size in first.items() if size]
    largest = sorted(known, key=lambda each: -each[1])[:3]
    alt = ", ".join(f"{name} {format_size(size)}" for name, size in largest)
    return Bars.visible(title, alt, "bytes", names, series)


def _drawable(size: float | None) -> float | None:
    """A slope may be below zero by noise; a bar cannot."""
    return None if size is None else max(0.0, size)


def trend_chart(name: Role, variant: Variant) -> Chart | None:
    """The live heap after each further step, for each repeat, since its first reading."""
    series = tuple(
        Series(
            f"repeat {number}",
            tuple(
                (float(found.first_step + index * found.stride), (size - start) / found.agents)
                for index, size in enumerate(found.heap_bytes)
            ),
            joined=True,
        )
        for number, sample in enumerate(variant.samples, 1)
        if len((found := sample.trend).heap_bytes) > 1 and (start := found.heap_bytes[0]) >= 0
    )
    if not series:
        return None
    gained = variant.trend.bytes_per_step
    alt = "not judged" if gained is None else f"{format_size(gained, signed=True)} per step"
    return Chart(
        title=f"live heap per agent since step {variant.trend.first_step}, {name}",
        alt=f"{variant.trend.verdict or 'no verdict'}, {alt}",
        x_label="step",
        unit="change",
        series=series,
        least_span=100.0,
    )


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


def flame(name: str, stacks: Sequence[AllocationStack], lines: Sequence[LineHotspot]) -> Tree:
    """The flame graph of the variant `name`: operations on the agent, functions on them, call sites
    of the same function as one; `stacks` hold something each, and `lines` know source text."""
    root = _Branch()
    for stack in stacks:
        _add(root, stack)
    source = {(each.path, each.line): each.text for each in lines}
    tree = _flame_node(_ROOT, root, source)
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


def _flame_node(name: str, branch: _Branch, source: _Source) -> Node:
    order = sorted(branch.children.items(), key=lambda item: item[1].size, reverse=True)
    children = tuple(_flame_node(function, child, source) for (_, function), child in order)
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
