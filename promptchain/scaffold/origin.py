"""Where this promptchain was installed from, so that another machine installs the same: by pip's own note of it
(`direct_url.json`, https://packaging.python.org/en/latest/specifications/direct-url/)."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from promptchain.scaffold import git

NAME = "promptchain"
UNKNOWN = "git+https://github.com/<OWNER>/promptchain"
"""What stands for an origin that nobody knows; pip refuses it. The name alone is not asked for: who has it in an index
may be somebody else."""

_SCP = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+\.[\w-]+):(?P<path>[^/:\\][^:\\]*)")
"""An address as `git clone` takes it: git@github.com:owner/name.git."""

_ODD = re.compile(r"[\s'\"#@$`\\]")
"""What no shell, no workflow and no requirement of pip should meet in a path."""


def requirement(extras: str) -> str | None:
    """What pip takes to install this promptchain with extras, e.g. `promptchain[local] @ git+https://…@<commit>`; None
    where it came from a place that other machines do not reach."""
    name = f"{NAME}[{extras}]"
    try:
        installed = distribution(NAME)
        noted = installed.read_text("direct_url.json")
        if noted is None:  # from an index, which has this name in it
            return f"{name}=={installed.version}"
        address = _address(json.loads(noted))
    except (PackageNotFoundError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return f"{name} @ {address}" if address else None


def _address(noted: dict[str, Any]) -> str | None:
    url = str(noted["url"])
    if vcs := noted.get("vcs_info"):
        public = _public(url)
        return f"{vcs['vcs']}+{public}@{vcs['commit_id']}" if public else None
    if "dir_info" in noted:
        return _of_clone(Path(url2pathname(urlsplit(url).path)))
    return _public(url)


def _of_clone(folder: Path) -> str | None:
    """The commit of a clone where its remote has it, else what the remote begins with."""
    if git.top_of(folder) != folder or not (url := _public(git.answer(folder, "remote", "get-url", "origin"))):
        return None
    commit = git.answer(folder, "rev-parse", "HEAD")
    pushed = git.answer(folder, "branch", "--remotes", "--list", "origin/*", "--contains", "HEAD")
    return f"git+{url}@{commit}" if commit and pushed else f"git+{url}"


def _public(url: str) -> str | None:
    """The address without a name and password; None for one of this machine, or that is none."""
    if (match := _SCP.fullmatch(url)) and not _ODD.search(url.partition("@")[2] or url):
        return f"https://{match['host']}/{match['path']}"
    parts = urlsplit(url)
    if parts.scheme not in ("https", "ssh") or not parts.hostname or _ODD.search(parts.path):
        return None
    host = parts.hostname + (f":{parts.port}" if parts.port and parts.scheme == "https" else "")
    return urlunsplit(("https", host, parts.path, "", ""))
