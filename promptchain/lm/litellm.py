"""Hosted models, through litellm, which is imported in the background and only when a model is really called."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from promptchain.errors import Fault, ModelError
from promptchain.lm import catalog
from promptchain.lm.protocol import Capabilities, Finish, OnText, Request, Response, Usage
from promptchain.lm.secrets import redact

# The caller sets the time limit and cancels; litellm's own of ten minutes must not come first.
_NO_TIMEOUT = 7 * 24 * 3600.0
_FINISH = {"length": Finish.LENGTH, "content_filter": Finish.FILTER, "tool_calls": Finish.TOOLS}
_FINISH["function_call"] = Finish.TOOLS


class LiteLLM:
    """Every model that litellm knows how to reach, named as litellm names it: "provider/model"."""

    def warm(self, model: str | None = None) -> None:
        """Start the import of litellm in the background, which takes seconds; returns at once. Any model will do."""
        del model  # they all need the same
        _load()

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        """See `LM.complete`. Neither time limit nor retries: both are the caller's."""
        arguments = _arguments(request)
        with _translated(request):
            loading = _load()
            litellm = loading.result() if loading.done() else await asyncio.shield(asyncio.wrap_future(loading))
            await _close_with_loop(litellm)
        _quiet()
        started = time.perf_counter()
        if on_text is None:
            with _translated(request):
                reply = await litellm.acompletion(**arguments)
                text, finish = _read(reply, request)
        else:
            reply, text, finish = await _stream(litellm, arguments, request, on_text)
        latency = time.perf_counter() - started
        usage = _usage(getattr(reply, "usage", None))
        return Response(text, finish, usage, _cost(litellm, reply, request.model, usage), latency)

    def capabilities(self, model: str) -> Capabilities:
        """See `LM.capabilities`: what litellm's data file says."""
        return catalog.capabilities(model)

    def identity(self, model: str) -> str:
        """The endpoint that the environment names for the model's provider, without credentials; else ""."""
        base = catalog.endpoint(catalog.provider_of(model) or "")
        if base is None:
            return ""
        with suppress(ValueError):  # no address; the call will say so
            parts = urlsplit(base)
            base = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
        return redact(base)

    def close(self) -> None:
        """Close litellm's connections. Those of an event loop that is still running close when it ends."""
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return
        for loop, closer in list(_closers.items()):
            if not loop.is_closed() and not loop.is_running():
                loop.run_until_complete(closer.aclose())


def check(model: str, params: Mapping[str, Any] | None = None) -> ModelError | None:
    """What would keep a call from reaching `model`: an unknown provider, a missing key, an endpoint that does not
    answer a TCP connection within 3 s. None where nothing is seen to. Blocks; costs no tokens; does not import litellm.
    """
    params = params or {}
    provider = catalog.provider_of(model)
    if provider is None:
        return _unknown_provider(model)
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
        return _connection_error((error,), model, f"{host}:{port}")
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
    litellm.suppress_debug_info = True  # it prints advice on errors to the terminal
    if "LITELLM_LOG" not in os.environ:
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    result.set_result(litellm)


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
    try:
        yield
    finally:
        _closers.pop(loop, None)
        cache = litellm.in_memory_llm_clients_cache
        for key in [key for key in cache.cache_dict if str(key).endswith(f"-{id(loop)}")]:
            client = cache.cache_dict[key]
            cache.delete_cache(key)  # a closed client must not be found by a later loop with the same id
            if close := getattr(client, "close", None):
                with suppress(Exception):
                    await close()


# --- request and reply ----------------------------------------------------------------------------------------------


def _arguments(request: Request) -> dict[str, Any]:
    """What litellm.acompletion is called with. Raises ModelError for what is sure to fail, before the slow import."""
    arguments: dict[str, Any] = {"timeout": _NO_TIMEOUT} | dict(request.params)
    arguments.pop("stream", None)  # on_text decides
    _base(request.model, request.params)
    if not catalog.has_key(request.model, request.params):
        arguments["api_key"] = "none"  # a server of the user's own asks for none, litellm insists on one
    arguments |= {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": False,  # a parameter that the provider does not know is an error, not ignored
    }
    if request.schema is not None:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(request.schema.get("title", ""))).strip("_")[:64] or "reply"
        strict = request.schema.get("type") == "object" and is_closed(request.schema)
        schema = {"name": name, "schema": dict(request.schema), "strict": strict}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _base(model: str, params: Mapping[str, Any]) -> str | None:
    """The endpoint in place of the provider's own. Raises ModelError for one that is no address."""
    base = catalog.api_base(catalog.provider_of(model) or "", params)
    with suppress(ValueError, TypeError, AttributeError):
        if base is None or (urlsplit(base).scheme in ("http", "https") and urlsplit(base).hostname):
            _ = base and urlsplit(base).port  # raises for one that is no number
            return base
    message = redact(f"api_base {base!r} is no address")
    raise ModelError(message, fault=Fault.BAD_REQUEST, model=model, hint="write it like http://127.0.0.1:8000/v1")


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


async def _stream(
    litellm: Any, arguments: dict[str, Any], request: Request, on_text: OnText
) -> tuple[Any, str, Finish]:
    """The last chunk (it has the usage), the whole text, and why it ended."""
    with _translated(request):
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
        stream = await litellm.acompletion(**arguments)
    pieces: list[str] = []
    last: Any = None
    reason: object = None
    try:
        while True:
            with _translated(request):
                chunk = await anext(stream, None)
                if chunk is None:
                    break
                choice = chunk.choices[0] if chunk.choices else None
                piece = (choice.delta.content or "") if choice else ""
                reason = (choice.finish_reason if choice else None) or reason
            last = chunk if getattr(chunk, "usage", None) else last
            if piece:
                pieces.append(piece)
                on_text(piece)
    finally:
        await stream.aclose()
    # litellm makes up "stop" for a stream that broke off, or that was none; what the server said is kept here.
    if not (getattr(stream, "received_finish_reason", None) or getattr(stream, "intermittent_finish_reason", None)):
        if not pieces:
            raise _no_completion(request.model)
        message = "the server ended the stream before the reply was complete"
        raise ModelError(message, fault=Fault.CONNECTION, model=request.model, hint="try again")
    return last, "".join(pieces), _FINISH.get(str(reason), Finish.STOP)


def _read(reply: Any, request: Request) -> tuple[str, Finish]:
    if not reply.choices:
        raise _no_completion(request.model)
    choice = reply.choices[0]
    text = choice.message.content or ""
    refusal = (getattr(choice.message, "provider_specific_fields", None) or {}).get("refusal")
    if refusal and not text:
        raise ModelError(redact(f"{request.model} refused: {_line(refusal)}"), fault=Fault.REFUSED, model=request.model)
    return text, _FINISH.get(str(choice.finish_reason), Finish.STOP)


def _usage(raw: Any) -> Usage:
    details = getattr(raw, "prompt_tokens_details", None)
    return Usage(
        prompt_tokens=getattr(raw, "prompt_tokens", None) or 0,
        completion_tokens=getattr(raw, "completion_tokens", None) or 0,
        cached_tokens=getattr(details, "cached_tokens", None) or 0,
    )


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


# --- errors ---------------------------------------------------------------------------------------------------------

_BY_STATUS = {401: Fault.AUTH, 402: Fault.AUTH, 403: Fault.AUTH, 404: Fault.UNKNOWN_MODEL, 408: Fault.TIMEOUT}
_BY_STATUS |= {413: Fault.CONTEXT, 429: Fault.RATE_LIMIT}
# What providers write into the fields "code", "type" and "status" of their errors.
_BY_CODE = {
    "insufficient_quota": Fault.AUTH,
    "invalid_api_key": Fault.AUTH,
    "authentication_error": Fault.AUTH,
    "model_not_found": Fault.UNKNOWN_MODEL,
    "context_length_exceeded": Fault.CONTEXT,
    "content_policy_violation": Fault.REFUSED,
    "content_filter": Fault.REFUSED,
    "rate_limit_exceeded": Fault.RATE_LIMIT,
    "overloaded_error": Fault.SERVER,
    "server_error": Fault.SERVER,
}
# By the name of an exception's class or of one of its bases, so that nothing needs importing; the first one counts.
_BY_CLASS = {
    "ContextWindowExceededError": Fault.CONTEXT,
    "ContentPolicyViolationError": Fault.REFUSED,
    "AuthenticationError": Fault.AUTH,
    "PermissionDeniedError": Fault.AUTH,
    "NotFoundError": Fault.UNKNOWN_MODEL,
    "RateLimitError": Fault.RATE_LIMIT,
    "BadRequestError": Fault.BAD_REQUEST,
    "ImportError": Fault.NOT_INSTALLED,
    "ServiceUnavailableError": Fault.SERVER,
    "InternalServerError": Fault.SERVER,
}
_BAD_RESPONSE_HINT = "see whether api_base is set and right, and its server in order"
_MALFORMED = re.compile(r"Empty or invalid response|provider returned|Expecting value|JSON")
_PREFIX = re.compile(r"^(?:(?:litellm\.)?(?:\w+(?:Error|Exception)|Timeout(?: Error)?)\s*(?::|-)\s*)+")
_WHAT = {
    Fault.UNKNOWN_MODEL: "{provider} has no model '{name}'",
    Fault.NOT_INSTALLED: "{model} needs a package that is not installed",
    Fault.AUTH: "{provider} refused the key",
    Fault.RATE_LIMIT: "{provider} limits the rate of calls",
    Fault.SERVER: "{provider} failed",
    Fault.TIMEOUT: "{provider} took too long",
    Fault.CONTEXT: "the prompt is too long for {model}",
    Fault.REFUSED: "{provider} refused the content",
    Fault.BAD_REQUEST: "{provider} refused the request",
    Fault.BAD_RESPONSE: "{provider} sent no valid completion",
}


@contextmanager
def _translated(request: Request) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise _translate(error, request) from error


def _translate(error: Exception, request: Request) -> ModelError:
    """litellm's exceptions, sorted by what the server or the network really did.

    litellm goes by words in the message ("rate limit" in a 400 becomes a 429, a refused connection a 500), so the
    causes that it keeps are asked first: the HTTP response, then the transport's error, and its own class last.
    """
    chain = tuple(_causes(error))
    response = next((cause.response for cause in chain if _is(cause, "HTTPStatusError")), None)  # type: ignore[attr-defined]
    status = None if response is None else int(response.status_code)
    said, codes = _said(chain, response)
    fault = _fault(chain, status, codes, said)
    provider = catalog.provider_of(request.model) or ""
    base = catalog.api_base(provider, request.params)
    if fault is Fault.CONNECTION:
        return _connection_error(chain, request.model, base)
    if "LLM Provider NOT provided" in said:
        return _unknown_provider(request.model)
    name = request.model.removeprefix(f"{provider}/")
    what = _WHAT[fault].format(provider=provider or "the server", name=name, model=request.model)
    quota = "insufficient_quota" in codes or status == 402 or "credit balance" in said
    if quota and fault is Fault.AUTH:
        what = f"the quota of {provider} is used up"
    message = what + (f" ({status})" if status else "") + (f": {said}" if said else "")
    headers = response.headers if response is not None else getattr(error, "litellm_response_headers", None)
    return ModelError(
        redact(message),
        fault=fault,
        model=request.model,
        hint=redact(_hint(fault, request.model, base, chain, quota) or "") or None,
        status=status,
        retry_after=_retry_after(headers or {}) if fault in (Fault.RATE_LIMIT, Fault.SERVER) else None,
    )


def _fault(chain: tuple[BaseException, ...], status: int | None, codes: frozenset[str], said: str) -> Fault:
    coded = next((_BY_CODE[code] for code in sorted(codes) if code in _BY_CODE), None)
    classed = next((fault for name, fault in _BY_CLASS.items() if any(_is(cause, name) for cause in chain)), None)
    if status is None:
        if any(_is(cause, "TimeoutException", "APITimeoutError") for cause in chain):
            return Fault.TIMEOUT
        if any(_is(cause, "TransportError", "ConnectionError", "gaierror") for cause in chain):
            return Fault.CONNECTION
        if "LLM Provider NOT provided" in said:
            return Fault.UNKNOWN_MODEL
        if _MALFORMED.search(said) or any(_is(cause, "JSONDecodeError") for cause in chain):
            return Fault.BAD_RESPONSE
        status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), None)  # an error in a stream
    if status is None:
        return coded or classed or Fault.BAD_RESPONSE
    if status >= 500 or status == 413:
        return _BY_STATUS.get(status, Fault.SERVER)
    if re.search(r"credit balance is too low|api key not valid|invalid api key", said, re.IGNORECASE):
        return Fault.AUTH
    if coded is None and classed in (Fault.CONTEXT, Fault.REFUSED):
        return classed
    return coded or _BY_STATUS.get(status, Fault.BAD_REQUEST)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is(error: BaseException, *names: str) -> bool:
    return any(base.__name__ in names for base in type(error).__mro__)


def _said(chain: tuple[BaseException, ...], response: Any) -> tuple[str, frozenset[str]]:
    """The provider's own sentence, on one line, and the codes beside it."""
    body: Any = next(filter(None, (getattr(cause, "body", None) for cause in chain)), None)
    if body is None and response is not None:
        with suppress(Exception):  # not read, or not text
            body = response.text
    if body is None:
        body = re.split(r"\. To drop these| Original exception: ", _PREFIX.sub("", str(chain[0])))[0]
    if isinstance(body, str):
        with suppress(ValueError):
            body = json.loads(body)
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        text = str(body)
        return ("" if text.lstrip().startswith("<") else _line(text)), frozenset()
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return _line(str(error)), frozenset()
    codes = frozenset(str(error[key]) for key in ("code", "type", "status") if error.get(key))
    return _line(str(error.get("message") or error.get("detail") or "")), codes


def _line(text: str) -> str:
    """The first line, shortened, without a final stop."""
    line = " ".join(next(iter(text.strip().splitlines()), "").split())
    return (line if len(line) <= 300 else line[:299] + "…").rstrip(" .")


def _hint(fault: Fault, model: str, base: str | None, chain: tuple[BaseException, ...], quota: bool) -> str | None:
    if fault is Fault.AUTH:
        keys = " and ".join(catalog.credentials(catalog.provider_of(model) or "")) or "the provider's key"
        return f"look at plan and billing of the account behind {keys}" if quota else f"set {keys} to a valid key"
    if fault is Fault.UNKNOWN_MODEL and base is not None:
        return f"see whether {base} is right, and which models it serves"
    if fault is Fault.UNKNOWN_MODEL:
        near = catalog.nearest_model(model)
        return f"did you mean '{near}'?" if near and near != model else "`chain models` lists the known ones"
    if fault is Fault.NOT_INSTALLED:
        name = next((cause.name for cause in chain if isinstance(cause, ImportError) and cause.name), None)
        return f"pip install {name.partition('.')[0]}" if name else None
    return {
        Fault.RATE_LIMIT: "lower --concurrency, or wait",
        Fault.CONTEXT: "shorten the input, or take a model with a longer context",
        Fault.BAD_REQUEST: "see params of the step",
        Fault.BAD_RESPONSE: _BAD_RESPONSE_HINT,
    }.get(fault)


def _no_completion(model: str) -> ModelError:
    message = f"{catalog.provider_of(model) or 'the server'} sent no valid completion"
    return ModelError(message, fault=Fault.BAD_RESPONSE, model=model, hint=_BAD_RESPONSE_HINT)


def _unknown_provider(model: str) -> ModelError:
    near = catalog.nearest_model(model)
    example = near or "openai/gpt-4o-mini"
    hint = f"write provider/model, for example {example}; `chain models` lists them"
    return ModelError(
        f"no provider is known for the model '{model}'", fault=Fault.UNKNOWN_MODEL, model=model, hint=hint
    )


def _connection_error(chain: tuple[BaseException, ...], model: str, base: str | None) -> ModelError:
    address = base or ""
    for cause in chain:
        # Only the transport's own errors: those of litellm carry a request that was made up.
        url = getattr(getattr(cause, "_request", None), "url", None)
        if url is not None and type(cause).__module__.startswith("httpx"):
            address = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    causes = " ".join(f"{type(cause).__name__} {cause}" for cause in chain)
    hint = "check the network, and api_base if it is set"
    if "ConnectionRefusedError" in causes:
        message, hint = f"cannot connect to {address}: connection refused", "is the server running, and api_base right?"
    elif "gaierror" in causes:
        message = f"cannot connect to {address}: unknown host"
    elif "CERTIFICATE_VERIFY_FAILED" in causes:
        message, hint = f"cannot trust the certificate of {address}", "set SSL_CERT_FILE to the authority's certificate"
    elif "ConnectError" in causes:
        message = f"cannot connect to {address}: {_line(str(chain[-1]))}"
    else:
        message, hint = f"{address} closed the connection before the reply was complete", "try again"
    return ModelError(redact(message), fault=Fault.CONNECTION, model=model, hint=hint)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from Retry-After (seconds, or an HTTP date: RFC 9110) or from OpenAI's retry-after-ms."""
    with suppress(ValueError, TypeError, KeyError):
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None
