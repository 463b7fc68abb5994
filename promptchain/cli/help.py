"""`chain help`: topics, which are Markdown files beside this module, and what a command's --help says."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete
from promptchain.cli.output import colours, say, say_folded, style, width

if TYPE_CHECKING:
    from promptchain.errors import UsageError

TOPICS = Path(__file__).with_name("topics")
WIDEST = 80
"""Columns of a topic at most, and in a pipe: longer lines are hard to read."""


def help(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC|COMMAND", help="None: a list.", autocompletion=complete.help),
    ] = None,
) -> None:
    """Explain a topic, or a command.

    Examples:

      chain help references

      chain help compile
    """
    from promptchain.cli.app import COMMANDS  # which are all here by now

    root = ctx.find_root()
    if not words:
        _list([*COMMANDS])
    elif len(words) == 1 and (file := TOPICS / f"{words[0].lower()}.md").parent == TOPICS and file.is_file():
        _show(file.read_text(encoding="utf-8"))
        if words[0].lower() in COMMANDS:
            say(f"\nOf the command: chain {words[0].lower()} --help")
    else:
        _command(root, words)


def topics() -> dict[str, str]:
    """The titles of the topics by their names, sorted."""
    return {file.stem: _title(file.read_text(encoding="utf-8")) for file in sorted(TOPICS.glob("*.md"))}


def _title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def _list(commands: list[str]) -> None:
    say("chain help TOPIC:")
    for name, title in topics().items():
        say_folded(f"  {name.ljust(11)} {title}")
    say("\nchain help COMMAND:")
    say_folded(f"  {', '.join(commands)}")


def _command(root: Any, words: list[str]) -> None:
    """What `--help` says of a command. Raises UsageError for what is neither a command nor a topic."""
    context = root
    for word in words:
        group = context.command
        found = group.get_command(context, word) if hasattr(group, "get_command") else None
        if found is None:
            raise _unknown(words, word, group, context)
        context = type(context)(found, parent=context, info_name=word)
    say(context.get_help(), exact=True)


def _unknown(words: list[str], word: str, group: Any, context: Any) -> UsageError:
    from promptchain.errors import UsageError, nearest

    commands = group.list_commands(context) if hasattr(group, "list_commands") else []
    if word is not words[0]:
        before = " ".join(words[: words.index(word)])
        hint = nearest(word, commands) or f"chain {before} --help"
        return UsageError(f"'chain {before}' has no command '{word}'", hint=hint)
    hint = nearest(word, [*topics(), *commands]) or "chain help lists them"
    return UsageError(f"there is no topic and no command '{word}'", hint=hint)


def _show(text: str) -> None:
    shown = "\n".join(lines(text, min(WIDEST, width()) if sys.stdout.isatty() else WIDEST))
    title, _, body = shown.partition("\n")
    if colours(sys.stdout):
        body = _CODE.sub(lambda match: style(match[1], "36", sys.stdout), body)
    say(style(title, "1", sys.stdout) + "\n" + body, exact=True)


_CODE = re.compile(r"`([^`]+)`")


def lines(text: str, width: int) -> Iterator[str]:
    """A topic, folded to so many columns; of Markdown it has a title, paragraphs, lists, and blocks of code, which stay
    as they are."""
    inside, waiting = False, ""
    for line in [*text.removeprefix("# ").rstrip().splitlines(), ""]:
        new = not line or line.startswith(("```", "- "))
        if waiting and (new or inside):
            yield from textwrap.wrap(
                waiting, width, subsequent_indent="  " * waiting.startswith("- "), break_on_hyphens=False
            )
            waiting = ""
        if line.startswith("```"):
            inside = not inside
        elif inside:
            yield f"    {line}".rstrip()
        elif line:
            waiting = f"{waiting} {line.strip()}".strip()
        else:
            yield ""
