"""The Python API: load a chain and run it from code."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from promptchain import inputs, runner, trust
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.errors import PromptChainError, UsageError
from promptchain.events import Observer, RunEnded, RunEvent, RunStarted
from promptchain.feed import Feed
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM
from promptchain.project import Ceilings, Project
from promptchain.recording import Recorder
from promptchain.records import Run, Status
from promptchain.steps.workshop import Approve, Wish

if TYPE_CHECKING:
    from promptchain.tracing.spans import Tracer


class StaleWarning(UserWarning):
    """What compiled prompts were made from has changed since; `chain compile` mends it."""


class RunError(PromptChainError):
    """A run failed. `run` is its record: what was done, and which step failed why."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.error or "the run failed", hint=run.hint)
        self.run = run


class LoadedChain:
    """A chain that is ready to run, as `load` gives it. Safe to use from several tasks of one event loop."""

    def __init__(
        self,
        project: Project,
        bound: BoundPlan,
        lm: LM,
        ceilings: Ceilings,
        recorder: Recorder | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._bound = bound
        self._lm = lm
        self._recorder = recorder
        self._tracer = tracer
        self._concurrency = project.settings.concurrency
        self._budget = project.budget(lm, bound, ceilings)
        self._callers: WeakKeyDictionary[asyncio.AbstractEventLoop, Caller] = WeakKeyDictionary()

    @property
    def chain(self) -> Chain:
        """The chain file, as a model."""
        return self._bound.plan.chain

    def run(self, **values: Any) -> Run:
        """Run the chain on its inputs, by name, and wait for it.

        Raises InputError for inputs that do not fit, RunError when a step fails; UsageError inside of a running event
        loop, where `await chain.arun(...)` is the way.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._alone(values))
        raise UsageError("run() cannot be used inside of an event loop", hint="await arun(…) instead")

    async def _alone(self, values: dict[str, Any]) -> Run:
        """The only run on its event loop, with which its indexes and servers end."""
        try:
            return await self.arun(**values)
        finally:
            await self._bound.workshop.aclose()

    async def arun(self, **values: Any) -> Run:
        """As `run`, for async code. Cancelling the task stops the model calls."""
        result = await self._run(inputs.check(self.chain, values))
        if result.status is not Status.DONE:
            raise RunError(result)
        return result

    def stream(self, **values: Any) -> AsyncGenerator[RunEvent]:
        """The events of one run as they happen, with the replies piece by piece: see `promptchain.events`.

        The first is RunStarted, the last RunEnded with the record. A run that fails raises nothing: the status and the
        error of that record say it. A reader that is slow gets longer pieces, and never holds up the run. Leaving the
        generator early (`break`, `aclose`) stops the model calls.
        Raises InputError at once for inputs that do not fit.

        >>> async for event in support.stream(message="Where is my card?"):    # doctest: +SKIP
        ...     if isinstance(event, events.StepText): print(event.text, end="")
        """
        return self._stream(inputs.check(self.chain, values))

    async def _stream(self, checked: dict[str, Any]) -> AsyncGenerator[RunEvent]:
        feed = Feed()
        yield RunStarted(self.chain.name, self._bound.model, checked)
        work = asyncio.create_task(self._run(checked, feed.put))
        work.add_done_callback(lambda _: feed.close())
        try:
            async for event in feed:
                yield event
            yield RunEnded(await work)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait([work])

    async def _run(self, checked: dict[str, Any], observe: Observer | None = None) -> Run:
        """Run, and keep and trace the record: also that of a run which is cancelled."""
        stopped: list[Run] = []
        try:
            result = await runner.run(
                self._bound, checked, self._caller(), observe=observe, stream=observe is not None, record=stopped.append
            )
        except BaseException:
            for run in stopped:
                await self._keep(run)
            raise
        return await self._keep(result)

    async def _keep(self, run: Run) -> Run:
        if self._recorder is not None:
            run = await asyncio.to_thread(self._recorder.keep, run)
        if self._tracer is not None:
            self._tracer.trace(run, self.chain)
        return run

    def close(self) -> None:
        """Free the models; a local one holds its weights in memory until then. What async runs have opened beside them
        is closed by `aclose`, or else by the end of the event loop."""
        self._lm.close()

    async def aclose(self) -> None:
        """As `close`, and close what runs on this event loop have opened: the indexes of files that are searched, and
        servers of tools. No run may be under way; `async with` does it at its end."""
        await self._bound.workshop.aclose()
        self.close()

    async def __aenter__(self) -> LoadedChain:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> LoadedChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _caller(self) -> Caller:
        """One for each event loop, so that the runs of a loop share the bound on calls in flight."""
        loop = asyncio.get_running_loop()
        if loop not in self._callers:
            self._callers[loop] = Caller(self._lm, concurrency=self._concurrency, budget=self._budget)
        return self._callers[loop]


def load(
    reference: str,
    *,
    model: str | None = None,
    lm: LM | None = None,
    cache: bool = False,
    max_cost: float | None = None,
    record: bool = False,
    source: bool = False,
    approve: Callable[[Wish], Awaitable[bool] | bool] | None = None,
    trace: bool = False,
    project: str | Path | None = None,
) -> LoadedChain:
    """Load a chain from the project around the current folder, or around `project`: by name or file from the work
    tree, or a version, as "support@production", "support@v7" or "support@git:main".

    model: in place of the chain's own; lm: what to call in place of the models that the names stand for, such as
    ScriptedLM in tests. cache: use the response cache. max_cost: US dollars that all runs may spend.
    record: keep the version and a record of each run in the store, as `chain run` does. source: ignore the compiled
    prompts of the chain's lock, which are used otherwise, with a warning (StaleWarning) where they are stale.
    approve: asked before a tool marked `confirm` is called, an async function or a plain one, which runs on the event
    loop; without it no such tool is called. trace: make OpenTelemetry spans of each run, under the current span of the
    caller: through the tracer provider of the process where there is one, else to OTEL_EXPORTER_OTLP_ENDPOINT.

    Files that are searched are looked at once for each event loop, and servers of tools started once, until `aclose`: a
    process that serves for days sees edited pages when it loads the chain anew.
    Raises UsageError for an unknown name, InvalidFileError for a chain file with problems.

    >>> promptchain.load("support").run(message="Where is my card?").outputs["reply"]    # doctest: +SKIP
    """
    found = Project.find(Path(project) if project is not None else None)
    chain = found.load(reference)
    trust.check(found, reference, chain)
    models = lm if lm is not None else found.lm(cache=cache)
    lock = None if source else found.lock(reference)
    asked = _asking(approve) if approve is not None else None
    tracer = _tracer() if trace else None
    bound = found.bind(chain, models, [model] if model else [], lock=lock, stand_in=lm is not None, approve=asked)
    if bound.adopted is not None and bound.adopted.problem:
        message = f"{bound.adopted.problem}; mend it with: {bound.adopted.command}"
        warnings.warn(message, StaleWarning, stacklevel=2)
    recorder = Recorder(found, reference, chain, any_lock=source) if record else None
    return LoadedChain(found, bound, models, Ceilings(cost=max_cost), recorder, tracer)


def _asking(approve: Callable[[Wish], Awaitable[bool] | bool]) -> Approve:
    if not callable(approve):
        raise UsageError("approve is a function that gets a wish", hint="approve=lambda wish: wish.tool == 'refund'")

    async def ask(wish: Wish) -> bool:
        said = approve(wish)
        return bool(await said if inspect.isawaitable(said) else said)

    return ask


def _tracer() -> Tracer | None:
    from promptchain.tracing import export

    return export.of_process()
