"""How numbers are rounded: alike on the terminal, in texts and on pages."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.cli import test_view as terminal
from promptchain.reports import numbers
from promptchain.rounding import fixed
from promptchain.statistics import Difference, Interval
from tests import chromium

HALVES = [0.625, 0.145, 0.005, 0.285, 0.575, 0.375, 0.9949, 0.995, 0.0049, 1.0, 0.0, -0.625, -0.004]


@pytest.mark.parametrize(
    ("value", "digits", "told"),
    [
        (62.5, 0, "63"),
        (-62.5, 0, "-63"),
        (100 * 0.145, 0, "15"),
        (0.0005, 3, "0.001"),
        (-0.4, 0, "0"),
        (0.25, 1, "0.3"),
    ],
)
def test_a_half_goes_away_from_zero(value: float, digits: int, told: str) -> None:
    assert fixed(value, digits) == told


@given(st.floats(-1000, 1000), st.integers(0, 3))
def test_what_is_rounded_is_as_near_as_it_can_be(value: float, digits: int) -> None:
    assert abs(float(fixed(value, digits)) - value) <= 0.5 / 10**digits + 1e-8
    assert float(fixed(value, digits, sign=True)) == float(fixed(value, digits))


def test_the_terminal_and_texts_say_the_same() -> None:
    score = Interval(0.625, 0.245, 0.865, 8)
    assert terminal.share(score) == numbers.percent(score) == "63 % [25–87]"
    assert numbers.mean(Interval(0.0625, 0.125, 0.375, 8)) == "0.063 [0.13–0.38]"
    assert numbers.points(Difference(-0.125, -0.625, 0.125, 8, 0.5, 0, 1)) == "−13 points [−63 to +13], p = 0.5"
    assert terminal.points(0.0625) == "+6.3 points"


@pytest.mark.skipif(chromium.FOUND is None, reason=chromium.WHY_NOT)
def test_pages_round_as_the_terminal_does() -> None:
    script = resources.files("promptchain.reports.html").joinpath("assets", "text.js").read_text("utf-8")
    asked = json.dumps([[100 * value, digits] for value in HALVES for digits in (0, 1)])
    shares = json.dumps([value for value in HALVES if value >= 0])
    with chromium.browser() as browser:
        rounded, told, spans = browser.run(
            f"(() => {{ {script}; return [{asked}.map(([value, digits]) => fixed(value, digits)),"
            f" {shares}.map((value) => share(value, 8)), range({{ low: 0.245, high: 0.865 }})]; }})()"
        )
    assert rounded == [fixed(100 * value, digits) for value in HALVES for digits in (0, 1)]
    assert told == [numbers.part(value, 8) for value in HALVES if value >= 0]
    assert spans == "25–87 %"
