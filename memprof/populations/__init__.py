"""A population: N agents of one backend, with their environments and seeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from memprof.catalogue import load_target
from memprof.catalogue.backends import BACKENDS
from memprof.errors import FieldError, NoAccount, ScenarioError
from memprof.text import own_traceback, raised
from memprof.values.instruments import Account
from memprof.values.measurements import Rewards, WorkingSetUse
from memprof.values.population import PopulationSpec

T = TypeVar("T")


# Holders of things that are not one agent's alone: one for all, an equal part for each, or the
# program's own.
EVERYBODY, EACH, PROGRAM = -1, -3, -4
# Components that are told from all others.
AGENT, ENVIRONMENT, WORKING_SET = "other agent objects", "environment", "working set"
WORLD = "world"
PUT_BACK = "put back by resets"


_COMPANY = "memprof.populations.company:Company"
_SHARDED = "memprof.distributed.sharded:Sharded"


class Probe(Protocol):
    """Watches the operations of agents: an instrument's hook into a population."""

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        """Call `function`, which is one `operation`, and return what it returns."""
        ...


class Unwatched:
    """The probe of agents whose operations nobody watches."""

    def call(self, operation: str, function: Callable[..., T], *arguments: Any) -> T:
        """As of `Probe`."""
        return function(*arguments)


class Behaviour(NamedTuple):
    """What an agent believed and did in one step: the values that equivalence compares. What it
    perceived is known where its turn was taken alone. Of agents that live in other processes, all
    but the first have told no more than their action."""

    beliefs: Any
    policies: Any
    action: Any
    observation: Any = None


class Lived(NamedTuple):
    """One step of one agent."""

    agent: int
    step: int
    behaviour: Behaviour


@dataclass(slots=True)
class Aside:
    """Time within that of a population that is none of it: by the clock, in which it waited for a
    processor, and of the processor."""

    seconds: float = 0.0
    waited_seconds: float = 0.0
    cpu_seconds: float = 0.0


NOTHING_ASIDE = Aside()


class Population(Protocol):
    """Agents that are built and live step by step. A class of them may derive from this one: what
    it says nothing of is then as it is for most.

    Attributes:
        stride: steps that one call of `live` is best asked for; more than one where a backend runs
            many steps as one computation.
        rebuilds: it has to be built anew to have more agents.
        compiles: the first step of as many agents as there have not been compiles.
        group: their number has to be a multiple of this.
        period: at multiples of this, kinds have their proportions exactly.
        born: agents that came into a world while those lived that were asked for, until now.
        aside: time that went to agents of other kinds until now.
    """

    stride: int = 1
    rebuilds: bool = False
    compiles: bool = False
    group: int = 1
    period: int = 1
    aside: Aside = NOTHING_ASIDE
    born: int = 0

    def __init__(self, spec: PopulationSpec, probe: Probe) -> None: ...

    def __len__(self) -> int:
        """How many agents there are, without those that left."""
        ...

    def grow(self, agents: int) -> range:
        """Let there be `agents` agents, with their environments, passes applied. Returns those that
        are new: all of them where a population has to be built anew to have more. No number is
        given twice but by building anew."""
        ...

    def leave(self, agents: range) -> None:
        """Let agents go for good, with their environments: nothing of them stays but a pointer.

        Raises:
            IndexError: one is not there, or no longer.
            UsageError: agents of this backend cannot leave.
        """
        ...

    def live(self, agents: range, steps: range) -> Iterator[Lived]:
        """Let agents perceive, plan and act, `steps` times; the work is done as they are asked for.

        `steps` begins where the agents' last one ended. Every agent's steps come in their order;
        within a step, agents come in the order that suits the population, each once."""
        ...

    def live_apart(
        self, stretches: Iterable[range], step: int, *, tell: bool = True
    ) -> Iterator[Lived]:
        """One step of agents that are not all in a row. Where nobody wants them to `tell` what they
        believed, some tell no more than what they did."""
        for agents in stretches:
            yield from self.live(agents, range(step, step + 1))

    def lived(self, agents: range, steps: range) -> int:
        """As `live`, of which nothing is wanted but that it is done: how many turns it took."""
        return sum(1 for _ in self.live(agents, steps))

    def holdings(self) -> Iterator[tuple[int, str, Any]]:
        """Everything the population holds, as (agent, component, object); for the agent
        also `EVERYBODY`, or `EACH` of a thing that belongs to all in equal parts."""
        ...

    @property
    def file_bytes(self) -> int:
        """What the population takes in files on disk, under passes that keep it there."""
        return 0

    @property
    def kept_whole(self) -> tuple[str, ...]:
        """Attributes that a pass could not encode exactly, with their types."""
        return ()

    def working_set(self) -> WorkingSetUse | None:
        """What the pass `working_set` did until now; None without it."""
        return None

    def rewards(self) -> Rewards | None:
        """What the agents' worlds gave them until now; None where they give nothing."""
        return None

    def facts(self) -> dict[str, str]:
        """What a reader of the figures must know of the backend: its device and settings."""
        return {"device": "cpu"}

    def account(self, agents: int, chunk: int | None = None) -> Account:
        """What so many agents like those that are there would take, without any of them, in chunks
        of so many. Those that are there have to have stepped.

        Raises:
            NoAccount: nothing tells before they run.
        """
        raise NoAccount("these agents live by no compiled program; grow them without --predict")

    def keep_programs(self) -> bool:
        """From now on, what is compiled for a number of agents is there when that number comes
        again; False where every call compiles anew, or none does."""
        return False

    def drop_caches(self) -> bool:
        """Let go of what the backend itself remembers, such as compiled programs; False if there is
        no such thing. It comes back with the next step."""
        return False

    def close(self) -> None:
        """Let go of all agents."""
        ...


def population_class(spec: PopulationSpec) -> type[Population]:
    """The class of such a population; imports its backend."""
    cls = lone_class(spec)
    return load_target(_COMPANY) if spec.kinds or spec.world else cls


def lone_class(spec: PopulationSpec) -> type[Any]:
    """The same of agents of one kind, as if each lived alone: of the backend, or where an engine
    spreads them over processes, the one that does."""
    cls: type[Any] = load_target(_SHARDED if spec.engine else BACKENDS[spec.backend].population)
    return cls


def model_field(spec: PopulationSpec) -> str:
    """The scenario's field that a mistake in the model's arrays belongs to."""
    return {"npz": "model.path", "factory": "model.callable"}.get(spec.model["kind"], "model")


def refused(spec: PopulationSpec, error: Exception, what: str) -> ScenarioError:
    """PyMDP's own word on agents that it cannot build or step, with its traceback."""
    return ScenarioError(
        "agent" if spec.agent else model_field(spec),
        f"PyMDP's Agent {what}: {raised(error)}; check its keywords and the shapes of its arrays",
        detail=own_traceback(error),
    )


def check_together(
    check: Callable[[Mapping[str, Any], PopulationSpec], None],
    keywords: Mapping[str, Any],
    spec: PopulationSpec,
    agent: int,
) -> None:
    """The rules for several keywords of one agent at once, where its model has a say.

    Raises:
        ScenarioError: at the model, or at another field that has its part in it.
    """
    try:
        check(keywords, spec)
    except FieldError as error:
        keyword = error.field.removeprefix("agent.")
        if keyword == error.field:
            raise ScenarioError(error.field, str(error)) from None
        problem = f"{keyword} of agent {agent}: {error}"
        raise ScenarioError(model_field(spec), problem) from None


def begin_random(seed: int) -> None:
    """From here on, what the user's own code draws from `np.random` and `random` is the same in
    every run."""
    np.random.seed(seed)
    random.seed(seed)


def step_seed(seed: int, agent: int, step: int) -> int:
    """32-bit seed of one agent's step (step -1: its construction), the same in every run."""
    return hash((seed, agent, step + 1)) & 0xFFFFFFFF
