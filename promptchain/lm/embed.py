"""Embeddings: texts as vectors, from hosted models or from the small one of the package `wordllama`."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm.calls import Answer, Caller, CallError, Remembers, Retry
from promptchain.lm.protocol import LM, Capabilities, Message, OnText, Price, Request, Response, Usage

LOCAL = "local/wordllama"
"""WordLlama's 256 numbers a text: bags of words at a thousandth of a second each, and its weights come in its wheel
(https://github.com/dleemiller/WordLlama, MIT)."""
INSTALL = "pip install 'promptchain[rag]'"

MAX_TEXTS = 96
"""Texts of one request: Cohere takes no more, and the other providers take at least as many."""
MAX_CHARACTERS = 50_000
"""Characters of one request of several texts: Mistral and Vertex AI take some 16,000 tokens at once."""
_SHOWN = 40  # characters of a text in an error


class EmbeddingLM:
    """Answers a request, as `request_for` makes it, with a JSON list of numbers: the embedding of its one message; of
    several messages, which hosted models take, with a list of such lists. What is kept in a cache is one text's each.

    `local/wordllama` runs in this process, `scripted/FILE` is asked of `lm`, anything else goes through litellm.
    lm: where it has a response cache, that is used; it is not closed here.
    """

    def __init__(self, lm: LM) -> None:
        self._lm = lm
        self._memory = lm if isinstance(lm, Remembers) else None

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        if request.model.startswith("scripted/"):
            return await self._lm.complete(request, on_text)
        if (known := await self.lookup(request)) is not None:
            return known
        if request.model == LOCAL:
            response = await asyncio.to_thread(_locally, request)
        elif request.model.startswith("local/"):
            message = f"{request.model} makes no embeddings"
            raise ModelError(message, fault=Fault.UNKNOWN_MODEL, model=request.model, hint=f"use {LOCAL}")
        else:
            from promptchain.lm.litellm import LiteLLM

            response = await LiteLLM().embed(replace(request, params={}))
        # Together, so that a slow disk is waited for once.
        await asyncio.gather(*(self.remember(one, own) for one, own in _single(request, response)))
        return response

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None:
        if self._memory is None or len(request.messages) > 1:
            return None
        return await self._memory.lookup(request, on_text)

    async def remember(self, request: Request, response: Response) -> None:
        if self._memory is not None:
            await self._memory.remember(request, response)

    def capabilities(self, model: str) -> Capabilities:
        if model.startswith("local/"):
            return Capabilities(price=Price(0.0, 0.0), max_output=0, local=True)
        return replace(
            self._lm.capabilities(model), max_output=0
        )  # it writes nothing that a ceiling must make room for

    def identity(self, model: str) -> str:
        return self._lm.identity(model)

    def close(self) -> None:
        pass


def request_for(model: str, *texts: str) -> Request:
    """The request for one embedding, or for several; `embed` keeps it apart from a chat's in the cache."""
    return Request(model, tuple(Message("user", text) for text in texts), params={"embed": True})


def _single(request: Request, response: Response) -> Iterator[tuple[Request, Response]]:
    """Of a request for several texts that for each, with its share of the usage and the cost, by its length: so that
    the shares add up to the whole."""
    if len(request.messages) == 1:
        yield request, response
        return
    weights = [len(message.content) + 1 for message in request.messages]
    tokens, before, before_tokens = response.usage.prompt_tokens, 0, 0
    for message, vector, weight in zip(request.messages, json.loads(response.text), weights, strict=True):
        before += weight
        upto = round(tokens * before / sum(weights))
        share = (upto - before_tokens) / tokens if tokens else weight / sum(weights)
        cost = None if response.cost is None else response.cost * share
        usage, before_tokens = Usage(upto - before_tokens), upto
        yield replace(request, messages=(message,)), replace(response, text=json.dumps(vector), usage=usage, cost=cost)


async def embed(
    model: str, texts: Iterable[str], caller: Caller, *, timeout: float | None = None, retry: Retry | None = None
) -> tuple[list[list[float]], tuple[Answer, ...]]:
    """The vectors of the texts, in their order, and the answers that they came in; a text that repeats is asked once.

    Of a hosted model those that no cache has are asked for many at once. caller: one of an EmbeddingLM. timeout:
    seconds for each try. Raises ModelError, and what `Caller.call` raises; where many texts are asked for it says of
    which ones.
    """
    texts = list(texts)
    wanted: _Places = list(enumerate(dict.fromkeys(texts)))
    asking = _Asking(model, len(wanted), caller, timeout, retry or Retry())
    if model.startswith(("local/", "scripted/")):
        found: list[_Found] = []
        batches: Iterable[_Places] = ([one] for one in wanted)
    else:
        found, left = await _known(model, wanted, caller)
        batches = _batches(left)
    # None is left under way when another fails.
    done = await asyncio.gather(*map(asking.batch, batches), return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome
        found += outcome
    vectors = {text: vector for one in found for text, vector in one.vectors.items()}
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise ModelError(f"{model} gave vectors of different lengths", fault=Fault.BAD_RESPONSE, model=model)
    return [vectors[text] for text in texts], tuple(one.answer for one in found)


_Places = Sequence[tuple[int, str]]
"""Texts with their places among all that are wanted, from 0."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer, and the vectors in it by their texts."""

    answer: Answer
    vectors: dict[str, list[float]]


async def _known(model: str, texts: _Places, caller: Caller) -> tuple[list[_Found], _Places]:
    """What a cache has, and the texts that it has not."""
    if not isinstance(caller.lm, Remembers):
        return [], texts
    answers = await asyncio.gather(*(caller.lm.lookup(request_for(model, text)) for _, text in texts))
    pairs = list(zip(texts, answers, strict=True))
    found = [
        _Found(Answer(answer), {text: _vector(_json(answer.text), model)}) for (_, text), answer in pairs if answer
    ]
    return found, [place for place, answer in pairs if not answer]


def _batches(texts: _Places) -> Iterator[_Places]:
    """As few as `MAX_TEXTS` and `MAX_CHARACTERS` allow; a text that is too long by itself is alone."""
    some: list[tuple[int, str]] = []
    size = 0
    for index, text in texts:
        if some and (len(some) == MAX_TEXTS or size + len(text) > MAX_CHARACTERS):
            yield some
            some, size = [], 0
        some.append((index, text))
        size += len(text)
    if some:
        yield some


@dataclass(frozen=True, slots=True)
class _Asking:
    """What all batches are asked with. total: how many texts are wanted."""

    model: str
    total: int
    caller: Caller
    timeout: float | None
    retry: Retry

    async def batch(self, texts: _Places) -> list[_Found]:
        """What a model says to a batch. One that it refuses is asked for in halves: it takes fewer texts at once, or
        one of them is at fault, which is found so; and one that a ceiling has no room for, since fewer may have it.
        Raises as `embed`."""
        request = request_for(self.model, *(text for _, text in texts))
        if len(texts) > 1 and not self._fits(request):
            return await self._halves(texts)
        try:
            answer = await self.caller.call(request, timeout=self.timeout, retry=self.retry)
        except CallError as exc:
            if len(texts) > 1 and exc.fault in (Fault.BAD_REQUEST, Fault.CONTEXT):
                return await self._halves(texts)
            if self.total == 1:
                raise
            raise CallError(exc, exc.failures, note=f" ({self._told(texts)})", hint=exc.hint) from exc
        read = _json(answer.response.text)
        vectors = [read] if len(texts) == 1 else read
        pairs = zip(texts, vectors, strict=True)
        return [_Found(answer, {text: _vector(vector, self.model) for (_, text), vector in pairs})]

    async def _halves(self, texts: _Places) -> list[_Found]:
        half = len(texts) // 2
        return [*await self.batch(texts[:half]), *await self.batch(texts[half:])]

    def _fits(self, request: Request) -> bool:
        budget = self.caller.budget
        return budget.fits(budget.bound(request, self.caller.lm.capabilities(self.model)))

    def _told(self, texts: _Places) -> str:
        """Which texts it was about."""
        index, first = texts[0]
        words = " ".join(first.split())
        shown = words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…"
        if len(texts) == 1:
            return f"text {index + 1} of {self.total}: '{shown}'"
        return f"{len(texts)} of {self.total} texts, from number {index + 1} on: '{shown}'"


def cosine(one: list[float], other: list[float]) -> float:
    """How near two vectors of one length are: in [-1, 1], and 0 where one of them says nothing."""
    lengths = math.hypot(*one) * math.hypot(*other)
    product = math.fsum(left * right for left, right in zip(one, other, strict=True))
    return max(-1.0, min(1.0, product / lengths)) if lengths else 0.0


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _vector(read: Any, model: str) -> list[float]:
    if isinstance(read, list) and read and all(type(number) in (int, float) for number in read):
        vector = [float(number) for number in read]
        if all(map(math.isfinite, vector)):
            return vector
    raise ModelError(f"{model} gave no embedding", fault=Fault.BAD_RESPONSE, model=model, hint="is it one for chats?")


# --- wordllama


_lock = Lock()


def _locally(request: Request) -> Response:
    started = time.perf_counter()
    vector = local_vectors((request.messages[0].content,))[0]
    return Response(json.dumps(vector), cost=0.0, latency=time.perf_counter() - started)


def local_vectors(texts: Iterable[str]) -> list[list[float]]:
    """The embeddings by `local/wordllama`, in this thread. Raises ModelError where it is not installed."""
    with _lock:  # the first loads while the others wait
        model = _wordllama()
    found = []
    for text in texts:
        plain = text.encode("utf-8", "replace").decode()
        # A text without a token would be divided by none.
        known = bool(model.tokenize([plain])[0].ids)
        found.append([float(n) for n in model.embed([plain])[0]] if known else [0.0] * len(model.embedding[0]))
    return found


def installed() -> bool:
    """Whether `local/wordllama` can be asked here; nothing is imported."""
    return find_spec("wordllama") is not None


@cache
def _wordllama() -> Any:
    """The model, loaded from what lies in the package, never from the network."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        package = import_module("wordllama")
    except ImportError as exc:
        hint = f"{INSTALL}, or name a hosted embedding model"
        raise ModelError(
            f"{LOCAL} needs the package wordllama", fault=Fault.NOT_INSTALLED, model=LOCAL, hint=hint
        ) from exc
    finally:
        # Its import has everybody's log lines written to the terminal.
        root.handlers[:] = handlers
        root.setLevel(level)
    try:
        # Its tokenizer lies where only its own cache folder is looked through.
        return package.WordLlama.load(cache_dir=Path(str(package.__file__)).parent, disable_download=True)
    except (OSError, ValueError) as exc:
        message = f"the weights of {LOCAL} cannot be loaded"
        raise ModelError(message, fault=Fault.NO_WEIGHTS, model=LOCAL, hint="install wordllama anew") from exc
