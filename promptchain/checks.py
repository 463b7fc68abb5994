"""What a chain file must fulfil beyond its shape: names, types, templates, demos, assertions. All without a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promptchain import plan, template
from promptchain.chain import ASSERTIONS, Assertion, Chain, PromptStep, TemplateText
from promptchain.errors import known_or_nearest
from promptchain.template import ITEM, Reference, TemplateFault
from promptchain.types import Type, TypeSyntaxError, parse_type

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = template.GLOBALS | {"true", "false", "none", "and", "or", "not", "in", "is", "if", "else", "loop", "self"}
_RESERVED |= {"expected", "index"}
_SECRETS = re.compile(r"api[_-]?key|secret|password|(access|auth|bearer)[_-]?token|authorization", re.IGNORECASE)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem at a path of the chain's data.

    line, word: the place inside the text at `path`. file: the file that text stands in, when not the chain file.
    key: the problem is the key itself.
    """

    path: Path
    message: str
    hint: str | None = None
    key: bool = False
    line: int | None = None
    word: str = ""
    file: str | None = None


def check(chain: Chain, also: Iterable[str] = ()) -> list[Fault]:
    """Everything that is wrong with a chain whose shape is right; empty when nothing is.

    also: names of steps that the file has, but whose faults kept them out of `chain`.
    """
    faults: list[Fault] = []
    types: dict[str, Type | None] = dict.fromkeys(also)
    faults += _check_inputs(chain, types)
    for name, step in chain.steps.items():
        faults += _check_step_name(name, chain)
        types[name] = None
        try:
            types[name] = _value_type(step)
        except TypeSyntaxError as exc:
            faults.append(Fault(("steps", name, "output", *exc.path), str(exc), exc.hint))
    for name, step in chain.steps.items():
        faults += _check_step(name, step, chain, types)
    for name, text in chain.outputs.items():
        if isinstance(text, str):
            faults += _check_text(TemplateText((), text), ("outputs", name), types)
        else:
            faults.append(Fault(("outputs", name), "must be a template", 'for example "{{ reply }}"'))
    faults += _check_secrets(chain.params, ("params",))
    if chain.test:
        for index, assertion in enumerate(chain.test.assert_):
            faults += _check_assertion(assertion, ("test", "assert", index), chain, in_step=None)
    if not faults:
        faults += _check_cycle(chain)
    return faults


def _check_inputs(chain: Chain, types: dict[str, Type | None]) -> Iterator[Fault]:
    try:
        types |= chain.input_type.fields()
    except TypeSyntaxError as exc:
        yield Fault(("inputs", *exc.path), str(exc), exc.hint)
        types |= dict.fromkeys(_declared(chain))
    for name in types:
        if name in _RESERVED:
            yield Fault(
                ("inputs", name), f"an input cannot be called '{name}': templates use that word", "rename it", key=True
            )


def _check_step_name(name: str, chain: Chain) -> Iterator[Fault]:
    at = ("steps", name)
    if not _IDENTIFIER.fullmatch(name):
        hint = "letters, digits and _ only, beginning with a letter, so that templates can name it"
        yield Fault(at, f"'{name}' cannot be a step's name", hint, key=True)
    elif name in _RESERVED:
        yield Fault(at, f"a step cannot be called '{name}': templates use that word", "rename it", key=True)
    elif name in _declared(chain):
        yield Fault(at, f"'{name}' is an input and a step at once", "rename one of them", key=True)


def _value_type(step: plan.AnyStep) -> Type | None:
    """The type of the step's value as later steps see it; None where it is not known before the run."""
    if not isinstance(step, PromptStep) and step.output is None:
        return None
    if step.for_each:
        return parse_type({"type": "array", "items": dict(step.type.schema)})
    return step.type


def _check_step(name: str, step: plan.AnyStep, chain: Chain, types: Mapping[str, Type | None]) -> Iterator[Fault]:
    at = ("steps", name)
    scope = dict(types)
    if step.for_each:
        if not _IDENTIFIER.fullmatch(step.for_each.as_) or step.for_each.as_ in types:
            hint = "choose a name that is no input and no step"
            yield Fault((*at, "for_each"), f"'{step.for_each.as_}' cannot be the item's name", hint)
        scope |= {step.for_each.as_: None, "index": None}
    for index, other in enumerate(step.needs):
        if other not in types or other in _declared(chain):
            hint = known_or_nearest(other, chain.steps, "steps")
            yield Fault((*at, "needs", index), f"unknown step '{other}'", hint, word=other)
        elif other == name:
            yield Fault((*at, "needs", index), "a step cannot need itself", "remove it")
    for text in step.texts():
        within = types if text.path[0] in ("for_each",) else scope
        yield from _check_text(text, (*at, *text.path), within, step=name)
    for index, assertion in enumerate(step.assert_):
        yield from _check_assertion(assertion, (*at, "assert", index), chain, in_step=name)
    if isinstance(step, PromptStep):
        yield from _check_prompt_step(name, step, scope)


def _declared(chain: Chain) -> set[str]:
    """The names of the inputs, as far as they can be read."""
    return {re.split(r"[?(]", declared)[0].strip() for declared in chain.inputs}


def _check_prompt_step(name: str, step: PromptStep, scope: Mapping[str, Type | None]) -> Iterator[Fault]:
    at = ("steps", name)
    if not step.prompt.text.strip() and not step.prompt.file:
        yield Fault((*at, "prompt"), "the prompt is empty", 'write the user message, for example "{{ message }}"')
    yield from _check_secrets(step.params, (*at, "params"))
    try:
        output = step.type
    except TypeSyntaxError:
        return
    if step.format == "text" and output.kind not in ("text", "scalar", "enum"):
        hint = "use json or schema, or leave it out"
        yield Fault((*at, "format"), f"the format text cannot carry {output.describe()}", hint)
    if step.select is not None and step.samples == 1:
        yield Fault((*at, "select"), "there is nothing to select from with one sample", "set samples: 5, say")
    for index, demo in enumerate(step.demos):
        here = (*at, "demos", index)
        for problem in output.check(demo.output):
            yield Fault((*here, "output"), f"the demo's output does not fit the step's type: {problem}")
        for used in _names_used(step):
            if used in scope and used not in demo.inputs:
                yield Fault(
                    (*here, "inputs"), f"the demo gives no value for '{used}'", "the step's templates use it", key=True
                )
        for given in demo.inputs:
            if given not in scope:
                hint = known_or_nearest(given, scope, "names")
                yield Fault((*here, "inputs", given), f"unknown input or step '{given}'", hint, key=True)


def _names_used(step: PromptStep) -> list[str]:
    """What the messages of a step refer to; nothing where a template is broken."""
    names: dict[str, None] = {}
    for text in (step.instructions.text, step.prompt.text):
        try:
            names |= {reference.name: None for reference in template.parse(text).references if not reference.tolerant}
        except TemplateFault:
            return []
    return list(names)


def _check_text(
    text: TemplateText, path: Path, scope: Mapping[str, Type | None], step: str | None = None
) -> Iterator[Fault]:
    """The template itself, then each name and field that it refers to."""
    try:
        parsed = template.expression(text.text) if text.expression else template.parse(text.text)
    except TemplateFault as exc:
        yield Fault(path, f"in the template: {exc.message}", exc.hint, line=exc.line, file=text.file)
        return
    for reference in parsed.references:
        if reference.name == step:
            message, hint, word = f"step '{step}' uses its own output", "a step sees only the steps before it", step
        elif reference.name not in scope:
            who = f"step '{step}'" if step else f"output '{path[-1]}'"
            message = f"{who} uses unknown input or step '{reference.name}'"
            hint, word = known_or_nearest(reference.name, scope, "names"), reference.name
        elif found := _unknown_field(reference, scope[reference.name]):
            message, hint, word = found
        else:
            continue
        yield Fault(path, message, hint, line=reference.line, word=word, file=text.file)


def _unknown_field(reference: Reference, root: Type | None) -> tuple[str, str, str] | None:
    """The first part of the path that the type does not have: message, hint and the word itself."""
    current = root
    for depth, part in enumerate(reference.path):
        if current is None or current.kind == "any":
            return None
        shown = ".".join((reference.name, *reference.path[:depth])).replace("." + ITEM, "[]")
        methods: type = {"object": dict, "array": list}.get(current.kind, str)
        if part == ITEM:
            if current.kind in ("object", "scalar"):
                return f"'{shown}' is no list", f"it is {current.describe()}", reference.name
            current = current.items if current.kind == "array" else None
        elif current.kind == "object" and (field := current.field(part)) is not None:
            current = field
        elif hasattr(methods, part) or (current.kind == "object" and not current.closed):
            return None
        elif current.kind == "object":
            return f"'{shown}' has no field '{part}'", known_or_nearest(part, current.fields(), "fields"), part
        else:
            return f"'{shown}' has no field '{part}'", f"it is {current.describe()}", part
    return None


def _check_assertion(assertion: Assertion, path: Path, chain: Chain, in_step: str | None) -> Iterator[Fault]:
    name = assertion.type.removeprefix("not-")
    if name not in ASSERTIONS:
        yield Fault(
            (*path, "type"), f"unknown assertion '{assertion.type}'", known_or_nearest(name, ASSERTIONS, "assertions")
        )
    if in_step is None and assertion.step is not None and assertion.step not in chain.steps:
        hint = known_or_nearest(assertion.step, chain.steps, "steps")
        yield Fault((*path, "step"), f"unknown step '{assertion.step}'", hint)


def _check_secrets(params: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    for name in params:
        if _SECRETS.search(name):
            hint = "remove it here and set the provider's variable, for example OPENAI_API_KEY, in the environment"
            yield Fault((*path, name), f"a secret ('{name}') does not belong in a chain file", hint, key=True)


def _check_cycle(chain: Chain) -> Iterator[Fault]:
    try:
        plan.build(chain)
    except plan.CycleError as exc:
        yield Fault(("steps", exc.steps[0]), exc.message, exc.hint, key=True)
