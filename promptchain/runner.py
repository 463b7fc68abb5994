"""Executes a plan: every step starts as soon as what it needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from time import perf_counter
from typing import Any

from promptchain import attempt, template
from promptchain.binding import BoundPlan
from promptchain.errors import PromptChainError
from promptchain.events import (
    Event,
    ItemEnded,
    Observer,
    StepEnded,
    StepRetried,
    StepStarted,
    StepText,
    ToolEnded,
    ToolStarted,
)
from promptchain.lm.calls import Caller
from promptchain.model import describe
from promptchain.plan import Node, step_read
from promptchain.records import Call, Run, Status, StepRun, ToolRun, new_run_id, now, total
from promptchain.steps.context import Context, in_order
from promptchain.steps.filled import evaluated
from promptchain.steps.outcome import Outcome
from promptchain.steps.together import together


async def run(
    bound: BoundPlan,
    inputs: Mapping[str, Any],
    caller: Caller,
    *,
    observe: Observer | None = None,
    record: Callable[[Run], None] | None = None,
    stream: bool = False,
    given: Mapping[str, StepRun] | None = None,
    forced: Mapping[str, Any] | None = None,
) -> Run:
    """Run the plan on checked inputs. A step that fails fails the run, but never raises: the Run says it.

    observe: receives events as they happen; with `stream` also the pieces of the replies.
    given: steps that are not run, since this is what came of them. forced: values that later steps see in place of what
    a step gives; it runs all the same.
    record: called once with the Run, also when the run is cancelled, before CancelledError goes on.
    Raises CancelledError when cancelled, and what `observe` raises; a ceiling that is reached is said by the Run.
    """
    execution = _Execution(bound, inputs, caller, observe, stream, given or {}, forced or {})
    try:
        await execution.execute()
    except BaseException:  # cancelled; or an observer failed, a broken pipe say
        try:
            await execution.abandon()
        finally:
            if record:
                record(execution.result(interrupted=True))
        raise
    result = execution.result()
    if record:
        record(result)
    return result


def _skipped(failed: Sequence[tuple[int, StepRun]], count: int) -> tuple[str, ...]:
    """The warning that some of `count` items failed, with why the first of them did."""
    if not failed:
        return ()
    index, first = failed[0]
    hint = f" ({first.hint})" if first.hint else ""
    return (f"{len(failed)} of {count} items failed, and are null; item {index + 1}: {first.error}{hint}",)


class _Execution:
    """One run under way."""

    def __init__(
        self,
        bound: BoundPlan,
        inputs: Mapping[str, Any],
        caller: Caller,
        observe: Observer | None,
        stream: bool,
        given: Mapping[str, StepRun],
        forced: Mapping[str, Any],
    ) -> None:
        self._bound = bound
        self._inputs = dict(inputs)
        self._reasoning: dict[str, Any] = {}
        self._values: dict[str, Any] = {template.REASONING: self._reasoning, **inputs}
        self._caller = caller
        self._observe = observe
        self._stream = stream
        self._given = given
        self._forced = forced
        self._steps: dict[str, StepRun] = {}
        self._began: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._items: dict[str, list[StepRun | None]] = {}
        self._inner: set[str] = set()  # under which names chains of steps run at the moment
        self._made: dict[tuple[str, int | None], tuple[list[Call], list[ToolRun], list[Run]]] = {}
        self._started = now()
        self._start = perf_counter()

    async def execute(self) -> None:
        nodes = list(self._bound.plan.nodes.values())
        if len(nodes) == 1:
            await self._node(nodes[0])
            return
        for node in nodes:  # in order, so that the tasks a node waits for are there
            self._tasks[node.id] = asyncio.create_task(self._node(node), name=node.id)
        await asyncio.gather(*self._tasks.values())

    async def abandon(self) -> None:
        """Stop what is still under way, and wait until it has stopped."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def result(self, *, interrupted: bool = False) -> Run:
        """The record of what was done, in the order of the chain file."""
        plan = self._bound.plan
        steps = {name: self._steps.get(name) or self._unfinished(name) for name in plan.chain.steps}
        outputs: dict[str, Any] = {}
        error: str | None
        hint: str | None
        if interrupted:
            status = Status.INTERRUPTED
            error, hint = "interrupted", None
        else:
            outputs, error, hint = self._outputs()
            failed = next(((name, step) for name, step in self._steps.items() if step.status is Status.FAILED), None)
            if failed:
                error, hint = f"step '{failed[0]}' failed: {failed[1].error}", failed[1].hint
            status = Status.FAILED if error else Status.DONE
        return Run(
            id=new_run_id(),
            chain=plan.chain.name,
            source=plan.chain.content_id,
            model=self._bound.model,
            started=self._started,
            seconds=round(perf_counter() - self._start, 6),
            status=status,
            inputs=self._inputs,
            outputs=outputs,
            steps=steps,
            error=error,
            hint=hint,
            totals=total(steps),
            compiled=self._bound.adopted.used if self._bound.adopted else None,
        )

    def _unfinished(self, name: str) -> StepRun:
        """What was done of a step that was interrupted, or not even begun."""
        began = self._began.get(name)
        items = (item or self._interrupted(name, index) for index, item in enumerate(self._items.get(name, ())))
        return self._interrupted(name, None).model_copy(
            update={
                "started": round(began or 0.0, 6),
                "seconds": 0.0 if began is None else round(perf_counter() - self._start - began, 6),
                "items": tuple(items),
            }
        )

    def _interrupted(self, name: str, item: int | None) -> StepRun:
        calls, tools, runs = self._made.get((name, item), ((), (), ()))
        run = runs[-1] if runs else None
        return StepRun(status=Status.INTERRUPTED, calls=tuple(calls), tools=in_order(tools), run=run)

    def _outputs(self) -> tuple[dict[str, Any], str | None, str | None]:
        """The chain's outputs, as far as the steps they use have run; null where a step they use was skipped.

        And what is wrong with the first that cannot be made, with a hint.
        """
        outputs: dict[str, Any] = {}
        problem, hint = None, None
        for name, text in self._bound.plan.outputs.items():
            parsed = template.parse(text)
            read = (step_read(ref, self._steps, self._inputs) for ref in parsed.references)
            used = {name: self._steps[name].status for name in read if name is not None}
            strictly = {ref.name for ref in parsed.references if not ref.tolerant}
            if any(status in (Status.FAILED, Status.BLOCKED) for status in used.values()):
                continue
            if any(status is Status.SKIPPED and other in strictly for other, status in used.items()):
                outputs[name] = None
                continue
            try:
                outputs[name] = evaluated(parsed, self._values, f"output '{name}'")
            except PromptChainError as exc:
                problem, hint = problem or exc.message, hint or exc.hint
        return outputs, problem, hint

    async def _node(self, node: Node) -> None:
        waits = [self._tasks[other] for other in node.after]
        if waits:
            await asyncio.gather(*waits)
        began = perf_counter() - self._start
        self._began[node.id] = began
        try:
            result = self._given.get(node.id) or self._without_running(node) or await self._run_step(node)
        except PromptChainError as exc:
            result = attempt.failed(exc)
        result = result.model_copy(
            update={"started": round(began, 6), "seconds": round(perf_counter() - self._start - began, 6)}
        )
        self._steps[node.id] = result
        self._values[node.id] = self._forced.get(node.id, result.value)
        items = result.items or node.step.for_each is not None
        self._reasoning[node.id] = [item.reasoning for item in result.items] if items else result.reasoning
        self._emit(StepEnded(node.id, result))

    def _without_running(self, node: Node) -> StepRun | None:
        """How the step ends where it need not run: what it needs failed or was skipped, or its `when` is false."""
        states = {other: self._steps[other].status for other in sorted(node.after) if other not in self._forced}
        for other, status in states.items():
            if status in (Status.FAILED, Status.BLOCKED):
                return StepRun(status=Status.BLOCKED, error=f"step '{other}' did not give a value")
        skipped = [other for other, status in states.items() if status is Status.SKIPPED]
        for other in skipped:
            if other in node.needs:
                return StepRun(status=Status.SKIPPED, error=f"step '{other}' was skipped")
        when = node.step.when
        if not isinstance(when, str):
            return StepRun(status=Status.SKIPPED) if when is False else None
        parsed = template.expression(when)
        try:
            true = bool(evaluated(parsed, self._values, "its `when`"))
        except PromptChainError:
            # `order.total > 5` where the step `order` was skipped, and so is null, is no more than false.
            without = next((ref.name for ref in parsed.references if ref.name in skipped), None)
            if without is None:
                raise
            return StepRun(status=Status.SKIPPED, error=f"step '{without}' was skipped")
        return None if true else StepRun(status=Status.SKIPPED)

    async def _run_step(self, node: Node) -> StepRun:
        prompt = self._bound.prompts.get(node.id)
        model = prompt.model if prompt else None
        if node.step.for_each is not None:
            return await self._run_items(node, model)
        self._emit(StepStarted(node.id, model))
        return attempt.done(await self._attempt(node, self._values, None))

    async def _run_items(self, node: Node, model: str | None) -> StepRun:
        loop = node.step.for_each
        assert loop is not None
        items = evaluated(template.expression(loop.in_), self._values, "its `for_each`")
        if not isinstance(items, list):
            hint = "give the list to go through, for example {{ questions }}"
            raise PromptChainError(f"`for_each` needs a list, not {describe(items)}", hint=hint)
        self._emit(StepStarted(node.id, model, len(items)))
        self._items[node.id] = [None] * len(items)
        gate = asyncio.Semaphore(loop.concurrency or max(1, len(items)))
        work = (self._item(node, {loop.as_: item, "index": index}, gate) for index, item in enumerate(items))
        runs = tuple(await together(work))
        failed = [(index, item) for index, item in enumerate(runs) if item.status is Status.FAILED]
        # A ceiling that is reached is not the fault of an item, and what comes of it is not to be taken for a result.
        if failed and (loop.on_error == "fail" or self._caller.exhausted):
            index, first = failed[0]
            more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            error = f"item {index + 1} of {len(runs)}: {first.error}{more}"
            return StepRun(status=Status.FAILED, items=runs, error=error, hint=first.hint, fault=first.fault)
        value = [item.value for item in runs]
        return StepRun(status=Status.DONE, value=value, items=runs, warnings=_skipped(failed, len(runs)))

    async def _item(self, node: Node, names: Mapping[str, Any], gate: asyncio.Semaphore) -> StepRun:
        index = names["index"]
        async with gate:
            began = perf_counter() - self._start
            try:
                result = attempt.done(await self._attempt(node, {**self._values, **names}, index))
            except PromptChainError as exc:
                result = attempt.failed(exc)
            seconds = perf_counter() - self._start - began
            result = result.model_copy(update={"started": round(began, 6), "seconds": round(seconds, 6)})
            self._items[node.id][index] = result
            self._emit(ItemEnded(node.id, index, result))
            return result

    async def _attempt(self, node: Node, values: Mapping[str, Any], item: int | None) -> Outcome:
        return await attempt.attempt(self._bound.step(node.id), values, self._context(node, values, item))

    def _context(self, node: Node, values: Mapping[str, Any], item: int | None) -> Context:
        name, step = node.id, node.step
        calls: list[Call] = []
        tools: list[ToolRun] = []
        runs: list[Run] = []
        self._made[name, item] = calls, tools, runs  # not the context: it knows this run, which would be a circle
        return Context(
            self._caller,
            self._bound.workshop,
            step=name,
            on_text=(lambda text: self._emit(StepText(name, text, item))) if self._stream else None,
            on_retry=lambda reason, wait: self._emit(StepRetried(name, reason, wait, item)),
            on_tool=lambda tool, ended: self._emit((ToolEnded if ended else ToolStarted)(name, tool, item)),
            judge=attempt.judge(step, self._bound.plan.chain.test, self._caller, self._bound.workshop, values, calls),
            run_chain=lambda plan, inputs, record: self._run_chain(plan, inputs, record, name, item),
            clock=lambda: perf_counter() - self._start,
            calls=calls,
            tools=tools,
            runs=runs,
        )

    async def _run_chain(
        self, plan: BoundPlan, inputs: Mapping[str, Any], record: Callable[[Run], None], name: str, item: int | None
    ) -> Run:
        """Run the chain of a step; its events are told as those of `step.inner` (see `events.Event`)."""
        own = name if item is None else f"{name}[{item}]"
        place = next(
            each for number in count(1) if (each := own if number == 1 else f"{own}#{number}") not in self._inner
        )
        self._inner.add(place)

        def observe(event: Event) -> None:
            self._emit(replace(event, step=f"{place}.{event.step}"))

        try:
            return await run(
                plan,
                inputs,
                self._caller,
                observe=observe if self._observe else None,
                record=record,
                stream=self._stream,
            )
        finally:
            self._inner.discard(place)

    def _emit(self, event: Event) -> None:
        if self._observe:
            self._observe(event)
