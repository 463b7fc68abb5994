"""The part of GitHub's REST API that comments, on loopback: it keeps them, and refuses on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

BOT = {"login": "github-actions[bot]", "type": "Bot"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the right one. done: what was asked is done all the same, and only the answer is lost."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "no"
    body: bytes | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    token: str


class GitHub:
    """A context manager. comments: of every pull request, oldest first, as the API has them. refusals: for the next
    requests, one each; `always` for every one. requests: so far."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.refusals: list[Refusal | None] = []
        self.always: Refusal | None = None
        self.requests: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake._answer(self, "GET")

            def do_POST(self) -> None:
                fake._answer(self, "POST")

            def do_PATCH(self) -> None:
                fake._answer(self, "PATCH")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def bodies(self) -> list[str]:
        return [comment["body"] for comment in self.comments]

    def add(self, body: str, *, user: Mapping[str, str] = BOT, association: str = "NONE", pull: int = 7) -> int:
        """A comment that is there already; returns its id."""
        number = len(self.comments) + 1
        url = f"https://github.example/team/bank/pull/{pull}#issuecomment-{number}"
        found = {"id": number, "body": body, "user": user, "author_association": association, "html_url": url}
        self.comments.append({**found, "pull": pull})
        return number

    def __enter__(self) -> GitHub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        length = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else {}
        self.requests.append(Asked(method, handler.path, handler.headers.get("authorization", "")))
        refusal = self.always or (self.refusals.pop(0) if self.refusals else None)
        if refusal is None or refusal.done:
            status, found = self._route(method, handler.path, body)
            if refusal is None:
                self._send(handler, status, json.dumps(found).encode(), {})
                return
        told = json.dumps({"message": refusal.message}).encode() if refusal.body is None else refusal.body
        self._send(handler, refusal.status, told, refusal.headers)

    def _route(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if match := re.fullmatch(r"/repos/team/bank/issues/(\d+)/comments(?:\?per_page=(\d+)&page=(\d+))?", path):
            pull = int(match[1])
            if method == "POST":
                self.add(body["body"], pull=pull)
                return 201, self.comments[-1]
            size, page = int(match[2]), int(match[3])
            return 200, [one for one in self.comments if one["pull"] == pull][(page - 1) * size : page * size]
        if (match := re.fullmatch(r"/repos/team/bank/issues/comments/(\d+)", path)) and method == "PATCH":
            for comment in self.comments:
                if comment["id"] == int(match[1]):
                    comment["body"] = body["body"]
                    return 200, comment
        return 404, {"message": "Not Found"}

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
