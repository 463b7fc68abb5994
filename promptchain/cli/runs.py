"""`chain runs` and `chain runs show`."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import SHORT_ID, dollars, note, print_json, printable, say, seconds, table, when, width

if TYPE_CHECKING:
    from promptchain.history import History
    from promptchain.store.index import RunRow
    from promptchain.store.versions import Version

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False)

STATES = ("done", "failed", "interrupted")


@app.callback()
def runs(
    ctx: typer.Context,
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain", metavar="NAME[@REF]", help="Of this chain or version.", autocompletion=complete.versions
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", metavar="STATE", help="done, failed or interrupted.", autocompletion=lambda: [*STATES]
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label", metavar="LABEL", help="Of the versions that have this label.", autocompletion=complete.labels
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="On this model.", autocompletion=complete.models)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Not before: 2026-11-24, 2026-11-24T10:30, 90m, 12h, 7d."),
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", metavar="N", min=0, help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """List recorded runs, the newest first.

    Examples:

      chain runs --chain support --status failed --since 7d

      chain runs show last
    """
    if ctx.invoked_subcommand is not None:
        _check_no_options(ctx)
        return
    from promptchain.errors import UsageError, known_or_nearest
    from promptchain.history import History
    from promptchain.store.index import Query

    if status is not None and status not in STATES:
        raise UsageError(f"no run has the status '{status}'", hint=known_or_nearest(status, STATES, "states"))
    start = None if since is None else _since(since)
    with History.find() as history:
        name, versions = _versions(history, chain, label)
        numbers = _Numbers(history)
        contents = None if versions is None else tuple({version.content for version in versions})
        most = limit if versions is None else None  # two versions of the same content are told apart by their names
        rows = history.runs.select(Query(name, status, model, start, contents, most))
        named = ((row, numbers.of(row)) for row in rows)
        names = None if versions is None else {version.name for version in versions}
        found = [*islice((pair for pair in named if names is None or pair[1] in names), limit)]
    if json:
        print_json([_as_json(row, version) for row, version in found])
        return
    if not found:
        narrowed = any((chain, status, label, model, since)) or limit == 0
        note("no such runs" if narrowed else "no runs yet: chain run NAME")
        return
    table(
        [_row(row, version) for row, version in found],
        header=("run", "when", "version", "status", "time", "tokens", "cost", "model"),
    )


def _check_no_options(ctx: typer.Context) -> None:
    """Options in front of a subcommand are of the list, and would be passed over."""
    from promptchain.errors import UsageError

    given = [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    if given:
        word = f"chain runs {ctx.invoked_subcommand}"
        raise UsageError(f"--{given[0]} is for the list of runs, not for '{word}'", hint=f"{word} --help")


class _Numbers:
    """The versions that runs cite, each looked up once."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[tuple[str, str, int | None], str] = {}

    def of(self, row: RunRow) -> str:
        """As "support@v7"; the beginning of the content id where no version has it."""
        key = (row.chain, row.source, row.version)
        if key not in self._known:
            tree = self._history.versions.tree(row.chain)
            version = tree.version(row.version) if row.version else None
            if version is None or version.content != row.source:  # a sync has given it another number
                version = tree.find(row.source)
            self._known[key] = version.name if version else f"{row.chain}@{str(row.source)[:12]}"
        return self._known[key]


def _versions(history: History, chain: str | None, label: str | None) -> tuple[str | None, list[Version] | None]:
    """The chain's name, and the versions that are wanted; None where any will do."""
    if chain is not None:
        name, _, ref = chain.partition("@")
        history.check_chain(name)
        one = history.at(name, ref) if "@" in chain else None
        if label is None:
            return name, None if one is None else [one]
        labelled = _labelled(history, [name], label)
        return name, [version for version in labelled if one is None or version.number == one.number]
    return None, None if label is None else _labelled(history, history.versions.chains(), label)


def _labelled(history: History, names: list[str], label: str) -> list[Version]:
    """The versions with this label. Raises UsageError where no chain has it."""
    from promptchain.errors import UsageError, known_or_nearest

    trees = [history.versions.tree(name) for name in names]
    labels = [tree.labels() for tree in trees]
    if all(label not in known for known in labels):
        known = {name for found in labels for name in found}
        raise UsageError(f"there is no label '{label}'", hint=known_or_nearest(label, known, "labels"))
    found = [tree.at(known[label]) for tree, known in zip(trees, labels, strict=True) if label in known]
    return [version for version in found if version]


def _since(text: str) -> str:
    """A time in UTC, ISO 8601, from a date, a time (in the user's zone), or how long ago."""
    import re
    from datetime import UTC, datetime, timedelta

    from promptchain.errors import UsageError

    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if match := re.fullmatch(r"([0-9]{1,6})([mhdw])", text):
            at = datetime.now(UTC) - timedelta(**{units[match.group(2)]: int(match.group(1))})
        else:
            at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no time", hint="for example: chain runs --since 7d; or 2026-11-24, 2026-11-24T10:30, 90m, 12h"
        ) from None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(row: RunRow, version: str) -> tuple[str, ...]:
    used = (seconds(row.seconds), str(row.tokens), dollars(row.cost))
    name = row.id[:SHORT_ID] if sys.stdout.isatty() else row.id
    cells = (name, when(row.started), version, row.status, *used, row.model or "")
    return tuple(printable(" ".join(cell.split())) for cell in cells)  # others may have written them


def _as_json(row: RunRow, version: str) -> dict[str, Any]:
    names = ("id", "chain", "source", "model", "started", "seconds", "status", "calls", "tokens", "cost", "error")
    return {**{name: getattr(row, name) for name in names}, "version": version}


@app.command("show")
def show(
    run: options.RunName,
    full: Annotated[
        bool, typer.Option("--full", help="Cut nothing: passages, what tools gave, replies that did not do.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show a run: its inputs, what each step did and gave, and what it used.

    Examples:

      chain runs show last

      chain runs show last --full
    """
    from promptchain.history import History
    from promptchain.records import checked

    with History.find() as history:
        row = history.find_run(run)
        record = history.runs.read(row)
        version = _Numbers(history).of(row)
    if json:
        print_json({**record, "version": version})
        return
    from promptchain.cli.runs_view import View
    from promptchain.record_file import without_secrets

    for line in View(None if full else width()).lines(without_secrets(checked(record)), version):
        say(line)
