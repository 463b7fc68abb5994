"""A step with its parameters and its inputs ↔ the messages of a model: every byte that is sent is made here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from promptchain import calling, jsonish, media, similarity, template
from promptchain.chain import Demo, Format, PromptStep
from promptchain.errors import ParseError, PromptChainError
from promptchain.lm.protocol import Capabilities, Message, Request, ToolSpec
from promptchain.records import StepVariant, storable, whole_text
from promptchain.template import TemplateFault
from promptchain.types import Type

RENDERER = 1
"""Raised whenever the same step, parameters and values come to be sent as other messages: prompts that were compiled
before are stale then."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says: the step's value, and the thinking before it where the step asks for it."""

    value: Any
    reasoning: str | None = None


def resolve_format(step: PromptStep, variant: StepVariant, capabilities: Capabilities) -> Format:
    """The format a step uses on a model: JSON where calls of tools are written in it, else the given one; without that
    text for text, an enum or a scalar, and for others the provider's structured output, else JSON in the reply."""
    if step.tools and not capabilities.tools:
        return Format.SCHEMA if capabilities.schema else Format.JSON
    if variant.format is not None:
        return variant.format
    if step.type.kind in ("text", "enum", "scalar"):
        return Format.TEXT
    return Format.SCHEMA if capabilities.schema else Format.JSON


def render(
    step: PromptStep,
    variant: StepVariant,
    values: Mapping[str, Any],
    *,
    model: str,
    params: Mapping[str, Any],
    capabilities: Capabilities,
    tools: Sequence[ToolSpec] = (),
) -> Request:
    """The request for one call of `step`. Pure: the same arguments give the same request.

    values: for each name that the templates use. tools: what the model may call. Raises PromptChainError where a
    template has no value to put in.
    """
    form = resolve_format(step, variant, capabilities)
    reasoning = bool(variant.reasoning)
    written = bool(tools) and not capabilities.tools
    system = _text(variant.instructions or "", values, "instructions")
    if written:
        instruction = calling.instruction(tools, step.type, reasoning=reasoning)
    else:
        untold = not capabilities.schema or capabilities.local
        instruction = format_instruction(step.type, form, reasoning=reasoning, shown=untold)
    messages = []
    if media.split(system)[1]:
        raise PromptChainError("an image or a file stands in the prompt, not in the instructions")
    if head := "\n\n".join(part for part in (system, instruction) if part):
        messages.append(Message("system", head))
    for number, demo in enumerate(demos_for(variant, values)):
        shown = dict.fromkeys(values) | demo.inputs
        messages.append(_user(step, shown))
        if tools:
            messages += calling.demo_calls(demo, number, written=written, reasoning=reasoning)
        if written:
            reply = calling.demo_reply(demo.output, demo.reasoning, reasoning=reasoning)
        else:
            reply = _demo_reply(step.type, form, demo, reasoning=reasoning)
        messages.append(Message("assistant", reply))
    messages.append(_user(step, values))
    request = Request(model=model, messages=tuple(messages), params=params)
    if written:
        held = calling.schema(tools, step.type, reasoning=reasoning) if form is Format.SCHEMA else None
        return replace(request, schema=held)
    if tools:
        request = replace(request, tools=tuple(tools))
    if form is Format.SCHEMA:
        return replace(request, schema=_reply_schema(step.type, reasoning=reasoning))
    if form is Format.TEXT and not reasoning and step.type.kind == "enum":
        return replace(request, choices=tuple(_labels(step.type)))
    if form is Format.TEXT and not reasoning and step.type.kind == "scalar" and capabilities.grammar:
        return replace(request, schema=step.type.schema)
    return request


def _user(step: PromptStep, values: Mapping[str, Any]) -> Message:
    content, found = media.split(_text(step.prompt.text, values, "prompt"))
    return Message("user", content, media=found)


def demos_for(variant: StepVariant, values: Mapping[str, Any]) -> tuple[Demo, ...]:
    """The demos of a request: the step's own, then those of the pool that are most like it, the likest last: that is
    where a model looks most (Liu et al., "What Makes Good In-Context Examples for GPT-3?", arXiv:2101.06804)."""
    own = variant.demos or ()
    if variant.nearest is None or not variant.nearest.pool:
        return own
    return own + tuple(reversed(similarity.nearest(variant.nearest, values)))


def _text(source: str, values: Mapping[str, Any], part: str) -> str:
    try:
        return template.parse(source).render(values)
    except TemplateFault as exc:
        line = f" (line {exc.line} of the {part})" if exc.line and exc.line > 1 else f" (in the {part})"
        raise PromptChainError(exc.message + line, hint=exc.hint) from None


def format_instruction(kind: Type, form: Format, *, reasoning: bool, shown: bool = True) -> str:
    """The sentence that asks for the output's form; empty where the type needs none.

    shown: the model does not see the schema otherwise, so the schema format has to say it too.
    """
    if form is Format.TEXT:
        asked = _text_instruction(kind)
        if not reasoning and kind.kind == "enum":
            return f"Reply with exactly one of these, and nothing else: {_choices(kind)}."
        if not reasoning:
            return f"Reply with {asked}, and nothing else." if asked else ""
        asked = asked or "the answer alone"
        return f'Think step by step first. Then write a last line that begins with "Answer:", followed by {asked}.'
    if form is Format.SCHEMA and not shown:
        return ""
    schema = json.dumps(_reply_schema(kind, reasoning=reasoning), ensure_ascii=False, separators=(", ", ": "))
    return f"Reply with JSON that fits this JSON Schema, and nothing else:\n{schema}"


def _choices(kind: Type) -> str:
    return ", ".join(_labels(kind))


def _labels(kind: Type) -> dict[str, Any]:
    """The words that stand for an enum's values; null is one of them where the type takes it."""
    choices = sorted(kind.choices, key=lambda choice: isinstance(choice, str))  # of 1 and "1", the text has the word
    named = {template.to_text(choice): choice for choice in choices}
    return {template.to_text(choice): named[template.to_text(choice)] for choice in kind.choices} | (
        {"null": None} if kind.nullable and "null" not in named else {}
    )


def _text_instruction(kind: Type) -> str:
    if kind.kind == "enum":
        return f"exactly one of these: {_choices(kind)}"
    if kind.kind == "scalar":
        named = kind.describe().removesuffix("?")
        asked = {"integer": "one whole number", "number": "one number", "boolean": "true or false"}.get(named, named)
        return f"{asked}, or null" if kind.nullable and named != "null" else asked
    return ""


def _reply_schema(kind: Type, *, reasoning: bool) -> dict[str, Any]:
    """The schema of the whole reply: the value's own, or the thinking and the value side by side."""
    schema = kind.model_schema()
    if not reasoning:
        return schema
    shared = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    inner = schema["properties"]["value"] if kind.is_wrapped else schema
    return {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "value": inner},
        "required": ["reasoning", "value"],
        "additionalProperties": False,
        **shared,
    }


def _demo_reply(kind: Type, form: Format, demo: Demo, *, reasoning: bool) -> str:
    """What the model would have written: `parse` gives the demo's output back."""
    thought = demo.reasoning or ""
    if form is Format.TEXT:
        text = template.to_text(demo.output)
        return f"{thought}\nAnswer: {text}".strip() if reasoning else text
    value = demo.output
    if reasoning:
        value = {"reasoning": thought, "value": value}
    elif kind.is_wrapped:
        value = {"value": value}
    return json.dumps(value, ensure_ascii=False)


def ask_again(request: Request, reply: str, problem: str) -> Request:
    """The request with the reply that could not be used, and why, so that the model can mend it."""
    again = f"That reply cannot be used: {problem}. Reply again, in the form asked for."
    added = (Message("assistant", whole_text(reply) or "(empty)"), Message("user", again))
    return replace(request, messages=(*request.messages, *added))


def parse(kind: Type, form: Format, text: str, *, reasoning: bool = False, cut_off: bool = False) -> Parsed:
    """Read a reply: tolerant of code fences and prose around the answer, strict about the type. Raises ParseError.

    cut_off: the reply was ended by a limit, so what may be but the beginning of an answer is none.
    """
    try:
        return _parse(kind, form, text, reasoning=reasoning, cut_off=cut_off)
    except ParseError as exc:
        exc.text = text
        raise


def _parse(kind: Type, form: Format, text: str, *, reasoning: bool, cut_off: bool) -> Parsed:
    if not text.strip():
        raise ParseError("the reply is empty", text=text)
    thought, answer = None, text
    if form is Format.TEXT and reasoning:
        thought, answer = _split_thought(kind, text)
    if form is not Format.TEXT or kind.kind not in ("text", "enum", "scalar"):
        found = _read_json(kind, answer, reasoning=reasoning and form is not Format.TEXT, cut_off=cut_off)
        return replace(found, reasoning=found.reasoning or thought)
    value = _read_text(kind, answer, cut_off=cut_off)
    if problems := kind.check(value):
        raise _misfit(problems, text)
    return Parsed(whole_text(value) if isinstance(value, str) else value, thought)


def _misfit(problems: list[str], text: str) -> ParseError:
    return ParseError(f"the reply does not fit the output type: {'; '.join(problems)}", text=text)


# No part of these may match what the part before it can: a reply can be megabytes of the same character.
_ANSWER = re.compile(r"^[ \t*_#>]*(?:final )?answer[ \t]*(?:\*\*[ \t]*)?:[ \t]*(?:\*\*)?", re.IGNORECASE | re.MULTILINE)


def _split_thought(kind: Type, text: str) -> tuple[str | None, str]:
    marks = list(_ANSWER.finditer(text))
    if marks:
        return text[: marks[-1].start()].strip() or None, text[marks[-1].end() :]
    if kind.kind == "text":
        raise ParseError("no line of the reply begins with 'Answer:'", text=text)
    return text.strip(), text


def _read_text(kind: Type, answer: str, *, cut_off: bool) -> Any:
    if kind.kind == "text":
        if not answer.strip():
            raise ParseError("nothing follows 'Answer:'", text=answer)
        return answer.strip()
    read = _read_choice if kind.kind == "enum" else _read_scalar
    return read(kind, answer, cut_off=cut_off)


_WRAPPING = " \t\r\n\"'`´“”„‘’«»*_,;:!()[]<>"


def _bare(text: str) -> str:
    """Without quotes, emphasis and brackets around it, nor a full stop behind it."""
    return text.strip(_WRAPPING).rstrip(_WRAPPING + ".")


def _plain(label: str) -> str:
    """Case, and what joins words, do not tell labels apart; a minus before a number does."""
    return _bare(re.sub(r"(?:[\s_]|(?<=\w)-|-(?!\d))+", " ", label.casefold()))


def _read_choice(kind: Type, answer: str, *, cut_off: bool) -> Any:
    """The one choice that the answer is, or else names as whole words."""
    labels = _labels(kind)
    exact = next((word for word in (answer.strip(), _bare(answer)) if word in labels), None)
    named = [exact] if exact is not None else _named(list(labels), _plain(answer))
    longer = [label for label in labels if cut_off and label not in named and label.startswith(tuple(named))]
    if len(named) == 1 and not (longer and answer.endswith(named[0])):
        return labels[named[0]]
    said = f"names several of them ({', '.join(sorted(named + longer))})" if named else f"is {_shown(answer)}"
    raise ParseError(f"the reply must be one of {_choices(kind)}, and {said}", text=answer)


def _named(labels: list[str], answer: str) -> list[str]:
    """The labels that the answer is or, where it is none, holds; both in the form of `_plain`."""
    if same := [label for label in labels if _plain(label) == answer]:
        return same
    found = []
    for label in sorted(labels, key=len, reverse=True):  # the longest first, so that `no` is not found in `no refund`
        plain = _plain(label)
        if not plain or plain not in answer:  # far cheaper than the search for whole words
            continue
        before, after = (r"(?<!\w)", r"(?!\w)")
        if plain[:1].isdigit():  # 1 is not in -1, 0.1 or 1.5
            before, after = r"(?<![\w.,+-])", r"(?![.,]?\w)"
        answer, count = re.subn(f"{before}{re.escape(plain)}{after}", " ", answer)
        if count:
            found += [other for other in labels if _plain(other) == plain]
    return found


_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?!\w)")
_BOOLEAN = re.compile(r"\b(?:true|false|yes|no)\b", re.IGNORECASE)
_SHOWN_WORDS = 3


def _read_scalar(kind: Type, answer: str, *, cut_off: bool) -> Any:
    """The one number (or boolean) that the answer is, or else holds."""
    boolean = kind.describe().startswith("boolean")
    answer = answer.replace("−", "-").rstrip()
    if cut_off and not boolean and answer.rstrip(".,")[-1:].isdigit():
        raise ParseError("the number may go on", text=answer)
    try:
        return kind.coerce(_bare(answer))
    except ValueError as exc:
        problem = str(exc)
    words = {match.group(): None for match in (_BOOLEAN if boolean else _NUMBER).finditer(answer)}
    values: dict[Any, str] = {}
    for word in islice(words, 1000):
        try:
            values.setdefault(kind.coerce(word.replace(",", "")), word)
        except ValueError as exc:
            problem = str(exc)
            break
    else:
        if len(values) == 1:
            return next(iter(values))
    if len(values) > 1:
        problem = f"it holds several of them ({', '.join(islice(values.values(), _SHOWN_WORDS))})"
    raise ParseError(f"the reply must be {kind.describe()}, and {problem}", text=answer)


def _read_json(kind: Type, text: str, *, reasoning: bool, cut_off: bool) -> Parsed:
    """The JSON in a reply that fits the type: the whole, else in code fences, else among the words, else mended."""
    problems: list[str] = []
    for values in jsonish.values(text, mend=not cut_off):
        fit: list[Parsed] = []
        for value in values:
            thought, bare = _unwrap(kind, value, reasoning=reasoning)
            found = kind.check(bare) or _unstorable(bare)
            problems = problems or found
            if not found and all(bare != other.value for other in fit):
                fit.append(Parsed(storable(bare), thought))
        if len(fit) == 1:
            return fit[0]
        if fit:
            raise ParseError(f"the reply holds {len(fit)} different answers", text=text)
    if problems:
        raise _misfit(problems, text)
    raise ParseError(f"the reply is not JSON: {_shown(text)}", text=text)


def _unstorable(value: Any) -> list[str]:
    try:
        storable(value)
    except ValueError as exc:
        return [str(exc)]
    return []


def _unwrap(kind: Type, value: Any, *, reasoning: bool) -> tuple[str | None, Any]:
    """The thinking and the value from a reply that may carry both, or a value of its own under `value`."""
    if reasoning and isinstance(value, dict) and "value" in value and set(value) <= {"reasoning", "value"}:
        thought = value.get("reasoning")
        return (whole_text(thought) or None if isinstance(thought, str) else None), value["value"]
    if kind.is_wrapped and isinstance(value, dict) and set(value) == {"value"}:
        return None, value["value"]
    return None, value


def _shown(text: str, most: int = 60) -> str:
    line = " ".join(text[: 10 * most].split())
    return repr(line if len(line) <= most else line[:most] + "…")
