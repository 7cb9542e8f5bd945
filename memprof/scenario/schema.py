"""The schema of a scenario file, and what its fields must have to do with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from memprof.catalogue.instruments import OPTIONAL, default_instruments
from memprof.catalogue.models import AnyModel, Count, Size, Strict, open_fields
from memprof.catalogue.passes import AUTO, PASSES
from memprof.errors import FieldError, nearest, unknown
from memprof.text import cut, shown
from memprof.upstream.keywords import check_agent, history_problem
from memprof.values.gate import Tolerance, parse_tolerance, read_tolerances
from memprof.values.population import EFFORTS, Effort, EffortName

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

Instruments = Annotated[
    list[str],
    BeforeValidator(lambda names: [] if names == "none" else names),
    WithJsonSchema(
        {"anyOf": [{"const": "none"}, {"type": "array", "items": {"type": "string"}}]},
    ),
]

# Attributes in which PyMDP leaves the results of a step.
Result = Literal[
    "qs", "action", "q_pi", "G", "F", "prev_actions", "prev_obs", "qs_hist", "q_pi_hist"
]


def _effort(fields: Mapping[str, Any]) -> Effort:
    return EFFORTS[fields.get("effort", "normal")]


def _own_instruments(fields: dict[str, Any]) -> list[str]:
    """Those of a scenario that names none."""
    return default_instruments(fields.get("backend", "")) if _effort(fields).instruments else []


def _own_repeats(fields: dict[str, Any]) -> int:
    return _effort(fields).repeats


class Budget(Strict):
    per_agent: Size = Field(description="largest marginal cost of an agent, after the passes")


class Scenario(Strict):
    """One population to measure, before and after the passes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="letters, digits, dots, dashes and underscores: it names the report's files",
    )
    description: str = ""
    backend: Literal["numpy", "jax", "fake"] = "numpy"
    model: AnyModel
    effort: EffortName = Field(
        default="normal",
        description="how long to measure: quick gives a first answer from one worker, with no "
        "instruments unless asked for; thorough is for a paper",
    )
    agents: int = Field(default=20, ge=1, le=10**7)
    steps: int = Field(default=20, ge=1, le=10**6)
    seed: int = Field(default=0, ge=0, lt=2**32)
    agent: Annotated[dict[str, Any], open_fields("agent")] = Field(
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
        description="largest time per step, relative to before, that auto may accept",
    )
    keep: list[Result] | None = Field(
        default=None,
        description="results of inference that a record keeps; all of them if not given. What the "
        "next step reads is kept in any case",
    )
    history_steps: Count | None = Field(
        default=None,
        description="steps of the past that agents keep under the pass history, so that a long "
        "life takes no more memory than a short one; all of them if not given",
    )
    working_set: Size | None = Field(
        default=None,
        description="what agents that stay active under the pass working_set may take together; "
        "64 MiB if not given",
    )
    loop: Literal["jit", "eager", "rollout"] | None = Field(
        default_factory=lambda fields: "jit" if fields.get("backend") == "jax" else None,
        description="how JAX agents are run: one compiled step, PyMDP's calls one by one as in its "
        "README, or PyMDP's rollout; jit if not given",
    )
    chunk: Count | None = Field(
        default=None,
        description="JAX agents that step together under the pass template; if not given, as many "
        "as are no burden, up to 1024",
    )
    instruments: Instruments = Field(
        default_factory=_own_instruments,
        description="ways of reading memory, besides the figures of the process itself",
    )
    repeats: int = Field(
        default_factory=_own_repeats,
        ge=1,
        le=1000,
        description="fresh workers per variant; if not given, 1, 3 or 9 depending on the effort",
    )
    budget: Budget | None = None
    tolerances: dict[str, str | int] = Field(
        default_factory=dict,
        description="how far a metric may move before memprof gate calls it worse, by name: 5%, "
        "2MB, or 5% or 2MB",
    )

    @property
    def allowances(self) -> dict[str, Tolerance]:
        """The tolerances, read."""
        return read_tolerances(self.tolerances)

    @property
    def auto(self) -> bool:
        """Whether memprof is to choose the passes."""
        return self.passes == [AUTO]

    @field_validator("learning")
    @classmethod
    def _learning_once(cls, names: list[str]) -> list[str]:
        _once(names, "learning", "entry")
        return names

    @field_validator("tolerances", mode="before")
    @classmethod
    def _readable(cls, tolerances: Any) -> Any:
        for name, text in tolerances.items() if isinstance(tolerances, dict) else ():
            try:
                parse_tolerance(str(name), str(text))
            except ValueError as error:
                raise FieldError(f"tolerances.{cut(str(name))}", str(error)) from None
        return tolerances

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        readers = {name: info.backends for name, info in OPTIONAL.items()}
        _check_names(self.instruments, "instruments", "instrument", readers, self.backend)
        if not self.auto:
            _check_passes(self.passes, self.backend)
        _check_options(self)
        if (self.backend == "fake") != (self.model.kind == "buffer"):
            raise FieldError("model.kind", "backend fake and model buffer go together only")
        if not self.model.private and self.model.differs:
            raise FieldError(
                "model.private",
                "false contradicts a model that differs between agents; remove it",
            )
        if self.backend != "fake":
            check_agent(self.backend, self.agent, self.learning, self.loop, self.steps, self.passes)
            _check_history(self)
        return self


def _once(names: Sequence[str], field: str, what: str) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise FieldError(field, f"duplicate {what} {shown(name)}; remove one")


def _check_names(
    names: Sequence[str],
    field: str,
    what: str,
    backends: Mapping[str, Sequence[str]],
    backend: str,
) -> None:
    """Check that `backend` has these passes or instruments; `backends` holds who has which."""
    known = [name for name, those in backends.items() if backend in those]
    for name in names:
        if name not in backends:
            raise FieldError(field, unknown(what, name, known))
        if name not in known:
            raise FieldError(
                field,
                f"{name!r} is for backend {' and '.join(backends[name])}; this scenario's is "
                f"{backend}. {nearest('', known)}",
            )
    _once(names, field, what)


def _check_passes(names: list[str], backend: str) -> None:
    if AUTO in names:
        raise FieldError(
            "passes", "auto chooses the passes itself; remove the others, or remove auto"
        )
    forms = {name: tuple(info.forms) for name, info in PASSES.items()}
    _check_names(names, "passes", "pass", forms, backend)
    for position, name in enumerate(names):
        for needed in PASSES[name].requires:
            if needed not in names[:position]:
                raise FieldError("passes", f"{name!r} needs {needed!r} before it in the list")
        any_of = PASSES[name].requires_one
        if any_of and not {*any_of} & {*names[:position]}:
            either = " or ".join(map(repr, any_of))
            raise FieldError("passes", f"{name!r} needs {either} before it in the list")


def _check_options(scenario: Scenario) -> None:
    """Options that one backend knows, and those that take effect under some passes only."""
    for field, backend in _BACKEND_OF.items():
        if getattr(scenario, field) is not None and scenario.backend != backend:
            raise FieldError(
                field,
                f"only the {backend} backend knows it; found backend: {scenario.backend}. Leave it "
                f"out, or set backend: {backend}",
            )
    if scenario.backend == "jax" and scenario.loop is None:
        raise FieldError("loop", "expected jit, eager or rollout, found None; leave it out for jit")
    for field, names in _PASSES_OF.items():
        given = getattr(scenario, field) is not None
        auto = {AUTO} if any(not PASSES[name].on_request for name in names) else set()
        if given and scenario.passes and not {*scenario.passes} & {*names, *auto}:
            one, add = ("passes", "one") if len(names) > 1 else ("pass", "it")
            raise FieldError(
                field,
                f"takes effect under the {one} {' and '.join(names)} only; add {add} to passes",
            )


_BACKEND_OF = {
    "loop": "jax",
    "chunk": "jax",
    "keep": "numpy",
    "history_steps": "numpy",
    "working_set": "numpy",
}
_PASSES_OF = {
    "chunk": ("template",),
    "keep": ("template", "mmap"),
    "history_steps": ("history",),
    "working_set": ("working_set",),
}


def _check_history(scenario: Scenario) -> None:
    agent = scenario.agent
    if scenario.history_steps is None or (
        scenario.model.kind == "factory" and "inference_horizon" not in agent
    ):
        return  # the factory may say; then the pass itself checks
    horizon = agent.get("inference_horizon", 1)
    problem = history_problem(scenario.history_steps, agent.get("inference_algo"), horizon)
    if problem:
        raise FieldError("history_steps", problem)
