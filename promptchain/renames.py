"""Which steps were renamed, and templates with the references to them renamed too."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateSyntaxError

from promptchain.changes import as_text, key
from promptchain.sandbox import ENVIRONMENT
from promptchain.words import words

_ALIKE = 0.7
"""From which likeness on two steps of one kind are the same step under another name."""

_MOST_COMPARED = 2_500
"""Pairs of a removed and an added step; with more of them, only those with identical content are paired."""


def renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Old name → new name of the steps (as JSON data with their `kind`) that were only renamed, or nearly so."""
    gone = {name: step for name, step in before.items() if name not in after}
    come = {name: step for name, step in after.items() if name not in before}
    found: dict[str, str] = {}
    while True:  # a step whose references changed their names too is identical once those are known
        places: dict[str, list[str]] = defaultdict(list)
        for name in reversed([name for name in come if name not in found.values()]):
            places[key(come[name], ordered=True)].append(name)
        more = {
            name: waiting.pop()
            for name, step in gone.items()
            if name not in found and (waiting := places[key(rename_step(step, found), ordered=True)])
        }
        found |= more
        if not more:
            return found | _alike(gone, come, found)


def _alike(gone: Mapping[str, Any], come: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, str]:
    olds = {name: _said(rename_step(step, found)) for name, step in gone.items() if name not in found}
    news = {name: _said(step) for name, step in come.items() if name not in found.values()}
    if len(olds) * len(news) > _MOST_COMPARED:
        return {}
    scores = [
        (_dice(said, other), -i, -j, old, new)
        for i, (old, said) in enumerate(olds.items())
        for j, (new, other) in enumerate(news.items())
        if gone[old]["kind"] == come[new]["kind"]
    ]
    pairs: dict[str, str] = {}
    for score, _, _, old, new in sorted(scores, reverse=True):
        if score >= _ALIKE and old not in pairs and new not in pairs.values():
            pairs[old] = new
    return pairs


def _said(step: Mapping[str, Any]) -> Counter[str]:
    """The words of a step, each under its key."""
    return Counter(f"{name} {word}" for name, value in step.items() if name != "kind" for word in words(as_text(value)))


def _dice(one: Counter[str], other: Counter[str]) -> float:
    size = one.total() + other.total()
    return 2 * (one & other).total() / size if size else 0.0


def rename_step(step: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A step's data with its references renamed. What is no reference (prose, a field, a keyword) stays."""
    if not names:
        return dict(step)
    data = dict(step)
    for field in ("instructions", "prompt"):
        if isinstance(data.get(field), str):
            data[field] = rename_template(data[field], names)
    if isinstance(data.get("when"), str):
        data["when"] = rename_template(data["when"], names, expression=True)
    if isinstance(data.get("for_each"), dict):
        data["for_each"] = data["for_each"] | {"in": rename_template(data["for_each"]["in"], names, expression=True)}
    if isinstance(data.get("retrieve"), dict):
        data["retrieve"] = data["retrieve"] | {"query": rename_template(data["retrieve"]["query"], names)}
    if isinstance(data.get("inputs"), dict):
        data["inputs"] = rename_templates(data["inputs"], names)
    if "assert" in data:
        data["assert"] = rename_assertions(data["assert"], names)
    if "needs" in data:
        data["needs"] = [names.get(name, name) for name in data["needs"]]
    if "demos" in data:
        data["demos"] = [_rename_demo(demo, names) for demo in data["demos"]]
    return data


def _rename_demo(demo: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {**demo, "inputs": {names.get(name, name): value for name, value in demo["inputs"].items()}}


def rename_templates(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A mapping whose texts are templates, with their references renamed."""
    return {name: rename_template(text, names) if isinstance(text, str) else text for name, text in data.items()}


def rename_assertions(items: list[Any], names: Mapping[str, str]) -> list[Any]:
    """Assertions with the steps they are about renamed."""
    return [item | {"step": names.get(item["step"], item["step"])} if "step" in item else item for item in items]


def rename_template(text: str, names: Mapping[str, str], *, expression: bool = False) -> str:
    """A template with references renamed, to the letter the same otherwise. expression: braces may be left out."""
    if expression and not text.lstrip().startswith("{{"):
        whole = rename_template("{{ " + text + " }}", names)
        return whole[3:-3]
    body = text.rstrip("\r\n")  # Jinja's lexer leaves out a last line break
    try:
        tokens = [(kind, value) for _, kind, value in ENVIRONMENT.lex(body)]
    except (TemplateSyntaxError, RecursionError):
        return text
    if "".join(value for _, value in tokens) != body:  # it puts line breaks in order; then better no change at all
        return text
    said = [(kind, value) for kind, value in tokens if kind != "whitespace"]
    renamed: list[str] = []
    index = 0
    for kind, value in tokens:
        if kind == "whitespace":
            renamed.append(value)
            continue
        before = said[index - 1][1] if index else ""
        after = said[index + 1][1] if index + 1 < len(said) else ""
        is_field, is_keyword = before in (".", "|", "is"), before in ("(", ",") and after == "="
        renamed.append(names.get(value, value) if kind == "name" and not is_field and not is_keyword else value)
        index += 1
    return "".join(renamed) + text[len(body) :]
