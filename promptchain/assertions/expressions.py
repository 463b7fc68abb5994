"""The assertion `python` as an expression, and what its result, or a function's, says of an output.

Expressions come with a chain, which may be a stranger's: they see JSON and a few functions, and are bounded in time and
memory.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.text import parsed, sentence, shown
from promptchain.schema import keywords

if TYPE_CHECKING:
    from simpleeval import EvalWithCompoundTypes

MAX_EXPRESSION = 10_000
MAX_STEPS = 100_000
MAX_SECONDS = 2.0
MAX_MADE = 2_000_000
"""Items, those in items too, and eights of characters that all parts of an expression may make together: a list that
holds another a thousand times is small in memory, and takes long to compare."""

MAX_BITS = 4096
"""Of a whole number."""


def expression(subject: Subject, spec: Spec) -> Verdict:
    """What a Python expression says of the output: see `verdict_of`. It may name `output`, and the subject's values.

    Raises AssertionFault, in one line, for one that fails, or that takes more time or memory than it may.
    """
    tree = syntax(spec.value)
    names = {**subject.values, "output": subject.output, "True": True, "False": False, "None": None}
    try:
        result = _evaluator(names).eval(spec.value, tree)
    except Exception as error:  # whatever the expression does wrong
        raise AssertionFault(f"{shown(spec.value)} failed: {_message(error)}") from error
    return verdict_of(result, spec)


def syntax(source: Any) -> ast.expr:
    """The expression that a text is. Raises AssertionFault for what is none."""
    if not isinstance(source, str) or not source.strip():
        raise AssertionFault(f"python needs an expression, not {shown(source)}", hint="such as: len(output) < 200")
    if len(source) > MAX_EXPRESSION:
        raise AssertionFault(f"an expression may be {MAX_EXPRESSION:,} characters long, and this has {len(source):,}")
    try:
        return ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        hint = "statements go into a function: value: module:function"
        raise AssertionFault(f"{shown(source)} is not an expression: {_message(error)}", hint=hint) from error


def _message(error: BaseException) -> str:
    """As the last line of a traceback has it; what the evaluator itself refuses without its own name for it."""
    if isinstance(error, SyntaxError):
        return sentence(error.msg)
    name, text = type(error).__name__, sentence(str(error), 200)
    if type(error).__module__ != "builtins":
        return text or name
    return f"{name}: {text}" if text else name


# -- what a result says ------------------------------------------------------------------------------------------------


def verdict_of(result: Any, spec: Spec) -> Verdict:
    """What a result of code says: true or false; a score in [0, 1], which passes from `threshold` on, or above 0
    without one; or a mapping of `pass` (or `pass_`), `score` and `reason`, where one of the first two is enough.

    As text they are read too ("true", "0.5", JSON). Raises AssertionFault for any other result.
    """
    value = _from_text(result) if isinstance(result, str) else result
    if isinstance(value, bool):
        return _told(value, float(value), "")
    if isinstance(value, int | float):
        return _scored(value, spec, "")
    if isinstance(value, Mapping):
        return _graded(value, spec)
    raise AssertionFault(f"the code gave {shown(result)}", hint="it must give true or false, a score, or {pass, score}")


def _from_text(text: str) -> Any:
    bare = text.strip()
    if bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    try:
        return parsed(bare)
    except ValueError:
        return None


def _told(passed: bool, score: float, reason: str) -> Verdict:
    return Verdict(passed, score, reason or f"the code says {'true' if passed else 'false'}")


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        hint = "compare a number: len(output) < 200" if isinstance(value, int) else None
        raise AssertionFault(f"the code gave {shown(value)}, and a score is between 0 and 1", hint=hint)
    return float(value)


def _scored(value: int | float, spec: Spec, reason: str) -> Verdict:
    score = _score(value)
    if spec.threshold is None:
        return _told(score > 0, score, reason or f"its score is {score:g}")
    below = f"its score is {score:g}, and should be at least {spec.threshold:g}"
    passed = score >= spec.threshold
    return _told(passed, score, reason if passed else f"{below}: {reason}" if reason else below)


def _graded(value: Mapping[Any, Any], spec: Spec) -> Verdict:
    passed = value.get("pass", value.get("pass_"))
    reason = value.get("reason")
    reason = sentence(reason, 1000) if isinstance(reason, str) else ""
    if passed is None and value.get("score") is not None:
        return _scored(value["score"], spec, reason)
    if not isinstance(passed, bool):
        raise AssertionFault(f"the code gave {shown(dict(value))}", hint="`pass` must be true or false")
    score = float(passed) if value.get("score") is None else _score(value["score"])
    if spec.threshold is not None and score < spec.threshold:
        return _scored(score, spec, reason)
    return _told(passed, score, reason)


# -- evaluation --------------------------------------------------------------------------------------------------------

_TEXT_METHODS = keywords(
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace "
    "istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit "
    "rstrip split splitlines startswith strip swapcase title upper"
)
_METHODS: dict[type, frozenset[str]] = {
    str: _TEXT_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    set: frozenset({"difference", "intersection", "isdisjoint", "issubset", "issuperset", "union"}),
}


def _evaluator(names: Mapping[str, Any]) -> EvalWithCompoundTypes:
    from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes, FeatureNotAvailable  # with all it imports, 0.02 s

    class Bounded(EvalWithCompoundTypes):  # type: ignore[misc]
        """simpleeval, which bounds single operations only, with bounds for the whole; and only methods that are known
        to be harmless."""

        steps, made, deadline = 0, 0, time.monotonic() + MAX_SECONDS

        def _eval(self, node: ast.AST) -> Any:
            self.steps += 1
            if self.steps > MAX_STEPS or time.monotonic() > self.deadline:
                raise FeatureNotAvailable("it takes too long")
            handler = self.nodes.get(type(node))
            if handler is None:
                raise FeatureNotAvailable(f"{type(node).__name__} cannot be used in an expression")
            result = handler(node)
            taken = isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice)
            if not taken and not isinstance(node, ast.Name | ast.Constant | ast.Attribute):
                self.made += _size(result)
                if self.made > MAX_MADE:
                    raise FeatureNotAvailable("it makes too much")
            return result

        def _eval_attribute(self, node: ast.Attribute) -> Any:
            value = self._eval(node.value)
            if isinstance(value, Mapping) and node.attr in value:
                return value[node.attr]
            if node.attr in _METHODS.get(type(value), ()):
                return _bounded_method(value, node.attr)
            raise FeatureNotAvailable(f"a {type(value).__name__} has no {node.attr!r} here")

        def _eval_formattedvalue(self, node: ast.FormattedValue) -> Any:
            if node.format_spec or node.conversion != -1:
                raise FeatureNotAvailable("formats cannot be used in an expression")
            return _text(self._eval(node.value))

    functions = dict(_FUNCTIONS)
    evaluator = Bounded(operators={**DEFAULT_OPERATORS, **_OPERATORS}, functions=functions, names=dict(names))
    evaluator.functions = functions  # without those that it adds
    evaluator.nodes = {kind: handler for kind, handler in evaluator.nodes.items() if kind is not ast.Assign}
    return evaluator


def _size(value: Any) -> int:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError("a number is too large")
    return _total(value, MAX_MADE)


def _bounded_method(value: Any, name: str) -> Callable[..., Any]:
    """A method; those that can make much out of little are looked at before."""
    method: Callable[..., Any] = getattr(value, name)
    if name == "replace":

        def replaced(old: str, new: str, count: int = -1) -> Any:
            _allow((value.count(old) if count < 0 else count) * max(0, len(new) - len(old)) // 8)
            return method(old, new, count)

        return replaced
    if name == "join":

        def joined(parts: Iterable[str]) -> Any:
            texts = list(parts)
            _allow((sum(map(len, texts)) + len(value) * len(texts)) // 8)
            return method(texts)

        return joined
    return method


def _allow(size: int) -> None:
    if size > MAX_MADE:
        raise ValueError("it makes too much")


def _whole(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{shown(value)} is not a whole number from {least} to {most}")
    return int(value)


def _numbers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation for numbers alone."""

    def operation(left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError(f"{shown(left)} and {shown(right)} are not both numbers")
        return function(left, right)

    return operation


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base).bit_length() * exponent > MAX_BITS:
        raise ValueError("a number is too large")
    return base**exponent


def _multiply(left: Any, right: Any) -> Any:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int):
            _allow(len(value) * max(0, times) // (8 if isinstance(value, str) else 1))
    return left * right


def _add(left: Any, right: Any) -> Any:
    _allow(_size(left) + _size(right))
    return left + right


def _shift(left: Any, right: Any) -> Any:
    return left << _whole(right, 0, MAX_BITS)


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _add,
    ast.Mult: _multiply,
    ast.Pow: _numbers(_power),
    ast.Mod: _numbers(operator.mod),  # of a text, it is a format
    ast.LShift: _shift,
}


def _text(value: Any) -> str:
    """A value as text. What holds others is written as JSON, so that it is no longer than they are."""
    if value is None or isinstance(value, str | int | float):
        return str(value)
    if _total(value, MAX_MADE) > MAX_MADE:
        raise ValueError("it makes too much")
    return json.dumps(sorted(value) if isinstance(value, set) else value, ensure_ascii=False, default=list)


def _total(value: Any, most: int) -> int:
    """How much a value holds; it stops counting beyond `most`."""
    if not isinstance(value, list | tuple | set | dict):
        return len(value) // 8 + 1 if isinstance(value, str) else 1
    total = 1
    for part in [*value.items()] if isinstance(value, dict) else value:
        total += _total(part, most - total)
        if total > most:
            break
    return total


def _round(value: Any, digits: Any = None) -> Any:
    return round(value) if digits is None else round(value, _whole(digits, -400, 400))


def _sum(values: Iterable[Any]) -> Any:
    return sum(values)


def _int(value: Any) -> int:
    return int(value)


def _float(value: Any) -> float:
    number = float(value)
    if math.isnan(number):
        raise ValueError(f"{shown(value)} is not a number")
    return number


def _set(values: Iterable[Any] = ()) -> set[Any]:
    return set(values)


def _list(values: Iterable[Any] = ()) -> list[Any]:
    return list(values)


def _sorted(values: Iterable[Any], reverse: bool = False) -> list[Any]:
    return sorted(values, reverse=reverse)


def _least(*values: Any) -> Any:
    return min(*values)


def _most(*values: Any) -> Any:
    return max(*values)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "bool": bool,
    "float": _float,
    "int": _int,
    "len": len,
    "list": _list,
    "max": _most,
    "min": _least,
    "round": _round,
    "set": _set,
    "sorted": _sorted,
    "str": _text,
    "sum": _sum,
}
