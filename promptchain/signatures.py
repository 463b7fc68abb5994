"""What a function takes: its parameters as a JSON Schema, and JSON values as its annotations want them.

A parameter is what its annotation says to pydantic (`Annotated[int, Field(ge=1)]` too), any JSON value without one.
Those that are positional only are named as well. `*args` gets nothing, `**kwargs` what no parameter has the name of. No
name has a meaning of its own, `context` neither. A parameter whose type JSON cannot say is left to its default where it
has one.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from promptchain import docstrings
from promptchain.errors import FunctionError, known_or_nearest
from promptchain.records import storable

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that a value may be given for. adapter: None where any value will do. default: None where JSON cannot say it
    or there is none."""

    name: str
    adapter: TypeAdapter[Any] | None
    required: bool
    default: Any = None


@dataclass(frozen=True, slots=True)
class Signature:
    """others: what `**kwargs` takes; None where there is none."""

    parameters: Mapping[str, Parameter]
    others: Parameter | None


def signature(call: Callable[..., Any], name: str) -> Signature:
    """What the function `name` takes. Raises FunctionError where that cannot be told."""
    try:
        return _cached(call, name)
    except TypeError:  # it has no hash
        return _signature(call, name)


@functools.lru_cache(256)
def _cached(call: Callable[..., Any], name: str) -> Signature:
    return _signature(call, name)


def _signature(call: Callable[..., Any], name: str) -> Signature:
    try:
        found = inspect.signature(call).parameters.values()
    except (ValueError, TypeError) as exc:  # made in C, say
        raise FunctionError(f"what {name} takes cannot be told", hint="wrap it in a function with def") from exc
    parameters, others = {}, None
    for given in found:
        if given.kind is not inspect.Parameter.VAR_POSITIONAL and (one := _parameter(given, call, name)):
            if given.kind is inspect.Parameter.VAR_KEYWORD:
                others = one
            else:
                parameters[given.name] = one
    return Signature(parameters, others)


def _parameter(given: inspect.Parameter, call: Callable[..., Any], name: str) -> Parameter | None:
    """The parameter; None for one that is left to its default. Raises FunctionError."""
    from pydantic import TypeAdapter

    required = given.default is given.empty and given.kind is not given.VAR_KEYWORD
    hint = _resolved(given, call, name)
    if hint is Any or hint is object:
        return Parameter(given.name, None, required, _default(given))
    if given.default is None:
        hint = typing.Optional[hint]  # noqa: UP045 - the type is a value here, and may be one that `|` refuses
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        adapter.json_schema(schema_generator=_plain_schema())
    except Exception as exc:  # pydantic's, and what a type of the user's raises
        if not required:
            return None
        raise FunctionError(
            f"the parameter '{given.name}' of {name} is of a type that JSON cannot say: {_type_name(hint)}",
            hint="annotate it with a type such as str, list[int], a dataclass or a pydantic model",
        ) from exc
    return Parameter(given.name, adapter, required, _default(given))


def _resolved(given: inspect.Parameter, call: Callable[..., Any], name: str) -> Any:
    """The annotation as a type, also where it is text. Raises FunctionError."""
    if given.annotation is given.empty:
        return Any
    try:
        holder: Any = SimpleNamespace(__annotations__={given.name: given.annotation})
        return typing.get_type_hints(holder, globalns=_scope(call), include_extras=True)[given.name]
    except Exception as exc:  # whatever stands there
        raise FunctionError(
            f"the annotation of the parameter '{given.name}' of {name} cannot be resolved: {exc}",
            hint="what it names must be imported in the module, not for type checking alone",
        ) from exc


def _scope(call: Callable[..., Any]) -> dict[str, Any]:
    """What the names in the annotations mean: the globals of the function, or of the module of a class."""
    while isinstance(call, functools.partial):
        call = call.func
    inner: Any = inspect.unwrap(call)
    if hasattr(inner, "__globals__"):
        return dict(inner.__globals__)
    owner = inner if isinstance(inner, type) else type(inner)
    return dict(vars(sys.modules.get(owner.__module__, builtins)))


def _default(given: inspect.Parameter) -> Any:
    if given.default is given.empty:
        return None
    try:
        return json.loads(json.dumps(given.default, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)[:60]


def _plain_schema() -> Any:
    """pydantic's generator without the titles of fields, which repeat their names."""
    from pydantic.json_schema import GenerateJsonSchema

    class Plain(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
            return False

    return Plain


def schema(call: Callable[..., Any], name: str) -> dict[str, Any]:
    """The parameters as a JSON Schema. Raises FunctionError."""
    from pydantic import TypeAdapter

    found = signature(call, name)
    parts = [*found.parameters.values(), *([found.others] if found.others else [])]
    typed = [(part.name, "validation", part.adapter) for part in parts if part.adapter]
    schemas, shared = TypeAdapter.json_schemas(typed, schema_generator=_plain_schema())  # type: ignore[arg-type]
    said = docstrings.parameters(documentation(call))
    properties = {}
    for part in found.parameters.values():
        known = dict(schemas[part.name, "validation"]) if part.adapter else {}
        if part.name in said:
            known.setdefault("description", said[part.name])
        if not part.required and part.default is not None:
            known.setdefault("default", part.default)
        properties[part.name] = known
    others: Any = found.others is not None
    if found.others and found.others.adapter:
        others = schemas[found.others.name, "validation"]
    required = [part.name for part in found.parameters.values() if part.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": others} | (
        {"$defs": shared["$defs"]} if "$defs" in shared else {}
    )


def documentation(call: Callable[..., Any]) -> str:
    """The docstring, without its indentation; "" for what has none of its own."""
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.getdoc(call) or "" if isinstance(getattr(call, "__doc__", None), str) else ""


def bind(call: Callable[..., Any], name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the annotations want them, by the names of the parameters. Text is no number and a number no text;
    what JSON has no notation for is read from text (a date, say). Defaults are not put in.

    Raises FunctionError, naming the argument, for one that is unknown, missing or of the wrong type.
    """
    found = signature(call, name)
    bound = {}
    for given, value in values.items():
        part = found.parameters.get(given) or found.others
        if part is None:
            known = known_or_nearest(str(given), found.parameters, "arguments")
            raise FunctionError(f"{name} takes no argument '{given}'", hint=known)
        bound[given] = _converted(part, given, value, name)
    missing = [f"'{part.name}'" for part in found.parameters.values() if part.required and part.name not in values]
    if missing:
        raise FunctionError(f"{name} lacks the argument{'s' * (len(missing) > 1)} {', '.join(missing)}")
    return bound


def _converted(part: Parameter, given: str, value: Any, name: str) -> Any:
    from pydantic import ValidationError

    if part.adapter is None:
        return value
    try:
        # Strict, and read from JSON: only so does pydantic make a tuple of a list, but no number of a text.
        return part.adapter.validate_json(json.dumps(storable(value)), strict=True)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
        wrong = first["msg"][:1].lower() + first["msg"][1:]
        raise FunctionError(f"the argument '{given}{place}' of {name} does not fit: {wrong}") from exc
    except Exception as exc:  # what the constructor of a type of the user's raises
        said = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
        raise FunctionError(f"the argument '{given}' of {name} does not fit: {said}") from exc


def placed(call: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as a call takes them: those that are positional only by their place."""
    named = dict(arguments)
    positional: list[Any] = []
    try:
        found = inspect.signature(call).parameters.values()
    except (ValueError, TypeError):
        return [], named
    for part in found:
        if part.kind is not part.POSITIONAL_ONLY or (part.name not in named and part.default is part.empty):
            break
        positional.append(named.pop(part.name, part.default))
    return positional, named
