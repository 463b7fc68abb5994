"""What else a project calls secret: the regular expressions of its setting `redact`, applied in bounded time.

They are of `regex`, which unlike `re` can be given a time limit, and says where a match could go on behind the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import regex

MAX_PATTERN = 1_000
MAX_PATTERNS = 100
TIMEOUT = 0.5
"""Seconds that a pattern may take for one text, the first times that it takes so long."""
_PATIENCE, _IMPATIENT = 3, 0.02

OWN = (
    *"""after arguments before best better blame by_step cached cached_tokens calls chain chosen compiled
    completion_tokens content cost curve dataset dev digest error errors examples failed fault files fingerprint finish
    format gold high hint id inputs items judge_calls kept logprobs low max_tokens misses model models n name new_calls
    note optimizer outputs p p50 p95 parts passed product prompt_tokens purpose reasoning repeat replay_of reply
    retrieval run run_cost run_seconds sample score seconds skipped source spent stages started status step steps
    stopped test tokens tools totals tried turn unchecked value version warnings words worse""".split(),  # noqa: SIM905 - to be read
    *("done", "interrupted", "blocked", "2026-11-26T06:14:04.930Z", "01m8b7jz45d40x2a7g1e8ya54v"),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
)
"""What records are made of: the names of fields, a state, a time, an id, a digest. With these masked no record could be
read again."""

_used: dict[str, tuple[str, ...]] = {}
_late: dict[str, int] = {}


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in words; None where it can be used."""
    if len(pattern) > MAX_PATTERN:
        return f"is longer than {MAX_PATTERN:,} characters"
    import regex as engine  # 0.05 s, and most projects have no patterns

    try:
        found = _compiled(pattern)
        if found.search("", timeout=TIMEOUT):
            return "matches the empty text, which is everywhere"
        if found.search("***", timeout=TIMEOUT):
            return "matches ***, which stands for what was removed"
        if own := next((word for word in OWN if found.search(word, timeout=TIMEOUT)), None):
            return f"matches '{own}' too, as it stands in every record; make it narrower, with \\b at its ends perhaps"
    except (engine.error, OverflowError, RecursionError, ValueError) as error:
        return f"is not a regular expression: {error}"
    except TimeoutError:
        return "takes too long"
    return None


def use(project: str, patterns: Sequence[str]) -> None:
    """From now on the patterns of this project are these. Those of all projects of a process count together: what is
    written need not say whose it is. Each pattern is one without a `fault`."""
    if patterns:
        _used[project] = tuple(patterns)
    else:
        _used.pop(project, None)


def forget() -> None:
    """There are no patterns, of any project."""
    _used.clear()
    _late.clear()


def masked(text: str, mask: str) -> str:
    """`text` with every match replaced. A pattern that takes too long takes the text as a whole: nothing that it may
    have meant goes out."""
    for pattern in _patterns():
        try:
            text = _timed(pattern, lambda found, limit: str(found.sub(lambda _: mask, text, timeout=limit)))  # noqa: B023
        except TimeoutError:
            return f"{mask} (the whole text: the pattern {pattern!r} of the setting 'redact' takes too long for it)"
    return text


def settled(text: str) -> int:
    """How many characters of `text` no match can have begun in that more text would complete or lengthen."""
    end = len(text)
    for pattern in _patterns():
        try:
            end = min(end, _timed(pattern, lambda found, limit: _begun(found, text, limit)))
        except TimeoutError:
            return 0
    return end


def _begun(found: regex.Pattern[str], text: str, limit: float) -> int:
    """Where the match begins that reaches the end of a text, or would if the text went on."""
    matches = found.finditer(text, partial=True, timeout=limit)
    return min((match.start() for match in matches if match.partial or match.end() == len(text)), default=len(text))


def _timed(pattern: str, work: Callable[[Any, float], Any]) -> Any:
    """Raises TimeoutError; of a pattern that was late often, soon: a record of a thousand texts shall end, too."""
    try:
        return work(_compiled(pattern), TIMEOUT if _late.get(pattern, 0) < _PATIENCE else _IMPATIENT)
    except TimeoutError:
        _late[pattern] = _late.get(pattern, 0) + 1
        raise


def _patterns() -> Sequence[str]:
    return [*dict.fromkeys(pattern for own in _used.values() for pattern in own)] if _used else ()


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex as engine

    return engine.compile(pattern, engine.VERSION0)
