"""What a chain is given: values from the command line, a file or Python, checked against its declaration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from promptchain import document, media
from promptchain.chain import Chain
from promptchain.errors import InputError, UsageError, Where, known_or_nearest
from promptchain.model import describe
from promptchain.records import storable

MAX_BYTES = 64 * 1024 * 1024
"""The size of an input file."""


def check(chain: Chain, given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete inputs: what is optional and not given is null. Raises InputError, naming every problem."""
    declared, required = chain.input_type.fields(), chain.input_type.required
    problems, hints = [], []
    for name, value in given.items():
        kind = chain.input_type.field(name)
        if kind is not None:
            problems += [f"input '{name}': {problem}" for problem in kind.check(value) or _unstorable(value)]
        else:
            problems.append(f"the chain '{chain.name}' has no input '{name}'")
            hints.append(known_or_nearest(name, declared, "inputs"))
    for name, kind in declared.items():
        if name in required and name not in given:
            problems.append(f"the input '{name}' ({kind.describe()}) is missing")
            hints.append(f'give it with -i {name}="…"')
    if problems:
        raise InputError("; ".join(problems), hint="; ".join(dict.fromkeys(hints)) or None)
    return {**dict.fromkeys(declared), **given}


def _unstorable(value: Any) -> list[str]:
    """What no model and no record can take, although it is of the right type."""
    try:
        return [] if storable(value) == value else ["the text holds half of a character (a lone surrogate)"]
    except ValueError as exc:
        return [str(exc)]


def from_pairs(chain: Chain, pairs: Iterable[str]) -> dict[str, Any]:
    """Inputs from `name=value` words; `name=@file` takes the text of a file, or an image or another file that is no
    text as a data: URI. Raises UsageError, InputError, PromptChainError."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise UsageError(
                f"'{pair}' is not of the form name=value", hint='for example -i message="Where is my card?"'
            )
        if name in values:
            raise UsageError(f"the input '{name}' is given twice", hint=f"give it once: -i {name}=…")
        if text.startswith("@") and len(text) > 1:
            text = _content(Path(text[1:]), text[1:])
        values[name] = coerce(chain, name, text)
    return values


def coerce(chain: Chain, name: str, text: str) -> Any:
    """The value of input `name` that a text stands for. Raises InputError; an unknown name is left to `check`."""
    kind = chain.input_type.field(name)
    if kind is None:
        return text
    try:
        return kind.coerce(text)
    except ValueError as exc:
        raise InputError(f"input '{name}': {exc}", hint=f"it is {kind.describe()}") from None


def from_text(chain: Chain, text: str) -> dict[str, Any]:
    """Inputs from one bare text: the chain's only input, or the only one that must be given. Raises InputError."""
    declared, required = chain.input_type.fields(), chain.input_type.required
    candidates = list(declared) if len(declared) == 1 else list(required)
    if len(candidates) != 1:
        known = ", ".join(declared) or "none"
        raise InputError(
            f"a bare text does not say which input it is; the chain '{chain.name}' has: {known}",
            hint="name it: -i name=value",
        )
    return {candidates[0]: coerce(chain, candidates[0], text)}


def from_file(chain: Chain, source: str, stdin: str | None = None) -> dict[str, Any]:
    """Inputs from a JSON or YAML file, or from `stdin` where the source is "-"; text on stdin that is no JSON is the
    chain's only input. Raises PromptChainError, InputError."""
    if source == "-":
        text, name = stdin or "", "standard input"
        if not text.strip():
            raise InputError("standard input is empty", hint="pipe the inputs as JSON, or a text")
        if not text.lstrip().startswith("{"):
            return from_text(chain, text.rstrip("\r\n"))
        return _mapping(_json(text, name), name)
    path = Path(source)
    text = _read(path, source)
    if path.suffix in (".yaml", ".yml"):
        return _mapping(document.parse(text, source).value, source)
    return _mapping(_json(text, source), source)


def _read(path: Path, name: str) -> str:
    return document.read_text(path, name, MAX_BYTES)


def _content(path: Path, name: str) -> str:
    """A file's text; a data: URI of what is none. Raises PromptChainError."""
    data = document.read_bytes(path, name, MAX_BYTES)
    return media.data_uri(data, path.name) if media.is_binary(data) else document.decoded(data, name)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        hint = 'the inputs are one JSON object, for example {"message": "Where is my card?"}'
        raise InputError(f"this is not JSON ({exc.msg})", hint=hint, where=Where(name, exc.lineno, exc.colno)) from None
    except ValueError as exc:  # a number of thousands of digits
        raise InputError(f"this is not JSON ({exc})", where=Where(name)) from None
    except RecursionError:
        raise InputError("the JSON is nested too deep", where=Where(name)) from None


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        message = f"the inputs are one mapping of names to values, not {describe(value)}"
        raise InputError(message, where=Where(name))
    return value
