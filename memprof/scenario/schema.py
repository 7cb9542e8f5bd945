"""The schema of a scenario file, and what its fields must have to do with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, Union

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)

from memprof.catalogue import Catalogue, load_target
from memprof.catalogue.backends import BACKENDS, OF_PROGRAMS
from memprof.catalogue.instruments import INSTRUMENTS, default_instruments
from memprof.catalogue.models import MODELS, Count, Model, Size, Strict, open_fields
from memprof.catalogue.passes import (
    AUTO,
    OPTIONS,
    PASSES,
    Option,
    order_problem,
    passes_for,
    passes_with,
)
from memprof.errors import FieldError, nearest
from memprof.text import cut, shown
from memprof.values.gate import Tolerance, parse_tolerance, read_tolerances
from memprof.values.population import EFFORTS, Effort, EffortName
from memprof.values.report import ScenarioFields

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

Learned = Literal["A", "B", "D"]

Kept = Annotated[
    list[Learned],
    BeforeValidator(lambda letters: [] if letters == "none" else letters),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "none"},
                {"type": "array", "items": {"enum": ["A", "B", "D"]}},
            ]
        },
    ),
]

if TYPE_CHECKING:
    BackendName: TypeAlias = str
    AnyModel: TypeAlias = Model
    Loop: TypeAlias = str
else:
    BackendName = Literal[tuple(BACKENDS)]
    AnyModel = Annotated[Union[tuple(MODELS.values())], Field(discriminator="kind")]  # noqa: UP007
    Loop = Literal[tuple(dict.fromkeys(loop for each in BACKENDS.values() for loop in each.loops))]

_MOST_AGENTS = 10**7
MOST_NAME = 100


def _effort(fields: Mapping[str, Any]) -> Effort:
    return EFFORTS[fields.get("effort", "normal")]


def _own_instruments(fields: dict[str, Any]) -> list[str]:
    """Those of a scenario that names none."""
    return default_instruments(fields.get("backend", "")) if _effort(fields).instruments else []


def _own_loop(fields: dict[str, Any]) -> str | None:
    backend = fields.get("backend")
    return next(iter(BACKENDS[backend].loops if backend else ()), None)


def _own_passes(fields: dict[str, Any]) -> list[str]:
    return [name for name in ("share",) if name in passes_for(fields.get("backend", ""))]


def _own_repeats(fields: dict[str, Any]) -> int:
    return _effort(fields).repeats


_OF_KINDS = ("model", "agents", "agent", "learning")
PER_AGENT = "per_agent"
"""The budget of a scenario with one kind of agents."""


class World(Strict):
    callable: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:function, in the scenario file's folder or installed",
    )
    params: Annotated[dict[str, Any], open_fields("world.params")] = Field(default_factory=dict)


def _field_of(option: Option) -> tuple[Any, Any]:
    """Type and declaration of the field that tells passes an option."""
    one_of: Any = Literal
    match option.kind:
        case "count":
            kind: Any = Count
        case "size":
            kind = Size
        case _:
            kind = GenericAlias(list, (one_of[option.choices],))
    return kind | None, Field(default=None, description=option.description)


def _with_options(base: type[Strict]) -> Any:
    """The same with fields that tell passes their options."""
    return create_model(  # type: ignore[call-overload]
        base.__name__.removeprefix("_"),
        __base__=base,
        __module__=__name__,
        __doc__=base.__doc__,
        **{name: _field_of(each) for name, each in OPTIONS.items() if each.kind != "folder"},
    )


class _Kind(Strict):
    """A part of a population, with a model and figures of its own."""

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        max_length=40,
        description="letters, digits and dashes: agents are called predator_0, predator_1 ...",
    )
    agents: int = Field(ge=1, le=_MOST_AGENTS)
    model: AnyModel
    agent: Annotated[dict[str, Any], open_fields("agent")] = Field(default_factory=dict)
    learning: list[Learned] = Field(default_factory=list)


if TYPE_CHECKING:
    Kind = _Kind
else:
    Kind = _with_options(_Kind)


class Episodes(Strict):
    steps: int = Field(ge=1, description="so many steps each")
    keep: Kept | None = Field(
        default=None,
        description="what of learning lasts from one to the next, or none; omitted, all of it",
    )


class _Scenario(Strict):
    """One population to measure, before and after the passes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=MOST_NAME,
        description="letters, digits, dots, dashes and underscores: it names the report's files",
    )
    description: str = ""
    backend: BackendName = OF_PROGRAMS
    model: AnyModel = Field(default=None)  # type: ignore[assignment]  # where there are kinds
    kinds: list[Kind] = Field(
        default_factory=list,
        description="parts of the population that differ in more than their state, in place of "
        "model, agents, agent and learning; other fields are for all, and passes' options also for "
        "one",
    )
    world: World | None = Field(
        default=None,
        description="where agents meet, with PettingZoo's parallel interface; omitted, each lives "
        "alone",
    )
    episodes: Episodes | None = Field(
        default=None,
        description="agents and their worlds begin anew after so many steps; omitted, never",
    )
    effort: EffortName = Field(
        default="normal",
        description="how long to measure: quick gives a first answer from one worker, with no "
        "instruments unless asked for; thorough is for a paper",
    )
    agents: int = Field(default=20, ge=1, le=_MOST_AGENTS)
    steps: int = Field(default=20, ge=1, le=10**6)
    seed: int = Field(default=0, ge=0, lt=2**32)
    agent: Annotated[dict[str, Any], open_fields("agent")] = Field(
        default_factory=dict, description="keyword arguments of the PyMDP agent"
    )
    learning: list[Learned] = Field(default_factory=list)
    passes: Passes = Field(
        default_factory=_own_passes,
        description="names in the order of application; auto measures which of them help",
    )
    max_slowdown: float = Field(
        default=1.1,
        ge=1,
        allow_inf_nan=False,
        description="largest time per step, relative to before, that auto may accept",
    )
    loop: Loop | None = Field(
        default_factory=_own_loop,
        description="how JAX agents are run: one compiled step, PyMDP's calls one by one as in "
        "its README, or PyMDP's rollout; jit if omitted",
    )
    instruments: Instruments = Field(
        default_factory=_own_instruments,
        description="ways of reading memory, besides the figures of the process itself",
    )
    repeats: int = Field(
        default_factory=_own_repeats,
        ge=1,
        le=1000,
        description="fresh workers per variant; if omitted, 1, 3 or 9, depending on the effort",
    )
    budget: dict[str, Size] | None = Field(
        default=None,
        description="largest marginal cost of an agent with the passes: per_agent, or that of each "
        "kind by its name",
    )
    tolerances: dict[str, str | int] = Field(
        default_factory=dict,
        description="how far a metric may move before memprof gate calls it worse, by name: 5%, "
        "2MB, or 5% or 2MB",
    )

    @property
    def limit_bytes(self) -> int | None:
        """The budget of an agent; None where there is none, or there are kinds."""
        return (self.budget or {}).get(PER_AGENT)

    @property
    def allowances(self) -> dict[str, Tolerance]:
        """The tolerances, read."""
        return read_tolerances(self.tolerances)

    @property
    def options(self) -> dict[str, Any]:
        """What passes are told, by name; those only that are given."""
        given = {name: getattr(self, name, None) for name in OPTIONS}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None
        }

    @property
    def reported(self) -> ScenarioFields:
        """The fields as a report has them."""
        fields = self.model_dump(mode="json", exclude={"model"} if self.kinds else None)
        return msgspec.convert(ScenarioFields.nested(fields), ScenarioFields)

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

    @model_validator(mode="before")
    @classmethod
    def _counts_kinds(cls, fields: Any) -> Any:
        """With kinds, there are as many agents as they have together."""
        kinds = fields.get("kinds") if isinstance(fields, dict) else None
        if not isinstance(kinds, list) or not kinds:
            return fields
        for name in _OF_KINDS:
            if name in fields:
                raise FieldError(name, "each of the kinds has its own; remove it")
        counts = [each.get("agents", 0) if isinstance(each, dict) else 0 for each in kinds]
        known = all(type(count) is int and count > 0 for count in counts)
        return {**fields, "agents": sum(counts)} if known else fields

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        readers = {
            name: info.backends or tuple(BACKENDS)
            for name, info in INSTRUMENTS.items()
            if not info.always
        }
        _check_names(self.instruments, INSTRUMENTS, readers, self.backend)
        if not self.auto:
            _check_passes(self.passes, self.backend)
        _check_options(self)
        _check_budget(self)
        if self.world is not None:
            _check_backend(self, "world", [name for name, each in BACKENDS.items() if each.meet])
        if self.episodes is not None:
            _check_episodes(self, self.episodes)
        if self.kinds:  # what else there is to check, each of them has
            _once([each.name for each in self.kinds], "kinds", "name")
            return self
        if self.model is None:
            raise FieldError("model", "is missing; add it")
        backend, those = BACKENDS[self.backend], self.model.backends
        if self.backend not in those if those else not backend.generative:
            found = f"is for backend {' and '.join(those)}" if those else "is a generative model"
            raise FieldError("model.kind", f"{found}; found backend: {self.backend}")
        if not self.model.private and self.model.differs:
            raise FieldError(
                "model.private",
                "false contradicts a model that differs between agents; remove it",
            )
        if backend.check:
            load_target(backend.check)(self)
            _check_for_agent(self)
        return self


if TYPE_CHECKING:
    Scenario = _Scenario
else:
    Scenario = _with_options(_Scenario)


def _once(names: Sequence[str], field: str, what: str) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise FieldError(field, f"duplicate {what} {shown(name)}; remove one")


def _check_names(
    names: Sequence[str],
    catalogue: Catalogue[Any],
    backends: Mapping[str, Sequence[str]],
    backend: str,
) -> None:
    """Check that `backend` has these passes or instruments; `backends` holds who has which."""
    known = [name for name, those in backends.items() if backend in those]
    for name in names:
        if name not in backends:
            raise FieldError(catalogue.kinds, catalogue.unknown(name, known))
        if name not in known:
            raise FieldError(
                catalogue.kinds,
                f"{name!r} is for backend {' and '.join(backends[name])}; this scenario's is "
                f"{backend}; {nearest('', known)}",
            )
    _once(names, catalogue.kinds, catalogue.what)


def _check_passes(names: list[str], backend: str) -> None:
    if AUTO in names:
        raise FieldError(
            "passes", "auto chooses the passes itself; remove the others, or remove auto"
        )
    forms = {name: tuple(info.forms) for name, info in PASSES.items()}
    _check_names(names, PASSES, forms, backend)
    problem = order_problem(names)
    if problem:
        raise FieldError("passes", f"{problem} in the list")


def _check_options(scenario: Scenario) -> None:
    """Options that one backend knows, and those that take effect under some passes only."""
    loops = BACKENDS[scenario.backend].loops
    if scenario.loop is not None:
        _check_backend(scenario, "loop", [n for n, each in BACKENDS.items() if each.loops])
    if loops and scenario.loop not in loops:
        raise FieldError(
            "loop",
            f"expected {' or '.join(loops)}, found {scenario.loop}; leave it out for {loops[0]}",
        )
    for name in scenario.options:
        by_backend = passes_with(OPTIONS[name])
        _check_backend(scenario, name, tuple(by_backend))
        takers = by_backend[scenario.backend]
        auto = {AUTO} if any(not PASSES[each].on_request for each in takers) else set()
        if scenario.passes and not {*scenario.passes} & {*takers, *auto}:
            one, add = ("passes", "one") if len(takers) > 1 else ("pass", "it")
            raise FieldError(
                name,
                f"takes effect under the {one} {' and '.join(takers)} only; add {add} to passes",
            )


def _check_budget(scenario: Scenario) -> None:
    """It is of one kind of agents, or of some by name."""
    known = [each.name for each in scenario.kinds] or [PER_AGENT]
    for name in scenario.budget or ():
        if name not in known:
            raise FieldError(f"budget.{cut(name)}", f"unknown field; {nearest(name, known)}")
    if scenario.budget is not None and not scenario.budget:
        raise FieldError(f"budget.{known[0]}", "is missing; add it")


def _check_episodes(scenario: Scenario, episodes: Episodes) -> None:
    """They end within the scenario, and keep what is learned."""
    found = f"found episodes of {episodes.steps} and steps: {scenario.steps}"
    if episodes.steps > scenario.steps:
        raise FieldError(
            "episodes.steps",
            f"expected no more than steps; {found}. Lower it, or raise steps; without episodes, "
            "there is one that does not end",
        )
    if scenario.loop == "rollout" and scenario.steps % episodes.steps:
        raise FieldError(
            "episodes.steps",
            f"expected whole episodes under loop: rollout, each of which is one call of PyMDP's; "
            f"{found}. Set steps: {-(-scenario.steps // episodes.steps) * episodes.steps}, or use "
            "loop: jit",
        )
    if episodes.keep is None:
        return
    learned = {*scenario.learning}.union(*(kind.learning for kind in scenario.kinds))
    if not learned:
        raise FieldError(
            "episodes.keep",
            "says what of learning lasts, and learning is empty: what agents learn by code of "
            "their own is theirs to put back. Remove keep, or say what they learn in learning",
        )
    _once(episodes.keep, "episodes.keep", "entry")
    for letter in episodes.keep:
        if letter not in learned:
            raise FieldError(
                "episodes.keep", f"{letter} is not in learning; {nearest('', learned)}"
            )


def _check_backend(scenario: Scenario, field: str, backends: Sequence[str]) -> None:
    if scenario.backend not in backends:
        raise FieldError(
            field,
            f"only the {' and '.join(backends)} backend has it; found backend: "
            f"{scenario.backend}. Leave it out, or set backend: {backends[0]}",
        )


def _check_for_agent(scenario: Scenario) -> None:
    """Options that do not fit all agents. What a factory may say, the pass itself checks."""
    complete = scenario.model.kind != "factory"
    for name, value in scenario.options.items():
        if OPTIONS[name].problem:
            problem = load_target(OPTIONS[name].problem)(value, scenario.agent, complete)
            if problem:
                raise FieldError(name, problem)
