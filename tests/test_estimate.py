"""What a compile is said to take: by model, at most, and what it then takes."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain import compiling
from promptchain.errors import PromptChainError
from promptchain.estimate import Estimate, estimate
from promptchain.project import Project
from tests.cli.compile_kit import CHAIN, dataset, project, row, rows
from tests.workspace import Workspace

OWN = "scripted/demo.script.yaml"
MINI = "openai/gpt-5-mini"


@pytest.fixture
def found(empty: Workspace) -> Project:
    project(empty)
    return Project.find()


def estimated(project: Project, *models: str, most: int | None = None, **given: Any) -> Estimate:
    lm = project.lm()
    return estimate(project, lm, compiling.job(project, lm, "demo", models, given), most)


def test_as_many_calls_as_may_be_planned_for(found: Project) -> None:
    assert sum(one.calls for one in estimated(found).models) == 400 + 16 + 16 + 2 * 20
    assert sum(one.calls for one in estimated(found, calls=100).models) == 100
    assert sum(one.calls for one in estimated(found, calls=100, most=50).models) == 50
    with pytest.raises(PromptChainError, match="10 calls are too few"):
        estimated(found, most=10)


def test_cost_is_tokens_at_the_price_of_the_model(found: Project) -> None:
    asked = estimated(found, MINI, optimizer="demos")
    [one] = asked.models
    assert (one.model, asked.cost) == (MINI, one.cost)
    assert one.cost
    price = found.lm().capabilities(MINI).price
    assert price
    assert one.tokens * price.prompt < one.cost < one.tokens * price.completion
    assert estimated(found).cost == 0.0
    assert estimated(found, "hosted_vllm/mine").cost is None


def test_a_price_that_is_not_known_leaves_the_whole_unknown(found: Project) -> None:
    asked = estimated(found, MINI, proposer="hosted_vllm/mine")
    assert {one.model: one.cost is None for one in asked.models} == {MINI: False, "hosted_vllm/mine": True}
    assert asked.cost is None


def test_longer_rows_and_more_demos_are_more_tokens(found: Project, empty: Workspace) -> None:
    def tokens(**given: Any) -> int:
        return sum(one.tokens for one in estimated(found, calls=200, **given).models)

    short = tokens()
    empty.write("chains/demo.yaml", CHAIN.replace("MODEL", OWN) + "compile: {max_demos: 0}\n")
    bare = tokens()
    empty.write("chains/demo.yaml", CHAIN.replace("MODEL", OWN))
    dataset(empty, [row(one["message"] * 20, one["expected"]["intent"], one["split"]) for one in rows()])
    assert bare < short < tokens()


def test_the_proposer_is_counted_where_it_is_asked(found: Project) -> None:
    def models(**given: Any) -> set[str]:
        return {one.model for one in estimated(found, **given).models}

    assert models(proposer=MINI) == {OWN, MINI}
    assert models(proposer=MINI, optimizer="demos") == {OWN}
    assert models() == {OWN}
    asked = {one.model: one.calls for one in estimated(found, proposer=MINI, calls=200).models}
    assert asked == {MINI: 20, OWN: 180}


def test_the_teacher_is_counted_where_rows_expect_nothing_of_a_step(found: Project, empty: Workspace) -> None:
    def models(**given: Any) -> dict[str, int]:
        return {one.model: one.calls for one in estimated(found, teacher=MINI, calls=200, **given).models}

    assert models() == {OWN: 200}
    empty.write("chains/demo.yaml", CHAIN.replace("MODEL", OWN).replace("{{ expected.intent }}", "{{ label }}"))
    data = [{"message": one["message"], "label": one["expected"]["intent"], "split": one["split"]} for one in rows()]
    dataset(empty, data)
    assert models() == {MINI: 16, OWN: 184}
    assert models(optimizer="format") == {OWN: 200}
    assert (estimated(found, teacher=MINI).cost or 0) > 0


def test_as_json(found: Project) -> None:
    told = estimated(found, MINI, calls=100, optimizer="demos").to_json()
    [one] = told["models"]
    assert {name: told[name] for name in ("chain", "model", "examples", "calls", "seconds")} == {
        "chain": "demo", "model": MINI, "examples": "16 train, 16 dev, 20 test", "calls": 100, "seconds": None,
    }  # fmt: skip
    assert (told["cost"], told["tokens"]) == (one["cost"], one["tokens"])
    assert told["steps"] == {"intent": "demos; tried alone"}


def test_what_is_tried_is_what_can_be(found: Project, empty: Workspace) -> None:
    def tried(freeze: str = "", **given: Any) -> str:
        text = CHAIN.replace("MODEL", OWN).replace("    prompt:", f"{freeze}    prompt:")
        empty.write("chains/demo.yaml", text)
        return estimated(found, **given).steps["intent"]

    assert tried() == "nearest, demos, format; tried alone; instructions with --proposer MODEL"
    assert tried(proposer=MINI) == "nearest, demos, format, instructions; tried alone"
    assert tried("    freeze: [demos]\n", proposer=MINI) == "format, instructions; tried alone"
    assert tried("    freeze: [demos, format]\n") == "nothing; tried alone; instructions with --proposer MODEL"


def test_a_dry_run_warns_of_what_a_compile_would(found: Project, empty: Workspace) -> None:
    assert estimated(found).warnings == ()
    dataset(empty, rows(test=1))
    said = "only 2 of the examples are held out: nothing can be adopted with fewer than 4"
    assert estimated(found).to_json()["warnings"] == [said]
    assert f"warning: {said}\n" in empty.invoke("compile", "demo", "--dry-run").err
