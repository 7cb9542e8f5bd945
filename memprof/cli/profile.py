"""`memprof profile`: where an agent's memory goes, before and after the passes."""

from __future__ import annotations

import sys
from pathlib import Path

from memprof.cli import options
from memprof.errors import OutputError


def profile_command(
    scenario: options.ScenarioArgument,
    agents: options.Agents = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    passes: options.Passes = None,
    max_slowdown: options.MaxSlowdown = None,
    loop: options.Loop = None,
    chunk: options.Chunk = None,
    history_steps: options.HistorySteps = None,
    instruments: options.Instruments = None,
    repeats: options.Repeats = None,
    timeout: options.Timeout = 900.0,
    memory_limit: options.MemoryLimit = None,
    json: options.Json = None,
    out: options.Out = Path("reports"),
    quiet: options.Quiet = False,
) -> None:
    """Measure a population before and after its passes.

    Exit codes: 0 fine; 1 the budget is broken or behaviour diverged; 2 the command line or the
    scenario is wrong; 3 it could not be measured; 130 interrupted.
    """
    from memprof.scenario_file import load_scenario

    changed = options.overrides(
        agents=agents,
        steps=steps,
        seed=seed,
        passes=passes,
        max_slowdown=max_slowdown,
        loop=loop,
        chunk=chunk,
        history_steps=history_steps,
        instruments=instruments,
        repeats=repeats,
    )
    limit = options.memory_limit(memory_limit)
    seconds = options.positive("--timeout", timeout)
    loaded = load_scenario(scenario, changed)
    name = loaded.scenario.name

    from memprof.cli.progress import progress
    from memprof.reports import json_text, markdown, sinks, terminal
    from memprof.reports.view import view_of
    from memprof.worker.spawn import Limits
    from memprof.workflows.profile import profile

    files = [out / f"{name}.json", out / f"{name}.md"]
    if json is not None and json != "-":
        files.append(Path(json))
    sinks.check_writable(files)  # now, not after minutes of measuring

    with progress(quiet=quiet) as observer:
        outcome = profile(loaded, Limits(seconds, limit), observer)

    view = view_of(outcome.report)
    texts = {".json": json_text.render(outcome.report), ".md": markdown.render(view)}
    failure = outcome.failure
    try:  # files first: whoever reads standard output may go away
        sinks.write_files({file: texts.get(file.suffix, texts[".json"]) for file in files})
    except OutputError as error:
        failure = failure or error
    if json == "-":
        sys.stdout.write(texts[".json"])
    elif not quiet:
        sys.stdout.write(terminal.render_for(sys.stdout, view))
        print(f"\nWritten: {', '.join(str(file) for file in files if file.exists())}")
    if failure is not None:
        raise failure
