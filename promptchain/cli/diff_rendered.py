"""The messages of both sides of `chain diff --rendered`, on the same example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from promptchain import plan
from promptchain.changes import as_text
from promptchain.cli.show_rendered import first_item
from promptchain.errors import InputError, PromptChainError, known_or_nearest

if TYPE_CHECKING:
    from promptchain.chain import Chain, PromptStep, Step
    from promptchain.lm.protocol import LM, ToolSpec
    from promptchain.lock import Lock
    from promptchain.parts import Tool
    from promptchain.project import Project
    from promptchain.records import StepVariant
    from promptchain.steps.context import Context
    from promptchain.types import Type

_ROWS_TRIED = 100
_DEPTH = 8


@dataclass(frozen=True)
class Given:
    """Inputs as the command line gives them."""

    pairs: Sequence[str] = ()
    source: str | None = None
    text: str | None = None

    def __bool__(self) -> bool:
        return bool(self.pairs) or self.source is not None or self.text is not None


@dataclass(frozen=True)
class Example:
    """Values for the names that templates use. told: where they come from, for people."""

    told: str
    values: Mapping[str, Any] = field(default_factory=dict)


def examples(project: Project, chains: Sequence[Chain], given: Given, stdin: str | None) -> list[Example]:
    """One for each chain: what is given; else the first row of the dataset of a later chain, which an earlier one then
    takes too; else made up. Raises InputError, PromptChainError."""
    if given:
        return _given(chains, given, stdin)
    for chain in reversed(chains):
        row = _first_row(project, chain)
        if row is not None:
            told, values = row
            return [
                Example(told, {name: value for name, value in values.items() if _takes(side, name)}) for side in chains
            ]
    return [Example("made up: each input and each upstream value stands as «name»") for _ in chains]


def _takes(chain: Chain, name: str) -> bool:
    return name in chain.steps or chain.input_type.field(name) is not None


def _given(chains: Sequence[Chain], given: Given, stdin: str | None) -> list[Example]:
    """What is given, for each chain what it knows. Raises InputError for a name that none of them knows."""
    from promptchain import inputs
    from promptchain.cli.show_rendered import typed

    names = {pair.partition("=")[0] for pair in given.pairs}
    known = {name for chain in chains for name in (*chain.input_type.fields(), *chain.steps)}
    for name in sorted(names):
        if not any(_takes(chain, name) for chain in chains):
            raise InputError(
                f"no side has an input or step '{name}'", hint=known_or_nearest(name, known, "inputs and steps")
            )
    found = []
    for chain in chains:
        values: dict[str, Any] = {}
        if given.source is not None:
            values |= inputs.from_file(chain, given.source, stdin)
        if given.text is not None:
            values |= inputs.from_text(chain, given.text)
        own = [pair for pair in given.pairs if "=" not in pair or _takes(chain, pair.partition("=")[0])]
        values |= inputs.from_pairs(chain, own)
        found.append(Example("as given", typed(chain, {name: values[name] for name in values if _takes(chain, name)})))
    return found


def _first_row(project: Project, chain: Chain) -> tuple[str, Mapping[str, Any]] | None:
    """The first row of the chain's dataset that can be used, and its place; None where there is none."""
    from promptchain import dataset

    files = chain.test.dataset if chain.test else None
    for name in (files,) if isinstance(files, str) else files or ():
        try:
            for row in islice(dataset.rows(project.folder / name, chain), _ROWS_TRIED):
                if row.inputs:  # a broken row has none
                    return f"{name}, line {row.line}", row.inputs
        except PromptChainError:  # a dataset that is not there is no reason not to show the prompts
            continue
    return None


def messages(
    project: Project,
    chain: Chain,
    lock: Lock,
    example: Example,
    models: Sequence[str],
    names: Mapping[str, str],
) -> dict[str, tuple[tuple[str, str], ...] | str]:
    """For each prompt step its messages, or why it has none. What the example lacks is made up. lock: its compiled
    prompts are taken as a run takes them.

    names: by what else to call a step's value, so that a renamed step is made up alike on both sides.
    """
    from promptchain.adopted import choose
    from promptchain.chain import PromptStep
    from promptchain.cli import interrupt

    values = {**_made_up(chain, names), **example.values}
    chosen, lm = project.models(models), project.lm()
    by_step = chosen.by_step(chain)
    variant = choose(chain, lock, chosen.of_lock(chain), by_step, lm).variant
    tools = interrupt.run(tools_of(project, chain, lm)) if _has_tools(chain) else {}
    found: dict[str, tuple[tuple[str, str], ...] | str] = {}
    for name, step in chain.steps.items():
        if not isinstance(step, PromptStep):
            continue
        own = tools.get(name, ())
        if isinstance(own, str):
            found[name] = own
            continue
        try:
            parts = variant.of(name, step) if variant else None
            found[name] = _messages(lm, step, parts, values, by_step.get(name), own)
        except PromptChainError as exc:
            found[name] = f"{exc.message}; give the values with -i NAME=VALUE"
    return found


def _has_tools(chain: Chain) -> bool:
    return any(getattr(step, "tools", ()) for step in chain.steps.values())


async def tools_of(project: Project, chain: Chain, lm: LM) -> dict[str, tuple[ToolSpec, ...] | str]:
    """What the models of the steps are told of their tools, as the project's code is now; or why that cannot be had."""
    from promptchain.chain import PromptStep
    from promptchain.lm.calls import Caller
    from promptchain.steps.context import Context

    context = Context(Caller(lm), project.workshop())
    found: dict[str, tuple[ToolSpec, ...] | str] = {}
    for name, step in chain.steps.items():
        if isinstance(step, PromptStep) and step.tools:
            try:
                found[name] = tuple([spec for tool in step.tools for spec in await _specs(tool, chain, context)])
            except PromptChainError as exc:
                found[name] = f"its tools: {exc.message}"
    return found


async def _specs(tool: Tool, chain: Chain, context: Context) -> tuple[ToolSpec, ...]:
    """A server's tools are not looked at, for that would start it: a version may come from anybody."""
    from promptchain.lm.protocol import ToolSpec
    from promptchain.steps.toolbox import Toolbox, ToolSource

    if tool.mcp is not None:
        told = f"as the MCP server '{tool.mcp}' describes it"
        return tuple(ToolSpec(name, told) for name in tool.only or ("any",))
    sources = (ToolSource(tool, chain.chains.get(tool.chain or "")),)
    return (await Toolbox.of(sources, context)).specs


def _messages(
    lm: LM,
    step: PromptStep,
    parts: StepVariant | None,
    values: Mapping[str, Any],
    model: str | None,
    tools: tuple[ToolSpec, ...],
) -> tuple[tuple[str, str], ...]:
    """Role and text of each message; tools that are sent beside them stand last."""
    from promptchain import media, render
    from promptchain.lm.protocol import Capabilities
    from promptchain.records import Variant

    request = render.render(
        step,
        parts or Variant.seed(step),
        {**values, **first_item(step, dict(values))},
        model=model or "",
        params={},
        capabilities=lm.capabilities(model) if model else Capabilities(),
        tools=tools,
    )
    found = [(message.role, media.as_text(message)) for message in request.messages]
    listed = [f"{tool.name}: {tool.description}\n  arguments: {as_text(tool.parameters)}" for tool in request.tools]
    return (*found, *([("tools", "\n".join(listed))] if listed else []))


def _made_up(chain: Chain, names: Mapping[str, str]) -> dict[str, Any]:
    """A value of its type for each input and each step."""
    values: dict[str, Any] = {}
    for name, kind in chain.input_type.fields().items():
        values[name] = _value(kind, name) if name in chain.input_type.required else None
    for name, step in chain.steps.items():
        value = _step_value(step, names.get(name, name), chain)
        values[name] = [value] if step.for_each else value
    return values


def _step_value(step: Step, name: str, chain: Chain) -> Any:
    from promptchain.chain import ChainStep

    if step.kind == "retrieve" and step.output is None:
        texts = {key: f"«{name}.{key}»" for key in ("title", "text", "source")}
        return [{**texts, "line": 1, "score": 1.0, "meta": {}}]
    if isinstance(step, ChainStep) and step.output is None:
        return {key: f"«{name}.{key}»" for key in plan.build(chain.chains[step.chain]).outputs}
    return _value(step.type, name)


def _value(kind: Type, name: str, depth: int = _DEPTH) -> Any:
    """Something of a type that says what it stands for."""
    if kind.kind == "enum":
        return kind.choices[0] if kind.choices else None
    if kind.kind == "array":
        return [_value(kind.items, f"{name}[]", depth - 1)] if kind.items and depth else []
    if kind.kind == "object":
        return {key: _value(part, f"{name}.{key}", depth - 1) for key, part in kind.fields().items()} if depth else {}
    if kind.kind == "scalar":
        described = kind.describe()
        return next((value for word, value in _SCALARS.items() if described.startswith(word)), f"«{name}»")
    return f"«{name}»"


_SCALARS: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1.5, "null": None}
