"""What the runner adds to the models' own time."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from promptchain import binding, loader, plan, runner
from promptchain.lm.calls import Caller
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.scripted import ScriptedLM
from promptchain.models import Models
from tests.benchmarks.measure import in_turn, say

pytestmark = pytest.mark.benchmark

RUNS, CONCURRENCY = 2_000, 64


def test_runs_reach_the_throughput_of_bare_litellm(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    monkeypatch.setenv("OPENAI_API_BASE", endpoint)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    path = tmp_path / "chains" / "capital.yaml"
    path.parent.mkdir()
    path.write_text('inputs: {country: string}\nsteps:\n  capital: {prompt: "What is the capital of {{ country }}?"}\n')
    lm = LiteLLM()
    bound = binding.bind(plan.build(loader.load(path, tmp_path)), lm, Models("openai/test-model"))

    async def ours() -> None:
        caller = Caller(lm, concurrency=CONCURRENCY)
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int) -> None:
            async with gate:
                result = await runner.run(bound, {"country": f"land {number}"}, caller)
                assert result.outputs == {"capital": "Paris"}

        await asyncio.gather(*(one(number) for number in range(RUNS)))

    async def theirs() -> None:
        import litellm

        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int) -> None:
            content = f"What is the capital of land {number}?"
            async with gate:
                reply = await litellm.acompletion("openai/test-model", [{"role": "user", "content": content}])
                assert reply.choices[0].message.content == "Paris"

        await asyncio.gather(*(one(number) for number in range(RUNS)))

    found = in_turn(lambda: _seconds(ours), lambda: _seconds(theirs), rounds=5)
    say(
        "2,000 runs at 64 against bare litellm.acompletion (throughput at least 0.90)",
        f"{1 / found.ratio:.3f} ({found})",
    )
    assert 1 / found.ratio >= 0.9


def _seconds(work: object) -> float:
    start = time.perf_counter()
    asyncio.run(work())  # type: ignore[operator]
    return time.perf_counter() - start


def test_a_wide_dag_takes_its_critical_path(tmp_path: Path) -> None:
    wide, deep, delay = 10, 5, 0.1
    lines = ["steps:"]
    for level in range(deep):
        for number in range(wide):
            before = " ".join(f"{{{{ s{level - 1}_{other} }}}}" for other in range(wide)) if level else "go"
            lines.append(f'  s{level}_{number}: {{prompt: "{before}"}}')
    path = tmp_path / "dag.yaml"
    path.write_text("\n".join(lines))
    lm = ScriptedLM(lambda request: "x", delay=delay)
    bound = binding.bind(plan.build(loader.load(path, tmp_path)), lm, Models("scripted"))
    result = min(asyncio.run(runner.run(bound, {}, Caller(lm, concurrency=wide))).seconds for _ in range(3))
    say("a DAG 10 wide and 5 deep against its critical path (at most 1.15)", f"{result / (deep * delay):.3f}")
    assert result <= 1.15 * deep * delay
