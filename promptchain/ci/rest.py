"""The few requests that go to GitHub's REST API, patiently and within bounds.

What to do when it refuses: GitHub's documentation, "Best practices for using the REST API".
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from typing import Any

from promptchain.errors import PromptChainError

PATIENCE = 90.0
"""Seconds that one command waits in all for a server that wants to be left alone."""

_TIMEOUT = 20.0
_TRIES = 4
_MAX_ANSWER = 16 * 1024 * 1024


class ApiError(PromptChainError):
    """A request that came to nothing. status: of the answer; None where there was none. passing: whether the same may
    well succeed later; wait: after so many seconds, where the server says."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        passing: bool = False,
        wait: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.passing = passing
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for the one host that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Api:
    """`url`: without a slash at its end. patience: see PATIENCE; it is used up."""

    url: str
    token: str = field(repr=False)
    patience: float = PATIENCE
    sleep: Callable[[float], None] = time.sleep

    def get(self, path: str) -> Any:
        """Raises ApiError."""
        return self._patient("GET", path, None)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Raises ApiError."""
        return self._patient("PATCH", path, body)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Once only: what got no answer may have been done all the same. Raises ApiError."""
        return self._ask("POST", path, body)[0]

    def wait(self, error: ApiError, tries: int) -> None:
        """Wait for what may pass; raises the error where that would take too long."""
        seconds = 2.0 ** (tries - 1) if error.wait is None else error.wait
        if not error.passing or tries >= _TRIES or seconds > self.patience:
            raise error
        self.patience -= seconds
        self.sleep(seconds)

    def _patient(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        for tries in range(1, _TRIES + 1):
            try:
                return self._ask(method, path, body)[0]
            except ApiError as exc:
                self.wait(exc, tries)
        raise AssertionError

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[Any, Message]:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "promptchain",
        }
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read(_MAX_ANSWER) or b"null"), answer.headers
        except urllib.error.HTTPError as exc:
            with exc:
                raise _refused(exc) from None
        except (OSError, HTTPException) as exc:
            reason = getattr(exc, "reason", None) or exc
            raise ApiError(f"GitHub's API cannot be reached: {reason}", passing=True) from None
        except ValueError as exc:  # no JSON, or an address that is none
            raise ApiError(f"GitHub's API gave no answer that can be read: {exc}") from None


def _refused(exc: urllib.error.HTTPError) -> ApiError:
    said = _said(exc)
    if exc.code == 429 or (exc.code == 403 and _is_limit(exc.headers, said)):
        message = f"GitHub's API limits requests ({exc.code}: {said})"
        return ApiError(message, status=exc.code, passing=True, wait=_wait(exc.headers))
    if exc.code >= 500:
        return ApiError(f"GitHub's API failed ({exc.code}: {said})", status=exc.code, passing=True)
    hint = "the job needs `permissions: {pull-requests: write}`" if exc.code in (401, 403, 404) else None
    return ApiError(f"GitHub's API refused ({exc.code}: {said})", status=exc.code, hint=hint)


def _is_limit(headers: Message, said: str) -> bool:
    return "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or "rate limit" in said.lower()


def _wait(headers: Message) -> float:
    """Seconds to leave it alone; a minute where it does not say."""
    try:
        if "retry-after" in headers:
            return max(0.0, float(headers["retry-after"]))
        if headers.get("x-ratelimit-remaining") == "0":
            return max(1.0, float(headers["x-ratelimit-reset"]) - time.time())
    except (TypeError, ValueError):
        pass
    return 60.0


def _said(exc: urllib.error.HTTPError) -> str:
    """What the answer says, in a line."""
    try:
        found = json.loads(exc.read(65536))["message"]
        return " ".join(str(found).split())[:200]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return str(exc.reason)
