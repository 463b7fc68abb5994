"""A file → the blocks of text that it says, by the kind of file; what it says is hashed while it is read."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptchain.records import whole_text
from promptchain.retrieval.files import Stamp, stamp

MAX_TEXT = 64 * 1024 * 1024
"""Bytes of a file that is read as a whole: everything but rows."""
MAX_BYTES = 2 * 1024**3
"""Bytes of any file."""
_SNIFFED = 8000
"""Bytes at the start in which a NUL tells that this is no text; git looks at as many."""


_SPLIT = ": it is left out; split it into smaller files"
_CONVERT = ": it is left out; save it as UTF-8, say with iconv -f latin1 -t utf-8"


class LeftOut(Exception):
    """A file that gives no passages; the message says why, after its name."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a heading begins in its block's text, how deep it is (from 1), and its words."""

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A text that passages are cut from; none goes over its end. line: where it begins.

    marks: the lines (or the page) at offsets of the text, ascending, where they are not told by its line breaks.
    """

    text: str
    title: str
    line: int = 1
    meta: Mapping[str, Any] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    marks: tuple[tuple[int, int], ...] | None = None


class Reading:
    """A file while it is read. name: its path from the project's folder. problems: what was left out of it."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        # A pipe that took the file's place must not be waited for, nor a symlink be followed.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._raw = _Hashed(os.open(path, flags))
        self.file = io.BufferedReader(self._raw, 1 << 18)
        try:
            if not stat.S_ISREG(os.fstat(self._raw.number).st_mode):
                raise LeftOut("is not a file")
            self.before = stamp(os.fstat(self._raw.number))
        except BaseException:
            self.close()
            raise

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    def data(self, limit: int = MAX_TEXT) -> bytes:
        """All of it. Raises LeftOut where it is larger."""
        if self.before.size > limit:
            raise LeftOut(
                f"has {self.before.size / 2**20:,.1f} MiB, more than the {limit / 2**20:,.0f} MiB that are read{_SPLIT}"
            )
        found = self.file.read(limit + 1)
        if len(found) > limit:
            raise LeftOut(f"has more than the {limit / 2**20:,.0f} MiB that are read{_SPLIT}")
        return found

    def text(self, limit: int = MAX_TEXT) -> str:
        """All of it as text, with `\\n` between its lines. Raises LeftOut where it is larger or no text in UTF-8."""
        data = self.data(limit)
        if b"\0" in data[:_SNIFFED]:
            raise LeftOut("is not a text")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            raise LeftOut(f"is not UTF-8 (byte 0x{data[exc.start]:02x} in line {line}){_CONVERT}") from None
        return clean(text.replace("\r\n", "\n").replace("\r", "\n"))

    def sha(self) -> str:
        """The SHA-256 (hex) of all of it, read to its end."""
        while self.file.read(1 << 20):
            pass
        return self._raw.digest.hexdigest()

    def after(self) -> Stamp:
        """What is known of the file now."""
        return stamp(os.fstat(self._raw.number))

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Hashed(io.RawIOBase):
    """A file's bytes, hashed as they pass."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        count = os.readv(self.number, [view]) if hasattr(os, "readv") else _read_into(self.number, view)
        self.digest.update(view[:count])
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self.number)
        super().close()


def _read_into(number: int, view: memoryview) -> int:
    data = os.read(number, len(view))
    view[: len(data)] = data
    return len(data)


def clean(text: str) -> str:
    """The text without what no database keeps as it is: NUL and lone surrogates become U+FFFD."""
    return whole_text(text.replace("\0", "\ufffd"))


def blocks(reading: Reading) -> Iterator[Block]:
    """What the file says, in order. Raises LeftOut, OSError, and PromptChainError where a package is wanting."""
    from promptchain.retrieval import markup, pdf, rows

    readers: dict[str, Callable[[Reading], Iterator[Block]]] = {
        ".md": markup.markdown,
        ".markdown": markup.markdown,
        ".html": markup.html,
        ".htm": markup.html,
        ".pdf": pdf.pages,
        ".csv": rows.csv_rows,
        ".tsv": rows.csv_rows,
        ".jsonl": rows.json_lines,
        ".ndjson": rows.json_lines,
        ".json": rows.json_items,
    }
    if reading.before.size > MAX_BYTES:
        raise LeftOut(
            f"has {reading.before.size / 2**30:,.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB that are read"
        )
    yield from readers.get(Path(reading.name).suffix.lower(), _plain)(reading)


def _plain(reading: Reading) -> Iterator[Block]:
    yield Block(reading.text(), reading.stem)
