"""Two chains → what changed, step by step, field by field, word by word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptchain import renames
from promptchain.chain import Chain, ChainStep, PromptStep
from promptchain.changes import Change, Kind, Place, compare_demos, compare_mappings, compare_values, key
from promptchain.parts import Tool
from promptchain.uses import tool_name

MAX_SUMMARY = 60
"""Characters of a summary."""


@dataclass(frozen=True, slots=True)
class StepChange:
    """What became of a step. was: its name before, where it was renamed. step_kind: prompt, retrieve, python or chain.

    fields: what changed in it; of a step that came or went, all that it says.
    """

    kind: Kind
    name: str
    step_kind: str
    fields: tuple[Change, ...] = ()
    was: str | None = None

    @property
    def title(self) -> str:
        """What the summary calls it: +check, -check, intent→topic, reply."""
        signs = {Kind.ADDED: "+", Kind.REMOVED: "-"}
        return f"{self.was}→{self.name}" if self.was else signs.get(self.kind, "") + self.name

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind.value, "step": self.name, "step_kind": self.step_kind}
        data |= {"was": self.was} if self.was else {}
        return data | {"fields": [change.to_json() for change in self.fields]}


@dataclass(frozen=True, slots=True)
class Stat:
    """How many words came and went in a field. step: None for a field of the chain itself."""

    step: str | None
    field: str
    kind: Kind
    added: int
    removed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step, "field": self.field, "kind": self.kind.value,
            "added": self.added, "removed": self.removed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class InnerDiff:
    """What changed in a chain that both sides run. steps: those that run it, or whose chains or tools do."""

    name: str
    diff: ChainDiff
    steps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ChainDiff:
    """What changed from one chain to another; false when nothing did. The name of a chain is none of its content.

    steps: in the order of the file after the change, those that went at the end. fields: of the chain itself. chains:
    those in it that changed.
    """

    steps: tuple[StepChange, ...] = ()
    fields: tuple[Change, ...] = ()
    chains: tuple[InnerDiff, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.fields or self.chains)

    @property
    def renamed(self) -> dict[str, str]:
        """Old name → new name of the steps that were renamed."""
        return {step.was: step.name for step in self.steps if step.was}

    def only(self, step: str) -> ChainDiff:
        """What changed in one step, by its new or its old name."""
        return ChainDiff(
            tuple(change for change in self.steps if step in (change.name, change.was)),
            chains=tuple(inner for inner in self.chains if step in inner.steps),
        )

    @property
    def summary(self) -> str:
        """What changed, in a line of at most MAX_SUMMARY characters; empty when nothing did."""
        for fields in (True, False):
            parts = [_in_short(step, fields=fields) for step in _by_kind(self.steps)]
            parts += [", ".join(_top(self.fields))] if self.fields else []
            parts += [f"chain {inner.name}" for inner in self.chains]
            if len(line := "; ".join(parts)) <= MAX_SUMMARY:
                return line
        for count in range(len(parts) - 1, 0, -1):
            if len(line := "; ".join(parts[:count]) + f"; {len(parts) - count} more") <= MAX_SUMMARY:
                return line
        return f"{len(parts)} changes"

    def stat(self) -> tuple[Stat, ...]:
        """The words added and removed, per step and field."""
        places: list[tuple[str | None, Change]] = [(None, change) for change in self.fields]
        places += [(step.name, change) for step in self.steps for change in step.fields]
        found = [Stat(step, change.field, change.kind, *change.count()) for step, change in places]
        for inner in self.chains:
            names = [".".join(filter(None, (inner.name, stat.step))) for stat in inner.diff.stat()]
            found += [replace(stat, step=name) for stat, name in zip(inner.diff.stat(), names, strict=True)]
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain data:

        {"summary": text, "fields": [CHANGE], "steps": [{"kind": "added" | "removed" | "changed" | "renamed",
        "step": name, "step_kind": "prompt" | …, "was": old name (renamed only), "fields": [CHANGE]}],
        "chains": [{"chain": name, and what is told of this one}] (where chains in it changed)}

        CHANGE is {"kind": "added" | "removed" | "changed" | "moved", "path": [key or index, …], "before": value,
        "after": value, "edits": [{"op": "equal" | "delete" | "insert", "text": text}]}; `before` is not there when
        added, `after` not when removed, `edits` only where texts, lists or mappings changed. The edits that are equal
        or deleted, joined, are the text before (of a list or mapping: its JSON), the others the text after.
        """
        data: dict[str, Any] = {
            "summary": self.summary,
            "fields": [change.to_json() for change in self.fields],
            "steps": [step.to_json() for step in self.steps],
        }
        inner = [{"chain": inner.name, **inner.diff.to_json()} for inner in self.chains]
        return data | ({"chains": inner} if inner else {})


def _by_kind(steps: tuple[StepChange, ...]) -> list[StepChange]:
    order = (Kind.CHANGED, Kind.ADDED, Kind.REMOVED, Kind.RENAMED)
    return sorted(steps, key=lambda step: order.index(step.kind))


def _in_short(step: StepChange, *, fields: bool) -> str:
    if not fields or step.kind in (Kind.ADDED, Kind.REMOVED) or not step.fields:
        return step.title
    return f"{step.title}: {', '.join(_top(step.fields))}"


def _top(changes: tuple[Change, ...]) -> list[str]:
    return list(dict.fromkeys(str(change.path[0]) for change in changes))


def compare(before: Chain, after: Chain) -> ChainDiff:
    """What changed. The order of the steps in the file, and that of inputs, outputs and parameters, is no change. A
    chain that only one side runs is told of by the step that runs it."""
    old = {chain.name: chain for chain in before.used_chains()}
    chains = (
        InnerDiff(chain.name, _compare_own(old[chain.name], chain), _steps_with(chain.name, after))
        for chain in sorted(after.used_chains(), key=lambda chain: chain.name)
        if chain.name in old and old[chain.name].content_id != chain.content_id
    )
    return replace(_compare_own(before, after), chains=tuple(inner for inner in chains if inner.diff))


def _steps_with(name: str, chain: Chain) -> frozenset[str]:
    """The steps of a chain that run the chain `name`, or chains that do."""
    found = set()
    for step_name, step in chain.steps.items():
        own = [step.chain] if isinstance(step, ChainStep) else []
        own += [tool.chain for tool in step.tools if tool.chain] if isinstance(step, PromptStep) else []
        reached = {inner.name for one in own for inner in chain.chains[one].used_chains()}
        if name in reached | set(own):
            found.add(step_name)
    return frozenset(found)


def _compare_own(before: Chain, after: Chain) -> ChainDiff:
    """What changed in the file of a chain."""
    old, new = chain_data(before), chain_data(after)
    names = renames.renamed(old["steps"], new["steps"])
    steps = tuple(_compare_steps(old.pop("steps"), new.pop("steps"), names))
    return ChainDiff(steps, tuple(_compare_fields((), _follow(old, names), new, old)))


def chain_data(chain: Chain) -> dict[str, Any]:
    """What a chain says beyond the defaults, as JSON; its steps with their kind, and texts as texts."""
    data = chain.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
    data["steps"] = {name: _step_data(chain.steps[name].kind, step) for name, step in data["steps"].items()}
    return data


def _step_data(kind: str, step: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": kind}
    for name, value in step.items():
        if name in ("instructions", "prompt"):
            data[name] = value.get("text", "")
            data |= {f"{name}.file": value["file"]} if "file" in value else {}
        elif name == "tools":
            data[name] = _named_tools(value)
        elif name == "select":
            data[name] = {value["how"]: value["by"]} if "by" in value else value["how"]
        else:
            data[name] = value
    return data


def _named_tools(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The tools by what a model calls them, or by their server: so they are the same wherever they stand."""
    found: dict[str, Any] = {}
    for tool in tools:
        loaded = Tool.model_validate(tool)
        name = tool_name(loaded) or str(loaded.mcp)
        found[name if name not in found else f"{name} ({len(found) + 1})"] = tool
    return found


def _compare_steps(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[StepChange]:
    was = {new: old for old, new in names.items()}
    for name, step in after.items():
        old = was.get(name, name)
        if old not in before:
            yield StepChange(Kind.ADDED, name, step["kind"], _all_fields(step, Kind.ADDED))
            continue
        old_step = before[old]
        fields = tuple(_compare_fields((), renames.rename_step(old_step, names), step, old_step))
        if name in was:
            yield StepChange(Kind.RENAMED, name, step["kind"], fields, was=old)
        elif fields:
            yield StepChange(Kind.CHANGED, name, step["kind"], fields)
    for name, step in before.items():
        if name not in after and name not in names:
            yield StepChange(Kind.REMOVED, name, step["kind"], _all_fields(step, Kind.REMOVED))


def _all_fields(step: Mapping[str, Any], kind: Kind) -> tuple[Change, ...]:
    fields = {name: value for name, value in step.items() if name != "kind"}
    changes = compare_mappings((), {}, fields) if kind is Kind.ADDED else compare_mappings((), fields, {})
    return tuple(changes)


ORDERED = frozenset({"output", "demos", "tools"})
"""Fields in which the order of a mapping's keys counts, for the model sees it."""


def _compare_fields(
    path: Place, followed: Mapping[str, Any], after: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[Change]:
    """The changes field by field. followed: `before` as it were had it followed the renaming of steps; what is the
    same then has not changed. The changes tell the true text of `before`."""
    for name in dict.fromkeys((*before, *after)):
        at = (*path, name)
        ordered = at[0] in ORDERED
        if name not in after:
            yield Change(Kind.REMOVED, at, before=before[name])
        elif name not in before:
            yield Change(Kind.ADDED, at, after=after[name])
        elif key(followed[name], ordered=ordered) == key(after[name], ordered=ordered):
            continue
        elif at == ("demos",):
            yield from compare_demos(at, before[name], after[name])
        elif isinstance(before[name], dict) and isinstance(after[name], dict) and not ordered:
            yield from _compare_fields(at, followed[name], after[name], before[name])
        else:
            yield from compare_values(at, before[name], after[name], ordered=ordered)


def _follow(chain: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The chain's own fields with the references to renamed steps renamed."""
    data = dict(chain)
    if names and "outputs" in data:
        data["outputs"] = renames.rename_templates(data["outputs"], names)
    if names and "assert" in data.get("test", {}):
        data["test"] = data["test"] | {"assert": renames.rename_assertions(data["test"]["assert"], names)}
    return data
