"""What the tests of HTML reports share: pages of many examples, and the data in a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptchain.reports.html import evaluation, page
from promptchain.results import ExampleResult, State
from promptchain.testing import Verdict
from tests.reports import kit

_OPEN, _CLOSE = '<script type="application/json" id="data">', "</script>"


def data_of(text: str) -> dict[str, Any]:
    """The data that a page carries."""
    found: dict[str, Any] = json.loads(text.partition(_OPEN)[2].partition(_CLOSE)[0])
    return found


def page_of(*verdicts: Verdict, title: str = "Tested", limit: int = page.MAX_BYTES) -> str:
    return page.page(page.content(title, [evaluation.section(verdict) for verdict in verdicts]), limit=limit)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def many(count: int = 5_000, size: int = 400) -> list[ExampleResult]:
    """Every fifth fails. size: characters of an input, of each step's value and of the output."""
    return [_example(number, size) for number in range(count)]


def _example(number: int, size: int) -> ExampleResult:
    state = State.FAILED if number % 5 == 0 else State.PASSED
    made = kit.result(f"row-{number:05}", state, step=kit.STEPS[number % 2], line=number + 1)
    text = f"Where is order {number}? " + "It was sent and has not come. " * (size // 30)
    steps = {name: replace(step, value=f"{name}: {text}") for name, step in made.steps.items()}
    return replace(made, steps=steps, inputs={"message": text}, outputs={"reply": text})


def compared(before: Sequence[ExampleResult], after: Sequence[ExampleResult]) -> Verdict:
    return kit.verdict(after, before=before)
