"""`chain report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json, printable, say

DEFAULT = Path("report.html")

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN|EVALUATION|COMPILE|NAME[@REF]",
        help="A run (id, the beginning of one, or last), an evaluation or a compile (id), a chain or a version;"
        " without any, all chains.",
        autocompletion=complete.reported,
    ),
]


def report(
    references: References = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.  [default: report.html]")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: options.Json = False,
) -> None:
    """Write one HTML file to look at and to pass on: the graph with scores, times and costs; a run with every message;
    an evaluation with its examples, two of one chain with what flipped; a compile with its curve and prompts.

    It needs no network. Only a report is overwritten, no other file. `chain test NAME --html FILE` makes one in which
    the examples have their inputs and answers.

    Examples:

      chain report last --open

      chain report support

      chain report 01m87p0p 01m87qx1 -o compared.html
    """
    from promptchain.cli import report_sides
    from promptchain.errors import UsageError
    from promptchain.project import Project
    from promptchain.reports.html import file, page

    if json and (output or open_it):
        raise UsageError("--json prints the data, and writes no file", hint="leave out -o and --open")
    target = output or DEFAULT
    if not json:
        file.check(target)
    sections = report_sides.sections(Project.find(), references or [])
    data = page.content(sections[0]["title"] if len(sections) == 1 else "Chain report", sections)
    if json:
        print_json(data)
        return
    file.write(target, page.page(data))
    say(str(target))
    if open_it:
        show(target)


def show(path: Path) -> None:
    """Open a file in the browser; where there is none, say where it is."""
    import webbrowser

    address = path.resolve().as_uri()
    try:
        opened = webbrowser.open(address)
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        note(f"no browser could be started; open {printable(address)}")
