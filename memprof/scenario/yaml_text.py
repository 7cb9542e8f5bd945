"""YAML as scenarios need it: fields of plain values, each with its line, out of untrusted text.

YAML has more than that: dates, binary data, sets, keys of any type, aliases that multiply what they
stand for or contain themselves. All of it is refused, with its line, while the text is composed, so
that nothing is built of it.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from memprof.text import cut, one_line, shown

MOST_BYTES = 2**18
"""Of a scenario file; arrays belong into an .npz file."""
_MOST_VALUES = 10_000
_TOO_MANY = (
    f"more than {_MOST_VALUES:,} values, aliases included; put arrays into an .npz file, or "
    "compute them in a factory"
)
_MOST_DEPTH = 32
_MOST_KEY = _MOST_DIGITS = 200
_MOST_SAID = 200

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = tuple(_PREFIX + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))
_NUMBERS = (_PREFIX + "int", _PREFIX + "float")
_KEYS = (_PREFIX + "str", _PREFIX + "merge")


class YamlProblem(Exception):
    """What is wrong with the text, in a sentence, and with which field of it where that is known;
    `line` starts at 1, 0 where there is none."""

    def __init__(self, problem: str, line: int = 0, field: str = "") -> None:
        super().__init__(problem)
        self.line = line
        self.field = field


def read_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """What the text says, and the line of each field by its dotted path.

    Raises:
        YamlProblem: it is not valid, or holds what is not plain.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = {} if node is None else _lines(node)
        return None if node is None else loader.construct_document(node), lines
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"found the character {shown(chr(error.character))}"
        raise YamlProblem(f"not valid YAML: {found}", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = cut(one_line(error.problem or error.context or "damaged"), _MOST_SAID)
        line = mark.line + 1 if mark else 0
        where = "check indentation (spaces, no tabs), colons, quotes and brackets there"
        raise YamlProblem(f"not valid YAML: {problem}; {where}", line) from None


class _Loader(yaml.SafeLoader):
    """Composes within limits, whatever aliases stand for, and plain values only."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        # Values that a node stands for, and levels below it; of those that are composed whole.
        self._sizes: dict[Node, tuple[int, int]] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        self._values += 1
        if self._depth > _MOST_DEPTH:
            raise _refusal(f"nested more than {_MOST_DEPTH} deep", event)
        if self._values > _MOST_VALUES:
            raise _refusal(_TOO_MANY, event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        assert node is not None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _refusal(f"*{cut(event.anchor or '')} contains itself", event)
        else:
            _check_tag(node)
            self._sizes[node] = self._measured(node)
        return node

    def _measured(self, node: Node) -> tuple[int, int]:
        parts = [self._sizes[each] for each in _parts(node)]
        values = 1 + sum(size for size, _ in parts)
        depth = 1 + max((levels for _, levels in parts), default=0)
        if values > _MOST_VALUES:
            raise _refusal(_TOO_MANY, node)
        if depth > _MOST_DEPTH:
            raise _refusal(f"nested more than {_MOST_DEPTH} deep by aliases", node)
        return values, depth

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        numeral = node.tag in _NUMBERS and isinstance(node, ScalarNode)
        try:
            if numeral and len(node.value) > _MOST_DIGITS:
                raise ValueError("too long")
            return super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):
            kind = node.tag.removeprefix(_PREFIX)
            raise _refusal(f"expected {kind}, found {shown(node.value)}", node) from None


def _parts(node: Node) -> list[Node]:
    match node:
        case MappingNode():
            return [each for pair in node.value for each in pair]
        case SequenceNode():
            return list(node.value)
        case _:
            return []


def _check_tag(node: Node) -> None:
    """Only plain values, under keys that are text."""
    if node.tag == _PREFIX + "timestamp":
        raise _refusal(f"YAML reads {shown(node.value)} as a date; quote it", node)
    if node.tag not in (*_PLAIN, *_KEYS):
        tag = cut(one_line(node.tag.removeprefix(_PREFIX)))
        raise _refusal(f"expected text, numbers, lists and mappings, found {tag!r}", node)
    for key, _ in node.value if isinstance(node, MappingNode) else ():
        if not isinstance(key, ScalarNode) or key.tag not in _KEYS:
            found = shown(key.value) if isinstance(key, ScalarNode) else "a list or fields"
            raise _refusal(f"expected a field name as text, found {found}; quote it", key)
        if len(key.value) > _MOST_KEY:
            raise _refusal(f"field name longer than {_MOST_KEY} characters", key)


def _refusal(problem: str, place: Node | yaml.Event) -> YamlProblem:
    mark = place.start_mark
    return YamlProblem(problem, mark.line + 1 if mark else 0)


def _lines(root: Node) -> dict[str, int]:
    """The line of each field; those in lists are numbered."""
    lines: dict[str, int] = {}
    waiting = [(root, "")]
    while waiting:
        node, prefix = waiting.pop(0)
        for number, value in enumerate(node.value if isinstance(node, SequenceNode) else ()):
            name = f"{prefix}.{number}"
            lines[name] = value.start_mark.line + 1
            waiting.append((value, name))
        for key, value in node.value if isinstance(node, MappingNode) else ():
            name = f"{prefix}.{key.value}" if prefix else str(key.value)
            line = key.start_mark.line + 1
            if name in lines:
                problem = f"duplicate field, first in line {lines[name]}"
                raise YamlProblem(problem, line, cut(name))
            lines[name] = line
            waiting.append((value, name))
    return lines
