"""Has what runs in the store: the chain as a version, in the background, and the records of its runs."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from promptchain.chain import Chain
from promptchain.errors import PromptChainError
from promptchain.project import Project
from promptchain.records import Run
from promptchain.store.spool import SEGMENT

if TYPE_CHECKING:
    from promptchain.store.versions import Version


class Recorder:
    """Records the runs of one chain. A store that cannot be written costs the record, never the answer, which is paid
    for: what went wrong is in `problems`.

    any_lock: see `snapshots.take`. Nothing of it waits for git before the first run has ended.
    """

    def __init__(self, project: Project, reference: str, chain: Chain, *, any_lock: bool = False) -> None:
        self.chain = chain
        self.problems: list[PromptChainError] = []
        self._project = project
        self._kept = 0
        self._version: Future[tuple[Version, bool]] = Future()
        # A daemon: a command that is ended early does not wait for a git that hangs.
        arguments = (reference, chain, any_lock)
        threading.Thread(target=self._keep_version, args=arguments, name="keep-version", daemon=True).start()

    def version(self) -> tuple[Version, bool] | None:
        """The version that runs, and whether it is new; None where it could not be kept."""
        problem = self._version.exception()  # not raised: it would gather the frames of every run of a batch
        if problem is None:
            return self._version.result()
        if isinstance(problem, PromptChainError) and problem not in self.problems:
            self.problems.append(problem)
        return None

    def keep(self, run: Run, *, durable: bool = True) -> Run:
        """Write a record, which cites the version that ran. durable: on disk when this returns."""
        kept = self.version()
        if kept is not None:
            run = run.model_copy(update={"source": kept[0].content, "version": kept[0].number})
        try:
            self._project.record(run, durable=durable)
            self._kept += 1
            if self._kept % SEGMENT == 1 or durable:
                self._project.flush()
        except PromptChainError as exc:
            if all(exc.message != other.message for other in self.problems):
                self.problems.append(exc)
        return run

    def _keep_version(self, reference: str, chain: Chain, any_lock: bool) -> None:
        try:
            self._version.set_result(self._project.keep(reference, chain, any_lock=any_lock))
        except PromptChainError as exc:
            self._version.set_exception(exc)
        except Exception as exc:
            self._version.set_exception(PromptChainError(f"the version could not be kept: {exc!r}"))
