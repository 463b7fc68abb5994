"""Commits as the stream that `git fast-import` reads (git-fast-import(1))."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewCommit:
    """A commit to be written. ref: without the prefix. parents: ids, one of them where the ref is now; none makes it.
    The new tree is that of the first with the changes.

    changes: for each path its new content, None to remove it, or, as text, the id of an object that is there already.
    """

    ref: str
    message: str
    parents: tuple[str, ...]
    changes: Mapping[str, bytes | str | None]


def commands(commits: Sequence[NewCommit], prefix: str, identity: str) -> bytes:
    """The stream; fast-import prints the id of each commit, in order. identity: "Name <email>"."""
    when = int(time.time())
    parts: list[bytes] = []
    for mark, commit in enumerate(commits, 1):
        parts += [f"commit {prefix}/{commit.ref}\nmark :{mark}\n".encode()]
        parts += [f"committer {identity} {when} +0000\n".encode("utf-8", "surrogateescape")]
        parts += [_data(commit.message.encode("utf-8", "replace"))]
        parts += [f"{'merge' if n else 'from'} {parent}\n".encode() for n, parent in enumerate(commit.parents)]
        parts += [_change(path, content) for path, content in commit.changes.items()]
        parts += [b"\n"]
    parts += [f"get-mark :{mark}\n".encode() for mark in range(1, len(commits) + 1)]
    return b"".join([*parts, b"done\n"])


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _change(path: str, content: bytes | str | None) -> bytes:
    place = _quoted(path)
    if content is None:
        return b"D %s\n" % place
    if isinstance(content, str):
        return b"M 100644 %s %s\n" % (content.encode(), place)
    return b"M 100644 inline %s\n%s" % (place, _data(content))


def _quoted(path: str) -> bytes:
    """A path in quotes, with everything but plain characters as octal numbers."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._- @%+="
    return b'"%s"' % b"".join(
        bytes([byte]) if byte in plain else b"\\%03o" % byte for byte in path.encode("utf-8", "surrogateescape")
    )
