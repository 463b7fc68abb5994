"""What a job knows of itself, from whatever the environment and the event say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptchain.ci import github
from promptchain.errors import UsageError

SHA, OTHER = "a" * 40, "b" * 40


def event(**head: Any) -> dict[str, Any]:
    theirs = {"sha": OTHER, "ref": "better", "repo": {"full_name": "team/bank"}} | head
    base = {"sha": SHA, "ref": "main", "repo": {"full_name": "team/bank"}}
    return {"pull_request": {"number": 7, "base": base, "head": theirs}}


def job(folder: Path, found: Any, **more: str) -> github.Job:
    path = folder / "event.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    variables = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(path), "GITHUB_REPOSITORY": "team/bank"}
    return github.job(variables | more)


def test_a_pull_request_of_the_repository_itself(tmp_path: Path) -> None:
    found = job(tmp_path, event(), GITHUB_TOKEN="t0ken", GITHUB_API_URL="https://ghe.example/api/v3/")
    assert found.pull == github.PullRequest(7, SHA, "main", OTHER, "better", fork=False)
    assert (found.api, found.token, found.warnings) == ("https://ghe.example/api/v3", "t0ken", ())
    assert "t0ken" not in repr(found)


@pytest.mark.parametrize("repo", [{"full_name": "somebody/bank"}, None, {}])
def test_one_of_a_fork_that_may_be_gone(tmp_path: Path, repo: Any) -> None:
    found = job(tmp_path, event(repo=repo)).pull
    assert found is not None
    assert found.fork


@pytest.mark.parametrize("broken", ["", "{", "[1]", "null", "[" * 100_000])
def test_without_an_event_the_variables_say_what_they_can(tmp_path: Path, broken: str) -> None:
    known = {"GITHUB_BASE_REF": "main", "GITHUB_HEAD_REF": "better", "GITHUB_REF": "refs/pull/7/merge"}
    found = job(tmp_path, broken, **known)
    assert found.pull == github.PullRequest(7, None, "main", None, "better", fork=False)
    assert found.branch == "better"
    assert "GITHUB_EVENT_PATH is" in found.warnings[0]
    assert job(tmp_path, broken).pull is None


def test_an_event_file_that_is_not_there(tmp_path: Path) -> None:
    found = github.job({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(tmp_path / "none")})
    assert found.warnings == ("the event in GITHUB_EVENT_PATH cannot be read: No such file or directory",)
    assert github.job({"GITHUB_ACTIONS": "true"}).warnings == ("GITHUB_EVENT_PATH is not set",)
    assert github.job({}) == github.Job()


def test_a_push_knows_where_it_began(tmp_path: Path) -> None:
    assert job(tmp_path, {"before": SHA}).before == SHA
    assert job(tmp_path, {"before": "0" * 40}).before is None
    assert job(tmp_path, {"before": "main; rm"}).before is None


def test_secrets_are_not_shown_to_strangers_code(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on pull_request_target the code of a stranger"):
        job(tmp_path, event(), GITHUB_EVENT_NAME="pull_request_target")


def test_a_repository_that_is_none_is_not_asked(tmp_path: Path) -> None:
    found = job(tmp_path, event(), GITHUB_REPOSITORY="../../user/keys")
    assert found.repository is None
    assert "there will be no comment" in found.warnings[0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["number", "base", "head", "sha", "ref", "repo", "full_name"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(found=VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_event_is_too_odd(tmp_path: Path, found: Any) -> None:
    pull = job(tmp_path, {"pull_request": found, "before": found}).pull
    assert pull is None or (pull.number > 0 and pull.base_ref)


def test_where_the_project_is_in_the_checkout(tmp_path: Path) -> None:
    assert github.Job(workspace=tmp_path).folder(tmp_path / "bots/bank") == "bots/bank"
    assert github.Job(workspace=tmp_path / "other").folder(tmp_path) == ""
