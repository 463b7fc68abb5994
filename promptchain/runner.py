"""Executes a plan: every step starts as soon as what it needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from jinja2 import TemplateError

from promptchain import template
from promptchain.adopted import Adopted
from promptchain.chain import Chain, PromptStep
from promptchain.model import describe
from promptchain.errors import ModelError, PromptChainError, UsageError, known_or_nearest
from promptchain.events import Event, ItemEnded, Observer, StepEnded, StepRetried, StepStarted, StepText
from promptchain.lm.calls import Caller, Retry
from promptchain.lm.protocol import LM
from promptchain.plan import Node, Plan
from promptchain.records import Call, Run, Status, StepRun, StepVariant, Variant, new_run_id, now, storable, total
from promptchain.steps import prompt
from promptchain.steps.outcome import Outcome, StepError
from promptchain.steps.prompt import BoundPrompt
from promptchain.template import Template, TemplateFault

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

    def by_step(self, chain: Chain) -> dict[str, str]:
        """The model of each prompt step that has one."""
        prompts = {name: step for name, step in chain.steps.items() if isinstance(step, PromptStep)}
        return {name: model for name, step in prompts.items() if (model := self.of(name, step, chain))}

    def of_lock(self, chain: Chain) -> str | None:
        """The model under which a lock has the prompts of the chain: that of the steps that have none of their own;
        where all have one, that of the first."""
        return self.of_chain(chain) or next(iter(self.by_step(chain).values()), None)


@dataclass(frozen=True)
class BoundPlan:
    """A plan whose steps know their models, parameters and formats: ready to run on any number of inputs.

    adopted: what its prompts are of the chain's lock, where that was looked at.
    """

    plan: Plan
    prompts: Mapping[str, BoundPrompt]
    model: str | None
    adopted: Adopted | None = None

    def sampled(self, sample: int) -> BoundPlan:
        """The plan for the `sample`-th draw of the same: its answers are kept apart from those of the others."""
        return replace(self, prompts={name: replace(bound, sample=sample) for name, bound in self.prompts.items()})

    def varied(self, variants: Mapping[str, StepVariant]) -> BoundPlan:
        """The plan with other parameters for some steps: complete ones, as `Variant.of` gives them."""
        changed = {name: replace(self.prompts[name], variant=variant) for name, variant in variants.items()}
        return replace(self, prompts={**self.prompts, **changed})

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
    asserted: bool = False,
) -> BoundPlan:
    """Settle everything that does not depend on the inputs. timeout: seconds for a call where the step says nothing.
    asserted: the steps' own assertions are seen to by whoever runs it.

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
        _refuse_unbuilt(name, step, asserted=asserted)
        model = models.of(name, step, chain)
        if model is None:
            hint = "set `model:` in the chain file or give --model; `chain models` lists what is usable here"
            raise UsageError(f"step '{name}' has no model", hint=hint)
        names = (model, *(fallback.model for fallback in step.fallbacks))
        own = variant.of(name, step) if variant else Variant.seed(step)
        if own.nearest and own.nearest.by != "lexical":
            _refuse_without_embedder(name, own.nearest.by)
        prompts[name] = BoundPrompt(
            step=step,
            variant=own,
            params={**chain.params, **step.params},
            models=tuple((name, lm.capabilities(name)) for name in names),
            timeout=step.timeout or timeout,
            retry=Retry(errors=step.retry.errors),
        )
    return BoundPlan(plan, prompts, models.of_chain(chain))


def _refuse_without_embedder(name: str, by: str) -> None:
    from promptchain.lm import embed

    if not embed.installed():
        message = f"step '{name}' was compiled to pick its examples by {by}, which needs the package wordllama"
        raise PromptChainError(message, hint=embed.INSTALL)


def _refuse_unbuilt(name: str, step: PromptStep, *, asserted: bool) -> None:
    checked = step.assert_ and not asserted
    for used, key in ((step.tools, "tools"), (step.samples > 1, "samples"), (checked, "assert")):
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


def _done(outcome: Outcome) -> StepRun:
    return StepRun(
        status=Status.DONE,
        value=outcome.value,
        reasoning=outcome.reasoning,
        calls=outcome.calls,
        warnings=outcome.warnings,
    )


def _failed(error: PromptChainError) -> StepRun:
    calls = error.calls if isinstance(error, StepError) else ()
    cause = error.__cause__ if isinstance(error, StepError) else error
    fault = cause.fault if isinstance(cause, ModelError) else None
    return StepRun(status=Status.FAILED, error=error.message, hint=error.hint, fault=fault, calls=calls)


def _evaluate(parsed: Template, values: Mapping[str, Any], what: str) -> Any:
    """The value of an expression as plain JSON: what a filter gives bit by bit becomes a list."""
    try:
        return storable(parsed.value(values))
    except TemplateFault as exc:
        raise PromptChainError(f"{what}: {exc.message}", hint=exc.hint) from None
    except (
        TemplateError,
        ValueError,
        TypeError,
    ) as exc:  # what `map` and the like raise only when they are gone through
        raise PromptChainError(f"{what}: {exc}") from None


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
        self._values: dict[str, Any] = dict(inputs)
        self._caller = caller
        self._observe = observe
        self._stream = stream
        self._given = given
        self._forced = forced
        self._steps: dict[str, StepRun] = {}
        self._began: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._items: dict[str, list[StepRun | None]] = {}
        self._calls: dict[tuple[str, int | None], list[Call]] = {}
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
        items = (
            item or StepRun(status=Status.INTERRUPTED, calls=tuple(self._calls.get((name, index), ())))
            for index, item in enumerate(self._items.get(name, ()))
        )
        return StepRun(
            status=Status.INTERRUPTED,
            started=round(began or 0.0, 6),
            seconds=0.0 if began is None else round(perf_counter() - self._start - began, 6),
            calls=tuple(self._calls.get((name, None), ())),
            items=tuple(items),
        )

    def _outputs(self) -> tuple[dict[str, Any], str | None, str | None]:
        """The chain's outputs, as far as the steps they use have run; null where a step they use was skipped.

        And what is wrong with the first that cannot be made, with a hint.
        """
        outputs: dict[str, Any] = {}
        problem, hint = None, None
        for name, text in self._bound.plan.outputs.items():
            parsed = template.parse(text)
            used = {ref.name: self._steps[ref.name].status for ref in parsed.references if ref.name in self._steps}
            strictly = {ref.name for ref in parsed.references if not ref.tolerant}
            if any(status in (Status.FAILED, Status.BLOCKED) for status in used.values()):
                continue
            if any(status is Status.SKIPPED and other in strictly for other, status in used.items()):
                outputs[name] = None
                continue
            try:
                outputs[name] = _evaluate(parsed, self._values, f"output '{name}'")
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
            result = _failed(exc)
        result = result.model_copy(
            update={"started": round(began, 6), "seconds": round(perf_counter() - self._start - began, 6)}
        )
        self._steps[node.id] = result
        self._values[node.id] = self._forced.get(node.id, result.value)
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
            true = bool(_evaluate(parsed, self._values, "its `when`"))
        except PromptChainError:
            # `order.total > 5` where the step `order` was skipped, and so is null, is no more than false.
            without = next((ref.name for ref in parsed.references if ref.name in skipped), None)
            if without is None:
                raise
            return StepRun(status=Status.SKIPPED, error=f"step '{without}' was skipped")
        return None if true else StepRun(status=Status.SKIPPED)

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
        items = _evaluate(template.expression(loop.in_), self._values, "its `for_each`")
        if not isinstance(items, list):
            hint = "give the list to go through, for example {{ questions }}"
            raise PromptChainError(f"`for_each` needs a list, not {describe(items)}", hint=hint)
        self._emit(StepStarted(node.id, model, len(items)))
        self._items[node.id] = [None] * len(items)
        gate = asyncio.Semaphore(loop.concurrency or max(1, len(items)))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._item(node, {loop.as_: item, "index": index}, gate))
                for index, item in enumerate(items)
            ]
        runs = tuple(task.result() for task in tasks)
        failed = [(index, item) for index, item in enumerate(runs) if item.status is Status.FAILED]
        # A ceiling that is reached is not the fault of an item, and what comes of it is not to be taken for a result.
        if failed and (loop.on_error == "fail" or self._caller.exhausted):
            index, first = failed[0]
            more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            error = f"item {index + 1} of {len(runs)}: {first.error}{more}"
            return StepRun(status=Status.FAILED, items=runs, error=error, hint=first.hint, fault=first.fault)
        warnings = (f"{len(failed)} of {len(runs)} items failed, and are null",) if failed else ()
        return StepRun(status=Status.DONE, value=[item.value for item in runs], items=runs, warnings=warnings)

    async def _item(self, node: Node, names: Mapping[str, Any], gate: asyncio.Semaphore) -> StepRun:
        index = names["index"]
        async with gate:
            began = perf_counter() - self._start
            try:
                result = _done(await self._attempt(node, {**self._values, **names}, index))
            except PromptChainError as exc:
                result = _failed(exc)
            seconds = perf_counter() - self._start - began
            result = result.model_copy(update={"started": round(began, 6), "seconds": round(seconds, 6)})
            self._items[node.id][index] = result
            self._emit(ItemEnded(node.id, index, result))
            return result

    async def _attempt(self, node: Node, values: Mapping[str, Any], item: int | None) -> Outcome:
        def on_text(text: str) -> None:
            self._emit(StepText(node.id, text, item))

        def on_retry(reason: str, wait: float) -> None:
            self._emit(StepRetried(node.id, reason, wait, item))

        bound = self._bound.prompts[node.id]
        calls = self._calls[node.id, item] = []
        return await prompt.run(bound, values, self._caller, on_text if self._stream else None, on_retry, calls)

    def _emit(self, event: Event) -> None:
        if self._observe:
            self._observe(event)
