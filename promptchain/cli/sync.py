"""`chain sync`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import options
from promptchain.cli.output import animated, note, plural, print_json, say, warn

if TYPE_CHECKING:
    from promptchain.store.sync import Report


def sync(
    remote: Annotated[
        str | None, typer.Argument(help="A remote, a URL or a path.  [default: origin, or the only remote]")
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
    report = History.find().sync(remote, runs=runs)
    if json:
        print_json(asdict(report))
        return
    _print(report)


def _print(report: Report) -> None:
    for chain in sorted({*report.fetched, *report.pushed}):
        came, went = report.fetched.get(chain, 0), report.pushed.get(chain, 0)
        parts = [f"{plural(came, 'version')} fetched"] * bool(came) + [f"{plural(went, 'version')} pushed"] * bool(went)
        say(f"{chain}: {', '.join(parts)}")
    if report.segments_fetched or report.segments_pushed:
        came, went = report.segments_fetched, report.segments_pushed
        say(f"runs: {plural(came, 'segment')} fetched, {plural(went, 'segment')} pushed")
    for moved in report.renumbered:
        note(f"{moved.chain}@v{moved.before} is v{moved.now} now: on {report.remote} that number is another version's")
    for kept in report.labels_kept:
        there = f"at v{kept.theirs}" if kept.theirs else "deleted"
        here = f"to v{kept.ours}" if kept.ours else "away"
        warn(f"the label '{kept.label}' of {kept.chain} is {there}, as {report.remote} has it; you had moved it {here}")
    if not (report.fetched or report.pushed or report.segments_fetched or report.segments_pushed):
        note(f"up to date with {report.remote}")
