"""Two runs, or the messages of two chains → what differs, word by word."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from promptchain import told
from promptchain.changes import Change, Kind, Place, compare_mappings, compare_values, edits_to_json
from promptchain.records import Run, StepRun, Totals
from promptchain.words import Edit, Op, align, compare_texts

Messages = Sequence[tuple[str, str]]
"""Role and content of each message of a request."""


@dataclass(frozen=True, slots=True)
class MessageChange:
    """A message that stayed (its edits are equal), came, went, or has other words. number: from 1, as it is after; of
    one that went, as it was."""

    kind: Kind | None
    number: int
    role: str
    edits: tuple[Edit, ...]

    def to_json(self) -> dict[str, Any]:
        kind = self.kind.value if self.kind else "same"
        return {"kind": kind, "number": self.number, "role": self.role, "edits": edits_to_json(self.edits)}


@dataclass(frozen=True, slots=True)
class StepMessages:
    """The messages of one step. kind: None where they are the same. reason: why they could not be compared."""

    step: str
    kind: Kind | None
    messages: tuple[MessageChange, ...] = ()
    was: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"step": self.step, "kind": self.kind.value if self.kind else "same"}
        data |= {name: value for name, value in (("was", self.was), ("reason", self.reason)) if value}
        return data | {"messages": [message.to_json() for message in self.messages]}


@dataclass(frozen=True)
class RenderedDiff:
    """How the messages of two chains differ; false when they do not. A step that can be rendered on neither side is
    the same; one that can be on one side alone has changed. A new name of a step is no difference."""

    steps: tuple[StepMessages, ...] = ()

    def __bool__(self) -> bool:
        return any(step.kind for step in self.steps)

    def only(self, step: str) -> RenderedDiff:
        """What differs in one step, by its new or its old name."""
        return RenderedDiff(tuple(found for found in self.steps if step in (found.step, found.was)))

    def to_json(self) -> dict[str, Any]:
        """{"steps": [{"step": name, "kind": "same" | "added" | "removed" | "changed", "was": old name,
        "reason": why not rendered, "messages": [{"kind": "same" | "added" | "removed" | "changed", "number": from 1,
        "role": role, "edits": [{"op": "equal" | "delete" | "insert", "text": text}]}]}]}"""
        return {"steps": [step.to_json() for step in self.steps]}


def compare_rendered(
    before: Mapping[str, Messages | str],
    after: Mapping[str, Messages | str],
    renamed: Mapping[str, str] | None = None,
) -> RenderedDiff:
    """What differs in the messages of each step: (role, content), or a text that says why there are none.

    renamed: old name → new name of steps, as `diff.compare` finds them.
    """
    was = {new: old for old, new in (renamed or {}).items()}
    steps = [_step_messages(name, was.get(name), before.get(was.get(name, name)), after[name]) for name in after]
    gone = [name for name in before if name not in after and name not in was.values()]
    return RenderedDiff((*steps, *(_step_messages(name, None, before[name], None) for name in gone)))


def _step_messages(
    name: str, was: str | None, before: Messages | str | None, after: Messages | str | None
) -> StepMessages:
    if before is None or after is None:
        kind = Kind.ADDED if before is None else Kind.REMOVED
        reasons = [side for side in (before, after) if isinstance(side, str)]
        if reasons:
            return StepMessages(name, kind, reason=reasons[0])
        sides = [() if side is None or isinstance(side, str) else side for side in (before, after)]
        return StepMessages(name, kind, tuple(_compare_messages(*sides)))
    if isinstance(before, str) or isinstance(after, str):
        told = [("before", before), ("after", after)]
        reason = "; ".join(f"{side}: {said}" for side, said in told if isinstance(said, str))
        if isinstance(before, str) and isinstance(after, str):
            kept = before if before == after else reason
            return StepMessages(name, None, was=was, reason=kept)
        return StepMessages(name, Kind.CHANGED, was=was, reason=reason)
    messages = tuple(_compare_messages(before, after))
    changed = Kind.CHANGED if any(message.kind for message in messages) else None
    return StepMessages(name, changed, messages, was=was)


def _compare_messages(before: Messages, after: Messages) -> Iterator[MessageChange]:
    """Messages that are the same are matched; between them, those of one role are paired in order."""
    old = new = 0
    for left, right in [*align(list(before), list(after)), (len(before), len(after))]:
        while old < left or new < right:
            if old < left and new < right and before[old][0] == after[new][0]:
                edits = compare_texts(before[old][1], after[new][1])
                yield MessageChange(Kind.CHANGED, new + 1, after[new][0], edits)
                old, new = old + 1, new + 1
            elif old < left:
                yield MessageChange(Kind.REMOVED, old + 1, before[old][0], compare_texts(before[old][1], ""))
                old += 1
            else:
                yield MessageChange(Kind.ADDED, new + 1, after[new][0], compare_texts("", after[new][1]))
                new += 1
        if right < len(after):
            role, content = after[right]
            yield MessageChange(None, right + 1, role, (Edit(Op.EQUAL, content),) if content else ())
        old, new = left + 1, right + 1


@dataclass(frozen=True, slots=True)
class Use:
    """What a step or a run used. models: of its calls, in order. cost: US dollars, None where a price is unknown."""

    models: tuple[str, ...]
    calls: int
    tokens: int
    cost: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "models": list(self.models), "calls": self.calls, "tokens": self.tokens,
            "cost": self.cost, "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepRunDiff:
    """How one step went in two runs. kind: None where value, status and error are the same; added and removed where
    only one run has the step. before, after: what it used."""

    step: str
    kind: Kind | None
    changes: tuple[Change, ...] = ()
    before: Use | None = None
    after: Use | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "kind": self.kind.value if self.kind else "same",
            "changes": [change.to_json() for change in self.changes],
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json() if self.after else None,
        }


@dataclass(frozen=True)
class RunDiff:
    """How two runs differ; false when inputs, values, statuses, errors and outputs are the same. What they used, and
    which chain ran, is told but is no difference.

    changes: of the run's inputs, status, error and outputs. sources: the content ids of the chains that ran. runs:
    their ids.
    """

    runs: tuple[str, str]
    chains: tuple[str, str]
    sources: tuple[str, str]
    before: Use
    after: Use
    changes: tuple[Change, ...] = ()
    steps: tuple[StepRunDiff, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.changes) or any(step.kind for step in self.steps)

    def only(self, step: str) -> RunDiff:
        """The difference in one step."""
        kept = tuple(found for found in self.steps if found.step == step)
        return RunDiff(self.runs, self.chains, self.sources, self.before, self.after, (), kept)

    def without(self, given: Container[str]) -> RunDiff:
        """The difference where nothing is told of the steps `given`, whose values the second run took from the first:
        of how it came by them it has no record."""
        told = (replace(step, kind=None, changes=()) if step.step in given else step for step in self.steps)
        return replace(self, steps=tuple(told))

    @property
    def same_source(self) -> bool:
        """Whether both runs were of the same content."""
        return self.sources[0] == self.sources[1]

    def to_json(self) -> dict[str, Any]:
        """{"runs", "chains", "sources": [before, after], "same_source": bool, "changes": [CHANGE], "before": USE,
        "after": USE, "steps": [{"step", "kind": "same" | "changed" | "added" | "removed", "changes": [CHANGE],
        "before": USE or null, "after": USE or null}]}

        CHANGE as in `ChainDiff.to_json`. USE is {"models": [name], "calls", "tokens", "cost": dollars or null,
        "seconds"}.
        """
        return {
            "runs": list(self.runs),
            "chains": list(self.chains),
            "sources": list(self.sources),
            "same_source": self.same_source,
            "changes": [change.to_json() for change in self.changes],
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "steps": [step.to_json() for step in self.steps],
        }


def compare_runs(before: Run, after: Run) -> RunDiff:
    """What differs between two runs."""
    steps = [
        _compare_step(name, before.steps.get(name), after.steps.get(name))
        for name in dict.fromkeys((*after.steps, *before.steps))
    ]
    changes = [
        *compare_mappings(("inputs",), before.inputs, after.inputs),
        *compare_values(("status",), before.status.value, after.status.value),
        *_compare_error(before.error, after.error),
        *compare_mappings(("outputs",), before.outputs, after.outputs),
    ]
    return RunDiff(
        runs=(before.id, after.id),
        chains=(before.chain, after.chain),
        sources=(before.source, after.source),
        before=_run_use(before.steps, before.totals, before.seconds),
        after=_run_use(after.steps, after.totals, after.seconds),
        changes=tuple(changes),
        steps=tuple(steps),
    )


def _compare_step(name: str, before: StepRun | None, after: StepRun | None) -> StepRunDiff:
    changes = tuple(_step_changes(before, after))
    kind = Kind.ADDED if before is None else Kind.REMOVED if after is None else Kind.CHANGED if changes else None
    return StepRunDiff(name, kind, changes, _step_use(before), _step_use(after))


def _step_changes(before: StepRun | None, after: StepRun | None, at: Place = ()) -> Iterator[Change]:
    """What of a step's run tells it from another, the steps of a chain in it included."""
    old, new = _step_data(before), _step_data(after)
    sides = [told.passages(data.get("value")) for data in (old, new)]
    if sides[0] and sides[1]:
        found = list(_compare_passages((*at, "passages"), sides[0], sides[1]))
        if found:  # else they differ in what a line does not tell, in a score say
            yield from found
            old.pop("value")
            new.pop("value")
    yield from compare_mappings(at, old, new)
    yield from _compare_tools((*at, "tools"), before, after)
    inner = [dict(step.run.steps) if step and step.run else {} for step in (before, after)]
    for name in dict.fromkeys((*inner[1], *inner[0])):
        yield from _step_changes(inner[0].get(name), inner[1].get(name), (*at, name))


def _step_data(step: StepRun | None) -> dict[str, Any]:
    if step is None:
        return {}
    data: dict[str, Any] = {"status": step.status.value, "value": step.value}
    return data | ({"error": step.error} if step.error is not None else {})


def _compare_passages(
    at: Place, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
    """Which passages were found, as a list of their places; and those of one place that say something else."""
    old, new = (
        {f"{told.place(passage)} {passage['title']}".strip(): passage["text"] for passage in side}
        for side in (before, after)
    )
    yield from _compare_lines(at, list(old), list(new))
    for place in new:
        if place in old:
            yield from compare_values((*at, place), old[place], new[place])


def _compare_tools(at: Place, before: StepRun | None, after: StepRun | None) -> Iterator[Change]:
    """Which calls of tools were made, and what they gave."""
    old, new = ([told.tool_run(tool) for tool in step.all_tools()] if step else [] for step in (before, after))
    yield from _compare_lines(at, old, new)


def _compare_lines(at: Place, before: list[str], after: list[str]) -> Iterator[Change]:
    """Two lists of texts as one text each, a line for each of them, of which whole lines come and go."""
    old, new = ("".join(f"{line}\n" for line in side) for side in (before, after))
    if old and new and old != new:
        yield Change(Kind.CHANGED, at, old, new, tuple(_line_edits(before, after)))
    elif old != new:
        kind = Kind.REMOVED if old else Kind.ADDED
        yield Change(kind, at, before=old or None, after=new or None)


def _line_edits(before: list[str], after: list[str]) -> Iterator[Edit]:
    old = new = 0
    for left, right in [*align(before, after), (len(before), len(after))]:
        sides = ((Op.DELETE, before[old:left]), (Op.INSERT, after[new:right]), (Op.EQUAL, before[left : left + 1]))
        yield from (Edit(op, "".join(f"{line}\n" for line in lines)) for op, lines in sides if lines)
        old, new = left + 1, right + 1


def _compare_error(before: str | None, after: str | None) -> Iterator[Change]:
    old = {} if before is None else {"error": before}
    yield from compare_mappings((), old, {} if after is None else {"error": after})


def _step_use(step: StepRun | None) -> Use | None:
    if step is None:
        return None
    calls = list(step.all_calls())
    paid = [call.cost for call in calls if not call.cached and (call.error is None or call.cost is not None)]
    return Use(
        models=tuple(dict.fromkeys(call.model for call in calls)),
        calls=len(calls),
        tokens=sum(call.prompt_tokens + call.completion_tokens for call in calls),
        cost=None if None in paid else sum(cost for cost in paid if cost is not None),
        seconds=step.seconds,
    )


def _run_use(steps: Mapping[str, StepRun], totals: Totals, seconds: float) -> Use:
    models = tuple(dict.fromkeys(call.model for step in steps.values() for call in step.all_calls()))
    return Use(models, totals.calls, totals.tokens, totals.cost, seconds)
