"""The command tree, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptchain.cli import check, models, run, schema, show
from promptchain.cli.output import note, print_error
from promptchain.errors import PromptChainError

INTERRUPTED = 130


class Group(TyperGroup):
    """Turns errors into messages; no traceback for what a user can cause, unless --debug asks for it."""

    def invoke(self, ctx: Any) -> Any:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C: records are kept
        try:
            return super().invoke(ctx)
        except PromptChainError as exc:
            if os.environ.get("PROMPTCHAIN_DEBUG"):
                raise
            print_error(exc)
            raise typer.Exit(exc.exit_code) from None
        except KeyboardInterrupt:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would treble the time that --help takes
    pretty_exceptions_enable=False,
    help="Run, check and show chains of LLM prompts: YAML files in chains/.",
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
app.add_typer(models.app, name="models")
app.command("doctor")(models.doctor)
