"""Hosted models, through litellm, which is imported in the background and only when a model is really called."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from promptchain.errors import Fault, ModelError
from promptchain.lm import catalog
from promptchain.lm import litellm_wire as wire
from promptchain.lm.litellm_errors import connection_error, no_completion, translated, unknown_provider
from promptchain.lm.protocol import Capabilities, Finish, OnText, Request, Response, Usage
from promptchain.lm.secrets import redact

# The caller sets the time limit and cancels; litellm's own of ten minutes must not come first.
_NO_TIMEOUT = 7 * 24 * 3600.0


class LiteLLM:
    """Every model that litellm knows how to reach, named as litellm names it: "provider/model"."""

    def warm(self, model: str | None = None) -> None:
        """Start the import of litellm in the background, which takes seconds; returns at once. Any model will do."""
        del model  # they all need the same
        _load()

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        """See `LM.complete`. Neither time limit nor retries: both are the caller's."""
        arguments = _arguments(request)
        with translated(request):
            litellm = await _ready()
        started = time.perf_counter()
        if on_text is None:
            raw, reply = await _whole(litellm, arguments, request)
        else:
            raw, reply = await _stream(litellm, arguments, request, on_text)
        latency = time.perf_counter() - started
        usage = wire.usage(getattr(raw, "usage", None))
        cost = _cost(litellm, raw, request.model, usage)
        return Response(
            reply.text, reply.finish, usage, cost, latency, logprobs=reply.logprobs, tool_calls=reply.tool_calls
        )

    async def embed(self, request: Request) -> Response:
        """The embedding of the request's one message, as a JSON list of numbers; of several messages a list of such
        lists, in their order; else like `complete`."""
        arguments = _connection(request)
        with translated(request):
            litellm = await _ready()
            started = time.perf_counter()
            reply = await litellm.aembedding(input=[message.content for message in request.messages], **arguments)
            vectors = wire.vectors(reply.data, len(request.messages))
        latency = time.perf_counter() - started
        usage = wire.usage(reply.usage)
        reported = (getattr(reply, "_hidden_params", None) or {}).get("response_cost")
        price = catalog.capabilities(request.model).price
        cost = float(reported) if reported else price.of(usage) if price else None
        said = vectors if len(vectors) > 1 else vectors[0]
        return Response(json.dumps(said), Finish.STOP, usage, cost, latency)

    def capabilities(self, model: str) -> Capabilities:
        """See `LM.capabilities`: what litellm's data file says."""
        return catalog.capabilities(model)

    def identity(self, model: str) -> str:
        """The endpoint that the environment names for the model's provider, without credentials; else ""."""
        base = catalog.endpoint(catalog.provider_of(model) or "")
        return "" if base is None else _without_credentials(base)

    def close(self) -> None:
        """Close litellm's connections. Those of an event loop that is still running close when it ends."""
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return
        for loop, closer in list(_closers.items()):
            if not loop.is_closed() and not loop.is_running():
                loop.run_until_complete(closer.aclose())


@lru_cache(maxsize=64)  # every request's key has it
def _without_credentials(base: str) -> str:
    with suppress(ValueError):  # no address; the call will say so
        parts = urlsplit(base)
        base = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
    return redact(base)


def check(model: str, params: Mapping[str, Any] | None = None) -> ModelError | None:
    """What would keep a call from reaching `model`: an unknown provider, a missing key, an endpoint that does not
    answer a TCP connection within 3 s. None where nothing is seen to. Blocks; costs no tokens; does not import litellm.
    """
    params = params or {}
    provider = catalog.provider_of(model)
    if provider is None:
        return unknown_provider(model)
    try:
        catalog.has_key(model, params)
        base = _base(model, params) or (catalog.PROVIDERS.get(provider) or catalog.Provider()).url
    except ModelError as error:
        return error
    if base is None:
        return None
    url = urlsplit(base)
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    target = urlsplit(proxy) if proxy else url
    host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return connection_error((error,), model, f"{host}:{port}")
    return None


# --- litellm itself -------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_loading: Future[Any] | None = None


def _load() -> Future[Any]:
    """The module, imported once in a thread of its own, so that neither caller nor event loop waits for it."""
    global _loading
    with _lock:
        if _loading is None:
            _loading = Future()
            # A daemon: a command that ends early does not wait for an import that it no longer needs.
            threading.Thread(target=_import, args=(_loading,), name="import-litellm", daemon=True).start()
        return _loading


def _import(result: Future[Any]) -> None:
    # Without these litellm fetches prices from the network, and reads a .env file from wherever it is installed.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    _quiet()
    try:
        import litellm

        # Its OpenAI client would load these 0.7 s worth of modules within the first call, on the event loop.
        import_module("openai.resources")
    except Exception as error:
        result.set_exception(error)
        return
    gc.freeze()  # litellm's half a million objects stay; no collection during the calls need go through them
    litellm.suppress_debug_info = True  # it prints advice on errors to the terminal
    litellm.DEFAULT_MAX_RETRIES = 0  # OpenAI's embeddings take `max_retries=0` for not given
    if "LITELLM_LOG" not in os.environ:
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    result.set_result(litellm)


async def _ready() -> Any:
    """litellm, loaded and quiet; its connections close with the running loop."""
    loading = _load()
    litellm = loading.result() if loading.done() else await asyncio.shield(asyncio.wrap_future(loading))
    await _close_with_loop(litellm)
    _quiet()
    return litellm


_quieted: object = None


def _quiet() -> None:
    """Keep litellm's warnings about itself from the terminal, and from breaking calls where warnings are errors."""
    global _quieted
    if warnings.filters is not _quieted:  # another list within warnings.catch_warnings, and after it
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"litellm\.")
        warnings.filterwarnings("ignore", r"Items? .* on TypedDict class .* `ReadOnly` qualifier", UserWarning)
        # It makes its coroutine in a thread; when the call is cancelled at that instant, nobody awaits it. No harm.
        warnings.filterwarnings("ignore", r"coroutine '.*(completion|streaming)' was never awaited", RuntimeWarning)
        _quieted = warnings.filters


_closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()


async def _close_with_loop(litellm: Any) -> None:
    """Have the connections that litellm keeps for the running loop closed when the loop ends.

    litellm leaves them open, which warns at exit. A loop that ends (asyncio.run does it) closes the async generators
    that were started on it, so a generator that waits for nothing else is the place to tidy up.
    """
    loop = asyncio.get_running_loop()
    if loop not in _closers:
        _closers[loop] = closer = _closer(litellm, loop)
        await anext(closer)


async def _closer(litellm: Any, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    cache = litellm.in_memory_llm_clients_cache
    mine = cache.update_cache_key_with_event_loop("")  # how the keys of this loop's clients end
    try:
        yield
    finally:
        _closers.pop(loop, None)
        for key in [key for key in cache.cache_dict if str(key).endswith(mine)]:
            client = cache.cache_dict[key]
            cache.delete_cache(key)  # a closed client must not be found by a later loop with the same id
            if close := getattr(client, "close", None):
                with suppress(Exception):
                    await close()


# --- request and reply ----------------------------------------------------------------------------------------------


def _connection(request: Request) -> dict[str, Any]:
    """What litellm is called with, whatever it is asked. Raises ModelError for what is sure to fail, before the slow
    import."""
    arguments: dict[str, Any] = {"timeout": _NO_TIMEOUT} | dict(request.params)
    _base(request.model, request.params)
    if not catalog.has_key(request.model, request.params):
        arguments["api_key"] = "none"  # a server of the user's own asks for none, litellm insists on one
    # A parameter that the provider does not know is an error, not ignored.
    return arguments | {"model": request.model, "num_retries": 0, "max_retries": 0, "drop_params": False}


def _arguments(request: Request) -> dict[str, Any]:
    """What litellm.acompletion is called with. Raises as `_connection`."""
    arguments = _connection(request)
    arguments.pop("stream", None)  # on_text decides
    arguments["messages"] = [wire.message_of(message) for message in request.messages]
    if request.tools:
        arguments["tools"] = [wire.tool_of(tool) for tool in request.tools]
    if request.schema is not None:
        arguments["response_format"] = wire.response_format(request.schema)
    return arguments


def _base(model: str, params: Mapping[str, Any]) -> str | None:
    """The endpoint in place of the provider's own. Raises ModelError for one that is no address."""
    base = catalog.api_base(catalog.provider_of(model) or "", params)
    if base is None or (isinstance(base, str) and _is_address(base)):
        return base
    message = redact(f"api_base {base!r} is no address")
    raise ModelError(message, fault=Fault.BAD_REQUEST, model=model, hint="write it like http://127.0.0.1:8000/v1")


@lru_cache(maxsize=64)
def _is_address(base: str) -> bool:
    with suppress(ValueError):
        url = urlsplit(base)
        _ = url.port  # raises for one that is no number
        return url.scheme in ("http", "https") and bool(url.hostname)
    return False


async def _whole(litellm: Any, arguments: dict[str, Any], request: Request) -> tuple[Any, wire.Reply]:
    with translated(request):
        raw = await litellm.acompletion(**arguments)
        if not raw.choices:
            raise no_completion(request.model)
        return raw, wire.read(raw.choices[0], request)


async def _stream(litellm: Any, arguments: dict[str, Any], request: Request, on_text: OnText) -> tuple[Any, wire.Reply]:
    """The last chunk (it has the usage), and what all of them say."""
    with translated(request):
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
        stream = await litellm.acompletion(**arguments)
    pieces = wire.Pieces()
    last: Any = None
    try:
        while True:
            with translated(request):
                chunk = await anext(stream, None)
                if chunk is None:
                    break
                piece = pieces.add(chunk.choices[0]) if chunk.choices else ""
            last = chunk if getattr(chunk, "usage", None) else last
            if piece:
                on_text(piece)
    finally:
        await stream.aclose()
    # litellm makes up "stop" for a stream that broke off, or that was none; what the server said is kept here.
    if not (getattr(stream, "received_finish_reason", None) or getattr(stream, "intermittent_finish_reason", None)):
        if pieces.empty:
            raise no_completion(request.model)
        message = "the server ended the stream before the reply was complete"
        raise ModelError(message, fault=Fault.CONNECTION, model=request.model, hint="try again")
    return last, pieces.reply(request)


def _cost(litellm: Any, reply: Any, model: str, usage: Usage) -> float | None:
    """litellm's own figure, which knows of cached tokens and tiers; else the plain price; None where there is none."""
    reported = (getattr(reply, "_hidden_params", None) or {}).get("response_cost")
    if reported:
        return float(reported)
    # litellm says 0 for what has no price. Asking it only about models of the catalog also keeps it off the network.
    price = catalog.capabilities(model).price
    if price is None or reply is None:
        return None
    with suppress(Exception):
        whole = litellm.ModelResponse(model=model, usage=reply.usage)
        return float(litellm.completion_cost(completion_response=whole, model=model))
    return price.of(usage)
