"""A step with its parameters and its inputs ↔ the messages of a model: every byte that is sent is made here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptchain import template
from promptchain.chain import Demo, Format, PromptStep
from promptchain.errors import ParseError, PromptChainError
from promptchain.lm.protocol import Capabilities, Message, Request
from promptchain.records import StepVariant
from promptchain.template import TemplateFault
from promptchain.types import Type


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says: the step's value, and the thinking before it where the step asks for it."""

    value: Any
    reasoning: str | None = None


def resolve_format(step: PromptStep, variant: StepVariant, capabilities: Capabilities) -> Format:
    """The format a step uses on a model: the given one, else text for text, an enum or a scalar, else the provider's
    structured output where there is one, else JSON in the reply."""
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
) -> Request:
    """The request for one call of `step`. Pure: the same arguments give the same request.

    values: for each name that the templates use. Raises PromptChainError where a template has no value to put in.
    """
    form = resolve_format(step, variant, capabilities)
    reasoning = bool(variant.reasoning)
    system = _text(variant.instructions or "", values, "instructions")
    instruction = format_instruction(
        step.type, form, reasoning=reasoning, shown=not capabilities.schema or capabilities.local
    )
    messages = []
    if head := "\n\n".join(part for part in (system, instruction) if part):
        messages.append(Message("system", head))
    for demo in variant.demos or ():
        shown = dict.fromkeys(values) | demo.inputs
        messages.append(Message("user", _text(step.prompt.text, shown, "prompt")))
        messages.append(Message("assistant", _demo_reply(step.type, form, demo, reasoning=reasoning)))
    messages.append(Message("user", _text(step.prompt.text, values, "prompt")))
    request = Request(model=model, messages=tuple(messages), params=params)
    if form is Format.SCHEMA:
        return replace(request, schema=_reply_schema(step.type, reasoning=reasoning))
    if form is Format.TEXT and not reasoning and step.type.kind == "enum":
        return replace(request, choices=tuple(template.to_text(choice) for choice in step.type.choices))
    if form is Format.TEXT and not reasoning and step.type.kind == "scalar" and capabilities.grammar:
        return replace(request, schema=step.type.schema)
    return request


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
            return f"Reply with exactly one of these, and nothing else: {_choices(kind)}"
        if not reasoning:
            return f"Reply with {asked}, and nothing else." if asked else ""
        asked = asked or "the answer alone"
        return f'Think step by step first. Then write a last line that begins with "Answer:", followed by {asked}.'
    if form is Format.SCHEMA and not shown:
        return ""
    schema = json.dumps(_reply_schema(kind, reasoning=reasoning), ensure_ascii=False, separators=(", ", ": "))
    return f"Reply with JSON that fits this JSON Schema, and nothing else:\n{schema}"


def _choices(kind: Type) -> str:
    return ", ".join(template.to_text(choice) for choice in kind.choices)


def _text_instruction(kind: Type) -> str:
    if kind.kind == "enum":
        return f"exactly one of these: {_choices(kind)}"
    if kind.kind == "scalar":
        named = str(kind.schema.get("type"))
        return {"integer": "one whole number", "number": "one number", "boolean": "true or false"}.get(
            named, kind.describe()
        )
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
    added = (Message("assistant", reply or "(empty)"), Message("user", again))
    return replace(request, messages=(*request.messages, *added))


def parse(kind: Type, form: Format, text: str, *, reasoning: bool = False) -> Parsed:
    """Read a reply: tolerant of code fences and prose around the answer, strict about the type. Raises ParseError."""
    if not text.strip():
        raise ParseError("the reply is empty", text=text)
    if form is Format.TEXT:
        thought, answer = _split_thought(kind, text) if reasoning else (None, text)
        value = _read_text(kind, answer, text)
    else:
        thought, value = _unwrap(kind, _read_json(text), reasoning=reasoning)
    problems = kind.check(value)
    if problems:
        raise ParseError(f"the reply does not fit the output type: {'; '.join(problems)}", text=text)
    return Parsed(value, thought)


_ANSWER = re.compile(r"^[\s*_#>]*(?:final )?answer\s*(?:\*\*)?\s*:\s*(?:\*\*)?", re.IGNORECASE | re.MULTILINE)


def _split_thought(kind: Type, text: str) -> tuple[str | None, str]:
    marks = list(_ANSWER.finditer(text))
    if marks:
        return text[: marks[-1].start()].strip() or None, text[marks[-1].end() :]
    if kind.kind == "text":
        raise ParseError("no line of the reply begins with 'Answer:'", text=text)
    return text.strip(), text


_WRAPPING = " \t\r\n\"'`*_.,;:!()[]<>"


def _read_text(kind: Type, answer: str, text: str) -> Any:
    if kind.kind == "text":
        return answer.strip()
    if kind.kind == "enum":
        return _read_choice(kind, answer, text)
    if kind.kind == "scalar":
        return _read_scalar(kind, answer, text)
    return _read_json(answer)


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label.casefold()).strip(_WRAPPING)


def _read_choice(kind: Type, answer: str, text: str) -> Any:
    """The one choice that the answer is, or else names as whole words."""
    labels = {template.to_text(choice): choice for choice in kind.choices}
    if answer.strip() in labels:
        return labels[answer.strip()]
    same = {choice for label, choice in labels.items() if _plain(label) == _plain(answer)}
    if len(same) == 1:
        return same.pop()
    rest = " " + _plain(answer) + " "
    named = []
    for label in sorted(labels, key=len, reverse=True):  # the longest first, so that `no` is not found in `no refund`
        shape = re.compile(rf"(?<!\w){re.escape(_plain(label))}(?!\w)")
        if _plain(label) and shape.search(rest):
            named.append(label)
            rest = shape.sub(" ", rest)
    if len(named) == 1:
        return labels[named[0]]
    known = ", ".join(labels)
    said = f"names several of them ({', '.join(sorted(named))})" if named else f"is {_shown(answer)}"
    raise ParseError(f"the reply must be one of {known}, and {said}", text=text)


_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w)")
_BOOLEAN = re.compile(r"\b(true|false|yes|no)\b", re.IGNORECASE)


def _read_scalar(kind: Type, answer: str, text: str) -> Any:
    """The one number (or boolean) that the answer is, or else holds."""
    found = [answer.strip(_WRAPPING), *dict.fromkeys(_words(kind, answer))]
    for index, word in enumerate(found):
        if index == 1 and len(found) != 2:
            break
        try:
            return kind.coerce(word)
        except ValueError as exc:
            problem = str(exc)
    if len(found) > 2:
        problem = f"holds {len(found) - 1} of them ({', '.join(found[1:4])})"
    raise ParseError(f"the reply must be {kind.describe()}, and {problem}", text=text)


def _words(kind: Type, answer: str) -> Iterator[str]:
    if kind.schema.get("type") == "boolean":
        yield from (match.group().lower() for match in _BOOLEAN.finditer(answer))
    else:
        yield from (match.group().replace(",", "") for match in _NUMBER.finditer(answer))


_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n?(.*?)```", re.DOTALL)


def _read_json(text: str) -> Any:
    """The JSON in a reply: the whole, a code fence, or what stands between the outermost brackets."""
    candidates = [text, *(match.group(1) for match in _FENCE.finditer(text))]
    starts = [index for index in (text.find("{"), text.find("[")) if index >= 0]
    if starts:
        candidates.append(text[min(starts) : max(text.rfind("}"), text.rfind("]")) + 1])
    for candidate in candidates:
        try:
            return json.loads(candidate, strict=False, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            continue
    if not starts:
        raise ParseError(f"the reply is not JSON: {_shown(text)}", text=text)
    return _repaired(text, text[min(starts) :])


def _repaired(text: str, broken: str) -> Any:
    """What json-repair makes of nearly-JSON: single quotes, a trailing comma, a missing bracket."""
    import json_repair  # slow to import, and rarely needed

    try:
        value = json_repair.loads(broken)
    except (ValueError, RecursionError) as exc:
        raise ParseError(f"the reply is not JSON: {_shown(text)}", text=text) from exc
    if not isinstance(value, dict | list):
        raise ParseError(f"the reply is not JSON: {_shown(text)}", text=text)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unwrap(kind: Type, value: Any, *, reasoning: bool) -> tuple[str | None, Any]:
    """The thinking and the value from a reply that may carry both, or a value of its own under `value`."""
    if reasoning and isinstance(value, dict) and "value" in value and set(value) <= {"reasoning", "value"}:
        thought = value.get("reasoning")
        return (thought if isinstance(thought, str) else None), value["value"]
    if kind.is_wrapped and isinstance(value, dict) and set(value) == {"value"}:
        return None, value["value"]
    return None, value


def _shown(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[:most] + "…")
