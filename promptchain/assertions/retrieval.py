"""Assertions on how well passages were found: recall, reciprocal rank, discounted gain.

What is compared are sources, not texts. `value` says which sources should be found: one, or a list of them; each is
`PATH` (any passage of the file will do), `PATH:LINE` or `PATH#HEADING` (that passage alone), or `{source: …, grade: …}`
where some are worth more than others (for `ndcg`). The formulas, and what counts where nothing is expected, are those
of `retrieval.scores`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict
from promptchain.model import describe
from promptchain.retrieval import scores
from promptchain.rounding import fixed

_ROUNDING = 1e-9
_SHOWN = 3
"""Sources that a reason names."""

_PLACE = re.compile(r"(?P<file>.+?)(?::\d+|#.+)", re.DOTALL)


def recall(subject: Subject, spec: Spec) -> Verdict:
    """The share of what is expected that is among the first `k` sources; without `k`, among all. It passes from
    `threshold` on; without one where all is found."""
    found, wanted = ranked(subject.output, spec.value)
    first = found[: _cut_off(spec)]
    score = scores.recall_at(max(1, len(first)))(first, wanted)
    lost = [source for source in _worth(wanted) if source not in first]
    reason = f"it found {len(_worth(wanted)) - len(lost)} of {_expected(wanted)}"
    return _scored(score, spec, f"{reason}, not {_some(lost)}" if lost else reason)


def mrr(subject: Subject, spec: Spec) -> Verdict:
    """One divided by the rank of the first source that is expected, 0 where none is among the first `k`. Without a
    `threshold` it passes where that rank is 1. The mean over examples is the MRR."""
    found, wanted = ranked(subject.output, spec.value)
    score = scores.mrr(found[: _cut_off(spec)], wanted)
    if not _worth(wanted):
        return _scored(score, spec, f"it found {len(found)} of {_expected(wanted)}")
    if not score:
        return _scored(score, spec, f"it found none of {_expected(wanted)}")
    return _scored(score, spec, f"the first expected source has rank {round(1 / score)}")


def ndcg(subject: Subject, spec: Spec) -> Verdict:
    """The normalised discounted cumulated gain of the first `k` sources, or of all. Without a `threshold` it passes
    where no order would be better."""
    found, wanted = ranked(subject.output, spec.value)
    score = scores.ndcg(found, wanted, _cut_off(spec))
    return _scored(score, spec, f"it has {fixed(score, 2)} of the gain that the best order of {_expected(wanted)} has")


def _scored(score: float, spec: Spec, reason: str) -> Verdict:
    least = 1.0 if spec.threshold is None else spec.threshold
    return Verdict(score >= least - _ROUNDING, score, reason)


def _cut_off(spec: Spec) -> int | None:
    cut = spec.options.get("k")
    if cut is None or (isinstance(cut, int) and not isinstance(cut, bool) and cut >= 1):
        return cut
    raise AssertionFault(f"k must be a whole number from 1 up, not {cut if isinstance(cut, int) else describe(cut)}")


def ranked(output: Any, value: Any) -> tuple[list[str], dict[str, float]]:
    """What was found, best first and each once, in the words of what is expected; and that with its grades. output: of
    a step. value: of an assertion. Raises AssertionFault."""
    wanted = expected(value)
    passages = list(_passages(output))
    if passages and not any(passage["source"] for passage in passages):
        raise AssertionFault("none of the passages has a source", hint='give each as {"text": …, "source": …}')
    exact = any(_PLACE.fullmatch(name) for name in wanted)
    found: dict[str, None] = {}
    for passage in passages:
        own = [name for name in names(passage) if name in wanted]
        other = f"{passage['source']}:{passage.get('line')}" if exact else passage["source"]
        found[next((name for name in own if name not in found), own[0] if own else other)] = None
    return list(found), wanted


def expected(value: Any) -> dict[str, float]:
    """The expected sources with their grades: 1 where none is given. A cell of CSV may hold the list as JSON. Raises
    AssertionFault."""
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    found = {}
    for item in value if isinstance(value, list | tuple) else [value]:
        source, grade = (item.get("source"), item.get("grade", 1)) if isinstance(item, Mapping) else (item, 1)
        if not isinstance(source, str) or not source:
            hint = "a source such as chains/help/refund.md, a list of them, or of {source: …, grade: 2}"
            raise AssertionFault(f"the value must be sources that should be found, not {describe(item)}", hint=hint)
        if isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 <= grade < math.inf:
            shown = grade if isinstance(grade, int | float) and not isinstance(grade, bool) else describe(grade)
            raise AssertionFault(f"the grade of '{source}' must be a number from 0 up, not {shown}")
        found[_plain(source)] = float(grade)
    return found


def files(source: str) -> tuple[str, ...]:
    """The files that an expected source may be in: what it says, and that without a line or a heading.

    >>> files("a.md#Lost"), files("a.md")
    (('a.md#Lost', 'a.md'), ('a.md',))
    """
    match = _PLACE.fullmatch(source)
    return (source, match["file"]) if match else (source,)


def _plain(source: str) -> str:
    """A source as it is compared: `./a.md` is a.md."""
    return source.removeprefix("./") or source


def _passages(output: Any) -> Iterator[Mapping[str, Any]]:
    """The passages of an output, best first; of a list of rankings, as a `for_each` gives them, all first ones, then
    all second ones, and so on. A text is a source. Raises AssertionFault."""
    if output is None:  # a step that was not needed, or an item that failed
        return
    if not isinstance(output, list | tuple):
        hint = 'name them with `transform`, for example "{{ output.passages }}"'
        raise AssertionFault(f"it needs a list of passages, not {describe(output)}", hint=hint)
    if any(isinstance(item, list | tuple) for item in output):
        rankings = [list(_passages(item)) for item in output]
        yield from (passage for passage in chain.from_iterable(zip_longest(*rankings)) if passage is not None)
        return
    for number, item in enumerate(output, 1):
        if isinstance(item, Mapping) and isinstance(item.get("source", ""), str):
            yield {**item, "source": _plain(item.get("source", ""))}
        elif isinstance(item, str):
            yield {"source": _plain(item)}
        elif item is not None:
            raise AssertionFault(f"number {number} of the list is no passage: {describe(item)}")


def names(passage: Mapping[str, Any]) -> Iterator[str]:
    """What a passage may be called by, the most exact name first."""
    source, meta = passage["source"], passage.get("meta")
    section = meta.get("section") if isinstance(meta, Mapping) else None
    if passage.get("line") is not None:
        yield f"{source}:{passage['line']}"
    if isinstance(section, str) and section:
        yield f"{source}#{section}"
        yield f"{source}#{section.rpartition(' > ')[2]}"
    yield source


def _worth(wanted: Mapping[str, float]) -> list[str]:
    """The sources of a grade above 0."""
    return [source for source, grade in wanted.items() if grade > 0]


def _expected(wanted: Mapping[str, float]) -> str:
    number = len(_worth(wanted))
    return f"{number} expected source{'' if number == 1 else 's'}" if number else "nothing expected"


def _some(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - _SHOWN} more" if len(sources) > _SHOWN else ""
    return ", ".join(sources[:_SHOWN]) + more


RETRIEVAL: dict[str, Check] = {"recall": recall, "mrr": mrr, "ndcg": ndcg}
"""Assertions about passages, by their names."""
