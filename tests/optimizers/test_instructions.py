"""Instructions rewritten by a proposer: what is kept of its proposals, what they may cost, and how the search ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptchain import binding
from promptchain.bench import Bench
from promptchain.chain import Demo
from promptchain.errors import BudgetError, Fault, ModelError
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import instructions
from promptchain.optimizers.proposer import proposer
from promptchain.optimizers.protocol import Candidate, Found, Task
from promptchain.records import Nearest, Variant
from promptchain.tuning import Tuning
from tests.evaluate_kit import as_expected, caller_of, chain_of, check, example, grader_of, plan_of
from tests.patience import PATIENCE

GOOD = "Say odd or even."
BETTER = "Divide the number by two, and say odd where something is left."
STEP = {"prompt": "Number {{ q }}", "instructions": "Answer.", "output": "string"}
DEV = 8


def tell(request: Request) -> str:
    """The task model: it knows what to do where the instructions tell it."""
    head = next((message.content for message in request.messages if message.role == "system"), "")
    number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
    if "Divide" in head or ("Say" in head and number % 4):
        return "odd" if number % 2 else "even"
    return "odd"


def row(number: int) -> Any:
    return example(str(number), expected={"a": "odd" if number % 2 else "even"})


Ask = Callable[[str], Awaitable[str]]


def says(*replies: str) -> tuple[ScriptedLM, Ask]:
    """A proposer that replies so, one after the other and the last for ever."""
    lm = ScriptedLM([*replies[:-1], *([replies[-1]] * 100)])
    return lm, proposer("p", lm, caller_of(lm), timeout=10)


def tagged(text: str) -> str:
    return f"Here they are.\n<instructions>\n{text}\n</instructions>"


def task_of(
    lm: ScriptedLM,
    ask: Ask | None,
    *,
    most: int = 200,
    train: Sequence[Any] = tuple(row(n) for n in range(100, 112)),
    dev: Sequence[Any] = tuple(row(n) for n in range(DEV)),
    tuning: Tuning | None = None,
    step: Any = STEP,
    budget: Budget | None = None,
    assertions: Any = None,
    **steps: Any,
) -> tuple[Task, Candidate]:
    chain = chain_of({**steps, "a": step})
    caller = caller_of(lm, budget)
    bound = binding.bind(plan_of(chain), lm)
    bench = Bench(bound, assertions or as_expected("a"), caller, grader_of(lm, caller))
    task = Task("a", bench, {}, tuple(train), tuple(dev), tuning or Tuning(), ask=ask, most=most)
    return task, Candidate(Variant.seed(chain.steps["a"]))  # type: ignore[arg-type]


def found_by(lm: ScriptedLM, ask: Ask | None, **options: Any) -> Found:
    async def work() -> Found:
        return await instructions.optimize(*task_of(lm, ask, **options))

    return asyncio.run(work())


# -- what it finds -----------------------------------------------------------------------------------------------------


def test_the_best_of_the_proposals_is_found() -> None:
    proposing, ask = says(tagged(GOOD), tagged(BETTER))
    found = found_by(ScriptedLM(tell), ask)
    assert found.best.variant.instructions == BETTER
    assert (found.before, found.after) == (0.5, 1.0)
    assert found.note == ""
    assert found.tried == len(proposing.requests) == 2


def test_nothing_is_tried_once_all_is_right() -> None:
    lm = ScriptedLM(tell)
    dev = [row(number) for number in (1, 3, 5, 7, 0, 2, 4, 6)]
    found = found_by(lm, says(tagged(BETTER))[1], dev=dev, most=33)
    assert (found.before, found.after) == (0.5, 1.0)  # of all dev rows, though few trials are left for the race
    assert len(lm.requests) == DEV + 4 + 4 + DEV  # the seed, both on one minibatch, the proposal; and none more


def test_nothing_is_tried_where_all_is_right() -> None:
    lm, (proposing, ask) = ScriptedLM(tell), says(tagged(GOOD))
    found = found_by(lm, ask, step={**STEP, "instructions": BETTER})
    assert (found.best.variant.instructions, found.tried, found.after) == (BETTER, 0, 1.0)
    assert (len(lm.requests), proposing.requests) == (DEV, [])


def test_the_best_are_kept_of_more_than_can_race() -> None:
    """Each proposal knows one number more than that it was made from, where it is shown that this one is wrong."""

    def learned(request: Request) -> str:
        known = int(request.messages[0].content.removeprefix("Level "))
        return "yes" if int(request.messages[-1].content.removeprefix("Number ")) % 8 < known else "no"

    async def ask(text: str) -> str:
        known = int(text.partition("Level ")[2].partition("\n")[0])
        return tagged(f"Level {known + 1}") if f"## q\n{known}\n" in text else ""

    rows = [example(str(number), {"a": "yes"}) for number in range(16)]
    step = {"prompt": "Number {{ q }}", "instructions": "Level 0"}
    found = found_by(ScriptedLM(learned), ask, step=step, train=rows[:8], dev=rows[8:], most=600)
    assert found.tried > 5
    assert found.best.variant.instructions == f"Level {found.tried}"
    assert found.after == found.tried / 8


def test_a_large_dev_set_is_searched_in_part_and_raced_with_what_is_left() -> None:
    lm = ScriptedLM(tell)
    train, dev = [row(number) for number in range(100, 300)], [row(number) for number in range(80)]
    found = found_by(lm, says(tagged(BETTER))[1], most=96, train=train, dev=dev)
    assert found.best.variant.instructions == BETTER
    tried = {r.messages[-1].content for r in lm.requests if r.messages[0].content == BETTER}
    assert len([n for n in range(80) if f"Number {n}" in tried]) > 96 // 8


def test_progress_is_told_on_the_event_loop() -> None:
    told: list[tuple[str, threading.Thread]] = []

    async def work() -> None:
        task, incumbent = task_of(ScriptedLM(tell), says(tagged(BETTER))[1])
        watched = replace(task, watch=lambda said: told.append((said, threading.current_thread())))
        await instructions.optimize(watched, incumbent)

    asyncio.run(work())
    assert [said for said, _ in told] == ["a: instructions: 4 of 8 right", "a: instructions: 8 of 8 right"]
    assert {thread for _, thread in told} == {threading.main_thread()}


def test_only_the_instructions_change() -> None:
    step = {**STEP, "demos": [{"inputs": {"q": "1"}, "output": "odd"}]}
    _, ask = says(tagged(BETTER))
    task, incumbent = None, None

    async def work() -> Found:
        nonlocal task, incumbent
        task, incumbent = task_of(ScriptedLM(tell), ask, step=step)
        return await instructions.optimize(task, incumbent)

    found = asyncio.run(work())
    assert incumbent is not None
    assert found.best.variant == incumbent.variant.model_copy(update={"instructions": BETTER})


def test_proposals_that_are_no_better_leave_the_incumbent() -> None:
    _, ask = says(tagged("Be nice."), tagged("Be brief."), tagged("Be quick."))
    found = found_by(ScriptedLM(tell), ask, most=60)
    assert found.best.variant.instructions == "Answer."
    assert found.tried == 3
    assert (found.before, found.after) == (0.5, 0.5)


def test_a_step_without_instructions_begins_with_minimal_ones() -> None:
    proposing, ask = says(tagged(BETTER))
    lm = ScriptedLM(tell)
    found = found_by(lm, ask, step={"prompt": "Number {{ q }}"})
    assert found.best.variant.instructions == BETTER
    assert "Given `q`, produce `a`." in proposing.requests[0].messages[0].content
    assert any(len(request.messages) == 1 for request in lm.requests)  # the incumbent has none in the race either


def test_the_result_is_the_same_for_the_same_seed_and_answers() -> None:
    def results(seed: int) -> tuple[Found, list[str], list[str]]:
        proposing, ask = says(*(tagged(f"{GOOD} {n}") for n in range(9)))
        lm = ScriptedLM(tell)
        found = found_by(lm, ask, most=120, tuning=Tuning(seed=seed))
        return found, [r.messages[0].content for r in proposing.requests], sorted(map(str, lm.requests))

    assert results(1) == results(1)
    assert results(1)[1] != results(2)[1]  # chance is the seed's


# -- what the proposer is shown ----------------------------------------------------------------------------------------


def test_the_proposer_sees_inputs_replies_gold_and_reasons() -> None:
    proposing, ask = says(tagged(BETTER))
    found_by(ScriptedLM(tell), ask, train=[row(100), row(103)], most=60)
    shown = proposing.requests[0].messages[0].content
    assert "<instructions>\nAnswer.\n</instructions>" in shown
    assert "Number {{ q }}" in shown
    assert (
        "## q\n100\n## The reply\nodd\n## The reply that was expected\neven\n## The verdict\nwrong: equals: " in shown
    )
    assert "## q\n103\n## The reply\nodd\n## The reply that was expected\nodd\n## The verdict\nright" in shown
    assert "{{ q }}." in shown.rpartition("double braces")[2]


def test_examples_that_could_not_be_told_are_not_shown() -> None:
    def sometimes(request: Request) -> str | Exception:
        if request.messages[-1].content.endswith("101"):
            return ModelError("busy", fault=Fault.TIMEOUT, model="m")
        return tell(request)

    proposing, ask = says(tagged(BETTER))
    found_by(ScriptedLM(sometimes), ask, train=[row(100), row(101)], most=60)
    shown = proposing.requests[0].messages[0].content
    assert "## q\n100\n" in shown
    assert "## q\n101\n" not in shown


@pytest.mark.parametrize("others", [[], [103, 105]])
def test_where_nothing_was_wrong_for_sure_nothing_is_asked(others: list[int]) -> None:
    proposing, ask = says(tagged(BETTER))

    def never(request: Request) -> str | Exception:
        if request.messages[-1].content.endswith("101"):
            return ModelError("busy", fault=Fault.TIMEOUT, model="m")
        return tell(request)

    found = found_by(ScriptedLM(never), ask, train=[row(number) for number in [101, *others]], most=60)
    assert proposing.requests == []
    assert found.best.variant.instructions == "Answer."


def test_dev_rows_are_not_shown() -> None:
    proposing, ask = says(tagged("Be nice."), tagged("Be quick."))
    found_by(ScriptedLM(tell), ask)
    assert proposing.requests
    shown = "".join(request.messages[0].content for request in proposing.requests)
    assert not [number for number in range(DEV) if f"## q\n{number}\n" in shown]


def test_a_reply_that_could_not_be_read_is_shown_as_it_was() -> None:
    proposing, ask = says(tagged("Be nice."))
    step = {**STEP, "output": {"enum": ["even", "odd"]}, "retry": {"parse": 0}}
    found_by(ScriptedLM("I think so"), ask, step=step, most=40)
    shown = proposing.requests[0].messages[0].content
    assert "## The reply\nI think so\n" in shown
    assert "exactly one of these" in shown


def test_a_long_value_is_shown_in_part() -> None:
    proposing, ask = says(tagged("Be nice."))
    train = [example("long", {"a": "even"}, inputs={"q": "x" * 9000 + " 100"})]
    found_by(ScriptedLM(tell), ask, train=train, most=40)
    assert 500 < len(proposing.requests[0].messages[0].content) < 6000


# -- bad proposals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        (tagged(""), "empty"),
        ("<instructions>\nDivide and", "empty"),  # cut off
        ("```\nDivide and", "empty"),
        (tagged("Divide " * 400), "too long"),
        (tagged("Divide {{ q"), "broken as a template"),
        (tagged("Divide {% if q %}"), "broken as a template"),
        (tagged("Divide {{ q | nonsense }}"), "broken as a template"),
        (tagged("Divide {{ q.sign }}"), "broken as a template"),
        (tagged("Divide {{ number }}"), "naming what the step has not"),
        (tagged("Divide {{ a }}"), "naming what the step has not"),
        (tagged("Divide {{ later }}"), "naming what the step has not"),
        (tagged('Divide: {{"odd": 1}}'), "broken as a template"),
        (tagged("Answer."), "the same again"),
    ],
)
def test_what_cannot_hold_costs_no_trial(reply: str, reason: str) -> None:
    proposing, ask = says(reply)
    lm = ScriptedLM(lambda request: "late" if "Later" in request.messages[-1].content else tell(request))
    found = found_by(lm, ask, later="Later {{ q }}")
    assert found.best.variant.instructions == "Answer."
    assert found.tried == 0
    assert not [r for r in lm.requests if "Divide" in r.messages[0].content]
    assert len(proposing.requests) == 6  # enough is enough
    assert found.note == f"6 of 6 proposals could not be used (6 {reason}); the proposer was asked no more"


def test_a_proposal_is_tried_once() -> None:
    _, ask = says(tagged(GOOD))
    found = found_by(ScriptedLM(tell), ask)
    assert found.tried == 1
    assert "6 of 7 proposals could not be used (6 the same again)" in found.note


def test_one_good_proposal_among_bad_ones_is_found() -> None:
    _, ask = says("", tagged("{{"), "", tagged(GOOD), "", tagged("{{ x }}"), tagged(BETTER))
    found = found_by(ScriptedLM(tell), ask)
    assert found.best.variant.instructions == BETTER
    assert found.note == (
        "5 of 7 proposals could not be used (1 broken as a template, 3 empty, 1 naming what the step has not)"
    )


def test_a_proposal_may_have_an_input_put_in() -> None:
    _, ask = says(tagged("Divide {{ q }} by two."))
    lm = ScriptedLM(tell)
    found = found_by(lm, ask)
    assert found.best.variant.instructions == "Divide {{ q }} by two."
    assert "Divide 7 by two." in {request.messages[0].content for request in lm.requests}


def test_a_step_before_may_be_named_and_no_other() -> None:
    lm = ScriptedLM(lambda request: "x" if "Before" in request.messages[-1].content else tell(request))
    steps = {"first": "Before {{ q }}", "second": "Before too {{ q }}"}
    step = {**STEP, "prompt": "{{ first }} and {{ q }}"}
    _, ask = says(tagged("Divide {{ second }}."), tagged("Divide {{ first }}."))
    found = found_by(lm, ask, step=step, **steps)
    assert found.best.variant.instructions == "Divide {{ first }}."


@pytest.mark.parametrize(
    "reply",
    [
        BETTER,
        f"```\n{BETTER}\n```",
        f"Sure!\n\n```text\n{BETTER}\n```\nGood luck.",
        f"<think>\n```\nOr so\n```\n</think>\n{BETTER}",
        f"<instructions>A draft</instructions> No: <Instructions>{BETTER}</Instructions>",
        tagged(f"```\n{BETTER}\n```"),
        tagged(f"  {BETTER} \t\x07\n\n"),
    ],
)
def test_the_instructions_are_found_in_the_reply(reply: str) -> None:
    _, ask = says(reply)
    assert found_by(ScriptedLM(tell), ask).best.variant.instructions == BETTER


def test_half_a_character_does_not_break_the_lock() -> None:
    _, ask = says(tagged("Divide \ud83d."))
    assert found_by(ScriptedLM(tell), ask).best.variant.instructions == "Divide \ufffd."


def test_a_step_for_each_item_may_name_the_item() -> None:
    proposing, ask = says(tagged("Divide {{ item }}."))
    step = {**STEP, "prompt": "Number {{ item }}", "for_each": "{{ q.split(',') }}"}
    rows = [example(f"{n},{n + 1}", {"a": ["odd" if n % 2 else "even", "even" if n % 2 else "odd"]}) for n in range(8)]
    found = found_by(ScriptedLM(tell), ask, step=step, train=rows[:4], dev=rows[4:])
    assert (found.best.variant.instructions, found.after) == ("Divide {{ item }}.", 1.0)
    assert '## q\n0,1\n## The reply\n["odd", "odd"]\n' in proposing.requests[0].messages[0].content


def test_a_quotation_of_training_rows_is_told() -> None:
    long = "my number is a very long one 100"
    train = [example("t", {"a": "even"}, inputs={"q": long})]
    _, ask = says(tagged(f"Divide. If asked “{long.title()}”, say even."))
    assert found_by(ScriptedLM(tell), ask, train=train).note == (
        "the instructions quote training rows: “My Number Is A Very Long One 100”"
    )
    _, ask = says(tagged(f"Divide. {long} {long} {long}"))
    both = [example("u", {"a": "even"}, inputs={"q": f"{long} {long} {long} {long}"}), *train]
    assert found_by(ScriptedLM(tell), ask, train=both).note.endswith("one 100 my number is…” and 1 more")
    _, ask = says(tagged(BETTER + " my number is a very long one 100"))
    step = {**STEP, "instructions": f"Answer. {long}"}  # what the user wrote is the user's
    assert found_by(ScriptedLM(tell), ask, train=train, step=step).note == ""


# -- ceilings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 10, 15, 20, 24, 25, 26, 30, 33, 40, 50, 75, 100, 150])
@pytest.mark.parametrize("instructions", ["Answer.", ""])
@pytest.mark.parametrize(("train", "dev"), [(12, 3), (12, 8), (200, 8), (12, 40)])
def test_trials_and_questions_stay_within_what_may_be_made(most: int, instructions: str, train: int, dev: int) -> None:
    count = 0

    async def ask(text: str) -> str:
        nonlocal count
        count += 1
        return tagged(f"{GOOD if count == 4 else 'Guess.'} {count}" if count % 5 else "{{")

    lm = ScriptedLM(tell)
    step = {**STEP, "instructions": instructions}
    rows = [row(number) for number in range(dev + train)]
    found = found_by(lm, ask, most=most, step=step, dev=rows[:dev], train=rows[dev:])
    assert len(lm.requests) + count <= most
    assert (count == 0) == ("too few" in found.note)
    if most >= 50:
        assert count


def test_without_a_proposer_nothing_is_tried() -> None:
    lm = ScriptedLM(tell)
    found = found_by(lm, None)
    assert "--proposer MODEL" in found.note
    assert lm.requests == []


@pytest.mark.parametrize("rows", ["train", "dev"])
def test_without_rows_nothing_is_tried(rows: str) -> None:
    lm = ScriptedLM(tell)
    _, ask = says(tagged(BETTER))
    assert "to learn from" in found_by(lm, ask, **{rows: []}).note
    assert lm.requests == []


@pytest.mark.parametrize("calls", [0, 3, 9, 14])
def test_a_ceiling_comes_out_as_it_is(calls: int) -> None:
    lm = ScriptedLM(tell)
    _, ask = says(tagged(GOOD))
    with pytest.raises(BudgetError, match="--max-calls") as caught:
        found_by(lm, ask, budget=Budget(calls=calls))
    assert type(caught.value) is BudgetError
    assert len(lm.requests) == calls


def test_a_ceiling_on_the_proposer_comes_out_as_it_is() -> None:
    lm = ScriptedLM([tagged(GOOD)] * 9)
    ask = proposer("p", lm, caller_of(lm, Budget(calls=1)), timeout=10)
    with pytest.raises(BudgetError, match="--max-calls"):
        found_by(ScriptedLM(tell), ask)


@pytest.mark.parametrize("fault", [Fault.AUTH, Fault.UNKNOWN_MODEL, Fault.NOT_INSTALLED])
def test_a_proposer_that_never_answers_ends_it_with_its_message(fault: Fault) -> None:
    lm = ScriptedLM(lambda _: ModelError("there is no such key", fault=fault, model="p"))
    with pytest.raises(ModelError, match="there is no such key"):
        found_by(ScriptedLM(tell), proposer("p", lm, caller_of(lm), timeout=10))
    assert len(lm.requests) == 1


def test_a_proposer_that_fails_once_is_asked_again() -> None:
    lm = ScriptedLM([ModelError("too long", fault=Fault.TIMEOUT, model="p"), tagged(BETTER)])
    found = found_by(ScriptedLM(tell), proposer("p", lm, caller_of(lm), timeout=10))
    assert found.best.variant.instructions == BETTER
    assert found.note == "1 of 2 proposals could not be used (1 empty)"


# -- how it ends -------------------------------------------------------------------------------------------------------


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def test_cancelling_during_trials_ends_thread_and_calls() -> None:
    lm = ScriptedLM(tell, delay=600)
    _, ask = says(tagged(BETTER))
    before = threading.active_count()

    async def work() -> None:
        run = asyncio.create_task(instructions.optimize(*task_of(lm, ask)))
        await _until(lambda: len(lm.requests) == DEV)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await run
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())
    assert len(lm.requests) == DEV
    assert threading.active_count() == before


def test_cancelling_during_a_question_ends_it() -> None:
    asked = ended = False

    async def ask(text: str) -> str:
        nonlocal asked, ended
        asked = True
        try:
            await asyncio.sleep(600)
        finally:
            ended = True
        return ""

    async def work() -> None:
        run = asyncio.create_task(instructions.optimize(*task_of(ScriptedLM(tell), ask)))
        await _until(lambda: asked)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await run
        assert ended
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())


def test_what_was_tried_before_a_cancellation_is_not_tried_again() -> None:
    lm = ScriptedLM(tell)

    async def never(text: str) -> str:
        await asyncio.sleep(600)
        return ""

    async def work() -> Found:
        task, incumbent = task_of(lm, never)
        run = asyncio.create_task(instructions.optimize(task, incumbent))
        await _until(lambda: len(lm.requests) == DEV + 4)
        run.cancel()
        await asyncio.wait([run])
        return await instructions.optimize(replace(task, ask=says(tagged(BETTER))[1]), incumbent)

    assert asyncio.run(work()).best.variant.instructions == BETTER
    assert len(lm.requests) == len(set(map(str, lm.requests)))


SCRIPT = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from tests.optimizers.test_instructions import BETTER, ScriptedLM, found_by, says, tagged, tell
assert "gepa" not in sys.modules
assert found_by(ScriptedLM(tell), says(tagged(BETTER))[1]).after == 1.0
assert "gepa" in sys.modules
assert "litellm" not in sys.modules
"""


def test_it_prints_nothing_writes_nothing_and_needs_no_litellm(tmp_path: Path) -> None:
    script = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parents[2])))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_what_later_steps_made_of_it_is_shown() -> None:
    """A step that no assertion looks at is judged by what comes after it."""
    proposing, ask = says(tagged("Be nice."))
    lm = ScriptedLM(lambda request: "no" if "Last" in request.messages[-1].content else tell(request))

    async def work() -> Found:
        chain = chain_of({"a": STEP, "b": "Last {{ a }}"})
        caller = caller_of(lm)
        bench = Bench(binding.bind(plan_of(chain), lm), (check("contains", "yes", step="b"),), caller, grader_of(lm))
        task = Task("a", bench, {}, (row(1),), (row(2),), Tuning(), ask=ask, most=20)
        return await instructions.optimize(task, Candidate(Variant.seed(chain.steps["a"])))  # type: ignore[arg-type]

    asyncio.run(work())
    assert "wrong: contains: " in proposing.requests[0].messages[0].content


def test_a_training_row_is_not_asked_with_its_own_answer_among_the_demos() -> None:
    """Or the model copies it, and there is no failure to learn from."""

    def copies(request: Request) -> str:
        said = [message.content for message in request.messages]
        return said[said.index(said[-1]) + 1] if said[-1] in said[:-1] else tell(request)

    lm = ScriptedLM(copies)
    asked, ask = says(tagged(BETTER))
    train = tuple(row(number) for number in range(100, 112))
    demos = tuple(Demo(inputs=dict(one.inputs), output=one.expected["a"]) for one in train)
    shown = {"demos": demos[:2], "nearest": Nearest(count=2, pool=demos[2:])}

    async def work() -> Found:
        task, incumbent = task_of(lm, ask, train=train)
        return await instructions.optimize(task, Candidate(incumbent.variant.model_copy(update=shown)))

    found = asyncio.run(work())
    assert asked.requests
    assert found.best.variant.instructions == BETTER
    for request in lm.requests:
        *others, last = (message.content for message in request.messages)
        assert last not in others
