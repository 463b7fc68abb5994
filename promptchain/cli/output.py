"""What the commands share in printing. rich is loaded where there is a terminal to draw on, and not for a pipe."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from promptchain.errors import InvalidFileError, PromptChainError

if TYPE_CHECKING:
    from rich.console import Console


_ASCII = dict(zip("─━│├┼┴╰╸╺●·•✓✗…→–“”≤≥×", '-=||+++--*.*vx.>-""<>x', strict=True))


def _spell(error: UnicodeError) -> tuple[str, int]:
    """For a stream whose encoding lacks a character: our own marks in ASCII, any other character as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelt = (_ASCII.get(char) or char.encode("ascii", "backslashreplace").decode() for char in lacking)
    return "".join(spelt), error.end


codecs.register_error("promptchain", _spell)


def takes_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "utf-8").lower().startswith("utf")


def colours(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org, FORCE_COLOR)."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def animated(stream: TextIO) -> bool:
    """Whether live progress may be drawn: on a terminal that is nobody's log."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = False) -> Console:
    """A rich console that obeys NO_COLOR and FORCE_COLOR."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="promptchain")  # rich writes by itself
    coloured = colours(stream)
    wide = None if stream.isatty() else PIPE
    return Console(
        stderr=stderr,
        no_color=not coloured,
        force_terminal=coloured or (None if stream.isatty() else False),
        highlight=False,
        emoji=False,
        markup=False,
        width=wide,
    )


def width() -> int:
    """The columns of stdout; in a pipe those that `console` takes."""
    import shutil

    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else PIPE


PIPE = 120
"""Columns of what is drawn where there is no terminal."""

SHORT_ID = 12
"""Characters of an id that people are shown: its time, and two of chance, are enough to name it by."""


def style(text: str, code: str, stream: TextIO) -> str:
    """`text` in an ANSI style ("1" bold, "31" red …) where the stream takes it; a key in it is masked before, since no
    key begins behind the "m" of a style."""
    return f"\x1b[{code}m{_masked(text)}\x1b[0m" if colours(stream) else text


def say(text: str, stream: TextIO | None = None, *, exact: bool = False) -> None:
    """Print a line; on a stream whose encoding lacks a character, with that character spelt out.

    exact: secrets in it stay: it is what the user asked to see, or holds none."""
    target: TextIO = sys.stdout if stream is None else stream
    text = text if exact else _masked(text)
    encoding = target.encoding or "utf-8"
    target.write(text.encode(encoding, "promptchain").decode(encoding) + "\n")


def _masked(text: str) -> str:
    from promptchain.lm.secrets import redact  # not for --help, which begins sooner without it

    return redact(text)


def say_folded(text: str) -> None:
    """A line; on a terminal that is too narrow for it several, none of which ends in the middle of a word."""
    if not sys.stdout.isatty():
        say(text)
        return
    import shutil
    import textwrap

    columns = max(20, shutil.get_terminal_size().columns)
    for line in textwrap.wrap(text, columns, subsequent_indent="    ", break_on_hyphens=False):
        say(line)


def note(text: str) -> None:
    """A line for people, on stderr."""
    say(text, sys.stderr)


def warn(text: str) -> None:
    note(style("warning: ", "33", sys.stderr) + text)


def print_json(data: Any) -> None:
    """Data for programs, on stdout, without secrets."""
    from promptchain.lm.secrets import redact_data

    say(json.dumps(redact_data(data), ensure_ascii=not takes_unicode(sys.stdout), indent=2, default=str))


def print_outputs(outputs: Mapping[str, Any]) -> None:
    """One output bare, so that it can be piped on; several as YAML, which people and programs read. They are the answer
    that was asked for, and nothing in them is masked."""
    from promptchain import template

    if len(outputs) == 1:
        text = template.to_text(next(iter(outputs.values())))
        say(printable(text) if sys.stdout.isatty() else text, exact=True)
        return
    for name, value in outputs.items():
        head, colon, rest = _yaml({name: value}).partition(":")
        say(style(head + colon, "1", sys.stdout) + on_terminal(rest), exact=True)


def _yaml(data: Mapping[str, Any]) -> str:
    """YAML without a final line break: text of several lines as a block."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # PyYAML would write these three line breaks of Unicode as they are, and read them back as spaces; and end the
        # document after a block whose last lines are empty.
        quoted = set(value) & set("\x85\u2028\u2029") or value == "\n" or value.endswith("\n\n")
        style = '"' if quoted else "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(
        data,
        Dumper=Dumper,
        allow_unicode=takes_unicode(sys.stdout),
        sort_keys=False,
        width=sys.maxsize,
        default_flow_style=False,
    ).removesuffix("\n")


def printable(text: str) -> str:
    """What a model wrote, for a terminal, which it shall not command: control characters become question marks."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def on_terminal(text: str) -> str:
    """What stands in a file: on a terminal without control characters, in a pipe as it is."""
    return printable(text) if sys.stdout.isatty() else text


def print_traceback() -> None:
    """The traceback of the exception being handled, on stderr."""
    import traceback

    note(traceback.format_exc())


def discard_stdout() -> None:
    """Let go of what could not be written, so that Python does not try again at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(exc: PromptChainError) -> None:
    """An error on stderr: what and where, and on the next line what to do."""
    if isinstance(exc, InvalidFileError):
        for problem in exc.problems:
            note(style("error: ", "1;31", sys.stderr) + printable(_masked(str(problem))))
        return
    place = f"{exc.where}: " if exc.where else ""
    note(style("error: ", "1;31", sys.stderr) + printable(_masked(place + exc.message)))
    if exc.hint:
        note(style("  hint: ", "36", sys.stderr) + printable(_masked(exc.hint)))


def next_try(reason: str, wait: float) -> str:
    """Why a try did not count, and what follows."""
    if wait:
        return f"{reason}; again in {seconds(wait)}"
    return reason if "; falling back to " in reason else f"{reason}; again"


def seconds(value: float) -> str:
    """A duration for people: 12 ms, 1.3 s, 2 min 5 s."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def plural(count: int, word: str) -> str:
    """1 row, 2 rows."""
    return f"{count} {word}" + "s" * (count != 1)


def dollars(value: float | None) -> str:
    """A cost for people; a question mark where the price is unknown."""
    if value is None:
        return "$?"
    return "$0" if value == 0 else f"${value:.4f}" if value < 1 else f"${value:.2f}"


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ()) -> None:
    """Columns on a terminal, tabs in a pipe; on a terminal that is too narrow for columns a few lines for each row."""
    if not sys.stdout.isatty():
        for row in rows:
            say("\t".join(row).rstrip("\t"))
        return
    if too_narrow([*rows, header] if header else rows):
        for row in rows:
            stacked(row, header)
        return
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(header), header_style="bold")
    for index in range(len(rows[0]) if rows else 0):
        drawn.add_column(header[index] if header else "", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_masked(cell), style={"✓": "green", "✗": "red"}.get(cell, "")) for cell in row))
    console().print(drawn)


_READABLE = 12
"""Columns that a cell needs at most: a text that is longer can go on in the next line."""


def too_narrow(rows: Iterable[Sequence[str]]) -> bool:
    """Whether a terminal has no room for these rows as columns that can be read."""
    widths = [min(_READABLE, max(map(len, column))) for column in zip(*rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1) > width()


def stacked(row: Sequence[str], header: Sequence[str]) -> None:
    """A row of a table from top to bottom: its first cell, and what the others have to say."""
    mark, rest = (row[0], row[1:]) if row[0] in ("✓", "✗") else ("", row)
    say_folded(f"{mark} {rest[0]}".strip())
    names = [f"{name}: " if name else "" for name in header[len(row) - len(rest) :]] or [""] * len(rest)
    for name, cell in [*zip(names, rest, strict=True)][1:]:
        if cell not in ("", "–"):
            say_folded(f"  {name}{cell}")


def when(stamp: str) -> str:
    """A time of the store (UTC, ISO 8601) in the user's own zone, to the minute."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp
