"""The tools of a prompt step: what a model is told of them, and how its calls are made."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptchain import functions, inputs
from promptchain.chain import Chain
from promptchain.errors import BudgetError, McpError, PromptChainError, known_or_nearest
from promptchain.lm.protocol import ToolCall, ToolSpec
from promptchain.parts import Tool
from promptchain.records import Run, Status, ToolRun, storable, whole_text
from promptchain.steps.context import Context
from promptchain.steps.together import together
from promptchain.steps.workshop import Wish
from promptchain.types import Type

MAX_RESULT = 200_000
"""Characters of a result, as JSON, that a model is given."""

_SHOWN = 100
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")
"""What providers take in no name of a tool, and MCP servers may have in theirs: `files.read`."""


@dataclass(frozen=True)
class ToolSource:
    """Where tools come from. chain, plan: of a tool that is a chain; its plan is a `binding.BoundPlan`."""

    tool: Tool
    chain: Chain | None = None
    plan: Any = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """A tool that can be called. call: gets the arguments, and what receives the run of a tool that is a chain."""

    spec: ToolSpec
    tool: Tool
    call: Callable[[Mapping[str, Any], Context, Callable[[Run], None]], Awaitable[Any]]


class Toolbox:
    """The tools of one step, ready to be called. sources: what they were made of."""

    def __init__(self, tools: Sequence[_Ready] = (), sources: Sequence[ToolSource] = ()) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._sources = sources
        self.specs = tuple(tool.spec for tool in tools)

    @classmethod
    async def of(cls, sources: tuple[ToolSource, ...], context: Context) -> Toolbox:
        """Imports what is code, and starts what is a server; once for all runs on one event loop. Raises
        PromptChainError."""
        # What is made keeps its sources, so that no others come to have their id.
        return await context.workshop.once(("toolbox", id(sources)), lambda: _open(sources, context))

    async def call(self, calls: Sequence[ToolCall], turn: int, context: Context) -> list[ToolRun]:
        """Make the calls of one turn, side by side. What a tool does wrong the model is told. Raises BudgetError,
        and McpError where the server is to blame."""
        return await together(self._one(call, turn, context) for call in calls)

    async def _one(self, call: ToolCall, turn: int, context: Context) -> ToolRun:
        arguments = _arguments(call.arguments)
        name = whole_text(call.name)
        run = ToolRun(
            name=name, arguments=arguments, turn=turn, started=round(context.clock(), 6), sample=context.sample
        )
        context.on_tool(run, False)
        runs: list[Run] = []
        changes: dict[str, Any] = {"error": "interrupted"}
        try:
            ready = self._checked(name, arguments)
            if ready.tool.confirm and not await context.workshop.approve(Wish(context.step, name, arguments)):
                raise PromptChainError("the user did not consent to this call")
            value = await ready.call(arguments, context, runs.append)
            _bounded(value)
            changes = {"value": value}
        except BudgetError as exc:
            changes = {"error": exc.message}
            raise
        except McpError as exc:
            message = f"the tool '{name}': {exc.message}"
            changes = {"error": message}
            raise McpError(message, hint=exc.hint) from exc
        except PromptChainError as exc:
            changes = {"error": str(exc)}
        finally:
            changes |= {"seconds": round(context.clock() - run.started, 6), "run": runs[-1] if runs else None}
            run = run.model_copy(update=changes)
            context.tools.append(run)
        context.on_tool(run, True)
        return run

    def _checked(self, name: str, arguments: Any) -> _Ready:
        """The tool. Raises PromptChainError for one that is not there, and for arguments that it does not take."""
        ready = self._tools.get(name)
        if ready is None:
            shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
            raise PromptChainError(f"there is no tool '{shown}'", hint=known_or_nearest(shown, self._tools, "tools"))
        if not isinstance(arguments, dict):
            raise PromptChainError("the arguments are no JSON object")
        problems = Type(dict(ready.spec.parameters)).check(arguments)
        if problems:
            raise PromptChainError(f"the arguments do not fit: {'; '.join(problems)}")
        return ready


NO_TOOLS = Toolbox()


def _arguments(text: str) -> Any:
    """The arguments as JSON; the text itself where it is none that can be kept. No text means none are given."""
    try:
        return storable(json.loads(text)) if text.strip() else {}
    except (ValueError, RecursionError):
        return whole_text(text)


def _bounded(value: Any) -> None:
    length = len(value) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False))
    if length > MAX_RESULT:
        raise PromptChainError(f"the result is too long: {length:,} characters, and at most {MAX_RESULT:,} are read")


# --- the three kinds


async def _open(sources: Sequence[ToolSource], context: Context) -> Toolbox:
    found: list[_Ready] = []
    for source in sources:
        if source.tool.python is not None:
            found.append(await _function(source.tool, source.tool.python, context))
        elif source.chain is not None:
            found.append(_chain(source, source.chain))
        else:
            found += await _server(source.tool, context)
    names = [tool.spec.name for tool in found]
    for name in names:
        if names.count(name) > 1:
            raise PromptChainError(f"two tools are called '{name}'", hint="give one of them another `name`")
    return Toolbox(found, sources)


async def _function(tool: Tool, name: str, context: Context) -> _Ready:
    function = await context.workshop.function(name)

    async def call(arguments: Mapping[str, Any], context: Context, record: object) -> Any:  # noqa: ARG001
        bound = functions.bind_arguments(function, arguments)
        async with context.workshop.code:
            return await functions.call(function, bound, timeout=tool.timeout or context.workshop.timeout)

    own = name.partition(":")[2]
    spec = ToolSpec(tool.name or own, tool.description or function.description, function.parameters)
    return _Ready(spec, tool, call)


def _chain(source: ToolSource, chain: Chain) -> _Ready:
    async def call(arguments: Mapping[str, Any], context: Context, record: Callable[[Run], None]) -> Any:
        values = inputs.check(chain, arguments)
        try:
            async with asyncio.timeout(source.tool.timeout):
                run = await context.run_chain(source.plan, values, record)
        except TimeoutError:
            raise PromptChainError(f"it took longer than {source.tool.timeout:g} s") from None
        if run.status is not Status.DONE:
            if context.caller.exhausted:
                raise BudgetError(run.error or "a ceiling is reached", hint=run.hint)
            raise PromptChainError(run.error or "the chain failed")
        return next(iter(run.outputs.values())) if len(run.outputs) == 1 else run.outputs

    tool = source.tool
    spec = ToolSpec(tool.name or chain.name, tool.description or chain.description, chain.input_type.schema)
    return _Ready(spec, tool, call)


async def _server(tool: Tool, context: Context) -> list[_Ready]:
    """The tools of an MCP server. Raises PromptChainError."""
    from promptchain.mcp_servers import Servers

    assert tool.mcp is not None
    server, workshop = tool.mcp, context.workshop

    async def make() -> Servers:
        return Servers(workshop.root)

    servers = await workshop.once("mcp", make)
    offered = {remote.name: remote for remote in await servers.tools(server)}
    for name in tool.only:
        if name not in offered:
            message = f"the MCP server has no tool '{name}'"
            raise PromptChainError(message, hint=known_or_nearest(name, offered, "tools"))

    def ready(name: str) -> _Ready:
        async def call(arguments: Mapping[str, Any], context: Context, record: object) -> Any:  # noqa: ARG001
            timeout = tool.timeout or context.workshop.timeout
            return await servers.call(server, name, dict(arguments), timeout=timeout)

        remote = offered[name]
        told = _NO_NAME.sub("_", name)[:64]
        return _Ready(ToolSpec(told, remote.description, remote.parameters), tool, call)

    return [ready(name) for name in (tool.only or offered)]
