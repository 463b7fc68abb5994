"""pre-commit's configuration with our hooks in it (https://pre-commit.com/#repository-local-hooks)."""

from __future__ import annotations

import re
import shlex
from typing import Any

from promptchain import document
from promptchain.errors import PromptChainError
from promptchain.formatting import tree
from promptchain.formatting.nodes import Entry, Kind
from promptchain.scaffold.changes import Left
from promptchain.yaml_text import scalar

FILE = ".pre-commit-config.yaml"


def config(text: str | None, folder: str) -> str:
    """The configuration with our hooks, of a project in `folder` ("" for that of the whole repository), as the last of
    its repositories. Raises Left where it cannot be told where they go."""
    if text is None:
        return "repos:\n" + _block(folder, "  ")
    try:
        before = document.parse(text, FILE).value
    except PromptChainError as exc:
        raise Left(f"it cannot be read: {exc}") from None
    if _is_there(before, folder):
        return text
    broken = text.replace("\r\n", "\n")
    found = tree.read(broken)
    entries = found.root.entries if found and not found.root.flow else []
    for number, entry in enumerate(entries):
        if entry.key and entry.key.value == "repos" and _is_list(entry):
            pad = " " * entry.value.entries[0].column
            after = _inserted(broken, entries[number + 1] if number + 1 < len(entries) else None, _block(folder, pad))
            if document.parse(after, FILE).value == _appended(before, _block(folder, "")):
                return after
    raise Left("its `repos` is no list with an item to a line; chain init in an empty folder shows what to add")


def _is_there(value: Any, folder: str) -> bool:
    """Whether `chain check` of this project is run already, from here or by the hooks of our own repository."""
    for repo in _items(value, "repos"):
        for hook in _items(repo, "hooks"):
            if isinstance(hook, dict) and hook.get("id") == "chain-check":
                entry = str(hook.get("entry", ""))
                if (_inside(folder) in " ".join(_words(entry))) if folder else not entry.startswith("sh "):
                    return True
    return False


def _words(entry: str) -> list[str]:
    try:
        return shlex.split(entry)
    except ValueError:
        return []


def _items(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _inside(folder: str) -> str:
    """How a command is begun in the project's folder; hooks start in the repository's."""
    return f"cd {shlex.quote(folder)} &&"


def _is_list(entry: Entry) -> bool:
    value = entry.value
    return value.kind is Kind.LIST and not value.flow and bool(value.entries)


def _inserted(text: str, following: Entry | None, block: str) -> str:
    """The text with a block at the end of a list, which is before the next key and what stands above that."""
    lines = text.rstrip("\n").split("\n") if following is None else text.split("\n")
    at = len(lines)
    if following is not None:
        at = following.line
        while at and (not lines[at - 1].strip() or lines[at - 1].startswith("#")):
            at -= 1
    return "\n".join([*lines[:at], *block.removesuffix("\n").split("\n"), *lines[at:]]).rstrip("\n") + "\n"


def _appended(value: Any, block: str) -> Any:
    return {**value, "repos": [*_items(value, "repos"), *document.parse(block, FILE).value]}


def _block(folder: str, pad: str) -> str:
    """Our hooks as an item of a list, `pad` from the left."""
    inside = re.escape(folder).replace("\\-", "-") + "/" if folder else ""
    chains = f"^{inside}chains/[^/]+\\.ya?ml$"
    anything = f"^{inside}(chains/|promptchain\\.toml$|pyproject\\.toml$)"
    rows = ["- repo: local # with the `chain` that is installed here", "  hooks:"]
    for hook, words, files in (
        ("chain-fmt", "chain fmt", chains),
        ("chain-check", "chain check", anything),
        ("chain-lock", "chain compile --check", anything),
    ):
        entry = f"sh -c {shlex.quote(f'{_inside(folder)} {words}')}" if folder else words
        name = scalar(f"{words} ({folder})") if folder else words
        rows += [f"    - id: {hook}", f"      name: {name}", f"      entry: {scalar(entry)}", "      language: system"]
        rows.append(f"      files: {scalar(files) if folder else files}")
        if words == "chain fmt":
            rows.append("      exclude: \\.lock\\.ya?ml$")
        if folder or words != "chain fmt":
            rows.append("      pass_filenames: false")
    return "".join(f"{pad}{row}\n" for row in rows)
