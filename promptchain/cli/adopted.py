"""The compiled prompts that a command runs on: taken from the chain's lock, and what a user should know of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from promptchain.cli.output import note, printable, style, warn

if TYPE_CHECKING:
    from promptchain.adopted import Adopted
    from promptchain.binding import BoundPlan
    from promptchain.chain import Chain
    from promptchain.lm.protocol import LM
    from promptchain.lock import Lock
    from promptchain.project import Project
    from promptchain.steps.workshop import Approve


def bind(
    project: Project,
    reference: str,
    chain: Chain,
    lm: LM,
    models: Iterable[str],
    *,
    source: bool = False,
    locked: bool = False,
    approve: Approve | None = None,
) -> BoundPlan:
    """The chain that was loaded as `reference`, on the prompts of its lock; says so where they are stale, and on a
    terminal where they are not.

    source: on the words of the chain file. locked: nothing but fresh prompts will do. approve: see `Workshop`.
    Raises StaleError, InvalidFileError for a lock that cannot be read, and what `Project.bind` raises."""
    from promptchain import trust
    from promptchain.errors import UsageError

    if source and locked:
        raise UsageError("--locked wants compiled prompts and --source none", hint="leave one of them out")
    trust.check(project, reference, chain)
    lock = None if source else lock_of(project, reference)
    locks = {} if source else project.inner_locks(reference, chain)
    bound = project.bind(chain, lm, models, lock=lock, locks=locks, approve=approve)
    if bound.adopted is not None:
        if locked:
            bound.adopted.require_fresh()
        tell(bound.adopted)
    for inner in bound.all_chains():
        if inner.adopted is not None and inner.adopted.entry is not None:
            if locked:
                inner.adopted.require_fresh()
            tell(inner.adopted)
    return bound


def lock_of(project: Project, reference: str) -> Lock:
    """The lock of a chain. Raises InvalidFileError, which says how to go on without it."""
    from promptchain.errors import InvalidFileError

    try:
        return project.lock(reference)
    except InvalidFileError as exc:
        first, *others = exc.problems
        hint = "; ".join(filter(None, (first.hint, "--source goes on without it")))
        raise InvalidFileError([replace(first, hint=hint), *others]) from None


def tell(adopted: Adopted) -> None:
    """A warning about prompts that are stale; a line on a terminal about those that are used. Nothing in a pipe: that
    all is as it should be is no news to a log."""
    if adopted.problem is not None:
        warn(printable(f"{adopted.problem}; mend it with: {adopted.command}"))
    elif sys.stderr.isatty():
        if adopted.variant:
            _dim(f"compiled for {adopted.model}: {', '.join(adopted.variant.steps)}")
        elif adopted.entry is None and adopted.others:
            _dim(f"not compiled for {adopted.model}, only for {', '.join(adopted.others)}: {adopted.command}")


def _dim(text: str) -> None:
    note(style(printable(text), "2", sys.stderr))
