"""A recorded run as a section: its steps in time, and every message that was sent and received."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from promptchain import results, template, told
from promptchain.binding import BoundPlan
from promptchain.errors import PromptChainError
from promptchain.lm.protocol import Capabilities, ToolSpec
from promptchain.records import Run, StepRun, ToolRun
from promptchain.reports.html.dialogue import Sent, turns
from promptchain.reports.html.graph import graph
from promptchain.reports.html.page import Exact

Tools = Mapping[tuple[str, str], "tuple[ToolSpec, ...] | str"]
"""By chain and step what models are told of the tools, or why that cannot be had."""


@dataclass(frozen=True)
class Source:
    """What a run was of. bound: the chain as it ran; None where it is not there any more, and `note` says why. able:
    what a model can do that the chain does not name any more."""

    bound: BoundPlan | None = None
    tools: Tools = field(default_factory=dict)
    note: str = ""
    able: Callable[[str], Capabilities] = lambda _: Capabilities()

    def inner(self, chain: str) -> Source:
        """Of a chain in the chain."""
        own = self.bound.chains.get(chain) if self.bound else None
        note = "" if own else self.note or f"the chain '{chain}' is not there any more"
        return Source(own, self.tools, note, self.able)


def section(run: Run, version: str, source: Source) -> dict[str, Any]:
    """The section of a run. version: its name, as `support@v7`."""
    plan = source.bound.plan if source.bound else None
    prompts = source.bound.prompts if source.bound else {}
    models = {name: prompt.model for name, prompt in prompts.items()}
    return {
        "kind": "run",
        "title": f"{run.chain}: run {run.id[:12]}",
        "version": version,
        "note": source.note,
        "graph": graph(plan, models) if plan else None,
        **_run(run, source),
    }


def _run(run: Run, source: Source) -> dict[str, Any]:
    values: dict[str, Any] = {
        template.REASONING: {name: _reasoning(step) for name, step in run.steps.items()},
        **run.inputs,
        **{name: step.value for name, step in run.steps.items()},
    }
    return {
        "id": run.id,
        "chain": run.chain,
        "model": run.model,
        "started": run.started,
        "seconds": run.seconds,
        "status": run.status.value,
        "inputs": Exact(dict(run.inputs)),
        "outputs": Exact(dict(run.outputs)),
        "error": run.error,
        "hint": run.hint,
        "replay_of": run.replay_of,
        "compiled": run.compiled.model_dump(mode="json") if run.compiled else None,
        "totals": {**run.totals.model_dump(mode="json"), "cached": _cached(run)},
        "steps": [_step(name, step, values, source) for name, step in run.steps.items()],
    }


def _cached(run: Run) -> int:
    return sum(call.cached for step in run.steps.values() for call in step.all_calls())


def _reasoning(step: StepRun) -> Any:
    return [item.reasoning for item in step.items] if step.items else step.reasoning


def _step(name: str, step: StepRun, values: Mapping[str, Any], source: Source) -> dict[str, Any]:
    defined = source.bound.plan.chain.steps.get(name) if source.bound else None
    kind = told.kind(defined) if defined else ""
    own = {"name": name, "kind": kind, "does": told.does(defined) if defined else "", **_facts(step)}
    if not step.items:
        return own | _course(step, _seen(name, step, values, source), source)
    names = _item_names(name, len(step.items), values, source)
    own["items"] = [
        {
            "name": f"item {index + 1}",
            **_facts(item),
            **_course(item, _seen(name, item, {**values, **names[index]} if names else None, source), source),
        }
        for index, item in enumerate(step.items)
    ]
    return own


def _facts(step: StepRun) -> dict[str, Any]:
    """How a step or an item ended, and what it used."""
    calls = [*step.all_calls()]
    passages = told.passages(step.value) is not None
    return {
        "status": step.status.value,
        "started": step.started,
        "seconds": step.seconds,
        "cost": results.cost(step),
        "tokens": results.tokens(step),
        "calls": len(calls),
        "cached": sum(call.cached for call in calls),
        "models": list(dict.fromkeys(call.model for call in calls)),
        "tool_calls": len([*step.all_tools()]),
        "error": step.error,
        "hint": step.hint,
        "warnings": list(step.warnings),
        "reasoning": step.reasoning,
        "value": step.value if passages else Exact(step.value),
        "passages": passages,
        "sample": step.sample,
    }


def _course(step: StepRun, sent: Sent, source: Source) -> dict[str, Any]:
    """How a step or an item came by its value."""
    return {
        "turns": turns(sent, step),
        "tools": [_tool(tool, source) for tool in step.tools],
        "run": _run(step.run, source.inner(step.run.chain)) if step.run else None,
    }


def _tool(tool: ToolRun, source: Source) -> dict[str, Any]:
    return {
        "name": tool.name,
        "arguments": Exact(tool.arguments),
        "value": Exact(tool.value),
        "error": tool.error,
        "turn": tool.turn,
        "started": tool.started,
        "seconds": tool.seconds,
        "sample": tool.sample,
        "run": _run(tool.run, source.inner(tool.run.chain)) if tool.run else None,
    }


def _seen(name: str, step: StepRun, values: Mapping[str, Any] | None, source: Source) -> Sent:
    """What the step sent its models, as far as that can be made again."""
    if source.bound is None:
        return Sent(note=source.note)
    prompt = source.bound.prompts.get(name)
    if prompt is None:
        return Sent(note="asked by the step itself, with the passages that it had found" if step.calls else "")
    if values is None:
        return Sent(note="the list of its items cannot be made any more")
    tools = source.tools.get((source.bound.plan.chain.name, name), ())
    if isinstance(tools, str):
        return Sent(note=tools)
    asked = step.calls[0].model if step.calls else prompt.model
    if asked not in (name for name, _ in prompt.models):  # --model, or the environment, said so then
        prompt = replace(prompt, models=((asked, source.able(asked)), *prompt.models))
    return Sent(prompt, values, tools)


def _item_names(name: str, count: int, values: Mapping[str, Any], source: Source) -> list[dict[str, Any]] | None:
    """What each round of a `for_each` calls its item; None where the list is not what it was."""
    step = source.bound.plan.chain.steps.get(name) if source.bound else None
    if step is None or step.for_each is None:
        return None
    try:
        found = template.expression(step.for_each.in_).value(values)
        items = list(found)
    except (PromptChainError, template.TemplateFault, TypeError):
        return None
    if len(items) != count:
        return None
    return [{step.for_each.as_: item, "index": index} for index, item in enumerate(items)]


def steps_with_tools(bound: BoundPlan) -> list[tuple[BoundPlan, str]]:
    """The steps of a chain, and of those in it, that have tools, each with its plan."""
    plans = (bound, *bound.all_chains())
    return [(plan, name) for plan in plans for name, prompt in plan.prompts.items() if prompt.step.tools]
