"""Scenarios mutated as values, as YAML and as bytes, and what is no file of text at all.

Each goes through every command that reads a scenario, up to the point where its first worker would
start. What comes that far can be sent to a worker and held by a report.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import yaml

from memprof.cli.init import template
from memprof.export.json_text import finite
from memprof.scenario import load_scenario
from memprof.values.requests import Measure, decode_request, encode
from tests.conftest import ROOT
from tests.hostile.trees import damaged, mutated, paths
from tests.hostile.trial import Ended, Input, command, problem_of

COMMANDS = ("profile", "density", "leak", "gate")
# What YAML can say that JSON cannot, or that multiplies, in the place of a value.
FRAGMENTS = (
    "2001-13-45", "2001-12-14", "2001-12-14t21:59:43.10-99:00", "!!timestamp x", "!!int x",
    '!!int ""',
    "!!int [1]", "!!float x", "!!float {a: 1}", "!!bool maybe", "!!null x", "!!binary zz=",
    "!!binary [1]", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!str [a]", "!!map [a]",
    "!!seq a", "!!map a", "!!python/name:os.system", "!!python/object/apply:os.system [ls]", "!x y",
    "!<tag:a> b", "!!" + "t" * 3000, "0o17", "017", "0b101", "0x" + "f" * 300, "1:30", "-1:59:59",
    "1:" * 100 + "1", "1:" * 5000 + "1", "9" * 400, "9" * 5000, "1e400", "1.0e+400", ".nan", ".inf",
    "-.inf", "1_000", "~", "yes", "&z [*z]", "&z {a: *z}", "&z [1, *z, [*z]]", "*nowhere",
    "[" * 100 + "]" * 100, "{a: " * 40 + "1" + "}" * 40, "[" * 3000, "? [a, b] : c", "{[a]: b}",
    "{1: 2}", "{? {a: 1} : 2}", "{<<: {a: 1}, b: 2}", "{<<: [1]}", "{<<: a}", "{=: 1}",
    "{a: 1, a: 2}",
    "{null: 1}", "{true: 1}", "{2001-12-14: 1}", "{" + "k" * 3000 + ": 1}", "'" + "q" * 5000 + "'",
    r'"\e[2J\x00\u202e\ud800"', r'"\n::error::HOSTILE\n"', '"\\', "|\n  a\n ::error::b", "@", "`",
    "%",
    "[1, " + "2, " * 30_000 + "3]", "[" + "[], " * 9_000 + "]",
)  # fmt: skip
_CODINGS = ("utf-16", "utf-32", "utf-16-be", "utf-8-sig", "latin-1", "utf-7")
_BOMB = "".join(
    f"{name}{level}: &{name}{level} {shape.format(f'*{name}{level - 1}')}\n"
    for name, shape in (("l", "[{0}, {0}]"), ("m", "{{a: {0}, b: {0}}}"))
    for level in range(1, 31)
)
TOP = {
    "lists": "l0: &l0 [a, b]\nm0: &m0 {a: 1}\n" + _BOMB,
    "merges": "m0: &m0 {a: 1}\n"
    + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 31)),
    "chain": "c0: &c0 [a]\n" + "".join(f"c{i}: &c{i} [*c{i - 1}]\n" for i in range(1, 2000)),
    "documents": "---\na: 1\n---\nb: 2\n",
    "directive": "%YAML 9.9\n---\na: 1\n",
    "tags": "%TAG ! tag:x,2000:\n---\n!y z\n",
}


def bases() -> list[dict[str, Any]]:
    """Scenarios that are right: the shipped ones, and one with every field."""
    files = sorted((ROOT / "scenarios").glob("*.yaml"))
    texts = [template("starter.yaml"), *(each.read_text() for each in files)]
    whole = {
        "name": "whole", "description": "all of it", "backend": "numpy", "agents": 3, "steps": 2,
        "model": {"kind": "random_pomdp", "num_obs": [3, 2], "num_states": [2, 4],
                  "num_controls": [2, 1], "seed": 1, "concentration": 0.5, "per_agent": True},
        "seed": 1, "agent": {"policy_len": 2, "gamma": 8.0, "inference_algo": "VANILLA"},
        "learning": ["A", "B"], "passes": ["share", "history", "template", "working_set"],
        "max_slowdown": 1.5, "keep": ["qs"], "history_steps": 3, "working_set": "1 MB",
        "instruments": ["pympler", "tracemalloc"], "repeats": 1, "budget": {"per_agent": "64 KB"},
        "tolerances": {"marginal_bytes": "5% or 2MB", "step_ratio": "10%"},
    }  # fmt: skip
    factory = {
        "name": "made", "agents": 2,
        "model": {"kind": "factory", "callable": "a.b:c", "file": "made.py", "path": [".", "lib"],
                  "params": {"table": [[1, 2.5], [None, True]], "more": {"x": {"y": "z"}}}},
    }  # fmt: skip
    buffer = {
        "name": "fake", "backend": "fake", "instruments": [], "agents": 2, "passes": "none",
        "model": {"kind": "buffer", "size": "1 MB", "growth": 5, "delay": 0.5, "fault": "none"},
    }  # fmt: skip
    npz = {"name": "npz", "model": {"kind": "npz", "path": "model.npz", "private": False}}
    return [whole, factory, buffer, npz, *map(yaml.safe_load, texts)]


def texts(random: Random) -> Iterator[tuple[str, bytes]]:
    """Without end: what a scenario file may hold."""
    known = bases()
    while True:
        base = random.choice(known)
        kind = random.choice((*["value"] * 3, "yaml", "yaml", "top", "bytes", "encoding"))
        if kind == "value":
            name, tree = mutated(base, random, random.choice((1, 1, 1, 2, 4)))
            yield name, _dumped(tree)
        elif kind == "yaml":
            yield _with_fragment(base, random)
        elif kind == "top":
            name = random.choice(list(TOP))
            parts = [TOP[name], _dumped(base).decode()]
            random.shuffle(parts)
            yield f"top {name}", "".join(parts).encode()
        elif kind == "bytes":
            yield damaged(_dumped(base), random)
        else:
            coding = random.choice(
                ("utf-16", "utf-32", "utf-16-be", "utf-8-sig", "latin-1", "utf-7")
            )
            yield coding, ("# é\n" + _dumped(base).decode()).encode(coding)


def _dumped(tree: Any) -> bytes:
    try:
        return yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "surrogatepass")
    except (ValueError, yaml.YAMLError):
        return json.dumps(tree).encode()  # what YAML cannot write


def _with_fragment(base: dict[str, Any], random: Random) -> tuple[str, bytes]:
    """A scenario with something that only YAML can say in the place of one of its values."""
    tree = json.loads(json.dumps(base))
    path = random.choice([each for each in paths(tree) if each])
    holder = tree
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = "FRAGMENT"
    fragment = random.choice(FRAGMENTS)
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=random.random() < 0.3)
    name = f"{fragment[:30]} as {'.'.join(map(str, path))}"
    return name, text.replace("FRAGMENT", fragment).encode("utf-8", "surrogatepass")


def special_files(folder: Path) -> Iterator[Path]:
    """What can stand under a file's name."""
    fifo, loop, large, name = (folder / each for each in ("fifo", "loop", "large.yaml", "socket"))
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    with large.open("wb") as file:
        file.truncate(100 * 10**6)
    socket.socket(socket.AF_UNIX).bind(str(name))
    (folder / "lost").symlink_to(folder / "nowhere")
    (folder / "empty").touch()
    yield from (fifo, loop, large, name, folder, folder / "lost", folder / "empty")
    yield from map(Path, ("/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem", "x" * 5000))
    yield folder / "empty" / "inside"


def tried(text: bytes | Path, folder: Path, which: str) -> str:
    """How a command ends with such a scenario."""
    file = text if isinstance(text, Path) else folder / "case.yaml"
    if isinstance(text, bytes):
        file.write_bytes(text)
    found = command(which, str(file), "--out", str(folder / "out"), "--quiet")
    problem = problem_of(found, ("worker", 2, 3))
    if not problem and found.code == 3 and which != "gate":
        problem = f"exit code 3: {found.err[:200]}"
    if not problem and isinstance(text, bytes) and found.code in ("worker", 3):
        problem = _unfit_to_be_sent(file)
    return f"wrong: {problem}" if problem else _end(found)


def _end(found: Ended) -> str:
    known: dict[int | str, str] = {2: "refused", 3: "no baseline"}
    return known.get(found.code, "would measure")


def _unfit_to_be_sent(file: Path) -> str:
    """A scenario that is taken reaches a worker as it is, and a report that is read again."""
    loaded = load_scenario(file)
    request = Measure(loaded.spec(()))
    if decode_request(encode(request)) != request:
        return "is another one to a worker"
    values = loaded.scenario.model_dump(mode="json")
    text = json.dumps(values, allow_nan=False)
    if json.loads(text, parse_int=finite, parse_float=finite) != values:
        return "is another one in a report"
    return ""


def inputs(count: int, seed: int, folder: Path) -> Iterator[Input]:
    """So many scenarios, a quarter of them at most no file of text, for each command in turn."""
    random = Random(seed)
    special = [(str(path)[:60], path) for path in special_files(folder) for _ in COMMANDS]
    random.shuffle(special)
    few = special[: count // 4]
    for number, (name, text) in enumerate(chain(few, islice(texts(random), count - len(few)))):
        which = COMMANDS[number % len(COMMANDS)]
        yield f"{which}: {name}", partial(tried, text, folder, which)
