"""Requests and replies as litellm has them, which is OpenAI's form of chat completions for every provider:
https://platform.openai.com/docs/api-reference/chat, and https://docs.litellm.ai/docs/completion/document_understanding
for files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm.litellm_errors import first_line
from promptchain.lm.protocol import PLACE, Finish, Media, Message, Request, ToolCall, ToolSpec, Usage
from promptchain.lm.secrets import redact

_FINISH = {"length": Finish.LENGTH, "content_filter": Finish.FILTER, "tool_calls": Finish.TOOLS}
_FINISH["function_call"] = Finish.TOOLS


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said. tool_calls: only where `finish` is TOOLS, for calls that were cut off are not to be made."""

    text: str
    finish: Finish
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[float, ...] = ()


# --- what is sent ---------------------------------------------------------------------------------------------------


def message_of(message: Message) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.tool_calls:
        sent["content"] = sent["content"] or None
        sent["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    return sent


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.media:
        return message.content
    texts = message.content.split(PLACE, len(message.media))
    texts += [""] * (len(message.media) + 1 - len(texts))  # media without a place stand at the end
    parts: list[dict[str, Any]] = []
    for text, media in zip(texts, (*message.media, None), strict=True):
        if text.strip():  # some providers refuse a part without a word
            parts.append({"type": "text", "text": text.strip()})
        if media is not None:
            parts.append(_part(media))
    return parts


def _part(media: Media) -> dict[str, Any]:
    if media.kind == "image":
        return {"type": "image_url", "image_url": {"url": media.url}}
    if not media.url.startswith("data:"):
        return {"type": "file", "file": {"file_id": media.url}}  # litellm fetches it where the provider does not
    kind = media.url[len("data:") :].partition(",")[0].partition(";")[0]
    # OpenAI takes no content without a name.
    name = media.name or f"file.{kind.rpartition('/')[2]}"
    return {"type": "file", "file": {"file_data": media.url, "filename": name}}


def tool_of(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title", ""))).strip("_")[:64] or "reply"
    strict = schema.get("type") == "object" and is_closed(schema)
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": strict}}


def is_closed(schema: object) -> bool:
    """Whether every object in a JSON Schema admits its declared properties only and requires each of them: what
    OpenAI's strict structured output asks for."""
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    if "properties" in schema or kind == "object" or (isinstance(kind, list) and "object" in kind):
        names, required = set(schema.get("properties", ())), set(schema.get("required", ()))
        closed = schema.get("additionalProperties") is False and names == required
    else:
        closed = True
    named = [schema.get(key, {}) for key in ("properties", "$defs", "definitions")]
    inner = [part for parts in named for part in parts.values()]
    for key in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        part = schema.get(key, ())
        inner += part if isinstance(part, list | tuple) else [part]
    return closed and all(map(is_closed, inner))


# --- what comes back ------------------------------------------------------------------------------------------------


def read(choice: Any, request: Request) -> Reply:
    """A whole reply. Raises ModelError for a refusal."""
    text = choice.message.content or ""
    fields = getattr(choice.message, "provider_specific_fields", None) or {}  # where litellm had it up to 1.109
    refusal = getattr(choice.message, "refusal", None) or fields.get("refusal")
    if refusal and not text:
        raise ModelError(
            redact(f"{request.model} refused: {first_line(refusal)}"), fault=Fault.REFUSED, model=request.model
        )
    calls = _Calls()
    for number, call in enumerate(getattr(choice.message, "tool_calls", None) or ()):
        calls.add(call, number)
    return _reply(text, choice.finish_reason, calls, _logprobs(choice), request)


@dataclass(slots=True)
class Pieces:
    """A reply that comes in pieces."""

    texts: list[str] = field(default_factory=list)
    _reason: object = None
    _logprobs: list[float] = field(default_factory=list)
    _calls: _Calls = field(default_factory=lambda: _Calls())

    @property
    def empty(self) -> bool:
        """Whether nothing has come yet."""
        return not (self.texts or self._calls.parts)

    def add(self, choice: Any) -> str:
        """Take the next piece; gives its text."""
        text: str = choice.delta.content or ""
        if text:
            self.texts.append(text)
        self._reason = choice.finish_reason or self._reason
        self._logprobs += _logprobs(choice)
        for call in getattr(choice.delta, "tool_calls", None) or ():
            self._calls.add(call, getattr(call, "index", None))
        return text

    def reply(self, request: Request) -> Reply:
        return _reply("".join(self.texts), self._reason, self._calls, self._logprobs, request)


@dataclass(slots=True)
class _Part:
    """A call as far as it has come."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Calls:
    """Calls of tools, put together from their pieces. A piece belongs to the call of its index, and to the last one
    where it has none; another id begins another call, for some servers number all of them 0."""

    parts: list[_Part] = field(default_factory=list)

    def add(self, piece: Any, index: int | None) -> None:
        told = getattr(piece, "id", None) or ""
        function = getattr(piece, "function", None)
        name = getattr(function, "name", None) or ""
        arguments = getattr(function, "arguments", None) or ""
        part = self._begun(index, told, name)
        part.id = part.id or told
        if name != part.name:  # some repeat it with every piece
            part.name += name
        part.arguments.append(arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))

    def _begun(self, index: int | None, told: str, name: str) -> _Part:
        alike = [part for part in self.parts if part.index == index]
        part = alike[-1] if alike else None
        if part is None or (told and part.id and told != part.id) or (index is None and name and part.arguments):
            part = _Part(index)
            self.parts.append(part)
        return part

    def whole(self, request: Request) -> tuple[ToolCall, ...]:
        """The calls. One without an id gets one that is new in the conversation, the same whenever it is repeated."""
        before = sum(len(message.tool_calls) for message in request.messages)
        return tuple(
            ToolCall(part.id or f"call_{number}", part.name, "".join(part.arguments))
            for number, part in enumerate(self.parts, before + 1)
        )


def _reply(text: str, reason: object, calls: _Calls, logprobs: list[float], request: Request) -> Reply:
    finish = _FINISH.get(str(reason), Finish.STOP)
    found: tuple[ToolCall, ...] = ()
    if calls.parts and finish in (Finish.STOP, Finish.TOOLS):  # some servers say "stop" after a call too
        finish, found = Finish.TOOLS, calls.whole(request)
    return Reply(text, finish, found, tuple(logprobs))


def _logprobs(choice: Any) -> list[float]:
    """Of each token of a reply, or of a piece of one; none where the provider does not tell."""
    told = getattr(choice, "logprobs", None)
    if not told:
        return []
    tokens = (told.get("content") if isinstance(told, Mapping) else getattr(told, "content", None)) or ()
    found = (token.get("logprob") if isinstance(token, Mapping) else token.logprob for token in tokens)
    return [float(number) for number in found if isinstance(number, int | float) and math.isfinite(number)]


def vectors(data: Any, wanted: int) -> list[list[float]]:
    """The embeddings in the order of their texts, which `index` tells where a server gives it. Raises ValueError where
    they are not as many as were asked for, or one is none."""
    places = [item.get("index") for item in data]
    if len(places) != wanted:
        raise ValueError(f"it gave {len(places)} embeddings for {wanted} texts")
    if sorted(place for place in places if isinstance(place, int)) == list(range(wanted)):
        data = [item for _, item in sorted(zip(places, data, strict=True), key=lambda pair: pair[0])]
    found = [[float(number) for number in item["embedding"]] for item in data]
    if not all(vector and all(map(math.isfinite, vector)) for vector in found):
        raise ValueError("one of its embeddings is empty, or has a number that is none")
    return found


def usage(raw: Any) -> Usage:
    details = getattr(raw, "prompt_tokens_details", None)
    return Usage(
        prompt_tokens=getattr(raw, "prompt_tokens", None) or 0,
        completion_tokens=getattr(raw, "completion_tokens", None) or 0,
        cached_tokens=getattr(details, "cached_tokens", None) or 0,
    )
