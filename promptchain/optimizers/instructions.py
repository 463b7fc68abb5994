"""Instructions that a proposer model rewrites from what went wrong, and why (GEPA: Agrawal et al., "GEPA: Reflective
Prompt Evolution Can Outperform Reinforcement Learning", arXiv:2507.19457), through the library `gepa`.

What a proposer writes is a template, like the instructions of a chain file, for as such it stands in the lock:
`{{ name }}` puts a value in where the step knows the name. Double braces that mean anything else are not escaped but
refused, as is all that cannot hold, before a trial is spent on it; the proposer is told so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from promptchain.bench import Trial
from promptchain.examples import Example
from promptchain.optimizers import leaks, pool, reflection
from promptchain.optimizers.protocol import Ask, Candidate, Found, Task, choose, text_tokens
from promptchain.optimizers.race import together
from promptchain.optimizers.reflection import Record
from promptchain.records import StepVariant

_PART = "instructions"
"""The one component of gepa's candidates."""

_MINIBATCH = 4
"""Training examples that a proposal is made from, and first tried on."""

_FINALISTS = 4
"""Of gepa's candidates: those that meet the incumbent."""

_PATIENCE = 6
"""Proposals in a row that cannot be used, after which no more are asked for."""

_MOST_QUOTED = 80
"""Characters of a quotation in a note."""

_R = TypeVar("_R")


async def optimize(task: Task, incumbent: Candidate) -> Found:
    """Have the proposer rewrite the instructions, and race the best of what it wrote. Raises what `Bench.trials` and
    `task.ask` raise."""
    if task.ask is None:
        return Found(incumbent, note="a model has to write them: name one with --proposer MODEL")
    if not task.train or not task.dev:
        return Found(incumbent, note=f"there are no {'dev' if task.train else 'training'} examples to learn from")
    search = _Search(task, incumbent, task.ask)
    if not search.is_worth_it:
        return Found(incumbent, note=f"{task.most} trials are too few to tell one proposal from another")
    best = await search.run()
    candidates = [Candidate(search.variant(text), "rewritten instructions") for text in best]
    found = await choose(replace(task, most=search.left), incumbent, candidates)
    if not candidates:  # then there was no race, but what the incumbent is worth is known
        found = replace(found, before=search.seed_score, after=search.seed_score)
    return replace(found, tried=search.tried, note=search.note(found.best))


class _Search:
    """gepa's search for one step, and the adapter (`gepa.GEPAAdapter`) through which it sees the step.

    gepa is synchronous, so it runs in a thread; trials and questions go back to the event loop. On the thread are
    `evaluate`, `make_reflective_dataset`, `propose_new_texts` and `_is_enough`, and nothing else.
    """

    def __init__(self, task: Task, incumbent: Candidate, ask: Ask) -> None:
        self._task, self._incumbent, self._ask = task, incumbent, ask
        self._before = incumbent.variant.instructions or ""
        self._seed = self._before if self._before.strip() else reflection.minimal(task)
        self._bridge = _Bridge()
        self._known = {self._before, self._seed}
        self._refused: Counter[str] = Counter()
        self._in_a_row = 0
        self._made: set[tuple[str, str]] = set()
        self._asked = 0
        self.tried = 0
        self.seed_score: float | None = None
        """On all dev examples; None where only some were tried, or none could be told."""
        # gepa scores whatever it accepts on all of its validation set, so that must not take all that there is.
        self._whole = len(task.dev) <= task.most // 4
        self._dev = task.dev if self._whole else task.dev[: max(5, task.most // 8)]
        self._minibatch = min(_MINIBATCH, len(task.train))
        self._round = 2 * self._minibatch + len(self._dev) + 1
        """Trials and questions that one iteration of gepa's takes at most."""
        if self._whole:  # then all finalists are scored when gepa is done, and the incumbent too if it is the seed
            self._room = task.most - (len(self._dev) if self._seed != self._before else 0)
        else:
            self._room = task.most - task.most // 3

    @property
    def is_worth_it(self) -> bool:
        """Whether there is room for one proposal at least."""
        return self._room >= len(self._dev) + self._round

    @property
    def left(self) -> int:
        """Trials for a race."""
        return self._task.most - len(self._made) - self._asked

    async def run(self) -> list[str]:
        """The best instructions, the best first; those of the incumbent are not among them."""
        result = await self._bridge.run(self._optimize)
        scores, fronts = result.val_aggregate_scores, result.per_val_instance_best_candidates
        texts = [candidate[_PART] for candidate in result.candidates]
        leads = Counter(index for front in fronts.values() for index in front)
        good = [index for index in range(len(texts)) if scores[index] >= scores[0]]
        good.sort(key=lambda index: (-scores[index], text_tokens(texts[index]), -leads[index], index))
        return [text for text in dict.fromkeys(texts[index] for index in good) if text != self._before][:_FINALISTS]

    def variant(self, instructions: str) -> StepVariant:
        return self._incumbent.variant.model_copy(update={"instructions": instructions})

    def note(self, best: Candidate) -> str:
        """What was refused, and what of the training rows is quoted."""
        parts = []
        if count := sum(self._refused.values()):
            reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(self._refused.items()))
            ended = "; the proposer was asked no more" if self._in_a_row >= _PATIENCE else ""
            parts.append(f"{count} of {self._asked} proposals could not be used ({reasons}){ended}")
        own = leaks.quoted(self._before, self._task.train)
        quotes = [q for q in leaks.quoted(best.variant.instructions or "", self._task.train) if q not in own]
        if quotes:
            more = f" and {len(quotes) - 1} more" if len(quotes) > 1 else ""
            first = quotes[0] if len(quotes[0]) <= _MOST_QUOTED else quotes[0][: _MOST_QUOTED - 1].rstrip() + "…"
            parts.append(f"the instructions quote training rows: “{first}”{more}")
        return "; ".join(parts)

    async def _try(self, instructions: str, examples: Sequence[Example]) -> list[Trial]:
        variant = self.variant(instructions)
        if tuple(examples) != self._dev:
            works = (self._task.trials(_unseen(variant, example), [example]) for example in examples)
            return [trial for [trial] in await together(works)]
        trials = await self._task.trials(variant, examples)
        right = sum(trial.passed is True for trial in trials)
        self._task.watch(f"{self._task.step}: instructions: {right} of {len(trials)} right")
        told = [trial.value for trial in trials if trial.value is not None]
        if self._whole and instructions == self._seed and told:
            self.seed_score = sum(told) / len(told)
        return trials

    # --- on gepa's thread -------------------------------------------------------------------------------------------

    def _optimize(self) -> Any:
        from gepa.api import optimize as search  # takes half a second

        return search(
            seed_candidate={_PART: self._seed},
            trainset=list(self._task.train),
            valset=list(self._dev),
            adapter=self,
            reflection_minibatch_size=self._minibatch,
            max_metric_calls=self._room,
            stop_callbacks=[self._is_enough],
            logger=_Silent(),
            track_best_outputs=False,
            seed=self._task.random("instructions").getrandbits(31),
        )

    def _is_enough(self, state: Any) -> bool:
        """gepa asks before each iteration, so one must not begin that could go beyond the room."""
        if self._bridge.is_stopped or self._in_a_row >= _PATIENCE:
            return True
        if self._whole and max(state.program_full_scores_val_set) >= 1.0:
            return True
        return bool(state.total_num_evals + self._asked + self._round > self._room)

    def evaluate(self, batch: list[Example], candidate: Mapping[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        text = candidate[_PART]
        self._made |= {(text, example.id) for example in batch}
        trials = self._bridge.wait(lambda: self._try(text, batch))
        return EvaluationBatch(
            outputs=[trial.run.steps[self._task.step].value for trial in trials],
            scores=[trial.value or 0.0 for trial in trials],
            trajectories=trials if capture_traces else None,
        )

    def make_reflective_dataset(
        self,
        candidate: Mapping[str, str],  # noqa: ARG002
        eval_batch: Any,
        components_to_update: list[str],  # noqa: ARG002
    ) -> dict[str, list[Record]]:
        trials: list[Trial] = [trial for trial in eval_batch.trajectories if trial.passed is not None]
        if all(trial.passed for trial in trials):  # what could not be told is nothing to learn from
            return {_PART: []}
        return {_PART: [reflection.record(self._task, trial) for trial in trials]}

    def propose_new_texts(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Record]],
        components_to_update: list[str],  # noqa: ARG002
    ) -> dict[str, str]:
        """Nothing where the proposal cannot be used. It must not raise an Exception: gepa would ask again."""
        if not reflective_dataset[_PART]:
            return {}
        asked = reflection.question(self._task, self._incumbent.variant, candidate[_PART], reflective_dataset[_PART])
        self._asked += 1
        text = reflection.written(self._bridge.wait(lambda: self._ask(asked)))
        flaw = "the same again" if text in self._known else reflection.flaw(self._task, text)
        if flaw is not None:
            self._refused[flaw] += 1
            self._in_a_row += 1
            return {}
        self._in_a_row = 0
        self._known.add(text)
        self.tried += 1
        return {_PART: text}


def _unseen(variant: StepVariant, example: Example) -> StepVariant:
    """Without the demos that say what is to be answered here: from a right answer that was copied there is nothing to
    learn."""
    repeats = pool.repeating((example,))
    demos, nearest = variant.demos, variant.nearest
    if demos is not None:
        demos = tuple(demo for demo in demos if not repeats(demo.inputs))
    if nearest is not None:
        left = tuple(demo for demo in nearest.pool if not repeats(demo.inputs))
        nearest = nearest.model_copy(update={"pool": left})
    return variant.model_copy(update={"demos": demos, "nearest": nearest})


class _Silent:
    def log(self, message: str) -> None:
        """gepa's log is nobody's to read."""


class _Stopped(BaseException):
    """Ends a thread's work. No Exception, since gepa catches, logs and goes on from those."""


class _Bridge:
    """Runs a function in a thread that waits for what runs on the event loop, and can be stopped from there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self.is_stopped = False

    async def run(self, function: Callable[[], _R]) -> _R:
        """What the function gives. Raises, unchanged, what `wait` ended it with. Cancelled, it first ends what runs
        on the loop, then the thread."""

        def guarded() -> _R | None:
            try:
                return function()
            except _Stopped:
                return None

        running = asyncio.ensure_future(asyncio.to_thread(guarded))
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            self.is_stopped = True
            if self._work is not None:
                self._work.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # asked for, lest asyncio complains that nobody did
            raise
        if self._failure is not None:
            raise self._failure
        return result  # type: ignore[return-value]

    def wait(self, work: Callable[[], Awaitable[_R]]) -> _R:
        """On the thread: what the work gives, done on the loop. Raises _Stopped where it failed or was stopped."""
        try:
            return asyncio.run_coroutine_threadsafe(self._do(work), self._loop).result()
        except BaseException as exc:
            self._failure = self._failure or exc
            self.is_stopped = True
            raise _Stopped from exc

    async def _do(self, work: Callable[[], Awaitable[_R]]) -> _R:
        if self.is_stopped:
            raise asyncio.CancelledError
        self._work = asyncio.current_task()
        try:
            return await work()
        finally:
            self._work = None
