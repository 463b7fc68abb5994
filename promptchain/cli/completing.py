"""A shell asks what could come next. The answer comes soon or not at all, and nothing else is said: whoever types has
not run anything."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from contextlib import redirect_stdout, suppress

VARIABLES = ("_CHAIN_COMPLETE", "_PROMPTCHAIN_COMPLETE")
"""What typer's scripts for the shells set, for each of our commands."""

LONGEST = 2.0
"""Seconds after which there is no answer."""

_BREAKS = frozenset("@=:")
"""At these bash takes a word for several (COMP_WORDBREAKS, in bash(1)); none of our words begins or ends there."""


def answer(app: Callable[[], object]) -> None:
    """Print what typer offers, and leave."""
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we run
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, LONGEST)
    begun = ""
    if any(os.environ.get(name, "").endswith("_bash") for name in VARIABLES):
        begun = join_words(os.environ)
    code, said = 1, io.StringIO()
    with redirect_stdout(said), suppress(Exception):
        try:
            app()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0
    with suppress(OSError, ValueError):
        for line in said.getvalue().splitlines():
            offer = line.removeprefix(begun)  # which click leaves out itself behind --option=
            print(offer.encode(sys.stdout.encoding, "ignore").decode(sys.stdout.encoding))  # noqa: T201
        sys.stdout.flush()
    os._exit(code)


def join_words(environment: MutableMapping[str, str]) -> str:
    """Put together in COMP_WORDS what bash took apart, and count COMP_CWORD anew. Returns how the word under the cursor
    begins, which bash has on its line already and which its offers must not repeat.

    >>> told = {"COMP_WORDS": "chain\\nrun\\nsupport\\n@\\np", "COMP_CWORD": "4"}
    >>> join_words(told), told["COMP_WORDS"].split(), told["COMP_CWORD"]
    ('support', ['chain', 'run', 'support@p'], '2')
    """
    words = environment.get("COMP_WORDS", "").split("\n")
    number = environment.get("COMP_CWORD", "")
    if len(words) < 2 or not number.isdecimal() or int(number) >= len(words):
        return ""
    joined: list[str] = []
    place, begun = 0, ""
    for index, word in enumerate(words):
        glued = index > 1 and (_is_break(word) or (bool(word) and _is_break(words[index - 1])))
        before = joined.pop() if glued else ""
        joined.append(before + word)
        if index == int(number):
            place, begun = len(joined) - 1, before.removesuffix("@")  # which readline takes with what follows
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(joined), str(place)
    return begun


def _is_break(word: str) -> bool:
    return bool(word) and set(word) <= _BREAKS
