"""How numbers and texts look in reports, and what a failed example is said to have failed by."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from promptchain.lm.secrets import redact
from promptchain.records import whole_text
from promptchain.rounding import fixed

if TYPE_CHECKING:
    from promptchain.results import ExampleResult, State
    from promptchain.statistics import Difference, Interval
    from promptchain.testing import Evaluation

UNKNOWN = "–"

_MANY = 200
"""From so many examples on, a tenth of a percent is more than rounding."""

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
"""Control characters but for tab and line ends, and what is no character: XML 1.0 cannot carry most of them."""


def percent(interval: Interval | None) -> str:
    """A share with its interval.

    >>> from promptchain.statistics import share
    >>> percent(share([1.0] * 30 + [0.0] * 70)), percent(None)
    ('30 % [22–40]', '–')
    """
    if interval is None or not math.isfinite(interval.value):
        return UNKNOWN
    digits = _digits(interval.n)
    low, high = (fixed(100 * own, digits) for own in (interval.low, interval.high))
    return f"{part(interval.value, interval.n)} [{low}–{high}]"


def part(value: float | None, n: int) -> str:
    """A share of `n` examples; never rounded to none or to all of them.

    >>> part(0.625, 10), part(0.999, 10), part(0.999, 1000)
    ('63 %', '>99 %', '99.9 %')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    digits = _digits(n)
    least = 10.0**-digits
    rounded = fixed(100 * value, digits)
    if float(rounded) <= 0 < value:
        return f"<{least:.{digits}f} %"
    if value < 1 and float(rounded) >= 100:
        return f">{100 - least:.{digits}f} %"
    return f"{rounded} %"


def points(difference: Difference | None) -> str:
    """A difference of shares, in percentage points, with its interval and p.

    >>> from promptchain.statistics import Difference
    >>> points(Difference(-0.1, -0.25, 0.05, 40, 0.125, 0, 4))
    '−10 points [−25 to +5], p = 0.12'
    """
    if difference is None or not math.isfinite(difference.value):
        return UNKNOWN
    digits = _digits(difference.n)
    value, low, high = (_signed(100 * own, digits) for own in (difference.value, difference.low, difference.high))
    return f"{value} points [{low} to {high}], {_chance(difference)}"


def mean(interval: Interval | None) -> str:
    """A mean score that is no share of anything, with its interval.

    >>> from promptchain.statistics import Interval
    >>> mean(Interval(0.5, 0.25, 0.75, 10)), mean(None)
    ('0.500 [0.25–0.75]', '–')
    """
    if interval is None or not math.isfinite(interval.value):
        return UNKNOWN
    return f"{fixed(interval.value, 3)} [{fixed(interval.low, 2)}–{fixed(interval.high, 2)}]"


def change(difference: Difference | None) -> str:
    """A difference of mean scores, with its interval and p.

    >>> from promptchain.statistics import Difference
    >>> change(Difference(-0.125, -0.25, 0.05, 40, 0.125, 0, 4))
    '−0.125 [−0.25 to +0.05], p = 0.12'
    """
    if difference is None or not math.isfinite(difference.value):
        return UNKNOWN
    low, high = (_signed(own, 2) for own in (difference.low, difference.high))
    return f"{_signed(difference.value, 3)} [{low} to {high}], {_chance(difference)}"


def _signed(value: float, digits: int) -> str:
    text = fixed(value, digits, sign=True)
    return text[1:] if not float(text) else text.replace("-", "−")


def _chance(difference: Difference) -> str:
    return "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.2g}"


def dollars(cost: float | None) -> str:
    """US dollars.

    >>> dollars(0.0), dollars(0.0123), dollars(12.3), dollars(0.00001), dollars(None)
    ('$0', '$0.0123', '$12.30', '<$0.0001', '–')
    """
    if cost is None or not math.isfinite(cost):
        return UNKNOWN
    if cost == 0:
        return "$0"
    if 0 < cost < 0.0001:
        return "<$0.0001"
    return f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"


def seconds(s: float | None) -> str:
    """A time.

    >>> seconds(0.123), seconds(4.56), seconds(45.6), seconds(125), seconds(None)
    ('0.12 s', '4.6 s', '46 s', '2 min 5 s', '–')
    """
    if s is None or not math.isfinite(s):
        return UNKNOWN
    if round(s) >= 60:
        return f"{round(s) // 60} min {round(s) % 60} s"
    if s >= 9.95:
        return f"{s:.0f} s"
    return f"{s:.1f} s" if s >= 0.995 else f"{s:.2f} s" if s else "0 s"


def _digits(n: int) -> int:
    return 0 if n < _MANY else 1


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 example`, `1,234 examples`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def clean(text: str) -> str:
    """A text as a report may carry it: no secret, no half of a surrogate pair, no control character but tab and
    line ends; each is replaced by U+FFFD."""
    return _UNFIT.sub("\ufffd", whole_text(redact(text)))


def line(text: str, limit: int = 300) -> str:
    """`clean` text on one line of at most `limit` characters."""
    whole = " ".join(clean(text).split())
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def models(evaluation: Evaluation) -> str:
    """The models of an evaluation's steps, each once; empty where no step asks one."""
    return ", ".join(dict.fromkeys(evaluation.models.values()))


def name(evaluation: Evaluation) -> str:
    """`chain on model`, by which reports call an evaluation."""
    asked = models(evaluation)
    return line(f"{evaluation.case.chain.name} on {asked}" if asked else evaluation.case.chain.name)


def failures(result: ExampleResult) -> list[str]:
    """What failed an example, or kept it from being scored, each with its step and its reason; never empty. What the
    first step to fail failed by comes first."""
    found = []
    for check in sorted((*result.failures, *result.errors), key=lambda check: check.assertion.step != result.first):
        own = check.assertion
        place = f"step {own.step}: " if own.step else f"output {own.output}: " if own.output else ""
        metric = f" ({own.metric})" if own.metric else ""
        reason = check.error or (check.verdict.reason if check.verdict else "")
        found.append(f"{place}{own.type}{metric}: {reason}" if reason else f"{place}{own.type}{metric}")
    if result.problem and not any(result.problem in told for told in found):
        found.insert(0, result.problem)
    if not found:
        found.append(f"its score is {result.score:.3g}" if result.score is not None else f"it {result.state}")
    return found


def firsts(evaluation: Evaluation, state: State) -> dict[str, ExampleResult]:
    """The examples of which a try ended so, each with the first such try."""
    found: dict[str, ExampleResult] = {}
    for result in evaluation.results:
        if result.state is state:
            found.setdefault(result.id, result)
    return found
