"""What the commands share in printing. rich is loaded where there is a terminal to draw on, and not for a pipe."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from promptchain.errors import InvalidFileError, PromptChainError

if TYPE_CHECKING:
    from rich.console import Console


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
    coloured = colours(stream)
    wide = None if stream.isatty() else 120
    return Console(
        stderr=stderr,
        no_color=not coloured,
        force_terminal=coloured or None,
        highlight=False,
        emoji=False,
        markup=False,
        width=wide,
    )


def style(text: str, code: str, stream: TextIO) -> str:
    """`text` in an ANSI style ("1" bold, "31" red …) where the stream takes it."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours(stream) else text


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line; on a stream whose encoding lacks a character, with that character escaped."""
    target: TextIO = sys.stdout if stream is None else stream
    encoding = target.encoding or "utf-8"
    target.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def note(text: str) -> None:
    """A line for people, on stderr."""
    say(text, sys.stderr)


def warn(text: str) -> None:
    note(style("warning: ", "33", sys.stderr) + text)


def print_json(data: Any) -> None:
    """Data for programs, on stdout."""
    say(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def print_error(exc: PromptChainError) -> None:
    """An error on stderr: what and where, and on the next line what to do."""
    from promptchain.lm.secrets import redact

    if isinstance(exc, InvalidFileError):
        for problem in exc.problems:
            note(style("error: ", "1;31", sys.stderr) + redact(str(problem)))
        return
    place = f"{exc.where}: " if exc.where else ""
    note(style("error: ", "1;31", sys.stderr) + redact(place + exc.message))
    if exc.hint:
        note(style("  hint: ", "36", sys.stderr) + redact(exc.hint))


def seconds(value: float) -> str:
    """A duration for people: 12 ms, 1.3 s, 2 min 5 s."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def dollars(value: float | None) -> str:
    """A cost for people; a question mark where the price is unknown."""
    if value is None:
        return "$?"
    return "$0" if value == 0 else f"${value:.4f}" if value < 1 else f"${value:.2f}"
