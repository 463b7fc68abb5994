"""Assertions on how near an output is to a text: edit distance, and words in common.

The numbers are promptfoo's. rouge-score's are others, since it leaves punctuation out; sacrebleu's differ a little,
since it smooths otherwise. So rouge-n and bleu are computed here.
"""

from __future__ import annotations

import math
import re
import string
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.text import JS_SPACES, shown, text_of, wrong_value
from promptchain.rounding import fixed

MAX_COMPARED = 100_000
"""Characters of texts whose distance is told; of longer ones only whether it is within the threshold."""

MAX_EFFORT = 10**11
"""Characters × distance, for texts that are longer."""


def levenshtein(subject: Subject, spec: Spec) -> Verdict:
    """At most `threshold` (5) characters must be put in, taken out or changed to get from the output to the value."""
    text, value = text_of(subject), spec.value
    if not isinstance(value, str):
        raise wrong_value(spec, "a text")
    limit = 5.0 if spec.threshold is None else spec.threshold
    distance = _distance(text, value, limit)
    told = f"it is {distance} away" if distance is not None else f"it is more than {limit:g} away"
    passed = distance is not None and distance <= limit
    return verdict(passed, f"{told} from {shown(value)}, at most {limit:g} is asked for: {shown(text)}", told)


def _distance(left: str, right: str, limit: float) -> int | None:
    """None for a distance above the limit between texts that are long."""
    from rapidfuzz.distance import Levenshtein

    if max(len(left), len(right)) <= MAX_COMPARED // 10:
        return int(Levenshtein.distance(_units(left), _units(right)))
    most = max(0, math.floor(min(limit, 2**40)))
    if abs(len(left) - len(right)) > 2 * most:
        return None
    if max(len(left), len(right)) * min(most, len(left), len(right)) > MAX_EFFORT:
        raise AssertionFault("the texts are too long to be compared by levenshtein", hint="lower the threshold")
    distance = int(Levenshtein.distance(_units(left), _units(right), score_cutoff=most))
    return distance if distance <= most else None


def _units(text: str) -> Any:
    """What JavaScript counts as characters: UTF-16's units, of which an emoji has two."""
    if all(char <= "\uffff" for char in text):
        return text
    return array("H", text.encode("utf-16-le", "surrogatepass"))


# -- n-grams -----------------------------------------------------------------------------------------------------------


def rouge_n(subject: Subject, spec: Spec) -> Verdict:
    """ROUGE-1, as F1, between the output and the value is at least `threshold` (0.75).

    Lin 2004, "ROUGE: A package for automatic evaluation of summaries". Words are those of the Penn Treebank, in lower
    case; a word counts as often as both texts have it.
    """
    reference = spec.value
    if not isinstance(reference, str):
        raise wrong_value(spec, "a text")
    words, expected = treebank(text_of(subject).lower()), treebank(reference.lower())
    return _graded("ROUGE-1", _f1(words, expected), spec, 0.75, reference)


def bleu(subject: Subject, spec: Spec) -> Verdict:
    """BLEU-4 between the output and the value, or the best of a list, is at least `threshold` (0.5).

    Papineni et al. 2002, "BLEU: a method for automatic evaluation of machine translation". Words are what stands
    between white space, in lower case; orders that are longer than the output are left out; none in common count as
    1e-7.
    """
    references = [spec.value] if isinstance(spec.value, str) else spec.value
    if not isinstance(references, list) or not references or not all(isinstance(one, str) for one in references):
        raise wrong_value(spec, "a text or a list of texts")
    score = _bleu(_words(text_of(subject)), [_words(reference) for reference in references])
    return _graded("BLEU", score, spec, 0.5, spec.value)


def f1(subject: Subject, spec: Spec) -> Verdict:
    """The F1 of the words of the output and of the value, or the best of a list, is at least `threshold` (0.5).

    As in SQuAD (Rajpurkar et al. 2016): in lower case, without punctuation and articles. Two texts without words are
    equal.
    """
    references = spec.value if isinstance(spec.value, list) else [spec.value]
    if not references or not all(isinstance(one, str) for one in references):
        raise wrong_value(spec, "a text or a list of texts")
    words = _squad(text_of(subject))
    best = max(_f1(words, expected, empty=1.0) for expected in map(_squad, references))
    return _graded("F1", best, spec, 0.5, spec.value)


def _graded(name: str, score: float, spec: Spec, default: float, expected: Any) -> Verdict:
    threshold = default if spec.threshold is None else spec.threshold
    passed = score >= threshold
    told = f"its {name} with {shown(expected)} is {fixed(score, 2)}"
    return Verdict(passed, score, told if passed else f"{told}, and should be at least {threshold:g}")


def _f1(words: Sequence[str], expected: Sequence[str], empty: float = 0.0) -> float:
    if not words or not expected:
        return empty if not words and not expected else 0.0
    common = (Counter(words) & Counter(expected)).total()
    if common == 0:
        return 0.0
    low, high = sorted((common / len(words), common / len(expected)))
    return low if low == high else min(high, low * (2 / (1 + low / high)))  # rounded as promptfoo does


def _bleu(words: list[str], references: list[list[str]]) -> float:
    if not any(words):
        return 0.0
    logs = []
    for order in range(1, min(4, len(words)) + 1):
        grams = _ngrams(words, order)
        common = max((grams & _ngrams(reference, order)).total() for reference in references)
        logs.append(math.log(common / grams.total() or 1e-7))
    nearest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(words)), length))
    penalty = 1.0 if len(words) > nearest else math.exp(1 - nearest / len(words))
    return min(1.0, penalty * math.exp(sum(logs) / len(logs)))


def _ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


# -- words -------------------------------------------------------------------------------------------------------------

_SPACES = re.compile(f"[{JS_SPACES}]+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    """What stands between white space; one empty word where there is nothing, as JavaScript splits."""
    return _SPACES.sub(" ", text.lower()).strip(" ").split(" ")


def _squad(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


_QUOTE = re.compile("``|''|\"")
_MARKS = (  # in this order, as in the Treebank's own script (Robert MacIntyre, 1995)
    (re.compile(r"\.{3}"), " ... "),
    (re.compile(r"[:,](?!\d)"), r" \g<0> "),
    (re.compile(r"[;@#$%&]"), r" \g<0> "),
)
_LATE_MARKS = (
    (re.compile(r"[?!\]\[(){}<>]"), r" \g<0> "),
    (re.compile("--"), " -- "),
)
_ENDINGS = (
    (re.compile("([^'])' "), r"\1 ' "),
    (re.compile("'([smd]) "), r" '\1 "),
    (re.compile("('ll|'re|'ve|n't) "), r" \1 "),
    (
        re.compile(r"(?<![\w\u200c\u200d])(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me))(?![\w\u200c\u200d])"),
        None,
    ),
    (re.compile(r"(?<![\w\u200c\u200d])(?:(d)('ye)|(more)('n)|('t)(is|was))(?![\w\u200c\u200d])"), None),
    (re.compile(r"(?<![\w\u200c\u200d])(?:(wan)(na))(?= )"), None),
)
_LAST_STOP = re.compile(r"\.(?=[\])}>' ]*\Z)")
_ACRONYM = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]\.[A-Za-z]\Z")


def treebank(text: str) -> list[str]:
    """The words of a text in lower case, and its punctuation, as the Penn Treebank has them."""
    text = _SPACES.sub(" ", text.replace("\x85", " ")).strip(" ")
    if not text:
        return []
    text = _with_quotes(text)
    for pattern, spaced in _MARKS:
        text = pattern.sub(spaced, text)
    text = _without_stop(text)
    for pattern, spaced in _LATE_MARKS:
        text = pattern.sub(spaced, text)
    text = f" {text} "
    for pattern, replacement in _ENDINGS:
        text = pattern.sub(replacement if replacement else _in_two, text)
    return text.split()


def _in_two(match: re.Match[str]) -> str:
    first, second = (group for group in match.groups() if group is not None)
    return f" {first} {second} "


def _without_stop(text: str) -> str:
    """The last full stop for itself, but for an acronym's."""
    bare = text.rstrip("])}>' ")
    stop = len(bare) - 1
    if stop < 1 or bare[stop] != "." or bare[stop - 1] == "." or _ACRONYM.search(bare[max(0, stop - 4) : stop]):
        return text
    return f"{text[:stop]} .{text[stop + 1 :]} "


def _with_quotes(text: str) -> str:
    """Double quotes as `` and '', by whether they open or close."""
    inside = False

    def spaced(match: re.Match[str]) -> str:
        nonlocal inside
        start, end = match.span()
        before = text[start - 1] if start else " "
        if match.group() == "``":
            inside = True
        else:
            opens = (
                not before.isalnum() and before not in ".!?" and (end < len(text) or start == 0 or before in " ([{<")
            )
            closed_later = start > 0 and _pairs(text, end)
            inside = not inside and opens and (match.group() == '"' or closed_later)
        return " `` " if inside else " '' "

    return _QUOTE.sub(spaced, text)


def _pairs(text: str, end: int) -> bool:
    later = _QUOTE.search(text, end)
    return bool(re.match(r"[\w$(\[{]", text[end : end + 1])) and later is not None and later.group() == "''"


SIMILARITY: dict[str, Check] = {"levenshtein": levenshtein, "rouge-n": rouge_n, "bleu": bleu, "f1": f1}
