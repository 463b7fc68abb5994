"""What an assertion and a gate must fulfil beyond their shape, without a model: names, kinds of values, templates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promptchain import template
from promptchain.chain import Chain, PromptStep, RetrieveStep
from promptchain.criteria import ASSERTIONS, CHAIN, JUDGED, OPTIONS, RETRIEVAL, Assertion, Gate
from promptchain.errors import known_or_nearest
from promptchain.model import describe
from promptchain.template import TemplateFault
from promptchain.types import Type, TypeSyntaxError

_PROSE = frozenset(
    """is-sql contains-sql is-xml contains-xml is-html contains-html is-refusal rouge-n bleu f1 levenshtein similar
    is-valid-function-call tool-call-f1""".split()  # noqa: SIM905
)
"""What says nothing about a number, a truth value or one of a few labels."""

_OF_TOKENS = frozenset({"tokens", "perplexity", "perplexity-score"})
_ASSERTION_FIELDS = ("step", "output", "value", "threshold", "weight", "metric", "transform", "assert")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with an assertion or a gate, at a path in it. key: with the key itself."""

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None
    key: bool = False


def assertion_flaws(assertion: Assertion, chain: Chain, *, on: str | None = None) -> Iterator[Flaw]:
    """What is wrong with an assertion on a chain. on: the step whose key it is; else `step` and `output` say."""
    takes = ASSERTIONS.get(assertion.name)
    if takes is None:
        negation = "not-" if assertion.negated else ""
        known = [negation + name for name in ASSERTIONS]
        yield Flaw(
            ("type",), f"unknown assertion '{_short(assertion.type)}'", _known(assertion.type, known, "assertions")
        )
        return
    yield from _places(assertion, chain, on)
    for name in assertion.options:
        if name not in OPTIONS:
            hint = known_or_nearest(_short(name), [*_ASSERTION_FIELDS, *OPTIONS], "keys")
            yield Flaw((name,), f"unknown key '{_short(name)}'", hint, key=True)
    if assertion.name == "assert-set":
        yield from _set(assertion, chain, on)
        return
    if assertion.assert_:
        yield Flaw(("assert",), "only an assert-set has assertions of its own", "type: assert-set", key=True)
    if takes.needed and assertion.value is None and "value" not in assertion.model_fields_set:
        kinds = "what it should be" if "empty" in takes.value else " or ".join(takes.value)
        yield Flaw(("type",), f"'{assertion.type}' needs a value", f"value: {kinds}")
    elif assertion.value is not None and takes.value and not _fits(assertion.value, takes.value):
        message = f"'{assertion.type}' takes {' or '.join(takes.value)}, not {describe(assertion.value)}"
        yield Flaw(("value",), message)
    if takes.threshold and assertion.threshold is None and not _measures(assertion):
        yield Flaw(("type",), f"'{assertion.type}' needs a threshold", _threshold_hint(assertion.name))
    if assertion.name in JUDGED and chain.test is not None and not (chain.test.judge or _names_judge(assertion)):
        hint = "test: {judge: openai/gpt-5-mini}, or the assertion's `provider`"
        yield Flaw(("type",), f"'{assertion.type}' asks a judge, and no model is named as one", hint)
    yield from _cut_off(assertion)
    yield from _templates(assertion)
    yield from _applies(assertion, chain, on or assertion.step)


def gate_flaws(gate: Gate, chain: Chain, metrics: set[str]) -> Iterator[Flaw]:
    """What is wrong with a gate. metrics: the names that assertions give."""
    known = [CHAIN, *chain.steps, *sorted(metrics)]
    for name in gate.min:
        if name not in known:
            hint = known_or_nearest(_short(name), known, "names")
            yield Flaw(("min", name), f"unknown step or metric '{_short(name)}'", hint, key=True)


def _places(assertion: Assertion, chain: Chain, on: str | None) -> Iterator[Flaw]:
    step, output = assertion.step, assertion.output
    if on is not None and (step or output):
        yield Flaw(("step" if step else "output",), f"the assertion is step '{on}''s own", "remove the key", key=True)
    elif step is not None and output is not None:
        yield Flaw(("output",), "an assertion looks at a step or at an output, not at both", "remove one", key=True)
    elif step is not None and step not in chain.steps:
        yield Flaw(("step",), f"unknown step '{_short(step)}'", _known(step, chain.steps, "steps"))
    elif output is not None and chain.outputs and output not in chain.outputs:
        yield Flaw(("output",), f"unknown output '{_short(output)}'", _known(output, chain.outputs, "outputs"))


def _set(assertion: Assertion, chain: Chain, on: str | None) -> Iterator[Flaw]:
    if not assertion.assert_:
        yield Flaw(("type",), "an assert-set without assertions", "assert: [{type: contains, value: card}]")
    for index, part in enumerate(assertion.assert_):
        if part.name == "assert-set":
            yield Flaw(
                ("assert", index, "type"), "an assert-set cannot hold another", "put the assertions side by side"
            )
            continue
        if on is None and (part.step or part.output):
            key = "step" if part.step else "output"
            message = f"an assert-set as a whole has a '{key}'"
            yield Flaw(("assert", index, key), message, "move it to the set", key=True)
            continue
        for flaw in assertion_flaws(part, chain, on=on):
            yield Flaw(("assert", index, *flaw.path), flaw.message, flaw.hint, flaw.key)


def _fits(value: Any, kinds: tuple[str, ...]) -> bool:
    return describe(value) in kinds or is_template(value)


def is_template(value: Any) -> bool:
    """Whether a value is a text that stands for something else."""
    return isinstance(value, str) and ("{{" in value or "{%" in value or value.startswith("file://"))


def _cut_off(assertion: Assertion) -> Iterator[Flaw]:
    """Whether `k` stands where it says something, and is a number of passages."""
    if "k" not in assertion.options:
        return
    cut = assertion.options["k"]
    if not assertion.ranks:
        yield Flaw(("k",), f"'{assertion.type}' has no cut-off", f"'k' is for {', '.join(RETRIEVAL)}", key=True)
    elif isinstance(cut, bool) or not isinstance(cut, int) or cut < 1:
        shown = cut if isinstance(cut, int | float) and not isinstance(cut, bool) else describe(cut)
        yield Flaw(("k",), f"must be a whole number from 1 up, not {shown}", "k: 3 looks at the first three found")


def _measures(assertion: Assertion) -> bool:
    """Whether it only reports a number, as promptfoo's cost does with a metric and no weight."""
    return assertion.metric is not None and assertion.weight == 0


def _names_judge(assertion: Assertion) -> bool:
    """Whether its `provider` names one; it may also name an embedding model alone."""
    provider = assertion.options.get("provider")
    return bool({"id", "text"} & provider.keys()) if isinstance(provider, dict) else provider is not None


def _threshold_hint(name: str) -> str:
    units = {"latency": "milliseconds", "cost": "US dollars", "tokens": "tokens"}
    return f"threshold: the most that is allowed, in {units[name]}"


def _templates(assertion: Assertion) -> Iterator[Flaw]:
    texts = list(_texts(assertion.value, ("value",)))
    if assertion.transform is not None:
        texts.append((("transform",), assertion.transform))
    for path, text in texts:
        try:
            template.parse(text)
        except TemplateFault as exc:
            yield Flaw(path, f"in the template: {exc.message}", exc.hint)


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*path, key))


def _applies(assertion: Assertion, chain: Chain, name: str | None) -> Iterator[Flaw]:
    """Whether it can say anything about the step's type."""
    step = chain.steps.get(name) if name else None
    if step is None or name is None:
        return
    if not isinstance(step, PromptStep) and assertion.name in _OF_TOKENS:
        yield Flaw(("type",), f"'{assertion.type}' is for steps that call a model, and '{name}' does not")
    kind = _type(step)
    if assertion.ranks and assertion.transform is None and not _may_rank(step, kind):
        gives = kind.describe() if kind else "no passages"
        hint = "name a retrieve step, or one that gives a list of passages or of sources"
        yield Flaw(("type",), f"'{assertion.type}' is for passages, and step '{name}' gives {gives}", hint)
        return
    if kind is None or step.for_each is not None or assertion.transform is not None:
        return
    if kind.kind in ("scalar", "enum") and assertion.name in _PROSE:
        message = f"'{assertion.type}' is for texts, and step '{name}' gives {kind.describe()}"
        yield Flaw(("type",), message, "use equals")
    elif kind.kind == "enum" and assertion.name == "equals" and not is_template(assertion.value):
        labels, wanted = [str(choice) for choice in kind.choices], str(assertion.value)
        if assertion.value not in kind.choices and wanted not in labels:
            yield Flaw(("value",), f"step '{name}' never gives {_short(wanted)!r}", _known(wanted, labels, "values"))


def _may_rank(step: Any, kind: Type | None) -> bool:
    """Whether a step may give passages: a retrieval, or what gives a list. What code gives without a type shows only
    when it runs."""
    if isinstance(step, RetrieveStep) or kind is None:
        return True
    return kind.kind in ("array", "any") or step.for_each is not None


def _type(step: Any) -> Type | None:
    try:
        found = step.type
    except TypeSyntaxError:  # told of where the type stands
        return None
    return found if isinstance(found, Type) and (step.output is not None or isinstance(step, PromptStep)) else None


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:59] + "…"


def _known(name: str, known: Any, what: str) -> str | None:
    names = list(known)
    return known_or_nearest(_short(name), names, what) if len(names) <= 500 else None
