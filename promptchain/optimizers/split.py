"""Which examples are for what: by a hash of each row's inputs, so that a row stays where it is when others come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from promptchain.errors import PromptChainError, UsageError
from promptchain.examples import Example
from promptchain.tuning import Tuning

COLUMN = "split"
"""The column of a dataset that says it, in place of the hash."""

_NAMES = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}


@dataclass(frozen=True, slots=True)
class Parts:
    """The examples, each in one part, in the order of their hashes: the beginning of a part is a sample by chance."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def __str__(self) -> str:
        return f"{len(self.train)} train, {len(self.dev)} dev, {len(self.test)} test"


def split(examples: Iterable[Example], tuning: Tuning) -> Parts:
    """Rows with the same inputs come into the same part, whatever is expected of them. The seed has no say: a prompt
    that was compiled before, with another, must not have seen what is held out now. Nor has an optional input that a
    row does not give, and that the chain may have got since.

    Raises UsageError for a `split` that is none of train, dev, test.
    """
    found: dict[str, list[tuple[bytes, Example]]] = {"train": [], "dev": [], "test": []}
    for example in examples:
        given = {name: value for name, value in example.inputs.items() if value is not None}
        text = json.dumps(given, sort_keys=True, ensure_ascii=False, default=str)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        found[_part(example, digest, tuning)].append((digest, example))
    parts = {name: tuple(example for _, example in sorted(rows, key=_order)) for name, rows in found.items()}
    return Parts(parts["train"], parts["dev"], parts["test"])


def _order(row: tuple[bytes, Example]) -> tuple[bytes, str]:
    return row[0], row[1].id


def _part(example: Example, digest: bytes, tuning: Tuning) -> str:
    said = example.beside.get(COLUMN)
    if said is None or said == "":
        at = int.from_bytes(digest[:8]) / 2**64
        return "train" if at < tuning.split.train else "dev" if at < tuning.split.train + tuning.split.dev else "test"
    part = _NAMES.get(said) if isinstance(said, str) else None
    if part is None:
        raise UsageError(f"the split {said!r} is none of train, dev, test", where=example.where)
    return part


def check(parts: Parts) -> None:
    """Raises PromptChainError where a part is empty, so that nothing could be chosen or held out."""
    for name in ("dev", "test"):
        if not getattr(parts, name):
            hint = "add rows; about 30 are the least to compile with, or say which is which in a column `split`"
            raise PromptChainError(f"of these examples none is for {name} ({parts})", hint=hint)
