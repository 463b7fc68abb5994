"""Templates: Jinja2 in a sandbox. What a template refers to, and what it renders to.

Values are JSON values. Text is put in as it is; every other value is written as JSON, so null is `null` and a list is
`["a", "b"]`, never Python's notation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import (
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
    nodes,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptchain.errors import nearest

ITEM = "[]"
"""The part of a reference's path that stands for "any item of the list"."""

MAX_RENDERED = 16 * 1024 * 1024
"""Characters that one template may render to."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a template takes from outside, with the fields it reads of it.

    line: counts from 1 in the template's text. tolerant: it is read only through `default` or a test (`is none`),
    so that null will do.
    """

    name: str
    path: tuple[str, ...] = ()
    line: int = 1
    tolerant: bool = False


class TemplateFault(Exception):
    """A template that cannot be parsed or rendered; `line` counts from 1 in its text, None where unknown."""

    def __init__(self, message: str, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which a mapping's field hides the methods of the same name: `{{ order.items }}` is a field."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def to_text(value: Any) -> str:
    """A value as it stands in a prompt: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _finalize(value: Any) -> Any:
    return value if isinstance(value, str | Undefined) else to_text(value)


def _default(value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Jinja's `default`, for which null counts as missing too: a skipped step's value is null."""
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return default_value
    return value


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=StrictUndefined, autoescape=False, finalize=_finalize, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"default": _default, "d": _default, "tojson": _tojson}
    environment.globals = {
        name: environment.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")
    }
    return environment


_ENVIRONMENT = _environment()
GLOBALS = frozenset(_ENVIRONMENT.globals)


@dataclass(frozen=True)
class Template:
    """A parsed template; `text` is its source."""

    text: str
    references: tuple[Reference, ...] = field(repr=False)
    _render: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values, without white space around it. Raises TemplateFault."""
        return to_text(self.value(values)).strip()

    def value(self, values: Mapping[str, Any]) -> Any:
        """As `render`, but a template that is one expression and nothing else gives its value. Raises TemplateFault."""
        try:
            result = self._render(values)
        except UndefinedError as exc:
            raise TemplateFault(_sentence(exc), _line_of(exc), _FILTER_HINT) from None
        except TemplateError as exc:
            raise TemplateFault(_sentence(exc), _line_of(exc)) from None
        except RecursionError:
            raise TemplateFault("the template recurses without end") from None
        except (MemoryError, OverflowError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as exc:
            raise TemplateFault(f"{_sentence(exc) or type(exc).__name__}", _line_of(exc)) from None
        if isinstance(result, Undefined):
            raise TemplateFault("the expression has no value here", 1, _FILTER_HINT)
        return result


_FILTER_HINT = "give it, or use the filter default: {{ name | default('…') }}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Parse a template. Raises TemplateFault."""
    tree, references = _parse(text)
    expression = _only_expression(tree)
    if expression is not None:
        return Template(text, references, _expression(expression))
    compiled = _compile(text)

    def render(values: Mapping[str, Any]) -> str:
        pieces: list[str] = []
        size = 0
        for piece in compiled.generate(values):
            size += len(piece)
            if size > MAX_RENDERED:
                raise TemplateError(f"the text grows over {MAX_RENDERED // 1024 // 1024} million characters")
            pieces.append(piece)
        return "".join(pieces)

    return Template(text, references, render)


@lru_cache(maxsize=4096)
def expression(text: str) -> Template:
    """Parse a bare expression, as `when` and `for_each` take it; `{{ … }}` around it may be. Raises TemplateFault."""
    stripped = text.strip()
    if not stripped.startswith("{{"):
        stripped = "{{ " + stripped + " }}"
    tree, references = _parse(stripped)
    found = _only_expression(tree)
    if found is None:
        raise TemplateFault("this must be one expression", 1, 'for example: intent == "refund"')
    return Template(text, references, _expression(found))


_FOREIGN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def _parse(text: str) -> tuple[nodes.Template, tuple[Reference, ...]]:
    try:
        tree = _ENVIRONMENT.parse(text)
        for foreign in tree.find_all(_FOREIGN):
            raise TemplateFault("a template cannot include another", foreign.lineno, "use {file: …} for a whole prompt")
        return tree, tuple(_references(tree))
    except TemplateSyntaxError as exc:
        raise TemplateFault(_sentence(exc), exc.lineno, _syntax_hint(exc)) from None
    except RecursionError:
        raise TemplateFault("the template is nested too deep") from None


def _compile(text: str) -> Any:
    try:
        return _ENVIRONMENT.from_string(text)
    except TemplateSyntaxError as exc:
        raise TemplateFault(_sentence(exc), exc.lineno, _syntax_hint(exc)) from None
    except (RecursionError, SyntaxError, MemoryError):
        raise TemplateFault("the template is nested too deep") from None


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of a template that is nothing but `{{ expression }}` and white space around it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = [
        node for node in tree.body[0].nodes if not (isinstance(node, nodes.TemplateData) and not node.data.strip())
    ]
    if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData):
        return parts[0]
    return None


_RESULT = "result"


def _expression(expr: nodes.Expr) -> Callable[[Mapping[str, Any]], Any]:
    """Compile an expression to a function of the values, through an assignment that the module exports."""
    body = [nodes.Assign(nodes.Name(_RESULT, "store", lineno=1), expr, lineno=1)]
    try:
        compiled = _ENVIRONMENT.from_string(nodes.Template(body, lineno=1))
    except TemplateSyntaxError as exc:  # an unknown filter or test is found at this point
        raise TemplateFault(_sentence(exc), exc.lineno, _syntax_hint(exc)) from None
    except (RecursionError, SyntaxError, MemoryError):
        raise TemplateFault("the template is nested too deep") from None

    def evaluate(values: Mapping[str, Any]) -> Any:
        context = compiled.new_context(dict(values))
        for _ in compiled.root_render_func(context):
            pass
        return context.vars[_RESULT]

    return evaluate


def _references(tree: nodes.Template) -> Iterator[Reference]:
    outside = meta.find_undeclared_variables(tree) - GLOBALS
    seen: set[Reference] = set()
    for reference in _walk(tree, {}, tolerant=False):
        if reference.name in outside and reference not in seen:
            seen.add(reference)
            yield reference


_Scope = Mapping[str, tuple[str, tuple[str, ...]] | None]
"""Names bound inside the template: to a path from an outside name (a loop over it), or to None (anything else)."""

_TOLERANT_TESTS = frozenset({"defined", "undefined", "none"})


def _walk(node: nodes.Node, scope: _Scope, tolerant: bool) -> Iterator[Reference]:
    target = _path(node, scope)
    if target:
        name, path = target
        yield Reference(name, path, node.lineno, tolerant)
        return
    if isinstance(node, nodes.Name):
        return
    if isinstance(node, nodes.For):
        yield from _walk_for(node, scope, tolerant)
    elif isinstance(node, nodes.Filter) and node.node is not None:
        quiet = tolerant or node.name in ("default", "d")
        yield from _walk(node.node, scope, quiet)
        for child in (*node.args, *node.kwargs):
            yield from _walk(child, scope, tolerant)
    elif isinstance(node, nodes.Test):
        yield from _walk(node.node, scope, tolerant or node.name in _TOLERANT_TESTS)
        for child in (*node.args, *node.kwargs):
            yield from _walk(child, scope, tolerant)
    elif isinstance(node, nodes.Or):
        yield from _walk(node.left, scope, tolerant=True)
        yield from _walk(node.right, scope, tolerant)
    else:
        inner = _bind(node, scope)
        for child in node.iter_child_nodes():
            yield from _walk(child, inner, tolerant)


def _walk_for(node: nodes.For, scope: _Scope, tolerant: bool) -> Iterator[Reference]:
    yield from _walk(node.iter, scope, tolerant)
    looped = _path(node.iter, scope)
    bound: dict[str, tuple[str, tuple[str, ...]] | None] = {
        name.name: None for name in node.target.find_all(nodes.Name)
    }
    if isinstance(node.target, nodes.Name):
        bound = {node.target.name: (looped[0], (*looped[1], ITEM)) if looped else None}
    inner: dict[str, Any] = {**scope, **bound, "loop": None}
    for child in (*node.body, *([node.test] if node.test else [])):
        yield from _walk(child, inner, tolerant)
    for child in node.else_:
        yield from _walk(child, scope, tolerant)


def _bind(node: nodes.Node, scope: _Scope) -> _Scope:
    """The scope with what `{% with %}`, `{% macro %}` and `{% call %}` bind; their parameters are not followed."""
    if isinstance(node, nodes.With):
        names = [name for target in node.targets for name in _names(target)]
    elif isinstance(node, nodes.Macro | nodes.CallBlock):
        names = [arg.name for arg in node.args]
    else:
        return scope
    return {**scope, **dict.fromkeys(names)}


def _names(target: nodes.Node) -> list[str]:
    if isinstance(target, nodes.Name):
        return [target.name]
    return [name.name for name in target.find_all(nodes.Name)]


def _path(node: nodes.Node, scope: _Scope) -> tuple[str, tuple[str, ...]] | None:
    """`a.b["c"][0].d` as ("a", ("b", "c", "[]", "d")); None where `node` is no such chain from an outside name."""
    if isinstance(node, nodes.Name):
        if node.ctx != "load":
            return None
        return scope[node.name] if node.name in scope else (node.name, ())
    if isinstance(node, nodes.Getattr):
        base = _path(node.node, scope)
        return base and (base[0], (*base[1], node.attr))
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        base = _path(node.node, scope)
        key = node.arg.value
        return base and (base[0], (*base[1], key if isinstance(key, str) else ITEM))
    return None


def _sentence(exc: BaseException) -> str:
    lines = str(getattr(exc, "message", None) or exc).strip().splitlines()
    text = (lines[0] if lines else "").rstrip(".")
    if "end of print statement" in text or ("end of template" in text and text.startswith("unexpected")):
        return "the expression ends too early"
    return text


def _line_of(exc: BaseException) -> int | None:
    """The template line where rendering failed: Jinja rewrites the traceback to show it."""
    line = None
    traceback = exc.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _syntax_hint(exc: TemplateSyntaxError) -> str | None:
    said = str(exc.message or "")
    if "No filter named" in said or "No test named" in said:
        table = _ENVIRONMENT.filters if "filter" in said else _ENVIRONMENT.tests
        return nearest(said.split("'")[1], table)
    if "end of template" in said or "unexpected end" in said.lower():
        return "close the block or the braces"
    return None
