"""What the steps of a chain should have given for an example: the values that `evaluate` puts in their place.

Of most steps the dataset says it, as `expected.<step>`. Of a search it names sources, and the passages of these stand
in the files that the step searches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from promptchain.assertions import retrieval
from promptchain.binding import BoundPlan
from promptchain.chain import Chain, RetrieveStep
from promptchain.criteria import Assertion, flattened
from promptchain.errors import BudgetError, PromptChainError, Where, nearest
from promptchain.examples import Example
from promptchain.lm.calls import Caller
from promptchain.records import Run, Status
from promptchain.retrieval.files import listing
from promptchain.steps import retrieve
from promptchain.steps.context import Context
from promptchain.steps.filled import filled
from promptchain.steps.retrieve import BoundRetrieve


async def values(
    bound: BoundPlan, run: Run, example: Example, assertions: Iterable[Assertion], caller: Caller
) -> dict[str, Any]:
    """The expected values by step. run: of the example, which says what was searched for.

    A search that found all that is expected of it is taken to have given just that. Where something is missing it is
    the passages of the expected sources alone, as many as it may give: the best of them, but some of each source. A
    search of code or of a server, and one for each of many items, has no expected value. Raises BudgetError.
    """
    found = example.gold(bound.plan.chain)
    checks = tuple(assertions)
    for name, step in bound.others.items():
        if not isinstance(step, BoundRetrieve) or step.step.retrieve.from_ is None or step.step.for_each is not None:
            continue
        wanted = _wanted(name, example, checks)
        if not wanted or run.steps[name].status not in (Status.DONE, Status.FAILED):
            continue
        try:
            passages = await _passages(name, step, bound, run, wanted, caller)
        except BudgetError:
            raise
        except PromptChainError:  # what it takes to search is not there; the step itself says so
            continue
        if passages:
            found[name] = passages
    return found


def strangers(
    chain: Chain, examples: Iterable[Example], assertions: Iterable[Assertion], root: Path, folder: Path
) -> Iterator[str]:
    """What is expected of a search and is in none of the files that it looks at, so that it can only be missed: once
    for each search, with the first row that has it. root: the project's folder. folder: that of the chain file."""
    found: dict[str, dict[str, Where]] = {}
    checks = tuple(assertions)
    searches = [name for name, step in chain.steps.items() if isinstance(step, RetrieveStep) and step.retrieve.patterns]
    files: dict[str, frozenset[str]] = {}
    for example in examples if searches else ():
        for name in searches:
            for source in _compared(name, example, (*checks, *example.assertions)):
                if name not in files:
                    files[name] = _searched(chain.steps[name], root, folder)
                if files[name] and files[name].isdisjoint(retrieval.files(source)):
                    found.setdefault(name, {}).setdefault(source, example.where)
    for name, missing in found.items():
        source, where = next(iter(missing.items()))
        others = f" (and {len(missing) - 1} more such sources)" if len(missing) > 1 else ""
        hint = _likely(source, files[name])
        said = f"{where}: '{source}' is none of the files that step '{name}' searches, so it cannot be found{others}"
        yield f"{said}; {hint}" if hint else said


def _searched(step: object, root: Path, folder: Path) -> frozenset[str]:
    """The files that a step searches; none where that is not known."""
    if not isinstance(step, RetrieveStep) or not step.retrieve.patterns:
        return frozenset()
    try:
        return frozenset(listing(root, folder, step.retrieve.patterns).files)
    except PromptChainError:  # the step itself says so
        return frozenset()


def _likely(source: str, files: Collection[str]) -> str | None:
    """Which file was meant: first of all one of the same name elsewhere, for paths count from the project's folder."""
    name = PurePosixPath(retrieval.files(source)[-1]).name
    alike = sorted(file for file in files if PurePosixPath(file).name == name)
    if alike:
        return f"did you mean '{alike[0]}'?"
    return nearest(retrieval.files(source)[-1], files) if len(files) <= _MOST_NAMES else None


_MOST_NAMES = 2000
"""Among more, the nearest is not looked for: it would take seconds."""


def _wanted(name: str, example: Example, assertions: Iterable[Assertion]) -> dict[str, float]:
    """The sources that a search should find, with their grades: what it is compared with, and `expected.<step>`."""
    found = _compared(name, example, assertions)
    if isinstance(example.expected, Mapping) and name in example.expected:
        found |= _sources(example.expected[name], example)
    return found


def _compared(name: str, example: Example, assertions: Iterable[Assertion]) -> dict[str, float]:
    """The sources that assertions compare a search with."""
    plain = [one for one in assertions if one.step == name and not one.negated and one.transform is None]
    found: dict[str, float] = {}
    for part in flattened(plain):  # those in a set look at what the set looks at
        if part.ranks and not part.negated and part.transform is None:
            found |= _sources(part.value, example)
    return found


def _sources(value: Any, example: Example) -> dict[str, float]:
    known = {**example.beside, **example.inputs, "expected": example.expected}
    try:
        found = retrieval.expected(filled(value, known, "its value"))
    except PromptChainError:  # the row says nothing of it, or no source; the assertion tells
        return {}
    return {source: grade for source, grade in found.items() if grade > 0}


async def _passages(
    name: str, step: BoundRetrieve, bound: BoundPlan, run: Run, wanted: Mapping[str, float], caller: Caller
) -> Any:
    given = run.steps[name].value
    found, _ = retrieval.ranked(given, list(wanted))
    if wanted.keys() <= set(found):
        return given
    before = {**run.inputs, **{other: done.value for other, done in run.steps.items()}}
    files = [file for source in wanted for file in retrieval.files(source)]
    passages = await retrieve.of_sources(step, before, files, Context(caller, bound.workshop, step=name))
    names = [next((each for each in retrieval.names(passage) if each in wanted), None) for passage in passages]
    firsts = {names.index(each): None for each in names if each is not None}
    others = (index for index, each in enumerate(names) if each is not None and index not in firsts)
    return [passages[index] for index in sorted([*firsts, *others][: step.step.retrieve.top_k])]
