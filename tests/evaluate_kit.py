"""Chains tested in memory: on a scripted model, with examples and assertions written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptchain import binding, plan
from promptchain.assertions.grader import Grader
from promptchain.chain import Chain
from promptchain.criteria import Assertion
from promptchain.errors import Where
from promptchain.evaluate import Progress, evaluate
from promptchain.examples import Example
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM, Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.plan import Plan
from promptchain.results import ExampleResult
from promptchain.steps.workshop import Workshop


def chain_of(steps: Mapping[str, Any], **rest: Any) -> Chain:
    """A chain with the input `q`; a step that is a text is its prompt."""
    full = {name: {"prompt": step} if isinstance(step, str) else step for name, step in steps.items()}
    return Chain.model_validate({"name": "c", "model": "m", "inputs": {"q": "string"}, "steps": full, **rest})


def check(type: str, value: Any = None, **rest: Any) -> Assertion:
    return Assertion.model_validate({"type": type, "value": value, **rest})


def as_expected(*steps: str) -> tuple[Assertion, ...]:
    """Each step must give what is expected of it."""
    return tuple(check("equals", "{{ expected." + step + " }}", step=step) for step in steps)


def example(id: str = "e1", expected: Any = None, assertions: Iterable[Assertion] = (), **rest: Any) -> Example:
    """A row whose input `q` is its id, unless `inputs` says otherwise."""
    return Example(id, Where("rows.jsonl", 1), rest.pop("inputs", {"q": id}), expected, tuple(assertions), **rest)


def caller_of(lm: LM, budget: Budget | None = None) -> Caller:
    return Caller(lm, budget=budget, sleep=lambda _: asyncio.sleep(0))


def grader_of(lm: LM, caller: Caller | None = None, judge: str | None = None) -> Grader:
    return Grader(lm, caller or caller_of(lm), judge=judge, root=Path.cwd())


def try_all(
    chain: Chain,
    lm: LM,
    examples: Sequence[Example],
    assertions: Iterable[Assertion] = (),
    *,
    budget: Budget | None = None,
    judge: str | None = None,
    workshop: Workshop | None = None,
    **options: Any,
) -> Progress:
    """Evaluate a chain."""
    caller = caller_of(lm, budget)
    progress = Progress(len(examples) * options.get("repeat", 1))
    bound = binding.bind(plan.build(chain), lm, workshop=workshop)
    return asyncio.run(
        evaluate(bound, tuple(assertions), examples, caller, grader_of(lm, caller, judge=judge), progress, **options)
    )


def try_one(chain: Chain, lm: LM, of: Example, assertions: Iterable[Assertion] = (), **options: Any) -> ExampleResult:
    [result] = try_all(chain, lm, [of], assertions, **options).results
    return result


def plan_of(chain: Chain) -> Plan:
    return plan.build(chain)


def text(request: Request) -> str:
    """What the user's message of a request says."""
    return request.messages[-1].content


def asked(lm: ScriptedLM) -> list[str]:
    return [text(request) for request in lm.requests]
