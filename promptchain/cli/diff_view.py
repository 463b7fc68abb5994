"""Differences → the lines of a view, which `diff_draw` draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from promptchain.changes import Change, Kind, as_text
from promptchain.cli.diff_lines import ARROW, GONE, LEFT_OUT, NEW, PARTLY, SAME, Line, plain, text_lines
from promptchain.cli.output import dollars, plural, seconds
from promptchain.words import Edit, Op

if TYPE_CHECKING:
    from promptchain.diff import ChainDiff, StepChange
    from promptchain.diff_lock import LockDiff
    from promptchain.diff_runs import MessageChange, RenderedDiff, RunDiff, StepRunDiff, Use
    from promptchain.diff_uses import UsesDiff

_SHORT = 80
_MOST_FILES = 20
"""Files of code and passages that are named."""
_SIGNS = {Kind.ADDED: NEW, Kind.REMOVED: GONE}


def header(before: str, after: str) -> list[Line]:
    """The two sides, as git names them."""
    return [
        Line(SAME, (Edit(Op.EQUAL, f"--- {before}"),), -2, whole=True, bold=True),
        Line(SAME, (Edit(Op.EQUAL, f"+++ {after}"),), -2, whole=True, bold=True),
    ]


def chain_lines(diff: ChainDiff) -> Iterator[Line]:
    """What changed in a chain: its own fields, then step by step."""
    for change in diff.fields:
        yield from change_lines(change)
    for step in diff.steps:
        yield from _headed(_step_title(step))
        for change in step.fields:
            yield from change_lines(change, 2)
    for inner in diff.chains:
        yield from _headed(Line(PARTLY, (Edit(Op.EQUAL, f"chain {inner.name}"),), whole=True, bold=True))
        yield from (replace(line, indent=line.indent + 2) for line in chain_lines(inner.diff))


def uses_lines(diff: UsesDiff) -> Iterator[Line]:
    """The files of code and passages that changed; what in them is not kept."""
    if diff:
        yield Line(SAME, whole=True)
    for change in diff.files[:_MOST_FILES]:
        yield plain(_SIGNS.get(change.kind, PARTLY), f"{change.what} {change.file}", bold=True)
    if len(diff.files) > _MOST_FILES:
        yield plain(LEFT_OUT, f"{plural(len(diff.files) - _MOST_FILES, 'file')} more: --json")


def lock_lines(diff: LockDiff, *, stat: bool = False) -> Iterator[Line]:
    """What compiling changed: model by model, then step by step. stat: which models alone."""
    for model in diff.models:
        title = Line(_SIGNS.get(model.kind, PARTLY), (Edit(Op.EQUAL, model.summary),), whole=True, bold=True)
        yield from [title] if stat else _headed(title)
        for step, changes in () if stat else model.steps.items():
            yield plain(SAME, step, 2, whole=True)
            for change in _in_short(changes):
                yield from change_lines(change, 4)


def _in_short(changes: Iterable[Change]) -> Iterator[Change]:
    """What became of a pool of examples, of which there may be hundreds, as counts; everything else as it is."""
    from promptchain.diff_lock import POOL

    counts: dict[Kind, int] = {}
    for change in changes:
        if change.path[0] != POOL:
            yield change
        elif change.path == (POOL,):
            told = plural(len(change.before if change.kind is Kind.REMOVED else change.after), "example")
            sides = (told, None) if change.kind is Kind.REMOVED else (None, told)
            yield Change(change.kind, change.path, *sides)
        else:
            counts[change.kind] = counts.get(change.kind, 0) + 1
    if counts:
        told = ", ".join(f"{count} {kind.value}" for kind, count in counts.items())
        yield Change(Kind.CHANGED, (POOL,), None, told, (Edit(Op.EQUAL, f"examples {told}"),))


def _headed(title: Line) -> Iterator[Line]:
    yield Line(SAME, whole=True)
    yield title


def _step_title(step: StepChange) -> Line:
    sign = _SIGNS.get(step.kind, PARTLY)
    title = f"{step.was} → {step.name} (renamed)" if step.was else step.name
    title += f" ({step.step_kind})" if sign != PARTLY else ""
    return Line(sign, (Edit(Op.EQUAL, title),), whole=True, bold=True)


def change_lines(change: Change, indent: int = 0) -> Iterator[Line]:
    """One change: in a line where it is short, else as a block of lines below the field's name."""
    name = change.field
    if change.kind is Kind.CHANGED and change.path == ("tools",) and isinstance(change.after, dict):  # only their order
        change = Change(Kind.CHANGED, change.path, ", ".join(change.before), ", ".join(change.after))
    if change.kind is Kind.MOVED:
        yield Line(PARTLY, (Edit(Op.EQUAL, f"{name}: moved, it was [{change.before}]"),), indent)
    elif change.kind in _SIGNS:
        value = change.after if change.kind is Kind.ADDED else change.before
        if change.path[0] == "tools" and isinstance(value, dict):  # of a chain; a run's calls are texts
            name, value = _tools_in_words(name, change.path, value)
        yield from _value_lines(_SIGNS[change.kind], name, value, indent)
    elif _is_replaced(change):
        yield from _replaced(change, indent)
    elif sum(len(edit.text) for edit in change.edits) <= _SHORT and not any("\n" in edit.text for edit in change.edits):
        yield Line(PARTLY, (Edit(Op.EQUAL, f"{name}: "), *change.edits), indent)
    else:
        yield Line(PARTLY, (Edit(Op.EQUAL, f"{name}:"),), indent)
        yield from text_lines(change.edits, indent + 2)


def _tools_in_words(name: str, path: Sequence[str | int], value: Any) -> tuple[str, Any]:
    """Tools that came or went: what they are, in place of their data."""
    from promptchain import told
    from promptchain.parts import Tool

    if len(path) > 2:
        return name, value
    tools = [value] if len(path) == 2 else [*value.values()]
    return name.partition(".")[0], ", ".join(told.tool(Tool.model_validate(tool)) for tool in tools)


def _is_replaced(change: Change) -> bool:
    """Whether to show `old → new` in place of words: of what has nothing in common, or is a name, not prose."""
    name = all(isinstance(value, str) and len(value.split()) == 1 for value in (change.before, change.after))
    return name or not any(edit.op is Op.EQUAL for edit in change.edits)


def _replaced(change: Change, indent: int) -> Iterator[Line]:
    """A value that is another as a whole: `old → new`, or one after the other where they are long."""
    texts = isinstance(change.before, str) and isinstance(change.after, str)
    old, new = (_shown(value, quoted=not texts and isinstance(value, str)) for value in (change.before, change.after))
    if len(old) + len(new) <= _SHORT and "\n" not in old + new and old and new:
        pieces = (
            Edit(Op.EQUAL, f"{change.field}: "),
            Edit(Op.DELETE, old),
            Edit(Op.EQUAL, ARROW),
            Edit(Op.INSERT, new),
        )
        yield Line(PARTLY, pieces, indent)
        return
    yield Line(PARTLY, (Edit(Op.EQUAL, f"{change.field}:"),), indent)
    sides = (Edit(Op.DELETE, old), Edit(Op.INSERT, new))
    yield from text_lines([side for side in sides if side.text], indent + 2)


def _value_lines(sign: str, name: str, value: Any, indent: int) -> Iterator[Line]:
    """All of a value that came or went."""
    if isinstance(value, dict) and value and len(as_text(value)) > _SHORT:
        yield plain(sign, f"{name}:", indent)
        for key, item in value.items():
            yield from _value_lines(sign, key, item, indent + 2)
        return
    text = _shown(value)
    if len(text) <= _SHORT and "\n" not in text.removesuffix("\n"):
        yield plain(sign, f"{name}: {text.removesuffix(chr(10))}", indent)
        return
    yield plain(sign, f"{name}:", indent)
    for line in text.removesuffix("\n").split("\n"):
        yield plain(sign, line, indent + 2)


def _shown(value: Any, *, quoted: bool = False) -> str:
    """A value in a line; a text in quotes where it would be read as something else."""
    if not isinstance(value, str):
        return as_text(value)
    return as_text([value])[1:-1] if quoted or not value.strip() or _is_json(value) else value


def _is_json(text: str) -> bool:
    if len(text) > _SHORT:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def stat_lines(diff: ChainDiff) -> Iterator[Line]:
    """Words added and removed per field, and in all."""
    stats = diff.stat()
    names = [f"{stat.step}: {stat.field}" if stat.step else stat.field for stat in stats]
    names += [f"{step.title.replace('→', ' → ')}: renamed" for step in diff.steps if step.was]
    width = max((len(name) for name in names), default=0)
    for stat, name in zip(stats, names, strict=False):
        moved = " moved" if stat.kind is Kind.MOVED else ""
        counts = (Edit(Op.INSERT, f"+{stat.added}"), Edit(Op.EQUAL, " "), Edit(Op.DELETE, f"-{stat.removed}"))
        text = Edit(Op.EQUAL, f"{name.ljust(width)} | ")
        yield Line(SAME, (text, Edit(Op.EQUAL, moved.strip())) if moved else (text, *counts), whole=True)
    for name in names[len(stats) :]:
        yield plain(SAME, name, whole=True)
    added, removed = sum(stat.added for stat in stats), sum(stat.removed for stat in stats)
    yield plain(SAME, f"{plural(len(stats), 'field')}, {plural(added, 'word')} added, {removed} removed", whole=True)


def example_line(told: str) -> Line:
    """On which example messages were rendered."""
    return plain(SAME, f"example: {told}", -1, whole=True)


def rendered_lines(diff: RenderedDiff) -> Iterator[Line]:
    """The messages that differ, step by step."""
    for step in diff.steps:
        if step.kind is None:
            continue
        title = f"{step.was} → {step.step} (renamed)" if step.was else step.step
        sign = _SIGNS.get(step.kind, PARTLY)
        yield from _headed(Line(sign, (Edit(Op.EQUAL, title),), whole=True, bold=True))
        if step.reason:
            yield plain(SAME, f"not rendered: {step.reason}", 2, whole=True)
        for message in step.messages:
            yield from _message_lines(message)


def _message_lines(message: MessageChange) -> Iterator[Line]:
    if message.kind is None:
        return
    title = f"message {message.number} ({message.role})"
    yield Line(_SIGNS.get(message.kind, PARTLY), (Edit(Op.EQUAL, title),), 2, whole=True)
    yield from text_lines(message.edits, 4)


def run_lines(diff: RunDiff) -> Iterator[Line]:
    """What differs between two runs, and what they used."""
    if not diff.same_source:
        old, new = (source[:10] for source in diff.sources)
        yield Line(PARTLY, (Edit(Op.EQUAL, "content: "), *_turned(old, new)))
    for change in diff.changes:
        yield from change_lines(change)
    for step in diff.steps:
        used = _used(step)
        if step.kind is None and not used:
            continue
        yield from _headed(Line(_run_sign(step), (Edit(Op.EQUAL, step.step),), whole=True, bold=True))
        for change in step.changes:
            yield from change_lines(change, 2)
        yield from used
    yield Line(SAME, whole=True)
    yield Line(SAME, (Edit(Op.EQUAL, "used: "), *_use_pieces(diff.before, diff.after)), whole=True)


def _run_sign(step: StepRunDiff) -> str:
    return SAME if step.kind is None else _SIGNS.get(step.kind, PARTLY)


def _used(step: StepRunDiff) -> list[Line]:
    """What a step used in both runs, where it differs or the step does."""
    if step.before is None or step.after is None:
        return []
    same = step.before.models == step.after.models and step.before.tokens == step.after.tokens
    if same and step.kind is None:
        return []
    return [Line(SAME, (Edit(Op.EQUAL, "used: "), *_use_pieces(step.before, step.after)), 2, whole=True)]


def _use_pieces(before: Use, after: Use) -> Iterator[Edit]:
    pairs = (
        (", ".join(before.models) or "no model", ", ".join(after.models) or "no model"),
        (plural(before.calls, "call"), plural(after.calls, "call")),
        (f"{before.tokens} tokens", f"{after.tokens} tokens"),
        (dollars(before.cost), dollars(after.cost)),
        (seconds(before.seconds), seconds(after.seconds)),
    )
    for index, (old, new) in enumerate(pairs):
        if index:
            yield Edit(Op.EQUAL, ", ")
        yield from _turned(old, new)


def _turned(old: str, new: str) -> tuple[Edit, ...]:
    if old == new:
        return (Edit(Op.EQUAL, old),)
    return (Edit(Op.DELETE, old), Edit(Op.EQUAL, ARROW), Edit(Op.INSERT, new))
