"""`memprof report`: a report that was written down, shown or written again in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memprof.cli.options import Destination, Full
from memprof.errors import MemprofError, UsageError
from memprof.text import cut, for_a_log

if TYPE_CHECKING:
    from memprof.export.json_text import AnyReport


def report_command(
    report: Annotated[
        str, typer.Argument(metavar="REPORT.json", help="The JSON of any command; - is stdin.")
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the HTML page here; - is stdout."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write all formats into this folder."),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="Print it in this format: json, markdown, html, ..."
        ),
    ] = None,
    full: Full = False,
) -> None:
    """Show a report again, or write it in other formats; nothing is measured.

    Exit codes: 0 fine, whatever the report says; 2 the command line is wrong, or the file is no
    report; 3 a file could not be written.
    """
    import sys

    from memprof.catalogue.formats import FORMATS
    from memprof.cli.output import Output, Question, listed, say
    from memprof.export.sinks import check_writable, write_files
    from memprof.render import terminal, view_of

    if html == Path("-"):
        html, format_name = None, format_name or "html"
    if format_name is not None and format_name not in FORMATS:
        raise UsageError(f"--format: {FORMATS.unknown(format_name)}")
    found = read_report(Path(report))
    texts: dict[Path, str | None] = {}
    errors: list[MemprofError] = []
    if html is not None:
        texts[html] = FORMATS["html"].render(found)
    if out is not None:
        output = Output("report" if report == "-" else Path(report).stem, Destination(out=out))
        Question(found.kind, found.subject).check(output.file(FORMATS["json"]))
        texts.update(output.rendered(found, errors))
    known = {path: text for path, text in texts.items() if text is not None}
    check_writable(known)
    write_files(known)

    if format_name is not None:
        text = FORMATS[format_name].render(found)
        if text is None:
            raise UsageError(
                f"--format {format_name}: a report of kind {found.kind} has no data for it; "
                "choose another format"
            )
        say(text)
    elif known:
        say(for_a_log(f"Written: {listed(known)}\n"))
    else:
        last = "" if full else "\nFull report: --full, or --html FILE for the page\n"
        say(for_a_log(terminal.render_for(sys.stdout, view_of(found), full=full, last=last)))
    if errors:
        raise errors[0]


def read_report(path: Path) -> AnyReport:
    """The report in a file; `-` is standard input.

    Raises:
        UsageError: there is none in it.
    """
    import sys

    from memprof.export.json_text import MOST_BYTES, parse
    from memprof.text import read_stream, read_text

    try:
        if path == Path("-"):
            return parse(read_stream(sys.stdin.buffer, MOST_BYTES))
        return parse(read_text(path, MOST_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{cut(str(path), 200)}: {reason}") from None
