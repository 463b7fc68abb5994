"""What compiled prompts were made from, as fingerprints, and what of it has changed since."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from promptchain.chain import Chain, canonical_step, digest
from promptchain.lock import Entry, MadeFrom
from promptchain.render import RENDERER

if TYPE_CHECKING:
    from promptchain.chain import Step
    from promptchain.criteria import Assertion
    from promptchain.examples import Examples
    from promptchain.lm.protocol import LM
    from promptchain.tuning import Tuning

Part = Literal["renderer", "chain", "step", "source", "model", "prompts", "dataset", "metrics", "settings"]

SENT: frozenset[Part] = frozenset({"renderer", "chain", "step", "model", "prompts"})
"""The parts that decide what is sent to which model. A run looks at no other: production needs no dataset."""

_DIGITS = 16
_UNKNOWN = "?"
_NOT_SENT = ("description", "assert", "freeze", "retry", "timeout", "needs", "model")
"""Keys of a step that do not decide what it sends and reads; its model is told apart."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Something that compiled prompts were made from and that is another now. step: where it is of one step."""

    part: Part
    message: str
    step: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"part": self.part, "step": self.step, "message": self.message}


# -- fingerprints ------------------------------------------------------------------------------------------------------


def step_source(step: Step) -> str:
    """Of all that decides what a step sends and how its reply is read. A text is the same in a file of its own."""
    data = canonical_step(step.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    for key in ("instructions", "prompt"):
        if isinstance(text := data.get(key), dict):
            data[key] = text.get("text", "")
    return _short({key: value for key, value in data.items() if key not in _NOT_SENT})


def head(chain: Chain) -> str:
    """Of what no step holds: inputs, params, outputs."""
    return _short(chain.model_dump(mode="json", include={"inputs", "params", "outputs"}))


def metrics(chain: Chain, checks: Iterable[Assertion]) -> str:
    """Of what the chain is scored by. checks: all assertions, those of its steps too (`testing.assertions`)."""
    judges = (chain.test.judge, chain.test.embedder) if chain.test else (None, None)
    told = [check.model_dump(mode="json", by_alias=True, exclude_defaults=True) for check in checks]
    return _short([told, judges])


def settings(tuning: Tuning) -> str:
    """Of how it was compiled: see `tuning.effective`."""
    return _short(tuning.model_dump(mode="json", exclude_defaults=True))


def model_print(model: str, lm: LM | None) -> str:
    """The model's name, and behind it the fingerprint of its weights or of an endpoint of its own.

    lm: None where another stands in for the models, so that only their names can be told. Weights that are not here
    cannot be told from others either."""
    identity = lm.identity(model) if lm is not None else ""
    if identity:
        return f"{model} {hashlib.sha256(identity.encode()).hexdigest()[:_DIGITS]}"
    return f"{model} {_UNKNOWN}" if lm is None or model.startswith("local/") else model


def _short(data: Any) -> str:
    return digest(data)[:_DIGITS]


def sent_by(chain: Chain, models: Mapping[str, str], lm: LM | None) -> MadeFrom:
    """The fingerprints of `SENT`; those of the other parts are empty. models: by prompt step (`models.Models.of`)."""
    return MadeFrom(
        renderer=RENDERER,
        chain=head(chain),
        steps={name: step_source(step) for name, step in chain.steps.items()},
        models={name: model_print(models[name], lm) for name in chain.steps if name in models},
        dataset="",
        metrics="",
        settings="",
    )


def made_from(
    chain: Chain,
    models: Mapping[str, str],
    lm: LM,
    *,
    data: Examples,
    checks: Iterable[Assertion],
    sources: Mapping[str, str],
) -> MadeFrom:
    """The fingerprints of all that compiling a chain depends on. models: by prompt step. data: the whole dataset, as
    `testing.data` has it without a filter. checks: all assertions. sources: what `sources.fingerprints` gives."""
    found = {
        "sources": dict(sources),
        "dataset": data.digest[:_DIGITS],
        "examples": data.count,
        "metrics": metrics(chain, checks),
        "settings": settings(chain.compile),
    }
    return sent_by(chain, models, lm).model_copy(update=found)


# -- what is stale -----------------------------------------------------------------------------------------------------


def stale(
    entry: Entry, now: MadeFrom, parts: frozenset[Part] | None = None, used: Mapping[str, str] | None = None
) -> tuple[Stale, ...]:
    """What is not any more as it was when the entry was made. parts: those to look at; None for all. used: what steps
    use, in the words of `sources.told`."""
    changes = [*_changes(entry.made_from, now, used or {})]
    if entry.edited:
        changes.append(Stale("prompts", "the compiled prompts were edited by hand"))
    return tuple(found for found in changes if parts is None or found.part in parts)


def _changes(was: MadeFrom, now: MadeFrom, used: Mapping[str, str]) -> Iterator[Stale]:
    yield from _steps(was.steps, now.steps)
    yield from _models(was.models, now.models)
    for name in dict.fromkeys((*now.sources, *was.sources)):
        if name in now.steps and name in was.steps and was.sources.get(name) != now.sources.get(name):
            what = used.get(name, "its code, its passages or its chain")
            yield Stale("source", f"what step '{name}' uses changed: {what}", name)
    if was.chain != now.chain:
        yield Stale("chain", "the chain's inputs, params or outputs were edited")
    if was.renderer != now.renderer:
        yield Stale("renderer", f"this release renders prompts otherwise (renderer {was.renderer} → {now.renderer})")
    if was.dataset != now.dataset:
        yield Stale("dataset", f"the dataset changed{_examples(was.examples, now.examples)}")
    if was.metrics != now.metrics:
        yield Stale("metrics", "the assertions, the judge or the embedder were edited")
    if was.settings != now.settings:
        yield Stale("settings", "the `compile:` section was edited")


def _steps(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Stale]:
    for name in dict.fromkeys((*now, *was)):
        if was.get(name) != now.get(name):
            became = "was edited" if name in was and name in now else "is new" if name in now else "is gone"
            yield Stale("step", f"step '{name}' {became}", name)


def _models(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Stale]:
    """By step, but the weights of a model once, however many steps it has."""
    told: set[str] = set()
    for name in [name for name in now if name in was]:
        (old, old_mark), (new, new_mark) = _split(was[name]), _split(now[name])
        if old != new:
            yield Stale("model", f"step '{name}' runs on another model: {new}, compiled for {old}", name)
        elif old_mark != new_mark and new not in told and _UNKNOWN not in (old_mark, new_mark):
            told.add(new)
            what = _MARKED.get(new.partition("/")[0], "endpoint")
            yield Stale("model", f"the {what} of {new} changed", name)


_MARKED = {"local": "weights", "scripted": "script"}


def _split(found: str) -> tuple[str, str]:
    """The model's name, and the fingerprint behind it."""
    name, _, mark = found.rpartition(" ")
    return (name, mark) if name and (mark == _UNKNOWN or re.fullmatch("[0-9a-f]{16}", mark)) else (found, "")


def _examples(was: int | None, now: int | None) -> str:
    if was is None or now is None:
        return ""
    return f" ({was} examples, as before)" if was == now else f" ({was} examples then, {now} now)"
