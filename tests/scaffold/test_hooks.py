"""Our hooks in a pre-commit configuration that is there already."""

from __future__ import annotations

from difflib import ndiff
from typing import Any

import pytest
import yaml

from promptchain.scaffold import hooks
from promptchain.scaffold.changes import Left

OTHERS = """\
# ours
repos:
- repo: local
  hooks:
  - {id: x, name: x, entry: "true", language: system}  # nothing
  # the last of it

# of the service
ci:
  skip: [x]
"""


def ids(text: str) -> list[list[str]]:
    repos: list[dict[str, Any]] = yaml.safe_load(text)["repos"]
    return [[hook["id"] for hook in repo["hooks"]] for repo in repos]


def test_a_new_configuration() -> None:
    text = hooks.config(None, "")
    assert ids(text) == [["chain-fmt", "chain-check", "chain-lock"]]
    assert hooks.config(text, "") == text


@pytest.mark.parametrize(
    "text",
    [
        OTHERS,
        OTHERS.partition("\n# of the service")[0],
        OTHERS.partition("\n# of the service")[0].rstrip("\n"),
        "ci: {skip: [x]}\nrepos:\n    -   repo: local\n        hooks: [{id: x, name: x, entry: x, language: system}]\n",
    ],
)
def test_ours_come_last_and_all_else_stays(text: str) -> None:
    after = hooks.config(text, "")
    assert ids(after) == [["x"], ["chain-fmt", "chain-check", "chain-lock"]]
    assert not [line for line in ndiff(text.splitlines(), after.splitlines()) if line.startswith("- ")]
    before, added = yaml.safe_load(text), yaml.safe_load(after)
    assert {**added, "repos": added["repos"][:1]} == before
    assert hooks.config(after, "") == after


def test_those_of_our_repository_do_too() -> None:
    text = "repos:\n  - repo: https://example.org/promptchain\n    rev: v1\n    hooks: [{id: chain-check}]\n"
    assert hooks.config(text, "") == text


def test_each_project_of_a_repository_has_its_own() -> None:
    first = hooks.config(None, "a b's")
    both = hooks.config(first, "c")
    assert len(ids(both)) == 2
    assert hooks.config(both, "c") == hooks.config(both, "a b's") == both
    assert len(ids(hooks.config(both, ""))) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no list"),
        ("repos: []\n", "no list"),
        ("repos: [{repo: local, hooks: []}]\n", "no list"),
        ("{repos: [{repo: local, hooks: []}]}\n", "no list"),
        ("repos: 3\n", "no list"),
        ("- repos\n", "no list"),
        ("repos: [\n", "it cannot be read"),
        ("repos:\n  - a: 1\nrepos:\n  - b: 1\n", "it cannot be read"),
    ],
)
def test_what_cannot_be_told_is_left(text: str, said: str) -> None:
    with pytest.raises(Left, match=said):
        hooks.config(text, "")
