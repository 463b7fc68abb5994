"""What a chain uses beside its own file: other chains, functions of the project, files of passages. Nothing is run or
imported to look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from promptchain import modules
from promptchain.chain import Chain, ChainStep, PromptStep, PythonStep, RetrieveStep
from promptchain.checks import Fault, short
from promptchain.errors import PromptChainError, known_or_nearest
from promptchain.parts import Tool
from promptchain.retrieval.files import listing, no_file


def named_chains(chain: Chain) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The chains that steps and tools name, and where they do."""
    for name, step in chain.steps.items():
        if isinstance(step, ChainStep):
            yield ("steps", name, "chain"), step.chain
        elif isinstance(step, PromptStep):
            for index, tool in enumerate(step.tools):
                if tool.chain is not None:
                    yield ("steps", name, "tools", index, "chain"), tool.chain


def with_inputs(chain: Chain, root: Path) -> Chain:
    """The chain with the inputs spelt out of the steps that leave them to the names: each parameter of a function, or
    input of a chain, then takes the input or the step of its name."""
    names = {*chain.input_type.fields(), *chain.steps}
    for name, step in chain.steps.items():
        if not isinstance(step, PythonStep | ChainStep) or step.inputs:
            continue
        items = {step.for_each.as_, "index"} if step.for_each else set()
        known = (names | items) - {name}
        inputs = {wanted: "{{ " + wanted + " }}" for wanted, _ in _wanted(step, chain, root) if wanted in known}
        if inputs:
            chain = chain.with_step(name, step.model_copy(update={"inputs": inputs}))
    return chain


def _wanted(step: PythonStep | ChainStep, chain: Chain, root: Path) -> tuple[tuple[str, bool], ...]:
    """What a function, or a chain, is to be given, and whether it must be; nothing where that is not known."""
    if isinstance(step, PythonStep):
        return modules.parameters_of(step.python, root) or ()
    inner = chain.chains.get(step.chain)
    if inner is None:
        return ()
    return tuple((name, name in inner.input_type.required) for name in inner.input_type.fields())


def check(chain: Chain, root: Path, folder: Path) -> Iterator[Fault]:
    """What is wrong with all that. root: the project's folder. folder: the chain file's, from which patterns count."""
    for name, step in chain.steps.items():
        at = ("steps", name)
        if isinstance(step, PythonStep):
            faults = list(_function(step.python, root, (*at, "python")))
            yield from faults or _given(step, chain, root, at)
        elif isinstance(step, ChainStep):
            yield from _given(step, chain, root, at)
        elif isinstance(step, RetrieveStep):
            yield from _passages(step, root, folder, (*at, "retrieve"))
        else:
            yield from _tools(step, root, (*at, "tools"))


def _function(name: str, root: Path, at: tuple[str | int, ...]) -> Iterator[Fault]:
    if found := modules.check(name, root):
        yield Fault(at, *found)


def _given(step: PythonStep | ChainStep, chain: Chain, root: Path, at: tuple[str | int, ...]) -> Iterator[Fault]:
    """Whether a function, or a chain, is given what it wants, and nothing else."""
    if isinstance(step, ChainStep) and step.chain not in chain.chains:
        return  # told of by the loader
    if isinstance(step, PythonStep) and modules.parameters_of(step.python, root) is None:
        return
    wanted = dict(_wanted(step, chain, root))
    shown = step.python if isinstance(step, PythonStep) else f"the chain '{step.chain}'"
    kind, kinds = ("parameter", "parameters") if isinstance(step, PythonStep) else ("input", "inputs")
    for name in step.inputs:
        if name not in wanted and modules.ANY_NAME not in wanted:
            hint = known_or_nearest(short(name), wanted, kinds)
            yield Fault((*at, "inputs", name), f"{shown} has no {kind} '{short(name)}'", hint, key=True)
    for name, needed in wanted.items():
        if needed and name not in step.inputs and name != modules.ANY_NAME:
            hint = f'no input or step is called so; say what it is: inputs: {{{name}: "{{{{ … }}}}"}}'
            if step.inputs:
                hint = f'inputs: {{{name}: "{{{{ … }}}}"}}'
            yield Fault((*at, step.kind), f"{shown} needs the {kind} '{name}'", hint)


def _passages(step: RetrieveStep, root: Path, folder: Path, at: tuple[str | int, ...]) -> Iterator[Fault]:
    spec = step.retrieve
    if spec.python is not None:
        yield from _function(spec.python, root, (*at, "python"))
    if spec.patterns:
        try:
            found = listing(root, folder, spec.patterns, most=1)
        except PromptChainError as exc:
            yield Fault((*at, "from"), exc.message, exc.hint)
            return
        if not found.files:
            yield Fault((*at, "from"), *no_file(root, folder, spec.patterns, found))


def _tools(step: PromptStep, root: Path, at: tuple[str | int, ...]) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, tool in enumerate(step.tools):
        if tool.python is not None:
            yield from _function(tool.python, root, (*at, index, "python"))
        name = tool_name(tool)
        if name is not None and name in seen:
            message = f"two tools are called '{name}'"
            yield Fault((*at, index), message, "give one of them another `name`")
        elif name is not None:
            seen[name] = index
    known = None if any(tool.mcp is not None for tool in step.tools) else seen
    yield from _demo_calls(step, known, at[:-1])


def _demo_calls(step: PromptStep, known: Iterable[str] | None, at: tuple[str | int, ...]) -> Iterator[Fault]:
    """Whether demos call tools that the step has. known: their names; None where a server says them."""
    for index, demo in enumerate(step.demos):
        for turn, call in enumerate(demo.calls):
            here = (*at, "demos", index, "calls", turn, "tool")
            if not step.tools:
                yield Fault(here, f"the demo calls '{short(call.tool)}', and the step has no tools", "give it `tools`")
            elif known is not None and call.tool not in known:
                yield Fault(
                    here, f"unknown tool '{short(call.tool)}'", known_or_nearest(short(call.tool), known, "tools")
                )


def tool_name(tool: Tool) -> str | None:
    """The name under which a model calls a tool; None where an MCP server says it."""
    if tool.mcp is not None:
        return None
    own: Any = tool.name or tool.chain or (tool.python or "").partition(":")[2]
    return str(own)
