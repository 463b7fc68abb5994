"""Checking a value against a schema, and saying what is wrong with it in words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from promptchain.errors import known_or_nearest, nearest
from promptchain.schema import (
    JSON_TYPES,
    NOTES,
    Path,
    as_dict,
    enum_values,
    is_a,
    is_note,
    is_scalar,
    keywords,
    type_names,
    walk,
)

MAX_NESTING = 64  # of a value; without it, jsonschema's Rust part can panic when Python's stack is full
SHOWN = 60  # characters of a value in a message
WORDS = {name: f"an {name}" if name[0] in "aio" else f"a {name}" for name in JSON_TYPES} | {"null": "null"}
PICO = NOTES | keywords("type enum properties required additionalProperties items")  # all that Picoschema makes


class Mismatch(NamedTuple):
    """A value that breaks a schema's keyword: what jsonschema's errors and the quick check have in common."""

    keyword: str
    path: Path
    value: Any
    schema: Mapping[str, Any]


Checker = Callable[[Any], Iterator[Mismatch]]


# -- checking ----------------------------------------------------------------------------------------------------------


def checker(schema: Mapping[str, Any]) -> Checker:
    """What finds the mismatches of a value, and raises RecursionError for one that is nested too deeply.

    Only a schema that Picoschema does not make needs jsonschema.
    """
    if all(_is_pico(part) for _, part in walk(schema)):
        return lambda value: _quick(schema, value)
    from jsonschema import Draft202012Validator  # 0.13 s

    found = Draft202012Validator(schema).iter_errors
    return lambda value: iter(list(_quick(True, value)) or map(from_jsonschema, found(value)))


def is_valid(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value fits; one that leads to too long a chain of references does not."""
    try:
        return next(checker(schema)(value), None) is None
    except RecursionError:
        return False


def from_jsonschema(error: Any) -> Mismatch:
    from jsonschema.exceptions import best_match

    cause = best_match([error])  # of a failed union, the alternative that came nearest
    return Mismatch(str(cause.validator), tuple(cause.absolute_path), cause.instance, as_dict(cause.schema))


def _is_pico(schema: Any) -> bool:
    if isinstance(schema, bool):
        return True
    return all(key in PICO or is_note(key) for key in schema) and all(map(is_scalar, enum_values(schema)))


def _quick(schema: Any, value: Any, path: Path = ()) -> Iterator[Mismatch]:
    """Check by the few keywords that Picoschema makes, exactly as jsonschema would, without its import.

    A value is also checked to be JSON, whatever the schema: a Python caller can pass anything, and a model a NaN.
    """
    if schema is False:
        yield Mismatch("false", path, value, {})
        return
    if len(path) > MAX_NESTING:
        raise RecursionError
    schema = {} if schema is True else schema
    if not _is_json(value):
        yield Mismatch("json", path, value, {})
        return
    if "type" in schema and not is_a(schema["type"], value):
        yield Mismatch("type", path, value, schema)
    if "enum" in schema and not _is_among(value, schema["enum"]):
        yield Mismatch("enum", path, value, schema)
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if any(name not in value for name in schema.get("required", ())):
            yield Mismatch("required", path, value, schema)
        if others is False and any(name not in properties for name in value):
            yield Mismatch("additionalProperties", path, value, schema)
        for name, item in value.items():
            yield from _quick(properties.get(name, others or True), item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _quick(schema.get("items", True), item, (*path, index))


def _is_json(value: Any) -> bool:
    """Whether a value can be written as JSON, not asking about what is in it."""
    if isinstance(value, dict):
        return all(isinstance(name, str) for name in value)
    return is_scalar(value) or isinstance(value, list)


def _is_among(value: Any, choices: Sequence[Any]) -> bool:
    """Whether a value is one of some scalars by JSON's equality, where 1 is 1.0 but not true."""
    among = value in choices
    if not among or isinstance(value, str):
        return among
    return any(value == choice and isinstance(value, bool) is isinstance(choice, bool) for choice in choices)


# -- the words ---------------------------------------------------------------------------------------------------------


def messages(mismatch: Mismatch, describe: Callable[[Mapping[str, Any]], str]) -> Iterator[str]:
    """A mismatch in words with its place; `describe` puts a union, a part of the schema at hand, into words."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}" for part in mismatch.path)
    place = "".join(parts).removeprefix(".")
    for text in words(mismatch, describe):
        yield f"{place}: {text}" if place else text


def words(mismatch: Mismatch, describe: Callable[[Mapping[str, Any]], str] | None = None) -> list[str]:
    """A mismatch in words, one text for each field that is missing or too many."""
    keyword, _, value, schema = mismatch
    match keyword:
        case "type":
            return [f"{shown(value)} is not {' or '.join(WORDS[name] for name in type_names(schema))}"]
        case "enum" | "const":
            choices = [label(choice) for choice in enum_values(schema)]
            # A whole paragraph is like no choice, and would take long to compare.
            hint = nearest(value, choices) if isinstance(value, str) and len(value) <= SHOWN else None
            text = f"{shown(value)} is not {'one of ' * (len(choices) > 1)}{few(choices)}"
            return [f"{text}; {hint}" if hint else text]
        case "required":
            return [f"missing field {shown(name)}" for name in schema["required"] if name not in value]
        case "additionalProperties":
            known = schema.get("properties", {})
            patterns = schema.get("patternProperties", {})
            extras = [name for name in value if name not in known and not any(re.search(p, name) for p in patterns)]
            return [f"unknown field {shown(name)}; {known_or_nearest(name, known, 'fields')}" for name in extras]
        case "anyOf" | "oneOf" if describe:
            return [f"{shown(value)} is not {'exactly one of ' * (keyword == 'oneOf')}{describe(schema)}"]
        case "json":
            return [f"{shown(value)} is not a JSON value"]
        case "false" | "None":  # the schema `false`
            return [f"{shown(value)} is not allowed here"]
    return [f"{shown(value)} is against '{keyword}' ({label(schema.get(keyword))})"]


def few(texts: Sequence[str], most: int = 10) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def label(value: Any) -> str:
    """A JSON value in short, text without quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def shown(value: Any) -> str:
    """Any value in short, text in quotes."""
    if isinstance(value, str):
        return repr(label(value))
    try:
        return label(value if isinstance(value, dict | list | bool | int | float | None) else repr(value))
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a list in itself
        return f"a {type(value).__name__}"
