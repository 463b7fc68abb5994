"""Projects whose chain has versions."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from promptchain.lm.scripted import ScriptedLM
from tests import templates
from tests.cli.git_kit import make_repo, replace
from tests.cli.version_kit import FILED
from tests.workspace import REPLIES, Workspace


@pytest.fixture
def repo(empty: Workspace) -> Workspace:
    """The chain `demo`, whose instructions are in a file, in a git repository; its model's script is kept out of it."""
    templates.copy("repository of demo", _repo, empty.root)
    return empty


def _repo(root: Path) -> Workspace:
    workspace = Workspace(root)
    workspace.write(".gitignore", "*.script.yaml\n")
    workspace.write("chains/support/intent.md", "Decide.\n")
    replies = [{"contains": "Sort", "reply": "refund"}, *REPLIES]
    workspace.chain(FILED.replace("MODEL", "scripted/demo.script.yaml"), replies=replies)
    make_repo(root)
    return workspace


@pytest.fixture
def three(empty: Workspace) -> Workspace:
    """The versions v1 to v3 of `demo` in that repository: v2 has another prompt, v3 has other instructions in the file
    too."""
    templates.copy("three versions of demo", _three, empty.root)
    return empty


def _three(root: Path) -> None:
    repo = _repo(root)
    with contextlib.chdir(root):
        repo.invoke("commit", "demo", "-m", "The first one")
        replace(repo, '"Classify: ', '"Sort: ')
        repo.invoke("commit", "demo")
        replace(repo, "Decide.", "Decide with care.", "chains/support/intent.md")
        assert repo.invoke("commit", "demo", "-m", "Careful").out == "demo@v3\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every request that reaches a scripted model in this process."""
    found: list[Any] = []
    complete = ScriptedLM.complete

    async def counted(self: ScriptedLM, request: Any, on_text: Any = None) -> Any:
        found.append(request)
        return await complete(self, request, on_text)

    monkeypatch.setattr(ScriptedLM, "complete", counted)
    return found


@pytest.fixture
def dead_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"
