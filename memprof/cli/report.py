"""`memprof report`: a report that was written down, shown or written again in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memprof.errors import UsageError
from memprof.text import cut

if TYPE_CHECKING:
    from memprof.catalogue.formats import Format
    from memprof.export.json_text import AnyReport


def report_command(
    report: Annotated[
        str, typer.Argument(metavar="REPORT.json", help="The JSON of any command; - is stdin.")
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write a page with pictures here; - is stdout."
        ),
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
) -> None:
    """Show a report again, or write it in other formats. Nothing is measured.

    Exit codes: 0 fine, whatever the report says; 2 the command line is wrong, or the file is no
    report; 3 a file could not be written.
    """
    from memprof.catalogue.formats import FORMATS, in_all_formats
    from memprof.cli.output import Question, say, show, write
    from memprof.export.sinks import check_writable

    if html == Path("-"):
        html, format_name = None, format_name or "html"
    printed = None if format_name is None else _format(format_name)
    found = read_report(Path(report))
    texts: dict[Path, str | None] = {}
    failed = None
    if html is not None:
        texts[html] = FORMATS["html"].render(found)
    if out is not None:
        name = "report" if report == "-" else Path(report).stem
        Question.of(found).check(out / f"{name}{FORMATS['json'].suffix}")
        rendered, failed = in_all_formats(found)
        texts |= {out / f"{name}{each.suffix}": text for each, text in rendered.items()}
    known = {path: text for path, text in texts.items() if text is not None}
    check_writable(known)

    if known:
        write(known, quiet=printed is not None)
    if printed is not None:
        text = printed.render(found)
        if text is None:
            raise UsageError(
                f"--format {printed.name}: {report}, a report of kind {found.kind}, has nothing "
                "for it; choose another format"
            )
        say(text)
    elif not known:
        show(found)
    if failed is not None:
        raise failed


def _format(name: str) -> Format:
    from memprof.catalogue.formats import FORMATS

    if name not in FORMATS:
        raise UsageError(f"--format: {FORMATS.unknown(name, 'format')}")
    return FORMATS[name]


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
