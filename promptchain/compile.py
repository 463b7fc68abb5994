"""Compiles a chain for its models: tunes the prompts of its steps, and adopts what is better on held-out examples.

split → baseline → for each step the optimizers' candidates, raced → the joint choice, raced on whole chains → the
held-out comparison. The chain file is never changed: what comes of it is an `Entry` of the lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from promptchain import scorer
from promptchain.bench import Bench, Trial, Variants
from promptchain.chain import PromptStep
from promptchain.errors import PromptChainError
from promptchain.examples import Example
from promptchain.lm.ledger import Ledger
from promptchain.lock import Compared
from promptchain.optimizers import earlier, registry
from promptchain.optimizers.protocol import Ask, Candidate, Task, tokens
from promptchain.optimizers.race import race
from promptchain.optimizers.split import Parts, check
from promptchain.records import StepVariant, Variant
from promptchain.statistics import gain_by_chance, paired, quantile, rows_to_settle
from promptchain.tuning import Tuning

CALLS_FOR_A_STEP = 400
MOST_DEV = 100
MOST_TEST = 200
"""Examples that are looked at where no number of calls is given."""

NOT_ASKED_FOR = "not asked for"
"""Why a step is not tuned that `steps` of the settings leaves out."""

_HELD_OUT, _DEV = 1 / 3, 0.3
"""Of a number of calls that is given, what the held-out comparison and the rounds over all dev examples may take."""

_NO_CALLS = "no calls left for it"

SEED = "as in the file"
"""What the words of the chain file are called among candidates."""


@dataclass(frozen=True)
class Setup:
    """All that a compile needs. calls: that may be planned for; None for what it takes. earlier: parameters that came
    of other compiles, by where they are from: candidates to begin with. standing: those that the lock has, of steps
    that are as they were: nothing worse takes their place. ledger: the LM that bench, teacher and proposer go through.
    """

    bench: Bench
    parts: Parts
    tuning: Tuning
    calls: int | None
    ledger: Ledger
    teacher: Bench | None = None
    ask: Ask | None = None
    earlier: Mapping[str, Variants] = field(default_factory=dict)
    standing: Variants = field(default_factory=dict)
    watch: Callable[[str], None] = field(default=lambda _: None, repr=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """One optimizer on one step. before, after: shares of the dev examples; calls: distinct ones that it took."""

    optimizer: str
    best: str
    tried: int
    before: float | None
    after: float | None
    calls: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """How good the prompts were when so many distinct calls had been made: the share of the dev examples that passed,
    of one step or of the whole chain (None). what: by which they came to be so, in a few words. rows: the dev examples
    that it rests on; during a race not all of them."""

    calls: int
    step: str | None
    score: float
    what: str
    rows: int


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of a step. skipped: why it was not tuned. chosen: how its new parameters came about; empty where it
    keeps those of the file."""

    step: str
    skipped: str = ""
    stages: tuple[Stage, ...] = ()
    chosen: str = ""


@dataclass(frozen=True)
class Compiled:
    """What compiling came to. variants: what replaces the file's words, by step; `kept`: why they stay.

    seconds, cost: of one run on held-out examples, at the median and on average, before and after. curve: in the order
    of the calls.
    """

    variants: Mapping[str, StepVariant]
    kept: str | None
    reports: tuple[StepReport, ...]
    parts: Parts
    dev: Compared | None = None
    test: Compared | None = None
    by_step: Mapping[str, Compared] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: tuple[float | None, float | None] = (None, None)
    cost: tuple[float | None, float | None] = (None, None)
    curve: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many calls are planned for, and which examples they are for. each: calls of one run of the chain. reserve: of
    all calls, what comparing whole chains takes when the search is over."""

    calls: int
    each: int
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    reserve: int


def telling(max_p: float) -> int:
    """The fewest examples that can show a gain: all of them better.

    >>> telling(0.1)
    4
    """
    return math.ceil(-math.log2(max_p))


def allowance(bench: Bench, parts: Parts, tuning: Tuning, calls: int | None) -> Allowance:
    """Where a number of calls is given, it is shared out; else there is as much as is of use.

    Raises PromptChainError where so few are given that not even a candidate that mends every example could be told
    from chance: what came of that would stand in the lock as if something had been tried. `compile` does where nothing
    could be tried."""
    examples = [*parts.dev, *parts.test]
    each = max(1, bench.calls_of(examples))
    tuned = sum(not why for why in targets(bench, tuning, examples).values())
    # Rounds over the dev examples: of the seed prompts, of several steps one by one too; and for the joint choice.
    before, joint = (1, 1) if tuned < 2 else (2, 2)
    test, dev = MOST_TEST, MOST_DEV
    if calls is not None:
        some = telling(tuning.max_p)
        a_dev, a_test = each * (before + joint) / _DEV, each * 2 / _HELD_OUT
        least = math.ceil(max(min(some, len(parts.dev)) * a_dev, min(some, len(parts.test)) * a_test))
        if calls < least:
            raise _too_few(calls, f"{least} at least, {CALLS_FOR_A_STEP} a step are of use")
        test, dev = min(test, int(calls / a_test)), min(dev, int(calls / a_dev))
    chosen = parts.dev[:dev], parts.test[:test]
    reserve = each * (2 * len(chosen[1]) + joint * len(chosen[0]))
    planned = each * before * len(chosen[0]) + reserve + tuned * CALLS_FOR_A_STEP if calls is None else calls
    return Allowance(planned, each, *chosen, reserve)


def _too_few(calls: int, enough: str) -> PromptChainError:
    hint = f"raise --calls, or --max-calls where that is the limit: {enough}"
    return PromptChainError(f"{calls} calls are too few to tell one prompt from another", hint=hint)


def targets(bench: Bench, tuning: Tuning, examples: Sequence[Example], base: Sequence[Trial] = ()) -> dict[str, str]:
    """The prompt steps, in the order they run, and why they are not tuned: empty for those that are.

    base: whole chains on the dev examples, where they have been tried."""
    own = [assertion for example in examples for assertion in example.assertions]
    looked_at = scorer.looked_at(bench.plan, (*bench.assertions, *own))
    found = {}
    for name, node in bench.plan.nodes.items():
        if not isinstance(node.step, PromptStep):
            continue
        told = [trial.step_passed(name) for trial in base]
        if tuning.steps and name not in tuning.steps:
            found[name] = NOT_ASKED_FOR
        elif node.step.freeze is True:
            found[name] = "frozen"
        elif name not in looked_at:
            found[name] = "no assertion looks at it, or at what comes of it"
        elif bench.is_alone(name) and False not in told and True in told:
            found[name] = "no headroom: it passes every dev example"
        else:
            found[name] = ""
    return found


async def compile(setup: Setup) -> Compiled:
    """Tune the chain. Raises PromptChainError where nothing can be told, BudgetError at a ceiling, CancelledError."""
    check(setup.parts)
    return await _Compile(setup).run()


class _Compile:
    """One compile under way."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.bench = setup.bench
        chain = self.bench.plan.chain
        self.seeds = {name: Variant.seed(step) for name, step in chain.steps.items() if isinstance(step, PromptStep)}
        self.allowance = allowance(self.bench, setup.parts, setup.tuning, setup.calls)
        self.dev, self.test = self.allowance.dev, self.allowance.test
        self.warnings = list(warnings(setup.parts, chain.steps, setup.tuning.max_p))
        self.curve: list[Point] = []

    async def run(self) -> Compiled:
        """The whole of it."""
        self.setup.watch("the seed prompts on the dev examples")
        base = await self.bench.trials({}, self.dev)
        if all(trial.passed is None for trial in base):
            raise PromptChainError(_nothing_told(base), hint="chain test shows what each example comes to")
        self._tell_lost(base)
        self._point(None, _share(base), SEED)
        standing = self._standing()
        if all(trial.passed is not False for trial in base) and not standing:
            return self._kept("no headroom: the seed prompts pass every dev example", ())
        reports, variants = await self._steps(base)
        stages = [stage for report in reports for stage in report.stages]
        if not any(stage.tried for stage in stages) and any(stage.note == _NO_CALLS for stage in stages):
            raise _too_few(self.allowance.calls, f"{CALLS_FOR_A_STEP} a step are of use")
        chosen = await self._joint(variants) if variants else {}
        if not chosen and not standing:
            reason = "no candidate was better on the dev examples" if stages else "no step could be tuned"
            return self._kept("together the candidates were no better on whole chains" if variants else reason, reports)
        return await self._held_out(chosen or standing, standing, base, reports)

    def _tell_lost(self, trials: Sequence[Trial]) -> None:
        """Warn of examples that are in no share, since a model or a judge failed."""
        lost = {trial.example.id: trial for trial in trials if trial.passed is None}
        if not lost:
            return
        trial = next(iter(lost.values()))
        part = "held-out" if trial.example in self.test else "dev"
        why = trial.run.error or next((check.error for check in trial.checks if check.error), None)
        said = f"; the first: {trial.example.id}: {why}" if why else ""
        self.warnings.append(f"of the {part} examples {len(lost)} could not be scored{said}")

    def _point(self, step: str | None, score: float | None, what: str, rows: int | None = None) -> None:
        if score is not None:
            many = len(self.dev) if rows is None else rows
            self.curve.append(Point(self.setup.ledger.total.calls, step, score, what, many))

    def _kept(self, why: str, reports: Sequence[StepReport]) -> Compiled:
        told = tuple(reports) or tuple(StepReport(name, why) for name, why in self._targets([]).items())
        return Compiled({}, why, told, self.setup.parts, warnings=tuple(self.warnings), curve=tuple(self.curve))

    # --- the steps --------------------------------------------------------------------------------------------------

    def _targets(self, base: Sequence[Trial]) -> dict[str, str]:
        return targets(self.bench, self.setup.tuning, [*self.dev, *self.test], base)

    async def _steps(self, base: Sequence[Trial]) -> tuple[list[StepReport], dict[str, StepVariant]]:
        reports: list[StepReport] = []
        targets = self._targets(base)
        variants = {name: own for name, own in self._standing().items() if targets[name] == NOT_ASKED_FOR}
        waiting = [name for name, why in targets.items() if not why]
        for name, why in targets.items():
            if why:
                reports.append(StepReport(name, f"{why}: stays as it was compiled" if name in variants else why))
                continue
            left = self.allowance.calls - self.setup.ledger.total.calls - self.allowance.reserve
            room = min(left // len(waiting), CALLS_FOR_A_STEP if self.setup.calls is None else left)
            waiting.remove(name)
            report, best = await self._step(name, variants, room)
            reports.append(report)
            if best.variant != self.seeds[name]:
                variants[name] = best.variant
        return reports, variants

    def _standing(self) -> dict[str, StepVariant]:
        """What was compiled before, as far as it holds today."""
        own = {name: variant for name, variant in self.setup.standing.items() if name in self.seeds}
        now = {name: earlier.allowed(self._task(name, {}), own[name], self.seeds[name]) for name in own}
        return {name: variant for name, variant in now.items() if variant != self.seeds[name]}

    async def _step(self, name: str, others: Variants, room: int) -> tuple[StepReport, Candidate]:
        """Tune one step within `room` calls: what each optimizer finds is where the next begins."""
        best = Candidate(self.seeds[name], SEED)
        names = registry.plan(self.setup.tuning.optimizer)
        stages: list[Stage] = []
        task = self._task(name, others)
        free = [word for word in names if task.may(registry.PARTS[word])]
        if len(free) < len(names):
            self.setup.watch(f"{name}: frozen parts are left alone")
        work = [("earlier", earlier.optimizer(self.setup.earlier))]
        work = work if any(name in variants for variants in self.setup.earlier.values()) else []
        work += [(word, registry.OPTIMIZERS[word]) for word in free]
        seed = await task.trials(best.variant, self.dev)  # every race compares with this
        self._point(name, _share(seed), SEED)
        end = self.setup.ledger.total.calls + room
        each = max(1, self.bench.calls_of(self.dev, name))
        for index, (word, optimizer) in enumerate(work):
            left = end - self.setup.ledger.total.calls
            share = left if index == len(work) - 1 else left // 2
            if share < each * min(len(self.dev), 8):
                stages.append(Stage(word, best.what, 0, None, None, 0, _NO_CALLS))
                continue
            self.setup.watch(f"{name}: {word}")
            before = self.setup.ledger.total.calls
            found = await optimizer(replace(task, most=share // each), best)
            spent = self.setup.ledger.total.calls - before
            stages.append(Stage(word, found.best.what, found.tried, found.before, found.after, spent, found.note))
            best = found.best
            self._point(name, found.after, f"{word}: {best.what}")
            if found.after == 1.0:
                break
        changed = best.variant != self.seeds[name]
        return StepReport(name, stages=tuple(stages), chosen=best.what if changed else ""), best

    def _task(self, name: str, others: Variants) -> Task:
        return Task(
            step=name,
            bench=self.bench,
            others=others,
            train=self.setup.parts.train,
            dev=self.dev,
            tuning=self.setup.tuning,
            held_out=(*self.setup.parts.dev, *self.setup.parts.test),
            teacher=self.setup.teacher,
            ask=self.setup.ask,
            watch=self.setup.watch,
            course=lambda score, rows, what: self._point(name, score, what, rows),
        )

    # --- the whole --------------------------------------------------------------------------------------------------

    async def _joint(self, variants: Mapping[str, StepVariant]) -> Variants:
        """All of the new parameters, or some of them, or none: what is best on whole chains; of those that are as good
        there, what is best for the steps."""
        self.setup.watch("all steps together")
        choices: list[dict[str, StepVariant]] = [{}, dict(variants)]
        if len(variants) > 1:
            choices += [{name: variant} for name, variant in variants.items()]
        if len(variants) > 2:
            choices += [{n: v for n, v in variants.items() if n != without} for without in variants]

        async def score(arm: Variants, examples: Sequence[Example]) -> list[float | None]:
            return [self._worth(trial) for trial in await self.bench.trials(arm, examples)]

        def price(arm: Variants) -> float:
            return sum(tokens(arm.get(name, seed)) for name, seed in self.seeds.items())

        left = self.allowance.calls - self.setup.ledger.total.calls - 2 * self.allowance.each * len(self.test)
        most = len(self.dev) + max(len(self.dev), left // self.allowance.each)  # the seed prompts are tried already
        found = await race(choices, self.dev, score, price=price, most=most)
        return found.winner.arm

    def _worth(self, trial: Trial) -> float | None:
        """Whether the whole passed, and less than one dev example's worth of how many steps did."""
        if trial.passed is None:
            return None
        steps = [passed for name in self.seeds if (passed := trial.step_passed(name)) is not None]
        weight = 1 / (2 * len(self.dev) + 1)
        return (1 - weight) * trial.passed + weight * (sum(steps) / len(steps) if steps else trial.passed)

    async def _held_out(
        self, chosen: Variants, standing: Variants, base: Sequence[Trial], reports: Sequence[StepReport]
    ) -> Compiled:
        """Hold what was chosen against the seed prompts, and what stands in the lock, on examples that the search has
        not seen. What stands there stays where the new is no better, and gives way to the seed only where it is worse:
        that it is better was shown before."""
        dev = _compared(base, await self.bench.trials(chosen, self.dev))
        self._point(None, dev.after if dev else None, "what was chosen, as a whole")
        self.setup.watch("the held-out examples")
        before, after = await self.bench.trials({}, self.test), await self.bench.trials(chosen, self.test)
        if standing and chosen != standing:
            now = await self.bench.trials(standing, self.test)
            change = _compared(now, after)
            if change is not None and change.better <= change.worse:
                self.warnings.append("the compiled prompts stay: the new ones are no better on the held-out examples")
                chosen, after = standing, now
                dev = _compared(base, await self.bench.trials(chosen, self.dev))
        self._tell_lost([*before, *after])
        test = _compared(before, after, held_out=True)
        if test is None:
            raise PromptChainError(_nothing_told(after), hint="chain test shows what each example comes to")
        by_step = {}
        for name in self.seeds:
            found = _pairs([t.step_passed(name) for t in before], [t.step_passed(name) for t in after])
            if compared := _difference(found):
                by_step[name] = compared
        kept = _why_kept(test, by_step, len(chosen), self.setup.tuning.max_p)
        if chosen == standing and test.better >= test.worse:
            kept = None
        return Compiled(
            variants={} if kept else {name: _changes(variant, self.seeds[name]) for name, variant in chosen.items()},
            kept=kept,
            reports=tuple(reports),
            parts=self.setup.parts,
            dev=dev,
            test=test,
            by_step=by_step,
            warnings=tuple(self.warnings),
            seconds=(self._seconds(before), self._seconds(after)),
            cost=(_cost(before), _cost(after)),
            curve=tuple(self.curve),
        )

    def _seconds(self, trials: Sequence[Trial]) -> float | None:
        return quantile([scorer.longest_way(self.bench.plan, trial.run.steps) for trial in trials], 0.5)


def _share(trials: Sequence[Trial]) -> float | None:
    """Of the examples that could be scored, those that passed."""
    told = [trial.passed for trial in trials if trial.passed is not None]
    return sum(told) / len(told) if told else None


def _cost(trials: Sequence[Trial]) -> float | None:
    from promptchain import results

    costs = [results.cost(step) for trial in trials for step in trial.run.steps.values()]
    return None if None in costs else sum(cost for cost in costs if cost is not None) / len(trials)


def _changes(variant: StepVariant, seed: StepVariant) -> StepVariant:
    """Only what is not as in the file."""
    changed = {
        name: value for name in StepVariant.model_fields if (value := getattr(variant, name)) != getattr(seed, name)
    }
    return StepVariant(**changed)


def _pairs(before: Sequence[bool | None], after: Sequence[bool | None]) -> list[tuple[bool, bool]]:
    return [(was, now) for was, now in zip(before, after, strict=True) if was is not None and now is not None]


def _compared(before: Sequence[Trial], after: Sequence[Trial], *, held_out: bool = False) -> Compared | None:
    """None where no example could be scored on both sides."""
    return _difference(_pairs([t.passed for t in before], [t.passed for t in after]), held_out=held_out)


def _difference(pairs: Sequence[tuple[bool, bool]], *, held_out: bool = True) -> Compared | None:
    found = paired([float(now) - float(was) for was, now in pairs])
    if found is None:
        return None
    return Compared(
        examples=found.n,
        before=sum(was for was, _ in pairs) / found.n,
        after=sum(now for _, now in pairs) / found.n,
        better=found.better,
        worse=found.worse,
        low=found.low if held_out else None,
        high=found.high if held_out else None,
        p=gain_by_chance(found.better, found.worse) if held_out else None,
    )


def _why_kept(test: Compared, by_step: Mapping[str, Compared], changed: int, max_p: float) -> str | None:
    """None where what was compiled is adopted: the whole is better, or it is no worse and a step is better that does
    not show in it, as another fails the same rows. changed: steps that could be such a one by chance."""
    steps = by_step.values()
    no_worse = all(compared.better >= compared.worse for compared in (test, *steps))
    if no_worse and any(gain_by_chance(step.better, step.worse) * changed <= max_p for step in steps if step.better):
        return None
    if test.better <= test.worse:
        return f"no gain on the held-out examples ({test.better} better, {test.worse} worse of {test.examples})"
    p = gain_by_chance(test.better, test.worse)
    if p <= max_p:
        return None
    rows = rows_to_settle(test.better, test.worse, test.examples, max_p)
    enough = f"; about {rows} would settle a gain like that" if rows else ""
    said = f"{test.better} better, {test.worse} worse of {test.examples} held-out examples can be chance (p = {p:.2g})"
    return f"too little data: {said}{enough}"


def _nothing_told(trials: Sequence[Trial]) -> str:
    failed = next((trial for trial in trials if trial.run.error), None)
    if failed is not None:
        return f"none of the examples could be scored; {failed.example.id}: {failed.run.error}"
    return "no assertion says anything about the examples"


def warnings(parts: Parts, steps: Mapping[str, object], max_p: float) -> Iterator[str]:
    """What makes the result worth less than it looks."""
    from promptchain import template

    everything = (*parts.train, *parts.dev, *parts.test)
    for name in steps:
        labels = {
            template.to_text(example.expected[name])
            for example in everything
            if isinstance(example.expected, Mapping) and name in example.expected
        }
        if len(labels) == 1 and len(everything) > 1:
            yield f"every example expects {next(iter(labels))!r} of step '{name}': what is tuned on them knows no other"
    if len(parts.test) < (least := telling(max_p)):
        yield f"only {len(parts.test)} of the examples are held out: nothing can be adopted with fewer than {least}"
    elif len(parts.test) < 20:
        yield f"only {len(parts.test)} examples are held out: a gain must be large to be seen"
