"""The tools of the chain `agent`: what they work out and find, and what they say of anything else."""

from __future__ import annotations

import math
import operator
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.agent import tools
from chains.agent.tools import MAX_EXPRESSION, calculate, lookup
from tests.patience import at_most


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("3 * (1.40 + 2.10)", 10.5),
        (" 12*3.20\n", 38.4),
        ("0.1 + 0.2", 0.3),
        ("2 ** 10", 1024),
        ("-2 ** 2", -4),
        ("+5 - -3", 8),
        ("7 // 2 + 7 % 2", 4),
        (".5", 0.5),
        ("2 ** -1", 0.5),
        ("(" * 90 + "1" + ")" * 90, 1),
    ],
)
def test_arithmetic(expression: str, result: float) -> None:
    assert calculate(expression) == result
    assert isinstance(calculate(expression), float)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", 'give an expression, for example "3 * 1.40"'),
        (" \n", "give an expression"),
        (None, "give an expression"),
        (3, "give an expression"),
        ("1 / 0", "'1 / 0' divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("5 % 0", "divides by zero"),
        ("9 ** 9 ** 9", "is too large"),
        ("9" * 150 + "*" + "9" * 40 + "** 6", "is too large"),
        ("(-8) ** .5", "a root of a negative number"),
        ("1,200 * 3", "write numbers without commas"),
        ("2 ^ 3", "'^' is not allowed"),
        ("__import__('os')", "'_' is not allowed"),
        ("1e999", "'e' is not allowed"),
        ("١ + 1", "'١' is not allowed"),
        ("1\0", "is not allowed"),
        ("1 +\n2", "is not allowed"),
        ("3 * 1.40 =", "'=' is not allowed"),
        ("3 *", "'3 *' is not an arithmetic expression"),
        ("1.2.3", "is not an arithmetic expression"),
        ("(" * 90, "is not an arithmetic expression"),
        ("3(4)", "'3(4)' is no arithmetic; write every *"),
        ("()", "is no arithmetic"),
        ("*1", "arithmetic"),
        ("1+" * MAX_EXPRESSION, f"has {2 * MAX_EXPRESSION} characters, and at most {MAX_EXPRESSION} are allowed"),
    ],
)
def test_what_is_no_arithmetic_is_told(expression: Any, says: str) -> None:
    with at_most(1), pytest.raises(ValueError, match=re.escape(says)):
        calculate(expression)


@given(st.text(st.sampled_from("0123456789.+-*/%() "), max_size=MAX_EXPRESSION))
def test_any_expression_gives_a_number_or_a_message(expression: str) -> None:
    with suppress(ValueError):
        assert math.isfinite(calculate(expression))


_SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@given(st.integers(-999, 999), st.sampled_from(sorted(_SIGNS)), st.integers(-999, 999))
def test_it_is_what_python_says(left: int, sign: str, right: int) -> None:
    assert calculate(f"({left}) {sign} ({right})") == _SIGNS[sign](left, right)


@pytest.mark.parametrize(
    ("asked", "item"),
    [
        ("notebook", "notebook"),
        ("Notebooks", "notebook"),
        (" the  DESK-LAMPS ", "desk lamp"),
        ("a pen", "pen"),
        ("pencil cases", "pencil case"),
        ("batteries", "battery"),
        ("paint brushes", "paint brush"),
        ("water glasses", "water glass"),
        ("boxes of staples", "box of staples"),
        ("scissors", "scissors"),
    ],
)
def test_an_item_is_found_whatever_its_case_and_number(asked: str, item: str) -> None:
    assert lookup(asked)["item"] == item


def test_an_item_has_a_price_and_a_stock() -> None:
    assert lookup("stapler") == {"item": "stapler", "price": 7.9, "stock": 18}
    assert lookup("paint brush")["stock"] == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("note book", "there is no item 'note book'; the nearest are: 'notebook'"),
        ("lamp", "'desk lamp'"),
        ("zzzz", "there is no item 'zzzz'; try another name"),
        ("../prices.csv", "there is no item"),
        ("", 'give an item, for example "notebook"'),
        (None, "give an item"),
        (7, "give an item"),
        ("!", "try another name"),
    ],
)
def test_an_item_that_is_not_there_is_told_with_the_nearest(asked: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        lookup(asked)


def test_every_item_of_the_list_has_a_key_of_its_own() -> None:
    lines = tools.PRICES.read_text(encoding="utf-8").splitlines()[1:]
    names = [line.split(",")[0] for line in lines]
    assert [lookup(name)["item"] for name in names] == names


def test_the_list_is_read_when_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = tmp_path / "prices.csv"
    monkeypatch.setattr(tools, "PRICES", prices)
    for price in (1.0, 2.0):
        prices.write_text(f"item,price,stock\nkite,{price},3\n")
        assert lookup("kites")["price"] == price
