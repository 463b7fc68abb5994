"""A recorded run as lines: what its steps did, how they came by what they gave, and what they used."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptchain import template, told
from promptchain.cli.output import dollars, plural, printable, seconds, style, when
from promptchain.records import Call, Run, Status, StepRun, ToolRun

_MOST_ITEMS = 20
"""Items of a `for_each` that are shown where not all are asked for."""
_SPACE = "  "
_LEAST = 20
"""Columns that a line has at least, however deep it stands."""


@dataclass(frozen=True)
class View:
    """How a run is shown. width: columns after which what happened on the way is cut; None where nothing is. What a run
    and its steps gave is never cut."""

    width: int | None = None

    def lines(self, run: Run, version: str) -> Iterator[str]:
        """All of a run."""
        used = f"{seconds(run.seconds)}, {run.totals.tokens} tokens, {dollars(run.totals.cost)}"
        yield _bold(f"run {run.id}")
        place = f"{version} on {run.model or 'no model'}, {when(run.started)}"
        yield printable(f"{place}: {run.status}; {used}")
        if run.compiled is not None:
            yield printable(f"compiled for {run.compiled.model}: {', '.join(run.compiled.steps)}")
        if run.replay_of:
            yield printable(f"replays {run.replay_of}")
        if run.error:
            yield style(printable(f"error: {run.error}"), "31", sys.stdout)
        if run.hint:
            yield printable(f"  hint: {run.hint}")
        yield from _values("inputs", run.inputs)
        for name, step in run.steps.items():
            yield ""
            yield from self._step(f"step {name}", step, "")
        yield from _values("outputs", run.outputs)

    def _step(self, title: str, step: StepRun, space: str) -> Iterator[str]:
        yield f"{space}{_bold(printable(title))}{_SPACE}{printable(_head(step))}"
        space += _SPACE
        if step.error:
            yield from _block(step.error, space)
        yield from self._course(step, space)
        for index, item in enumerate(step.items if self.width is None else step.items[:_MOST_ITEMS], 1):
            yield from self._step(f"item {index}", item, space)
        if self.width is not None and len(step.items) > _MOST_ITEMS:
            yield f"{space}… {plural(len(step.items) - _MOST_ITEMS, 'item')} more: --full"
        yield from self._value(step, space)

    def _course(self, step: StepRun, space: str) -> Iterator[str]:
        """How the step came by its value."""
        for warning in step.warnings:
            yield self._cut(f"warning: {warning}", space, "33")
        if step.fingerprint:
            yield self._cut(f"corpus {step.fingerprint if self.width is None else step.fingerprint[:12]}", space, "2")
        drawn = {call.sample for call in step.calls} | {tool.sample for tool in step.tools}
        if step.sample is None and not any(drawn):
            yield from self._tries(step.calls, step.tools, space)
        else:
            for sample in sorted(drawn):
                yield from self._draw(step, sample, space)
        if step.reasoning:
            yield from self._long("reasoning", step.reasoning, space)
        if step.run is not None:
            yield from self._inner(step.run, space)

    def _draw(self, step: StepRun, sample: int, space: str) -> Iterator[str]:
        """One of several samples, and whether the step's value is that one's."""
        calls = [call for call in step.calls if call.sample == sample]
        said = next((call for call in reversed(calls) if call.error is None), None)
        taken = " (taken)" if step.sample == sample else ""
        reply = "" if said is None else template.to_text(step.value) if said.reply is None else said.reply
        yield self._cut(f"draw {sample + 1}{taken}: {reply if said else 'not used'}", space, "1" if taken else "")
        tools = [tool for tool in step.tools if tool.sample == sample]
        yield from self._tries(calls, tools, space + _SPACE)

    def _tries(self, calls: Sequence[Call], tools: Sequence[ToolRun], space: str) -> Iterator[str]:
        """The calls that did not count and those of tools, in the order in which they were made."""
        failed: list[Call | ToolRun] = [call for call in calls if call.error is not None]
        turn = 0
        for one in sorted([*failed, *tools], key=lambda one: one.started):
            if isinstance(one, Call):
                yield self._cut(f"{'call failed' if one.reply is None else 'not taken'}: {one.error}", space, "33")
                if one.reply:  # one that calls tools may say nothing
                    yield from self._long("it said", one.reply, space + _SPACE)
                continue
            yield from self._tool(one, f"turn {one.turn}" if one.turn != turn else "", space)
            turn = one.turn

    def _tool(self, tool: ToolRun, title: str, space: str) -> Iterator[str]:
        call, result = told.call(tool.name, tool.arguments), told.result(tool)
        took = f"  ({seconds(tool.seconds)})"
        title = title.ljust(len("turn 10"))
        if self.width is not None:
            room = max(_LEAST, self.width - len(space) - len(title) - len(took) - len(_SPACE) - len(" → "))
            call = shortened(call, max(room - len(result), room // 2))
            result = shortened(result, max(_LEAST // 2, room - len(call)))
        result = style(printable(result), "31", sys.stdout) if tool.error is not None else printable(result)
        dim = [style(text, "2", sys.stdout) for text in (title, took)]
        yield f"{space}{dim[0]}{_SPACE}{printable(call)} → {result}{dim[1]}"
        if tool.run is not None:
            yield from self._inner(tool.run, space + " " * len(title) + _SPACE)

    def _inner(self, run: Run, space: str) -> Iterator[str]:
        """The run of a chain within the run."""
        used = f"{run.status}, {seconds(run.seconds)}, {plural(run.totals.calls, 'call')}, {run.totals.tokens} tokens"
        yield f"{space}{_bold(printable(f'chain {run.chain}'))}{_SPACE}{used}"
        for name, value in run.inputs.items():
            yield self._cut(f"{name}: {told.brief(value)}", space + _SPACE)
        for name, step in run.steps.items():
            yield from self._step(f"step {name}", step, space + _SPACE)

    def _value(self, step: StepRun, space: str) -> Iterator[str]:
        if step.value is None:
            return
        found = told.passages(step.value)
        if found is not None:
            yield from passage_lines(found, space, self.width)
            return
        text = template.to_text(step.value)
        if step.items and self.width is not None and len(space) + len(text) > self.width:
            return  # the items tell it
        yield from _block(text, space)

    def _long(self, name: str, text: str, space: str) -> Iterator[str]:
        """A text of which the beginning tells enough, or all of it."""
        if self.width is None and "\n" in text.strip():
            yield self._cut(f"{name}:", space, "2")
            yield from _block(text.strip(), space + _SPACE)
        else:
            yield self._cut(f"{name}: {text}", space, "2")

    def _cut(self, text: str, space: str, code: str = "") -> str:
        return _line(text, space, self.width, code)


def passage_lines(found: Sequence[Mapping[str, Any]], space: str, width: int | None) -> Iterator[str]:
    """A line for each passage: score, place and title, and where nothing is cut its text."""
    places = [told.place(passage) for passage in found]
    widest = min(40, max(map(len, places), default=0))
    for passage, place in zip(found, places, strict=True):
        title = str(passage["title"]) if passage["source"] else ""
        title = title or " ".join(str(passage["text"]).split())
        yield _line(f"{_score(passage['score'])}  {place.ljust(widest)}  {title}", space, width)
        if width is None:
            yield from _block(str(passage["text"]), space + _SPACE)


def _line(text: str, space: str, width: int | None, code: str = "") -> str:
    """A line, as long as there is room for it."""
    text = printable(" ".join(text.splitlines())).rstrip()
    if width is not None:
        text = shortened(text, max(_LEAST, width - len(space)))
    return space + (style(text, code, sys.stdout) if code else text)


def shortened(text: str, room: int) -> str:
    """A text in at most so many characters."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def _head(step: StepRun) -> str:
    """How a step ended, and what it used; a step that called no model, and was none to, has no calls to tell of."""
    calls, tools = [*step.all_calls()], [*step.all_tools()]
    told_of = f"{step.status}, {seconds(step.seconds)}"
    if calls or step.status is not Status.DONE:
        spent = sum(call.prompt_tokens + call.completion_tokens for call in calls)
        told_of += f", {plural(len(calls), 'call')}, {spent} tokens"
    return told_of + (f", {plural(len(tools), 'tool call')}" if tools else "")


def _score(score: Any) -> str:
    return f"{score:.3g}".rjust(6) if isinstance(score, int | float) else str(score)


def _bold(text: str) -> str:
    return style(text, "1", sys.stdout)


def _values(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    if not values:
        return
    yield ""
    yield _bold(title)
    for name, value in values.items():
        yield from _block(f"{name}: {template.to_text(value)}", _SPACE)


def _block(text: str, space: str) -> Iterator[str]:
    yield from (f"{space}{line}" for line in printable(text).splitlines() or [""])
