"""Two values as JSON → what changed in them, place by place; texts word by word."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from promptchain.words import Edit, Op, align, compare_texts, likeness, rising, words

Place = tuple[str | int, ...]
"""Keys and indices (from 0) that lead to a value: ("params", "temperature"), ("demos", 2, "output")."""


class Kind(StrEnum):
    """What became of something."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the value at `path`. An index in the path is that after the change; before it, of what is gone.

    before, after: the values, None where there was or is none; where it moved, its indices. edits: word by word, where
    both are texts; where both are lists or mappings, of their JSON.
    """

    kind: Kind
    path: Place
    before: Any = None
    after: Any = None
    edits: tuple[Edit, ...] = ()

    @property
    def field(self) -> str:
        """The path as people write it: `params.temperature`, `demos[2].output`."""
        parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path]
        return "".join(parts).removeprefix(".")

    def count(self) -> tuple[int, int]:
        """The words added and removed."""
        if self.kind is Kind.MOVED:
            return 0, 0
        if self.edits:
            came = sum(len(words(edit.text)) for edit in self.edits if edit.op is Op.INSERT)
            return came, sum(len(words(edit.text)) for edit in self.edits if edit.op is Op.DELETE)
        came = 0 if self.kind is Kind.REMOVED else len(words(as_text(self.after)))
        return came, 0 if self.kind is Kind.ADDED else len(words(as_text(self.before)))

    def to_json(self) -> dict[str, Any]:
        """{kind, path} and what there is of {before, after, edits: [{op, text}]}."""
        data: dict[str, Any] = {"kind": self.kind.value, "path": list(self.path)}
        if self.kind is not Kind.ADDED:
            data["before"] = self.before
        if self.kind is not Kind.REMOVED:
            data["after"] = self.after
        if self.edits:
            data["edits"] = edits_to_json(self.edits)
        return data


def edits_to_json(edits: Sequence[Edit]) -> list[dict[str, str]]:
    return [{"op": edit.op.value, "text": edit.text} for edit in edits]


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def key(value: Any, *, ordered: bool = False) -> str:
    """A text that two values share when they are the same JSON: 1, 1.0 and true are three values.

    ordered: the order of a mapping's keys tells values apart too.
    """
    return json.dumps(value, sort_keys=not ordered)


def compare_values(path: Place, before: Any, after: Any, *, ordered: bool = False) -> Iterator[Change]:
    """The changes from one JSON value to the other. ordered: see `key`."""
    if key(before, ordered=ordered) == key(after, ordered=ordered):
        return
    found: list[Change] = []
    if isinstance(before, dict) and isinstance(after, dict):
        found += compare_mappings(path, before, after, ordered=ordered)
    elif _has_mappings(before) and _has_mappings(after):
        found += _compare_lists(path, before, after, ordered=ordered)
    if found:
        yield from found
    else:
        yield Change(Kind.CHANGED, path, before, after, _edits(before, after))


def compare_mappings(
    path: Place, before: Mapping[str, Any], after: Mapping[str, Any], *, ordered: bool = False
) -> Iterator[Change]:
    """Key by key. The order of the keys itself is not compared."""
    for name in dict.fromkeys((*before, *after)):
        at = (*path, name)
        if name not in after:
            yield Change(Kind.REMOVED, at, before=before[name])
        elif name not in before:
            yield Change(Kind.ADDED, at, after=after[name])
        else:
            yield from compare_values(at, before[name], after[name], ordered=ordered)


def _has_mappings(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _compare_lists(path: Place, before: list[Any], after: list[Any], *, ordered: bool) -> Iterator[Change]:
    """Item by item: what stands between the same items is paired in order."""
    pairs = align([key(item, ordered=ordered) for item in before], [key(item, ordered=ordered) for item in after])
    old = new = 0
    for left, right in [*pairs, (len(before), len(after))]:
        both = min(left - old, right - new)
        for step in range(both):
            yield from compare_values((*path, new + step), before[old + step], after[new + step], ordered=ordered)
        for index in range(old + both, left):
            yield Change(Kind.REMOVED, (*path, index), before=before[index])
        for index in range(new + both, right):
            yield Change(Kind.ADDED, (*path, index), after=after[index])
        old, new = left + 1, right + 1


def _edits(before: Any, after: Any) -> tuple[Edit, ...]:
    if isinstance(before, str) and isinstance(after, str):
        return compare_texts(before, after)
    if isinstance(before, list | dict) and isinstance(after, list | dict):
        return compare_texts(as_text(before), as_text(after))
    return ()


def compare_demos(path: Place, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Change]:
    """What became of few-shot examples: matched by their inputs, else by a resemblance, whatever their places."""
    pairs = _matched(before, after)
    news = dict(pairs)
    stayed = {pairs[at] for at in rising([new for _, new in pairs])}
    for old, demo in enumerate(before):
        if old not in news:
            yield Change(Kind.REMOVED, (*path, old), before=demo)
    was = {new: old for old, new in pairs}
    for new, demo in enumerate(after):
        if new not in was:
            yield Change(Kind.ADDED, (*path, new), after=demo)
            continue
        old = was[new]
        if (old, new) not in stayed:
            yield Change(Kind.MOVED, (*path, new), before=old, after=new)
        yield from compare_values((*path, new), before[old], demo, ordered=True)


_ALIKE = 0.5
_MOST_COMPARED = 10_000


def _matched(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[int, int]]:
    """The indices of the demos that are the same example, in the order before."""
    places: dict[str, list[int]] = defaultdict(list)
    for new, demo in reversed(list(enumerate(after))):
        places[key(demo["inputs"])].append(new)
    pairs = {old: waiting.pop() for old, demo in enumerate(before) if (waiting := places[key(demo["inputs"])])}
    olds = [old for old in range(len(before)) if old not in pairs]
    taken = set(pairs.values())
    news = [new for new in range(len(after)) if new not in taken]
    if len(olds) * len(news) <= _MOST_COMPARED:
        texts = [[key(demo["inputs"]) for demo in demos] for demos in (before, after)]
        near = [(likeness(texts[0][old], texts[1][new]), -old, -new) for old in olds for new in news]
        for score, old, new in sorted(near, reverse=True):
            if score >= _ALIKE and -old not in pairs and -new not in taken:
                pairs[-old] = -new
                taken.add(-new)
    return sorted(pairs.items())
