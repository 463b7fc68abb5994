"""`chain sync`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import animated, note, plural, print_json, printable, say, warn

if TYPE_CHECKING:
    from promptchain.store.sync import Report


def sync(
    remote: Annotated[
        str | None,
        typer.Argument(
            help="A remote, a URL or a path.  [default: origin, or the only remote]", autocompletion=complete.remotes
        ),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Share runs too: their inputs and outputs may be private.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Share versions and labels with a git remote: fetch, bring both sides together, push. Branches are not touched.

    What the remote has keeps its numbers. A version made here under a number that is taken there gets the next free
    one, and its old number stays as an alias.

    Example: chain sync
    """
    from promptchain.history import History

    if animated(sys.stderr):
        note("fetching, merging and pushing …")
    with History.find() as history:
        report = history.sync(remote, runs=runs)
    if json:
        print_json(asdict(report))
        return
    _print(report)


def _print(report: Report) -> None:
    from promptchain.lm.secrets import redact

    for chain in sorted({*report.fetched, *report.pushed}):
        came, went = report.fetched.get(chain, 0), report.pushed.get(chain, 0)
        parts = [f"{plural(came, 'version')} fetched"] * bool(came) + [f"{plural(went, 'version')} pushed"] * bool(went)
        say(f"{chain}: {', '.join(parts)}")
    for what, unit, came, went in (
        ("evaluations", "evaluation", report.evaluations_fetched, report.evaluations_pushed),
        ("runs", "segment", report.segments_fetched, report.segments_pushed),
    ):
        if came or went:
            say(f"{what}: {plural(came, unit)} fetched, {plural(went, unit)} pushed")
    for labels, how in ((report.labels_fetched, "fetched"), (report.labels_pushed, "pushed")):
        for label in labels:
            there = f"at v{label.version}" if label.version else "deleted"
            say(f"{label.chain}: label {printable(label.label)} {there}, {how}")
    remote = printable(redact(report.remote))  # an address may hold a password
    for version in report.renumbered:
        name = f"{version.chain}@v{version.before}"
        note(f"{name} is v{version.now} now: on {remote} that number is another version's")
    for kept in report.labels_kept:
        there = f"at v{kept.theirs}" if kept.theirs else "deleted"
        here = f"to v{kept.ours}" if kept.ours else "away"
        name = f"the label '{printable(kept.label)}' of {kept.chain}"
        warn(f"{name} is {there}, as {remote} has it; you had moved it {here}")
    if not report.changed:
        note(f"up to date with {remote}")
