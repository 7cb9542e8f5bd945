"""`memprof models`, `instruments`, `passes`, `formats`, `schema`: what there is to choose from."""

from __future__ import annotations

import inspect
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memprof.catalogue.passes import PassForm


def models_command() -> None:
    """List the models and their parameters."""
    from memprof.catalogue.models import MODELS

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
    from memprof.catalogue.instruments import EVERY_BACKEND, INSTRUMENTS

    for name, info in INSTRUMENTS.items():
        always = " (always on)" if info.always else ""
        _entry(name, info.summary + always)
        if info.backends != EVERY_BACKEND:
            print(f"    backend: {' and '.join(info.backends)} only")
        print(f"    sees: {info.sees}")
        print(f"    blind to: {info.blind_to}")


def passes_command() -> None:
    """List the passes, what each claims and costs."""
    from memprof.catalogue.passes import AUTO, PASSES

    for name, info in PASSES.items():
        forms = {backend: form for backend, form in info.forms.items() if backend != "fake"}
        if not forms:
            continue  # memprof's own tests use them
        print(name)
        for backend, form in forms.items():
            print(f"    {backend}: {form.summary}")
            print(f"        claim: {_claim(form)}; cost: {form.cost}")
            for option in form.options:
                print(f"        {option.name}: {option.description}")
        if info.requires:
            print(f"    requires: {', '.join(info.requires)}")
        if info.requires_one:
            print(f"    requires: {' or '.join(info.requires_one)}")
    _entry(
        AUTO,
        "measures the exact passes on the scenario and keeps the smallest plan whose time per step "
        "stays within max_slowdown; used alone",
    )


def _claim(form: PassForm) -> str:
    if form.bound is None:
        return form.claim
    if form.reorders:
        return f"exact up to the order of summation (beliefs within {form.bound:g}, same actions)"
    return f"{form.claim} (beliefs change by at most {form.bound:g})"


def formats_command() -> None:
    """List the formats in which every report is written."""
    from memprof.catalogue.formats import FORMATS

    for name, written in FORMATS.items():
        _entry(name, f"NAME{written.suffix}: {written.summary}")


def schema_command() -> None:
    """Print the JSON schema of the scenario file."""
    from memprof.scenario.schema import Scenario

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(),
    }
    json.dump(schema, sys.stdout, indent=1)
    print()


def _entry(name: str, summary: str) -> None:
    print(f"{name}\n    {summary}")
