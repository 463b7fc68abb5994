"""The tools of the chain `agent`: a calculator, and the price list of a stationery shop."""

from __future__ import annotations

import ast
import csv
import math
import operator
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

PRICES = Path(__file__).with_name("prices.csv")
"""The price list: item, price in euros, pieces in stock."""

MAX_EXPRESSION = 200
"""Characters of an expression."""


def _power(base: float, exponent: float) -> float:
    if base < 0 and not exponent.is_integer():
        raise ValueError("a root of a negative number is no real number")
    return float(base**exponent)


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def calculate(expression: str) -> float:
    """Work out an arithmetic expression of numbers, + - * / // % ** and parentheses, such as "3 * (1.40 + 2.10)".

    The result is rounded to 10 decimals. Raises ValueError for anything else, and for what is no finite number.
    """
    text = _text(expression, 'an expression, for example "3 * 1.40"')
    if len(text) > MAX_EXPRESSION:
        raise ValueError(f"the expression has {len(text)} characters, and at most {MAX_EXPRESSION} are allowed")
    if "," in text:
        raise ValueError("write numbers without commas: 1200.50, not 1,200.50")
    if strange := re.search(r"[^0-9.+\-*/%() ]", text):
        raise ValueError(f"{strange[0]!r} is not allowed; write numbers, + - * / // % ** and parentheses only")
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        raise ValueError(f"{text!r} is not an arithmetic expression") from None
    try:
        result = _value(tree.body)
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero") from None
    except OverflowError:
        raise ValueError(f"the result of {text!r} is too large") from None
    if not math.isfinite(result):
        raise ValueError(f"the result of {text!r} is too large")
    return round(result, 10)


def lookup(item: str) -> dict[str, str | float | int]:
    """Look up an item of the shop: its name, its price in euros and how many pieces are in stock.

    Case and plural do not matter. Raises ValueError with the nearest names where there is no such item.
    """
    name = _text(item, 'an item, for example "notebook"')
    rows = _rows()
    row = rows.get(_key(name))
    if row is None:
        near = get_close_matches(_key(name), rows, n=3, cutoff=0.5)
        names = ", ".join(repr(rows[key]["item"]) for key in near)
        raise ValueError(f"there is no item {name!r}; " + (f"the nearest are: {names}" if near else "try another name"))
    return {"item": row["item"], "price": float(row["price"]), "stock": int(row["stock"])}


def _text(given: object, wanted: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"give {wanted}")
    return given.strip()


def _value(node: ast.AST) -> float:
    """All in floats, in which a power is worked out in an instant or overflows."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(f"{ast.unparse(node)!r} is no arithmetic; write every * and use no names")


def _rows() -> dict[str, dict[str, str]]:
    """The price list by key; read each time, as it is short and may change."""
    with PRICES.open(encoding="utf-8", newline="") as file:
        return {_key(row["item"]): row for row in csv.DictReader(file)}


def _key(name: str) -> str:
    """A name without case, articles, signs and what a plural adds.

    >>> _key("The Batteries") == _key("battery"), _key("pencil-cases") == _key("Pencil case")
    (True, True)
    """
    words = re.findall(r"\w+", name.casefold())
    return " ".join(_stem(word) for word in words if word not in ("a", "an", "the"))


def _stem(word: str) -> str:
    if word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("e"):
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word
