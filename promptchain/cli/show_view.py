"""The entries of `chain show --rendered`, printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from promptchain.cli.output import note, on_terminal, plural, print_json, say, style, width

_MOST_FILES = 20
"""Files of a search that are named."""
_TO_GIVE = {"reasoning": """-i reasoning='{"STEP": "…"}'"""}
"""Names whose values are of a form that is not plain."""


def show(found: list[dict[str, Any]], *, json: bool) -> None:
    """Print the entries."""
    if json:
        print_json(found)
        return
    for entry in found:
        if "needs" in entry:
            give = " ".join(_TO_GIVE.get(name, f"-i {name}=…") for name in entry["needs"])
            note(f"step '{entry['step']}' is not rendered: it needs {', '.join(entry['needs'])}; give {give}")
            if "kind" not in entry:
                continue
        for line in _other_lines(entry) if "kind" in entry else _prompt_lines(entry):
            say(line, exact=True)  # what is sent, to the byte
        say("")


def _prompt_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    compiled = ", compiled" if entry.get("compiled") else ""
    yield _title(f"━━ {entry['step']} → {entry['model']} (format: {entry['format']}{compiled})")
    yield from _request_lines(entry)


def _request_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    for message in entry["messages"]:
        yield _part(message["role"])
        yield on_terminal(message["content"])
    if "tools" in entry:
        yield _part("may call")
    for tool in entry.get("tools", ()):
        yield on_terminal(f"{tool['name']}: {' '.join(tool['description'].split())}")
        yield on_terminal(f"  arguments: {_compact(tool['parameters'])}")
    for key, what in (("schema", "held to the schema"), ("choices", "held to one of")):
        if key in entry:
            yield _part(what)
            yield on_terminal(_compact(entry[key]))


def _other_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    yield _title(f"━━ {entry['step']} → {_runs(entry)}")
    for name, value in (entry.get("arguments") or entry.get("inputs") or {}).items():
        yield _part(name)
        yield on_terminal(_text(value))
    if "see" in entry:
        yield _part("what it sends")
        yield on_terminal(entry["see"])
    if entry["kind"] == "retrieve":
        yield from _search_lines(entry)


def _runs(entry: Mapping[str, Any]) -> str:
    if entry["kind"] == "retrieve":
        place = entry.get("python") or entry.get("url") or f"{', '.join(entry['from'])} ({entry['mode']})"
        return f"the best {entry['top_k']} of {place}"
    return f"the chain {entry['chain']}" if entry["kind"] == "chain" else str(entry["function"])


def _search_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    from promptchain.cli.runs_view import passage_lines

    yield _part("query")
    yield on_terminal(_text(entry["query"]))
    if "where" in entry:
        yield _part("where")
        yield on_terminal(_compact(entry["where"]))
    if "files" in entry:
        yield _part(plural(len(entry["files"]), "file"))
        yield from map(on_terminal, entry["files"][:_MOST_FILES])
        if len(entry["files"]) > _MOST_FILES:
            yield f"… {len(entry['files']) - _MOST_FILES} more: --json"
    if "passages" in entry:
        yield _part("passages")
        yield from passage_lines(entry["passages"], "", width()) if entry["passages"] else ["none"]
    if "rerank" in entry:
        ranks = entry["rerank"]
        yield _part(f"put in order by {ranks['model']}, which is shown {ranks['of']} at most")
        yield from _request_lines(ranks) if "messages" in ranks else ()


def _title(text: str) -> str:
    return style(on_terminal(text), "1", sys.stdout)


def _part(text: str) -> str:
    return style(on_terminal(f"── {text}"), "36", sys.stdout)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
