"""The words of `chain report` → the sections of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from promptchain import courses, evaluations, plan
from promptchain.cli.output import warn
from promptchain.errors import PromptChainError, UsageError, known_or_nearest
from promptchain.reports.html import chain as chains
from promptchain.reports.html import evaluation, run

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.evaluations import EvaluationRecord
    from promptchain.history import History
    from promptchain.lm.protocol import LM
    from promptchain.plan import Plan
    from promptchain.project import Project
    from promptchain.records import Run
    from promptchain.store.index import RunRow

MOST_EVALUATIONS, MOST_RUNS = 50, 30
"""Of a chain, that its section lists."""

_LEAST = 4
"""Characters by which an evaluation or a compile is named: its words might be a chain's, misspelt."""


def sections(project: Project, words: Sequence[str]) -> list[dict[str, Any]]:
    """What the words name, in their order; without any, all chains of the work tree. Two evaluations of one chain are
    compared. Raises UsageError, InvalidFileError, PromptChainError."""
    names = project.names()
    if not words and not names:
        hint = "go to the project's folder, or write chains/NAME.yaml; chain init makes an example"
        raise UsageError("there is nothing to report on", hint=hint)
    with project.history() as history:
        finder = _Finder(project, history, set(names))
        found = [finder.section(word) for word in words] or [*finder.all(names)]
        return [*_compared(finder.tested), *found]


def _compared(tested: Sequence[EvaluationRecord]) -> Iterator[dict[str, Any]]:
    """The first evaluation against the second, where two of one chain are asked for."""
    if len(tested) == 2 and tested[0].chain == tested[1].chain:
        before, after = tested
        title = f"What changed in {after.chain}"
        yield {"kind": "comparison", "title": title, "comparison": evaluation.kept_comparison(before, after)}


@dataclass(frozen=True, slots=True)
class _Found:
    """What an id, or its beginning, stands for. section: makes it."""

    kind: str
    id: str
    section: Callable[[], dict[str, Any]]


class _Finder:
    """Looks up what words stand for."""

    def __init__(self, project: Project, history: History, names: set[str]) -> None:
        self._project = project
        self._history = history
        self._names = names
        self.tested: list[EvaluationRecord] = []

    def section(self, word: str) -> dict[str, Any]:
        """A chain where there is one of that name; else a run, an evaluation or a compile, by id."""
        if word in self._names or "@" in word or "/" in word or word.endswith((".yaml", ".yml")):
            return self._chain(word)
        found = [*self._runs(word), *self._kept(word), *self._compiled(word)]
        if len(found) == 1:
            return found[0].section()
        if found:
            told = ", ".join(f"{one.kind} {one.id}" for one in found[:5])
            raise UsageError(f"'{word}' is the beginning of several", hint=f"give more of it: {told}")
        if word == "last":
            raise UsageError("there are no runs yet", hint="chain run NAME")
        if word in self._history.versions.chains():
            return self._chain(f"{word}@latest")
        nearest = known_or_nearest(word, self._names, "chains")
        hint = f"{nearest}; chain runs lists runs, chain log evaluations and compiles"
        raise UsageError(f"there is no chain, run, evaluation or compile '{word}'", hint=hint)

    def all(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The sections of chains; one that cannot be loaded is left out with a warning, unless none can."""
        problems: list[PromptChainError] = []
        for name in names:
            try:
                yield self._chain(name)
            except PromptChainError as exc:
                problems.append(exc)
        for problem in problems:
            if len(problems) == len(names):
                raise problem
            warn(f"left out: {problem}")

    # --- what begins so

    def _runs(self, word: str) -> Iterator[_Found]:
        if word.isascii() and word.isalnum() and (row := self._history.runs.find(word)):
            yield _Found("run", row.id, partial(self._run, row))

    def _stored(self, word: str) -> list[str]:
        """The chains in which an id is looked for; none for what is no beginning of one."""
        if len(word) < _LEAST or not (word.isascii() and word.isalnum()):
            return []
        return sorted({*self._names, *self._history.versions.chains()})

    def _kept(self, word: str) -> Iterator[_Found]:
        for name in self._stored(word):
            for own in self._history.evaluations.summaries(name).values():
                for each in (str(one["id"]) for one in own):
                    if each.startswith(word.lower()):
                        yield _Found("evaluation", each, partial(self._evaluation, name, each))

    def _compiled(self, word: str) -> Iterator[_Found]:
        for name in self._stored(word):
            for own in self._history.evaluations.compiles(name):
                if str(own["id"]).startswith(word.lower()):
                    yield _Found("compile", str(own["id"]), partial(self._compile, own))

    # --- their sections

    def _run(self, row: RunRow) -> dict[str, Any]:
        from promptchain.records import checked

        record = checked(self._history.runs.read(row))
        with closing(self._project.lm()) as lm:
            return run.section(record, self._version(row.chain, row.source), _source(self._project, record, lm))

    def _evaluation(self, chain: str, wanted: str) -> dict[str, Any]:
        record = evaluations.checked(self._history.evaluations.read(chain, wanted))
        self.tested.append(record)
        return evaluation.kept_section(record, self._version(chain, record.content), self._plan(chain, record.content))

    def _compile(self, data: Mapping[str, Any]) -> dict[str, Any]:
        course = courses.checked(data)
        version = self._version(course.chain, course.content)
        made = self._plan(course.chain, course.content)
        if made is not None:
            with suppress(PromptChainError):
                lock = self._project.lock(f"{course.chain}@{course.content}")
                own = [one for one in chains.compiles(made, lock, [(course, version)]) if one["model"] == course.model]
                if own and own[0]["course"]:
                    return own[0]
        return chains.course_section(course, version)

    def _chain(self, word: str) -> dict[str, Any]:
        from promptchain.store.index import Query

        project, history = self._project, self._history
        loaded = project.load(word)
        name = loaded.name
        only = loaded.content_id if "@" in word else None
        kept = history.evaluations.summaries(name, limit=MOST_EVALUATIONS)
        records = sorted((own for all_ in kept.values() for own in all_), key=lambda own: str(own["id"]), reverse=True)
        rows = history.runs.select(Query(name, None, None, None, None, MOST_RUNS))
        known = chains.Known(
            evaluations=[*self._readable(records, evaluations.checked)][:MOST_EVALUATIONS],
            courses=[*self._readable(history.evaluations.compiles(name), courses.checked)],
            runs=[(row, self._version(name, row.source)) for row in rows if only in (None, row.source)],
            labels=self._labels(name),
        )
        models = project.models().by_step(loaded)
        return chains.section(plan.build(loaded), word, models, project.lock(word), known)

    def _readable(self, records: Sequence[Mapping[str, Any]], checked: Any) -> Iterator[tuple[Any, str]]:
        """Those that this release can read, each with the name of its version."""
        for one in records:
            with suppress(PromptChainError):
                record = checked(one)
                yield record, self._version(record.chain, record.content)

    def _labels(self, chain: str) -> dict[str, str]:
        tree = self._history.versions.tree(chain)
        at = {label.name: tree.at(label) for label in tree.labels().values()}
        return {name: version.name for name, version in at.items() if version}

    def _version(self, chain: str, content: str) -> str:
        """As `support@v7`; the beginning of the content id where no version has it."""
        version = self._history.versions.tree(chain).find(content)
        return version.name if version else f"{chain}@{content[:12]}"

    def _plan(self, chain: str, content: str) -> Plan | None:
        try:
            return plan.build(self._project.load(f"{chain}@{content}"))
        except PromptChainError:  # the numbers can be shown all the same
            return None


def _source(project: Project, record: Run, lm: LM) -> run.Source:
    """The chain of a record, bound as it ran; nothing is called, and no server is started."""
    from promptchain.cli import interrupt, replay
    from promptchain.cli.diff_rendered import tools_of

    try:
        loaded, bound = replay.as_recorded(project, record, lm)
        by_chain: dict[str, Chain] = {one.name: one for one in (loaded, *loaded.used_chains())}
        tools = {
            (name, step): specs
            for name in dict.fromkeys(own.plan.chain.name for own, _ in run.steps_with_tools(bound))
            for step, specs in interrupt.run(tools_of(project, by_chain[name], lm)).items()
        }
    except PromptChainError as exc:
        return run.Source(note=exc.message)
    return run.Source(bound, tools, able=lm.capabilities)
