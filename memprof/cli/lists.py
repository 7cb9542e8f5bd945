"""`memprof models`, `instruments`, `passes`, `formats`, `schema`: what there is to choose from."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memprof.errors import UsageError

if TYPE_CHECKING:
    from memprof.catalogue import Catalogue
    from memprof.catalogue.instruments import InstrumentInfo
    from memprof.catalogue.models import Model
    from memprof.catalogue.passes import PassForm, PassInfo

Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the list here; - is stdout.")
]


def models_command(json: Json = None) -> None:
    """List the models and their parameters."""
    from memprof.catalogue.models import MODELS

    def described(model: type[Model]) -> dict[str, Any]:
        parameters = model.model_json_schema()["properties"]
        return {"summary": inspect.getdoc(model) or "", "parameters": parameters}

    _list(MODELS, json, described, _model_lines)


def _model_lines(model: type[Model]) -> Iterable[str]:
    yield inspect.getdoc(model) or ""
    for name, field in model.model_fields.items():
        if name != "kind":
            default = f"default {field.get_default(call_default_factory=True)}"
            about = f"; {field.description}" if field.description else ""
            yield f"{name}: {'required' if field.is_required() else default}{about}"


def instruments_command(json: Json = None) -> None:
    """List the instruments, what each sees and what it is blind to."""
    from memprof.catalogue.instruments import INSTRUMENTS

    _list(INSTRUMENTS, json, asdict, _instrument_lines)


def _instrument_lines(info: InstrumentInfo) -> Iterable[str]:
    yield info.summary + (" (always on)" if info.always else "")
    if info.backends:
        yield f"backend: {' and '.join(info.backends)} only"
    yield f"sees: {info.sees}"
    yield f"blind to: {info.blind_to}"


def passes_command(json: Json = None) -> None:
    """List the passes, what each claims and costs."""
    from memprof.catalogue.passes import AUTO, PASSES

    def described(info: PassInfo) -> dict[str, Any]:
        values = asdict(info)
        for backend, form in info.forms.items():
            values["forms"][backend]["claim"] = form.claim
        return values

    _list(
        PASSES,
        json,
        described,
        _pass_lines,
        (
            AUTO,
            [
                "measures the exact passes on the scenario and keeps the smallest plan whose time "
                "per step stays within max_slowdown; used alone"
            ],
        ),
    )


def _pass_lines(info: PassInfo) -> Iterable[str]:
    for backend, form in info.forms.items():
        yield f"{backend}: {form.summary}"
        yield f"    claim: {_claim(form)}; cost: {form.cost}"
        for option in form.options:
            yield f"    {option.name}: {option.description}"
    if info.requires:
        yield f"requires: {', '.join(info.requires)}"
    if info.requires_one:
        yield f"requires: {' or '.join(info.requires_one)}"


def _claim(form: PassForm) -> str:
    if form.bound is None:
        return form.claim
    if form.reorders:
        return f"exact up to the order of summation (beliefs within {form.bound:g}, same actions)"
    return f"{form.claim} (beliefs change by at most {form.bound:g})"


def formats_command(json: Json = None) -> None:
    """List the formats in which every report is written."""
    from memprof.catalogue.formats import FORMATS

    _list(FORMATS, json, asdict, lambda info: [f"NAME{info.suffix}: {info.summary}"])


def schema_command() -> None:
    """Print the JSON schema of the scenario file."""
    from memprof.scenario.schema import Scenario

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(),
    }
    json.dump(schema, sys.stdout, indent=1)
    print()


def _list(
    catalogue: Catalogue[Any],
    file: str | None,
    described: Callable[[Any], dict[str, Any]],
    lines: Callable[[Any], Iterable[str]],
    last: tuple[str, list[str]] | None = None,
) -> None:
    """Print the entries, and write them as JSON to `file`, `-` being standard output alone; those
    of packages say which.

    Raises:
        UsageError: packages add what cannot be used; the rest is listed.
    """
    if file is not None:
        values = [
            {**described(info), "name": name, "origin": catalogue.origin(name) or "memprof"}
            for name, info in catalogue.items()
        ]
        text = json.dumps(values, indent=1) + "\n"
        if file == "-":
            sys.stdout.write(text)
        else:
            from memprof.export.sinks import check_writable, write_files

            check_writable([Path(file)])
            write_files({Path(file): text})
    if file != "-":
        for name, info in catalogue.items():
            package = catalogue.origin(name)
            added = [f"from: {package}"] if package else []
            _print(name, [*lines(info), *added])
        if last:
            _print(*last)
    if catalogue.problems:
        raise UsageError("; ".join(catalogue.problems))


def _print(name: str, lines: Iterable[str]) -> None:
    """An entry, wrapped to the terminal; what a line continues on is indented further."""
    print(name)
    width = shutil.get_terminal_size().columns
    for line in lines:
        indent = " " * (4 + len(line) - len(line.lstrip()))
        wrapped = TextWrapper(
            width, initial_indent=indent, subsequent_indent=f"{indent}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        print(wrapped.fill(line.lstrip()))
