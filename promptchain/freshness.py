"""Whether the prompts of a lock still are what compiling the chain would begin from: costs no tokens and no model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from promptchain import adopted, fingerprints, sources, testing
from promptchain.chain import Chain
from promptchain.errors import PromptChainError
from promptchain.fingerprints import SENT, Stale
from promptchain.lm.protocol import LM
from promptchain.lock import Entry, Lock
from promptchain.models import is_of_step
from promptchain.project import Project
from promptchain.tuning import effective


@dataclass(frozen=True, slots=True)
class Freshness:
    """The prompts of a chain for one model. compiled: whether the lock has an entry for it. kept: why the seed prompts
    were kept. stale: what is another than it was when the entry was made. command: what mends it."""

    chain: str
    model: str
    compiled: bool
    command: str
    stale: tuple[Stale, ...] = ()
    kept: str | None = None

    @property
    def fresh(self) -> bool:
        return self.compiled and not self.stale

    def to_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "model": self.model,
            "compiled": self.compiled,
            "fresh": self.fresh,
            "kept": self.kept,
            "stale": [stale.to_json() for stale in self.stale],
        }


def freshness(project: Project, name: str, models: Iterable[str] = ()) -> list[Freshness]:
    """How fresh each entry of the lock of a chain is, by model.

    models: as for `Project.models`; `MODEL`, of which there may be several, asks for these entries alone, also for one
    that is not there, `STEP=MODEL` says on what a step runs. Empty where nothing is compiled and nothing asked for.
    A chain that names another model than the one of its own that it was compiled for is not compiled for that.
    Raises UsageError, InvalidFileError, StoreError.
    """
    chain, lock = project.load(name), project.lock(name)
    words = list(models)
    steps = [word for word in words if is_of_step(word)]
    asked = dict.fromkeys(word for word in words if not is_of_step(word))
    project.models(steps)  # what is wrong with them is told even where there is no entry to look at
    lm = project.lm()
    try:
        named = asked or dict.fromkeys([*lock.models, *_swapped(project, chain, lock)])
        return [_of_model(project, chain, model, lock.models.get(model), steps, lm) for model in named]
    finally:
        lm.close()


def _swapped(project: Project, chain: Chain, lock: Lock) -> list[str]:
    """The chain's model, where it took the place of one that the chain was compiled for."""
    own = project.models().of_lock(chain)
    swapped = any(entry.made_from.default == model for model, entry in lock.models.items())
    return [own] if swapped and own is not None else []


def _of_model(project: Project, chain: Chain, model: str, entry: Entry | None, steps: list[str], lm: LM) -> Freshness:
    own = project.models().of_lock(chain)
    command = adopted.command(chain.name, None if model == own else model)
    if entry is None:
        return Freshness(chain.name, model, compiled=False, command=command)
    chosen = replace(project.models(steps), default=model)
    by_step = chosen.by_step(chain)
    try:
        checks, choices = testing.assertions(project, chain)
        data = testing.data(project, chain)
    except PromptChainError as exc:  # gone, or broken: what was made with it cannot be made again
        found = fingerprints.stale(entry, fingerprints.sent_by(chain, by_step, lm), SENT)
        found += (Stale("dataset", f"the test data cannot be read: {exc.message}"),)
    else:
        now = fingerprints.made_from(
            _as_compiled(chain, entry),
            by_step,
            lm,
            data=data,
            checks=(*checks, *choices),
            sources=project.sources(chain),
        )
        found = fingerprints.stale(entry, now, used=sources.told(chain))
    return Freshness(chain.name, model, compiled=True, command=command, stale=found, kept=entry.kept)


def _as_compiled(chain: Chain, entry: Entry) -> Chain:
    """The chain with the settings that compiling it again would have."""
    with suppress(ValidationError):  # somebody edited those of the lock: then they are no longer what it was made with
        return chain.model_copy(update={"compile": effective(chain.compile, entry.settings)})
    return chain
