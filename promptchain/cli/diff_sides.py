"""The words of `chain diff` → the two sides that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain.errors import UsageError, known_or_nearest, nearest
from promptchain.record_file import without_secrets

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.diff_uses import Uses
    from promptchain.lock import Lock
    from promptchain.project import Project
    from promptchain.records import Run

_RUNS = "chain runs lists them"


@dataclass(frozen=True)
class Chains:
    """Two chains, what each is called, their compiled prompts, and the hashes of what else they use."""

    before: Chain
    after: Chain
    names: tuple[str, str]
    locks: tuple[Lock, Lock]
    uses: tuple[Uses | None, Uses | None]


@dataclass(frozen=True)
class Runs:
    """Two runs."""

    before: Run
    after: Run

    @property
    def names(self) -> tuple[str, str]:
        return _run_name(self.before), _run_name(self.after)


def _run_name(run: Run) -> str:
    return f"run {run.id} ({run.chain}, {run.started})"


def find(project: Project, words: Sequence[str]) -> Chains | Runs:
    """The sides that one to three words name. Raises UsageError, InvalidFileError, PromptChainError."""
    if len(words) > 3:
        raise UsageError(f"{len(words)} sides are too many to compare", hint="for example: chain diff support@v3 v7")
    chains = set(project.names())
    first, *others = words
    if _is_chain(first, chains):
        references = _references(first, others, chains)
        loaded = [_load(project, word, given, chains) for word, given in references]
        locks = [project.lock(word) for word, _ in references]
        uses = [project.uses(word, chain) for (word, _), chain in zip(references, loaded, strict=True)]
        names = [_name(word, chains) for word, _ in references]
        return Chains(loaded[0], loaded[1], (names[0], names[1]), (locks[0], locks[1]), (uses[0], uses[1]))
    return _runs(project, words, chains)


def _is_chain(word: str, chains: set[str]) -> bool:
    return word in chains or "@" in word or "/" in word or word.endswith((".yaml", ".yml"))


def _references(first: str, others: Sequence[str], chains: set[str]) -> list[tuple[str, str]]:
    """Two references, each with the word that was given for it."""
    name = Path(first).stem if _is_path(first, chains) else first.partition("@")[0]
    if not others:
        if first == name or _is_path(first, chains):
            return [(f"{name}@latest", first), (first, first)]
        return [(first, first), (name, name)]
    if len(others) == 2:
        if first != name:
            hint = f"for example: chain diff {name} {others[0]} {others[1]}"
            raise UsageError(f"of three words the first is a chain's name, not '{first}'", hint=hint)
        return [(_with_name(name, word), word) for word in others]
    if _is_chain(others[0], chains) and not others[0].startswith("@"):
        return [(first, first), (others[0], others[0])]
    return [(first, first), (_with_name(name, others[0]), others[0])]


def _is_path(word: str, chains: set[str]) -> bool:
    """Whether a word is a file, not NAME@git:origin/main."""
    return word.partition("@")[0] not in chains and ("/" in word or word.endswith((".yaml", ".yml")))


def _with_name(name: str, ref: str) -> str:
    """`v7` or `@v7` of a chain; a whole reference to it stays."""
    return ref if ref.startswith(f"{name}@") else f"{name}@{ref.removeprefix('@')}"


def _load(project: Project, reference: str, given: str, chains: set[str]) -> Chain:
    try:
        return project.load(reference)
    except UsageError as exc:
        if "@" in given or "@" not in reference or given in chains:
            raise
        name = reference.partition("@")[0]
        hint = nearest(given, chains) or exc.hint
        raise UsageError(f"'{given}' is neither a chain nor a version of '{name}'", hint=hint) from None


def _name(reference: str, chains: set[str]) -> str:
    """What the header calls a side: a bare name is what lies in the work tree."""
    return f"{reference} (work tree)" if reference in chains else reference


def _runs(project: Project, words: Sequence[str], chains: set[str]) -> Runs:
    lookup = getattr(project, "find_run", None)
    found = [None if lookup is None or _is_chain(word, chains) else lookup(word) for word in words]
    missing = [word for word, run in zip(words, found, strict=True) if run is None]
    there = [run for run in found if run is not None]
    if not there:
        word = words[0]
        hint = nearest(word, chains) or f"{known_or_nearest(word, chains, 'chains')}; of runs, {_RUNS}"
        raise UsageError(f"there is no chain and no run '{word}'", hint=hint)
    if missing:
        raise UsageError(f"'{missing[0]}' is not a run", hint=f"a run is compared with a run; {_RUNS}")
    if len(there) != 2:
        raise UsageError(f"it takes two runs to compare, not {len(there)}", hint=f"name another one; {_RUNS}")
    return Runs(without_secrets(there[0]), without_secrets(there[1]))
