"""The one comment on a pull request, found again by a mark that nobody sees."""

from __future__ import annotations

import re
from typing import Any

from promptchain.ci.rest import Api, ApiError

MAX_COMMENT = 60_000
"""Bytes; GitHub takes 65,536 characters."""

_PAGES = 100
_PER_PAGE = 100
_OURS = ("OWNER", "MEMBER", "COLLABORATOR")


def mark(name: str) -> str:
    """The first line of the comment, which tells it from others. name: of what comments, where several things do."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"<!-- promptchain{f':{slug}' if slug else ''} -->"


def put(api: Api, repository: str, pull: int, name: str, text: str, *, make: bool = True) -> str | None:
    """Write the comment, in the place of the one from before; returns its address. make: whether to make one where
    there is none; None where there still is none. Raises ApiError."""
    body = {"body": f"{mark(name)}\n{text}"}
    gone: set[int] = set()
    for tries in range(1, 10):
        found = _find(api, repository, pull, mark(name), gone)
        if found is None and not make:
            return None
        try:
            if found is None:
                return _address(api.post(f"/repos/{repository}/issues/{pull}/comments", body))
            return _address(api.patch(f"/repos/{repository}/issues/comments/{found}", body))
        except ApiError as exc:
            if found is not None and exc.status == 404:  # deleted in between
                gone.add(found)
                continue
            if found is not None:
                raise  # it was tried often enough
            api.wait(exc, tries)  # and look again: the answer may be all that was lost
    raise ApiError("the comment could not be written: others are deleting it")


def _find(api: Api, repository: str, pull: int, first: str, gone: set[int]) -> int | None:
    """The newest comment that begins with the mark and was written by who may speak for the repository: of another's,
    its author could change what it says."""
    newest = None
    for page in range(1, _PAGES + 1):
        path = f"/repos/{repository}/issues/{pull}/comments?per_page={_PER_PAGE}&page={page}"
        found = api.get(path)
        if not isinstance(found, list):
            raise ApiError("GitHub's API gave no list of comments")
        for comment in found:
            if _is_ours(comment, first) and comment["id"] not in gone:
                newest = comment["id"]
        if len(found) < _PER_PAGE:
            break
    return newest


def _is_ours(comment: Any, first: str) -> bool:
    if not isinstance(comment, dict) or not isinstance(comment.get("id"), int):
        return False
    user = comment.get("user")
    bot = isinstance(user, dict) and user.get("type") == "Bot"
    body = comment.get("body")
    return isinstance(body, str) and body.startswith(first) and (bot or comment.get("author_association") in _OURS)


def _address(comment: Any) -> str:
    found = comment.get("html_url") if isinstance(comment, dict) else None
    return found if isinstance(found, str) else ""
