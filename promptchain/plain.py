"""What code of the user's returns, as JSON.

Models of pydantic, dates, decimals (as text, which is exact), paths, UUIDs and bytes (of UTF-8) are written as pydantic
writes them; dataclasses as objects; members of an enum as their values; sets as lists in order, so that a result is the
same every time; arrays and numbers of numpy as lists and numbers; what else is a sequence or an iterator as a list.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from enum import Enum
from typing import Any

from promptchain.records import MAX_DEPTH, whole_text

MAX_BITS = 14_000
"""Of a whole number: Python reads and writes 4300 digits at most."""


class NotJSONError(ValueError):
    """A value that JSON cannot say; the text goes on a sentence such as "it returned …"."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def as_json(value: Any, most: int) -> Any:
    """The value as JSON, of about `most` bytes at most. Raises NotJSONError, and what the code of the value raises."""
    return _Reader(most).read(value, MAX_DEPTH)


class _Reader:
    """Reads a value, and counts what comes of it: an iterator may have no end."""

    def __init__(self, most: int) -> None:
        self.most = self.left = most

    def read(self, value: Any, depth: int) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool | int | float):
            return self._scalar(value)
        if depth == 0:
            raise NotJSONError(f"a value that is nested more than {MAX_DEPTH} deep")
        self._take(2)
        if isinstance(value, Mapping):
            return self._items(value.items(), depth)
        if (
            dataclasses.is_dataclass(value)
            and not isinstance(value, type)
            and not hasattr(value, "__pydantic_config__")
        ):
            return self._items(((field.name, getattr(value, field.name)) for field in dataclasses.fields(value)), depth)
        if isinstance(value, Set):
            items = [self.read(item, depth - 1) for item in value]
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(value, Sequence | Iterator | ValuesView) and not isinstance(value, bytes | bytearray | io.IOBase):
            return [self.read(item, depth - 1) for item in value]
        return self._other(value, depth)

    def _other(self, value: Any, depth: int) -> Any:
        from pydantic_core import PydanticSerializationError, to_jsonable_python

        kind = f"a value of the type {type(value).__name__}, which JSON cannot say"
        if isinstance(value, io.IOBase):  # pydantic would read its lines
            raise NotJSONError(kind, "return its text")
        if callable(listed := getattr(value, "tolist", None)) and not isinstance(value, type | memoryview):
            return self.read(listed(), depth - 1)
        try:
            written = to_jsonable_python(value)
        except UnicodeDecodeError as exc:
            raise NotJSONError("bytes that are no text in UTF-8", "decode them, or encode them as base64") from exc
        except PydanticSerializationError as exc:
            hint = "return text, numbers, lists, mappings, dataclasses or pydantic models"
            said = " ".join(str(exc).split())
            raise NotJSONError(kind if "unknown type" in said else f"{kind}: {said[:200]}", hint) from exc
        return self.read(written, depth - 1)

    def _items(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        return {self._key(key): self.read(item, depth - 1) for key, item in items}

    def _key(self, key: Any) -> str:
        """The name of a field: text as it is, the rest as JSON has it."""
        key = self.read(key, MAX_DEPTH)
        if isinstance(key, list | dict):
            raise NotJSONError("a mapping with a key that is neither text nor a number")
        return key if isinstance(key, str) else json.dumps(key)

    def _text(self, text: str) -> str:
        text = whole_text(str.__str__(text))
        self._take(2 + len(text) if text.isascii() else 2 + len(text.encode()))
        return text

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, float):
            if not math.isfinite(value):
                raise NotJSONError(f"{value!r}, which is not a JSON value")
            value = float(value)
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise NotJSONError(f"a whole number of {value.bit_length():,} bits, which is too large")
        self._take(4)
        return value if value is None or isinstance(value, bool | float) else int(value)

    def _take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise NotJSONError(f"more than {self.most:,} bytes of JSON", "return what is needed, and no more")
