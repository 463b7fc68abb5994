"""An MCP server as a child process: its messages over stdin and stdout, what it said last, and its end.

The package `mcp` has such a transport too (`mcp.client.stdio`); that one does not tell how the server ended, keeps
nothing of its stderr and takes lines of any length. Messages are JSON-RPC, one on a line in UTF-8:
https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#stdio
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptchain.errors import McpError

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.client._transport import TransportStreams
    from mcp.shared.message import SessionMessage

MAX_LINE = 16 * 1024 * 1024
"""Bytes of one message; a server that sends a longer one is stopped."""

MAX_GARBAGE = 100
"""Lines in a row that are no messages; after them the server is stopped. Some greet, which is passed over."""

_TAIL = 4096  # bytes of stderr that are kept
_LINES = 5  # of which so many lines are told
_GRACE = 2.0  # seconds to end in, once stdin is closed
_TERM = 1.0  # seconds to end in after SIGTERM
_LAST_WORDS = 0.5  # seconds to wait for the exit status and the rest of stderr
_POLL = 0.01

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Child:
    """A process that was started. ended: by itself, or so that nothing can come from it any more."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ended = asyncio.Event()
        self._tail = b""
        self._garbage: str | None = None
        self._strange = 0
        self._fault: str | None = None
        self._status: int | None = None

    def says(self) -> str:
        """How it ended, as far as that is known: what follows "the MCP server '…'" in a sentence."""
        if self._fault:
            return self._fault
        if self._status is None:
            return "closed its stdout"
        if self._status < 0:
            return f"was ended by {_signal(-self._status)}"
        return f"ended with status {self._status}"

    def hint(self) -> str | None:
        """The last lines of its stderr, and what on its stdout was no message."""
        lines = [_printable(line) for line in self._tail.decode("utf-8", "replace").splitlines()]
        parts = []
        if last := "\n".join([line for line in lines if line.strip()][-_LINES:]):
            parts.append(f"its stderr ends so:\n{last}")
        if self._garbage is not None:
            parts.append(f"to stdout it printed {self._garbage!r}, which is no message")
        return "\n".join(parts) or None

    async def listen(self) -> None:
        """Keep the last of its stderr, which nobody else sees."""
        assert self.process.stderr is not None
        while piece := await self.process.stderr.read(65536):
            self._tail = (self._tail + piece)[-_TAIL:]

    async def line(self) -> bytes | None:
        """The next line of its stdout, None at the end."""
        assert self.process.stdout is not None
        try:
            return await self.process.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError as exc:
            return exc.partial or None
        except asyncio.LimitOverrunError:
            self._fault = f"sent a message of more than {MAX_LINE // 1024**2} MB"
        except OSError:
            pass
        return None

    def understood(self, line: bytes, message: object | None) -> bool:
        """Note whether a line was a message; False where too many were not."""
        if message is not None:
            self._strange = 0
            return True
        if not line.strip():
            return True
        if self._garbage is None:
            self._garbage = _printable(line[:200].decode("utf-8", "replace").strip())
        self._strange += 1
        if self._strange > MAX_GARBAGE:
            self._fault = "prints to stdout what is no message of the protocol"
        return self._strange <= MAX_GARBAGE

    async def end(self) -> None:
        """Close its stdin, as the protocol has it; where that does not help it is terminated, then killed."""
        process = self.process
        assert process.stdin is not None
        if self.ended.is_set() and not self._fault:
            await self.gone(_LAST_WORDS)
            self._status = process.returncode
        process.stdin.close()
        if self._fault or not await self.gone(_GRACE):
            self.send(signal.SIGTERM)
            await self.gone(_TERM)

    async def gone(self, seconds: float) -> bool:
        """Whether it ends within that time. Process.wait would wait for all that hold its pipes as well."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.process.returncode is None and loop.time() < until:
            await asyncio.sleep(_POLL)
        return self.process.returncode is not None

    def send(self, number: int) -> None:
        """A signal for it and for all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, number)


@asynccontextmanager
async def started(command: Sequence[str], env: Mapping[str, str], root: Path) -> AsyncIterator[Child]:
    """A child in a session of its own, so that a Ctrl-C in the terminal is not for it; at the end it is gone, and all
    that it started, however this is left. Raises McpError where it cannot be started."""
    import anyio

    with anyio.CancelScope(shield=True):  # asyncio leaves pipes open where this is broken off
        child = Child(await _spawn(command, env, root))
    listening = asyncio.create_task(child.listen())
    try:
        yield child
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await child.end()
            finally:  # at the end of the event loop even a shielded wait is cancelled
                await _killed(child, listening)


async def _killed(child: Child, listening: asyncio.Task[None]) -> None:
    """See that nothing is left of it: of its descendants some may be, though it ended as it should."""
    child.send(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    try:
        await child.gone(_TERM)  # a transport that is closed before would take its status away from the loop
        await asyncio.wait({listening}, timeout=_LAST_WORDS)
    finally:
        listening.cancel()
        # Something that left the session may hold the pipes; nothing public closes our ends then.
        if (transport := getattr(child.process, "_transport", None)) is not None:
            transport.close()


async def _spawn(command: Sequence[str], env: Mapping[str, str], root: Path) -> asyncio.subprocess.Process:
    program, *arguments = command
    pipe = asyncio.subprocess.PIPE
    if sys.platform == "win32":  # npx is npx.cmd there
        program = shutil.which(program, path=env.get("PATH")) or program
    try:
        return await asyncio.create_subprocess_exec(
            program, *arguments,
            stdin=pipe, stdout=pipe, stderr=pipe, cwd=root, env=dict(env), start_new_session=True, limit=MAX_LINE,
        )  # fmt: skip
    except FileNotFoundError:
        hint = "install it, or give its path; a path counts from the project's folder"
        raise McpError(f"the program '{program}' of an MCP server is not there", hint=hint) from None
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise McpError(f"the program '{program}' of an MCP server cannot be started: {why}") from exc


@asynccontextmanager
async def messages(child: Child) -> AsyncIterator[TransportStreams]:
    """What the child sends and what it is sent, as `mcp.Client` takes it."""
    import anyio

    incoming: MemoryObjectSendStream[SessionMessage | Exception]
    reading: MemoryObjectReceiveStream[SessionMessage | Exception]
    writing: MemoryObjectSendStream[SessionMessage]
    outgoing: MemoryObjectReceiveStream[SessionMessage]
    incoming, reading = anyio.create_memory_object_stream(0)
    writing, outgoing = anyio.create_memory_object_stream(0)
    with incoming, reading, writing, outgoing:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_receive, child, incoming)
            tasks.start_soon(_send, child, outgoing)
            try:
                yield reading, writing
            finally:
                tasks.cancel_scope.cancel()


async def _receive(child: Child, incoming: Any) -> None:
    import anyio

    try:
        while (line := await child.line()) is not None:
            message = _message(line)
            if not child.understood(line, message):
                break
            if message is not None:
                await incoming.send(message)
        child.ended.set()
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        pass  # the session is over
    finally:
        incoming.close()


async def _send(child: Child, outgoing: Any) -> None:
    assert child.process.stdin is not None
    try:
        async for message in outgoing:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            child.process.stdin.write(text.encode("utf-8") + b"\n")
            await child.process.stdin.drain()
    except OSError:
        child.ended.set()  # it takes nothing any more, so no answer can come


def _message(line: bytes) -> SessionMessage | None:
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _printable(text: str) -> str:
    return "".join(character for character in _ESCAPES.sub("", text) if character.isprintable())
