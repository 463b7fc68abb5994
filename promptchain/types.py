"""The types of inputs and outputs: a declaration in, a `Type` out that checks, reads and describes values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from promptchain import structured
from promptchain.picoschema import TypeSyntaxError, read_fields, read_type
from promptchain.schema import JSONSchema, enum_values, is_scalar, standalone, type_names, unfold
from promptchain.validate import WORDS, Checker, Mismatch, checker, few, is_valid, label, messages, shown, words

__all__ = ["ANY", "TEXT", "Kind", "Type", "TypeSyntaxError", "parse_fields", "parse_type"]

Kind = Literal["text", "scalar", "enum", "object", "array", "any"]
KINDS: dict[str, Kind] = {"string": "text", "object": "object", "array": "array"}
BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII)  # 1e999 fits, but JSON cannot carry it
MAX_MESSAGES = 10


@dataclass(frozen=True, eq=False)
class Type:
    """An immutable type. `schema` is a valid, self-contained JSON Schema 2020-12: come by one through `parse_type`."""

    schema: Mapping[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> str:
        return json.dumps(self.schema, sort_keys=True)  # as dicts, an enum of 1 and an enum of true would be equal

    @cached_property
    def _core(self) -> JSONSchema:
        return unfold(self.schema)

    @cached_property
    def _checker(self) -> Checker:
        return checker(self.schema)

    def _part(self, schema: Any) -> Type:
        return Type(standalone(schema, self.schema))

    @cached_property
    def kind(self) -> Kind:
        """The rough shape. An enum has only scalars; an open question (a union, no type at all) is `any`."""
        core = self._core
        if "enum" in core or "const" in core:
            return "enum" if all(map(is_scalar, enum_values(core))) else "any"
        names = set(type_names(core)) - {"null"}
        if not names:
            return "object" if "properties" in core else "scalar" if type_names(core) else "any"
        return KINDS.get(names.pop(), "scalar") if len(names) == 1 else "any"

    @cached_property
    def choices(self) -> tuple[Any, ...]:
        """An enum's values without null; empty for every other kind."""
        return tuple(value for value in enum_values(self._core) if value is not None) if self.kind == "enum" else ()

    @cached_property
    def nullable(self) -> bool:
        """Whether null is a valid value, as it is for every optional field of Picoschema."""
        return is_valid(self.schema, None)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The fields of an object that must be given."""
        return tuple(self._core.get("required", ())) if self.kind == "object" else ()

    @cached_property
    def closed(self) -> bool:
        """Whether an object has its declared fields and no others."""
        core = self._core
        return self.kind == "object" and core.get("additionalProperties") is False and "patternProperties" not in core

    def fields(self) -> Mapping[str, Type]:
        """The declared fields of an object, in order; empty for every other kind."""
        return self._fields

    @cached_property
    def _fields(self) -> dict[str, Type]:
        declared = self._core.get("properties", {}) if self.kind == "object" else {}
        return {name: self._part(schema) for name, schema in declared.items()}

    def field(self, name: str) -> Type | None:
        """The type of a field, declared or allowed by a wildcard; None where there can be none of that name."""
        return self._fields.get(name, self._other_field)

    @cached_property
    def _other_field(self) -> Type | None:
        if self.closed or self.kind not in ("object", "any"):
            return None
        if self.kind == "any" or "patternProperties" in self._core:
            return ANY
        return self._part(self._core.get("additionalProperties", True))

    @cached_property
    def items(self) -> Type | None:
        """The type of an array's items (`any`'s are any); None for what is no array."""
        if self.kind == "array" and "prefixItems" not in self._core:
            return self._part(self._core.get("items", True))
        return ANY if self.kind in ("array", "any") else None

    def check(self, value: Any) -> list[str]:
        """What is wrong with a value, each with its place in it ("lines[2].price: 'x' is not a number").

        At most ten messages and one that says there are more; empty when the value is valid.
        """
        found: dict[str, None] = {}  # a dict, for one message once: jsonschema reports each missing field with all
        try:
            for mismatch in self._checker(value):
                found |= dict.fromkeys(messages(mismatch, lambda schema: self._part(schema).describe()))
                if len(found) > MAX_MESSAGES:
                    return [*islice(found, MAX_MESSAGES), "and more"]
        except RecursionError:
            return ["the value is nested too deeply"]
        return list(found)

    def coerce(self, text: str) -> Any:
        """The value that a text from the command line stands for; it may still fail `check`.

        Text for a string is taken as is. Raises ValueError with a sentence.
        """
        match self.kind:
            case "text":
                return text
            case "enum":
                return _choice(text, self)
            case "any":
                return _json_or_text(text, self)
        if text.strip() == "null" and self.nullable:
            return None
        if self.kind in ("object", "array"):
            return _json(text, self.kind)
        return _scalar(text, _scalar_name(self))

    def describe(self) -> str:
        """A short form for people: "string", "one of a, b", "{amount: number, note?: string, tags: string[]}"."""
        return _describe(self, depth=3)

    def model_schema(self) -> JSONSchema:
        """The JSON Schema for a provider's structured output: what fits it fits this type, and its root is an object.

        A type that is no object is wrapped as {"value": …}. Fields that may be null are required, as strict modes want.
        """
        return dict(self._model_schema)

    @cached_property
    def _model_schema(self) -> JSONSchema:
        return structured.model_schema(self.schema)  # takes longer than the rest of a request

    @cached_property
    def is_wrapped(self) -> bool:
        """Whether `model_schema` puts the value into an object, under `value`."""
        return structured.object_root(self.schema) is None

    @cached_property
    def is_strict(self) -> bool:
        """Whether `model_schema` keeps to what strict structured output takes: closed objects, nothing left open."""
        return structured.is_strict(self.model_schema())


TEXT = Type({"type": "string"})
ANY = Type({})


def parse_type(spec: Any, *, named: Mapping[str, Mapping[str, Any]] | None = None) -> Type:
    """Read a whole type: Picoschema, a list (an enum of its values), or a full JSON Schema.

    A mapping is a JSON Schema, as in dotprompt, where its `type` is the name of a JSON type or its `properties` is a
    mapping (or where it can be nothing else). `named` holds JSON Schemas that Picoschema may use by name.
    Raises TypeSyntaxError.
    """
    return Type(read_type(spec, named or {}))


def parse_fields(spec: Any) -> Type:
    """Read a chain's inputs: always fields, whatever their names, of which each may be a full JSON Schema.

    The result is an object: `fields()` has the types and `required` the names that are not optional.
    Raises TypeSyntaxError.
    """
    return Type(read_fields(spec))


# -- a value from a text -----------------------------------------------------------------------------------------------


def _choice(text: str, kind: Type) -> Any:
    for choice in sorted(kind.choices, key=lambda value: not isinstance(value, str)):  # '1' before 1
        if text == (choice if isinstance(choice, str) else json.dumps(choice)):
            return choice
    if text == "null" and kind.nullable:
        return None
    raise ValueError(words(Mismatch("enum", (), text, kind._core))[0])


def _json_or_text(text: str, kind: Type) -> Any:
    """Where anything goes, JSON that fits is meant as JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if kind.check(value) else value


def _json(text: str, name: str) -> Any:
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{shown(text)} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not {WORDS[name]} in JSON: {error}") from error
    if not isinstance(value, dict if name == "object" else list):
        raise ValueError(f"{shown(text)} is not {WORDS[name]}")  # noqa: TRY004
    return value


def _scalar(text: str, name: str) -> bool | int | float:
    bare = text.strip().lower()
    if name == "boolean" and bare in BOOLEANS:
        return BOOLEANS[bare]
    if name in ("number", "integer") and NUMBER.fullmatch(bare) and math.isfinite(number := float(bare)):
        if bare.lstrip("+-").isdigit():
            return int(bare)
        if name == "number":
            return number
        if number.is_integer():
            return int(number)
    raise ValueError(f"{shown(text)} is not {WORDS[name]}")


def _scalar_name(kind: Type) -> str:
    return next((name for name in type_names(kind._core) if name != "null"), "null")


# -- words for people --------------------------------------------------------------------------------------------------


def _describe(kind: Type, depth: int) -> str:
    core, mark = kind._core, "?" * kind.nullable
    match kind.kind:
        case "enum":
            missing_null = [None] if kind.nullable and None not in enum_values(core) else []
            return "one of " + few([label(value) for value in (*enum_values(core), *missing_null)])
        case "any":
            options = core.get("anyOf") or core.get("oneOf") or [{"type": name} for name in type_names(core)]
            return " | ".join(_describe(kind._part(option), depth - 1) for option in options if depth) or "any"
        case "array":
            item = _describe(kind.items, depth - 1) if depth and kind.items else "any"
            return (f"({item})" if " " in item and item[0] != "{" else item) + "[]" + mark
        case "object":
            fields = kind.fields() if depth else {}
            texts = [_describe_field(kind, name, field, depth - 1) for name, field in fields.items()]
            return ("{" + few(texts if kind.closed else [*texts, "…"]) + "}" if texts else "object") + mark
    name = _scalar_name(kind)
    return name if name == "null" else name + mark


def _describe_field(parent: Type, name: str, field: Type, depth: int) -> str:
    text = _describe(field, depth)
    return f"{name}: {text}" if name in parent.required else f"{name}?: {text.removesuffix('?')}"
