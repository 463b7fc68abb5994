"""What is kept of an evaluation: scores and ids, and nothing that a row, a model or a judge said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promptchain import evaluations, plan
from promptchain.assertions.grader import JudgeSpent
from promptchain.binding import BoundPlan
from promptchain.errors import StoreError, Where
from promptchain.evaluations import EvaluationRecord, record_of
from promptchain.examples import Example, Examples
from promptchain.gates import Miss
from promptchain.lm.budget import Spent
from promptchain.loader import load
from promptchain.records import Status, now
from promptchain.results import ExampleResult, State, StepResult
from promptchain.statistics import Interval
from promptchain.steps.workshop import Workshop
from promptchain.summary import summarise
from promptchain.testing import Case, Evaluation

CONTENT = "c" * 64
PRIVATE = "what the customer wrote"
CHAIN = """
inputs: {message: string}
steps:
  intent: {prompt: "Classify: {{ message }}", model: m}
  reply: {prompt: "Answer {{ intent }}", model: m}
"""


def result(name: str, state: State, *passed: bool | None, sample: int = 0, first: str | None = None) -> ExampleResult:
    steps = {
        step: StepResult(Status.DONE, passed=own, seconds=1.0, cost=0.5, calls=1, value=PRIVATE, error=PRIVATE)
        for step, own in zip(("intent", "reply"), passed, strict=True)
    }
    return ExampleResult(
        id=name,
        where=Where("rows.jsonl", 1),
        sample=sample,
        state=state,
        score=None,
        checks=(),
        steps=steps,
        inputs={"message": PRIVATE},
        outputs={"reply": PRIVATE},
        first=first,
        problem=PRIVATE,
        description=PRIVATE,
    )


RESULTS = (
    result("e1", State.PASSED, True, None),
    result("e2", State.PASSED, True, True),
    result("e2", State.FAILED, True, False, sample=1, first="reply"),
    result("e3", State.FAILED, False, None, first="intent"),
    result("e4", State.ERROR, None, None),
)


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    path = tmp_path / "demo.yaml"
    path.write_text(CHAIN)
    chain = load(path, tmp_path)
    planned = plan.build(chain)
    prompts: Any = {name: SimpleNamespace(model="local/smollm2") for name in chain.steps}

    def read() -> Iterator[Example]:
        raise AssertionError

    return Evaluation(
        case=Case("v7", "demo@v7", chain, BoundPlan(planned, prompts, "m", Workshop(Path("unused")))),
        data=Examples(4, "d" * 64, ("chains/rows.jsonl", "/home/ann/secret/rows.csv"), (), read),
        results=RESULTS,
        summary=summarise(planned, RESULTS),
        stopped=f"11 examples could not be scored; the last: {PRIVATE}",
        judges=JudgeSpent(calls=3),
        spent=Spent(calls=9, tokens=99, cost=0.5),
        seconds=1.23456,
        repeat=2,
        version="demo@v7",
        content=CONTENT,
    )


def test_what_is_kept(evaluation: Evaluation) -> None:
    record = record_of(evaluation, started=now(), words=["e*"], misses=[Miss("chain", "chain is 0.5, too little")])
    assert (record.chain, record.content, record.version, record.repeat) == ("demo", CONTENT, 7, 2)
    assert record.models == {"intent": "local/smollm2", "reply": "local/smollm2"}
    assert (record.passed, record.failed, record.errors) == (2, 2, 1)
    assert (record.words, record.misses) == (("e*",), ("chain is 0.5, too little",))
    assert record.stopped == "11 examples could not be scored"
    assert record.dataset.files == ("chains/rows.jsonl", "rows.csv")
    assert (record.dataset.digest, record.dataset.examples) == ("d" * 64, 4)
    assert record.score
    assert (record.score.value, record.score.n) == (0.5, 3)
    assert list(record.steps) == ["intent", "reply"]
    intent = record.steps["intent"].score
    assert intent
    assert intent.value == pytest.approx(2 / 3)
    assert (record.steps["intent"].calls, record.steps["intent"].cost, record.steps["intent"].p95) == (5, 2.5, 1.0)
    assert (record.calls, record.cost, record.judge_calls, record.seconds) == (10, 5.0, 3, 1.235)
    assert [tuple(example) for example in record.examples] == [
        ("e1", 1.0, None, {"intent": 1.0}),
        ("e2", 0.5, "reply", {"intent": 1.0, "reply": 0.5}),
        ("e3", 0.0, "intent", {"intent": 0.0}),
        ("e4", None, None, {}),
    ]


def test_scores_of_retrieval_are_kept_where_there_are_any(evaluation: Evaluation) -> None:
    assert "retrieval" not in record_of(evaluation, started=now()).to_json()
    summary = replace(evaluation.summary, retrieval={"help recall@2": Interval(0.5, 0.25, 0.75, 4)})
    record = record_of(replace(evaluation, summary=summary), started=now())
    assert record.to_json()["retrieval"] == {"help recall@2": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}}
    assert evaluations.checked(record.to_json()) == record


def test_no_inputs_outputs_or_reasons_are_kept(evaluation: Evaluation) -> None:
    text = json.dumps(record_of(evaluation, started=now()).to_json())
    assert PRIVATE not in text
    assert "/home/ann" not in text


def test_secrets_are_masked(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "tr0ub4dor-and-3")
    secret = "a tr0ub4dor-and-3"
    results = tuple(replace(each, id=f"{each.id} {secret}") for each in RESULTS)
    data = replace(evaluation.data, files=(f"{secret}.csv",))
    told = replace(evaluation, results=results, stopped=secret, data=data)
    record = record_of(told, started=now(), words=[secret], misses=[Miss("x", secret)])
    assert "tr0ub4dor" not in json.dumps(record.to_json())
    assert (record.words, record.misses, record.stopped) == (("a ***",), ("a ***",), "a ***")
    assert record.examples[0].id == "e1 a ***"
    assert record.content == CONTENT


def test_it_is_read_back_as_it_was(evaluation: Evaluation) -> None:
    record = record_of(replace(evaluation, version=None), started=now())
    assert record.version is None
    data = json.loads(json.dumps(record.to_json()))
    assert data["examples"][1] == ["e2", 0.5, "reply", {"intent": 1.0, "reply": 0.5}]
    assert evaluations.checked(data) == record


def test_text_that_is_no_unicode_is_kept_as_far_as_it_is(evaluation: Evaluation) -> None:
    results = (replace(RESULTS[0], id="e\ud83d"),)
    record = record_of(replace(evaluation, results=results), started=now())
    assert json.dumps(record.to_json(), ensure_ascii=False).encode()


def test_without_a_version_there_is_nothing_to_keep_it_beside(evaluation: Evaluation) -> None:
    with pytest.raises(ValueError, match="kept beside a version"):
        record_of(replace(evaluation, content=None), started=now())


def test_nothing_scored(evaluation: Evaluation) -> None:
    results = (RESULTS[4],)
    summary = summarise(evaluation.case.bound.plan, results)
    record = record_of(replace(evaluation, results=results, summary=summary), started=now())
    assert (record.score, record.product, record.errors) == (None, None, 1)


@pytest.mark.parametrize("data", [{}, {"id": "x", "format": 2}, {"id": [], "examples": [[1]]}])
def test_what_is_of_another_shape_is_told(data: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="is of another release"):
        evaluations.checked(data)


def test_it_is_compact(evaluation: Evaluation) -> None:
    results = tuple(result(f"row-{number:05d}", State.PASSED, True, True) for number in range(1000))
    record = record_of(replace(evaluation, results=results), started=now())
    assert len(json.dumps(record.to_json()["examples"], separators=(",", ":"))) < 60 * 1000
    assert isinstance(record, EvaluationRecord)
