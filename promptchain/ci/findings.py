"""What the checks of a pull request found: chain by chain, and as one exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where

if TYPE_CHECKING:
    from promptchain.ci.checkout import Base
    from promptchain.freshness import Freshness
    from promptchain.statistics import Difference
    from promptchain.testing import Evaluation, Verdict

GATE, STALE = 100, 101
_WORST_FIRST = (1, 2, GATE, STALE)


class Kind(Enum):
    """What is to be told first of a chain."""

    BROKEN = auto()
    UNTESTED = auto()
    STOPPED = auto()
    WORSE = auto()
    MISSED = auto()
    FAILING = auto()
    STALE = auto()
    BETTER = auto()
    SAME = auto()
    PASSED = auto()
    UNTRIED = auto()


@dataclass(frozen=True)
class ChainFindings:
    """One chain. was: its name at the base, where it was renamed; new: the base has no such chain. changed: what of it,
    in a line; empty where it is as it was. difference: its prompts, line by line as in a diff.

    tested: what of its test changed, in a line: assertions, a gate, rows. untested: it had a test before, and has none.
    skipped: nobody wanted it tested.
    problems: of its file and its lock. locked: how fresh its lock is. verdict: of its test; error: why it could not be
    tested. uncompared: why its test was not compared with the base. where: the first line that changed.
    """

    name: str
    file: str
    new: bool = False
    was: str | None = None
    changed: str = ""
    difference: tuple[str, ...] = ()
    tested: str = ""
    untested: bool = False
    skipped: bool = False
    problems: tuple[Problem, ...] = ()
    locked: tuple[Freshness, ...] = ()
    verdict: Verdict | None = field(default=None, repr=False)
    error: PromptChainError | None = None
    uncompared: str | None = None
    where: Where | None = None

    @property
    def stale(self) -> tuple[Freshness, ...]:
        return tuple(one for one in self.locked if not one.fresh)

    @property
    def kind(self) -> Kind:
        """The worst of what was found."""
        if self.problems:
            return Kind.BROKEN
        if self.error is not None:
            return Kind.UNTESTED
        if self.verdict is not None and not self.verdict.passed:
            return self._failed(self.verdict)
        if self.stale:
            return Kind.STALE
        if self.verdict is None:
            return Kind.UNTRIED
        change = self.change
        if change is None:
            return Kind.PASSED
        return Kind.BETTER if change.value > 0 else Kind.SAME if change.value == 0 else Kind.PASSED

    def _failed(self, verdict: Verdict) -> Kind:
        if verdict.evaluation.stopped:
            return Kind.STOPPED
        if verdict.comparison and any(miss.name == verdict.comparison.names[0] for miss in verdict.misses):
            return Kind.WORSE
        return Kind.MISSED if verdict.misses else Kind.FAILING

    @property
    def exit_code(self) -> int:
        codes = [STALE] if self.stale else []
        if self.problems:
            codes.append(1)
        if self.error is not None:
            codes.append(self.error.exit_code)
        if self.verdict is not None and not self.verdict.passed:
            codes.append(1 if self.verdict.evaluation.stopped else GATE)
        return worst(codes)

    @property
    def change(self) -> Difference | None:
        """Of the chain's score, against the base."""
        compared = self.verdict.comparison if self.verdict else None
        return compared.chain if compared else None

    @property
    def told(self) -> bool:
        """Whether a reviewer has to know of it: it changed, fails, or does otherwise than before."""
        flipped = self.verdict is not None and self.verdict.comparison is not None and self.verdict.comparison.flips
        return bool(self.exit_code or self.changed or self.tested or self.new or self.was or self.uncompared or flipped)

    @property
    def suspect(self) -> str | None:
        """The step at which most of the examples fail that passed before, or that fail."""
        if self.verdict is None:
            return None
        compared = self.verdict.comparison
        if compared and compared.worse:
            firsts = [flip.first for flip in compared.worse]
        else:
            firsts = [result.first for result in self.verdict.evaluation.results]
        counted = Counter(first for first in firsts if first)
        return counted.most_common(1)[0][0] if counted else None


@dataclass(frozen=True)
class Findings:
    """All of it. base: what it was compared with; None where there is nothing. error: why it could not be found, or
    anything else that is wrong with the whole. notes: what people should know besides. fork: from one, so that nobody
    could comment. removed: the chains that the base has and this has not."""

    chains: tuple[ChainFindings, ...]
    base: Base | None = None
    error: PromptChainError | None = None
    notes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    fork: bool = False
    run_url: str | None = None

    @property
    def exit_code(self) -> int:
        """The worst of all."""
        own = [self.error.exit_code] if self.error else []
        return worst([*own, *(chain.exit_code for chain in self.chains)])

    @property
    def told(self) -> tuple[ChainFindings, ...]:
        """The chains that a reviewer has to know of, the worst first."""
        found = [chain for chain in self.chains if chain.told]
        return tuple(sorted(found, key=lambda chain: (not chain.exit_code, chain.kind.value, chain.name)))

    @property
    def failing(self) -> tuple[ChainFindings, ...]:
        return tuple(chain for chain in self.told if chain.exit_code)

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        verdicts = [chain.verdict for chain in self.chains if chain.verdict]
        return tuple(one for verdict in verdicts for one in (verdict.before, verdict.evaluation) if one is not None)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(chain.verdict for chain in self.chains if chain.verdict)

    @property
    def new_calls(self) -> int:
        """Those that no cache answered."""
        return sum(one.spent.calls for one in self.evaluations)

    @property
    def spent(self) -> float:
        """US dollars that were really paid, so far as prices are known."""
        return sum(one.spent.cost or 0.0 for one in self.evaluations)


def worst(codes: Iterable[int]) -> int:
    """The exit code that says the most: what could not be judged before what was judged badly."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), max(found, default=0))


def problems_of(error: PromptChainError) -> tuple[Problem, ...]:
    """What is wrong with a file; empty for any other error."""
    return error.problems if isinstance(error, InvalidFileError) else ()
