"""What is settled of a compile before anything is spent, and what is written when it is done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from promptchain import compiling
from promptchain.compiling import Job
from promptchain.errors import InvalidFileError, PromptChainError, UsageError
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import LM
from promptchain.lock import Entry
from promptchain.project import Project
from promptchain.records import StepVariant
from tests.cli.compile_kit import CHAIN, MODEL, PROPOSER, entry, lock_text, project
from tests.workspace import Workspace

OWN = "scripted/demo.script.yaml"


@pytest.fixture
def found(empty: Workspace) -> Project:
    project(empty)
    return Project.find()


def job(project: Project, *models: str, **given: Any) -> Job:
    return compiling.job(project, project.lm(), "demo", models, given)


def done(project: Project, work: Job, lm: LM | None = None, **options: Any) -> compiling.Done:
    return asyncio.run(compiling.run(project, lm or project.lm(), work, Budget(), **options))


def test_settings_stand_above_those_of_the_file_and_these_above_those_of_the_lock(
    found: Project, empty: Workspace
) -> None:
    compiling.write(found, done(found, job(found, optimizer="demos", seed=4, calls=200)))
    tuning = job(found).tuning
    assert (tuning.optimizer, tuning.seed, tuning.calls) == ("demos", 4, 200)
    empty.write("chains/demo.yaml", CHAIN.replace("MODEL", OWN) + "compile: {seed: 5, calls: 300}\n")
    tuning = job(found, calls=100).tuning
    assert (tuning.optimizer, tuning.seed, tuning.calls) == ("demos", 5, 100)


def test_a_flag_that_cannot_be_is_named(found: Project) -> None:
    with pytest.raises(UsageError, match=r"^--seed: input should be greater than or equal to 0"):
        job(found, seed=-1)
    with pytest.raises(UsageError, match=r"^--calls: input should be less than or equal to"):
        job(found, calls=10_000_000)


@pytest.mark.parametrize(("most", "planned"), [(None, 200), (100, 100), (300, 200), (0, 0)])
def test_no_more_calls_are_planned_for_than_a_ceiling_leaves(found: Project, most: int | None, planned: int) -> None:
    assert job(found, calls=200).planned(most) == planned
    assert job(found).planned(most) == most


def test_the_proposer_is_the_chains_own_model_where_it_is_hosted(found: Project) -> None:
    assert job(found).proposer is None
    assert job(found, "openai/gpt-5-mini").proposer == "openai/gpt-5-mini"
    assert job(found, "openai/gpt-5-mini", proposer=OWN).proposer == OWN


def test_helpers_are_all_models_beside_those_of_the_chain(found: Project, empty: Workspace) -> None:
    rules = [
        "{step: intent, type: llm-rubric, value: kind, provider: openai:chat:gpt-5-mini}",
        "{type: assert-set, assert: [{type: llm-rubric, value: kind}]}",
    ]
    text = CHAIN.replace("MODEL", OWN).replace("  dataset", "  judge: openai/judge\n  dataset")
    empty.write("chains/demo.yaml", text + "".join(f"    - {rule}\n" for rule in rules))
    work = job(found, teacher="openai/teacher", proposer="openai/proposer")
    assert work.judges == ("openai/gpt-5-mini", "openai/judge")
    assert set(work.helpers) == {"openai/teacher", "openai/proposer", *work.judges}


def test_an_entry_is_fresh_for_the_settings_that_it_has(found: Project, empty: Workspace) -> None:
    lm = found.lm()
    assert not compiling.is_fresh(job(found), lm)
    compiling.write(found, done(found, job(found, optimizer="demos")))
    assert compiling.is_fresh(job(found), lm)
    assert compiling.is_fresh(job(found, optimizer="demos"), lm)
    assert not compiling.is_fresh(job(found, seed=1), lm)
    empty.write("chains/demo.lock.yaml", lock_text(empty).replace("optimizer: demos", "optimizer: format"))
    assert not compiling.is_fresh(job(found, optimizer="demos"), lm)


def test_an_entry_says_what_it_was_made_from_and_is_no_other_for_a_cache(found: Project, empty: Workspace) -> None:
    lm = found.lm(cache=True)
    first, second = (done(found, job(found, optimizer="demos"), lm) for _ in range(2))
    lm.close()
    assert first.entry == second.entry
    assert first.spent.calls == first.entry.spent.calls > 0
    assert first.entry.made_from.examples == 52
    assert first.entry.parent is None
    compiling.write(found, first)
    again = done(found, job(found, optimizer="demos"))
    assert (again.entry.steps, again.entry.parent) == (first.entry.steps, None), "it is what it was"
    assert not (empty.root / ".promptchain/store.git/refs/promptchain").exists()
    paid = replace(first, spent=first.spent.model_copy(update={"cost": 0.25}))
    kept = compiling.keep(found, paid)
    assert (kept.name, kept.message) == ("demo@v1", f"compile for {OWN} ({first.spent.calls} calls, $0.2500)")


def test_better_prompts_take_the_place_of_those_in_the_lock_and_name_them(found: Project) -> None:
    first = done(found, job(found, optimizer="demos"))
    steps = {"intent": StepVariant(instructions="Say what they want.")}
    weak = Entry(steps=steps, made_from=first.entry.made_from)
    found.adopt("demo", OWN, weak)
    again = done(found, job(found, optimizer="demos"))
    assert again.entry.steps["intent"].demos == first.entry.steps["intent"].demos
    assert again.entry.parent == weak.fingerprint()


def test_prompts_in_the_lock_stay_where_nothing_better_is_found(found: Project) -> None:
    first = done(found, job(found, optimizer="demos"))
    compiling.write(found, first)
    again = done(found, job(found, optimizer="format", calls=60))  # no calls are left for what was before
    assert (again.compiled.kept, again.entry.steps) == (None, first.entry.steps)


def test_what_others_found_is_where_it_begins(found: Project) -> None:
    first = done(found, job(found, optimizer="demos"))
    work = done(found, job(found), others={"compiled for another": first.compiled.variants})
    stage = work.compiled.reports[0].stages[0]
    assert (stage.optimizer, stage.best, stage.after) == ("earlier", "compiled for another", 1.0)


def test_the_proposer_is_asked_within_the_same_books(found: Project, empty: Workspace) -> None:
    proposer = empty.model(*PROPOSER, name="proposer")
    work = done(found, job(found, optimizer="instructions", proposer=proposer))
    assert work.compiled.variants["intent"].instructions == "Decide with care what they want."
    plain = done(found, job(found, optimizer="instructions"))
    assert plain.compiled.reports[0].stages[0].note.startswith("a model has to write them")
    assert work.spent.calls > plain.spent.calls


def test_nothing_is_written_where_the_lock_has_become_unreadable(found: Project, empty: Workspace) -> None:
    work = done(found, job(found, optimizer="demos"))
    empty.write("chains/demo.lock.yaml", "format: 9\n")
    with pytest.raises(InvalidFileError, match="a newer promptchain wrote this lock"):
        compiling.write(found, work)
    assert lock_text(empty) == "format: 9\n"
    (empty.root / "chains/demo.lock.yaml").unlink()
    compiling.write(found, work)
    assert entry(empty)["steps"]


def test_too_few_calls_are_refused_before_any_is_made(found: Project, empty: Workspace) -> None:
    empty.chain(CHAIN.replace("MODEL", OWN), replies=[{"error": "authentication"}])
    with pytest.raises(PromptChainError, match="5 calls are too few to tell one prompt from another"):
        done(found, job(found), most_calls=5)
    empty.chain(CHAIN.replace("MODEL", OWN), replies=MODEL)
    assert done(found, job(found, optimizer="demos"), most_calls=60).spent.calls <= 60
