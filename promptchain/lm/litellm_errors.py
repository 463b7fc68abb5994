"""What litellm, providers and networks raise → ModelError, sorted by cause and in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm import catalog
from promptchain.lm.protocol import Request
from promptchain.lm.secrets import redact

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
def translated(request: Request) -> Iterator[None]:
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
        return connection_error(chain, request.model, base)
    if "LLM Provider NOT provided" in said:
        return unknown_provider(request.model)
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
        return ("" if text.lstrip().startswith("<") else first_line(text)), frozenset()
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return first_line(str(error)), frozenset()
    codes = frozenset(str(error[key]) for key in ("code", "type", "status") if error.get(key))
    return first_line(str(error.get("message") or error.get("detail") or "")), codes


def first_line(text: str) -> str:
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


def no_completion(model: str) -> ModelError:
    message = f"{catalog.provider_of(model) or 'the server'} sent no valid completion"
    return ModelError(message, fault=Fault.BAD_RESPONSE, model=model, hint=_BAD_RESPONSE_HINT)


def unknown_provider(model: str) -> ModelError:
    near = catalog.nearest_model(model)
    example = near or "openai/gpt-4o-mini"
    hint = f"write provider/model, for example {example}; `chain models` lists them"
    return ModelError(
        f"no provider is known for the model '{model}'", fault=Fault.UNKNOWN_MODEL, model=model, hint=hint
    )


def connection_error(chain: tuple[BaseException, ...], model: str, base: str | None) -> ModelError:
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
        message = f"cannot connect to {address}: {first_line(str(chain[-1]))}"
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
