"""The command line: parse, call `project`, print. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of `chain` and `promptchain`."""
    before, mark, after = _split(sys.argv[1:])
    if "--debug" in before:  # wherever it stands, as users put it last
        os.environ["PROMPTCHAIN_DEBUG"] = "1"
        before = [word for word in before if word != "--debug"]
    sys.argv[1:] = [*before, *mark, *after]
    from promptchain.cli.app import app

    app()


def _split(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The words before a bare `--`, the `--`, and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at : at + 1], words[at + 1 :]
