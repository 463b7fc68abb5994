"""Passages from an HTTP endpoint: {"query": …, "top_k": …, "where": …} by POST, and a list of passages back."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import Request, urlopen

from promptchain.errors import Fault, ModelError, PromptChainError
from promptchain.lm.calls import Retry
from promptchain.records import storable
from promptchain.retrieval.passages import Passage
from promptchain.steps.context import Context
from promptchain.threads import in_thread

if TYPE_CHECKING:
    from promptchain.steps.retrieve import BoundRetrieve

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer."""


async def ask(
    url: str, query: str, top_k: int, where: Mapping[str, Any], bound: BoundRetrieve, context: Context
) -> list[Passage]:
    """The passages that the server finds; asked again after errors that may pass. Raises ModelError (its fault tells
    that the chain is not to blame), PromptChainError."""
    from promptchain.steps.retrieve import passages_of

    server = urlsplit(url).netloc.rpartition("@")[2]
    body = json.dumps({"query": query, "top_k": top_k, "where": where}).encode()
    retry, tries = Retry(errors=bound.step.retry.errors), 0
    while True:
        try:
            async with context.workshop.code:  # each request has a thread of its own
                answer = await asyncio.wait_for(in_thread(lambda: _post(url, body, bound.timeout)), bound.timeout)
            break
        except TimeoutError:
            raise _error(server, f"did not answer within {bound.timeout:g} s", Fault.TIMEOUT) from None
        except HTTPError as exc:
            exc.close()  # it holds the connection
            error = _error(server, f"answered with status {exc.code}", _fault(exc.code))
        except (OSError, HTTPException) as exc:
            error = _error(server, f"cannot be reached: {getattr(exc, 'reason', None) or exc}", Fault.CONNECTION)
        tries += 1
        if not error.retryable or tries > retry.errors:
            raise error
        wait = retry.wait(tries, None, 0.5)
        context.on_retry(error.message, wait)
        await asyncio.sleep(wait)
    try:
        found = storable(json.loads(answer))
    except (ValueError, RecursionError) as exc:
        hint = "it should answer with a list of passages"
        raise PromptChainError(f"{server} gave no JSON that can be kept: {_why(exc)}", hint=hint) from None
    return passages_of(found, server)


def _why(exc: Exception) -> str:
    return "it is nested too deep" if isinstance(exc, RecursionError) else str(exc)


def _fault(status: int) -> Fault:
    if status in (401, 403):
        return Fault.AUTH
    if status == 429:
        return Fault.RATE_LIMIT
    return Fault.SERVER if status >= 500 else Fault.BAD_REQUEST


def _error(server: str, what: str, fault: Fault) -> ModelError:
    return ModelError(f"{server} {what}", fault=fault, model=server, hint="is it running, and the URL right?")


def _post(url: str, body: bytes, timeout: float | None) -> bytes:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")  # urllib would take it for the host's name
    address = parts._replace(netloc=host).geturl()
    request = Request(address, body, {"Content-Type": "application/json", "Accept": "application/json"})
    if at:  # and not sent on to where a redirect leads
        request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote_to_bytes(user)).decode()}")
    with urlopen(request, timeout=timeout) as response:
        found: bytes = response.read(MAX_ANSWER + 1)
    if len(found) > MAX_ANSWER:
        raise OSError(f"its answer is longer than {MAX_ANSWER // 1024**2} MB")
    return found
