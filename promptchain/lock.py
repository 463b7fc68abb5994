"""The lock of a chain, `chains/NAME.lock.yaml`: for each model the adopted prompts, what they are worth, and the
fingerprints of all that they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from promptchain import document, yaml_text
from promptchain.document import Document
from promptchain.errors import NEWER, InvalidFileError, Problem, PromptChainError, StoreError, Where
from promptchain.records import Record, StepVariant, Variant, storable

FORMAT = 1
"""The format that this release writes, and the newest that it reads."""

SUFFIX = ".lock.yaml"

MAX_BYTES = 8 * 1024 * 1024
"""The size of a lock that is read."""

_WAIT = 60.0
"""Seconds to wait for another that writes the same lock."""

_Item = TypeVar("_Item")


def _rounded(digits: int) -> Callable[[float], float]:
    return lambda value: round(value, digits) + 0.0  # no -0.0


def _significant(value: float) -> float:
    return float(f"{value:.3g}")


def _by_name(items: dict[str, _Item]) -> dict[str, _Item]:
    return dict(sorted(items.items()))


Share = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_rounded(4))]
"""Of examples, or a difference of two; more digits than these say nothing."""

Steps = Annotated[dict[str, _Item], AfterValidator(_by_name)]
"""By name, in the order of the names, so that the same content is the same text."""


class Compared(Record):
    """The seed prompts and the compiled ones on the same examples; shares that passed.

    better, worse: examples that changed. low, high: of the difference, 95 %. p: of a gain as large by chance (one-sided
    exact sign test); only where the search has not seen the examples.
    """

    examples: int
    before: Share
    after: Share
    better: int = 0
    worse: int = 0
    low: Share | None = None
    high: Share | None = None
    p: Annotated[float, Field(allow_inf_nan=False), AfterValidator(_significant)] | None = None


class Spent(Record):
    """Distinct model calls, also those answered by the cache; cost in US dollars, None where a price is unknown."""

    calls: int = 0
    tokens: int = 0
    cost: Annotated[float, Field(allow_inf_nan=False), AfterValidator(_rounded(6))] | None = 0.0


class MadeFrom(Record):
    """What a variant was made from. chain, steps, dataset, metrics, settings: SHA-256 (hex, the first 16 digits); of
    `chain` what no step holds: inputs, params, outputs. steps, models: by step; a model is its name, with the
    fingerprint of its weights or its endpoint behind it. default: the model that the chain itself ran on then.
    examples: how many the dataset had. sources: by step, of the code, the passages or the chain that it uses."""

    renderer: int
    chain: str
    steps: Steps[str]
    sources: Steps[str] = Field(default_factory=dict, exclude_if=lambda found: not found)
    models: Steps[str]
    default: str | None = None
    dataset: str
    examples: int | None = None
    metrics: str
    settings: str


class Entry(Record):
    """What compiling a chain for one model came to.

    steps: what replaces the chain file's words; empty where the seed prompts were kept, and then `kept` says why.
    dev: what the candidates were chosen on; test: held out. by_step: on the held-out examples. settings: those that are
    not the defaults. parent: the fingerprint of the variant this one started from. prompts: the fingerprint of `steps`
    as they were compiled, which needs not be given; a hand that edits them later leaves it.
    """

    kept: str | None = None
    steps: Steps[StepVariant] = Field(default_factory=dict)
    dev: Compared | None = None
    test: Compared | None = None
    by_step: Steps[Compared] = Field(default_factory=dict)
    spent: Spent = Spent()
    settings: Steps[JsonValue] = Field(default_factory=dict)
    parent: str | None = None
    prompts: str = Field(default_factory=lambda given: _fingerprint(given.get("steps", {})))
    made_from: MadeFrom

    def variant(self, model: str) -> Variant:
        """The parameters, as a run takes them."""
        return Variant(model=model, steps=self.steps)

    def facts(self) -> dict[str, Any]:
        """What a log tells of it, as JSON: which steps, the held-out shares before and after, calls, cost, parent."""
        told = self.test.model_dump(mode="json", include={"examples", "before", "after", "p"}) if self.test else {}
        spent = {"calls": self.spent.calls, "cost": self.spent.cost}
        kept = {"kept": self.kept, "fingerprint": self.fingerprint(), "parent": self.parent}
        return {"steps": list(self.steps), **told, **spent, **kept}

    def fingerprint(self) -> str:
        """SHA-256 (hex, the first 16 digits) of the prompts alone: what `parent` of the next one is."""
        return _fingerprint(self.steps)

    @property
    def edited(self) -> bool:
        """Whether the prompts are others than those that were compiled and measured."""
        return self.prompts != self.fingerprint()


class Lock(Record):
    """All variants of a chain, by model: the one that the chain's steps run on where they name none of their own."""

    format: Annotated[int, Field(ge=1)] = FORMAT
    models: Steps[Entry] = Field(default_factory=dict)

    def with_entry(self, model: str, entry: Entry) -> Lock:
        return self.model_copy(update={"models": _by_name({**self.models, model: entry})})


def _fingerprint(steps: Mapping[str, StepVariant]) -> str:
    return hashlib.sha256(_json({name: _data(step) for name, step in steps.items()})).hexdigest()[:16]


def _data(record: Record) -> dict[str, Any]:
    """What is not default, as JSON."""
    found: dict[str, Any] = storable(record.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return found


def _json(data: Mapping[str, Any]) -> bytes:
    """In the order of the keys: a model sees the fields of a demo's output in it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


# -- as text -----------------------------------------------------------------------------------------------------------


def path_for(chain_file: Path) -> Path:
    """Where the lock of a chain file is."""
    return chain_file.with_name(chain_file.stem + SUFFIX)


_HEADER = """\
# The prompts of '{name}' as compiled for each model, and what they were made from. Commit this file with the chain.
# Do not edit it: change the chain, then run `chain compile {name}`.
format: {format}
"""


def to_text(lock: Lock, chain_name: str) -> str:
    """The lock as it is written. The same lock is always the same text."""
    blocks = "".join(_block(model, entry) for model, entry in sorted(lock.models.items()))
    return _HEADER.format(name=chain_name, format=lock.format) + ("models:\n" + blocks if blocks else "models: {}\n")


def _block(model: str, entry: Entry) -> str:
    return yaml_text.dump({model: _data(entry)}, 2)


_MARKER = re.compile(r"(<{7}|\|{7}|>{7})( |$)|={7}$")


def read(path: Path, shown: str) -> Lock:
    """The lock at `path`, which messages call `shown`; an empty one where there is no such file.

    Raises InvalidFileError with what is wrong with it, each with its line."""
    if not path.exists():
        return Lock()
    name = path.name.removesuffix(SUFFIX)
    try:
        return parse(document.read_text(path, shown, MAX_BYTES), shown, name)
    except InvalidFileError:
        raise
    except PromptChainError as exc:
        hint = exc.hint if exc.where and exc.where.line else _again(name)
        raise InvalidFileError([Problem(exc.message, exc.where or Where(shown), hint)]) from None


def parse(text: str, shown: str, name: str) -> Lock:
    """The lock of the chain `name` in a text. Raises InvalidFileError."""
    _refuse_conflicts(text, shown, name)
    try:
        found = document.parse(text, shown)
    except InvalidFileError as exc:
        raise InvalidFileError([Problem(p.message, p.where, _again(name)) for p in exc.problems]) from None
    if not isinstance(found.value, dict):
        raise InvalidFileError([Problem("this is no lock of compiled prompts", Where(shown, 1), _again(name))])
    written = found.value.get("format", FORMAT)
    if isinstance(written, int) and written > FORMAT:
        message = f"a newer promptchain wrote this lock (format {written}; this release reads {FORMAT})"
        where = found.where(("format",))
        raise InvalidFileError([Problem(message, where, NEWER)])
    try:
        return Lock.model_validate(found.value)
    except ValidationError as exc:
        raise InvalidFileError(_problems(exc, found, name)) from None


def _again(name: str) -> str:
    return f"take the file back from git, or remove it and recompile: chain compile {name}"


def _refuse_conflicts(text: str, shown: str, name: str) -> None:
    lines = text.split("\n")
    marked = [number for number, line in enumerate(lines, 1) if _MARKER.match(line.rstrip("\r"))]
    if not any(lines[number - 1].startswith(("<" * 7, ">" * 7)) for number in marked):
        return
    lines_word = "line" if len(marked) == 1 else "lines"
    places = ", ".join(map(str, marked[:9])) + (", …" if len(marked) > 9 else "")
    hint = (
        f"keep one side of each and remove the markers, or remove the file and recompile: chain compile {name}; "
        'git merges locks itself with: git config merge.promptchain.driver "chain compile --merge-driver %O %A %B"'
        ' and "*.lock.yaml merge=promptchain" in .gitattributes'
    )
    raise InvalidFileError(
        [Problem(f"a merge has left conflict markers in {lines_word} {places}", Where(shown, marked[0]), hint)]
    )


_SAID = {"missing": "'{key}' is missing", "extra_forbidden": "unknown key '{key}'"} | {
    kind: f"'{{key}}' must be {what}"
    for what, kinds in {
        "a mapping": ("dict_type", "model_type"),
        "a list": ("tuple_type", "list_type"),
        "a text": ("string_type",),
        "a number": ("int_type", "int_parsing", "float_type", "float_parsing", "int_from_float"),
    }.items()
    for kind in kinds
}
_MOST_TOLD = 5


def _problems(exc: ValidationError, found: Document, name: str) -> list[Problem]:
    """What pydantic finds, in words of the file."""
    problems = []
    for error in exc.errors(include_url=False)[:_MOST_TOLD]:
        place, kind = error["loc"], error["type"]
        said = _SAID.get(kind, "'{key}': {said}").format(key=place[-1] if place else "", said=error["msg"])
        where = found.where(place[:-1] if kind == "missing" else place, key=kind in ("missing", "extra_forbidden"))
        problems.append(document.problem(said, where, _again(name)))
    return problems


# -- in the store ------------------------------------------------------------------------------------------------------


def slug(model: str) -> str:
    """A file's name that stands for a model, and for no other.

    >>> slug("local/smollm2")
    'local-smollm2-bb946c50'
    """
    readable = re.sub(r"[^a-z0-9_-]+", "-", model.casefold()).strip("-")[:48]
    return f"{readable or 'model'}-{hashlib.sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def to_variants(lock: Lock) -> dict[str, bytes]:
    """What a version keeps of a lock: JSON for each model, by its slug."""
    return {
        slug(model): _json({"format": lock.format, "model": model, "entry": _data(entry)})
        for model, entry in lock.models.items()
    }


class _Kept(Record):
    """A variant as it is kept."""

    format: Annotated[int, Field(ge=1, le=FORMAT)]
    model: str
    entry: Entry


def from_variants(variants: Mapping[str, bytes], chain: str) -> Lock:
    """The lock that a version of `chain` keeps. Raises StoreError where it is that of another release, or none."""
    models = {}
    for name, text in variants.items():
        try:
            kept = _Kept.model_validate_json(text)
            models[kept.model] = kept.entry
        except ValidationError as exc:  # not JSON, or of another shape
            hint = f"{NEWER}, or --source goes on without it"
            raise StoreError(f"the prompts that '{chain}' keeps as {name} cannot be read", hint=hint) from exc
    return Lock(models=models)


# -- written -----------------------------------------------------------------------------------------------------------


def write(path: Path, lock: Lock) -> None:
    """Write the lock at `path`, whole or not at all. Raises PromptChainError."""
    target = path.resolve()
    temporary = target.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(to_text(lock, path.name.removesuffix(SUFFIX)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(path.name)) from exc


def update(path: Path, model: str, entry: Entry, *, state: Path, shown: str | None = None) -> Lock:
    """Put the entry of one model into the lock at `path`, and leave those of others as they are by now: two compiles
    at once lose nothing. An entry that is there already is not written again.

    state: the folder for the lock of the lock (`location.store_place`). Raises InvalidFileError, PromptChainError."""
    from filelock import FileLock, Timeout

    guard = state / f"{path.name}.lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        with FileLock(guard, timeout=_WAIT):
            before = read(path, shown or path.name)
            after = before.with_entry(model, entry)
            if after != before or not path.exists():
                write(path, after)
            return after
    except Timeout:
        raise PromptChainError(f"another has been writing {path.name} for {_WAIT:.0f} s", hint=str(guard)) from None
    except OSError as exc:
        message = f"{path.name} cannot be locked: {exc.strerror or exc}"
        raise PromptChainError(message, hint=f"see who owns {guard.parent}") from exc


# -- merged ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merged:
    """Two locks as one. lock: what both sides agree on. conflicts: the models that both changed, each in its way, with
    the entry of ours and of theirs; None where a side has none any more."""

    lock: Lock
    conflicts: Mapping[str, tuple[Entry | None, Entry | None]]

    def to_text(self, chain_name: str) -> str:
        """The merged lock; where there are conflicts, both sides between git's markers."""
        if not self.conflicts:
            return to_text(self.lock, chain_name)
        blocks = {model: _block(model, entry) for model, entry in self.lock.models.items()}
        for model, sides in self.conflicts.items():
            ours, theirs = (_block(model, entry) if entry else "" for entry in sides)
            blocks[model] = f"<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n"
        head = _HEADER.format(name=chain_name, format=self.lock.format)
        return head + "models:\n" + "".join(text for _, text in sorted(blocks.items()))


def merge(base: Lock, ours: Lock, theirs: Lock) -> Merged:
    """Three ways, model by model: what only one side changed is taken from it."""
    merged: dict[str, Entry] = {}
    conflicts: dict[str, tuple[Entry | None, Entry | None]] = {}
    for model in sorted({*base.models, *ours.models, *theirs.models}):
        was, own, other = (side.models.get(model) for side in (base, ours, theirs))
        if own != other and was not in (own, other):
            conflicts[model] = (own, other)
        elif entry := other if own == was else own:
            merged[model] = entry
    return Merged(Lock(format=max(ours.format, theirs.format), models=merged), conflicts)
