"""Templates: what a template refers to, and what it renders to (in `sandbox.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes

from promptchain.errors import nearest
from promptchain.sandbox import ENVIRONMENT, GLOBALS, MAX_RENDERED, room, to_text
from promptchain.sandbox import plain as _plain

__all__ = ["GLOBALS", "ITEM", "MAX_RENDERED", "Reference", "Template", "TemplateFault", "expression", "parse"]
__all__ += ["to_text"]

ITEM = "[]"
"""The part of a reference's path that stands for "any item of the list"."""

REASONING = "reasoning"
"""The name under which templates find what steps thought: `{{ reasoning.reply }}`. An input or a step may have it."""

MAX_TAGS = 5000
"""Of `{{` and `{%` in one template; so many take about a second to compile."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that a template takes from outside, with the fields it reads of it.

    line: counts from 1 in the template's text. tolerant: null will do for it, since it is read only through
    `default`, `or` or a test (`is none`).
    """

    name: str
    path: tuple[str, ...] = ()
    line: int = 1
    tolerant: bool = False


class TemplateFault(Exception):
    """A template that cannot be parsed or rendered.

    line: counts from 1 in its text, None where unknown. word: what stands there at the fault, where known.
    """

    def __init__(self, message: str, line: int | None = None, hint: str | None = None, word: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint
        self.word = word


@dataclass(frozen=True)
class Template:
    """A parsed template; `text` is its source."""

    text: str
    references: tuple[Reference, ...] = field(repr=False)
    _render: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)
    _line: int | None = field(default=None, repr=False, compare=False)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values, without white space around it. Raises TemplateFault."""
        return to_text(self.value(values)).strip()

    def value(self, values: Mapping[str, Any]) -> Any:
        """As `render`, but a template that is one expression and nothing else gives its value. Raises TemplateFault."""
        try:
            found = self._render(values)
            return found if type(found) is str else _plain(found)
        except UndefinedError as exc:
            raise TemplateFault(_sentence(exc), self._line_of(exc), _FILTER_HINT) from None
        except TemplateError as exc:
            raise TemplateFault(_sentence(exc), self._line_of(exc)) from None
        except RecursionError:
            raise TemplateFault("the template recurses without end, or a value is nested too deeply") from None
        except Exception as exc:  # whatever filters and operators make of values that do not suit them
            raise TemplateFault(_sentence(exc) or type(exc).__name__, self._line_of(exc)) from None

    def _line_of(self, exc: BaseException) -> int | None:
        """The template line where rendering failed: Jinja rewrites the traceback to show it."""
        line = self._line
        traceback = exc.__traceback__
        while traceback:
            if traceback.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
                line = traceback.tb_lineno
            traceback = traceback.tb_next
        return line


_FILTER_HINT = "give it, or use the filter default: {{ name | default('…') }}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Parse a template. Raises TemplateFault."""
    if not any(tag in text for tag in ("{{", "{%", "{#")):  # most instructions; and they need no Jinja
        plain_text = text.replace("\r\n", "\n").replace("\r", "\n")
        return Template(text, (), lambda values: plain_text)  # noqa: ARG005
    tree, references = _parse(text)
    expression = _only_expression(tree)
    if expression is not None:
        return Template(text, references, _expression(expression), expression.lineno)
    parts = _texts_and_names(tree)
    compiled = None if parts else _compile(tree)

    def render(values: Mapping[str, Any]) -> str:
        nonlocal compiled
        if parts and (joined := _joined(parts, values)) is not None:
            return joined
        compiled = compiled or _compile(tree)
        pieces: list[str] = []
        size, most = 0, MAX_RENDERED
        for piece in compiled.generate(values):
            size, most = size + len(piece), max(most, room(piece))
            if size > most:
                raise TemplateError(f"a text grows too long: over {most:,} characters")
            pieces.append(piece)
        return "".join(pieces)

    return Template(text, references, render)


@lru_cache(maxsize=4096)
def expression(text: str) -> Template:
    """Parse a bare expression, as `when` and `for_each` take it; `{{ … }}` around it may be. Raises TemplateFault."""
    stripped = text.strip()
    if not stripped.startswith("{{"):
        stripped = "{{ " + stripped + " }}"
    found = None
    if "{%" not in stripped:
        tree, references = _parse(stripped)
        found = _only_expression(tree)
    if found is None:
        raise TemplateFault("this must be one expression and nothing else", 1, 'for example: intent == "refund"')
    return Template(text, references, _expression(found), found.lineno)


def media_filter(text: str) -> str | None:
    """The first of the filters `image` and `file` that a template or an expression uses. Raises TemplateFault."""
    if "image" not in text and "file" not in text:
        return None
    tree, _ = _parse(text if "{{" in text or "{%" in text else "{{ " + text + " }}")
    return next((node.name for node in tree.find_all(nodes.Filter) if node.name in ("image", "file")), None)


_FOREIGN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)
_TOO_DEEP = "the template is nested too deep"


def _parse(text: str) -> tuple[nodes.Template, tuple[Reference, ...]]:
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        raise TemplateFault(f"the template has more than {MAX_TAGS:,} tags", 1, "use a loop, or a shorter text")
    try:
        tree = ENVIRONMENT.parse(text)
        for foreign in tree.find_all(_FOREIGN):
            raise TemplateFault("a template cannot include another", foreign.lineno, "use {file: …} for a whole prompt")
        return tree, tuple(_references(tree))
    except TemplateSyntaxError as exc:
        raise _syntax_fault(exc) from None
    except RecursionError:
        raise TemplateFault(_TOO_DEEP, 1) from None
    except (ValueError, OverflowError):  # a number of more digits than Python reads
        raise TemplateFault("a number is too long", 1) from None


def _compile(tree: nodes.Template) -> Any:
    try:
        return ENVIRONMENT.from_string(tree)
    except TemplateSyntaxError as exc:  # an unknown filter or test is found at this point
        raise _syntax_fault(exc) from None
    except (RecursionError, SyntaxError, MemoryError):
        raise TemplateFault(_TOO_DEEP, 1) from None


def _texts_and_names(tree: nodes.Template) -> list[tuple[str, bool]] | None:
    """The parts of a template that has nothing but text and lone names, most prompts; and whether each is a name."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = []
    for node in tree.body[0].nodes:
        if isinstance(node, nodes.TemplateData):
            parts.append((node.data, False))
        elif isinstance(node, nodes.Name):
            parts.append((node.name, True))
        else:
            return None
    return parts


def _joined(parts: list[tuple[str, bool]], values: Mapping[str, Any]) -> str | None:
    """What Jinja would make of the parts, at a fifth of the time; None where a name is no text, which is left to it."""
    texts = [values.get(part) if is_name else part for part, is_name in parts]
    if any(type(text) is not str for text in texts):
        return None
    return "".join(texts) if sum(map(len, texts)) <= MAX_RENDERED else None  # type: ignore[arg-type]


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
    if isinstance(expr, nodes.Name) and expr.name not in GLOBALS:
        return _look_up(expr.name)
    assignment = nodes.Assign(nodes.Name(_RESULT, "store", lineno=1), expr, lineno=expr.lineno)
    compiled = _compile(nodes.Template([assignment], lineno=1))

    def evaluate(values: Mapping[str, Any]) -> Any:
        context = compiled.new_context(dict(values))
        try:
            for _ in compiled.root_render_func(context):
                pass
        except Exception:
            ENVIRONMENT.handle_exception()  # raises it again, with the template's line in the traceback
        return context.vars[_RESULT]

    return evaluate


def _look_up(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """`{{ message }}` and nothing else is the commonest template, and needs no Jinja."""

    def evaluate(values: Mapping[str, Any]) -> Any:
        return values[name] if name in values else str(ENVIRONMENT.undefined(name=name))  # which raises UndefinedError

    return evaluate


def _references(tree: nodes.Template) -> Iterator[Reference]:
    outside = meta.find_undeclared_variables(tree) - GLOBALS
    changed = {name for node in tree.find_all(nodes.Assign) for name in _names(node.target)}
    changed |= {name for node in tree.find_all(nodes.AssignBlock) for name in _names(node.target)}
    seen: set[Reference] = set()
    for found in _walk(tree, {}, _STRICT):
        reference = Reference(found.name, (), found.line, found.tolerant) if found.name in changed else found
        if reference.name in outside and reference not in seen:
            seen.add(reference)
            yield reference


_Scope = Mapping[str, tuple[str, tuple[str, ...]] | None]
"""Names bound inside the template: to a path from an outside name (a loop over it), or to None (anything else)."""

_STRICT, _NULL, _ANYTHING = range(3)
"""What may be missing: nothing; the value itself, but no field of it (`a or b`); any part (`a.b | default('…')`)."""

_TOLERANT_TESTS = frozenset({"defined", "undefined", "none"})


def _walk(node: nodes.Node, scope: _Scope, quiet: int) -> Iterator[Reference]:
    target = _path(node, scope)
    if target:
        name, path = target
        yield Reference(name, path, node.lineno, quiet == _ANYTHING or (quiet == _NULL and not path))
    elif isinstance(node, nodes.For):
        yield from _walk_for(node, scope, quiet)
    elif isinstance(node, nodes.Filter | nodes.Test) and node.node is not None:
        lenient = ("default", "d") if isinstance(node, nodes.Filter) else _TOLERANT_TESTS
        yield from _walk(node.node, scope, _ANYTHING if node.name in lenient else quiet)
        yield from _walk_all((*node.args, *node.kwargs), scope, quiet)
    elif isinstance(node, nodes.Or):
        yield from _walk(node.left, scope, max(quiet, _NULL))
        yield from _walk(node.right, scope, quiet)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):  # a method is no field
        yield from _walk_all((node.node.node, *node.args, *node.kwargs), scope, _STRICT)
    elif isinstance(node, nodes.With):
        yield from _walk_all(node.values, scope, quiet)
        inner = {**scope, **dict.fromkeys(name for target in node.targets for name in _names(target))}
        yield from _walk_all(node.body, inner, quiet)
    elif isinstance(node, nodes.Macro | nodes.CallBlock):
        outer = (*node.defaults, node.call) if isinstance(node, nodes.CallBlock) else node.defaults
        yield from _walk_all(outer, scope, quiet)
        yield from _walk_all(node.body, {**scope, **dict.fromkeys(arg.name for arg in node.args)}, quiet)
    else:
        yield from _walk_all(node.iter_child_nodes(), scope, quiet)


def _walk_all(parts: Iterable[nodes.Node], scope: _Scope, quiet: int) -> Iterator[Reference]:
    for part in parts:
        yield from _walk(part, scope, quiet)


def _walk_for(node: nodes.For, scope: _Scope, quiet: int) -> Iterator[Reference]:
    yield from _walk(node.iter, scope, quiet)
    looped = _path(node.iter, scope)
    bound: dict[str, Any] = dict.fromkeys(_names(node.target))
    if isinstance(node.target, nodes.Name) and looped:
        bound = {node.target.name: (looped[0], (*looped[1], ITEM))}
    inner = {**scope, **bound, "loop": None}
    yield from _walk_all((*node.body, *([node.test] if node.test else [])), inner, quiet)
    yield from _walk_all(node.else_, scope, quiet)


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


_REWORDED = (  # what Jinja says; our words, {0} the first group; a hint; which group is the word at the fault
    (r"No (filter|test) named '(.+?)'", "unknown {0} '{1}'", None, 2),
    (r"unexpected end of template, expected 'end of print", "'{{{{' is never closed", "close it with '}}}}'", 0),
    (r"unexpected end of template, expected 'end of statement", "'{{%' is never closed", "close it with '%}}'", 0),
    (r"Missing end of comment", "'{{#' is never closed", "close it with '#}}'", 0),
    (r"Missing end of raw", "'{{% raw %}}' is never closed", "add {{% endraw %}}", 0),
    (r"Unexpected end of template.*closed is '(\w+)'", "'{{% {0} %}}' is never closed", "add {{% end{0} %}}", 0),
    (r"unknown tag '(end\w+|else|elif)'.*closed is '(\w+)'", "'{0}' where 'end{1}' is due", None, 1),
    (r"unknown tag '(end\w+|else|elif)'", "'{0}' belongs to no tag before it", "remove it", 1),
    (r"unknown tag '(\w+)'", "unknown tag '{0}'", None, 1),
    (r"tag name expected", "no tag follows '{{%'", "write one, for example {{% if message %}}", 0),
    (r"unexpected char ['\"](['\"])['\"] at", "a text in quotes is never closed", "close it with {0}", 0),
    (r"unexpected char '([&!?])' at", "unexpected character '{0}'", "write: and, or, not, x if y else z", 1),
    (r"unexpected char '(.+)' at", "unexpected character '{0}'", None, 1),
    (r"[Ee]xpected an expression, got 'end of", "an expression is missing", "write one, for example message", 0),
    (r"unexpected 'end of print", "the expression ends too early", None, 0),
    (r"'end of print statement', got '='", "unexpected '='", "compare with '=='", 0),
    (r"'end of (?:print statement|statement block)', got '(.+)'", "'{0}' is not expected here", None, 1),
    (r"expected token ':', got '(})'", "a third brace", "a template has two: {{{{ message }}}}", 1),
    (r"expected token '(.+)', got 'end of .*'", "a {0} is missing before the end", None, 0),
    (r"expected token '(.+)', got '(.+)'", "'{1}' where '{0}' is due", None, 2),
    (r"expected name or number", "the name of a field is missing after '.'", None, 0),
    (r"unexpected '(\W)', expected '(\W)'", "'{1}' is missing before '{0}'", None, 1),
    (r"unexpected '(\W)'", "unexpected '{0}'", "a value ends with '}}}}', a tag with '%}}'", 1),
)
_TAGS = ("if", "elif", "else", "endif", "for", "endfor", "set", "endset", "macro", "endmacro", "with", "endwith", "raw")


def _syntax_fault(exc: TemplateSyntaxError) -> TemplateFault:
    """Jinja's complaint in words for somebody who does not know how Jinja reads."""
    said = " ".join(str(exc.message or "").split())
    for pattern, message, hint, word in _REWORDED:
        if match := re.search(pattern, said):
            groups = match.groups()
            near = None
            if "unknown" in message:
                tables: dict[str, Any] = {"filter": ENVIRONMENT.filters, "test": ENVIRONMENT.tests}
                near = nearest(groups[-1], tables.get(groups[0], _TAGS))
            hint = near or (hint and hint.format(*groups))
            return TemplateFault(message.format(*groups), exc.lineno, hint, groups[word - 1] if word else "")
    return TemplateFault(said.rstrip("."), exc.lineno)


def _sentence(exc: BaseException) -> str:
    lines = str(getattr(exc, "message", None) or exc).strip().splitlines()
    return (lines[0] if lines else "").rstrip(".")
