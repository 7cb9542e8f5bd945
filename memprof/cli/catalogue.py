"""`memprof models`, `instruments`, `passes` and `schema`: what there is to put into a scenario."""

from __future__ import annotations

import inspect
import json
import sys


def models_command() -> None:
    """List the models and their parameters."""
    from memprof.scenario import MODELS

    for kind, model in MODELS.items():
        _entry(kind, inspect.getdoc(model) or "")
        for name, field in model.model_fields.items():
            if name != "kind":
                default = (
                    "required"
                    if field.is_required()
                    else f"default {field.get_default(call_default_factory=True)}"
                )
                about = f"; {field.description}" if field.description else ""
                print(f"    {name}: {default}{about}")


def instruments_command() -> None:
    """List the instruments, what each sees and what it is blind to."""
    from memprof.instruments.catalogue import INSTRUMENTS

    for name, info in INSTRUMENTS.items():
        always = " (always on)" if info.always else ""
        _entry(name, info.summary + always)
        print(f"    sees: {info.sees}")
        print(f"    blind to: {info.blind_to}")


def passes_command() -> None:
    """List the passes, what each claims and costs."""
    from memprof.passes.catalogue import AUTO, PASSES

    for name, info in PASSES.items():
        if info.backends == ("fake",):
            continue  # memprof's own tests use them
        _entry(name, info.summary)
        bound = "" if info.bound is None else f" (beliefs change by at most {info.bound:g})"
        requires = f"; requires: {', '.join(info.requires)}" if info.requires else ""
        print(
            f"    claim: {info.claim}{bound}; backends: {', '.join(info.backends)}; "
            f"cost: {info.cost}{requires}"
        )
    _entry(
        AUTO,
        "measures the exact passes on the scenario and keeps the smallest plan whose time per step "
        "stays within max_slowdown; stands alone",
    )


def schema_command() -> None:
    """Print the JSON schema of the scenario file."""
    from memprof.scenario import Scenario

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(),
    }
    json.dump(schema, sys.stdout, indent=1)
    print()


def _entry(name: str, summary: str) -> None:
    print(f"{name}\n    {summary}")
