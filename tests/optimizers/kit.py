"""Steps to be tuned in memory, on a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptchain import binding
from promptchain.bench import Bench
from promptchain.chain import Chain, Demo
from promptchain.criteria import Assertion
from promptchain.examples import Example
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers.protocol import Candidate, Found, Optimizer, Task
from promptchain.records import StepVariant, Variant
from promptchain.tuning import Tuning
from tests.evaluate_kit import as_expected, caller_of, chain_of, example, grader_of, plan_of

STEP = {"prompt": "Number {{ q }}", "output": {"enum": ["even", "odd"]}, "retry": {"parse": 0}}


def row(number: int, **rest: Any) -> Example:
    return example(str(number), expected={"a": "odd" if number % 2 else "even"}, **rest)


TRAIN = tuple(row(number) for number in range(100, 140))
DEV = tuple(row(number) for number in range(20))


def bench_of(chain: Chain, lm: ScriptedLM, assertions: Iterable[Assertion]) -> Bench:
    caller = caller_of(lm)
    return Bench(binding.bind(plan_of(chain), lm), tuple(assertions), caller, grader_of(lm, caller))


def task_of(
    lm: ScriptedLM,
    *,
    steps: Mapping[str, Any] | None = None,
    step: str = "a",
    train: Sequence[Example] = TRAIN,
    dev: Sequence[Example] = DEV,
    held_out: Sequence[Example] = (),
    assertions: Iterable[Assertion] | None = None,
    teacher: ScriptedLM | None = None,
    most: int = 400,
    inputs: Mapping[str, str] | None = None,
    **tuning: Any,
) -> tuple[Task, Candidate]:
    """The task of a step, `a` of one of its own where no steps are given, and the file's parameters for it."""
    chain = chain_of(steps or {"a": STEP}, **({"inputs": inputs} if inputs else {}))
    checks = as_expected(step) if assertions is None else tuple(assertions)
    bench = bench_of(chain, lm, checks)
    task = Task(step, bench, {}, tuple(train), tuple(dev), Tuning(**tuning), most=most, held_out=tuple(held_out))
    if teacher is not None:
        task = replace(task, teacher=bench_of(chain, teacher, checks))
    return task, Candidate(Variant.seed(chain.steps[step]))  # type: ignore[arg-type]


def tune(optimizer: Optimizer, lm: ScriptedLM, **options: Any) -> Found:
    async def work() -> Found:
        return await optimizer(*task_of(lm, **options))

    return asyncio.run(work())


def shown(request: Request) -> list[tuple[str, str]]:
    """The demos in a request: what the user says and what is answered."""
    said = [message.content for message in request.messages if message.role != "system"][:-1]
    return list(zip(said[::2], said[1::2], strict=True))


def seeds(*examples: Example) -> set[str]:
    return {f"Number {one.inputs['q']}" for one in examples}


def demo(text: str, output: Any = "even", **rest: Any) -> Demo:
    return Demo(inputs={"q": text}, output=output, **rest)


def variant(**rest: Any) -> StepVariant:
    return StepVariant(**rest)
