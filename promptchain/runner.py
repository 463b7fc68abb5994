"""Executes a plan: every step starts as soon as what it needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from promptchain import template
from promptchain.chain import Chain, PromptStep
from promptchain.errors import PromptChainError, UsageError, known_or_nearest
from promptchain.events import Event, ItemEnded, Observer, StepEnded, StepRetried, StepStarted, StepText
from promptchain.lm.calls import Caller, Retry
from promptchain.lm.protocol import LM
from promptchain.plan import Node, Plan
from promptchain.records import Run, Status, StepRun, Variant, new_run_id, now, total
from promptchain.steps import prompt
from promptchain.steps.outcome import Outcome, StepError
from promptchain.steps.prompt import BoundPrompt
from promptchain.template import TemplateFault

DEFAULT_TIMEOUT = 120.0
"""Seconds for one call of a step that sets no `timeout`."""


@dataclass(frozen=True)
class Models:
    """Which model each step runs on.

    steps: for single steps, before all else. default: in place of the chain's model. last: where nothing names one.
    """

    default: str | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    last: str | None = None

    def of_chain(self, chain: Chain) -> str | None:
        """The model of the steps that have none of their own."""
        return self.default or chain.model or self.last

    def of(self, name: str, step: PromptStep, chain: Chain) -> str | None:
        return self.steps.get(name) or step.model or self.of_chain(chain)


@dataclass(frozen=True)
class BoundPlan:
    """A plan whose steps know their models, parameters and formats: ready to run on any number of inputs."""

    plan: Plan
    prompts: Mapping[str, BoundPrompt]
    model: str | None

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that a run may call."""
        return tuple(dict.fromkeys(model for bound in self.prompts.values() for model, _ in bound.models))


def bind(
    plan: Plan,
    lm: LM,
    models: Models | None = None,
    variant: Variant | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> BoundPlan:
    """Settle everything that does not depend on the inputs. timeout: seconds for a call where the step says nothing.

    Raises UsageError for a step without a model or an unknown
    step in `models`; PromptChainError for what cannot run."""
    models = models or Models()
    chain = plan.chain
    for name in models.steps:
        if name not in chain.steps:
            raise UsageError(f"unknown step '{name}'", hint=known_or_nearest(name, chain.steps, "steps"))
    prompts = {}
    for name, node in plan.nodes.items():
        step = node.step
        if not isinstance(step, PromptStep):
            raise PromptChainError(f"step '{name}': steps of the kind '{step.kind}' are not built yet")
        _refuse_unbuilt(name, step)
        model = models.of(name, step, chain)
        if model is None:
            hint = "set `model:` in the chain file or give --model; `chain models` lists what is usable here"
            raise UsageError(f"step '{name}' has no model", hint=hint)
        names = (model, *(fallback.model for fallback in step.fallbacks))
        prompts[name] = BoundPrompt(
            step=step,
            variant=variant.of(name, step) if variant else Variant.seed(step),
            params={**chain.params, **step.params},
            models=tuple((name, lm.capabilities(name)) for name in names),
            timeout=step.timeout or timeout,
            retry=Retry(errors=step.retry.errors),
        )
    return BoundPlan(plan, prompts, models.of_chain(chain))


def _refuse_unbuilt(name: str, step: PromptStep) -> None:
    for used, key in ((step.tools, "tools"), (step.samples > 1, "samples"), (step.assert_, "assert")):
        if used:
            raise PromptChainError(f"step '{name}': '{key}' is not built yet")


async def run(
    bound: BoundPlan,
    inputs: Mapping[str, Any],
    caller: Caller,
    *,
    observe: Observer | None = None,
    record: Callable[[Run], None] | None = None,
    stream: bool = False,
) -> Run:
    """Run the plan on checked inputs. A step that fails fails the run, but never raises: the Run says it.

    observe: receives events as they happen; with `stream` also the pieces of the replies.
    record: called once with the Run, also when the run is cancelled, before CancelledError goes on.
    Raises BudgetError's cause only through the Run; CancelledError when cancelled.
    """
    execution = _Execution(bound, inputs, caller, observe, stream)
    try:
        await execution.execute()
    except asyncio.CancelledError:
        await execution.abandon()
        if record:
            record(execution.result(interrupted=True))
        raise
    result = execution.result()
    if record:
        record(result)
    return result


def _done(outcome: Outcome) -> StepRun:
    return StepRun(
        status=Status.DONE,
        value=outcome.value,
        reasoning=outcome.reasoning,
        calls=outcome.calls,
        warnings=outcome.warnings,
    )


class _Execution:
    """One run under way."""

    def __init__(
        self, bound: BoundPlan, inputs: Mapping[str, Any], caller: Caller, observe: Observer | None, stream: bool
    ) -> None:
        self._bound = bound
        self._inputs = dict(inputs)
        self._values: dict[str, Any] = dict(inputs)
        self._caller = caller
        self._observe = observe
        self._stream = stream
        self._steps: dict[str, StepRun] = {}
        self._began: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
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
        failed = next(((name, step) for name, step in self._steps.items() if step.status is Status.FAILED), None)
        error = f"step '{failed[0]}' failed: {failed[1].error}" if failed else None
        status = Status.INTERRUPTED if interrupted else Status.FAILED if failed else Status.DONE
        hint = failed[1].hint if failed else None
        outputs: dict[str, Any] = {}
        if not interrupted:
            outputs, problem = self._outputs()
            if problem and not failed:
                status, error = Status.FAILED, problem
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
            error="interrupted" if interrupted else error,
            hint=hint,
            totals=total(steps),
        )

    def _unfinished(self, name: str) -> StepRun:
        began = self._began.get(name)
        seconds = 0.0 if began is None else perf_counter() - self._start - began
        return StepRun(status=Status.INTERRUPTED, started=began or 0.0, seconds=seconds)

    def _outputs(self) -> tuple[dict[str, Any], str | None]:
        """The chain's outputs, as far as the steps they use have run; null where a step they use was skipped."""
        outputs: dict[str, Any] = {}
        problem = None
        for name, text in self._bound.plan.outputs.items():
            parsed = template.parse(text)
            used = {ref.name: ref.tolerant for ref in parsed.references}
            states = {other: self._steps[other].status for other in used if other in self._steps}
            if any(status in (Status.FAILED, Status.BLOCKED) for status in states.values()):
                continue
            if any(status is Status.SKIPPED and not used[other] for other, status in states.items()):
                outputs[name] = None
                continue
            try:
                outputs[name] = parsed.value(self._values)
            except TemplateFault as exc:
                problem = problem or f"output '{name}': {exc.message}"
        return outputs, problem

    async def _node(self, node: Node) -> None:
        waits = [self._tasks[other] for other in node.after]
        if waits:
            await asyncio.gather(*waits)
        began = perf_counter() - self._start
        self._began[node.id] = began
        try:
            result = self._without_running(node) or await self._run_step(node)
        except StepError as exc:
            result = StepRun(status=Status.FAILED, error=exc.message, hint=exc.hint, calls=exc.calls)
        except PromptChainError as exc:
            result = StepRun(status=Status.FAILED, error=exc.message, hint=exc.hint)
        result = result.model_copy(
            update={"started": round(began, 6), "seconds": round(perf_counter() - self._start - began, 6)}
        )
        self._steps[node.id] = result
        self._values[node.id] = result.value
        self._emit(StepEnded(node.id, result))

    def _without_running(self, node: Node) -> StepRun | None:
        """How the step ends where it need not run: what it needs failed or was skipped, or its `when` is false."""
        states = {other: self._steps[other].status for other in node.after}
        for other, status in states.items():
            if status in (Status.FAILED, Status.BLOCKED):
                return StepRun(status=Status.BLOCKED, error=f"step '{other}' did not give a value")
        for other in node.needs:
            if states[other] is Status.SKIPPED:
                return StepRun(status=Status.SKIPPED, error=f"step '{other}' was skipped")
        if node.step.when is None or self._truth(node):
            return None
        return StepRun(status=Status.SKIPPED)

    def _truth(self, node: Node) -> bool:
        when = node.step.when
        if not isinstance(when, str):
            return bool(when)
        try:
            return bool(template.expression(when).value(self._values))
        except TemplateFault as exc:
            raise PromptChainError(f"in its `when`: {exc.message}", hint=exc.hint) from None

    async def _run_step(self, node: Node) -> StepRun:
        model = self._bound.prompts[node.id].model
        if node.step.for_each is not None:
            return await self._run_items(node, model)
        self._emit(StepStarted(node.id, model))
        outcome = await self._attempt(node, self._values, None)
        return _done(outcome)

    async def _run_items(self, node: Node, model: str) -> StepRun:
        loop = node.step.for_each
        assert loop is not None
        try:
            items = template.expression(loop.in_).value(self._values)
        except TemplateFault as exc:
            raise PromptChainError(f"in its `for_each`: {exc.message}", hint=exc.hint) from None
        if not isinstance(items, list | tuple):
            hint = "give the list to go through, for example {{ questions }}"
            raise PromptChainError(f"`for_each` needs a list, not {type(items).__name__}", hint=hint)
        self._emit(StepStarted(node.id, model, len(items)))
        gate = asyncio.Semaphore(loop.concurrency or max(1, len(items)))
        async with asyncio.TaskGroup() as group:
            work = [self._item(node, loop.as_, index, item, gate) for index, item in enumerate(items)]
            tasks = [group.create_task(item) for item in work]
        runs = [task.result() for task in tasks]
        failed = [(index, item) for index, item in enumerate(runs) if item.status is Status.FAILED]
        values = [item.value for item in runs]
        if failed and loop.on_error == "fail":
            index, first = failed[0]
            more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            error = f"item {index + 1} of {len(runs)}: {first.error}{more}"
            return StepRun(status=Status.FAILED, items=tuple(runs), error=error, hint=first.hint)
        return StepRun(status=Status.DONE, value=values, items=tuple(runs))

    async def _item(self, node: Node, name: str, index: int, item: Any, gate: asyncio.Semaphore) -> StepRun:
        async with gate:
            began = perf_counter() - self._start
            try:
                result = _done(await self._attempt(node, {**self._values, name: item, "index": index}, index))
            except PromptChainError as exc:
                calls = exc.calls if isinstance(exc, StepError) else ()
                result = StepRun(status=Status.FAILED, error=exc.message, hint=exc.hint, calls=calls)
            seconds = perf_counter() - self._start - began
            result = result.model_copy(update={"started": round(began, 6), "seconds": round(seconds, 6)})
            self._emit(ItemEnded(node.id, index, result))
            return result

    async def _attempt(self, node: Node, values: Mapping[str, Any], item: int | None) -> Outcome:
        def on_text(text: str) -> None:
            self._emit(StepText(node.id, text, item))

        def on_retry(reason: str, wait: float) -> None:
            self._emit(StepRetried(node.id, reason, wait, item))

        bound = self._bound.prompts[node.id]
        return await prompt.run(bound, values, self._caller, on_text if self._stream else None, on_retry)

    def _emit(self, event: Event) -> None:
        if self._observe:
            self._observe(event)
