"""JSON Schema 2020-12 as a tree: its keywords, and how a schema is walked, rewritten, resolved and taken apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

JSONSchema = dict[str, Any]
Path = tuple[Any, ...]

SCALARS = ("string", "number", "integer", "boolean", "null")
JSON_TYPES = (*SCALARS, "object", "array")
PYTHON_TYPES: dict[str, Any] = {  # an int is an integer before it is a number
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def keywords(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The keywords, by what they hold. $id, $anchor and $dynamicRef are left out: they give `#` other meanings.
SCHEMA_MAPS = keywords("properties patternProperties $defs definitions dependentSchemas")
SCHEMA_LISTS = keywords("allOf anyOf oneOf prefixItems")
SCHEMAS = keywords(
    "items additionalProperties contains not if then else propertyNames unevaluatedItems unevaluatedProperties"
)
NOTES = keywords(  # they bind no value; `discriminator` is OpenAPI's, as pydantic writes it
    "title description default examples example $comment deprecated readOnly writeOnly discriminator"
)
OTHERS = keywords(
    "type enum const $ref required minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength "
    "pattern format minItems maxItems uniqueItems minContains maxContains minProperties maxProperties "
    "dependentRequired contentEncoding contentMediaType"
)
KEYWORDS = SCHEMA_MAPS | SCHEMA_LISTS | SCHEMAS | NOTES | OTHERS
# What holds for the same value as the schema around it, and so must not lead back to it.
IN_PLACE = keywords("allOf anyOf oneOf not if then else dependentSchemas")
# What binds every value, null too, and so is no mere matter of `type`.
BINDING = keywords("const not anyOf oneOf allOf if $ref")


# -- one schema --------------------------------------------------------------------------------------------------------


def as_dict(schema: Any) -> JSONSchema:
    """A copy of a schema, of which `true` and `false` are two, as a dict."""
    return dict(schema) if isinstance(schema, Mapping) else {} if schema else {"not": {}}


def type_names(schema: Mapping[str, Any]) -> list[str]:
    names = schema.get("type", [])
    return [names] if isinstance(names, str) else list(names)


def enum_values(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def is_note(key: str) -> bool:
    return key in NOTES or key.startswith("x-")


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


def is_a(name: str | list[str], value: Any) -> bool:
    """Whether a value is of a JSON type, or of one of several."""
    if isinstance(name, list):
        return any(is_a(one, value) for one in name)
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, PYTHON_TYPES[name])


# -- the tree ----------------------------------------------------------------------------------------------------------


def parts(schema: Any) -> Iterator[tuple[Path, Any]]:
    """The schemas right inside a schema, with the keys that lead to each."""
    for key, value in schema.items() if isinstance(schema, Mapping) else ():
        if key in SCHEMA_MAPS:
            yield from (((key, name), part) for name, part in value.items())
        elif key in SCHEMA_LISTS:
            yield from (((key, index), part) for index, part in enumerate(value))
        elif key in SCHEMAS:
            yield (key,), value


def walk(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """A schema and all those inside it, with their paths."""
    yield path, schema
    for at, part in parts(schema):
        yield from walk(part, (*path, *at))


def rewrite(schema: Any, change: Callable[[JSONSchema], JSONSchema]) -> Any:
    """A copy with every schema in it changed, the innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    copy = dict(schema)
    for key, value in schema.items():
        if key in SCHEMA_MAPS:
            copy[key] = {name: rewrite(part, change) for name, part in value.items()}
        elif key in SCHEMA_LISTS:
            copy[key] = [rewrite(part, change) for part in value]
        elif key in SCHEMAS:
            copy[key] = rewrite(value, change)
    return change(copy)


# -- references, which are JSON pointers into the same schema ----------------------------------------------------------


def pointer(ref: str) -> Path:
    return tuple(unquote(token).replace("~1", "/").replace("~0", "~") for token in ref.split("/")[1:])


def resolve(ref: str, root: Any) -> Any:
    for token in pointer(ref):
        root = root[int(token)] if isinstance(root, list) else root[token]
    return root


def unfold(root: Mapping[str, Any]) -> JSONSchema:
    """The schema behind references at the root, and behind pydantic's way to say nullable (anyOf with null)."""
    schema = dict(root)
    while True:
        others = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
        if "$ref" in schema:
            target = resolve(schema.pop("$ref"), root)
        elif "anyOf" in schema and len(others) == 1:
            target = others[0]
            del schema["anyOf"]
        else:
            return schema
        schema = {**as_dict(target), **schema}


def rebase(schema: JSONSchema, at: str) -> JSONSchema:
    """A schema whose references hold after it has moved from the root to `at`."""
    if not _refs(schema):
        return schema
    moved: JSONSchema = rewrite(schema, lambda part: part | ({"$ref": at + part["$ref"][1:]} if "$ref" in part else {}))
    return moved


def standalone(part: Any, root: Mapping[str, Any]) -> JSONSchema:
    """A part of a schema as a schema of its own: it takes along what its references need, under $defs."""
    own, refs = as_dict(part), _refs(part)
    if not refs:
        return own
    if not all(ref.startswith("#/$defs/") for ref in refs + _refs({"$defs": root.get("$defs", {})})):
        own, root = rebase(own, "#/$defs/root"), {"$defs": {"root": rebase(dict(root), "#/$defs/root")}}
    return {**own, "$defs": root["$defs"]}


def _refs(schema: Any) -> list[str]:
    return [part["$ref"] for _, part in walk(schema) if isinstance(part, Mapping) and "$ref" in part]
