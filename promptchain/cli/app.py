"""The command tree, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from promptchain.cli import INTERRUPTED, interrupt
from promptchain.cli.output import discard_stdout, note, print_error, print_traceback
from promptchain.errors import PromptChainError

COMMANDS = {
    "init": "init:init",
    "check": "check:check",
    "fmt": "fmt:fmt",
    "show": "show:show",
    "schema": "schema:schema",
    "run": "run:run",
    "runs": "runs:app",
    "replay": "replay:replay",
    "test": "test:command",
    "compile": "compile:command",
    "report": "report:report",
    "diff": "diff:diff",
    "commit": "versions:commit",
    "log": "versions:log",
    "label": "versions:label",
    "rollback": "versions:rollback",
    "sync": "sync:sync",
    "ci": "ci:app",
    "models": "models:app",
    "doctor": "models:doctor",
    "help": "help:help",
}
"""Where each command is: the module in this room, and the function or the group of commands in it."""


_NARROW = 52
"""Columns below which click's own help, which is 50 wide at least, is too wide."""


_TYPE = re.compile(r" <[\w\[\] ]+>$")


class Context(typer.Context):
    """Whose help fits narrow terminals too, down to 20 columns: there a text stands below what it explains. It has no
    Python types, which typer puts behind arguments."""

    def make_formatter(self) -> Any:
        from shutil import get_terminal_size

        formatter: Any = super().make_formatter()
        write, more = formatter.write_dl, {}
        columns = get_terminal_size().columns
        if columns < _NARROW:
            formatter.width, more = max(20, columns), {"col_max": 4}
        formatter.write_dl = lambda rows: write([(_TYPE.sub("", name), text) for name, text in rows], **more)
        return formatter


class Group(TyperGroup):
    """Turns errors into messages; no traceback for what a user can cause, unless --debug asks for it.

    A command is imported and built when it is asked for: to build all of them takes longer than most of them run.
    """

    context_class = Context

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            for name in COMMANDS:  # so that typer can say which one is near
                self.get_command(ctx, name)
            return None
        if cmd_name not in self.commands:
            module, _, name = COMMANDS[cmd_name].partition(":")
            found = getattr(import_module(f"promptchain.cli.{module}"), name)
            if not isinstance(found, typer.Typer):
                single = typer.Typer(rich_markup_mode=None, add_completion=False)
                found = single.command(cmd_name)(found) and single
            command = self.commands[cmd_name] = typer.main.get_command(found)
            command.name = cmd_name
            for one in (command, *getattr(command, "commands", {}).values()):
                one.context_class = Context
        return self.commands[cmd_name]

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # here, where a full disk still finds someone to tell
        except PromptChainError as exc:
            _fail(exc)
        except OSError as exc:
            if exc.errno == errno.EPIPE:  # whoever read our output has gone; typer ends quietly then
                raise
            discard_stdout()
            _fail(PromptChainError(f"{exc.strerror or exc}: {exc.filename or 'standard output'}"))
        except KeyboardInterrupt:
            interrupt.ignore()
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def _fail(exc: PromptChainError) -> NoReturn:
    if os.environ.get("PROMPTCHAIN_DEBUG"):
        print_traceback()
    print_error(exc)
    raise typer.Exit(exc.exit_code) from None


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would treble the time that --help takes
    pretty_exceptions_enable=False,
    help="Run, check, test, compile, version and compare chains of LLM prompts: YAML files in chains/.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 100 a test failed, 101 a lock is stale, 130 interrupted.\n\n"
    "Start with: chain init. What is not of one command: chain help.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"promptchain {version('promptchain')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Global options."""
