"""What the tests of recorded runs share."""

from __future__ import annotations

from typing import Any

from tests.workspace import REPLIES, Workspace

SECRET = "sk-abcdefgh12345678"
EACH = """
model: MODEL
inputs: {words(array): string, tone?: string}
steps:
  word: {for_each: "{{ words }}", prompt: "Say {{ item }}", retry: 0}
  all: {prompt: "Join {{ word }}"}
"""


def run(workspace: Workspace, *words: str, chain: str = "demo") -> dict[str, Any]:
    """The record of a new run."""
    found: dict[str, Any] = workspace.invoke("run", chain, *(words or ("hi",)), "--json").json
    return found


def listed(workspace: Workspace, *words: str) -> list[dict[str, Any]]:
    done = workspace.invoke("runs", *words, "--json")
    assert done.code == 0, done
    found: list[dict[str, Any]] = done.json
    return found


def again(workspace: Workspace, *words: str, code: int = 0) -> dict[str, Any]:
    """What `chain replay --json` prints."""
    done = workspace.invoke("replay", *words, "--json")
    assert done.code == code, done
    found: dict[str, Any] = done.json
    return found


def other_replies(workspace: Workspace) -> None:
    """From now on the model answers otherwise, and says so in every reply."""
    workspace.model(*({**rule, "reply": "refund"} for rule in REPLIES), name="demo")


def calls(record: dict[str, Any]) -> dict[str, int]:
    return {name: len(step["calls"]) for name, step in record["steps"].items()}
