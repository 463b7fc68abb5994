"""Rows of data, one at a time: JSON Lines or CSV, read as a stream so that a file of any length will do; or YAML."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptchain import document
from promptchain.chain import Chain
from promptchain.errors import InvalidFileError, PromptChainError, UsageError, Where
from promptchain.inputs import coerce
from promptchain.model import describe

MAX_ROW = 64 * 1024 * 1024
"""Bytes of one row: of one line of JSON, or of one cell."""

COLUMNS = frozenset({"id", "expected", "assert", "metadata", "description", "threshold", "options", "split"})
"""What a row may hold beside a chain's inputs; and every name that begins with `__`, as promptfoo's columns do, or with
`expected.`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. line: where it begins in the file, from 1. error: why it cannot be used; `inputs` is empty then.

    ignored: keys that are neither inputs of the chain nor columns of a dataset. beside: all that is no input, as it
    stands in the row. text: cells of a CSV file, where a number is a text yet.
    """

    line: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    ignored: tuple[str, ...] = ()
    error: str | None = None
    beside: Mapping[str, Any] = field(default_factory=dict, compare=False)
    text: bool = field(default=False, compare=False)


def rows(path: Path, chain: Chain) -> Iterator[Row]:
    """The rows of a .jsonl, .csv or .yaml file, in order. A broken row is a Row with an error.

    Raises UsageError for another kind of file, PromptChainError where the file cannot be read.
    """
    kinds = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".yaml": _yaml, ".yml": _yaml, ".json": _yaml}
    read = kinds.get(path.suffix.lower())
    if read is None:
        hint = "rows are JSON Lines (.jsonl: one JSON object to a line), CSV (.csv, with a header) or a list (.yaml)"
        raise UsageError(f"'{path}' is neither .jsonl nor .csv nor .yaml", hint=hint)
    try:
        yield from read(path, chain)
    except FileNotFoundError:
        raise PromptChainError("there is no such file", where=Where(str(path))) from None
    except OSError as exc:
        raise PromptChainError(f"cannot be read: {exc.strerror or exc}", where=Where(str(path))) from exc


def _jsonl(path: Path, chain: Chain) -> Iterator[Row]:
    with path.open("rb") as file:
        line = 0
        while raw := file.readline(MAX_ROW + 1):
            line += 1
            if len(raw) > MAX_ROW and not raw.endswith(b"\n"):
                while (rest := file.readline(MAX_ROW)) and not rest.endswith(b"\n"):
                    pass
                yield Row(line, error=f"the line is longer than {MAX_ROW:,} bytes")
            elif raw.strip():
                yield _json_row(line, raw, chain)


def _json_row(line: int, raw: bytes, chain: Chain) -> Row:
    try:
        data = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError as exc:
        return Row(line, error=f"byte {exc.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as exc:
        return Row(line, error=f"not JSON: {exc.msg} at column {exc.colno}")
    except ValueError as exc:  # a number of thousands of digits
        return Row(line, error=f"not JSON: {exc}")
    except RecursionError:
        return Row(line, error="the JSON is nested too deep")
    return _row(line, data, chain)


def _yaml(path: Path, chain: Chain) -> Iterator[Row]:
    """A list of mappings; JSON is YAML."""
    try:
        source = document.read(path)
    except InvalidFileError as exc:
        first = exc.problems[0]
        raise PromptChainError(first.message, where=first.where, hint=first.hint) from None
    if source.value is None:
        return
    if not isinstance(source.value, list):
        message = f"the rows are a list of mappings, not {describe(source.value)}"
        raise PromptChainError(message, where=Where(str(path), 1))
    for index, data in enumerate(source.value):
        yield _row(source.where((index,)).line or 1, data, chain)


def _row(line: int, data: Any, chain: Chain) -> Row:
    if not isinstance(data, dict):
        return Row(line, error=f"a row is a JSON object, not {describe(data)}")
    declared = chain.input_type.fields()
    for nested in ("inputs", "vars"):
        if isinstance(data.get(nested), dict) and nested not in declared:
            data = {name: value for name, value in data.items() if name != nested} | data[nested]
    return _sorted_out(line, data, chain)


def _sorted_out(line: int, data: Mapping[str, Any], chain: Chain, *, text: bool = False) -> Row:
    inputs, ignored, beside = {}, [], {}
    declared = chain.input_type.fields()
    for name, value in data.items():
        special = name in COLUMNS or name.startswith(("__", "expected."))
        if name in declared or (not special and chain.input_type.field(name) is not None):
            inputs[name] = value
            continue
        beside[name] = value
        if not special:
            ignored.append(name)
    own = data.get("id")
    named = str(own) if isinstance(own, str | int) and own != "" else None
    return Row(line, inputs, named, tuple(ignored), beside=beside, text=text)


def _csv(path: Path, chain: Chain) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))  # 128 KiB else; it counts for the whole process
        reader = csv.reader(file, strict=True)
        header = _header(reader, path)
        if header is None:
            return
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield Row(line, error=f"not CSV: {_csv_fault(exc)}")
                continue
            if cells:
                yield _cells(line, header, cells, chain)


def _csv_fault(exc: csv.Error) -> str:
    said = str(exc)
    return (
        "a quote that opens here is never closed, so that no row after it can be read"
        if "end of data" in said
        else said
    )


def _header(reader: Iterator[list[str]], path: Path) -> list[str] | None:
    where = Where(str(path), 1)
    try:
        header = next(reader, None)
    except csv.Error as exc:
        raise PromptChainError(f"the header is not CSV: {exc}", where=where) from None
    if header and len(header) == 1 and ";" in header[0]:
        hint = "save the file with commas between the columns"
        raise PromptChainError("the columns are separated by ';', not by ','", where=where, hint=hint)
    for name in header or ():
        if not _is_utf8(name):
            raise PromptChainError("the header is not UTF-8", where=where, hint="save the file with the encoding UTF-8")
        if header and header.count(name) > 1:
            raise PromptChainError(f"the column '{name}' is there twice", where=where, hint="rename one of them")
    return header


def _is_utf8(cell: str) -> bool:
    """Whether no byte of the cell had to be taken for a surrogate (`errors="surrogateescape"`)."""
    return cell.isascii() or not any("\udc80" <= char <= "\udcff" for char in cell)


def _cells(line: int, header: list[str], cells: list[str], chain: Chain) -> Row:
    if len(cells) != len(header):
        return Row(line, error=f"{len(cells)} cells under a header of {len(header)} columns")
    data: dict[str, Any] = dict(zip(header, cells, strict=True))
    if not all(map(_is_utf8, cells)):
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
    return _sorted_out(line, data, chain, text=True)
