"""The rows that a chain is tested with: inputs, what is expected of which step, and assertions of their own."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from promptchain import dataset, inputs, promptfoo
from promptchain.chain import Chain, RetrieveStep
from promptchain.criteria import Assertion
from promptchain.criteria_checks import assertion_flaws
from promptchain.dataset import Row
from promptchain.errors import InputError, InvalidFileError, Problem, PromptChainError, UsageError, Where, nearest
from promptchain.model import describe
from promptchain.types import Type

MAX_PROBLEMS = 20
"""Rows that are told of; the others are counted."""

_KEPT = 32 * 1024 * 1024
"""Bytes of files whose examples are kept in memory; larger ones are read again each time."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row. inputs: complete and checked. expected: by step or output, or one value. beside: the row's other
    columns, which templates of assertions may name. threshold: the weighted score from which it passes."""

    id: str
    where: Where
    inputs: Mapping[str, Any]
    expected: Any = None
    assertions: tuple[Assertion, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    description: str = ""

    def gold(self, chain: Chain) -> dict[str, Any]:
        """The expected values of steps. Of a retrieval the sources are expected that it should find, and those are not
        what it gives."""
        expected = self.expected if isinstance(self.expected, Mapping) else {}
        own = (name for name, step in chain.steps.items() if not isinstance(step, RetrieveStep))
        return {name: expected[name] for name in own if name in expected}


@dataclass(frozen=True)
class Examples:
    """The examples of a dataset, all of which can be used. digest: SHA-256 of what they say, in whatever order.

    warnings: what a user should know of them. Iterating reads the files again, unless there are few.
    """

    count: int
    digest: str
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    read: Callable[[], Iterable[Example]] = field(repr=False)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.read())


def survey(chain: Chain, files: Iterable[Path], shown: Callable[[Path], str], words: Iterable[str] = ()) -> Examples:
    """Read all rows once: what is wrong with any of them is told before anything is spent. In memory stay only
    a digest and an id of each row. shown: a path as messages name it. words: only what fits them all is taken; see
    `matches`.

    Raises InvalidFileError with the rows that do not fit the chain; UsageError where there are none.
    """
    paths, chosen = tuple(files), tuple(words)
    found = _Survey(chain)
    small = sum(_size(path) for path in paths) <= _KEPT
    kept, count = _taken(found, paths, shown, chosen, keep=small)
    if found.shared and not found.problems:  # only now it is known which ids these are
        kept, count = _taken(_Survey(chain, found.shared), paths, shown, chosen, keep=small)
    if found.problems:
        raise InvalidFileError(found.reported())
    if not found.count:
        raise UsageError(f"there are no rows in {', '.join(map(shown, paths))}", hint="add examples, one to a line")
    if not count:
        raise UsageError(f"none of the {found.count} examples fits the filter {' '.join(chosen)}", hint=_FILTER_HINT)

    shared = frozenset(found.shared)  # and nothing else of the survey, which is as large as there are rows

    def read() -> Iterable[Example]:
        return kept if small else (e for e in _read(_Survey(chain, shared), paths, shown) if matches(e, chosen))

    return Examples(count, found.digest(), tuple(shown(path) for path in paths), found.warnings(), read)


def _taken(
    found: _Survey, paths: Iterable[Path], shown: Callable[[Path], str], words: Iterable[str], *, keep: bool
) -> tuple[list[Example], int]:
    """The examples that fit the words, where they are to be kept, and how many they are."""
    kept: list[Example] = []
    count = 0
    for example in _read(found, paths, shown):
        if matches(example, words):
            count += 1
            if keep:
                kept.append(example)
    return kept, count


def _read(found: _Survey, paths: Iterable[Path], shown: Callable[[Path], str]) -> Iterator[Example]:
    for path in paths:
        name = shown(path)
        for row in dataset.rows(path, found.chain):
            if example := found.add(row, Where(name, row.line)):
                yield example


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reading it will tell
        return 0


_FILTER_HINT = "a filter is an id, perhaps with *, or NAME=VALUE of an input, an expected value or another column"


def matches(example: Example, words: Iterable[str]) -> bool:
    """Whether an example fits all words: an id (`s01*`), or `name=value` of an input, an expected value or a column."""
    return all(_matches(example, word) for word in words)


def _matches(example: Example, word: str) -> bool:
    name, sign, value = word.partition("=")
    if not sign:
        return fnmatchcase(example.id, word)
    expected = example.expected if isinstance(example.expected, Mapping) else {"expected": example.expected}
    for table in (
        example.inputs,
        expected,
        example.beside,
        {f"expected.{key}": item for key, item in expected.items()},
    ):
        if name in table and fnmatchcase(_text(table[name]), value):
            return True
    return False


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Survey:
    """Turns rows into examples, and remembers what they have in common."""

    def __init__(self, chain: Chain, shared: Iterable[str] = ()) -> None:
        """shared: as an earlier survey of the same rows found it."""
        self.chain = chain
        self.count = 0
        self.shared = set(shared)
        """The ids of inputs that come with more than one expectation."""
        self.problems: list[Problem] = []
        self._left_out = 0
        self._sum = 0
        self._ids: dict[str, Where] = {}
        self._seen: set[bytes] = set()
        self._repeats: list[Where] = []
        self._expected = _expected_names(chain)
        self._misspelt: list[str] = []

    def add(self, row: Row, where: Where) -> Example | None:
        """The example; None for one that is there already, and for one with a problem, which is noted."""
        try:
            example = _example(self.chain, row, where)
        except PromptChainError as exc:
            self._problem(exc.message, where, exc.hint)
            return None
        digest = _digest(example)
        if digest in self._seen:
            self._repeats.append(where)
            return None
        self._seen.add(digest)
        if row.id is None:
            if example.id in self._ids:
                self.shared.add(example.id)
            if example.id in self.shared:
                example = replace(example, id=f"{example.id}-{digest.hex()[:6]}")
        elif before := self._ids.get(row.id):
            self._problem(f"the id '{row.id}' is there already, at {before}", where, "give it another")
            return None
        self._ids[example.id] = where
        self._spelling(example)
        self.count += 1
        self._sum = (self._sum + int.from_bytes(digest)) % 2**256
        return example

    def _problem(self, message: str, where: Where, hint: str | None) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(message, where, hint))
        else:
            self._left_out += 1

    def reported(self) -> list[Problem]:
        if not self._left_out:
            return self.problems
        last = self.problems[-1].where
        return [*self.problems, Problem(f"{self._left_out} more rows have problems", last, "mend these first")]

    def digest(self) -> str:
        return f"{self._sum:064x}"

    def _spelling(self, example: Example) -> None:
        """Note each expected value whose name is nearly that of a step or an output."""
        for name in example.expected if isinstance(example.expected, Mapping) else ():
            if name in self._expected or len(self._expected) > _MOST_NAMES:
                continue
            self._expected.add(name)
            if hint := nearest(str(name), (*self.chain.steps, *self.chain.outputs)):
                self._misspelt.append(f"{example.where}: expected.{name} is of no step and no output; {hint}")

    def warnings(self) -> tuple[str, ...]:
        told = list(self._misspelt)
        if self._repeats:
            rows, are = ("row repeats", "is") if len(self._repeats) == 1 else ("rows repeat", "are")
            places = ", ".join(map(str, self._repeats[:3])) + (", …" if len(self._repeats) > 3 else "")
            told.append(f"{len(self._repeats)} {rows} an earlier one and {are} counted once: {places}")
        return tuple(told)


_NAMED = re.compile(r"\bexpected(?:\.|\[\\?['\"])(\w+)")
_MOST_NAMES = 1000
"""Names of expected values that are looked at."""


def _expected_names(chain: Chain) -> set[Any]:
    """What a row may well expect something of: steps, outputs, and what the chain's assertions name."""
    own = [step.assert_ for step in chain.steps.values()] + [chain.test.assert_ if chain.test else ()]
    return {*chain.steps, *chain.outputs, *_NAMED.findall(repr(own))}


def _digest(example: Example) -> bytes:
    """SHA-256 of what decides an example's result; its id and its place do not."""
    own = [assertion.model_dump(mode="json", by_alias=True) for assertion in example.assertions]
    data = [example.inputs, example.expected, own, example.beside, example.threshold]
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _example(chain: Chain, row: Row, where: Where) -> Example:
    """Raises PromptChainError."""
    if row.error is not None:
        raise PromptChainError(row.error)
    given = _given(chain, row)
    text = json.dumps(given, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return Example(
        id=row.id or hashlib.sha256(text).hexdigest()[:12],
        where=where,
        inputs=given,
        expected=_expected(chain, row),
        assertions=_assertions(chain, row.beside),
        beside={name: value for name, value in row.beside.items() if name not in _OWN and not name.startswith("__")},
        threshold=_threshold(row.beside),
        description=str(row.beside.get("description") or row.beside.get("__description") or ""),
    )


def _given(chain: Chain, row: Row) -> dict[str, Any]:
    """The inputs, complete. Raises InputError; where one is missing it names the column that may be meant for it."""
    try:
        return inputs.check(chain, row.inputs)
    except InputError as exc:
        missing = [name for name in chain.input_type.required if name not in row.inputs]
        found = [(name, nearest(name, missing)) for name in row.ignored]
        hints = [f"the row has '{name}': {hint}" for name, hint in found if hint]
        if missing and not hints:
            hints = [f"add {', '.join(map(repr, missing))} to the row"]
        raise InputError(exc.message, hint="; ".join(hints) or None) from None


_OWN = frozenset({"id", "expected", "assert", "description", "threshold", "options"})


def _expected(chain: Chain, row: Row) -> Any:
    """What is expected: the mapping of the column `expected` with those called `expected.NAME`."""
    expected = row.beside.get("expected")
    if row.text and isinstance(expected, str) and expected.startswith("{"):
        with suppress(ValueError):
            expected = json.loads(expected)
    dotted = {name[9:]: value for name, value in row.beside.items() if name.startswith("expected.")}
    if row.text:
        dotted = {name: value for name, value in dotted.items() if value != ""}
        expected = None if expected == "" else expected
    if dotted and expected is not None and not isinstance(expected, Mapping):
        raise PromptChainError(
            f"'expected' and 'expected.{next(iter(dotted))}' are both there", hint="keep one of them"
        )
    if not isinstance(expected, Mapping):
        if not dotted:
            return expected
        expected = {}
    merged = {**expected, **dotted}
    return {name: _gold(chain, name, value, text=row.text) for name, value in merged.items()}


def _gold(chain: Chain, name: str, value: Any, *, text: bool) -> Any:
    """An expected value; of a step it must be one that the step can give."""
    step = chain.steps.get(name)
    if step is None or step.output is None or isinstance(step, RetrieveStep):
        return value
    kind = step.type
    if step.for_each is not None:
        kind = Type({"type": "array", "items": kind.schema})
    if text and isinstance(value, str):
        with suppress(ValueError):
            value = kind.coerce(value)
    problems = kind.check(value)
    if problems:
        raise PromptChainError(f"expected.{name}: {problems[0]}", hint=f"the step gives {kind.describe()}")
    return value


def _assertions(chain: Chain, beside: Mapping[str, Any]) -> tuple[Assertion, ...]:
    options = beside.get("options")
    if isinstance(options, Mapping) and "transform" in options:  # passed over it would change verdicts
        raise PromptChainError("options: a row has no `transform` here", hint="give it to the row's assertions")
    found = []
    try:
        for data in promptfoo.assertions(beside):
            assertion = Assertion.model_validate(data, by_alias=True, by_name=False)
            for flaw in assertion_flaws(assertion, chain):
                raise PromptChainError(f"assert: {flaw.message}", hint=flaw.hint)
            if isinstance(assertion.value, str) and assertion.value.startswith("file://"):
                hint = "name it in the chain's own `test: {assert: …}`"
                raise PromptChainError("assert: a row cannot name a file", hint=hint)
            found.append(assertion)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        place = ".".join(str(part) for part in error["loc"])
        raise PromptChainError(f"assert: '{place}': {error['msg'].lower()}") from None
    return tuple(found)


def _threshold(beside: Mapping[str, Any]) -> float | None:
    value = beside.get("threshold", beside.get("__threshold"))
    if value is None or value == "":
        return None
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if math.isnan(found):
        raise PromptChainError(f"threshold: must be a number from 0 to 1, not {describe(value)}")
    if not 0 <= found <= 1:
        raise PromptChainError(f"threshold: must be a number from 0 to 1, not {found:g}")
    return found
