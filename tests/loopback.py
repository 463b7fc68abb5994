"""A loopback server that speaks OpenAI's chat completions and misbehaves on demand: the fake edge for hosted models.

    with Loopback(["Paris", Reply(status=429, headers={"Retry-After": "2"}), Reply(fate=Fate.HANG)]) as server:
        ...  # api_base = server.url; afterwards server.requests tells what was asked

Pure standard library: one asyncio loop in a thread of its own, HTTP/1.1 with keep-alive, light enough to be the far
side of a throughput benchmark.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from types import TracebackType
from typing import Any

from tests.patience import PATIENCE


class Fate(Enum):
    """How an exchange ends: answered; never (until the server closes); or cut off after half of the answer."""

    ANSWER = auto()
    HANG = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer.

    text, finish, usage (prompt tokens, completion tokens), cached: of the completion.
    pieces: what a stream is cut into; by default the words of the text. gap: seconds before each piece. taken: the last
    piece of the stream is sent once it is set.
    status and body: an HTTP error, or anything that is no completion (dicts go out as JSON).
    latency: seconds before the answer, in place of the server's.
    tool_calls: of the message, as OpenAI writes them; a stream has them in the pieces `deltas`, or each in three.
    stream_error: sent as an error event after the pieces, in place of the stream's end.
    """

    text: str | None = "ok"
    finish: str = "stop"
    usage: tuple[int, int] | None = (11, 7)
    cached: int = 0
    pieces: Sequence[str] = ()
    gap: float = 0.0
    taken: threading.Event | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes | Mapping[str, Any] | None = None
    latency: float | None = None
    fate: Fate = Fate.ANSWER
    stream_error: Mapping[str, Any] | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    deltas: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


Script = Sequence["Reply | str | int"] | Callable[[dict[str, Any]], "Reply | str | int"]
"""Replies in order (the last one repeats), or a function of the request's body. A str is a text, an int a status."""


class Loopback:
    """A context manager; threads may use it. `url` ends in /v1.

    requests: every request so far. connections: how many were opened. peak: most requests answered at once.
    """

    def __init__(self, replies: Script = ("ok",), *, latency: float = 0.0) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self.peak = 0
        self._replies = replies
        self._latency = latency
        self._busy = 0
        self._abandoned = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._open: set[_Connection] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The parsed bodies of `requests`."""
        return [asked.body for asked in self.requests]

    def wait_for_request(self, count: int = 1, timeout: float = PATIENCE) -> bool:
        """Whether `count` requests arrive within `timeout` seconds."""
        until = time.monotonic() + timeout
        while len(self.requests) < count and time.monotonic() < until:
            time.sleep(0.002)
        return len(self.requests) >= count

    def wait_for_abandonment(self, timeout: float = PATIENCE) -> bool:
        """Whether a client closes its connection before its answer was complete, within `timeout` seconds."""
        return self._abandoned.wait(timeout)

    def __enter__(self) -> Loopback:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)

    async def _shut(self) -> None:
        # A connection that was accepted just now opens in a task of the loop's own, which leaks its socket when the
        # server is closed by then (Python 3.11); so it gets the time first.
        await asyncio.sleep(0.005)
        self._server.close()
        while self._open or len(asyncio.all_tasks()) > 1:
            for connection in tuple(self._open):
                connection.drop()
            await asyncio.sleep(0.001)

    def _reply(self, body: dict[str, Any]) -> Reply:
        reply: Reply | str | int
        if callable(self._replies):
            try:
                reply = self._replies(body)
            except Exception as error:  # a mistake in the script shows in the client's error
                reply = Reply(status=500, body={"error": {"message": f"the script failed: {error!r}"}})
        else:
            reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
        if isinstance(reply, str):
            return Reply(text=reply)
        return Reply(status=reply, body=_error(reply)) if isinstance(reply, int) else reply


class _Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, server: Loopback) -> None:
        self._server = server
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections += 1
        self._server._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._open.discard(self)
        if self._task is not None:
            self._task.cancel()
            self._server._abandoned.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def drop(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        """Take one whole request from the buffer, if there is one, and start to answer it."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, path, _ = line.split(" ", 2)
        asked = Asked(method, path, headers, json.loads(rest[:length]) if length else {})
        self._server.requests.append(asked)
        self._task = self._server._loop.create_task(self._answer(asked.body, self._server._reply(asked.body)))

    async def _answer(self, body: dict[str, Any], reply: Reply) -> None:
        server = self._server
        server._busy += 1
        server.peak = max(server.peak, server._busy)
        try:
            latency = server._latency if reply.latency is None else reply.latency
            if latency:
                await asyncio.sleep(latency)
            if reply.fate is Fate.HANG:
                await asyncio.Event().wait()
            if body.get("stream") and reply.status == 200 and reply.body is None:
                await self._stream(body, reply)
            else:
                self._send(body, reply)
        finally:
            server._busy -= 1
        self._task = None
        if reply.fate is Fate.CUT:
            self._transport.close()
        else:
            self._next()

    def _send(self, body: dict[str, Any], reply: Reply) -> None:
        payload = _bytes(_completion(body, reply) if reply.body is None else reply.body)
        sent = payload[: len(payload) // 2] if reply.fate is Fate.CUT else payload
        self._transport.write(_head(reply, {"Content-Length": str(len(payload))}) + sent)

    async def _stream(self, body: dict[str, Any], reply: Reply) -> None:
        """Server-sent events, each an HTTP chunk."""
        self._transport.write(_head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        events = _events(body, reply)
        for event in events[: len(events) // 2] if reply.fate is Fate.CUT else events:
            if reply.gap:
                await asyncio.sleep(reply.gap)
            if reply.taken and event is events[-1]:
                await asyncio.to_thread(reply.taken.wait, PATIENCE)
            data = b"data: " + _bytes(event) + b"\n\n"
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        if reply.fate is not Fate.CUT:
            self._transport.write(b"0\r\n\r\n")


def _bytes(body: str | bytes | Mapping[str, Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _head(reply: Reply, framing: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {"Content-Type": "application/json", **framing, **reply.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} {phrase}\r\n{lines}\r\n".encode("latin-1")


def _error(status: int) -> dict[str, Any]:
    return {"error": {"message": f"scripted error {status}", "type": "scripted", "param": None, "code": None}}


def _usage(reply: Reply) -> dict[str, Any] | None:
    if reply.usage is None:
        return None
    prompt, completion = reply.usage
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return counts | ({"prompt_tokens_details": {"cached_tokens": reply.cached}} if reply.cached else {})


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = reply.tool_calls
    return {
        "id": "chatcmpl-loopback",
        "object": "chat.completion",
        "created": 1700000000,
        "model": body.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        "usage": _usage(reply),
    }


def _deltas(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each call as OpenAI streams it: id and name, then its arguments in pieces."""
    found: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        head = {name: call[name] for name in ("id", "type") if name in call}
        found.append({"index": index, **head, "function": {"name": call["function"]["name"], "arguments": ""}})
        for piece in (arguments[:half], arguments[half:]):
            found.append({"index": index, "function": {"arguments": piece}})
    return found


def _events(body: dict[str, Any], reply: Reply) -> list[str | dict[str, Any]]:
    """The data of a stream's events: the pieces, the finish reason, the usage where it was asked for, the end."""
    pieces = reply.pieces or [piece for piece in (reply.text or "").replace(" ", "\0 ").split("\0") if piece]
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in pieces]
    deltas += [({"tool_calls": [delta]}, None) for delta in reply.deltas or _deltas(reply.tool_calls)]
    if not reply.stream_error:
        deltas.append(({}, reply.finish))
    common = {
        "id": "chatcmpl-loopback",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": body.get("model", ""),
    }
    events: list[str | dict[str, Any]] = [
        common | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in deltas
    ]
    if reply.stream_error:
        return [*events, {"error": reply.stream_error}]
    if (body.get("stream_options") or {}).get("include_usage") and reply.usage:
        events.append(common | {"choices": [], "usage": _usage(reply)})
    return [*events, "[DONE]"]
