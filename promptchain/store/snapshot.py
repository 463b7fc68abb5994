"""What a version keeps of a chain: its source, the files it uses, its variants, and the hashes of what is too large."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A chain as it is kept. Paths count from the project's folder.

    meaning: what the chain says, as a hash that layout and comments do not change (`Chain.content_id`).
    uses: for each kind ("python", "retrieve", "dataset") the SHA-256 of the files that are used but not kept.
    compiled: what a log tells of the variants, by model; no part of the content.
    """

    chain: str
    path: str
    source: bytes
    meaning: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    variants: Mapping[str, bytes] = field(default_factory=dict)
    uses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    compiled: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The content id: SHA-256 (hex) over everything that a run depends on. What only tests use is no part of it."""
        parts = {
            "uses": {kind: dict(found) for kind, found in self.uses.items() if found and kind != "dataset"},
            "variants": {name: hashlib.sha256(text).hexdigest() for name, text in self.variants.items()},
        }
        if not any(parts.values()):
            return self.meaning
        text = json.dumps([self.meaning, parts], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def blobs(self) -> dict[str, bytes]:
        """The content of the version's folder in the store, but for the manifest."""
        kept = {"source.yaml": self.source}
        kept |= {f"files/{stored(path)}": text for path, text in self.files.items()}
        return kept | {f"variants/{name}.json": text for name, text in self.variants.items()}


_PLAIN = re.compile(r"(?!\.|git~)[A-Za-z0-9._ @+=-]{1,200}(?<![. ])", re.IGNORECASE)


def stored(path: str) -> str:
    """The path under which a file is kept: parts that a git tree must not have on some system are spelt out.

    >>> stored("chains/support/reply.md"), stored("chains/.git/é")
    ('chains/support/reply.md', 'chains/%2Egit/%C3%A9')
    """
    return "/".join(part if _PLAIN.fullmatch(part) else _spelt(part) for part in path.split("/"))


def _spelt(part: str) -> str:
    raw = part.encode("utf-8", "surrogateescape")
    if len(raw) > 80:
        return "%" + hashlib.sha256(raw).hexdigest()
    return quote(raw, safe="").replace(".", "%2E").replace("~", "%7E")
