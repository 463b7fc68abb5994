"""One MCP server, from its start to its end, through the package `mcp`: what it offers, calls, and what went wrong.

https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from promptchain.errors import McpError, PromptChainError, ToolFailed
from promptchain.lm.secrets import MASK, redact
from promptchain.mcp_results import MAX_ERROR, RemoteTool, listed, value_of
from promptchain.mcp_spec import McpServer
from promptchain.mcp_stdio import MAX_LINE, Child, messages, started

if TYPE_CHECKING:
    import anyio
    import httpx2
    from mcp import Client
    from mcp.client._transport import TransportStreams

_STOP = 3.0  # seconds to say goodbye in, to a server behind a URL above all
_MOMENT = 0.5  # seconds in which the end of a connection follows on the end of its calls
_SHORTEST = 6  # characters of a value that is masked in errors; a shorter one is hardly a secret


class Connection:
    """A server that was started, or is being. The contexts of the package must be entered and left in one task: this
    has one for them. Calls may come from any other.

    began: when, in seconds of time.monotonic. again: it had ended before. started: it was ready once. tools: what it
    offered then.
    """

    def __init__(self, server: McpServer, root: Path, *, again: bool = False) -> None:
        self.tools: tuple[RemoteTool, ...] = ()
        self._server = server
        self._root = root
        self.began = time.monotonic()
        self.again = again
        self._client: Client | None = None
        self._scope: anyio.CancelScope | None = None
        self._child: Child | None = None
        self._status: int | None = None  # the last HTTP status that told of an error
        self._values: list[str] = []  # what stands in the environment and must not be in an error
        self._error: McpError | None = None
        self.started = False
        self._settled = asyncio.Event()
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"mcp {server}")

    @property
    def over(self) -> bool:
        return self._task.done()

    async def ready(self) -> None:
        """Wait until it is started. Raises McpError when that fails, or when it is over."""
        await self._settled.wait()
        if self._error is not None or self._client is None:
            await asyncio.wait({self._task})
            raise self._gone()

    async def call(self, name: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        assert self._client is not None
        work = asyncio.create_task(self._client.call_tool(name, dict(arguments)))
        work.add_done_callback(_heard)
        try:
            await asyncio.wait({work, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return value_of(await self._result(work, name), name)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=1.0)
        if self._task.done():
            raise self._gone()
        raise ToolFailed(f"the tool '{name}' of the MCP server '{self._server}' gave nothing in {timeout:g} seconds")

    async def _result(self, work: asyncio.Task[Any], name: str) -> Any:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        try:
            return work.result()
        except MCPError as exc:
            status, self._status = self._status, None
            if status in (401, 403, 404) or (status or 0) >= 500:
                if status == 404:
                    self._leave.set()  # the session is not known there any more: the next call begins another
                raise self._refused(status or 0) from exc
            if exc.code != CONNECTION_CLOSED:
                raise ToolFailed(self._clean(f"the tool '{name}' was refused: {exc.message[:MAX_ERROR]}")) from exc
            if self._child is not None:
                self._leave.set()
            # Over HTTP one call alone may have been broken off; else the task says why in a moment.
            await asyncio.wait({self._task}, timeout=None if self._child else _MOMENT)
            if self._task.done():
                raise self._gone() from exc
            raise McpError(f"the MCP server '{self._server}' broke off the call of '{name}'") from exc
        except (ValueError, RuntimeError) as exc:
            said = f"the tool '{name}' gave what it should not give: {_why(exc)}"
            raise ToolFailed(self._clean(said)) from exc
        except Exception as exc:
            raise self._said(exc) from exc

    async def stop(self) -> None:
        self._leave.set()
        if not self._settled.is_set() and self._scope is not None:
            self._scope.cancel()
        done, _ = await asyncio.wait({self._task}, timeout=_STOP)
        if not done and self._scope is not None:
            self._scope.cancel()  # what a process needs to end is shielded from that
        await asyncio.wait({self._task})

    async def _live(self) -> None:
        try:
            await self._serve()
        except Exception as exc:
            self._error = self._said(exc)
        except BaseException:
            self._error = McpError(f"the MCP server '{self._server}' was interrupted")
            raise
        finally:
            self._client = None
            self._settled.set()

    async def _serve(self) -> None:
        """Start it, keep it until it is to be left, and stop it; all in one task, with one scope around."""
        try:
            await asyncio.to_thread(importlib.import_module, "mcp")  # takes a second, in which others go on
            import anyio
            from mcp import Client
        except ImportError as exc:
            message = f"the MCP server '{self._server}' needs the package mcp, which is not installed or too old"
            raise McpError(message, hint="pip install 'promptchain[mcp]'") from exc
        _quiet()
        if self._leave.is_set():
            return
        with anyio.CancelScope(deadline=anyio.current_time() + self._server.timeout) as self._scope:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(Client(self._transport(), cache=None))
                self.tools = await listed(client, str(self._server))
                self._scope.deadline = math.inf
                self._client, self.started, self._status = client, True, None
                self._settled.set()
                await self._left()
                self._client = None
        if not self.started and not self._leave.is_set():
            message = f"the MCP server '{self._server}' was not ready in {self._server.timeout:g} seconds"
            hint = (self._child and self._child.hint()) or "give it longer with `timeout: SECONDS`"
            raise McpError(message, hint=self._clean(hint))
        if self.started and self._child is not None and self._child.ended.is_set():
            raise self._ended(self._child)

    async def _left(self) -> None:
        """Until it is to be left, or ended by itself."""
        waits = [asyncio.ensure_future(self._leave.wait())]
        if self._child is not None:
            waits.append(asyncio.ensure_future(self._child.ended.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[TransportStreams]:
        server = self._server
        if server.command is not None:
            from mcp.client.stdio import get_default_environment

            env = get_default_environment() | self._substituted(server.env, "env")
            async with started(server.command, env, self._root) as self._child, messages(self._child) as streams:
                yield streams
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        headers = self._substituted(server.headers, "headers")
        for name, value in headers.items():
            if not value.isprintable() or not value.isascii():
                raise McpError(f"the header '{name}' for the MCP server '{server}' holds what no header can")
        timeout = httpx2.Timeout(server.timeout, read=None)  # how long a call may take, its caller says
        hooks = {"response": [self._note]}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks=hooks) as http,
            streamable_http_client(server.url or "", http_client=http, max_sse_event_size=MAX_LINE) as streams,
        ):
            yield streams

    async def _note(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self._status = response.status_code

    def _substituted(self, values: Mapping[str, str], key: str) -> dict[str, str]:
        """The values with what the environment has for `$NAME`."""
        found = {}
        for name, value in values.items():
            try:
                found[name] = Template(value).substitute(os.environ)
            except KeyError as exc:
                variable = exc.args[0]
                message = f"the MCP server '{self._server}' wants the environment variable {variable}, which is not set"
                raise McpError(message, hint=f"`{key}: {{{name}: …}}` takes it; export {variable}=…") from None
            if found[name] != value:
                self._values += [os.environ[each] for each in Template(value).get_identifiers()]
        return found

    def _gone(self) -> McpError:
        """A new one for each who waited: an exception that is raised twice keeps both tracebacks."""
        if (error := self._error) is None:
            return McpError(f"the MCP server '{self._server}' was stopped")
        return McpError(error.message, hint=error.hint)

    def _said(self, exc: Exception) -> McpError:
        """What went wrong in the task, in a sentence."""
        leaves = list(_leaves(exc))
        own = next((leaf for leaf in leaves if isinstance(leaf, PromptChainError)), None)
        if own is not None:
            return McpError(self._clean(own.message), hint=own.hint and self._clean(own.hint))
        if self._child is not None and self._child.ended.is_set():
            return self._ended(self._child)
        if self._status is not None:
            return self._refused(self._status)
        why = self._clean(_why(leaves[0]))
        if self._server.url and isinstance(leaves[0], _http_errors()):
            hint = "is it running, and is the address right?"
            return McpError(f"the MCP server '{self._server}' cannot be reached: {why}", hint=hint)
        said = (self._child and self._child.hint()) or ""
        return McpError(f"the MCP server '{self._server}' cannot be used: {why}", hint=self._clean(said) or None)

    def _ended(self, child: Child) -> McpError:
        when = "" if self.started else " before it was ready"
        message = f"the MCP server '{self._server}' {child.says()}{when}"
        return McpError(message, hint=self._clean(child.hint() or "") or None)

    def _refused(self, status: int) -> McpError:
        if status in (401, 403):
            message = f"the MCP server '{self._server}' does not let us in (HTTP {status})"
            return McpError(message, hint='give `headers: {Authorization: "Bearer $TOKEN"}` with what it asks for')
        if status in (404, 405):
            message = f"no MCP server answers at {self._server} (HTTP {status})"
            return McpError(message, hint="look at the path of the url: often it ends in /mcp")
        return McpError(f"the MCP server '{self._server}' answers with HTTP {status}")

    def _clean(self, text: str) -> str:
        for value in sorted(self._values, key=len, reverse=True):
            if len(value) >= _SHORTEST:
                text = text.replace(value, MASK)
        return redact(text)


def _quiet() -> None:
    """Without any handler Python prints warnings to stderr; where a program has its own, they still get there."""
    logger = logging.getLogger("mcp")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _http_errors() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.HTTPError, httpx2.InvalidURL, OSError)


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """What is in groups of exceptions, which task groups make."""
    if isinstance(exc, BaseExceptionGroup):
        for part in exc.exceptions:
            yield from _leaves(part)
    else:
        yield exc


def _why(exc: BaseException) -> str:
    """An exception in one line."""
    if isinstance(exc, ValidationError):  # of the package, for an answer that is not as the protocol has it
        first = exc.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    lines = str(exc).strip().splitlines()
    return lines[0][:500] if lines else type(exc).__name__


def _heard(work: asyncio.Task[Any]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not work.cancelled():
        work.exception()
