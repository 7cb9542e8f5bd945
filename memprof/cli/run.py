"""`memprof run`: any program, watched."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from memprof.cli.options import Destination, seconds, size_of, takes
from memprof.errors import UsageError
from memprof.text import shown


class RunCommand(TyperCommand):
    """The command, of which `-m MODULE` is the last option of memprof's own. What follows the
    program is its own, whatever it looks like."""

    ignore_unknown_options = True
    allow_interspersed_args = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Tell where the program's own arguments begin."""
        valued = {
            name for each in self.params for name in each.opts if not getattr(each, "is_flag", True)
        }
        place = 0
        while place < len(args) and args[place].startswith("-") and args[place] != "--":
            if args[place] == "-m":
                args = [*args[: place + 2], "--", *args[place + 2 :]]
                break
            place += 2 if args[place] in valued else 1
        found: list[str] = super().parse_args(ctx, args)
        return found


class ProgramEnded(SystemExit):
    """With the program's own exit code, of which it has said all that there is to say."""


def _budget_of(text: str) -> int:
    """The size in `per_agent=2 MB`."""
    from memprof.values.watch import per_agent_budget

    try:
        return per_agent_budget(text)
    except ValueError as error:
        raise UsageError(f"--budget: {error}, found {shown(text)}") from None


@takes()
def run_command(
    program: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROGRAM [ARGUMENTS]...",
            help="A script and what it is called with, or a notebook.",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as python -m does.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="per_agent=SIZE",
            parser=_budget_of,
            help="End with 1 if an agent of any kind costs more.",
        ),
    ] = None,
    fail_on_leak: Annotated[
        bool,
        typer.Option(
            "--fail-on-leak", help="End with 1 if the process grows as the same agents step."
        ),
    ] = False,
    sites: Annotated[
        bool,
        typer.Option(
            "--sites", help="Also name the lines that keep memory from step to step; slower."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=seconds, help="End the program after this time."),
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=size_of("--memory-limit"),
            help="Limit the program's data segment, e.g. 2GiB.",
        ),
    ] = None,
    *,
    to: Destination,
) -> None:
    """Run any program or notebook, and report what its agents hold.

    Options of memprof come before the program; all that follows it is its own. memprof ends with
    the program's own exit code.

    Exit codes: the program's own; 1 also if --budget is exceeded, or with
    --fail-on-leak if it leaks; 2 the command line is wrong, or
    there is no such program; 3 --timeout; 130 interrupted. More: memprof help run.
    """
    from memprof.cli.output import Output, Question
    from memprof.launch.start import temporary_folder
    from memprof.posix import Limits
    from memprof.run.process import Running
    from memprof.run.target import Program

    given = list(program or [])
    if module is None and not given:
        raise UsageError("memprof run: expected a script, a notebook, or -m and a module")
    if to.json == "-":
        raise UsageError("--json -: the program prints to standard output; give --json a file")
    wanted = Program(module, tuple(given), True) if module else Program(given[0], tuple(given[1:]))
    wanted.check()
    output = Output(f"{wanted.name}-run", to)
    output.check(Question("run", wanted.subject))
    limits = Limits(timeout, memory_limit)
    with temporary_folder() as folder, Running(wanted, limits, folder, sites=sites) as running:
        from memprof.run.run import run

        output.load()
        outcome = run(running, wanted.words, budget, limits, fail_on_leak=fail_on_leak)
    output.deliver(outcome.report, outcome.failure)
    raise ProgramEnded(outcome.report.exit_code)
