"""What a chain file must fulfil beyond its shape: names, types, templates, demos, assertions. All without a model."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from promptchain import plan, template
from promptchain.chain import Chain, PromptStep, RetrieveStep, TemplateText
from promptchain.criteria import Assertion, flattened
from promptchain.criteria_checks import assertion_flaws, gate_flaws
from promptchain.document import find_word
from promptchain.errors import known_or_nearest, nearest
from promptchain.model import describe
from promptchain.parts import Retrieve
from promptchain.template import ITEM, Reference, TemplateFault
from promptchain.types import Type, TypeSyntaxError, parse_fields, parse_type
from promptchain.value_types import value_type

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = template.GLOBALS | frozenset(
    "true false none True False None and or not in is if else loop self expected index".split()  # noqa: SIM905
)
_SECRETS = re.compile(r"api[_-]?key|secret|password|(access|auth|bearer)[_-]?token|authorization", re.IGNORECASE)

MAX_FAULTS = 200
"""More are not looked for."""

_LONE = re.compile(r"\s*(\{\{)?\s*[A-Za-z_]\w*(\.\w+)*\s*(\}\})?\s*")
"""An expression that is a name or a field alone."""
_MAX_KNOWN = 500
"""Among more names than these, the nearest one is not looked for: it would take seconds."""

Path = tuple[str | int, ...]
Scope = Mapping[str, Type | None]
"""The names that a template may use, with their types where these are known."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem at a path of the chain's data.

    line, word: the place inside the text at `path`. file, column: the file that text stands in, when not the chain
    file, and the place in its line. key: the problem is the key itself.
    """

    path: Path
    message: str
    hint: str | None = None
    key: bool = False
    line: int | None = None
    word: str = ""
    file: str | None = None
    column: int | None = None


def check(chain: Chain, also: Iterable[str] = (), *, sure: bool = True) -> list[Fault]:
    """What is wrong with a chain whose shape is right, at most MAX_FAULTS of it; empty when nothing is.

    also: names of steps that the file has, but whose faults kept them out of `chain`. sure: whether all names are
    known; where the inputs could not be read, for example, none is called unknown.
    """
    return list(islice(_Check(chain, also, sure).faults(), MAX_FAULTS))


class _Check:
    """One chain being checked."""

    def __init__(self, chain: Chain, also: Iterable[str], sure: bool) -> None:
        self.chain = chain
        self.sure = sure
        self.steps = {**dict.fromkeys(chain.steps), **dict.fromkeys(also)}
        self.inputs = {re.split(r"[?(]", declared)[0].strip() for declared in chain.inputs}
        self.scope: dict[str, Type | None] = dict.fromkeys(self.inputs)
        self.misnamed = [name for name in (*self.steps, *self.inputs) if not _IDENTIFIER.fullmatch(name)][:_MAX_KNOWN]
        self.parts = {part for name in self.misnamed for part in re.split(r"\W+", name)}

    def faults(self) -> Iterator[Fault]:
        chain = self.chain
        yield from self._inputs()
        for name, step in chain.steps.items():
            yield from self._step_name(name)
            yield from self._output_type(name, step)
        self.scope |= {name: None for name in self.steps if name not in self.scope}
        for name, step in chain.steps.items():
            yield from self._step(name, step)
        for name, text in chain.outputs.items():
            if isinstance(text, str):
                yield from self._text(TemplateText((), text), ("outputs", name), self.scope)
            else:
                message = f"output '{name}' must be a template, not {describe(text)}"
                yield Fault(("outputs", name), message, 'for example "{{ reply }}"')
        yield from _secrets(chain.params, ("params",))
        for index, assertion in enumerate(chain.test.assert_ if chain.test else ()):
            yield from self._assertion(assertion, ("test", "assert", index), in_step=None)
        yield from self._gate()
        for index, name in enumerate(chain.compile.steps):
            if name not in self.steps and self.sure:
                hint = _hint(name, list(self.steps), "steps")
                yield Fault(("compile", "steps", index), f"unknown step '{short(name)}'", hint)
        yield from self._cycles()

    def _inputs(self) -> Iterator[Fault]:
        yield from _type_faults(parse_fields, self.chain.inputs, ("inputs",))
        with suppress(TypeSyntaxError):
            self.scope |= self.chain.input_type.fields()
        for declared in self.chain.inputs:
            name = re.split(r"[?(]", declared)[0].strip()
            if name in _RESERVED:
                message = f"an input cannot be called '{name}': templates use that word"
                yield Fault(("inputs", declared), message, "rename it", key=True)

    def _step_name(self, name: str) -> Iterator[Fault]:
        at = ("steps", name)
        if not _IDENTIFIER.fullmatch(name):
            hint = "use up to 64 letters (a-z), digits and _, and begin with a letter, so that templates can name it"
            yield Fault(at, f"'{short(name)}' cannot be a step's name", hint, key=True)
        elif name in _RESERVED:
            yield Fault(at, f"a step cannot be called '{name}': templates use that word", "rename it", key=True)
        elif name in self.inputs:
            yield Fault(at, f"'{name}' is an input and a step at once", "rename one of them", key=True)

    def _output_type(self, name: str, step: plan.AnyStep) -> Iterator[Fault]:
        faults = [] if step.output is None else list(_type_faults(parse_type, step.output, ("steps", name, "output")))
        yield from faults
        if not faults:
            self.scope[name] = value_type(step, self.chain)

    def _step(self, name: str, step: plan.AnyStep) -> Iterator[Fault]:
        at = ("steps", name)
        scope: Scope = self.scope
        if step.for_each:
            item = step.for_each.as_
            if not _IDENTIFIER.fullmatch(item) or item in self.scope or item in _RESERVED:
                hint = "choose a word that is no input and no step"
                yield Fault((*at, "for_each", "as"), f"'{short(item)}' cannot be the item's name", hint)
            scope = ChainMap({item: None, "index": None}, self.scope)
        for index, other in enumerate(step.needs):
            yield from self._need(other, name, (*at, "needs", index))
        for text in step.texts():
            before = text.path[0] in ("for_each", "when")  # they are asked once, before any item is there
            yield from self._text(text, (*at, *text.path), self.scope if before else scope, step=name)
        for index, assertion in enumerate(step.assert_):
            yield from self._assertion(assertion, (*at, "assert", index), in_step=name)
        if isinstance(step, PromptStep):
            yield from self._prompt_step(name, step, scope)
        elif isinstance(step, RetrieveStep):
            yield from _retrieve(step.retrieve, (*at, "retrieve"))

    def _prompt_step(self, name: str, step: PromptStep, scope: Scope) -> Iterator[Fault]:
        at = ("steps", name)
        if not step.prompt.text.strip() and step.prompt.file is None:
            yield Fault((*at, "prompt"), "the prompt is empty", 'write the user message, for example "{{ message }}"')
        yield from _secrets(step.params, (*at, "params"))
        yield from self._samples(name, step)
        if "max_turns" in step.model_fields_set and not step.tools:
            yield Fault((*at, "max_turns"), "there are no turns to take without tools", "add `tools`, or leave it out")
        try:
            output = step.type
        except TypeSyntaxError:
            return
        if step.format == "text" and output.kind not in ("text", "scalar", "enum"):
            hint = "use json or schema, or leave it out"
            yield Fault((*at, "format"), f"the format 'text' cannot carry {output.describe()}", hint)
        yield from self._demos(name, step, scope)

    def _samples(self, name: str, step: PromptStep) -> Iterator[Fault]:
        at, select = ("steps", name), step.select
        if step.samples == 1:
            if select is not None:
                yield Fault((*at, "select"), "there is nothing to select from with one sample", "add, say, samples: 5")
            return
        if {**self.chain.params, **step.params}.get("temperature") == 0:
            message = f"at temperature 0 all {step.samples} samples are the same"
            yield Fault((*at, "samples"), message, "set the step's params: {temperature: 0.7}")
        if select is None:
            return
        if select.by is not None:
            for flaw in assertion_flaws(select.by, self.chain, on=name):
                yield Fault((*at, "select", "best", *flaw.path), flaw.message, flaw.hint, key=flaw.key)
        elif select.how in ("first_passing", "best") and not step.assert_:
            hint = "give the step an `assert`" + (", or write {best: ASSERTION}" if select.how == "best" else "")
            yield Fault((*at, "select"), f"nothing tells which sample is meant by '{select.how}'", hint)

    def _demos(self, name: str, step: PromptStep, scope: Scope) -> Iterator[Fault]:
        used = [used for used in _names_used(step) if used in scope and used != name]
        for index, demo in enumerate(step.demos):
            here = ("steps", name, "demos", index)
            for problem in step.type.check(demo.output):
                yield Fault((*here, "output"), f"the demo's output does not fit the step's output: {problem}")
            for missing in (missing for missing in used if missing not in demo.inputs):
                message = f"the demo gives no value for '{missing}'"
                yield Fault((*here, "inputs"), message, "the prompt uses it", key=True)
            for given in demo.inputs:
                if given not in scope and self.sure and not self._is_misnamed(given):
                    message = f"unknown input or step '{short(given)}'"
                    yield Fault((*here, "inputs", given), message, _hint(given, scope, "names"), key=True)

    def _need(self, other: str, step: str, path: Path) -> Iterator[Fault]:
        if other == step:
            yield Fault(path, "a step cannot need itself", "remove it")
        elif other in self.inputs and other not in self.steps:
            yield Fault(path, f"'{other}' is an input, and 'needs' names steps", "remove it")
        elif other not in self.steps and self.sure:
            yield Fault(path, f"unknown step '{short(other)}'", _hint(other, self.steps, "steps"), word=other)

    def _text(self, text: TemplateText, path: Path, scope: Scope, step: str | None = None) -> Iterator[Fault]:
        """The template itself, then each name and field that it refers to."""
        hint: str | None
        try:
            parsed = template.expression(text.text) if text.expression else template.parse(text.text)
        except TemplateFault as exc:
            what = "in the expression" if text.expression else "in the template"
            yield _placed(text, path, f"{what}: {exc.message}", exc.hint, exc.line or 1, exc.word)
            return
        if path[2:] != ("prompt",) and (found := template.media_filter(text.text)):
            hint = "here give the reference itself, without the filter"
            yield _placed(text, path, f"the filter '{found}' is for prompts, where a model sees it", hint, 1, found)
        user = f"step '{step}'" if step else f"output '{path[-1]}'"
        for reference in parsed.references:
            name = reference.name
            if name == template.REASONING and name not in scope:
                if not (wrong := self._reasoning(reference, step)):
                    continue
                message, hint, word = wrong
            elif name == step:
                message, word = f"step '{step}' uses its own output", name
                hint = "it can use only steps before it"
            elif name not in scope and (not self.sure or self._is_misnamed(name)):
                continue
            elif name not in scope:
                message, word = f"{user} uses unknown input or step '{short(name)}'", name
                hint = self._name_hint(name, scope, step)
            elif unknown := _unknown_field(reference, scope[name]) or _no_list(text, reference, scope[name]):
                message, hint, word = unknown
            else:
                continue
            yield _placed(text, path, message, hint, reference.line, word)

    def _reasoning(self, reference: Reference, step: str | None) -> tuple[str, str | None, str] | None:
        """What is wrong with a reference to what a step thought."""
        if not reference.path:
            return "'reasoning' is of single steps", "for example {{ reasoning.reply }}", template.REASONING
        name = reference.path[0]
        thinking = [
            other for other, found in self.chain.steps.items() if isinstance(found, PromptStep) and found.reasoning
        ]
        if name == step:
            return f"step '{step}' uses its own reasoning", "it can use only steps before it", name
        if name not in self.steps and self.sure:
            return f"unknown step '{short(name)}'", _hint(name, thinking, "steps with `reasoning: true`"), name
        if name in self.chain.steps and name not in thinking:
            return f"step '{name}' keeps no reasoning", "give it `reasoning: true`", name
        return None

    def _is_misnamed(self, name: str) -> bool:
        """Whether a step or an input is likely meant whose own name is wrong, which is said there: `{{ my-step }}`."""
        return name in self.parts or nearest(short(name), self.misnamed) is not None

    def _name_hint(self, name: str, scope: Scope, step: str | None) -> str | None:
        loop = self.chain.steps[step].for_each if step else None
        if loop and name in (loop.as_, "index"):
            return f"'{name}' is there only for the prompt; this is asked once, before the items"
        known = [other for other in scope if other != step]
        return _hint(name, known, "names") if known else f"declare it: inputs: {{{short(name)}: string}}"

    def _assertion(self, assertion: Assertion, path: Path, in_step: str | None) -> Iterator[Fault]:
        for flaw in assertion_flaws(assertion, self.chain, on=in_step):
            if self.sure or flaw.path[-1:] != ("step",):  # the step may be one whose own faults keep it out
                yield Fault((*path, *flaw.path), flaw.message, flaw.hint, key=flaw.key)

    def _gate(self) -> Iterator[Fault]:
        if self.chain.test is None or not self.sure or set(self.steps) - set(self.chain.steps):
            return
        metrics = {part.metric for part in flattened(self._all_assertions()) if part.metric}
        metrics |= {assertion.measure for assertion in self._all_assertions() if assertion.measure}
        for flaw in gate_flaws(self.chain.test.gate, self.chain, metrics):
            yield Fault(("test", "gate", *flaw.path), flaw.message, flaw.hint, key=flaw.key)

    def _all_assertions(self) -> Iterator[Assertion]:
        """Those of the steps, which say then which step it is, and those of the whole chain."""
        for name, step in self.chain.steps.items():
            for assertion in step.assert_:
                yield assertion.model_copy(update={"step": name})
        yield from self.chain.test.assert_ if self.chain.test else ()

    def _cycles(self) -> Iterator[Fault]:
        """One circle after another, at most ten, of the steps whose templates can be read."""
        nodes: dict[str, plan.Node] = {}
        names = frozenset(self.chain.steps)
        for name, step in self.chain.steps.items():
            try:
                node = plan.node(name, step, names, self.inputs)
            except TemplateFault:
                continue
            nodes[name] = plan.Node(name, step, node.after - {name})  # a step that needs itself is told apart
        for _ in range(10):
            known = {name: plan.Node(name, node.step, node.needs & nodes.keys()) for name, node in nodes.items()}
            try:
                plan.order(known)
            except plan.CycleError as exc:
                yield Fault(("steps", exc.steps[0]), exc.message, exc.hint, key=True)
                nodes = {name: node for name, node in nodes.items() if name not in exc.steps}
            else:
                return


def short(name: str) -> str:
    """A name as messages show it, however long it is."""
    return name if len(name) <= 60 else name[:59] + "…"


def _hint(name: str, known: Iterable[str], what: str) -> str | None:
    names = list(islice(known, _MAX_KNOWN + 1))
    return known_or_nearest(short(name), names, what) if len(names) <= _MAX_KNOWN else None


def _placed(text: TemplateText, path: Path, message: str, hint: str | None, line: int, word: str) -> Fault:
    """A fault in a template; in a file of its own the place is settled here, where its text is at hand."""
    if text.file is None:
        return Fault(path, message, hint, line=line, word=word)
    lines = re.split(r"\r\n|\r|\n", text.text)
    row = lines[line - 1] if line <= len(lines) else ""
    column = find_word(row, word) if word else None
    return Fault(path, message, hint, line=line, file=text.file, column=column or len(row) - len(row.lstrip()) + 1)


def _type_faults(read: Callable[[Any], Type], spec: Any, at: Path) -> Iterator[Fault]:
    """What is wrong with a declaration of types: after each fault it is read again without the key at fault."""
    for _ in range(20):
        try:
            read(spec)
        except TypeSyntaxError as exc:
            yield Fault((*at, *exc.path), exc.message, exc.hint)
            if "too large" in exc.message or not exc.path or not all(isinstance(part, str) for part in exc.path):
                return
            spec = _without(spec, exc.path)
        else:
            return


def _without(spec: Any, path: Path) -> Any:
    """The declaration without a field; one that has no other field left is of any type."""
    if not isinstance(spec, Mapping) or path[0] not in spec:
        return "any"
    rest = {key: value for key, value in spec.items() if key != path[0]}
    if len(path) > 1:
        rest = {**spec, path[0]: _without(spec[path[0]], path[1:])}
    return rest or {"(*)": "any"}


def _names_used(step: PromptStep) -> list[str]:
    """What the messages of a step refer to; nothing where a template is broken."""
    names: dict[str, None] = {}
    for text in (step.instructions.text, step.prompt.text):
        try:
            names |= {reference.name: None for reference in template.parse(text).references if not reference.tolerant}
        except TemplateFault:
            return []
    return list(names)


def _unknown_field(reference: Reference, root: Type | None) -> tuple[str, str | None, str] | None:
    """The first part of the path that the type does not have: message, hint and the word itself."""
    current = root
    hint: str | None
    for depth, part in enumerate(reference.path):
        if current is None or current.kind == "any":
            return None
        shown = ".".join((reference.name, *reference.path[:depth])).replace("." + ITEM, "[]")
        if part == ITEM:
            if current.kind in ("object", "scalar"):
                return f"'{shown}' is no list", f"it is {current.describe()}", reference.name
            current = current.items if current.kind == "array" else None
        elif current.kind == "object" and (field := current.field(part)) is not None:
            current = field
        elif current.kind == "object" and not current.closed:
            return None
        else:
            known = current.fields()
            hint = _hint(part, known, "fields") if known else f"it is {current.describe()}"
            methods: type = {"object": dict, "array": list}.get(current.kind, str)
            if hasattr(methods, part) and not part.startswith("_"):
                hint = f"'{part}' is a method: call it, {part}()"
            return f"'{shown}' has no field '{short(part)}'", hint, part
    return None


def _no_list(text: TemplateText, reference: Reference, root: Type | None) -> tuple[str, str | None, str] | None:
    """What is wrong where a `for_each` names one value, and by its type that is none to go through."""
    if text.path[:1] != ("for_each",) or not _LONE.fullmatch(text.text):
        return None
    current = root
    for part in reference.path:
        current = current.field(part) if current and current.kind == "object" else None
    if current is None or current.kind in ("any", "array"):
        return None
    shown = ".".join((reference.name, *reference.path))
    return f"`for_each` needs a list, and '{shown}' is none", f"it is {current.describe()}", reference.name


def _retrieve(spec: Retrieve, at: Path) -> Iterator[Fault]:
    """What a search is told in vain, or cannot do."""
    if spec.from_ is None:
        for key in ("mode", "embedder", "split"):
            if key in spec.model_fields_set:
                message = f"'{key}' is of searches of files, and this one is made elsewhere"
                yield Fault((*at, key), message, "remove it, or give the files with `from`", key=True)
    elif spec.embedder and spec.mode == "lexical":
        yield Fault(
            (*at, "embedder"), "a lexical search needs no embedding model", "mode: hybrid, or remove it", key=True
        )
    for name, value in spec.where.items() if spec.from_ is not None else ():
        options = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(option, Mapping | list | tuple) for option in options):
            message = f"a field is compared with a value or a list of values, not with {describe(value)}"
            yield Fault((*at, "where", name), message + (" of such" if options is value else ""))


def _secrets(params: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    for name, value in params.items():
        if _SECRETS.search(name):
            hint = "remove it here and set the provider's variable, for example OPENAI_API_KEY, in the environment"
            yield Fault((*path, name), f"a secret ('{short(name)}') does not belong in a chain file", hint, key=True)
        elif isinstance(value, Mapping):
            yield from _secrets(value, (*path, name))
