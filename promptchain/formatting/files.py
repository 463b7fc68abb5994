"""Chain files read, laid out and written again."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path

from promptchain import atomic, document
from promptchain.formatting.layout import layout

_HINT = "keep long texts in files of their own ({file: …}) and rows in a dataset"


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A file before and after. name: what messages call it."""

    path: Path
    name: str
    before: bytes
    after: bytes

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def write(self) -> None:
        """Put the canonical text in place of the file's. Raises PromptChainError."""
        atomic.write(self.path, self.after, self.name)


def lay_out(path: Path, name: str) -> LaidOut:
    """The file at `path` in canonical layout; nothing is written. A byte-order mark stays where there is one.

    Raises InvalidFileError, PromptChainError."""
    before = document.read_bytes(path, name, document.MAX_BYTES, _HINT)
    return LaidOut(path, name, before, lay_out_bytes(before, name))


def lay_out_bytes(content: bytes, name: str) -> bytes:
    """As `lay_out`, of what a file has in it."""
    text = layout(document.decoded(content, name), name).encode()
    return BOM_UTF8 + text if content.startswith(BOM_UTF8) else text
