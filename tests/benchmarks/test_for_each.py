"""What a `for_each` adds to the model's own time."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptchain import binding, loader, plan, runner
from promptchain.lm.calls import Caller
from promptchain.lm.scripted import ScriptedLM
from promptchain.models import Models
from promptchain.steps.workshop import Workshop
from tests.benchmarks.measure import say

pytestmark = pytest.mark.benchmark

ITEMS, CONCURRENCY, DELAY = 1_000, 64, 0.1
IDEAL = math.ceil(ITEMS / CONCURRENCY) * DELAY

PLAIN: dict[str, Any] = {"prompt": "Say more of {{ row.title }}, number {{ index }}"}
KINDS: dict[str, dict[str, Any]] = {
    "a prompt": PLAIN,
    "an object that must pass assertions": {
        **PLAIN,
        "output": {"answer": "string", "sure": "number"},
        "assert": [{"type": "python", "value": "output['sure'] > 0.5"}, {"type": "contains", "value": "answer"}],
    },
    "a chain": {"chain": "inner", "inputs": {"title": "{{ row.title }}"}},
}


MOST = {"a prompt": 1.15}
"""Times the model's own. Assertions and runs of their own are work for each item, while no other call is begun."""


@pytest.mark.parametrize("kind", [*KINDS])
def test_items_take_their_share_of_the_calls_in_flight(kind: str, tmp_path: Path) -> None:
    loop = {"in": "{{ rows }}", "as": "row"}
    chains = {
        "outer": {"inputs": {"rows(array)": {"title": "string"}}, "steps": {"each": {**KINDS[kind], "for_each": loop}}},
        "inner": {"inputs": {"title": "string"}, "steps": {"say": {"prompt": "Say more of {{ title }}"}}},
    }
    for name, chain in chains.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(chain))
    lm = ScriptedLM('{"answer": "much more", "sure": 0.9}', delay=DELAY, keep=0)
    bound = binding.bind(
        plan.build(loader.load(tmp_path / "outer.yaml", tmp_path)), lm, Models("scripted"),
        workshop=Workshop(tmp_path),
    )  # fmt: skip
    rows = [{"title": f"title {number}"} for number in range(ITEMS)]

    def seconds() -> float:
        result = asyncio.run(runner.run(bound, {"rows": rows}, Caller(lm, concurrency=CONCURRENCY)))
        assert (len(result.steps["each"].items), result.totals.calls, result.error) == (ITEMS, ITEMS, None)
        return result.seconds

    most = MOST.get(kind, 1.3)
    found = min(seconds() for _ in range(5))
    say(
        f"1,000 items at 64, each {kind}, against the model's own time (at most {most})",
        f"{found / IDEAL:.3f} ({found:.2f} s)",
    )
    assert found <= most * IDEAL
