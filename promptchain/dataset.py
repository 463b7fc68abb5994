"""Rows of data, one at a time: JSON Lines or CSV, read as a stream so that a file of any length will do."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptchain.chain import Chain, describe
from promptchain.errors import PromptChainError, UsageError, Where
from promptchain.inputs import coerce

COLUMNS = frozenset({"id", "expected", "assert", "metadata", "description", "threshold"})
"""What a row may hold beside a chain's inputs; and every name that begins with `__`, as promptfoo's columns do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. line: where it begins in the file, from 1. error: why it cannot be used; `inputs` is empty then.

    ignored: keys that are neither inputs of the chain nor columns of a dataset.
    """

    line: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    ignored: tuple[str, ...] = ()
    error: str | None = None


def rows(path: Path, chain: Chain) -> Iterator[Row]:
    """The rows of a .jsonl or .csv file, in order. A broken row is a Row with an error.

    Raises UsageError for another kind of file, PromptChainError where the file cannot be read.
    """
    kinds = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv}
    read = kinds.get(path.suffix.lower())
    if read is None:
        hint = "rows are JSON Lines (.jsonl: one JSON object to a line) or CSV (.csv, with a header)"
        raise UsageError(f"'{path}' is neither .jsonl nor .csv", hint=hint)
    try:
        yield from read(path, chain)
    except FileNotFoundError:
        raise PromptChainError("there is no such file", where=Where(str(path))) from None
    except OSError as exc:
        raise PromptChainError(f"cannot be read: {exc.strerror or exc}", where=Where(str(path))) from exc


def _jsonl(path: Path, chain: Chain) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                data = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
            except UnicodeDecodeError as exc:
                yield Row(line, error=f"byte {exc.start + 1} of the line is not UTF-8")
            except json.JSONDecodeError as exc:
                yield Row(line, error=f"not JSON: {exc.msg} at column {exc.colno}")
            except RecursionError:
                yield Row(line, error="the JSON is nested too deep")
            else:
                yield _row(line, data, chain)


def _row(line: int, data: Any, chain: Chain) -> Row:
    if not isinstance(data, dict):
        return Row(line, error=f"a row is a JSON object, not {describe(data)}")
    declared = chain.input_type.fields()
    for nested in ("inputs", "vars"):
        if isinstance(data.get(nested), dict) and nested not in declared:
            data = {**data, **data.pop(nested)}
    return _sorted_out(line, data, chain)


def _sorted_out(line: int, data: Mapping[str, Any], chain: Chain) -> Row:
    inputs, ignored = {}, []
    for name, value in data.items():
        if chain.input_type.field(name) is not None:
            inputs[name] = value
        elif name not in COLUMNS and not name.startswith("__"):
            ignored.append(name)
    own = data.get("id")
    return Row(line, inputs, str(own) if isinstance(own, str | int) else None, tuple(ignored))


def _csv(path: Path, chain: Chain) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, None)
        if header is None:
            return
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield Row(line, error=f"not CSV: {exc}")
                continue
            if cells:
                yield _cells(line, header, cells, chain)


def _cells(line: int, header: list[str], cells: list[str], chain: Chain) -> Row:
    if len(cells) != len(header):
        return Row(line, error=f"{len(cells)} cells under a header of {len(header)} columns")
    data: dict[str, Any] = dict(zip(header, cells, strict=True))
    if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
        return Row(line, error="the row is not UTF-8")
    try:
        for name in data:
            kind = chain.input_type.field(name)
            if kind is not None and data[name] == "" and name not in chain.input_type.required:
                data[name] = None  # an empty cell of an optional input
            elif kind is not None:
                data[name] = coerce(chain, name, data[name])
    except PromptChainError as exc:
        return Row(line, error=exc.message)
    return _sorted_out(line, data, chain)
