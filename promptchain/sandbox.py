"""The sandbox in which templates run: Jinja2's, with bounds on the work and the memory that one rendering may take.

Values are JSON values. Text is put in as it is; every other value is written as JSON, so null is `null` and a list is
`["a", "b"]`, never Python's notation. The bounds stop accidents and the usual bombs (`'a' * 10**9`, loops in loops).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, ValuesView
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from markupsafe import Markup

from promptchain import markers

MAX_RENDERED = 16 * 1024 * 1024
"""Characters that one template, and any text made inside it, may have."""

MAX_MARKED = 96 * 1024 * 1024
"""The same for a text with images or files in it, which stand there with their content: 72 MiB of them."""

MAX_PARTS = 1_000_000
"""Items of a list, or values in a nested value."""

MAX_WORK = 250_000
"""Rounds of loops, and calls, in one rendering."""

MAX_BITS = 4096
"""Of a whole number that is the result of `*` or `**`."""


def to_text(value: Any) -> str:
    """A value as it stands in a prompt: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def plain(value: Any) -> Any:
    """A value as JSON has it: what filters and ranges give becomes a list. Raises TemplateRuntimeError."""
    return _plain(value, iter(range(MAX_PARTS)))


def _plain(value: Any, room: Iterator[int]) -> Any:
    if next(room, None) is None:
        raise TemplateRuntimeError(f"a value has more than {MAX_PARTS:,} parts")
    if isinstance(value, Undefined):
        return str(value)  # raises
    if value is None or isinstance(value, str | int | float):
        return str(value) if isinstance(value, Markup) else value
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else to_text(key): _plain(item, room) for key, item in value.items()}
    if isinstance(value, list | tuple | range | Set | ValuesView | Iterator):
        return [_plain(item, room) for item in value]
    if callable(value) and (name := getattr(value, "__name__", "")):
        raise TemplateRuntimeError(f"'{name}' is a method and no value: call it, {name}()")
    raise TemplateRuntimeError(f"a {type(value).__name__} cannot stand in a text")


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return "null" if value is None else kinds.get(type(value), "an object")


class _Undefined(StrictUndefined):
    """Fails when it is used, not when a field of it is read, so that `a.b.c | default('…')` holds when `a` is null."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if self._undefined_hint:
            return self._undefined_hint
        if owner is missing:
            return f"'{name}' has no value here"
        if isinstance(name, str):
            return f"there is no field '{name}' in {_kind(owner)}"
        return f"there is no item {name} in {_kind(owner)}"


class _Context(Context):
    """What one rendering knows, and how much work it has left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._work = iter(range(MAX_WORK))

    def spend(self) -> None:
        """Count one round of a loop or one call."""
        if next(self._work, None) is None:
            raise TemplateRuntimeError(f"the template takes more than {MAX_WORK:,} rounds of loops and calls")


class _CodeGenerator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        """`a ~ b` through `concat`, which writes values as templates do and bounds the length."""
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def _bounded(length: int, limit: int = MAX_RENDERED) -> None:
    if length > limit:
        what, unit = ("list", "items") if limit == MAX_PARTS else ("text", "characters")
        raise TemplateRuntimeError(f"a {what} grows too long: over {limit:,} {unit}")


def room(text: str) -> int:
    """How many characters a text may have that this one is a piece of."""
    return MAX_MARKED if markers.OPEN in text else MAX_RENDERED


def _joined(separator: str, texts: list[str]) -> str:
    length = sum(map(len, texts)) + len(separator) * len(texts)
    _bounded(length, max(map(room, texts), default=MAX_RENDERED))
    return separator.join(texts)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else to_text(plain(value))


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which a mapping's field hides the methods of the same name: `{{ order.items }}` is a field."""

    code_generator_class = _CodeGenerator
    context_class = _Context
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr != "translate" and super().is_safe_attribute(obj, attr, value)

    @staticmethod
    def concat(pieces: Iterable[Any]) -> str:
        return _joined("", [_written(piece) for piece in pieces])

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(context, _Context)
        context.spend()
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        if isinstance(owner, str):
            _bounded(_length(obj.__name__, owner, [*args, *kwargs.values()]))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, _ROUNDS, [], [], None, None, lineno=loop.lineno)
        return super()._generate(source, *args, **kwargs)


_ROUNDS = "rounds of a loop"  # no name that a template could use


@pass_context
def _rounds(context: _Context, values: Any) -> Iterator[Any]:
    if not isinstance(values, Iterable):
        raise TemplateRuntimeError(f"a loop needs a list, not {_kind(values)}")
    for value in values:
        context.spend()
        yield value


def _check_operation(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 0) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > MAX_BITS and operator in ("*", "**") and left not in (-1, 0, 1):
            raise TemplateRuntimeError("a number grows too large")
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple):
            limit = MAX_RENDERED if isinstance(one, str) else MAX_PARTS
            if operator == "*" and isinstance(other, int):
                _bounded(len(one) * max(other, 0), limit)
            elif operator == "+" and isinstance(other, type(one)):
                _bounded(len(one) + len(other), limit)
    if operator == "%" and isinstance(left, str):
        _bounded(_length("format", left, []))


_WIDE = re.compile(r"\d{5,}|%[^a-zA-Z%]*\*|\{[^{}]*\{")
"""In a format: a width of five digits, or one that is itself a value."""


def _length(name: str, text: str, args: list[Any]) -> int:
    """An upper bound of what a method or filter adds to a text, where it can add much."""
    number = max((abs(arg) for arg in args if isinstance(arg, int)), default=0)
    longest = max((len(arg) for arg in args if isinstance(arg, str)), default=0)
    match name:
        case "center" | "ljust" | "rjust" | "zfill" | "truncate":
            return number
        case "indent":
            return (text.count("\n") + 1) * max(number, longest)
        case "expandtabs":
            return text.count("\t") * number
        case "replace" if len(args) > 1:
            return text.count(str(args[0])) * len(str(args[1]))
        case "wordwrap":
            return len(text) * (longest + 1)
        case "join":
            return sum(len(item) + len(text) for item in args[0] if isinstance(item, str)) if args else 0
        case "format" | "format_map":
            return MAX_RENDERED + 1 if _WIDE.search(text) else 0
    return 0


def _sized(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses to make a text that grows too long."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        own = args[1:] if hasattr(function, "jinja_pass_arg") else args
        _bounded(_length(name, _written(own[0]), [*own[1:], *kwargs.values()]))
        return function(*args, **kwargs)

    return checked


def _finalize(value: Any) -> Any:
    return value if isinstance(value, str | Undefined) else _written(value)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja's `default`, for which null counts as missing too: a skipped step's value is null."""
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return default_value
    return value


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(plain(value), ensure_ascii=False, indent=indent if indent is None else min(indent, 16))


def _join(values: Any, d: str = "", attribute: str | int | None = None) -> str:
    items = values if attribute is None else map(make_attrgetter(ENVIRONMENT, attribute), values)
    return _joined(d, [_written(item) for item in items])


def _marks(kind: markers.Kind) -> Callable[[Any], str]:
    """The filter `image` or `file`: puts a mark into the text where the picture or the file is to stand."""

    def mark(value: Any) -> str:
        try:
            return markers.marked(str(value) if isinstance(value, Undefined) else value, kind)  # the former raises
        except ValueError as exc:
            raise TemplateRuntimeError(str(exc)) from None

    return mark


def _columns(function: Callable[..., Any]) -> Callable[..., Any]:
    """`batch` and `slice`, for which a number is a count of items."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _bounded(max((arg for arg in (*args, *kwargs.values()) if isinstance(arg, int)), default=0), MAX_PARTS)
        return function(*args, **kwargs)

    return checked


def _environment() -> Environment:
    environment = Environment(
        undefined=_Undefined, autoescape=False, finalize=_finalize, trim_blocks=True, lstrip_blocks=True
    )
    filters = environment.filters
    filters |= {name: _sized(name, filters[name]) for name in ("center", "indent", "replace", "wordwrap", "format")}
    filters |= {name: _columns(filters[name]) for name in ("batch", "slice")}
    filters |= {"default": _default, "d": _default, "tojson": _tojson, "join": _join, "string": _written}
    filters |= {"image": _marks("image"), "file": _marks("file")}
    filters[_ROUNDS] = _rounds
    del filters["random"]  # the same values give the same prompt
    environment.globals = {
        name: environment.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")
    }
    return environment


ENVIRONMENT = _environment()
GLOBALS = frozenset(ENVIRONMENT.globals)
