"""The schema of a scenario file, and what its fields must have to do with each other."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from memprof.errors import UsageError, nearest
from memprof.instruments.catalogue import OPTIONAL
from memprof.passes.catalogue import AUTO, PASSES, passes_for
from memprof.units import parse_size

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0, json_schema_extra={"type": ["integer", "string"]}),
]
Count = Annotated[int, Field(ge=1)]
Counts = Count | Annotated[list[Count], Field(min_length=1)]
Passes = Annotated[
    list[str],
    BeforeValidator(lambda passes: {AUTO: [AUTO], "none": []}.get(str(passes), passes)),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": AUTO},
                {"const": "none"},
                {"type": "array", "items": {"type": "string"}},
            ]
        },
    ),
]

# The generative model is the scenario's `model`, so these cannot come from `agent:`.
_MODEL_KEYWORDS = {"self", "A", "B", "C", "D", "E", "H", "pA", "pB", "pD", "policies"}


# Attributes in which PyMDP leaves the results of a step.
Result = Literal[
    "qs", "action", "q_pi", "G", "F", "prev_actions", "prev_obs", "qs_hist", "q_pi_hist"
]


_STORING = ("template", "mmap")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Model(_Strict):
    private: bool = Field(
        default=True,
        description="every agent builds its own arrays; false hands all agents the same arrays",
    )


class GridWorld(_Model):
    """Explorer on a size x size grid: one modality, one factor, five actions."""

    kind: Literal["grid_world"]
    size: int = Field(default=5, ge=2, le=200, description="cells per side")
    inductive: bool = Field(
        default=False,
        description="the preferred cell is a goal too, PyMDP's H: inductive inference",
    )


class Maze(_Model):
    """Explorer on a grid with walls; every agent draws its own, so no two have the same B."""

    kind: Literal["maze"]
    size: int = Field(default=5, ge=2, le=200, description="cells per side")
    walls: float = Field(default=0.2, ge=0, le=0.5, description="share of the cells that are walls")
    seed: int = Field(default=0, ge=0, description="with the agent's index, decides on the walls")


class TMaze(_Model):
    """PyMDP's T-maze: three modalities, two factors, a cue that tells where the reward is."""

    kind: Literal["t_maze"]
    reward_probability: float = Field(default=0.98, gt=0.5, le=1.0)


class RandomPomdp(_Model):
    """Dense random A and B of given dimensions, the same for every agent or its own."""

    kind: Literal["random_pomdp"]
    num_obs: Counts
    num_states: Counts
    num_controls: Counts
    seed: int = Field(default=0, ge=0)
    concentration: float = Field(
        default=1.0,
        ge=0.05,
        description="of the Dirichlet distribution that each column is drawn from; less is sharper",
    )
    per_agent: bool = Field(
        default=False, description="every agent draws a model of its own, of one world"
    )


class Npz(_Model):
    """Arrays A0 A1 .. B0 B1 .. C0 .. D0 .. from a NumPy .npz file; never unpickled."""

    kind: Literal["npz"]
    path: str = Field(description="relative to the scenario file")


class Factory(_Model):
    """Your own function: returns the agent's keyword arguments, or those and an environment."""

    kind: Literal["factory"]
    callable: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:function"
    )
    params: dict[str, Any] = Field(default_factory=dict)


class Buffer(_Model):
    """Calibration: agents of exactly known size, for `backend: fake`."""

    kind: Literal["buffer"]
    size: Size = Field(default=2**20, description="bytes that each agent holds")
    growth: int = Field(default=0, ge=0, description="bytes that each agent gains per step")
    delay: float = Field(default=0.0, ge=0, le=60, description="seconds that each step takes")
    fault: Literal["none", "die", "hang", "raise", "exhaust", "print"] = Field(
        default="none", description="what goes wrong while the population is built"
    )


AnyModel = Annotated[
    GridWorld | Maze | TMaze | RandomPomdp | Npz | Factory | Buffer, Field(discriminator="kind")
]
MODELS: dict[str, type[_Model]] = {
    cls.model_fields["kind"].annotation.__args__[0]: cls  # type: ignore[union-attr]
    for cls in (GridWorld, Maze, TMaze, RandomPomdp, Npz, Factory, Buffer)
}


class Budget(_Strict):
    per_agent: Size = Field(description="largest marginal cost of an agent, after the passes")


class Scenario(_Strict):
    """One population to measure, before and after the passes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="letters, digits, dots, dashes and underscores: it names the report's files",
    )
    description: str = ""
    backend: Literal["numpy", "jax", "fake"] = "numpy"
    model: AnyModel
    agents: int = Field(default=20, ge=1, le=10**7)
    steps: int = Field(default=20, ge=1, le=10**6)
    seed: int = Field(default=0, ge=0, lt=2**32)
    agent: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the PyMDP agent"
    )
    learning: list[Literal["A", "B", "D"]] = Field(default_factory=list)
    passes: Passes = Field(
        default_factory=lambda: ["share"],
        description="names in the order of application; auto measures which of them help",
    )
    max_slowdown: float = Field(
        default=1.1,
        ge=1,
        allow_inf_nan=False,
        description="largest time per step, against before, that passes chosen by auto may cost",
    )
    keep: list[Result] | None = Field(
        default=None,
        description="results of inference that a record keeps; all of them if not given. What the "
        "next step reads is kept in any case",
    )
    loop: Literal["jit", "eager", "rollout"] | None = Field(
        default=None,
        description="how JAX agents are run: one compiled step, PyMDP's calls one by one as in its "
        "README, or PyMDP's rollout; jit if not given",
    )
    chunk: Count | None = Field(
        default=None,
        description="JAX agents that step together under the pass template; if not given, as many "
        "as are no burden, up to 1024",
    )
    instruments: list[str] = Field(
        default_factory=lambda: ["tracemalloc", "memory_profiler", "pympler"]
    )
    repeats: int = Field(default=3, ge=1, le=1000)
    budget: Budget | None = None

    @property
    def auto(self) -> bool:
        """Whether memprof is to choose the passes."""
        return self.passes == [AUTO]

    @field_validator("instruments")
    @classmethod
    def _instruments_exist(cls, names: list[str]) -> list[str]:
        return _known(names, OPTIONAL, "instruments", "instrument")

    @field_validator("learning")
    @classmethod
    def _learning_once(cls, names: list[str]) -> list[str]:
        return _known(names, ("A", "B", "D"), "learning", "parameter")

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        if not self.auto:
            _check_passes(self.passes, self.backend)
        if self.keep is not None and self.passes and not {*self.passes} & {*_STORING, AUTO}:
            raise FieldError(
                "keep", "takes effect under the passes template and mmap only; add one to passes"
            )
        if (self.backend == "fake") != (self.model.kind == "buffer"):
            raise FieldError("model.kind", "backend fake and model buffer go together only")
        if not self.model.private and _differs_by_agent(self.model):
            raise FieldError(
                "model.private", "false contradicts a model that is each agent's own; leave it out"
            )
        if self.backend == "numpy":
            _check_agent_keywords(self.agent)
            _check_agent_values(self.agent)
            if self.agent.get("inference_algo") == "MMP":
                _check_mmp(self.agent, self.learning)
        return self


def _differs_by_agent(model: AnyModel) -> bool:
    return isinstance(model, Maze) or (isinstance(model, RandomPomdp) and model.per_agent)


class FieldError(ValueError):
    """A mistake found across fields, to be reported at `field`."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


def _known(names: list[str], known: tuple[str, ...], field: str, what: str) -> list[str]:
    for position, name in enumerate(names):
        problem = ""
        if name not in known:
            problem = f"{name!r} is no {what}; {nearest(name, known)}"
        elif name in names[:position]:
            problem = f"{name!r} is there twice; leave one out"
        if problem:
            raise FieldError(field, problem)
    return names


def _check_passes(names: list[str], backend: str) -> None:
    if AUTO in names:
        raise FieldError(
            "passes", "auto chooses the passes itself; leave out the others, or leave out auto"
        )
    _known(names, passes_for(backend), "passes", f"{backend} pass")
    for position, name in enumerate(names):
        for needed in PASSES[name].requires:
            if needed not in names[:position]:
                raise FieldError("passes", f"{name!r} needs {needed!r} before it in the list")


def _check_agent_keywords(keywords: Mapping[str, Any]) -> None:
    known = pymdp_agent_keywords()
    for name in keywords:
        if name in _MODEL_KEYWORDS:
            raise FieldError(
                f"agent.{name}", "belongs to the model; use model: {kind: npz} or {kind: factory}"
            )
        if known and name not in known:
            raise FieldError(
                f"agent.{name}", f"is no keyword of the PyMDP agent; {nearest(name, known)}"
            )


_CHOICES = {
    "action_selection": ("deterministic", "stochastic"),
    "sampling_mode": ("marginal", "full"),
    "inference_algo": ("VANILLA", "MMP"),
}
_COUNTS = ("policy_len", "inference_horizon", "si_horizon")
_POSITIVE = ("gamma", "alpha")


def _check_agent_values(keywords: Mapping[str, Any]) -> None:
    """Values that PyMDP takes without a word, or fails with somewhere else."""
    for name, value in keywords.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _CHOICES and value not in _CHOICES[name]:
            expected = " or ".join(map(repr, _CHOICES[name]))
        elif name in _COUNTS and not (number and isinstance(value, int) and value >= 1):
            expected = "a whole number, 1 or more"
        elif name in _POSITIVE and not (number and 0 < value < float("inf")):
            expected = "a number above 0"
        else:
            continue
        raise FieldError(f"agent.{name}", f"expected {expected}, found {value!r}")


def _check_mmp(keywords: Mapping[str, Any], learning: Sequence[str]) -> None:
    """Two combinations that PyMDP's agent accepts and then fails with."""
    if {"A", "B"} & set(learning):
        raise FieldError(
            "learning",
            "PyMDP's update_A and update_B take VANILLA beliefs only; found MMP. Leave A and B "
            "out of learning, or use inference_algo: VANILLA",
        )
    averages = keywords.get("use_BMA", True) and not keywords.get("policy_sep_prior", False)
    long = keywords.get("inference_horizon", 1) > 1
    if averages and long and keywords.get("save_belief_hist", False):
        raise FieldError(
            "agent.save_belief_hist",
            "PyMDP cuts q_pi_hist to the inference horizon and then reads beyond its end when "
            "use_BMA is on; set use_BMA: false and policy_sep_prior: true, or inference_horizon: 1",
        )


def pymdp_agent_keywords() -> frozenset[str]:
    """Keywords of `pymdp.legacy.agent.Agent`, read from its source without importing PyMDP."""
    package = importlib.util.find_spec("pymdp")
    source = Path(package.origin or "").parent / "legacy" / "agent.py" if package else None
    if source is None or not source.is_file():
        raise UsageError(
            "PyMDP's NumPy agents are not installed: pip install 'inferactively-pymdp>=1.0.4' "
            "(the package called pymdp is something else)"
        )
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return frozenset(argument.arg for argument in node.args.args) - _MODEL_KEYWORDS
    return frozenset()
