"""Our side of the comparison with DSPy: `chain compile` on the same rows, model and number of calls."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptchain import compiling
from promptchain.lm.cache import CachedLM
from promptchain.lm.local import LocalLM
from promptchain.lock import Compared
from promptchain.project import Ceilings, Project
from tests.benchmarks.banking import INSTRUCTION, INTENTS, MODEL, Row, Rows, rows_of

_DEV_EVERY = 5
"""Of five of the rows that are not held out, two are for comparing candidates."""

CHAIN = f"""
model: {MODEL}
params: {{temperature: 0, max_tokens: 20}}
inputs: {{message: string}}
steps:
  intent:
    instructions: {INSTRUCTION}
    prompt: "{{{{ message }}}}"
    output: [{", ".join(INTENTS)}]
test:
  dataset: rows.jsonl
  assert:
    - {{step: intent, type: equals, value: "{{{{ expected.intent }}}}"}}
"""


@dataclass(frozen=True)
class Ours:
    """What compiling reached. calls: all of it, the held-out comparison of both prompts included; searching: less that.
    test: on the rows that DSPy is tested on too. seconds, own_cpu: of the compile; own_cpu is not the model's."""

    seed: int
    calls: int
    searching: int
    test: Compared
    kept: str | None
    chosen: str
    seconds: float

    @property
    def correct(self) -> int:
        share = self.test.before if self.kept else self.test.after
        return round(share * self.test.examples)


def compiled(folder: Path, seed: int, budget: int, optimizer: str = "auto") -> Ours:
    """Compile for the rows of `seed`, within `budget` calls in all."""
    rows = rows_of(seed)
    (folder / "chains").mkdir(parents=True)
    (folder / "chains" / "intent.yaml").write_text(CHAIN, encoding="utf-8")
    (folder / "chains" / "rows.jsonl").write_text("".join(_lines(rows)), encoding="utf-8")
    project = Project.find(folder)
    lm = CachedLM(LocalLM(), folder / "responses.db")
    given = {"seed": seed, "calls": budget, "optimizer": optimizer}
    try:
        job = compiling.job(project, lm, "intent", [], given)
        budgeted = project.budget(lm, job.bound, Ceilings(calls=budget))
        start = time.perf_counter()
        done = asyncio.run(compiling.run(project, lm, job, budgeted, most_calls=budget))
        seconds = time.perf_counter() - start
    finally:
        lm.close()
    test = done.compiled.test
    if test is None:  # nothing beat the seed prompts on dev
        raise AssertionError(done.compiled.kept)
    chosen = done.compiled.reports[0].chosen
    held_out = 2 * test.examples
    spent = budgeted.spent.calls
    return Ours(seed, spent, spent - held_out, test, done.compiled.kept, chosen, seconds)


def _lines(rows: Rows) -> Sequence[str]:
    parts = ["dev" if number % _DEV_EVERY < 2 else "train" for number in range(len(rows.train))]
    found = [_line(row, part) for row, part in zip(rows.train, parts, strict=True)]
    return [*found, *(_line(row, "test") for row in rows.test)]


def _line(row: Row, part: str) -> str:
    data = {"message": row.text, "expected": {"intent": row.intent}, "split": part}
    return json.dumps(data, ensure_ascii=False) + "\n"
