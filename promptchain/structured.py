"""The schema for a provider's structured output: what fits it fits the type, and its root is an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptchain.schema import (
    BINDING,
    PYTHON_TYPES,
    JSONSchema,
    as_dict,
    enum_values,
    is_a,
    is_note,
    keywords,
    resolve,
    rewrite,
    standalone,
    type_names,
    walk,
)
from promptchain.validate import is_valid

# What strict structured output takes (OpenAI's list, the narrowest).
STRICT = keywords(
    "type properties required additionalProperties items enum const anyOf $ref $defs description pattern format "
    "multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems"
)


def model_schema(schema: Mapping[str, Any]) -> JSONSchema:
    """A schema for a model's reply, which is wrapped as {"value": …} where the schema is for no object."""
    root = object_root(schema)
    if root is None:
        inner = standalone(schema, schema)
        shared = {"$defs": inner.pop("$defs")} if "$defs" in inner else {}
        root = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
        root |= {"additionalProperties": False, **shared}
    keys = (key for _, part in walk(root) if isinstance(part, dict) for key in part)
    tighten = all(key in STRICT or is_note(key) for key in keys)
    return as_dict(rewrite(root, lambda part: _for_model(part, root, tighten=tighten)))


def object_root(schema: Mapping[str, Any]) -> JSONSchema | None:
    """The schema where its root is, or refers to, a plain object; None where it must be wrapped to be one."""
    root: Any = schema
    while {key for key in root if not is_note(key)} - {"$defs", "definitions"} == {"$ref"}:
        root = as_dict(resolve(root["$ref"], schema))
    if root.get("type") != "object" or (BINDING | {"enum"}) & set(root):
        return None
    return dict(root) if root is schema else standalone(root, schema)


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a schema keeps to what strict structured output takes: closed objects, nothing left open."""
    return all(_is_strict(part) for _, part in walk(schema))


def _for_model(schema: JSONSchema, root: JSONSchema, *, tighten: bool) -> JSONSchema:
    """Say the types of an enum, drop what binds nothing, and require fields that may be null.

    tighten: whether requiring more cannot let more through, as it could inside `not` or `oneOf`.
    """
    schema = {key: value for key, value in schema.items() if key == "description" or not is_note(key)}
    if values := enum_values(schema) if "type" not in schema else ():
        names = list(dict.fromkeys(next(name for name in PYTHON_TYPES if is_a(name, value)) for value in values))
        schema = {"type": names if len(names) > 1 else names[0], **schema}
    if tighten and schema.get("additionalProperties") is False:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        may_be_null = [name for name, part in properties.items() if is_valid(standalone(part, root), None)]
        ordered = [name for name in properties if name in required or name in may_be_null]
        ordered += [name for name in required if name not in properties]
        schema |= {"properties": properties, "required": ordered}
    return schema


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is False
    if not STRICT.issuperset(schema) or ("$ref" in schema and len(schema) > 1):
        return False
    if "object" in type_names(schema):
        properties = schema.get("properties", {})
        return schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)
    return "items" in schema if "array" in type_names(schema) else bool({"type", "anyOf", "$ref"} & set(schema))
