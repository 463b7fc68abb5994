"""What a proposer is shown of a step and its failures, and what may be made of its reply."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptchain import checks, render, template
from promptchain.bench import Trial
from promptchain.chain import Text
from promptchain.lm.secrets import redact
from promptchain.optimizers.protocol import Task, text_tokens
from promptchain.records import Status, StepVariant, whole_text
from promptchain.template import TemplateFault

_MOST_SHOWN = 2000
"""Characters of one value that the proposer sees."""

_WORDS_PER_TOKEN = 0.6
"""Of English text, where a token is four bytes."""

Record = Mapping[str, str]
"""What came of one request, under headings."""


def minimal(task: Task) -> str:
    """Instructions for a step that has none: what it has to do with what, after the default of DSPy's signatures."""
    given = ", ".join(f"`{name}`" for name in task.shown)
    return f"Given {given}, produce `{task.step}`." if given else f"Produce `{task.step}`."


def record(task: Task, trial: Trial) -> Record:
    """A trial as the proposer sees it."""
    own = trial.run.steps[task.step]
    values: Mapping[str, Any] = {**trial.run.inputs, **{name: step.value for name, step in trial.run.steps.items()}}
    shown = {name: _short(values[name]) for name in _names(task) if name in values}
    reply = own.value if own.status is Status.DONE else own.calls[-1].reply if own.calls else None
    shown["The reply"] = "(none)" if reply is None else _short(reply)
    gold = trial.example.gold(task.bench.plan.chain)
    if task.step in gold:
        shown["The reply that was expected"] = _short(gold[task.step])
    verdict = "right" if trial.passed else f"wrong: {trial.feedback(task.step) or 'it did not pass'}"
    return {**shown, "The verdict": _short(verdict)}


def question(task: Task, variant: StepVariant, instructions: str, records: Sequence[Record]) -> str:
    """What the proposer is asked, after the reflection prompt of GEPA (Agrawal et al., arXiv:2507.19457)."""
    step, bound = task.definition, replace(task.bench.bound.prompts[task.step], variant=variant)
    form = render.format_instruction(step.type, bound.format(), reasoning=bool(variant.reasoning))
    about = " ".join(part for part in (task.bench.plan.chain.description, step.description) if part)
    names = ", ".join(f"{{{{ {name} }}}}" for name in sorted(known_names(task)))
    words = max(1, int(task.tuning.max_instruction_tokens * _WORDS_PER_TOKEN))
    parts = [
        "You improve the instructions that a language model is given with every request.",
        about and f"What it is for: {_short(about)}",
        f"Its instructions now:\n<instructions>\n{instructions}\n</instructions>",
        form and f"It is also told, and you need not repeat:\n<form>\n{_short(form)}\n</form>",
        f"The request itself:\n<request>\n{_short(step.prompt.text)}\n</request>",
        "This came of some requests:",
        *(_example(number, one) for number, one in enumerate(records, 1)),
        "Find out what the instructions lack, and write better ones. Say in general terms how to get it right: what "
        "the task is, what tells one case from another, and facts that the model cannot know. Keep what works. Other "
        "requests will come, so do not quote these.",
        f"Write at most {words} words. Do not write double braces"
        + (f", unless to have a value put in: {names}." if names else "."),
        "Reply with the new instructions between <instructions> and </instructions>.",
    ]
    return "\n\n".join(part for part in parts if part)


def _example(number: int, one: Record) -> str:
    return f"# Request {number}\n" + "\n".join(f"## {name}\n{text}" for name, text in one.items())


def _short(value: Any) -> str:
    text = template.to_text(value).strip()
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _names(task: Task) -> tuple[str, ...]:
    """The inputs and steps that the step's request is made of; of one that goes through a list, the list."""
    loop, texts = task.definition.for_each, [task.definition.instructions.text]
    found = [*task.shown, *(reference.name for text in texts for reference in template.parse(text).references)]
    if loop is not None:
        found += [reference.name for reference in template.expression(loop.in_).references]
    return tuple(dict.fromkeys(found))


def known_names(task: Task) -> frozenset[str]:
    """What the step's templates may name: inputs, and the steps that it waits for as it is. Another step's value need
    not be there when this one runs."""
    loop = task.definition.for_each
    own = {loop.as_, "index"} if loop is not None else set()
    return frozenset(task.bench.plan.chain.input_type.fields()) | task.bench.plan.nodes[task.step].after | own


_TAGGED = re.compile(r"<instructions>(.*?)</instructions>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"```[^\n`]*\n(.*)\n[ \t]*```", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def written(reply: str) -> str:
    """The instructions in a reply: what stands in the last tags, or between fences, else the reply as it is; nothing
    where tags or fences were opened and never closed, for then the reply was cut off.

    White space is made such that a YAML block scalar can carry it.
    """
    text = reply.rpartition("</think>")[2]
    tagged = _TAGGED.findall(text)
    if tagged:
        text = tagged[-1]
    elif "<instructions>" in text.lower():
        return ""
    if fenced := _FENCED.search(text):
        text = fenced[1]
    elif text.lstrip().startswith("```"):
        return ""
    lines = (_CONTROL.sub("", line.expandtabs(4)).rstrip() for line in whole_text(text).strip().splitlines())
    return "\n".join(lines).strip()


def flaw(task: Task, instructions: str) -> str | None:
    """Why these instructions are not worth a trial, in a word or two; None where they are."""
    if not instructions:
        return "empty"
    if text_tokens(instructions) > task.tuning.max_instruction_tokens:
        return "too long"
    if redact(instructions) != instructions:
        return "with a secret"  # of what went wrong with an example that had one; the lock is committed
    try:
        names = {reference.name for reference in template.parse(instructions).references}
    except TemplateFault:
        return "broken as a template"
    if names - known_names(task):
        return "naming what the step has not"
    if not names:
        return None
    step = task.definition.model_copy(update={"instructions": Text(text=instructions)})
    found = checks.check(task.bench.plan.chain.with_step(task.step, step))
    at = ("steps", task.step, "instructions")
    return "broken as a template" if any(fault.path[:3] == at for fault in found) else None
