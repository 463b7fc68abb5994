"""Consent to what a tool that is marked `confirm` is about to do: asked on the terminal, or given with --yes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Self

from promptchain.cli.output import note, printable, style, warn

if TYPE_CHECKING:
    from asyncio import Lock

    from promptchain.steps.workshop import Wish


class Consent:
    """An `Approve`, and a context manager that warns at its end of the calls that were not made since nobody was there
    to be asked. yes: to everything. asks: whether the user may be asked; so they are only on a terminal.

    pause: takes away what else is drawn on the terminal while a question stands there.
    """

    def __init__(self, *, yes: bool = False, asks: bool = False) -> None:
        self.pause: Callable[[], AbstractContextManager[None]] = nullcontext
        self._yes = yes
        self._asks = asks and sys.stdin.isatty() and sys.stderr.isatty()
        self._lock: Lock | None = None
        self._refused: Counter[tuple[str, str]] = Counter()

    async def __call__(self, wish: Wish) -> bool:
        """Whether the call may be made. One question at a time; others wait for theirs."""
        if self._yes:
            return True
        if not self._asks:
            self._refused[wish.step, wish.tool] += 1
            return False
        from asyncio import Lock

        self._lock = self._lock or Lock()
        async with self._lock:
            with self.pause():
                return await _ask(wish)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for (step, tool), count in self._refused.items():
            times = f" ({count} times)" if count > 1 else ""
            warn(
                printable(f"step '{step}': the tool '{tool}' was not called{times}: nobody could be asked for consent")
            )
        if self._refused:
            note("  hint: --yes consents to all calls of tools")
        self._refused.clear()


async def _ask(wish: Wish) -> bool:
    """A question on the terminal; anything but yes, and no answer, is no."""
    from promptchain import told
    from promptchain.lm.secrets import redact
    from promptchain.threads import in_thread

    note(style(printable(f"step '{wish.step}' wants to call:"), "1", sys.stderr))
    note(f"  {printable(redact(told.call(wish.tool, wish.arguments)))}")
    sys.stderr.write("Call it? [y/N] ")
    sys.stderr.flush()
    # In a thread of its own, which an interrupt leaves to itself: no event loop waits for it at its end.
    answer = await in_thread(sys.stdin.readline, "consent")
    if not answer.endswith("\n"):
        note("")
    return answer.strip().casefold() in ("y", "yes")
