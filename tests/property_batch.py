"""`python -m tests.property_batch [--count N] [--seed N]`: random agents take their turns together.

Hypothesis draws agents as `tests.property_agents` has them, and a life in which some of them act
at a time, are looked at, and leave; plain agents live it one by one. They do the same, believe the
same within `BOUND`, and every other attribute has the same bits.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import memprof
from memprof.optimise.sums import BOUND
from memprof.populations.turn import take_turn
from tests.property_agents import IMPOSSIBLE, Life, Model, lives

AGENTS = 20
_DECIDED = ("qs", "q_pi", "G")


def difference(life: Life, chance: int, seen: Counter[str]) -> str | None:
    """In what agents that act together differ from plain ones; None if in nothing."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # PyMDP's MMP prints
        np.errstate(all="ignore"),
        tempfile.TemporaryDirectory(prefix="memprof-life-") as name,
    ):
        warnings.simplefilter("ignore")
        if chance % 5:  # those that can act together
            plainly = {"inference_algo": "VANILLA", "inference_horizon": 1, "sophisticated": False}
            plainly |= {"save_belief_hist": False, "use_param_info_gain": False}
            arguments = tuple((name, plainly.get(name, value)) for name, value in life.arguments)
            layouts = life.layouts if chance % 3 else ("plain", "fortran", "gaps", "plain")
            life = replace(life, arguments=arguments, layouts=layouts)
        model = Model(replace(life, distributions=False), Path(name))
        try:
            plain, mine = ([_agent(model, i, life) for i in range(AGENTS)] for _ in range(2))
        except Exception:
            return IMPOSSIBLE
        passes = ["history", "pool", "batch"] if chance % 2 else ["batch"]
        with memprof.optimize(mine, passes) as population:
            found = _lived(life, plain, population, np.random.default_rng(chance))
            seen.update(alone(population))
            seen["together"] += population._plan.storage.company.together
            return found


def alone(population: Any) -> dict[str, int]:
    """How many turns PyMDP took one by one since this was last asked, by why."""
    company = population._plan.storage.company
    found = dict(company.alone)
    company.alone.clear()
    return found


def _agent(model: Model, index: int, life: Life) -> Any:
    """Of two models if they are `apart`."""
    return model.agent(index % 2 if life.apart else 0)


def _lived(life: Life, plain: list[Any], population: Any, chance: Any) -> str | None:
    there = [*range(AGENTS)]
    for number in range(life.steps):
        who = [*there]
        if number % 2:
            who = chance.permutation(there)[: chance.integers(1, len(there) + 1)].tolist()
        seen = [[int(chance.integers(size)) for size in life.observations] for _ in who]
        np.random.seed(number)
        theirs: Any = []
        try:
            for index, each in zip(who, seen, strict=True):
                turn = take_turn(plain[index], each, first=plain[index].action is None)
                theirs.append(turn.action)
        except Exception as error:
            theirs = type(error)
        after = np.random.random()
        np.random.seed(number)
        try:
            ours: Any = population.act(seen, who)
        except Exception as error:
            if theirs is type(error):
                return None
            return f"step {number}: {traceback.format_exc()}, plain {theirs}"
        if isinstance(theirs, type):
            return f"step {number}: plain agents raise {theirs}, ours do not"
        if not np.array_equal(np.array(theirs), ours):
            return f"step {number}: actions {ours} of {who}, plain {theirs}"
        if after != np.random.random():
            return f"step {number}: drew other numbers"
        for index in chance.choice(there, 3).tolist():
            with population.activate(index) as agent:
                if (why := unlike(vars(plain[index]), vars(agent))) is not None:
                    return f"step {number}, agent {index}: {why}"
        if number == 1:
            population.remove(there.pop(int(chance.integers(len(there)))))
    return None


def unlike(plain: dict[str, Any], ours: dict[str, Any], bound: float = BOUND) -> str | None:
    if [*plain] != [*ours]:
        return f"attributes {[*ours]}, plain {[*plain]}"
    for name, value in plain.items():
        most = bound if name in _DECIDED else 0
        if name == "G":
            most *= 1 + np.abs(value).max()
        if name == "q_pi":
            most *= 100
        if not _alike(value, ours[name], most):
            return f"{name} is {ours[name]!r}, plain {value!r}"
    last = plain.get("prev_actions")
    if last and (last[-1] is plain["action"]) is not (ours["prev_actions"][-1] is ours["action"]):
        return "another last action"
    return None


def _alike(plain: Any, ours: Any, bound: float) -> bool:
    if isinstance(plain, np.ndarray) and plain.dtype != object:
        same = isinstance(ours, np.ndarray) and plain.dtype == ours.dtype
        if not same or plain.shape != ours.shape:
            return False
        if not bound:
            return plain.tobytes() == ours.tobytes()
        return bool(np.allclose(plain, ours, rtol=0, atol=bound, equal_nan=True))
    if isinstance(plain, (list, tuple, np.ndarray)):
        return len(plain) == len(ours) and all(
            _alike(*pair, bound) for pair in zip(plain, ours, strict=True)
        )
    if isinstance(plain, dict):
        return [*plain] == [*ours] and all(_alike(v, ours[k], bound) for k, v in plain.items())
    return plain is ours or bool(plain == ours) or (plain != plain and ours != ours)  # noqa: PLR0124


@dataclass
class Looked:
    """What was seen of random populations.

    Attributes:
        alone: turns that PyMDP took one by one, by why; and those taken together.
    """

    populations: int = 0
    differ: int = 0
    alone: Counter[str] = field(default_factory=Counter)


def look_at(count: int, seed: int) -> Looked:
    """So many random populations."""
    looked = Looked()

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(lives(), st.integers(0, 2**16))
    def look(life: Life, chance: int) -> None:
        found = difference(life, chance, looked.alone)
        assume(found != IMPOSSIBLE)
        looked.populations += 1
        if found is not None:
            looked.differ += 1
            print(f"{found}\n  {life} {chance=}\n", file=sys.stderr, flush=True)

    look()
    return looked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    looked = look_at(wanted.count, wanted.seed)
    for why, turns in looked.alone.most_common():
        print(f"{turns:6} turns: {why}")
    print(f"{looked.differ} of {looked.populations} random populations differ")
    return 1 if looked.differ else 0


if __name__ == "__main__":
    sys.exit(main())
