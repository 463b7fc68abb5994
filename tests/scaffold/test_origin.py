"""What another machine installs to have this promptchain."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promptchain.scaffold import origin
from tests.cli.git_kit import git

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Any:
    def note(text: str | None) -> None:
        installed = SimpleNamespace(version="1.2.3", read_text=lambda name: text if name == "direct_url.json" else None)
        monkeypatch.setattr(origin, "distribution", lambda name: installed)

    return note


def vcs(url: str) -> str:
    return json.dumps({"url": url, "vcs_info": {"vcs": "git", "commit_id": SHA}})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, "promptchain[rag]==1.2.3"),
        (vcs("https://code.example/a/b.git"), f"promptchain[rag] @ git+https://code.example/a/b.git@{SHA}"),
        (vcs("https://me:pass@code.example:8443/a/b"), f"promptchain[rag] @ git+https://code.example:8443/a/b@{SHA}"),
        (vcs("ssh://git@code.example:22/a/b.git"), f"promptchain[rag] @ git+https://code.example/a/b.git@{SHA}"),
        (vcs("file:///home/me/b"), None),
        ('{"url": "https://code.example/p.whl", "archive_info": {}}', "promptchain[rag] @ https://code.example/p.whl"),
        ('{"url": "file:///tmp/p.whl", "archive_info": {}}', None),
        ('{"url": "https://code.example/a\' -x b", "archive_info": {}}', None),
        (vcs("git@code.example:a/it's.git"), None),
        (vcs("https://code.example/a/$(date)"), None),
        ('{"url": "https://code.example:x/a", "archive_info": {}}', None),
        ('{"url": "file:///nowhere/at/all", "dir_info": {"editable": true}}', None),
        ("{", None),
        ("[]", None),
        ('{"url": 3, "vcs_info": 4}', None),
    ],
)
def test_by_the_note_of_pip(noted: Any, text: str | None, wanted: str | None) -> None:
    noted(text)
    assert origin.requirement("rag") == wanted


@pytest.mark.parametrize(
    ("remote", "public"),
    [
        ("https://user:secret@code.example/a/b.git", "https://code.example/a/b.git"),
        ("git@code.example:a/b.git", "https://code.example/a/b.git"),
        ("../elsewhere", None),
        ("", None),
    ],
)
def test_of_a_clone_its_remote_is_taken(noted: Any, tmp_path: Path, remote: str, public: str | None) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    if remote:
        git(tmp_path, "remote", "add", "origin", remote)
    noted(json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}))
    wanted = f"promptchain[local] @ git+{public}" if public else None
    assert origin.requirement("local") == wanted
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    git(tmp_path, "update-ref", "refs/remotes/origin/main", commit)  # which the remote has from now on
    assert origin.requirement("local") == (f"{wanted}@{commit}" if wanted else None)
    git(tmp_path, "update-ref", "-d", "refs/remotes/origin/main")
    git(tmp_path, "update-ref", "refs/remotes/fork/main", commit)  # which is no promise of origin's
    assert origin.requirement("local") == wanted
    (tmp_path / "inside").mkdir()
    noted(json.dumps({"url": (tmp_path / "inside").as_uri(), "dir_info": {}}))
    assert origin.requirement("local") is None
