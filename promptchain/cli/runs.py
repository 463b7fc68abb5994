"""`chain runs` and `chain runs show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import dollars, note, print_json, printable, say, seconds, style, table, when

if TYPE_CHECKING:
    from promptchain.history import History
    from promptchain.store.index import RunRow

app = typer.Typer(help="List recorded runs, and show one.", invoke_without_command=True, rich_markup_mode=None)

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
        str | None, typer.Option("--status", help="done, failed or interrupted.", autocompletion=lambda: [*STATES])
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Of the versions that have this label.", autocompletion=complete.labels),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="On this model.", autocompletion=complete.models)] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Not before: 2026-11-24, 2026-11-24T10:30, 90m, 12h, 7d."),
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """List recorded runs, the newest first.

    Examples:

      chain runs --chain support --status failed --since 7d

      chain runs show last
    """
    if ctx.invoked_subcommand is not None:
        return
    from promptchain.errors import UsageError, known_or_nearest
    from promptchain.history import History
    from promptchain.store.index import Query

    if status is not None and status not in STATES:
        raise UsageError(f"no run has the status '{status}'", hint=known_or_nearest(status, STATES, "states"))
    history = History.find()
    name, sources = _sources(history, chain, label)
    wanted = Query(name, status, model, since and _since(since), sources, limit)
    found = history.runs.select(wanted)
    numbers = _Numbers(history)
    if json:
        print_json([_as_json(row, numbers.of(row)) for row in found])
        return
    if not found:
        note("no such runs" if any((chain, status, label, model, since)) else "no runs yet: chain run NAME")
        return
    table(
        [_row(row, numbers.of(row)) for row in found],
        header=("run", "when", "version", "status", "time", "tokens", "cost", "model"),
    )


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


def _sources(history: History, chain: str | None, label: str | None) -> tuple[str | None, tuple[str, ...] | None]:
    """The chain's name, and the content ids that are wanted."""
    if chain is not None:
        name, _, ref = chain.partition("@")
        history.check_chain(name)
        if ref or label:
            return name, (history.versions.resolve(name, ref or label or "").content,)
        return name, None
    if label is None:
        return None, None
    trees = [history.versions.tree(name) for name in history.versions.chains()]
    found = [tree.at(labels[label]) for tree in trees if label in (labels := tree.labels())]
    return None, tuple(version.content for version in found if version)


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
        raise UsageError(f"'{text}' is no time", hint="2026-11-24, 2026-11-24T10:30, or 90m, 12h, 7d ago") from None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(row: RunRow, version: str) -> tuple[str, ...]:
    return (
        row.id,
        when(row.started),
        version,
        row.status,
        seconds(row.seconds),
        str(row.tokens),
        dollars(row.cost),
        printable(row.model or ""),
    )


def _as_json(row: RunRow, version: str) -> dict[str, Any]:
    names = ("id", "chain", "source", "model", "started", "seconds", "status", "calls", "tokens", "cost", "error")
    return {**{name: getattr(row, name) for name in names}, "version": version}


@app.command("show")
def show(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or last.", autocompletion=complete.runs),
    ],
    json: options.Json = False,
) -> None:
    """Show a run: its inputs, what each step gave, and what it used.

    Example: chain runs show last
    """
    from promptchain.errors import UsageError
    from promptchain.history import History

    history = History.find()
    row = history.runs.find(run)
    if row is None:
        raise UsageError(f"there is no run '{run}'", hint="chain runs lists them")
    record = history.runs.read(row)
    version = _Numbers(history).of(row)
    if json:
        print_json({**record, "version": version})
        return
    _print(record, version)


def _print(record: dict[str, Any], version: str) -> None:
    import sys

    totals = record.get("totals") or {}
    tokens = (totals.get("prompt_tokens") or 0) + (totals.get("completion_tokens") or 0)
    used = f"{seconds(record.get('seconds') or 0)}, {tokens} tokens, {dollars(totals.get('cost'))}"
    say(style(f"run {record['id']}", "1", sys.stdout))
    say(f"{version} on {record.get('model')}, {when(record.get('started') or '')}: {record.get('status')}; {used}")
    if record.get("replay_of"):
        say(f"replays {record['replay_of']}")
    if record.get("error"):
        say(style(printable(f"error: {record['error']}"), "31", sys.stdout))
    _print_values("inputs", record.get("inputs") or {})
    for name, step in (record.get("steps") or {}).items():
        calls = [call for part in (step, *(step.get("items") or ())) for call in part.get("calls") or ()]
        spent = sum((call.get("prompt_tokens") or 0) + (call.get("completion_tokens") or 0) for call in calls)
        say("")
        head = f"{step.get('status')}, {seconds(step.get('seconds') or 0)}, {len(calls)} calls, {spent} tokens"
        say(f"{style(f'step {name}', '1', sys.stdout)}  {head}")
        if step.get("error"):
            say(_indented(step["error"]))
        if step.get("value") is not None:
            say(_indented(step["value"]))
    _print_values("outputs", record.get("outputs") or {})


def _print_values(title: str, values: dict[str, Any]) -> None:
    import sys

    say("")
    say(style(title, "1", sys.stdout))
    for name, value in values.items():
        say(_indented(f"{name}: {_text(value)}"))


def _text(value: Any) -> str:
    from json import dumps

    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)


def _indented(value: Any) -> str:
    return "\n".join(f"  {line}" for line in printable(_text(value)).splitlines() or [""])
