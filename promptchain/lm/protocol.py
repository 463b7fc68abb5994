"""The one small protocol between the runner and every model: a `Request` goes in, a `Response` comes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

OnText = Callable[[str], None]
"""Receives each piece of the reply's text as it arrives, on the event loop's thread."""


PLACE = "\ufffc"
"""Stands in a message's text where one of its media is: Unicode's object replacement character."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a file in a message. url: a data: URI, or an address that the provider fetches. name: for people."""

    kind: Literal["image", "file"]
    url: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that a model may call. parameters: a JSON Schema of type object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks a tool for. arguments: JSON text as the model wrote it, which may be none."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message. media: what stands at the `PLACE`s of the content, in their order. tool_calls: those that an
    assistant asks for. tool_call_id: which of them a message of the role "tool" answers."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    media: tuple[Media, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def to_json(self) -> list[Any]:
        """What tells this message from another; two parts for a plain one."""
        plain: list[Any] = [self.role, self.content]
        if not (self.media or self.tool_calls or self.tool_call_id):
            return plain
        parts = [*map(asdict, self.media), *map(asdict, self.tool_calls)]
        return [*plain, parts, self.tool_call_id]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides a model's answer.

    params: as litellm names them (temperature, max_tokens, top_p, stop, seed, …).
    schema: a JSON Schema that the model is held to (structured output, or a grammar); None for free text.
    tools: what the model may call before it answers, by its provider's own way of calling.
    choices: the bare reply should be one of these; a model with a grammar is held to them, another only asked.
    sample: counts repeated draws of the same request, so that a cache keeps them apart.
    """

    model: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    sample: int = 0

    def key(self, identity: str = "") -> str:
        """SHA-256 (hex) of the canonical request; `identity` is what `LM.identity` says of the model."""
        canonical: dict[str, Any] = {
            "model": self.model,
            "identity": identity,
            "messages": [message.to_json() for message in self.messages],
            "params": self.params,
            "schema": self.schema,
            "choices": self.choices,
            "sample": self.sample,
        }
        if self.tools:
            canonical["tools"] = [asdict(tool) for tool in self.tools]
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    FILTER = "content_filter"
    TOOLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls. `cached_tokens` are those of the prompt that a prefix cache had already."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Response:
    """A model's answer. `cost` in US dollars, None where the price is unknown; `latency` in seconds.

    cached: it came from the response cache, so that nothing was spent now; cost and latency are those of the call that
    it was had with. logprobs: the natural logarithm of the probability of each token written, where the params ask for
    them (`logprobs: true`) and the model tells. tool_calls: what it wants done before it answers.
    """

    text: str
    finish: Finish = Finish.STOP
    usage: Usage = Usage()
    cost: float | None = None
    latency: float = 0.0
    cached: bool = False
    logprobs: tuple[float, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        return usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is known of a model before it is called, without an import that costs seconds or a network.

    schema: takes a JSON Schema for its reply. grammar: holds replies to `choices` and bare scalar schemas too.
    max_output: tokens it can write at most, None where unknown. local: runs in this process.
    slots: requests it answers at the same time, None for as many as are sent. tools: it calls tools in its provider's
    own way. images, files: whether it takes them, None where that is not known.
    """

    schema: bool = False
    grammar: bool = False
    price: Price | None = None
    max_output: int | None = None
    local: bool = False
    slots: int | None = None
    tools: bool = False
    images: bool | None = None
    files: bool | None = None


class LM(Protocol):
    """A model, or a family of them told apart by `Request.model`."""

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        """Answer one request. With `on_text` the reply is streamed to it as well. Cancelling the task stops the call.

        Raises ModelError, and no other exception for what a server, a network or a missing file can cause.
        """
        ...

    def capabilities(self, model: str) -> Capabilities:
        """What `model` can do; cheap, offline, never raises for an unknown model."""
        ...

    def identity(self, model: str) -> str:
        """What besides its name decides the answers of `model`: the endpoint, or a fingerprint of its weights."""
        ...

    def close(self) -> None:
        """Free what the model holds; it is not used afterwards. May be called twice."""
        ...
