"""What testing adds to the models' own time."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path

import pytest

from promptchain.evaluate import Progress, evaluate
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Caller
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.protocol import LM
from promptchain.lm.scripted import ScriptedLM
from promptchain.project import Project
from promptchain.testing import assertions, data
from tests.benchmarks.measure import command, in_turn, say

pytestmark = pytest.mark.benchmark

STEPS = """\
model: MODEL
inputs: {message: string}
steps:
  intent: {prompt: "Sort {{ message }}", output: [card, refund]}
  draft: {prompt: "Draft for {{ intent }}: {{ message }}"}
  check: {prompt: "Check {{ draft }}"}
"""
CHECKS = """\
test:
  dataset: rows.jsonl
  assert:
    - {step: intent, type: equals, value: "{{ expected.intent }}"}
    - {step: draft, type: contains, value: card}
    - {step: draft, type: not-icontains, value: "as an ai"}
    - {step: check, type: starts-with, value: card}
    - {step: check, type: levenshtein, value: "card {{ message }}", threshold: 50}
"""


def _project(folder: Path, text: str, rows: int, model: str = "scripted/x.yaml") -> Project:
    (folder / "chains").mkdir(parents=True)
    (folder / "chains" / "c.yaml").write_text(text.replace("MODEL", model))
    lines = (json.dumps({"message": f"row {n}", "expected": {"intent": "card"}}) for n in range(rows))
    (folder / "chains" / "rows.jsonl").write_text("\n".join(lines))
    (folder / "x.yaml").write_text("- {always: true, reply: card}\n")
    return Project.find(folder)


def _evaluate(project: Project, lm: LM, concurrency: int = 16) -> Progress:
    from promptchain.assertions.grader import Grader

    chain = project.load("c")
    bound = project.bind(chain, lm)
    caller = Caller(lm, concurrency=concurrency)
    grader = Grader(lm, caller, judge=None, root=project.root)
    found = data(project, chain)
    work = evaluate(
        bound, assertions(project, chain)[0], found, caller, grader, Progress(found.count), at_once=concurrency
    )
    return asyncio.run(work)


def _cpu(project: Project) -> float:
    before = time.process_time()
    done = _evaluate(project, ScriptedLM("card"))
    assert done.passed == done.total
    return time.process_time() - before


def test_the_cost_of_a_step_and_of_an_assertion(tmp_path: Path) -> None:
    bare = _project(tmp_path / "bare", STEPS + "test: {dataset: rows.jsonl}\n", 1_000)
    full = _project(tmp_path / "full", STEPS + CHECKS, 1_000)
    many = _project(tmp_path / "many", STEPS + CHECKS, 10_000)
    _cpu(bare)
    alone, checked = (min(_cpu(project) for _ in range(3)) for project in (bare, full))
    say("CPU of a step call without assertions (at most 1 ms)", f"{alone / 3000 * 1000:.3f} ms")
    say("CPU of an assertion", f"{(checked - alone) / 5000 * 1000:.3f} ms")
    pair = in_turn(lambda: _cpu(many), lambda: _cpu(full), rounds=3)
    say("10,000 examples against 1,000 (at most 11)", pair)
    assert alone / 3000 <= 0.001
    assert pair.ratio <= 11


def test_testing_reaches_the_throughput_of_bare_litellm(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    monkeypatch.setenv("OPENAI_API_BASE", endpoint)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    text = (
        "model: MODEL\ninputs: {message: string}\nsteps: {a: {prompt: 'Sort {{ message }}'}}\n"
        "test: {dataset: rows.jsonl, assert: [{step: a, type: contains, value: Paris}]}\n"
    )
    project = _project(tmp_path / "hosted", text, 600, "openai/test-model")
    numbers = itertools.count()

    def ours() -> float:
        lm = CachedLM(LiteLLM(), tmp_path / f"cache{next(numbers)}.db")
        start = time.perf_counter()
        assert _evaluate(project, lm, 64).passed == 600
        taken = time.perf_counter() - start
        lm.close()
        return taken

    async def bare() -> None:
        import litellm

        gate = asyncio.Semaphore(64)

        async def one(number: int) -> None:
            async with gate:
                await litellm.acompletion("openai/test-model", [{"role": "user", "content": f"Sort row {number}"}])

        await asyncio.gather(*(one(number) for number in range(600)))

    def theirs() -> float:
        start = time.perf_counter()
        asyncio.run(bare())
        return time.perf_counter() - start

    found = in_turn(ours, theirs, rounds=5)
    words = [str(Path(sys.executable).with_name("chain")), "test", "c", "--concurrency", "64", "--no-cache"]
    whole = command(*words, cwd=project.root)
    say("600 examples at 64 against bare litellm (throughput at least 0.90)", f"{1 / found.ratio:.3f} ({found})")
    say("the whole process, imports included", f"{whole:.2f} s")
    assert 1 / found.ratio >= 0.9


def test_an_evaluation_from_the_cache_takes_no_time(tmp_path: Path) -> None:
    project = _project(tmp_path / "cached", STEPS + CHECKS, 1_000, "openai/gpt-5-mini")
    chain = Path(sys.executable).with_name("chain")
    _fill(project)
    taken = min(command(str(chain), "test", "c", cwd=project.root) for _ in range(3))
    say("everything cached, 1,000 examples of three steps (at most 3 s)", f"{taken:.2f} s")
    assert taken <= 3


def _fill(project: Project) -> None:
    """Puts every answer into the user's cache, as if the hosted model had been asked."""
    from promptchain.lm.cache import default_cache_path
    from promptchain.lm.protocol import Request, Response
    from promptchain.lm.router import Router

    class Card(Router):
        async def complete(self, request: Request, on_text: object = None) -> Response:
            return Response('{"value": "card"}' if request.schema else "card", cost=0.0)

    lm = CachedLM(Card(project.root), default_cache_path())
    assert _evaluate(project, lm).passed == 1_000
    lm.close()
