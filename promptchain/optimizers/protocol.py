"""What an optimizer is given and what it finds: a function from a `Task` to the best `Candidate` that it came upon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from random import Random

from promptchain import template
from promptchain.bench import Bench, Trial, Variants
from promptchain.chain import Demo, PromptStep
from promptchain.examples import Example
from promptchain.optimizers.race import FIRST, Round, race
from promptchain.records import StepVariant
from promptchain.tuning import Tuning

Ask = Callable[[str], Awaitable[str]]
"""Asks a model in its own words: the proposer's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Parameters for a step, complete as `Variant.of` gives them; what: how they came about, in a few words."""

    variant: StepVariant
    what: str = "as before"


@dataclass(frozen=True, slots=True)
class Found:
    """What an optimizer came to. best: may be what it began with. tried: candidates beside that. before, after: shares
    of the dev examples that passed; None where none could be scored. note: what a user should know."""

    best: Candidate
    tried: int = 0
    before: float | None = None
    after: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Task:
    """One step to be tuned. others: the parameters of the steps that were tuned before. train: what demos and traces
    come from; dev: what candidates are compared on; held_out: all that no demo may repeat. teacher: tries the chain on
    a better model; None without one. ask: the proposer. most: trials that may be made, beside those that were made
    before. watch: told what is being done. course: told, after each round of a race, the share that the candidate which
    leads passes of the dev examples so far, how many they are, and which candidate it is.
    """

    step: str
    bench: Bench
    others: Variants
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    tuning: Tuning
    teacher: Bench | None = None
    ask: Ask | None = None
    most: int = 0
    held_out: tuple[Example, ...] = ()
    watch: Callable[[str], None] = field(default=lambda _: None, repr=False)
    course: Callable[[float, int, str], None] = field(default=lambda _score, _rows, _what: None, repr=False)

    @cached_property
    def definition(self) -> PromptStep:
        step = self.bench.plan.nodes[self.step].step
        assert isinstance(step, PromptStep)
        return step

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The names that the step's prompt uses: what a demo has to say."""
        found = template.parse(self.definition.prompt.text).references
        return tuple(dict.fromkeys(reference.name for reference in found))

    def random(self, purpose: str) -> Random:
        """Chance that repeats for the same seed, step and purpose."""
        return Random(f"{self.tuning.seed}/{self.step}/{purpose}")

    def may(self, part: str) -> bool:
        """Whether `freeze` leaves a part of the step free: instructions, demos or format."""
        frozen = self.definition.freeze
        return part not in frozen if isinstance(frozen, tuple) else not frozen

    async def trials(self, variant: StepVariant, examples: Sequence[Example]) -> list[Trial]:
        return await self.bench.trials({**self.others, self.step: variant}, examples, self.step)

    def tried(self, variant: StepVariant) -> list[bool]:
        """Which of the dev examples it was tried with before."""
        return self.bench.tried({**self.others, self.step: variant}, self.dev, self.step)


Optimizer = Callable[[Task, Candidate], Awaitable[Found]]
"""Proposes candidates for the task's step, and chooses among them and the one it is given."""


async def choose(task: Task, incumbent: Candidate, candidates: Sequence[Candidate], note: str = "") -> Found:
    """Race the candidates against the incumbent on the dev examples. What wins takes its place if it is better, or as
    good and shorter, on all of them, or on as many as the task has trials left for. Raises what `Bench.trials` raises.
    """
    fresh: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.variant != incumbent.variant:
            fresh.setdefault(candidate.variant.model_dump_json(), candidate)
    arms = [incumbent, *fresh.values()]

    told: dict[int, list[float]] = {}

    async def score(arm: Candidate, examples: Sequence[Example]) -> list[float | None]:
        return [trial.value for trial in await task.trials(arm.variant, examples)]

    async def noted(arm: Candidate, examples: Sequence[Example]) -> list[float | None]:
        found = await score(arm, examples)
        told.setdefault(id(arm), []).extend(value for value in found if value is not None)
        return found

    def watch(round: Round) -> None:
        leader = arms[round.leader]
        if own := told.get(id(leader)):
            task.course(sum(own) / len(own), len(own), leader.what)

    known = [task.tried(arm.variant) for arm in arms]
    found = await race(arms, task.dev, noted, price=price, most=_ceiling(task.most, known), watch=watch)
    winner = found.winner.arm
    now = [task.tried(arm.variant) for arm in arms]
    left = task.most - (sum(map(sum, now)) - sum(map(sum, known)))
    lacking = [0] * len(task.dev) if winner is incumbent else [not done for done in now[found.winner.index]]
    lacking = [int(one) + (not done) for one, done in zip(lacking, now[0], strict=True)]
    shared = task.dev[: sum(total <= left for total in accumulate(lacking))]
    before, after = _paired(await score(incumbent, shared), await score(winner, shared))
    if before is None or after is None:
        return Found(incumbent, len(fresh), note=note)
    better = after > before or (after == before and price(winner) < price(incumbent))
    best, after = (winner, after) if better else (incumbent, before)
    return Found(best, len(fresh), before, after, note)


def _ceiling(most: int, known: Sequence[Sequence[bool]]) -> int | None:
    """Evaluations for a race of arms that were tried with some of the examples, the first of them the incumbent. What
    comparing the winner with it may lack then is set aside, up to a third; None where all can be tried with all."""
    size, done = len(known[0]), sum(map(sum, known))
    if len(known) * size - done <= most:
        return None
    aside = min(2 * size - sum(known[0]), most // 3)
    return most - aside + sum(known[0][:FIRST])  # all arms are in the first round: there the incumbent's are free


def _paired(before: Sequence[float | None], after: Sequence[float | None]) -> tuple[float, float] | tuple[None, None]:
    """Both means over the examples that could be scored on both sides; None where there is none."""
    pairs = [(was, now) for was, now in zip(before, after, strict=True) if was is not None and now is not None]
    if not pairs:
        return None, None
    return sum(was for was, _ in pairs) / len(pairs), sum(now for _, now in pairs) / len(pairs)


def price(candidate: Candidate) -> float:
    return tokens(candidate.variant)


def tokens(variant: StepVariant) -> float:
    """About how many tokens a request has beside the prompt itself: a quarter of the bytes."""
    demos = sum(map(demo_tokens, variant.demos or ()))
    if variant.nearest and variant.nearest.pool:
        pool = variant.nearest.pool
        demos += variant.nearest.count * sum(map(demo_tokens, pool)) / len(pool)
    return text_tokens(variant.instructions or "") + demos


def demo_tokens(demo: Demo) -> float:
    calls = [part for call in demo.calls for part in (call.tool, call.arguments, call.result)]
    return text_tokens(
        "".join(map(template.to_text, [*demo.inputs.values(), *calls, demo.output, demo.reasoning or ""]))
    )


def text_tokens(text: str) -> float:
    return len(text.encode("utf-8", "surrogatepass")) / 4
