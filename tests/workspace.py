"""A project folder for one test, whose models answer from scripts, and the ways to run `chain` in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml
from typer.testing import CliRunner

from tests.patience import PATIENCE

CHAIN = Path(sys.executable).with_name("chain")
"""The installed command."""

DEMO = """
description: Answer a customer.
model: MODEL
inputs:
  message: string, what the customer wrote
steps:
  intent:
    instructions: Decide what the customer wants.
    prompt: "Classify: {{ message }}"
    output: [card, refund]
    retry: 0
  draft:
    prompt: "Draft for {{ intent }}: {{ message }}"
    retry: 0
  check:
    prompt: "Check {{ draft }} against {{ intent }}"
outputs:
  intent: "{{ intent }}"
  reply: "{{ check }}"
"""
REPLIES = (
    {"contains": "Classify", "reply": "card"},
    {"contains": "Draft for", "reply": "It is on its way."},
    {"contains": "Check", "reply": "All is well."},
)


_PATIENT = f"""#!{sys.executable}
from promptchain.cli import completing, main
completing.LONGEST = {PATIENCE}
main()
"""


def patient(folder: Path) -> Path:
    """The command in the folder `bin` there, which gives up completing later than it does for who types."""
    path = folder / "bin/chain"
    if not path.exists():
        path.parent.mkdir()
        path.write_text(_PATIENT)
        path.chmod(0o755)
    return path


class Result:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Workspace:
    """The folder `root` with its chains and scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    def chain(self, text: str = DEMO, *, name: str = "demo", replies: Sequence[Any] = REPLIES) -> Path:
        """A chain whose MODEL answers with `replies`."""
        return self.write(f"chains/{name}.yaml", text.replace("MODEL", self.model(*replies, name=name)))

    def model(self, *replies: Any, name: str = "script") -> str:
        """The name of a model that answers with `replies`; it holds in every folder."""
        return f"scripted/{self.write(f'{name}.script.yaml', yaml.safe_dump(list(replies)))}"

    @property
    def spool(self) -> Path:
        return self.root / ".promptchain/store.git/promptchain/spool"

    def records(self) -> list[dict[str, Any]]:
        """The records of the runs so far, oldest first."""
        return [json.loads(path.read_text()) for path in sorted(self.spool.glob("*.json"))]

    def invoke(self, *words: str, stdin: str | bytes | None = None) -> Result:
        """Run the command in this process; the current folder is the caller's."""
        from promptchain.cli.app import app

        done = CliRunner().invoke(app, list(words), input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    def run(self, *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None, cwd: str = ".") -> Result:
        """Run the installed command, as a user does."""
        done = subprocess.run(
            [CHAIN, *words],
            input=stdin.encode(),
            capture_output=True,
            cwd=self.root / cwd,
            env={**os.environ, **(env or {})},
            timeout=PATIENCE,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
