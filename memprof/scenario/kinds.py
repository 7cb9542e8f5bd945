"""Each kind of a scenario's agents as a scenario of its own: so it is checked, and measured."""

from __future__ import annotations

from memprof.scenario.schema import MOST_NAME, PER_AGENT, Scenario

_SEEDS = 0x9E3779B1
"""From one kind's seed to the next, 32 bits: far apart, so that agents of two kinds with the same
number draw other numbers."""


def of_kind(scenario: Scenario, number: int) -> Scenario:
    """The scenario of one of its kinds, from all others' point of view.

    Raises:
        pydantic.ValidationError: the kind's fields do not fit together, or not to the scenario's.
    """
    kind = scenario.kinds[number]
    for_all = scenario.model_dump(exclude_unset=True, exclude={"kinds", "agents", "budget"})
    own = kind.model_dump(exclude_unset=True)
    if scenario.episodes is not None and scenario.episodes.keep is not None:
        mine = [letter for letter in scenario.episodes.keep if letter in kind.learning]
        for_all["episodes"] = {**for_all["episodes"], "keep": mine}
        if not kind.learning:
            del for_all["episodes"]["keep"]
    limit = (scenario.budget or {}).get(kind.name)
    room = MOST_NAME - len(kind.name) - 1
    fields = {**for_all, **own, "name": f"{scenario.name[:room]}.{kind.name}"}
    fields["seed"] = (scenario.seed + number * _SEEDS) % 2**32
    if limit is not None:
        fields["budget"] = {PER_AGENT: limit}
    return Scenario.model_validate(fields)
