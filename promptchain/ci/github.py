"""What GitHub Actions tells a job: environment variables, and the event in a file.

Sources: GitHub's documentation, "Variables reference" and "Webhook events and payloads".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptchain.errors import UsageError

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_MAX_EVENT = 32 * 1024 * 1024
"""Bytes of an event that are read; GitHub's own limit for a payload is 25 MB."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """base, head: the commits; base_ref, head_ref: the branches. fork: it comes from another repository, so that the
    token is read-only and there are no secrets."""

    number: int
    base: str | None
    base_ref: str
    head: str | None
    head_ref: str
    fork: bool


@dataclass(frozen=True)
class Job:
    """One job as far as it is known; outside of GitHub nothing is. actions: whether it runs there. before: the commit
    that a push began from. branch: that the job runs on. summary, output: files to append to. warnings: what could not
    be read."""

    actions: bool = False
    repository: str | None = None
    token: str | None = field(default=None, repr=False)
    api: str = "https://api.github.com"
    run_url: str | None = None
    pull: PullRequest | None = None
    before: str | None = None
    branch: str | None = None
    workspace: Path | None = None
    temporary: Path | None = None
    summary: Path | None = None
    output: Path | None = None
    warnings: tuple[str, ...] = ()

    def folder(self, root: Path) -> str:
        """See `folder`."""
        return _below(self.workspace or root, root)


def job(environment: Mapping[str, str]) -> Job:
    """What the environment says. Raises UsageError for an event that is not safe to work on."""
    if environment.get("GITHUB_EVENT_NAME") == "pull_request_target":
        message = "on pull_request_target the code of a stranger would run with this repository's secrets"
        raise UsageError(message, hint="use `on: pull_request`")
    event, warnings = _event(environment)
    repository = environment.get("GITHUB_REPOSITORY", "")
    if repository and not _REPOSITORY.fullmatch(repository):
        warnings.append("GITHUB_REPOSITORY is no OWNER/NAME: there will be no comment")
    paths = {name: _path(environment, name) for name in ("WORKSPACE", "STEP_SUMMARY", "OUTPUT")}
    before = event.get("before")
    return Job(
        actions=environment.get("GITHUB_ACTIONS") == "true",
        repository=repository if _REPOSITORY.fullmatch(repository) else None,
        token=environment.get("GITHUB_TOKEN") or None,
        api=(environment.get("GITHUB_API_URL") or Job.api).rstrip("/"),
        run_url=_run_url(environment),
        pull=_pull(event, environment),
        before=before if isinstance(before, str) and _SHA.fullmatch(before) and before.strip("0") else None,
        branch=_branch(environment),
        workspace=paths["WORKSPACE"],
        temporary=Path(found) if (found := environment.get("RUNNER_TEMP")) else None,
        summary=paths["STEP_SUMMARY"],
        output=paths["OUTPUT"],
        warnings=tuple(warnings),
    )


def folder(root: Path, environment: Mapping[str, str]) -> str:
    """The project's folder in the repository that the job checked out; annotations count from there."""
    return _below(_path(environment, "WORKSPACE") or root, root)


def _below(workspace: Path, root: Path) -> str:
    place, top = root.resolve(), workspace.resolve()
    return place.relative_to(top).as_posix() if place.is_relative_to(top) else ""


def _event(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The event, empty where there is none that can be read, and why."""
    name = environment.get("GITHUB_EVENT_PATH")
    if not name:
        return {}, ["GITHUB_EVENT_PATH is not set"] if environment.get("GITHUB_ACTIONS") == "true" else []
    try:
        with Path(name).open("rb") as file:
            found = json.loads(file.read(_MAX_EVENT))
    except OSError as exc:
        return {}, [f"the event in GITHUB_EVENT_PATH cannot be read: {exc.strerror or exc}"]
    except (ValueError, RecursionError):
        return {}, ["the event in GITHUB_EVENT_PATH is not JSON"]
    return (found, []) if isinstance(found, dict) else ({}, ["the event in GITHUB_EVENT_PATH is no JSON object"])


def _pull(event: Mapping[str, Any], environment: Mapping[str, str]) -> PullRequest | None:
    """The pull request of the event; where that is broken, what the variables say of it."""
    found = event.get("pull_request")
    number = _at(found, "number")
    base_ref = _text(_at(found, "base", "ref")) or environment.get("GITHUB_BASE_REF", "")
    if not isinstance(number, int) or isinstance(number, bool):
        told = re.fullmatch(r"refs/pull/(\d+)/\w+", environment.get("GITHUB_REF", ""))
        number = int(told[1]) if told else 0
    if not base_ref or number < 1:
        return None
    ours, theirs = _at(found, "base", "repo", "full_name"), _at(found, "head", "repo", "full_name")
    return PullRequest(
        number=number,
        base=_sha(_at(found, "base", "sha")),
        base_ref=base_ref,
        head=_sha(_at(found, "head", "sha")),
        head_ref=_text(_at(found, "head", "ref")) or environment.get("GITHUB_HEAD_REF", ""),
        # A fork that was deleted has no repository any more.
        fork=found is not None and (not theirs or theirs != ours),
    )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _sha(value: Any) -> str | None:
    return value if isinstance(value, str) and _SHA.fullmatch(value) else None


def _branch(environment: Mapping[str, str]) -> str | None:
    """The branch that what is compiled goes to: that of the pull request, or the one the workflow was started on."""
    if environment.get("GITHUB_HEAD_REF"):
        return environment["GITHUB_HEAD_REF"]
    return environment.get("GITHUB_REF_NAME") if environment.get("GITHUB_REF_TYPE") == "branch" else None


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(found) if (found := environment.get(f"GITHUB_{name}")) else None


def _run_url(environment: Mapping[str, str]) -> str | None:
    parts = [environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    plain = parts[0].startswith("https://") and _REPOSITORY.fullmatch(parts[1]) and parts[2].isdecimal()
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if plain else None
