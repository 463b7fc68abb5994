"""Assertions that run code of the project, or ask a server: `python` as `module:function`, and `webhook`."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from promptchain import functions
from promptchain.assertions.expressions import verdict_of
from promptchain.assertions.grader import Grader
from promptchain.assertions.protocol import AskingCheck, AssertionFault, Spec, Subject, Verdict
from promptchain.errors import FunctionError
from promptchain.modules import REFERENCE
from promptchain.threads import in_thread

_MOST = 1_000_000  # bytes of a webhook's answer


async def function(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: `module:function` of a file in the project. It is called with the output and a context (see `_context`),
    or with the output alone where it takes one argument; what it may return is said by `verdict_of`.

    A plain function runs in a thread of its own, an async one on the event loop. option `timeout`: seconds, the
    grader's without it; a plain function that is late goes on, unheard. What it prints goes to stderr.
    Raises AssertionFault for a function that is not there, that fails or that is late.
    """
    name = _name(spec)
    timeout = _timeout(spec, grader)
    try:
        result = await functions.outcome(
            lambda: _call(name, subject, spec, grader.root), name, grader.root, timeout=timeout
        )
    except FunctionError as exc:
        raise AssertionFault(exc.message, hint=exc.hint, where=exc.where) from exc
    return verdict_of(result, spec)


async def webhook(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: a URL. It gets {"output": …, "context": …} (see `_context`) by POST, and answers
    {"pass": true, "score": 0.9, "reason": "…"}, of which `pass` alone is needed. option `timeout`: seconds.

    Raises AssertionFault where no such answer comes.
    """
    url, server = _address(spec)
    timeout = _timeout(spec, grader)
    body = json.dumps({"output": subject.output, "context": _context(subject, spec)}, default=str).encode()
    try:
        async with asyncio.timeout(timeout):
            status, answer = await in_thread(lambda: _post(url, body, timeout + 1), "webhook")
    except TimeoutError as exc:
        raise AssertionFault(f"{server} did not answer within {timeout:g} s") from exc
    except (OSError, ValueError, HTTPException) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise AssertionFault(f"{server} cannot be reached: {reason}", hint="is it running, and the URL right?") from exc
    if not 200 <= status < 300:
        raise AssertionFault(f"{server} answered with status {status}")
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, Mapping) or not isinstance(said.get("pass"), bool):
        hint = 'it should answer {"pass": true}, with "score" and "reason" if it likes'
        raise AssertionFault(f"{server} gave no verdict", hint=hint)
    return verdict_of({name: said[name] for name in ("pass", "score", "reason") if said.get(name) is not None}, spec)


def _context(subject: Subject, spec: Spec) -> dict[str, Any]:
    """What code may look at beside the output: `vars`, the values that templates see; `config`, as the assertion gives
    it; `threshold`. A copy, so that nothing that is done to it has an effect."""
    config = spec.options.get("config") or {}
    return copy.deepcopy({"vars": dict(subject.values), "config": config, "threshold": spec.threshold})


def _timeout(spec: Spec, grader: Grader) -> float:
    given = spec.options.get("timeout", grader.timeout)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 86_400:
        raise AssertionFault(f"`timeout` of {spec.type} is a number of seconds, not {given!r}")
    return float(given)


# --- a function of the project


def _name(spec: Spec) -> str:
    if isinstance(spec.value, str) and REFERENCE.fullmatch(spec.value.strip()):
        return spec.value.strip()
    raise AssertionFault("python needs a function of the project, such as checks:polite")


def _call(name: str, subject: Subject, spec: Spec, root: Path) -> Any:
    """What the function returns; it raises what the function, or the import of its module, raises."""
    called, _ = functions.load(name, root)
    arguments: tuple[Any, ...] = (copy.deepcopy(subject.output), _context(subject, spec))
    return called(*arguments[: _takes(called, name)])


def _takes(called: Callable[..., Any], name: str) -> int:
    """How many arguments the function takes: two, or one."""
    try:
        signature = inspect.signature(called)
    except (ValueError, TypeError):  # made in C, say
        return 2
    for count in (2, 1):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count
    raise FunctionError(f"{name} must take the output, or the output and a context")


# --- a server


def _address(spec: Spec) -> tuple[str, str]:
    """The URL, and what to call it: a URL may hold a secret."""
    with suppress(ValueError):
        parts = urlsplit(spec.value) if isinstance(spec.value, str) else None
        if parts and parts.scheme in ("http", "https") and parts.hostname:
            return parts.geturl(), f"the webhook at {parts.hostname}"
    raise AssertionFault("webhook needs a URL, such as https://example.org/check")


def _post(url: str, body: bytes, timeout: float) -> tuple[int, bytes]:
    """The status and the body of the answer. Raises OSError, ValueError or HTTPException."""
    request = Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"})
    try:
        with urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read(_MOST)
    except HTTPError as exc:
        with exc:
            return exc.code, b""


CODE: dict[str, AskingCheck] = {"python": function, "webhook": webhook}
"""Assertions that ask code, by their names. `python` as an expression is in `expressions.py`."""
