"""`chain diff --tests`: how two versions of a chain behave on its dataset, and which examples flipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from promptchain.cli import test_view
from promptchain.cli.diff_lines import GONE, NEW, PARTLY, SAME, Line
from promptchain.cli.output import plural
from promptchain.reports.numbers import change
from promptchain.words import Edit, Op

if TYPE_CHECKING:
    from promptchain.cli.diff_sides import Chains
    from promptchain.comparison import Comparison, Flip
    from promptchain.project import Project
    from promptchain.results import ExampleResult

_LONGEST = 100


def run(project: Project, found: Chains, models: Sequence[str]) -> Comparison:
    """Test both sides with the assertions and examples of the later one. Raises PromptChainError."""
    from promptchain import testing, trust
    from promptchain.cli.test_jobs import Job, Options, caller_for, run_jobs
    from promptchain.criteria import Gate
    from promptchain.errors import PromptChainError
    from promptchain.project import Ceilings
    from promptchain.testing import Case

    setting = testing.tested(found.after)
    lm = project.lm(cache=True)
    for name, chain in zip(found.names, (found.before, found.after), strict=True):
        trust.check(project, name, chain)
    try:
        before, after = (
            Case(name, name, chain, project.bind(chain, lm, models, lock=lock))
            for name, chain, lock in zip(found.names, (found.before, found.after), found.locks, strict=True)
        )
        checks, _ = testing.assertions(project, found.after)
        job = Job((after,), (before,), testing.data(project, found.after), checks, (), setting, Gate(), None)
        asked = Options((), (), (), None, None, 10, project.settings.concurrency)
        caller = caller_for(project, lm, [job], Ceilings(), None)
        (verdict,) = run_jobs(project, lm, caller, [job], asked)
    finally:
        lm.close()
    if verdict.evaluation.stopped:
        raise PromptChainError(f"stopped: {verdict.evaluation.stopped}", hint=verdict.evaluation.hint)
    assert verdict.comparison is not None
    return verdict.comparison


def lines(compared: Comparison) -> Iterator[Line]:
    """What changed in behaviour: the scores, then the examples that flipped, those that fail now first."""
    chain = compared.chain
    if chain is None:
        yield _line(SAME, "no example could be scored on both sides")
        return
    interval = f"{test_view.points(chain.low)} to {test_view.points(chain.high)}; p = {chain.p:.2g}"
    over = plural(chain.n, "example")
    yield _line(_sign(chain.value), f"chain: {test_view.points(chain.value)} ({interval}) over {over}")
    for name, step in compared.steps.items():
        if step.better or step.worse:
            told = f"{name}: {test_view.points(step.value)} ({step.better} better, {step.worse} worse)"
            yield _line(_sign(step.value), told, 2)
    for name, measure in compared.retrieval.items():
        if measure.better or measure.worse:
            told = f"{name}: {change(measure)} ({measure.better} better, {measure.worse} worse)"
            yield _line(_sign(measure.value), told, 2)
    for title, sign, flips in (("now fail", GONE, compared.worse), ("now pass", NEW, compared.better)):
        if flips:
            yield _line(SAME, f"{title}: {len(flips)}")
        for flip in flips:
            yield _line(sign, f"{flip.id}  {flip.where}  {_why(flip)}", 2)
    if compared.left_out:
        yield _line(SAME, f"{plural(compared.left_out, 'example')} could not be scored on both sides")


def _sign(difference: float) -> str:
    return NEW if difference > 0 else GONE if difference < 0 else PARTLY


def _line(sign: str, text: str, indent: int = 0) -> Line:
    """A line about both sides."""
    return Line(sign, (Edit(Op.EQUAL, text),), indent, whole=True)


def _why(flip: Flip) -> str:
    """The step, and what the failing side said of it."""
    failing: ExampleResult = flip.before if flip.better else flip.after
    check = next((c for c in failing.failures if c.assertion.step == flip.first), next(iter(failing.failures), None))
    said = check.verdict.reason if check and check.verdict else failing.problem or ""
    text = " ".join(said.split())
    return f"{flip.first or 'outputs'}: {text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}"
