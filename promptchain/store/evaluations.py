"""What testing chains came to: `refs/promptchain/evaluations/<chain>`, whose tip's tree holds every evaluation.

<content[:2]>/<content>/<id>.json            in numbers; content: of the version that was tested
<content[:2]>/<content>/<id>.examples.json   by example, which a log need not read
<content[:2]>/<content>/<id>.compile.json    how a compile came to that version; `id` is the compile's own

Nothing is ever changed in it, so that two sides are brought together by having all of both. A promptchain that knows
nothing of it neither fetches nor pushes it, and leaves what is here as it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from promptchain.errors import StoreError, UsageError
from promptchain.location import SLUG
from promptchain.store import meta
from promptchain.store.objects import Entry, as_mapping
from promptchain.store.repo import TRIES, Moved, Repository
from promptchain.store.spool import RUN_ID
from promptchain.store.stream import NewCommit

EXAMPLES = "examples"
"""The part of an evaluation that is kept apart: a list."""

REST = f".{EXAMPLES}.json"
"""How the name of the file with that part ends."""

COMPILE = ".compile.json"
"""How the name of a file about a compile ends."""

MAX_DEPTH = 12
"""How deep a summary may be nested; ours are half of that."""

_FEW = 100
"""So many contents are looked for one by one."""

_CONTENT = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(rf"([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})/({RUN_ID.pattern})(\.{EXAMPLES}|\.compile)?\.json")


class Evaluations:
    """The evaluations of every chain in a repository."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo

    def of(self, chain: str, content: str, limit: int | None = None) -> list[Mapping[str, Any]]:
        """Those of one content, the newest first; see `summaries`."""
        return self.summaries(chain, [content], limit).get(content, [])

    def summaries(
        self, chain: str, contents: Iterable[str] | None = None, limit: int | None = None
    ) -> dict[str, list[Mapping[str, Any]]]:
        """For each of the contents (all) that has any, its evaluations without their examples, the newest first, and at
        most `limit` of them. What cannot be read is passed over; `id` and `content` are what the tree says.

        They may come from a remote: what they hold beside those two is finite JSON, and may have any shape.
        Raises StoreError for a damaged ref, or the format of a newer release.
        """
        found: dict[str, list[Mapping[str, Any]]] = {}
        for content, names in self._folders(chain, contents):
            ids = sorted((name[:-5] for name in names if RUN_ID.fullmatch(name[:-5])), reverse=True)
            own: list[Mapping[str, Any]] = []
            for evaluation in ids:
                if limit is not None and len(own) >= limit:
                    break
                if summary := self._summary(content, evaluation, names.get(f"{evaluation}.json")):
                    own.append(summary)
            if own:
                found[content] = own
        return found

    def read(self, chain: str, reference: str) -> Mapping[str, Any]:
        """The whole evaluation with this id, or the only one whose id begins so; it may have any shape.

        Raises UsageError where there is none, or several; StoreError for one that is damaged."""
        tip = self._tip(chain)
        paths = entries(self._repo, tip)
        found = {match[3]: path for path in paths if (match := _PATH.fullmatch(path)) and not match[4]}
        ids = sorted(each for each in found if reference and each.startswith(reference.lower()))
        if not ids:
            hint = f"chain log {chain} lists them" if found else f"chain test {chain} makes one"
            raise UsageError(f"the chain '{chain}' has no evaluation '{reference}'", hint=hint)
        if len(ids) > 1:
            hint = f"give more of it: {', '.join(ids[:5])}"
            raise UsageError(f"'{reference}' is the beginning of {len(ids)} evaluations", hint=hint)
        path = found[ids[0]]
        summary = self._summary(path.split("/")[1], ids[0], Entry(paths[path], is_tree=False))
        rest = as_mapping(self._repo.read(paths.get(path.removesuffix(".json") + REST, "0" * 40))).get(EXAMPLES)
        if not summary or not isinstance(rest, list):
            raise StoreError(f"the evaluation {ids[0]} cannot be read whole", hint="chain doctor")
        return {**summary, EXAMPLES: rest}

    def write(self, chain: str, content: str, evaluation: str, data: Mapping[str, Any]) -> None:
        """Keep an evaluation, whole, JSON without secrets. evaluation: its id. It is on disk when this returns.

        Raises StoreError; UsageError for what cannot be the name of a chain."""
        summary = {name: value for name, value in data.items() if name != EXAMPLES}
        rest = {EXAMPLES: data.get(EXAMPLES, [])}
        self._write(chain, content, evaluation, {".json": _encode(summary), REST: _encode(rest)})

    def compiles(self, chain: str) -> list[Mapping[str, Any]]:
        """What is kept of the compiles of a chain, the newest first; finite JSON of any shape, as `summaries`.

        Raises StoreError."""
        paths = {path: sha for path, sha in entries(self._repo, self._tip(chain)).items() if path.endswith(COMPILE)}
        found = []
        for path in sorted(paths, key=lambda path: path.rpartition("/")[2], reverse=True):
            _, content, name = path.split("/")
            if own := self._summary(content, name.removesuffix(COMPILE), Entry(paths[path], is_tree=False)):
                found.append(own)
        return found

    def compile_ids(self, chain: str) -> dict[str, list[str]]:
        """By the content of the version that they made the ids of the compiles of a chain, the newest first. None of
        them is read. Raises StoreError."""
        found: dict[str, list[str]] = {}
        paths = (path for path in entries(self._repo, self._tip(chain)) if path.endswith(COMPILE))
        for path in sorted(paths, reverse=True):
            _, content, name = path.split("/")
            found.setdefault(content, []).append(name.removesuffix(COMPILE))
        return found

    def write_compile(self, chain: str, content: str, compile_id: str, data: Mapping[str, Any]) -> None:
        """Keep what a compile did on its way to a version; as `write`."""
        self._write(chain, content, compile_id, {COMPILE: _encode(data)})

    def _write(self, chain: str, content: str, own: str, files: Mapping[str, bytes]) -> None:
        """Files by how their names end, after the content and the id."""
        if not SLUG.fullmatch(chain):
            raise UsageError(f"'{chain}' cannot be a chain's name", hint="small letters, digits, - and _, at most 64")
        path = f"{content[:2]}/{content}/{own}"
        if not _PATH.fullmatch(f"{path}.json"):
            raise StoreError(f"'{content}' is no content id, or '{own}' no id of an evaluation")
        changes: dict[str, bytes | str | None] = {f"{path}{end}": text for end, text in files.items()}
        meta.check(self._repo)
        ref, message = f"evaluations/{chain}", f"{own} of {content[:12]}"
        with self._repo.lock():
            for _ in range(TRIES):
                tip = self._repo.tip(ref)
                commit = NewCommit(ref, message, (tip,) if tip else (), changes)
                try:
                    self._repo.write([*meta.first(self._repo), commit])
                except Moved:
                    continue
                return
        raise StoreError(f"others keep writing to {ref}", hint="try again")

    def _tip(self, chain: str) -> str | None:
        meta.check(self._repo, writing=False)
        return self._repo.tip(f"evaluations/{chain}") if SLUG.fullmatch(chain) else None

    def _folders(self, chain: str, contents: Iterable[str] | None) -> Iterator[tuple[str, Mapping[str, Entry]]]:
        """The files of the contents (all) that have evaluations."""
        tip = self._tip(chain)
        if tip is None:
            return
        wanted = None if contents is None else [c for c in dict.fromkeys(contents) if _CONTENT.fullmatch(c)]
        if wanted is not None and len(wanted) <= _FEW:
            yield from ((content, self._repo.tree(f"{tip}:{content[:2]}/{content}")) for content in wanted)
            return
        # Of many, what is there is found out first: to ask git for what is not takes as long as to read it.
        there: dict[str, Entry] = {}
        for bucket, entry in self._repo.tree(f"{tip}:").items():
            own = self._repo.tree(entry.sha)
            there |= {name: own[name] for name in own if name[:2] == bucket and _CONTENT.fullmatch(name)}
        for content in there if wanted is None else wanted:
            if content in there:
                yield content, self._repo.tree(there[content].sha)

    def _summary(self, content: str, evaluation: str, entry: Entry | None) -> Mapping[str, Any] | None:
        found = as_mapping(self._repo.read(entry.sha)) if entry else {}
        if not found or not _is_plain(found, MAX_DEPTH):
            return None
        own = {name: value for name, value in found.items() if name != EXAMPLES}
        return {**own, "id": evaluation, "content": content}


def entries(repo: Repository, commit: str | None) -> dict[str, str]:
    """The files of a commit of evaluations by their paths, and the ids of their blobs."""
    if commit is None:
        return {}
    found: dict[str, str] = {}
    for line in repo.run("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
        about, _, path = line.partition("\t")
        if about.split()[1:2] == ["blob"] and _PATH.fullmatch(path):
            found[path] = about.split()[2]
    return found


def count(paths: Iterable[str]) -> int:
    """How many evaluations these files are."""
    return sum(not path.endswith((REST, COMPILE)) for path in paths)


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON that was read can be written again: it has no infinity, and is not nested beyond measure."""
    if not isinstance(value, dict | list):
        return not isinstance(value, float) or math.isfinite(value)
    for part in value.values() if isinstance(value, dict) else value:  # a generator takes twice as long
        if depth == 0 or not _is_plain(part, depth - 1):
            return False
    return True


def _encode(data: Mapping[str, Any]) -> bytes:
    """As JSON, in the order that was given. What is no Unicode becomes an escape that JSON knows."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"
