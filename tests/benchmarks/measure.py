"""How the benchmarks measure: both sides in turn in one go, so that a noisy machine is noisy for both."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Pair:
    """Seconds of both sides over the rounds. ratio: of the medians, ours to theirs."""

    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.theirs)

    def __str__(self) -> str:
        return f"{median(self.ours):.3f} s against {median(self.theirs):.3f} s: ratio {self.ratio:.2f}"


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Pair:
    """Measure both in turn, once before for warmth."""
    ours()
    theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return Pair([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def command(*words: str, cwd: Path | None = None) -> float:
    """Seconds that a whole process takes, with compiled modules as on any machine where it ran once before."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(words, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def say(name: str, found: object) -> None:
    """One line of the table of results."""
    print(f"\n  {name}: {found}")
