"""Reading a declaration: Picoschema or JSON Schema in, a valid, self-contained JSON Schema 2020-12 out.

Picoschema is dotprompt's notation (https://google.github.io/dotprompt/reference/picoschema), held to its specification
suite. One thing is added: wherever a type may stand, a list is an enum of its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import count
from typing import Any, Literal

from promptchain.errors import known_or_nearest, nearest
from promptchain.schema import (
    BINDING,
    IN_PLACE,
    JSON_TYPES,
    KEYWORDS,
    SCALARS,
    JSONSchema,
    Path,
    is_note,
    is_scalar,
    parts,
    pointer,
    rebase,
    type_names,
    walk,
)
from promptchain.validate import from_jsonschema, shown, words

MAX_DEPTH = 32
MAX_NODES = 20_000  # YAML aliases can make a short file stand for billions of nodes
WILDCARD = "(*)"
KINDS: dict[str, tuple[type, str]] = {  # what may stand behind name(kind)
    "array": (object, ""),
    "enum": (list, "an enum is a list of values"),
    "object": (dict, "an object is a mapping of fields"),
}

Named = Mapping[str, Mapping[str, Any]]


class TypeSyntaxError(Exception):
    """A type that cannot be read. `path`: the keys, as written, that lead from the declaration to the fault."""

    def __init__(self, message: str, *, path: Path = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint


def read_type(spec: Any, named: Named) -> JSONSchema:
    """The schema of a whole type. `named`: JSON Schemas that Picoschema may use by name. Raises TypeSyntaxError."""
    return _whole(_plain(spec), (), named)


def read_fields(spec: Any) -> JSONSchema:
    """The schema of an object, of whose fields each may be a full JSON Schema. Raises TypeSyntaxError."""
    fields = _plain(spec)
    if not isinstance(fields, dict):
        raise TypeSyntaxError(f"fields are a mapping of names to types, not {shown(fields)}")
    return _object(fields, (), {}, read=_whole)


def _plain(spec: Any, path: Path = (), nodes: Iterator[int] | None = None) -> Any:
    """A deep copy in plain JSON values, of bounded size: what follows need not think of dates, cycles and bombs."""
    nodes = nodes or count()
    if next(nodes) > MAX_NODES or len(path) > MAX_DEPTH:
        raise TypeSyntaxError("the type is too large or nested too deeply", path=path[:MAX_DEPTH])
    if isinstance(spec, Mapping):
        for key in spec:
            if not isinstance(key, str):
                raise TypeSyntaxError(f"the name {shown(key)} is not text", path=(*path, key), hint="put it in quotes")
        return {key: _plain(value, (*path, key), nodes) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [_plain(value, (*path, index), nodes) for index, value in enumerate(spec)]
    if not is_scalar(spec):
        raise TypeSyntaxError(f"{shown(spec)} is not a JSON value", path=path, hint="put it in quotes")
    return spec


def _whole(spec: Any, path: Path, named: Named) -> JSONSchema:
    """A type that may be a JSON Schema: inside Picoschema, `{type: string}` is an object with a field `type`."""
    return _json_schema(spec, path) if _is_json_schema(spec) else _type(spec, path, named)


# -- Picoschema --------------------------------------------------------------------------------------------------------


def _type(spec: Any, path: Path, named: Named) -> JSONSchema:
    if isinstance(spec, str):
        return _named_type(spec, path, named)
    if isinstance(spec, list):
        return {"enum": _values(spec, path)}
    if isinstance(spec, dict):
        if not spec:
            raise TypeSyntaxError("an object without fields", path=path, hint=f"for any fields write '{WILDCARD}: any'")
        return _object(spec, path, named)
    hint = "write 'string' or another type" if spec is None else None
    raise TypeSyntaxError(f"a type is text, a list or a mapping, not {shown(spec)}", path=path, hint=hint)


def _named_type(spec: str, path: Path, named: Named) -> JSONSchema:
    name, _, description = (part.strip() for part in spec.partition(","))
    note = {"description": description} if description else {}
    if name == "any":
        return note
    if name in SCALARS:
        return {"type": name, **note}
    if name in named:
        try:
            return _json_schema(_plain(named[name]), ()) | note
        except TypeSyntaxError as error:
            raise TypeSyntaxError(f"the schema '{name}': {error.message}", path=path, hint=error.hint) from error
    hint = known_or_nearest(name, [*SCALARS, "any", *named], "types")
    if name in KINDS:
        hint = f"write it after the field's name: 'name({name}): …'"
    elif name.endswith("[]"):
        hint = f"write 'name(array): {name[:-2]}'"
    elif name.endswith("?"):
        hint = f"write 'name?: {name[:-1]}'"
    raise TypeSyntaxError(f"unknown type {shown(name)}", path=path, hint=hint)


def _values(values: list[Any], path: Path) -> list[Any]:
    if all(value is None for value in values):
        raise TypeSyntaxError("an enum needs at least one value", path=path)
    seen: set[tuple[bool, Any]] = set()
    for index, value in enumerate(values):
        if not is_scalar(value):
            hint = "an enum has text, numbers, true, false and null"
            raise TypeSyntaxError(f"{shown(value)} cannot be a value of an enum", path=(*path, index), hint=hint)
        if (isinstance(value, bool), value) in seen:  # in JSON, 1 is 1.0 but not true
            raise TypeSyntaxError(f"{shown(value)} is in the enum twice", path=(*path, index))
        seen.add((isinstance(value, bool), value))
    return values


def _object(
    fields: JSONSchema, path: Path, named: Named, read: Callable[[Any, Path, Named], JSONSchema] = _type
) -> JSONSchema:
    properties: JSONSchema = {}
    required: list[str] = []
    others: JSONSchema | Literal[False] = False
    for key, spec in fields.items():
        at = (*path, key)
        if key == WILDCARD:
            others = rebase(_type(spec, at, named), "#/additionalProperties")
            continue
        name, optional, kind, description = _field_key(key, at)
        if name in properties:
            raise TypeSyntaxError(f"field '{name}' is declared twice", path=at)
        schema = _of_kind(kind, spec, at, named) if kind else read(spec, at, named)
        if description:
            schema |= {"description": description}
        properties[name] = rebase(_or_null(schema) if optional else schema, f"#/properties/{name}")
        if not optional:
            required.append(name)
    schema = {"type": "object", "properties": properties, "additionalProperties": others}
    return schema | ({"required": required} if required else {})


def _field_key(key: str, path: Path) -> tuple[str, bool, str | None, str]:
    """Take `name?(kind, description)` apart."""
    match = re.fullmatch(r"([^?(),]*)(\?)?(?:\(([^,()]*)(?:,(.*))?\))?", key.strip(), re.DOTALL)
    if not match:
        hint = "a field is written name, name?, name(array), name?(enum, description)"
        raise TypeSyntaxError(f"malformed field {shown(key)}", path=path, hint=hint)
    name, optional, kind, description = match.groups()
    if not name.isidentifier():
        hint = "use letters, digits and underscores; the first is not a digit"
        raise TypeSyntaxError(f"{shown(name)} is not a field name", path=path, hint=hint)
    kind = None if kind is None else kind.strip()
    if kind is not None and kind not in KINDS:
        raise TypeSyntaxError(f"unknown kind {shown(kind)}", path=path, hint=known_or_nearest(kind, KINDS, "kinds"))
    return name, optional is not None, kind, (description or "").strip()


def _of_kind(kind: str, spec: Any, path: Path, named: Named) -> JSONSchema:
    form, what = KINDS[kind]
    if not isinstance(spec, form):
        raise TypeSyntaxError(f"{what}, not {shown(spec)}", path=path)
    schema = _type(spec, path, named)
    return {"type": "array", "items": rebase(schema, "#/items")} if kind == "array" else schema


def _or_null(schema: JSONSchema) -> JSONSchema:
    """What an optional field takes: the type or null."""
    if BINDING & set(schema):
        note = {key: schema[key] for key in ("description",) if key in schema}
        return {"anyOf": [rebase(schema, "#/anyOf/0"), {"type": "null"}], **note}
    if "enum" in schema and None not in schema["enum"]:
        schema = {**schema, "enum": [*schema["enum"], None]}
    if "type" in schema and "null" not in type_names(schema):
        schema = {**schema, "type": [*type_names(schema), "null"]}
    return schema


# -- JSON Schema -------------------------------------------------------------------------------------------------------


def _is_json_schema(spec: Any) -> bool:
    if not isinstance(spec, dict):
        return False
    kind = spec.get("type")
    names = kind if isinstance(kind, list) else [kind]
    if names and all(isinstance(name, str) and name in (*JSON_TYPES, "any") for name in names):
        return True
    if isinstance(spec.get("properties"), dict) or any(key.startswith("$") for key in spec):
        return True
    lists = any(isinstance(spec.get(key), list) for key in ("enum", "anyOf", "oneOf", "allOf"))
    return lists and KEYWORDS.issuperset(spec)


def _json_schema(spec: JSONSchema, path: Path) -> JSONSchema:
    """Check a full JSON Schema: its form, its keywords, and that its references lead to schemas inside it."""
    schema = {key: value for key, value in spec.items() if key not in ("$schema", "$id")}
    if "type" not in schema and "properties" in schema:
        schema["type"] = "object"
    _check_form(schema, path)
    for at, part in walk(schema):
        for key in part if isinstance(part, dict) else ():
            if key not in KEYWORDS and not is_note(key):
                hint = nearest(key, KEYWORDS) or "this is read as a JSON Schema, whose fields go under 'properties'"
                raise TypeSyntaxError(f"unknown JSON Schema keyword {shown(key)}", path=(*path, *at, key), hint=hint)
    _check_refs(schema, path)
    return schema


def _check_form(schema: JSONSchema, path: Path) -> None:
    from jsonschema import Draft202012Validator as Draft  # 0.13 s, and Picoschema never needs it

    error = next(Draft(Draft.META_SCHEMA, format_checker=Draft.FORMAT_CHECKER).iter_errors(schema), None)
    if error is None:
        return
    if error.validator == "anyOf":  # the metaschema has one, under `type`
        message = f"unknown type {shown(error.instance)} in a JSON Schema"
        hint = known_or_nearest(str(error.instance), JSON_TYPES, "types")
    else:
        message = f"not a JSON Schema: {words(from_jsonschema(error))[0]}"
        hint = "a mapping whose 'type' is a JSON type, or that has 'properties', is read as a full JSON Schema"
    raise TypeSyntaxError(message, path=(*path, *error.path), hint=hint)


def _check_refs(schema: JSONSchema, path: Path) -> None:
    """References lead to schemas of the same document, and to no endless loop; nothing is ever fetched."""
    places = {tuple(map(str, at)): (at, part) for at, part in walk(schema)}
    same_value: dict[Path, list[Path]] = {}  # from a schema to those that its value is held against next
    for place, (at, part) in places.items():
        same_value[place] = [(*place, *map(str, inner)) for inner, _ in parts(part) if inner[0] in IN_PLACE]
        if not isinstance(part, dict) or "$ref" not in part:
            continue
        ref, target, ref_path = part["$ref"], pointer(part["$ref"]), (*path, *at, "$ref")
        if ref != "#" and not ref.startswith("#/"):
            hint = "only references inside the same schema work, such as '#/$defs/item'"
            raise TypeSyntaxError(f"the reference {shown(ref)} leads out of the schema", path=ref_path, hint=hint)
        if target not in places:
            raise TypeSyntaxError(f"the reference {shown(ref)} leads to no schema", path=ref_path)
        same_value[place].append(target)
    try:
        TopologicalSorter(same_value).prepare()
    except CycleError as error:
        at, part = next(places[place] for place in places if place in error.args[1] and "$ref" in places[place][1])
        message = f"the reference {shown(part['$ref'])} leads back to itself"
        raise TypeSyntaxError(message, path=(*path, *at, "$ref")) from None
