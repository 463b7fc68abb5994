"""The command tree, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from promptchain.cli import INTERRUPTED, check, diff, interrupt, models, replay, run, runs, schema, show, sync, versions
from promptchain.cli.output import discard_stdout, note, print_error, print_traceback
from promptchain.errors import PromptChainError


class Group(TyperGroup):
    """Turns errors into messages; no traceback for what a user can cause, unless --debug asks for it."""

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
    help="Run, check, version and compare chains of LLM prompts: YAML files in chains/.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Start with: chain check",
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


app.command("check")(check.check)
app.command("show")(show.show)
app.command("schema")(schema.schema)
app.command("run")(run.run)
app.command("diff")(diff.diff)
app.add_typer(runs.app, name="runs")
app.command("replay")(replay.replay)
app.command("commit")(versions.commit)
app.command("log")(versions.log)
app.command("label")(versions.label)
app.command("rollback")(versions.rollback)
app.command("sync")(sync.sync)
app.add_typer(models.app, name="models")
app.command("doctor")(models.doctor)
