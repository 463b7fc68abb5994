"""What a race among prompts costs, and how often it finds the best, where the best is known.

The model is a stand-in. How good it is depends on the prompt in a known way: each demo and each phrase in it is worth
something, drawn from a normal distribution, so that 64 prompts of one phrase and four demos have accuracies between
about 0.3 and 0.65, which is what random demos do to a small model. A row is answered rightly if the prompt's worth is
more than the row's difficulty, half of whose variance is the row's own, the same for every prompt, and half its
luck with this prompt. One prompt has a phrase of its own that puts it ahead of all others by a chosen gap.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean

import pytest

from promptchain.lm.protocol import Message, Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers.race import Race, race
from tests.benchmarks.measure import say

pytestmark = pytest.mark.benchmark

CANDIDATES, SEEDS = 64, 100
DEMOS, PHRASES = 24, 8
NORMAL = NormalDist()


@dataclass(frozen=True)
class Prompt:
    phrase: str
    demos: tuple[str, ...]

    def messages(self, row: str) -> tuple[Message, ...]:
        shots = [
            message
            for demo in self.demos
            for message in (Message("user", demo), Message("assistant", f"label of {demo}"))
        ]
        return (Message("system", self.phrase), *shots, Message("user", row))

    @property
    def words(self) -> int:
        return sum(len(message.content.split()) for message in self.messages(""))


class World:
    """The stand-in, 64 prompts and some rows, for a seed. gap: by which the best is ahead; None: as it was drawn."""

    def __init__(self, seed: int, rows: int, gap: float | None) -> None:
        self._seed, chance = seed, random.Random(seed)
        self._worth = {f"demo {n}": chance.gauss(0, 0.075) for n in range(DEMOS)}
        self._worth |= {f"phrase {n}": chance.gauss(0, 0.1) for n in range(PHRASES)}
        self._answers: dict[tuple[str, ...], bool] = {}
        self.rows = [f"row {n}" for n in range(rows)]
        self._hard = {row: chance.gauss(0, 1) for row in self.rows}
        drawn = [
            Prompt(f"phrase {chance.randrange(PHRASES)}", tuple(f"demo {n}" for n in chance.sample(range(DEMOS), 4)))
            for _ in range(CANDIDATES)
        ]
        if gap is not None:
            winner = chance.randrange(CANDIDATES)
            others = max(self.accuracy(prompt) for n, prompt in enumerate(drawn) if n != winner)
            demos = drawn[winner].demos
            self._worth["the phrase"] = NORMAL.inv_cdf(others + gap) - sum(self._worth[demo] for demo in demos)
            drawn[winner] = Prompt("the phrase", demos)
        self.prompts = drawn
        self.lm = ScriptedLM(self._reply, keep=0)

    def accuracy(self, prompt: Prompt) -> float:
        """The share of right answers among all rows that could be."""
        return NORMAL.cdf(sum(self._worth[text] for text in (prompt.phrase, *prompt.demos)))

    def right(self, texts: tuple[str, ...], row: str) -> bool:
        """Whether a prompt of these texts gets the row right."""
        if (found := self._answers.get((row, *texts))) is None:
            luck = random.Random(f"{self._seed} {row} {texts}").gauss(0, 1)
            found = sum(self._worth[text] for text in texts) > sqrt(0.5) * (self._hard[row] + luck)
            self._answers[row, *texts] = found
        return found

    def _reply(self, request: Request) -> str:
        system, *shots, asked = request.messages
        texts = (system.content, *(shot.content for shot in shots if shot.role == "user"))
        return f"label of {asked.content}" if self.right(texts, asked.content) else "something else"

    async def by_calls(self, prompt: Prompt, rows: Sequence[str]) -> list[float]:
        requests = (Request("scripted/world", prompt.messages(row)) for row in rows)
        replies = await asyncio.gather(*(self.lm.complete(request) for request in requests))
        return [float(reply.text == f"label of {row}") for reply, row in zip(replies, rows, strict=True)]

    async def directly(self, prompt: Prompt, rows: Sequence[str]) -> list[float]:
        return [float(self.right((prompt.phrase, *prompt.demos), row)) for row in rows]


@dataclass(frozen=True)
class Outcome:
    """Of one seed. best: what has truly the highest accuracy; full: what scoring everything finds, and its means."""

    best: Prompt
    full: Race[Prompt]
    raced: Race[Prompt]
    free: Race[Prompt]
    lost: float

    def agree(self, found: Race[Prompt]) -> bool:
        """Whether it found what is best on all rows, or as good as that."""
        means = [one.mean for one in self.full.standings]
        return means[found.winner.index] == means[self.full.winner.index]


def _play(seed: int, rows: int, gap: float | None) -> Outcome:
    world = World(seed, rows, gap)

    def price(prompt: Prompt) -> float:
        return prompt.words

    async def all_of_it() -> tuple[Race[Prompt], Race[Prompt], Race[Prompt]]:
        return (
            await race(world.prompts, world.rows, world.directly, price=price, risk=0.0),
            await race(world.prompts, world.rows, world.by_calls, price=price, most=CANDIDATES * rows // 3),
            await race(world.prompts, world.rows, world.directly, price=price),
        )

    full, raced, free = asyncio.run(all_of_it())
    best = max(world.prompts, key=world.accuracy)
    return Outcome(best, full, raced, free, world.accuracy(best) - world.accuracy(raced.winner.arm))


@pytest.mark.parametrize(
    ("rows", "gap", "least"),
    [(200, 0.12, 95), (200, 0.06, 0), (200, 0.02, 0), (200, None, 0), (100, 0.12, 0), (50, 0.12, 0)],
)
def test_the_best_of_64_in_a_third_of_the_calls(rows: int, gap: float | None, least: int) -> None:
    """least: of the seeds in which the race must find the truly best; only a clear winner can be promised."""
    found = [_play(seed, rows, gap) for seed in range(SEEDS)]
    pairs = CANDIDATES * rows
    right = sum(one.raced.winner.arm == one.best for one in found)
    share = max(one.raced.evaluations for one in found) / pairs
    say(f"{rows} rows, ahead by {'what was drawn' if gap is None else gap}", f"{SEEDS} seeds")
    say("  the race finds the truly best", f"{right} (at least {least})")
    say("  full evaluation finds the truly best", sum(one.full.winner.arm == one.best for one in found))
    say("  the race finds what full evaluation finds", sum(one.agree(one.raced) for one in found))
    say("  accuracy lost against the truly best", f"{fmean(one.lost for one in found):.4f}")
    say(
        "  share of the calls",
        f"{fmean(one.raced.evaluations for one in found) / pairs:.3f}, at most {share:.3f} (at most 0.333)",
    )
    say("  the bound on the risk of having dropped the best, mean", f"{fmean(one.raced.risk for one in found):.2f}")
    say(
        "  without a ceiling (risk 0.05): finds what full evaluation finds, share of the calls",
        f"{sum(one.agree(one.free) for one in found)}, {fmean(one.free.evaluations for one in found) / pairs:.3f}",
    )
    assert right >= least
    assert share <= 1 / 3
