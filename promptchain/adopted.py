"""Which prompts of its lock a run takes: those adopted for its model, as far as they still fit the chain."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from promptchain import checks, fingerprints, plan
from promptchain.chain import Chain, Demo, PromptStep, Text, digest
from promptchain.errors import StaleError, StoreError
from promptchain.fingerprints import SENT, Stale
from promptchain.lm.protocol import LM
from promptchain.lock import Entry, Lock
from promptchain.records import StepVariant, UsedVariant, Variant
from promptchain.template import TemplateFault


@dataclass(frozen=True)
class Adopted:
    """What a lock has for a chain on the model that its steps run on.

    model: None where no step has one. entry: None where the lock has none for the model; others: models it has one for.
    variant: what a run takes from it; None where it runs on the words of the chain file. stale: what of that which is
    sent has changed since. unfit: the steps whose compiled parts do not fit any more, and why; they run on the file's
    words. own: the model is the one that the chain file names.
    """

    chain: str
    model: str | None = None
    entry: Entry | None = None
    variant: Variant | None = None
    stale: tuple[Stale, ...] = ()
    unfit: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    own: bool = True

    @property
    def used(self) -> UsedVariant | None:
        """What the record of a run says of it."""
        return UsedVariant(model=self.variant.model, steps=tuple(self.variant.steps)) if self.variant else None

    @cached_property
    def fingerprint(self) -> str:
        """Tells the prompts that are used from others."""
        return digest(self.variant.model_dump(mode="json") if self.variant else None)

    @property
    def fresh(self) -> bool:
        """Whether there is an entry, and all of it can be used as it was compiled."""
        return self.entry is not None and not self.stale and not self.unfit

    @property
    def command(self) -> str:
        """What mends it."""
        return command(self.chain, None if self.own else self.model)

    @property
    def problem(self) -> str | None:
        """Why a run on this is not what was compiled; None where it is, and where nothing compiled is used."""
        return self._stale() if self.entry and (self.entry.steps or self.unfit) and not self.fresh else None

    def require_fresh(self) -> None:
        """Raises StaleError."""
        if self.entry is None:
            only = f", only for {', '.join(self.others)}" if self.others else ""
            said = f"the chain '{self.chain}' is not compiled for {self.model or 'a model'}{only}"
            raise StaleError(said, hint=self.command)
        if not self.fresh:
            raise StaleError(self._stale(), hint=self.command)

    def _stale(self) -> str:
        reasons = [stale.message for stale in self.stale]
        reasons += [f"step '{name}' runs on the file's words, for {why}" for name, why in self.unfit.items()]
        return f"the prompts of '{self.chain}' compiled for {self.model} are stale: {'; '.join(reasons)}"


def command(chain: str, model: str | None) -> str:
    """What compiles a chain for a model; None for its own."""
    return f"chain compile {chain}" + (f" --model {shlex.quote(model)}" if model else "")


def choose(chain: Chain, lock: Lock, model: str | None, models: Mapping[str, str], lm: LM | None) -> Adopted:
    """What a run takes from the lock.

    model: whose entry. models: by prompt step; see `models.Models`. lm: see `fingerprints.model_print`."""
    others = tuple(name for name in lock.models if name != model)
    entry = lock.models.get(model) if model is not None else None
    if model is None or entry is None:
        return Adopted(chain.name, model, others=others, own=model == chain.model)
    changed = fingerprints.stale(entry, fingerprints.sent_by(chain, models, lm), SENT)
    misfits = unfit(chain, entry.steps)
    taken = {name: parts for name, parts in entry.steps.items() if name not in misfits and name in chain.steps}
    variant = Variant(model=model, steps=taken) if taken else None
    return Adopted(chain.name, model, entry, variant, changed, misfits, others, own=model == chain.model)


def again(chain: Chain, lock: Lock, used: UsedVariant) -> Adopted:
    """What a recorded run took from the lock, which is that of the version that ran. Raises StoreError where it has no
    such prompts."""
    entry = lock.models.get(used.model)
    if entry is None or not set(used.steps) <= entry.steps.keys():
        raise StoreError(f"the version does not have the prompts compiled for {used.model} that the run used")
    variant = Variant(model=used.model, steps={name: entry.steps[name] for name in used.steps})
    return Adopted(chain.name, used.model, entry, variant)


def unfit(chain: Chain, steps: Mapping[str, StepVariant]) -> dict[str, str]:
    """The steps whose compiled parts the chain, as it is, could not have itself, and why; those that are gone are
    none."""
    found: dict[str, str] = {}
    changed = chain
    for name, parts in steps.items():
        step = chain.steps.get(name)
        if step is None:
            continue
        if not isinstance(step, PromptStep):
            found[name] = f"it is a step of the kind '{step.kind}' now"
            continue
        changed = changed.with_step(name, _with_parts(step, parts))
        if late := _not_waited_for(name, step, changed):
            found[name] = f"its compiled instructions use '{late}', which the step does not wait for"
    if changed is not chain:
        for fault in checks.check(changed):
            if fault.path[:1] == ("steps",) and fault.path[1] in steps:
                found.setdefault(str(fault.path[1]), fault.message)
    return found


def _with_parts(step: PromptStep, parts: StepVariant) -> PromptStep:
    """The step as if the chain file said the compiled parts."""
    pool: tuple[Demo, ...] = parts.nearest.pool if parts.nearest else ()
    changes: dict[str, object] = {"demos": (step.demos if parts.demos is None else parts.demos) + pool}
    if parts.instructions is not None:
        changes["instructions"] = Text(text=parts.instructions)
    if parts.format is not None:
        changes["format"] = parts.format
    return step.model_copy(update=changes)


def _not_waited_for(name: str, step: PromptStep, changed: Chain) -> str | None:
    """A step that only the compiled instructions use: the plan is that of the chain file."""
    steps = frozenset(changed.steps)
    try:
        after = plan.node(name, changed.steps[name], steps).after - plan.node(name, step, steps).after
    except TemplateFault:
        return None  # the checks tell of it
    return min(after, default=None)
