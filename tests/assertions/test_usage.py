"""Assertions on time, price, tokens and probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.usage import USAGE


def check(name: str, threshold: float | None = None, **subject: Any) -> Verdict:
    return USAGE[name](Subject("", **subject), Spec(name, threshold=threshold))


@pytest.mark.parametrize(
    ("name", "threshold", "subject", "passed"),
    [
        ("latency", 100, {"seconds": 0.1}, True),
        ("latency", 99, {"seconds": 0.1}, False),
        ("cost", 0.01, {"cost": 0.01}, True),
        ("cost", 0.01, {"cost": 0.011}, False),
        ("cost", 0, {"cost": 0.0}, True),
        ("tokens", 10, {"tokens": 10}, True),
        ("tokens", 10, {"tokens": 11}, False),
        ("perplexity", None, {"logprobs": (-5.0,)}, True),
        ("perplexity", 2.01, {"logprobs": (math.log(0.5), math.log(0.5))}, True),
        ("perplexity", 1.99, {"logprobs": (math.log(0.5),)}, False),
        ("perplexity-score", None, {"logprobs": (-5.0,)}, True),
        ("perplexity-score", 0.33, {"logprobs": (math.log(0.5),)}, True),
        ("perplexity-score", 0.34, {"logprobs": (math.log(0.5),)}, False),
    ],
)
def test_thresholds(name: str, threshold: float | None, subject: dict[str, Any], passed: bool) -> None:
    assert check(name, threshold, **subject).passed is passed


def test_the_reason_tells_what_it_took() -> None:
    assert check("latency", 50, seconds=0.1).reason == "it took 100 milliseconds, and should take at most 50"
    assert check("cost", 0.001, cost=0.0125).reason == "it took 0.0125 US dollars, and should take at most 0.001"
    assert check("tokens", 5, tokens=7).reason == "it took 7 tokens, and should take at most 5"
    assert check("perplexity", 1, logprobs=(-1.0,)).reason == "its perplexity is 2.72, and should be at most 1"


def test_the_score_of_perplexity_is_its_share() -> None:
    assert check("perplexity-score", 0.5, logprobs=(0.0,)).score == 0.5
    assert check("perplexity-score", logprobs=(-1000.0,)).score == 0.0


@pytest.mark.parametrize(
    ("name", "subject", "fault", "hint"),
    [
        ("latency", {}, "needs a threshold", "milliseconds"),
        ("tokens", {}, "needs a threshold", "tokens"),
        ("cost", {"cost": 1.0}, "needs a threshold", "US dollars"),
        ("cost", {}, "the cost is unknown", "chain models"),
        ("perplexity", {}, "no log probabilities", "params: {logprobs: true}"),
        ("perplexity-score", {}, "no log probabilities", "params: {logprobs: true}"),
    ],
)
def test_what_cannot_be_told_is_a_fault(name: str, subject: dict[str, Any], fault: str, hint: str) -> None:
    with pytest.raises(AssertionFault, match=fault) as caught:
        check(name, **subject)
    assert hint in (caught.value.hint or "")
