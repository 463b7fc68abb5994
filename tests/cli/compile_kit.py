"""A chain whose model gets better in ways that are known: what the tests of `chain compile` share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.workspace import Result, Workspace

CHAIN = """
model: MODEL
inputs: {message: string}
steps:
  intent:
    instructions: Decide what the customer wants.
    prompt: "Classify: {{ message }}"
    output: [card, refund]
test:
  dataset: rows.jsonl
  assert:
    - {step: intent, type: equals, value: "{{ expected.intent }}"}
"""
EASY = {"contains": "easy", "reply": "card"}
LEARNS = {"contains": "lesson", "reply": "refund"}
"""Of an odd row the model knows the answer where a training row about a lesson is among the demos."""
CARES = {"contains": "with care", "reply": "refund"}
"""And where the instructions say so."""
_ASKED = "{}\n\nReply with exactly one of these, and nothing else: card, refund.\n{}: lesson"
WRONG = {"contains": _ASKED.format("the customer wants.", "Classify"), "reply": "card"}
WRONG_GOODS = {"contains": _ASKED.format("it is about.", "Goods"), "reply": "card"}
"""Asked for a training row, on the seed's instructions, it is wrong too."""
SEED = {"always": True, "reply": "card"}
MODEL = (WRONG, WRONG_GOODS, LEARNS, EASY, CARES, SEED)
"""Right about what is easy; about what is odd too, with a demo or better instructions. 50 % without."""
DULL = (EASY, SEED)
"""Right about what is easy, whatever the prompt says."""
PROPOSER = ({"always": True, "reply": "<instructions>\nDecide with care what they want.\n</instructions>"},)


def rows(train: int = 8, dev: int = 8, test: int = 10) -> list[dict[str, Any]]:
    """Of each part so many easy rows and so many others."""
    found = []
    for part, count, other in (("train", train, "lesson"), ("dev", dev, "odd dev"), ("test", test, "odd test")):
        for number in range(count):
            found.append(row(f"easy {part} {number}", "card", part))
            found.append(row(f"{other} {number}", "refund", part))
    return found


def row(message: str, intent: str, part: str | None = None) -> dict[str, Any]:
    found = {"message": message, "expected": {"intent": intent}}
    return {**found, "split": part} if part else found


def dataset(workspace: Workspace, found: Iterable[dict[str, Any]]) -> Path:
    return workspace.write("chains/rows.jsonl", "".join(json.dumps(one) + "\n" for one in found))


def project(workspace: Workspace, *, text: str = CHAIN, model: Iterable[Any] = MODEL) -> Workspace:
    """The chain `demo` on the rows, with a model of the same name in the project's folder."""
    dataset(workspace, rows())
    workspace.chain(text.replace("MODEL", "scripted/demo.script.yaml"), replies=list(model))
    return workspace


def compiled(workspace: Workspace, *words: str, code: int = 0) -> Any:
    """The one result that `chain compile demo --json` prints."""
    done = workspace.invoke("compile", "demo", *words, "--json")
    assert done.code == code, done
    [found] = done.json
    return found


def lock(workspace: Workspace, name: str = "demo") -> dict[str, Any]:
    """The models of the lock."""
    found = yaml.safe_load(lock_text(workspace, name))["models"]
    assert isinstance(found, dict)
    return found


def lock_text(workspace: Workspace, name: str = "demo") -> str:
    return (workspace.root / f"chains/{name}.lock.yaml").read_text(encoding="utf-8")


def entry(workspace: Workspace) -> dict[str, Any]:
    """Of the lock's only model."""
    [found] = lock(workspace).values()
    assert isinstance(found, dict)
    return found


def no_lock(workspace: Workspace) -> bool:
    return not (workspace.root / "chains/demo.lock.yaml").exists()


def new_calls(done: Result) -> int:
    """What stderr says that was paid for."""
    found = re.search(r"^(\d+) calls?(?: \((\d+) new\))?, ", done.err, re.MULTILINE)
    assert found, done
    return int(found[2] or found[1])
