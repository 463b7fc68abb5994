"""Two locks → what compiling changed: model by model and step by step, texts word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promptchain.chain import Chain, PromptStep
from promptchain.changes import Change, Kind, compare_demos, compare_values
from promptchain.lock import Compared, Entry, Lock
from promptchain.records import StepVariant, Variant
from promptchain.rounding import fixed

POOL = "nearest.pool"
"""The part that may hold hundreds of examples."""


@dataclass(frozen=True, slots=True)
class VariantChange:
    """What became of the prompts for a model. steps: the changed parts of each step that changed; a part is
    `instructions`, `demos`, `format`, `reasoning`, or of the nearest examples `nearest.count`, `.by` and `.pool`.

    entry: as it is after the change; None where there is none any more.
    """

    kind: Kind
    model: str
    steps: Mapping[str, tuple[Change, ...]]
    entry: Entry | None

    @property
    def summary(self) -> str:
        """As a log says it: compiled for local/smollm2: intent 34 % → 86 %."""
        if self.entry is None:
            return f"no longer compiled for {self.model}"
        if not self.entry.steps:
            return f"kept the seed prompts for {self.model}"
        return f"compiled for {self.model}: {figures(self.entry)}"

    def to_json(self) -> dict[str, Any]:
        steps = {name: [change.to_json() for change in changes] for name, changes in self.steps.items()}
        facts = self.entry.facts() if self.entry else None
        return {"kind": self.kind.value, "model": self.model, "steps": steps, "compiled": facts}


@dataclass(frozen=True, slots=True)
class LockDiff:
    """What changed from one lock to another, by the names of the models; false where nothing did."""

    models: tuple[VariantChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.models)

    @property
    def summary(self) -> str:
        return "; ".join(change.summary for change in self.models)

    def only(self, step: str) -> LockDiff:
        """What changed in one step."""
        kept = (
            VariantChange(change.kind, change.model, {step: change.steps[step]}, change.entry)
            for change in self.models
            if step in change.steps
        )
        return LockDiff(tuple(kept))

    def to_json(self) -> list[dict[str, Any]]:
        return [change.to_json() for change in self.models]


def figures(entry: Entry) -> str:
    """The compiled steps, with their held-out shares where there are some: intent 34 % → 86 %, reply."""
    told = [_figure(name, entry.by_step.get(name)) for name in entry.steps]
    if entry.test and not any(name in entry.by_step for name in entry.steps):
        return _figure(", ".join(entry.steps), entry.test)
    return ", ".join(told)


def _figure(name: str, compared: Compared | None) -> str:
    return f"{name} {fixed(100 * compared.before, 0)} % → {fixed(100 * compared.after, 0)} %" if compared else name


def compare(before: Lock, after: Lock, chains: tuple[Chain, Chain] | None = None) -> LockDiff:
    """What changed in the prompts, and what was compiled anew. The rest of an entry, what it cost say, is no change.

    chains: both sides, whose own words stand for what is not compiled."""
    seeds = [_seeds(chain) for chain in chains] if chains else [{}, {}]
    found = []
    for model in sorted({*before.models, *after.models}):
        old, new = before.models.get(model), after.models.get(model)
        sides = [(entry.steps if entry else {}, seed) for entry, seed in zip((old, new), seeds, strict=True)]
        steps = dict(_steps(*sides))
        if old is None or new is None:
            kind = Kind.ADDED if old is None else Kind.REMOVED
        elif steps or old.made_from != new.made_from:
            kind = Kind.CHANGED
        else:
            continue
        found.append(VariantChange(kind, model, steps, new))
    return LockDiff(tuple(found))


_Side = tuple[Mapping[str, StepVariant], Mapping[str, StepVariant]]
"""The compiled parts of each step, and those of the chain file."""


def _seeds(chain: Chain) -> dict[str, StepVariant]:
    return {name: Variant.seed(step) for name, step in chain.steps.items() if isinstance(step, PromptStep)}


def _steps(before: _Side, after: _Side) -> Iterator[tuple[str, tuple[Change, ...]]]:
    none = StepVariant()
    for name in sorted({*before[0], *after[0]}):
        own = [_data(parts.get(name, none)) for parts, _ in (before, after)]
        compiled = {part for data in own for part in data}
        full = [_data(seeds.get(name, none)) | data for (_, seeds), data in zip((before, after), own, strict=True)]
        old, new = ({part: data[part] for part in data if part in compiled} for data in full)
        if changes := tuple(_parts(old, new)):
            yield name, changes


def _data(step: StepVariant) -> dict[str, Any]:
    """The parts of a step that are compiled, as JSON; those of `nearest` by names of their own."""
    data = step.model_dump(mode="json", exclude_none=True)
    nearest = data.pop("nearest", {})
    return data | {f"nearest.{name}": value for name, value in nearest.items()}


def _parts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        if name not in before:
            yield Change(Kind.ADDED, (name,), after=after[name])
        elif name not in after:
            yield Change(Kind.REMOVED, (name,), before=before[name])
        elif name in ("demos", POOL):
            yield from compare_demos((name,), before[name], after[name])
        else:
            yield from compare_values((name,), before[name], after[name])
