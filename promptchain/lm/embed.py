"""Embeddings: texts as vectors, from hosted models or from the small one of the package `wordllama`."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm.calls import Answer, Caller, Remembers, Retry
from promptchain.lm.protocol import LM, Capabilities, Message, OnText, Price, Request, Response

LOCAL = "local/wordllama"
"""WordLlama's 256 numbers a text: bags of words at a thousandth of a second each, and its weights come in its wheel
(https://github.com/dleemiller/WordLlama, MIT)."""
INSTALL = "pip install 'promptchain[rag]'"


class EmbeddingLM:
    """Answers a request, as `request_for` makes it, with a JSON list of numbers: the embedding of its one message.

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
        await self.remember(request, response)
        return response

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None:
        return None if self._memory is None else await self._memory.lookup(request, on_text)

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


def request_for(model: str, text: str) -> Request:
    """The request for one embedding; `embed` keeps it apart from a chat's in the cache."""
    return Request(model, (Message("user", text),), params={"embed": True})


async def embed(
    model: str, texts: Iterable[str], caller: Caller, *, timeout: float | None = None
) -> tuple[list[list[float]], tuple[Answer, ...]]:
    """The vectors of the texts, in their order, and the answers that they came in; a text that repeats is asked once.

    caller: one of an EmbeddingLM. timeout: seconds for each try. Raises ModelError, and what `Caller.call` raises.
    """
    texts = list(texts)
    requests = {text: request_for(model, text) for text in texts}
    calls = (caller.call(request, timeout=timeout, retry=Retry()) for request in requests.values())
    done = await asyncio.gather(*calls, return_exceptions=True)  # none is left under way when another fails
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome
    answers = {text: outcome for text, outcome in zip(requests, done, strict=True) if isinstance(outcome, Answer)}
    vectors = {text: _vector(answer.response.text, model) for text, answer in answers.items()}
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise ModelError(f"{model} gave vectors of different lengths", fault=Fault.BAD_RESPONSE, model=model)
    return [vectors[text] for text in texts], tuple(answers.values())


def cosine(one: list[float], other: list[float]) -> float:
    """How near two vectors of one length are: in [-1, 1], and 0 where one of them says nothing."""
    lengths = math.hypot(*one) * math.hypot(*other)
    product = math.fsum(left * right for left, right in zip(one, other, strict=True))
    return max(-1.0, min(1.0, product / lengths)) if lengths else 0.0


def _vector(text: str, model: str) -> list[float]:
    try:
        read = json.loads(text)
    except ValueError:
        read = None
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
