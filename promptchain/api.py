"""The Python API: load a chain and run it from code."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from promptchain import inputs, runner, trust
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.errors import PromptChainError, UsageError
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM
from promptchain.project import Ceilings, Project
from promptchain.recording import Recorder
from promptchain.records import Run, Status


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
        self, project: Project, bound: BoundPlan, lm: LM, ceilings: Ceilings, recorder: Recorder | None = None
    ) -> None:
        self._bound = bound
        self._lm = lm
        self._recorder = recorder
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
            return asyncio.run(self.arun(**values))
        raise UsageError("run() cannot be used inside of an event loop", hint="await arun(…) instead")

    async def arun(self, **values: Any) -> Run:
        """As `run`, for async code. Cancelling the task stops the model calls."""
        checked = inputs.check(self.chain, values)
        result = await runner.run(self._bound, checked, self._caller())
        if self._recorder is not None:
            result = await asyncio.to_thread(self._recorder.keep, result)
        if result.status is not Status.DONE:
            raise RunError(result)
        return result

    def close(self) -> None:
        """Free the models; a local one holds its weights in memory until then."""
        self._lm.close()

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
    project: str | Path | None = None,
) -> LoadedChain:
    """Load a chain from the project around the current folder, or around `project`: by name or file from the work
    tree, or a version, as "support@production", "support@v7" or "support@git:main".

    model: in place of the chain's own; lm: what to call in place of the models that the names stand for, such as
    ScriptedLM in tests. cache: use the response cache. max_cost: US dollars that all runs may spend.
    record: keep the version and a record of each run in the store, as `chain run` does. source: ignore the compiled
    prompts of the chain's lock, which are used otherwise, with a warning (StaleWarning) where they are stale.
    Raises UsageError for an unknown name, InvalidFileError for a chain file with problems.

    >>> promptchain.load("support").run(message="Where is my card?").outputs["reply"]    # doctest: +SKIP
    """
    found = Project.find(Path(project) if project is not None else None)
    chain = found.load(reference)
    trust.check(found, reference, chain)
    models = lm if lm is not None else found.lm(cache=cache)
    lock = None if source else found.lock(reference)
    bound = found.bind(chain, models, [model] if model else [], lock=lock, stand_in=lm is not None)
    if bound.adopted is not None and bound.adopted.problem:
        message = f"{bound.adopted.problem}; mend it with: {bound.adopted.command}"
        warnings.warn(message, StaleWarning, stacklevel=2)
    recorder = Recorder(found, reference, chain, any_lock=source) if record else None
    return LoadedChain(found, bound, models, Ceilings(cost=max_cost), recorder)
