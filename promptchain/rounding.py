"""How numbers are rounded for people: one way for the terminal, texts and pages (`reports/html/assets/text.js`)."""

from __future__ import annotations

import math

_NEARLY = 1e-9
"""What binary fractions lack of the half that they mean: 100 * 0.145 is 14.499999999999998."""


def fixed(value: float, digits: int, *, sign: bool = False) -> str:
    """`value` with so many decimals; a half goes away from zero, as at school. sign: also before what is not
    negative. No zero is negative.

    >>> fixed(62.5, 0), fixed(100 * 0.145, 0), fixed(-0.125, 2), fixed(-0.04, 1), fixed(5, 1, sign=True)
    ('63', '15', '-0.13', '0.0', '+5.0')
    """
    if not math.isfinite(value):
        return str(value)
    scale = 10**digits
    whole = math.floor(abs(value) * scale + 0.5 + _NEARLY)
    text = f"{whole / scale:.{digits}f}"
    return f"-{text}" if value < 0 and whole else f"+{text}" if sign else text
