"""Assertions on what an answer took: its time, its price, its tokens, and how sure the model was of them."""

from __future__ import annotations

import math

from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict, verdict


def latency(subject: Subject, spec: Spec) -> Verdict:
    """The model took at most `threshold` milliseconds."""
    return _at_most(spec, subject.seconds * 1000, "milliseconds", ".0f")


def cost(subject: Subject, spec: Spec) -> Verdict:
    """The calls cost at most `threshold` US dollars. Raises AssertionFault where a price is unknown."""
    if subject.cost is None:
        raise AssertionFault("the cost is unknown: the model has no known price", hint="chain models shows the prices")
    return _at_most(spec, subject.cost, "US dollars", ".4g")


def tokens(subject: Subject, spec: Spec) -> Verdict:
    """Prompt and answer together had at most `threshold` tokens."""
    return _at_most(spec, subject.tokens, "tokens", "d")


def perplexity(subject: Subject, spec: Spec) -> Verdict:
    """The perplexity of the answer, the exponential of its tokens' mean surprise, is at most `threshold`.

    Without one it passes.
    """
    value = _exponential(-_mean(subject))
    limit = math.inf if spec.threshold is None else spec.threshold
    text = f"its perplexity is {value:.2f}"
    return verdict(value <= limit, f"{text}, and should be at most {limit:g}", text)


def perplexity_score(subject: Subject, spec: Spec) -> Verdict:
    """1 / (1 + perplexity), from 0 to one half, is at least `threshold`. Without one it passes."""
    value = 1 / (1 + _exponential(-_mean(subject)))
    passed = spec.threshold is None or value >= spec.threshold
    text = f"its perplexity score is {value:.2f}"
    return Verdict(passed, value, text if passed else f"{text}, and should be at least {spec.threshold:g}")


def _at_most(spec: Spec, value: float, unit: str, form: str) -> Verdict:
    if spec.threshold is None:
        raise AssertionFault(f"{spec.type} needs a threshold", hint=f"threshold: the most {unit} that are fine")
    text = f"it took {value:{form}} {unit}"
    return verdict(value <= spec.threshold, f"{text}, and should take at most {spec.threshold:g}", text)


def _mean(subject: Subject) -> float:
    if not subject.logprobs:
        raise AssertionFault(
            "the model told no log probabilities of its tokens", hint="set params: {logprobs: true} if the model can"
        )
    return sum(subject.logprobs) / len(subject.logprobs)


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


USAGE: dict[str, Check] = {
    "latency": latency,
    "cost": cost,
    "tokens": tokens,
    "perplexity": perplexity,
    "perplexity-score": perplexity_score,
}
