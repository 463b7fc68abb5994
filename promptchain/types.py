"""The types of inputs and outputs: Picoschema or JSON Schema in, a `Type` out that checks, reads and describes values.

Picoschema is dotprompt's notation (https://google.github.io/dotprompt/reference/picoschema), held to its specification
suite. One thing is added: wherever a type may stand, a list is an enum of its values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from promptchain.errors import known_or_nearest, nearest

Kind = Literal["text", "scalar", "enum", "object", "array", "any"]
JSONSchema = dict[str, Any]
Path = tuple[Any, ...]

MAX_DEPTH = 32  # of a declaration as written
MAX_NODES = 20_000  # YAML aliases can make a short file stand for billions of nodes
MAX_MESSAGES = 10
SHOWN = 60  # characters of a value in a message

SCALARS = ("string", "number", "integer", "boolean", "null")
JSON_TYPES = (*SCALARS, "object", "array")
WORDS = {name: f"an {name}" if name[0] in "aio" else f"a {name}" for name in JSON_TYPES} | {"null": "null"}
WILDCARD = "(*)"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# JSON Schema 2020-12, by what a keyword holds. $id, $anchor and $dynamicRef are left out: they give `#` other meanings.
SCHEMA_MAPS = _words("properties patternProperties $defs definitions dependentSchemas")
SCHEMA_LISTS = _words("allOf anyOf oneOf prefixItems")
SCHEMAS = _words(
    "items additionalProperties contains not if then else propertyNames unevaluatedItems unevaluatedProperties"
)
NOTES = _words(  # they bind no value; `discriminator` is OpenAPI's, as pydantic writes it
    "title description default examples example $comment deprecated readOnly writeOnly discriminator"
)
LIMITS = _words(
    "const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format minItems "
    "maxItems uniqueItems minContains maxContains minProperties maxProperties dependentRequired"
)
PICO = NOTES | _words("type enum properties required additionalProperties items")
KEYWORDS = PICO | SCHEMA_MAPS | SCHEMA_LISTS | SCHEMAS | LIMITS | _words("$ref contentEncoding contentMediaType")
# What strict structured output takes (OpenAI's list, the narrowest).
STRICT = _words(
    "type properties required additionalProperties items enum const anyOf $ref $defs description pattern format "
    "multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems"
)
# What binds every value, null too, and so is no mere matter of `type`.
BINDING = _words("const not anyOf oneOf allOf if $ref")


class TypeSyntaxError(Exception):
    """A type that cannot be read. `path`: the keys, as written, that lead from the declaration to the fault."""

    def __init__(self, message: str, *, path: Path = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint


class _Fault(NamedTuple):
    """A value that breaks a schema's keyword: what jsonschema's errors and the quick check have in common."""

    keyword: str
    path: Path
    value: Any
    schema: Mapping[str, Any]


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
        """The schema behind local references and behind pydantic's way to say nullable (anyOf with null)."""
        schema = dict(self.schema)
        for _ in range(MAX_DEPTH):
            others = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
            if "$ref" in schema:
                target = _resolve(schema.pop("$ref"), self.schema)
            elif "anyOf" in schema and len(others) == 1:
                target = others[0]
                del schema["anyOf"]
            else:
                break
            schema = {**_as_dict(target), **schema}
        return schema

    def _part(self, schema: Any) -> Type:
        return Type(_standalone(_as_dict(schema), self.schema))

    @property
    def kind(self) -> Kind:
        """The rough shape. An enum has only scalars; an open question (a union, no type at all) is `any`."""
        core = self._core
        if "enum" in core or "const" in core:
            return "enum" if all(_is_scalar(value) for value in _enum(core)) else "any"
        types = set(_types(core)) - {"null"}
        if not types:
            return "object" if "properties" in core else "scalar" if _types(core) else "any"
        if len(types) > 1:
            return "any"
        kinds: dict[str, Kind] = {"string": "text", "object": "object", "array": "array"}
        return kinds.get(types.pop(), "scalar")

    @property
    def choices(self) -> tuple[Any, ...]:
        """An enum's values without null; empty for every other kind."""
        return tuple(value for value in _enum(self._core) if value is not None) if self.kind == "enum" else ()

    @cached_property
    def nullable(self) -> bool:
        """Whether null is a valid value, as it is for every optional field of Picoschema."""
        return not self.check(None)

    @property
    def required(self) -> tuple[str, ...]:
        """The fields of an object that must be given."""
        return tuple(self._core.get("required", ())) if self.kind == "object" else ()

    @property
    def closed(self) -> bool:
        """Whether an object has its declared fields and no others."""
        core = self._core
        return self.kind == "object" and core.get("additionalProperties") is False and "patternProperties" not in core

    def fields(self) -> dict[str, Type]:
        """The declared fields of an object, in order; empty for every other kind."""
        if self.kind != "object":
            return {}
        return {name: self._part(schema) for name, schema in self._core.get("properties", {}).items()}

    def field(self, name: str) -> Type | None:
        """The type of a field, declared or allowed by a wildcard; None where there can be none of that name."""
        declared = self._core.get("properties", {}) if self.kind == "object" else {}
        if name in declared:
            return self._part(declared[name])
        if self.closed or self.kind not in ("object", "any"):
            return None
        other = self._core.get("additionalProperties", True)
        return self._part(other) if self.kind == "object" and "patternProperties" not in self._core else ANY

    @property
    def items(self) -> Type | None:
        """The type of an array's items (`any`'s are any); None for what is no array."""
        if self.kind == "array" and "prefixItems" not in self._core:
            return self._part(self._core.get("items", True))
        return ANY if self.kind in ("array", "any") else None

    @cached_property
    def _faults(self) -> Callable[[Any], Iterator[_Fault]]:
        if all(_is_pico(schema) for _, schema in _walk(self.schema)):
            return lambda value: _quick_faults(self.schema, value)
        return _slow_faults(self.schema)

    def check(self, value: Any) -> list[str]:
        """What is wrong with a value, each with its place in it ("lines[2].price: 'x' is not a number").

        At most ten messages and one that says there are more; empty when the value is valid.
        """
        found: dict[str, None] = {}  # a dict, for one message once: jsonschema reports each missing field with all
        try:
            for fault in list(islice(_not_json(value), MAX_MESSAGES + 1)) or self._faults(value):
                found |= dict.fromkeys(_messages(fault, self.schema))
                if len(found) > MAX_MESSAGES:
                    return [*islice(found, MAX_MESSAGES), "and more"]
        except RecursionError:
            return ["the value is nested too deeply"]
        return list(found)

    def coerce(self, text: str) -> Any:
        """The value that a text from the command line stands for; it may still fail `check`.

        Text for a string is taken as is. Raises ValueError with a sentence.
        """
        kind, bare = self.kind, text.strip()
        if kind == "text":
            return text
        if kind == "enum":
            return _choice(text, self)
        if kind == "any":
            return _json_or_text(text, self)
        if bare == "null" and self.nullable:
            return None
        if kind in ("object", "array"):
            return _json(text, kind)
        wanted = next((name for name in _types(self._core) if name != "null"), "null")
        if wanted == "boolean" and bare.lower() in ("true", "yes", "false", "no"):
            return bare.lower() in ("true", "yes")
        if wanted in ("number", "integer") and (number := _number(bare, whole=wanted == "integer")) is not None:
            return number
        raise ValueError(f"{_shown(text)} is not {WORDS[wanted]}")

    def describe(self) -> str:
        """A short form for people: "string", "one of a, b", "{amount: number, note?: string, tags: string[]}"."""
        return _describe(self, depth=3)

    @property
    def is_wrapped(self) -> bool:
        """Whether `model_schema` puts the value into an object, under `value`."""
        return _object_root(self.schema) is None

    def model_schema(self) -> JSONSchema:
        """The JSON Schema for a provider's structured output: what fits it fits this type, and its root is an object.

        A type that is no object is wrapped as {"value": …}. Fields that may be null are required, as strict modes want.
        """
        schema = _object_root(self.schema)
        if schema is None:
            inner = _standalone(dict(self.schema), self.schema)
            shared = {"$defs": inner.pop("$defs")} if "$defs" in inner else {}
            schema = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
            schema |= {"additionalProperties": False, **shared}
        root, binding = schema, (key for _, part in _walk(schema) if isinstance(part, dict) for key in part)
        tighten = all(key in STRICT or _is_note(key) for key in binding)
        return dict(_rewrite(schema, lambda part: _for_model(part, root, tighten=tighten)))

    @cached_property
    def is_strict(self) -> bool:
        """Whether `model_schema` keeps to what strict structured output takes: closed objects, nothing left open."""
        return all(_is_strict(schema) for _, schema in _walk(self.model_schema()))


TEXT = Type({"type": "string"})
ANY = Type({})


# -- reading a declaration ---------------------------------------------------------------------------------------------


def parse_type(spec: Any, *, named: Mapping[str, Mapping[str, Any]] | None = None) -> Type:
    """Read a whole type: Picoschema, a list (an enum of its values), or a full JSON Schema.

    A mapping is a JSON Schema, as in dotprompt, where its `type` is the name of a JSON type or its `properties` is a
    mapping (or where it can be nothing else). `named` holds JSON Schemas that Picoschema may use by name.
    Raises TypeSyntaxError.
    """
    return Type(_whole(_plain(spec, (), count()), (), named or {}))


def parse_fields(spec: Any, *, named: Mapping[str, Mapping[str, Any]] | None = None) -> Type:
    """Read a chain's inputs: always fields, whatever their names, of which each may be a full JSON Schema.

    The result is an object: `fields()` has the types and `required` the names that are not optional.
    Raises TypeSyntaxError.
    """
    fields = _plain(spec, (), count())
    if not isinstance(fields, dict):
        raise TypeSyntaxError(f"fields are a mapping of names to types, not {_shown(fields)}")
    return Type(_object(fields, (), named or {}, read=_whole))


def _plain(spec: Any, path: Path, nodes: Iterator[int]) -> Any:
    """A deep copy in plain JSON values, of bounded size: what follows need not think of dates, cycles and bombs."""
    if next(nodes) > MAX_NODES or len(path) > MAX_DEPTH:
        raise TypeSyntaxError("the type is too large or nested too deeply", path=path[:MAX_DEPTH])
    if isinstance(spec, Mapping):
        for key in spec:
            if not isinstance(key, str):
                raise TypeSyntaxError(f"the name {_shown(key)} is not text", path=(*path, key), hint="put it in quotes")
        return {key: _plain(value, (*path, key), nodes) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [_plain(value, (*path, index), nodes) for index, value in enumerate(spec)]
    if not _is_scalar(spec):
        raise TypeSyntaxError(f"{_shown(spec)} is not a JSON value", path=path, hint="put it in quotes")
    return spec


Named = Mapping[str, Mapping[str, Any]]


def _whole(spec: Any, path: Path, named: Named) -> JSONSchema:
    """A type that may be a JSON Schema: inside Picoschema, `{type: string}` is an object with a field `type`."""
    return _json_schema(spec, path) if _is_json_schema(spec) else _type(spec, path, named)


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
    raise TypeSyntaxError(f"a type is text, a list or a mapping, not {_shown(spec)}", path=path, hint=hint)


def _named_type(spec: str, path: Path, named: Named) -> JSONSchema:
    name, _, description = (part.strip() for part in spec.partition(","))
    note = {"description": description} if description else {}
    if name == "any":
        return note
    if name in SCALARS:
        return {"type": name, **note}
    if name in named:
        try:
            return _json_schema(_plain(named[name], (), count()), ()) | note
        except TypeSyntaxError as error:
            raise TypeSyntaxError(f"the schema '{name}': {error.message}", path=path, hint=error.hint) from error
    hint = known_or_nearest(name, [*SCALARS, "any", *named], "types")
    if name in KINDS:
        hint = f"write it after the field's name: 'name({name}): …'"
    elif name.endswith("[]"):
        hint = f"write 'name(array): {name[:-2]}'"
    elif name.endswith("?"):
        hint = f"write 'name?: {name[:-1]}'"
    raise TypeSyntaxError(f"unknown type {_shown(name)}", path=path, hint=hint)


def _object(
    fields: JSONSchema, path: Path, named: Named, read: Callable[[Any, Path, Named], JSONSchema] = _type
) -> JSONSchema:
    properties: JSONSchema = {}
    required: list[str] = []
    others: JSONSchema | Literal[False] = False
    for key, spec in fields.items():
        at = (*path, key)
        if key == WILDCARD:
            others = _rebase(_type(spec, at, named), "#/additionalProperties")
            continue
        name, optional, kind, description = _field_key(key, at)
        if name in properties:
            raise TypeSyntaxError(f"field '{name}' is declared twice", path=at)
        schema = KINDS[kind](spec, at, named) if kind else read(spec, at, named)
        if description:
            schema |= {"description": description}
        properties[name] = _rebase(_or_null(schema) if optional else schema, f"#/properties/{name}")
        if not optional:
            required.append(name)
    schema = {"type": "object", "properties": properties, "additionalProperties": others}
    return schema | ({"required": required} if required else {})


def _array(spec: Any, path: Path, named: Named) -> JSONSchema:
    return {"type": "array", "items": _rebase(_type(spec, path, named), "#/items")}


def _enum_field(spec: Any, path: Path, named: Named) -> JSONSchema:
    if not isinstance(spec, list):
        raise TypeSyntaxError(f"an enum is a list of values, not {_shown(spec)}", path=path)
    return _type(spec, path, named)


def _object_field(spec: Any, path: Path, named: Named) -> JSONSchema:
    if not isinstance(spec, dict):
        raise TypeSyntaxError(f"an object is a mapping of fields, not {_shown(spec)}", path=path)
    return _type(spec, path, named)


KINDS = {"array": _array, "enum": _enum_field, "object": _object_field}


def _field_key(key: str, path: Path) -> tuple[str, bool, str | None, str]:
    """Take `name?(kind, description)` apart."""
    match = re.fullmatch(r"([^?(),]*)(\?)?(?:\(([^,()]*)(?:,(.*))?\))?", key.strip(), re.DOTALL)
    if not match:
        hint = "a field is written name, name?, name(array), name?(enum, description)"
        raise TypeSyntaxError(f"malformed field {_shown(key)}", path=path, hint=hint)
    name, optional, kind, description = match.groups()
    if not name.isidentifier():
        hint = "use letters, digits and underscores; the first is not a digit"
        raise TypeSyntaxError(f"{_shown(name)} is not a field name", path=path, hint=hint)
    kind = None if kind is None else kind.strip()
    if kind is not None and kind not in KINDS:
        raise TypeSyntaxError(f"unknown kind {_shown(kind)}", path=path, hint=known_or_nearest(kind, KINDS, "kinds"))
    return name, optional is not None, kind, (description or "").strip()


def _values(values: list[Any], path: Path) -> list[Any]:
    if all(value is None for value in values):
        raise TypeSyntaxError("an enum needs at least one value", path=path)
    seen: set[tuple[bool, Any]] = set()
    for index, value in enumerate(values):
        if not _is_scalar(value):
            hint = "an enum has text, numbers, true, false and null"
            raise TypeSyntaxError(f"{_shown(value)} cannot be a value of an enum", path=(*path, index), hint=hint)
        if (isinstance(value, bool), value) in seen:  # in JSON, 1 is 1.0 but not true
            raise TypeSyntaxError(f"{_shown(value)} is in the enum twice", path=(*path, index))
        seen.add((isinstance(value, bool), value))
    return values


def _or_null(schema: JSONSchema) -> JSONSchema:
    """What an optional field takes: the type or null."""
    if BINDING & set(schema):
        note = {key: schema[key] for key in ("description",) if key in schema}
        return {"anyOf": [_rebase(schema, "#/anyOf/0"), {"type": "null"}], **note}
    if "enum" in schema and None not in schema["enum"]:
        schema = {**schema, "enum": [*schema["enum"], None]}
    if "type" in schema and "null" not in _types(schema):
        schema = {**schema, "type": [*_types(schema), "null"]}
    return schema


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
    from jsonschema import Draft202012Validator as Draft  # 0.13 s, and Picoschema never needs it

    schema = {key: value for key, value in spec.items() if key not in ("$schema", "$id")}
    if "type" not in schema and "properties" in schema:
        schema["type"] = "object"
    form = Draft(Draft.META_SCHEMA, format_checker=Draft.FORMAT_CHECKER)
    for error in form.iter_errors(schema):
        at = (*path, *error.path)
        if error.validator == "anyOf":  # the metaschema has one, under `type`
            hint = known_or_nearest(str(error.instance), JSON_TYPES, "types")
            raise TypeSyntaxError(f"unknown type {_shown(error.instance)} in a JSON Schema", path=at, hint=hint)
        message = next(_messages(_fault(error)._replace(path=()), {}))
        hint = "a mapping whose 'type' is a JSON type, or that has 'properties', is read as a full JSON Schema"
        raise TypeSyntaxError(f"not a JSON Schema: {message}", path=at, hint=hint)
    parts = {tuple(map(str, at)): part for at, part in _walk(schema)}
    for at, part in _walk(schema):
        for key in part if isinstance(part, dict) else ():
            if key not in KEYWORDS and not _is_note(key):
                hint = nearest(key, KEYWORDS) or "this is read as a JSON Schema, whose fields go under 'properties'"
                raise TypeSyntaxError(f"unknown JSON Schema keyword {_shown(key)}", path=(*path, *at, key), hint=hint)
        if isinstance(part, dict) and "$ref" in part:
            _check_ref(part["$ref"], (*path, *at, "$ref"), parts)
    return schema


def _check_ref(ref: str, path: Path, parts: Mapping[Path, Any]) -> None:
    """A reference leads to a schema of the same document, and not back to itself; nothing is ever fetched."""
    seen: set[Path] = set()
    current: str | None = ref
    while current is not None:
        if current != "#" and not current.startswith("#/"):
            hint = "only references inside the same schema work, such as '#/$defs/item'"
            raise TypeSyntaxError(f"the reference {_shown(current)} leads out of the schema", path=path, hint=hint)
        target = _pointer(current)
        if target not in parts:
            raise TypeSyntaxError(f"the reference {_shown(current)} leads to no schema", path=path)
        if target in seen:
            raise TypeSyntaxError(f"the reference {_shown(ref)} leads back to itself", path=path)
        seen.add(target)
        current = _as_dict(parts[target]).get("$ref")


# -- checking a value --------------------------------------------------------------------------------------------------


def _quick_faults(schema: Any, value: Any, path: Path = ()) -> Iterator[_Fault]:
    """Check by the few keywords that Picoschema makes, exactly as jsonschema would, without its import."""
    if isinstance(schema, bool):
        if not schema:
            yield _Fault("false", path, value, {})
        return
    if "type" in schema and not any(_is_a(name, value) for name in _types(schema)):
        yield _Fault("type", path, value, schema)
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        yield _Fault("enum", path, value, schema)
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if any(name not in value for name in schema.get("required", ())):
            yield _Fault("required", path, value, schema)
        if others is False and any(name not in properties for name in value):
            yield _Fault("additionalProperties", path, value, schema)
        for name, item in value.items():
            yield from _quick_faults(properties.get(name, others or True), item, (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _quick_faults(schema.get("items", True), item, (*path, index))


def _slow_faults(schema: Mapping[str, Any]) -> Callable[[Any], Iterator[_Fault]]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    return lambda value: map(_fault, validator.iter_errors(value))


def _fault(error: Any) -> _Fault:
    from jsonschema.exceptions import best_match

    cause = best_match([error])  # of a failed union, the alternative that came nearest
    return _Fault(str(cause.validator), tuple(cause.absolute_path), cause.instance, _as_dict(cause.schema))


def _not_json(value: Any, path: Path = ()) -> Iterator[_Fault]:
    """What cannot be written as JSON, of which a Python caller can pass a lot and a model a NaN."""
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        for name, item in value.items():
            yield from _not_json(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, (*path, index))
    elif not _is_scalar(value):
        yield _Fault("json", path, value, {})


def _messages(fault: _Fault, root: Mapping[str, Any]) -> Iterator[str]:
    """A fault in words; `root` is the document that its schema is a part of."""
    keyword, path, value, schema = fault
    for text in _wordings(keyword, value, schema, root):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)[1:-1]}" for part in path)
        yield f"{place.removeprefix('.')}: {text}" if place else text


def _wordings(keyword: str, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    shown = _shown(value)
    match keyword:
        case "type":
            return [f"{shown} is not {' or '.join(WORDS[name] for name in _types(schema))}"]
        case "enum" | "const":
            choices = [_label(choice) for choice in _enum(schema)]
            # A whole paragraph is like no choice, and would take long to compare.
            hint = nearest(value, choices) if isinstance(value, str) and len(value) <= SHOWN else None
            return [f"{shown} is not {'one of ' * (len(choices) > 1)}{_few(choices)}" + (f"; {hint}" if hint else "")]
        case "required":
            return [f"missing field {_shown(name)}" for name in schema["required"] if name not in value]
        case "additionalProperties":
            known = schema.get("properties", {})
            patterns = schema.get("patternProperties", {})
            extras = [name for name in value if name not in known and not any(re.search(p, name) for p in patterns)]
            return [f"unknown field {_shown(name)}; {known_or_nearest(name, known, 'fields')}" for name in extras]
        case "anyOf" | "oneOf" if root:
            return [f"{shown} is not {'exactly one of ' * (keyword == 'oneOf')}{Type(root)._part(schema).describe()}"]
        case "json":
            return [f"{shown} is not a JSON value"]
        case "false" | "None":  # the schema `false`
            return [f"{shown} is not allowed here"]
    return [f"{shown} is against '{keyword}' ({_label(schema.get(keyword))})"]


# -- a value from a text -----------------------------------------------------------------------------------------------


def _choice(text: str, enum: Type) -> Any:
    for choice in sorted(enum.choices, key=lambda value: not isinstance(value, str)):  # '1' before 1
        if text == (choice if isinstance(choice, str) else json.dumps(choice)):
            return choice
    if text == "null" and enum.nullable:
        return None
    raise ValueError(next(iter(_wordings("enum", text, {"enum": _enum(enum._core)}, {}))))


def _number(text: str, *, whole: bool) -> int | float | None:
    if not re.fullmatch(r"[+-]?(\d{1,400}(\.\d*)?|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return None
    number = float(text)
    if not math.isfinite(number):  # 1e999, which JSON cannot carry
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    if whole:
        return int(number) if number.is_integer() else None
    return number


def _json(text: str, kind: Literal["object", "array"]) -> Any:
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{_shown(text)} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{_shown(text)} is not {WORDS[kind]} in JSON: {error}") from error
    if not isinstance(value, dict if kind == "object" else list):
        raise ValueError(f"{_shown(text)} is not {WORDS[kind]}")  # noqa: TRY004
    return value


def _json_or_text(text: str, open_type: Type) -> Any:
    """Where anything goes, JSON that fits is meant as JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if open_type.check(value) else value


# -- words for people --------------------------------------------------------------------------------------------------


def _describe(part: Type, depth: int) -> str:
    core, kind, mark = part._core, part.kind, "?" * part.nullable
    names = [name for name in _types(core) if name != "null"]
    if kind == "enum":
        missing_null = [None] if part.nullable and None not in _enum(core) else []
        return "one of " + _few([_label(value) for value in (*_enum(core), *missing_null)])
    if kind == "any":
        options = core.get("anyOf") or core.get("oneOf") or [{"type": name} for name in _types(core)]
        return " | ".join(_describe(part._part(option), depth - 1) for option in options if depth) or "any"
    if kind == "array" and part.items:
        item = _describe(part.items, depth - 1) if depth else "any"
        return (f"({item})" if " " in item and item[0] != "{" else item) + "[]" + mark
    if kind == "object":
        fields = part.fields() if depth else {}
        shown = [_describe_field(part, name, field, depth - 1) for name, field in fields.items()]
        return ("{" + _few(shown if part.closed else [*shown, "…"]) + "}" if shown else "object") + mark
    return names[0] + mark if names else "null"


def _describe_field(parent: Type, name: str, field: Type, depth: int) -> str:
    text = _describe(field, depth)
    return f"{name}: {text}" if name in parent.required else f"{name}?: {text.removesuffix('?')}"


def _few(texts: Sequence[str], most: int = 10) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _label(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else value[: SHOWN - 1] + "…")
    try:
        return _label(value if isinstance(value, dict | list | bool | int | float | None) else repr(value))
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a list in itself
        return f"a {type(value).__name__}"


# -- the schema for a provider -----------------------------------------------------------------------------------------


def _object_root(schema: Mapping[str, Any]) -> JSONSchema | None:
    """The schema where its root is, or refers to, a plain object; None where it must be wrapped to be one."""
    root: Any = schema
    while {key for key in root if not _is_note(key)} - {"$defs", "definitions"} == {"$ref"}:
        root = _as_dict(_resolve(root["$ref"], schema))
    if root.get("type") != "object" or (BINDING | {"enum"}) & set(root):
        return None
    return dict(root) if root is schema else _standalone(root, schema)


def _for_model(schema: JSONSchema, root: JSONSchema, *, tighten: bool) -> JSONSchema:
    """Say the types of an enum, drop what binds nothing, and require fields that may be null.

    tighten: whether requiring more cannot let more through, as it could inside `not` or `oneOf`.
    """
    schema = {key: value for key, value in schema.items() if key == "description" or not _is_note(key)}
    if values := _enum(schema) if "type" not in schema else ():
        names = list(dict.fromkeys(next(name for name in PYTHON_TYPES if _is_a(name, value)) for value in values))
        schema = {"type": names if len(names) > 1 else names[0], **schema}
    if tighten and schema.get("additionalProperties") is False:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        may_be_null = [n for n, part in properties.items() if Type(_standalone(_as_dict(part), root)).nullable]
        ordered = [name for name in properties if name in required or name in may_be_null]
        ordered += [name for name in required if name not in properties]
        schema |= {"properties": properties, "required": ordered}
    return schema


def _is_strict(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return schema is False
    if not STRICT.issuperset(schema) or ("$ref" in schema and len(schema) > 1):
        return False
    if "object" in _types(schema):
        properties = schema.get("properties", {})
        return schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)
    return "items" in schema if "array" in _types(schema) else bool({"type", "anyOf", "$ref"} & set(schema))


# -- schemas as trees --------------------------------------------------------------------------------------------------


def _walk(schema: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """A schema and all those inside it, with their paths."""
    yield path, schema
    for key, value in schema.items() if isinstance(schema, Mapping) else ():
        if key in SCHEMA_MAPS:
            parts: Iterable[tuple[Path, Any]] = (((key, name), part) for name, part in value.items())
        elif key in SCHEMA_LISTS:
            parts = (((key, index), part) for index, part in enumerate(value))
        else:
            parts = [((key,), value)] if key in SCHEMAS else []
        for at, part in parts:
            yield from _walk(part, (*path, *at))


def _rewrite(schema: Any, change: Callable[[JSONSchema], JSONSchema]) -> Any:
    """A copy with every schema in it changed, the innermost first."""
    if not isinstance(schema, Mapping):
        return schema
    copy = dict(schema)
    for key, value in schema.items():
        if key in SCHEMA_MAPS:
            copy[key] = {name: _rewrite(part, change) for name, part in value.items()}
        elif key in SCHEMA_LISTS:
            copy[key] = [_rewrite(part, change) for part in value]
        elif key in SCHEMAS:
            copy[key] = _rewrite(value, change)
    return change(copy)


def _refs(schema: Any) -> list[str]:
    return [part["$ref"] for _, part in _walk(schema) if isinstance(part, Mapping) and "$ref" in part]


def _rebase(schema: JSONSchema, at: str) -> JSONSchema:
    """A copy whose references hold after the schema has moved from the root to `at`."""
    if not _refs(schema):
        return schema
    moved = _rewrite(schema, lambda part: part | ({"$ref": at + part["$ref"][1:]} if "$ref" in part else {}))
    return dict(moved)


def _standalone(part: JSONSchema, root: Mapping[str, Any]) -> JSONSchema:
    """A part of a schema as a schema of its own: it takes along what its references need, under $defs."""
    refs = _refs(part)
    if not refs:
        return part
    if not all(ref.startswith("#/$defs/") for ref in refs + _refs({"$defs": root.get("$defs", {})})):
        part, root = _rebase(part, "#/$defs/root"), {"$defs": {"root": _rebase(dict(root), "#/$defs/root")}}
    return {**part, "$defs": root["$defs"]}


def _pointer(ref: str) -> Path:
    return tuple(unquote(token).replace("~1", "/").replace("~0", "~") for token in ref.split("/")[1:])


def _resolve(ref: str, root: Any) -> Any:
    for token in _pointer(ref):
        root = root[int(token)] if isinstance(root, list) else root[token]
    return root


def _as_dict(schema: Any) -> JSONSchema:
    return dict(schema) if isinstance(schema, Mapping) else {} if schema else {"not": {}}


def _types(schema: Mapping[str, Any]) -> list[str]:
    names = schema.get("type", [])
    return [names] if isinstance(names, str) else list(names)


def _enum(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _is_note(key: str) -> bool:
    return key in NOTES or key.startswith("x-")


def _is_pico(schema: Any) -> bool:
    if isinstance(schema, bool):
        return True
    return all(key in PICO or _is_note(key) for key in schema) and all(map(_is_scalar, _enum(schema)))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _same(one: Any, other: Any) -> bool:
    """Equality of scalars in JSON, where 1 is 1.0 but not true."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _is_a(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, PYTHON_TYPES[name])


PYTHON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}
