"""The models by name, with their parameters, readable without importing NumPy; and what the fields
of a scenario and of its model have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from memprof.catalogue import Catalogue
from memprof.errors import FieldError
from memprof.text import MOST_BYTES, cut, parse_size, shown

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, le=MOST_BYTES, json_schema_extra={"type": ["integer", "string"]}),
]
Count = Annotated[int, Field(ge=1, le=10**9)]
Counts = Count | Annotated[list[Count], Field(min_length=1, max_length=32)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
_MOST_NUMBER = 10**100
_MOST_DEPTH = 32


class Strict(BaseModel):
    """Fields that are known, and have the type that is asked for: nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def open_fields(field: str) -> AfterValidator:
    """For the fields of others in a scenario's `field`: they may be any that workers are sent and
    reports hold, which is what JSON has."""

    def check(values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            for path, problem in _foreign(value, f"{field}.{cut(name)}", _MOST_DEPTH):
                raise FieldError(path, problem)
        return values

    return AfterValidator(check)


def _foreign(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Where `value` holds what JSON cannot carry as it is, and why."""
    match value:
        case None | bool() | str():
            return
        case int() | float():
            if not -_MOST_NUMBER < value < _MOST_NUMBER:  # nor is NaN between the two
                yield path, f"expected a number below 1e100, found {shown(value)}"
        case _ if not depth:
            yield path, f"is nested more than {_MOST_DEPTH} levels deep"
        case list() | tuple():
            for position, each in enumerate(value):
                yield from _foreign(each, f"{path}.{position}", depth - 1)
        case dict():
            for name, each in value.items():
                if not isinstance(name, str):
                    yield path, f"expected field names as text, found {shown(name)}"
                yield from _foreign(each, f"{path}.{cut(str(name))}", depth - 1)
        case _:
            yield path, f"expected numbers, text, lists and mappings, found {shown(value)}"


_MOST_NUMBERS = 10**12


class Model(Strict):
    """The parameters of one kind of model, its `kind`; the builder gets all of them but `private`.

    Attributes:
        builder: `module:function` that makes the models; empty for the function of
            `memprof.models.built_in` that is named like the kind.
        backends: those whose agents are built of it; empty for all that take generative models.
    """

    builder: ClassVar[str] = ""
    backends: ClassVar[tuple[str, ...]] = ()

    private: bool = Field(
        default=True,
        description="every agent builds its own arrays; false gives all agents the same arrays",
    )
    kind: str

    @property
    def differs(self) -> bool:
        """Whether agents have different models, so that none can be handed to all."""
        return False


class GridWorld(Model):
    """Explorer on a size x size grid: one modality, one factor, five actions."""

    kind: Literal["grid_world"]
    size: int = Field(default=5, ge=2, le=200, description="cells per side")
    inductive: bool = Field(
        default=False,
        description="make the preferred cell a goal too (PyMDP's H), for inductive inference",
    )


class Maze(Model):
    """Explorer on a grid with walls; every agent draws its own, so no two have the same B."""

    kind: Literal["maze"]
    size: int = Field(default=5, ge=2, le=200, description="cells per side")
    walls: float = Field(default=0.2, ge=0, le=0.5, description="share of the cells that are walls")
    seed: Seed = Field(default=0, description="seed of the walls, together with the agent's index")

    @property
    def differs(self) -> bool:
        return True


class TMaze(Model):
    """PyMDP's T-maze: three modalities, two factors, a cue that tells where the reward is."""

    kind: Literal["t_maze"]
    reward_probability: float = Field(default=0.98, gt=0.5, le=1.0)


class RandomPomdp(Model):
    """Dense random A and B of given dimensions, the same for every agent or its own."""

    kind: Literal["random_pomdp"]
    num_obs: Counts
    num_states: Counts
    num_controls: Counts
    seed: Seed = 0
    concentration: float = Field(
        default=1.0,
        ge=0.05,
        description="concentration of the Dirichlet distribution of each column; lower is sharper",
    )
    per_agent: bool = Field(
        default=False, description="every agent draws its own model of the same world"
    )

    @property
    def differs(self) -> bool:
        return self.per_agent

    @model_validator(mode="after")
    def _addressable(self) -> RandomPomdp:
        """NumPy has no word for more than a process can address."""
        states = self.num_states if isinstance(self.num_states, list) else [self.num_states]
        observations = self.num_obs if isinstance(self.num_obs, list) else [self.num_obs]
        if max(math.prod(states) * max(observations), max(states) ** 2) > _MOST_NUMBERS:
            raise FieldError(
                "model", f"its A or B has more than {_MOST_NUMBERS:,} numbers; make it smaller"
            )
        return self


class Npz(Model):
    """Arrays A0 A1 .. B0 B1 .. C0 .. D0 .. from a NumPy .npz file; never unpickled."""

    kind: Literal["npz"]
    path: str = Field(description="relative to the scenario file")


class Factory(Model):
    """Your own function: returns an agent or its keyword arguments, or that and an environment."""

    kind: Literal["factory"]
    callable: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:function"
    )
    params: Annotated[dict[str, Any], open_fields("model.params")] = Field(default_factory=dict)
    file: str | None = Field(
        default=None,
        description="the module's file, if its name does not locate it; relative to the scenario "
        "file",
    )
    path: list[str] = Field(
        default_factory=list,
        description="folders to import from, relative to the scenario file; its own if omitted",
    )


def _kind(model: type[Model]) -> str:
    kind: str = get_args(model.model_fields["kind"].annotation)[0]
    return kind


_OURS = (GridWorld, Maze, TMaze, RandomPomdp, Npz, Factory)
MODELS: Catalogue[type[Model]] = Catalogue("models", "model", Model, _OURS, _kind)
