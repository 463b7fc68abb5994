"""Evaluations built by hand, with values that mean no good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptchain import gates, plan
from promptchain.assertions.apply import Checked
from promptchain.assertions.grader import JudgeSpent
from promptchain.assertions.protocol import Verdict as Said
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.comparison import compare
from promptchain.criteria import Assertion, Gate
from promptchain.errors import Fault, Where
from promptchain.examples import Examples
from promptchain.lm.budget import Spent
from promptchain.lm.protocol import Capabilities
from promptchain.records import Status, StepVariant
from promptchain.results import ExampleResult, State, StepResult
from promptchain.steps.prompt import BoundPrompt
from promptchain.steps.workshop import Workshop
from promptchain.summary import summarise
from promptchain.testing import Case, Evaluation, Verdict

STEPS = ("intent", "reply")
DIGEST = "d1ge57" * 10
KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"
HOSTILE = (
    "</details>",
    "]]>",
    "a|b\\|c\\",
    "x\x00y\x1b[31m",
    "@everyone and octo/repo#12, GH-7",
    "::error::file",
    "line\n| a | b |\r\n::warning::x\u2028# y",
    "<!-- <script>alert(1)</script>",
    "`code` ``` **b** _i_ ~~s~~ [a](http://x.y) ![i](j) $x$ &amp; www.evil.example",
    "half \ud83d of a pair",
    "é 😀 中文",
    "- item",
    "1. item",
    "=",
    "",
)


def chain(name: str = "support") -> Chain:
    steps = {"intent": {"prompt": "What: {{ message }}"}, "reply": {"prompt": "For {{ intent }}"}}
    return Chain.model_validate({"name": name, "inputs": {"message": "string"}, "steps": steps})


def case(name: str = "support", model: str = "openai/gpt-5-mini", called: str | None = None) -> Case:
    made = chain(name)
    bound = {
        step: BoundPrompt(made.steps[step], StepVariant(), {}, ((model, Capabilities()),), None)  # type: ignore[arg-type]
        for step in STEPS
    }
    return Case(called or name, name, made, BoundPlan(plan.build(made), bound, model, Workshop(Path("unused"))))


def result(
    id: str = "s01",
    state: State = State.PASSED,
    *,
    reason: str = "it does not contain card",
    step: str = "reply",
    sample: int = 0,
    line: int | None = 1,
    score: float | None = None,
    file: str = "chains/rows.jsonl",
    cost: float | None = 0.001,
    metric: str | None = None,
    problem: str | None = None,
    gold: bool | None = True,
    **more: Any,
) -> ExampleResult:
    failed = state is State.FAILED
    checks: list[Checked] = [Checked(Assertion(type="not-empty", step="intent"), Said(True, 1.0, "fine"))]
    if state is State.ERROR:
        own = Assertion(type="llm-rubric", step=step)
        checks.append(Checked(own, error=problem or "the judge does not answer", fault=Fault.RATE_LIMIT))
    else:
        own = Assertion(type="contains", step=step, value="card", metric=metric)
        checks.append(Checked(own, Said(not failed, float(not failed), reason if failed else "it contains card")))
    steps = {
        name: StepResult(
            Status.DONE, passed=not (failed and name == step), gold=gold, seconds=0.5, cost=cost, calls=1, new_calls=1
        )
        for name in STEPS
    }
    return ExampleResult(
        id=id,
        where=Where(file, line),
        sample=sample,
        state=state,
        score=score if score is not None or state is State.ERROR else float(not failed),
        checks=tuple(checks),
        steps=steps,
        first=step if failed else None,
        problem=problem,
        seconds=1.25,
        **more,
    )


def results(passed: int = 3, failed: int = 1, errors: int = 0) -> list[ExampleResult]:
    states = [State.PASSED] * passed + [State.FAILED] * failed + [State.ERROR] * errors
    return [result(f"s{number:03}", state, line=number) for number, state in enumerate(states, 1)]


def evaluation(found: Sequence[ExampleResult] | None = None, of: Case | None = None, **more: Any) -> Evaluation:
    tested, of = tuple(results() if found is None else found), of or case()
    data = Examples(len({r.id for r in tested}), DIGEST, ("chains/rows.jsonl",), (), lambda: ())
    given: dict[str, Any] = {
        "stopped": None,
        "seconds": 4.5,
        "version": "v12",
        **more,
    }
    return Evaluation(
        case=of,
        data=data,
        results=tested,
        summary=summarise(of.bound.plan, tested),
        judges=JudgeSpent(),
        spent=Spent(len(tested), 10, 0.01),
        **given,
    )


def verdict(
    found: Sequence[ExampleResult] | None = None,
    *,
    of: Case | None = None,
    least: dict[str, float] | None = None,
    before: Sequence[ExampleResult] | None = None,
    before_name: str = "support@production",
    **more: Any,
) -> Verdict:
    """Held against the least scores given, and against what came of the same examples before."""
    done = evaluation(found, of, **more)
    missed = gates.misses(Gate(min=least or {}), done.summary)
    compared = None
    if before is not None:
        compared = compare((before_name, done.case.name), before, done.results)
        missed += gates.regressions(compared, 0.0)
    return Verdict(done, compared, tuple(missed), gated=bool(least) or before is not None)


def hostile(text: str) -> Verdict:
    """A verdict in which everything that comes from outside is this text."""
    now = [
        result("same", State.PASSED),
        result(text or "-", State.FAILED, reason=text, file=text or "f", metric=text or None, description=text),
        result(f"{text}2", State.ERROR, problem=text or "p"),
    ]
    found = Checked(Assertion(type="recall", step="reply", value="a", metric=text or None), Said(True, 1.0, text))
    now[1] = replace(now[1], checks=(*now[1].checks, found))
    before = [result("same"), replace(now[1], state=State.PASSED), result(f"{text}2")]
    of = case(model=text or "m", called=text)
    return verdict(
        now, of=of, before=before, before_name=text, least={text: 0.5}, stopped=text or None, version=text or None
    )
