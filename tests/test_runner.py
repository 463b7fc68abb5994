"""A plan is executed: what runs when, what a step that fails or is skipped does to the others, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import binding, plan, runner
from promptchain.chain import Chain
from promptchain.errors import Fault, ModelError, UsageError
from promptchain.events import Event, ItemEnded, StepEnded, StepRetried, StepStarted, StepText
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Request, Response, Usage
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.models import Models
from promptchain.records import Run, Status
from tests import patience

DONE, FAILED, SKIPPED, BLOCKED = Status.DONE, Status.FAILED, Status.SKIPPED, Status.BLOCKED


def chain_of(steps: Mapping[str, Any], **rest: Any) -> Chain:
    """A chain; a step that is a text is its prompt."""
    full = {name: {"prompt": step} if isinstance(step, str) else step for name, step in steps.items()}
    return Chain.model_validate({"name": "c", "model": "m", "steps": full, **rest})


def run(
    steps: Mapping[str, Any] | Chain, lm: ScriptedLM, inputs: Mapping[str, Any] | None = None,
    budget: Budget | None = None, **options: Any,
) -> Run:  # fmt: skip
    chain = steps if isinstance(steps, Chain) else chain_of(steps)
    caller = Caller(lm, budget=budget, sleep=lambda _: asyncio.sleep(0))
    return asyncio.run(runner.run(binding.bind(plan.build(chain), lm), inputs or {}, caller, **options))


def statuses(result: Run) -> dict[str, str]:
    return {name: step.status.value for name, step in result.steps.items()}


def echo(request: Request) -> str:
    return request.messages[-1].content


def error(fault: Fault) -> ModelError:
    return ModelError(f"it is the {fault.value}", fault=fault, model="m")


async def timed(work: Coroutine[Any, Any, Run]) -> tuple[Run, float]:
    """A run, and how long it took by the clock of the event loop."""
    clock = asyncio.get_running_loop().time
    began = clock()
    return await work, clock() - began


# -- order and parallelism ---------------------------------------------------------------------------------------------


def test_steps_start_as_soon_as_what_they_need_is_there() -> None:
    wide, deep, delay = 10, 5, 0.02
    steps = {
        f"s{level}_{column}": "go"
        + (f" {{{{ s{level - 1}_{column} }}}} {{{{ s{level - 1}_{(column + 1) % wide} }}}}" if level else "")
        for level in range(deep)
        for column in range(wide)
    }
    lm = ScriptedLM("x", delay=delay)
    bound = binding.bind(plan.build(chain_of(steps)), lm)
    result, seconds = patience.run(timed(runner.run(bound, {}, Caller(lm, concurrency=wide))))
    assert (result.status, result.totals.calls) == (DONE, wide * deep)
    assert seconds == pytest.approx(deep * delay)  # one after the other: 50 times the delay


def test_values_flow_and_the_record_holds_them_all() -> None:
    chain = chain_of(
        {"b": "{{ a.n }} of {{ q }}", "a": {"prompt": "{{ q }}?", "output": {"n": "integer"}}},
        inputs={"q": "string"}, outputs={"both": "{{ b }}/{{ a.n }}", "a": "{{ a }}"},
    )  # fmt: skip
    lm = ScriptedLM(['{"n": 3}', Response("three ", usage=Usage(5, 2), cost=0.5)])
    result = run(chain, lm, {"q": "how many"})
    assert [*map(echo, lm.requests)] == ["how many?", "3 of how many"]
    assert (list(result.steps), result.outputs) == (["b", "a"], {"both": "three/3", "a": {"n": 3}})
    assert (result.status, result.chain, result.model, result.inputs) == (DONE, "c", "m", {"q": "how many"})
    first, second = result.steps["a"], result.steps["b"]
    assert (first.calls[0].reply, second.calls[0].reply) == ('{"n": 3}', "three ")
    assert second.started >= first.started + first.calls[0].seconds > 0
    assert (result.totals.calls, result.totals.tokens, result.totals.cost) == (2, 7 + sum(
        (first.calls[0].prompt_tokens, first.calls[0].completion_tokens)), 0.5)  # fmt: skip
    assert Run.model_validate_json(result.model_dump_json()) == result


def test_needs_is_an_edge_and_nothing_more() -> None:
    lm = ScriptedLM("x")
    run({"b": {"prompt": "second", "needs": ["a"]}, "a": "first"}, lm)
    assert [*map(echo, lm.requests)] == ["first", "second"]


def test_events_tell_what_happens() -> None:
    events: list[Event] = []
    steps = {"a": {"prompt": "x", "output": "integer"}, "each": {"prompt": "{{ item }}", "for_each": "[a, 2]"}}
    lm = ScriptedLM(["no", "1", "one day", "two"])
    run(steps, lm, observe=events.append, stream=True)
    kinds = [type(event) for event in events if not isinstance(event, StepText)]
    assert kinds == [StepStarted, StepRetried, StepEnded, StepStarted, ItemEnded, ItemEnded, StepEnded]
    assert [(e.text, e.item) for e in events if isinstance(e, StepText)] == [
        ("no", None), ("1", None), ("one ", 0), ("day", 0), ("two", 1),
    ]  # fmt: skip
    assert [e.items for e in events if isinstance(e, StepStarted)] == [None, 2]


# -- skipped and failed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ("{{ a }}", "skipped"),
        ("{{ a }} {{ a | default('none') }}", "skipped"),
        ({"prompt": "x", "needs": ["a"]}, "skipped"),
        ({"prompt": "x", "for_each": "{{ a }}"}, "skipped"),
        ("{{ a | default('none') }}", "done"),
        ("{% if a is none %}none{% endif %}", "done"),
        ({"prompt": "{{ a | default('') }}!", "when": "a is none"}, "done"),
        ({"prompt": "x", "when": "a == 'yes'"}, "skipped"),
        ({"prompt": "x", "when": "a.total > 5"}, "skipped"),
        ({"prompt": "x", "when": "not a"}, "done"),
    ],
)
def test_what_a_skipped_step_does_to_those_after_it(step: Any, status: str) -> None:
    chain = chain_of(
        {"a": {"prompt": "x", "when": "1 > 2"}, "b": step, "c": "x {{ b }}", "d": "x"},
        outputs={"a": "{{ a }}", "or": "{{ a | default('no a') }}", "both": "{{ a | default('') }}{{ a }}"},
    )
    result = run(chain, ScriptedLM("ok"))
    assert statuses(result) == {"a": "skipped", "b": status, "c": status, "d": "done"}
    assert (result.status, result.steps["a"].value) == (DONE, None)
    assert result.outputs == {"a": None, "or": "no a", "both": None}


def test_a_failed_step_blocks_what_waits_for_it_and_nothing_else() -> None:
    chain = chain_of(
        {"bad": "bad", "b": "{{ bad | d('') }}", "c": {"prompt": "x", "when": "b"}, "ok": "ok", "then": "{{ ok }}"},
        outputs={"bad": "{{ bad | default('') }}", "then": "{{ then }}"},
    )
    result = run(chain, ScriptedLM({"bad": error(Fault.AUTH), "ok": "ok"}))
    assert statuses(result) == {"bad": "failed", "b": "blocked", "c": "blocked", "ok": "done", "then": "done"}
    assert (result.status, result.error) == (FAILED, "step 'bad' failed: it is the authentication")
    assert result.outputs == {"then": "ok"}
    assert result.steps["b"].error == "step 'bad' did not give a value"
    assert [call.error for call in result.steps["bad"].calls] == ["it is the authentication"]


@pytest.mark.parametrize(
    ("steps", "outputs", "message"),
    [
        ({"a": {"prompt": "x", "when": "q.total > 1"}}, {}, "step 'a' failed: its `when`: "),
        ({"a": {"prompt": "x", "for_each": "{{ q }}"}}, {}, "step 'a' failed: `for_each` needs a list, not a text"),
        ({"a": {"prompt": "x", "for_each": "{{ q.rows }}"}}, {}, "step 'a' failed: its `for_each`: "),
        ({"a": "{{ q.text }}"}, {}, "step 'a' failed: "),
        ({"a": "x"}, {"out": "{{ q.text }}"}, "output 'out': "),
        ({"a": "x"}, {"out": "{{ q.upper }}"}, "output 'out': 'upper' is a method"),
        ({"a": "x"}, {"out": "{{ [q] | map(attribute='b') }}"}, "output 'out': "),
    ],
)
def test_what_templates_cannot_give_fails_the_run(steps: Any, outputs: Any, message: str) -> None:
    result = run(chain_of(steps, inputs={"q": "any"}, outputs=outputs), ScriptedLM("x"), {"q": "text"})
    assert (result.status, (result.error or "")[: len(message)]) == (FAILED, message)


def test_what_filters_give_is_plain_data() -> None:
    chain = chain_of(
        {
            "a": {"prompt": "{{ item }}", "for_each": "{{ q | map('upper') }}"},
            "b": {"prompt": "x", "when": "q | select('==', 'z')"},
        },
        inputs={"q": "any"}, outputs={"out": "{{ q | reject('==', 'a') }}", "half": "{{ '\\ud83d' }}"},
    )  # fmt: skip
    result = run(chain, ScriptedLM(["x", "\ud83dy"]), {"q": ["a", "b"]})
    assert (result.steps["a"].value, result.steps["b"].status) == (["x", "\ufffdy"], SKIPPED)
    assert result.outputs == {"out": ["b"], "half": "\ufffd"}
    assert Run.model_validate_json(result.model_dump_json()) == result


# -- for_each ----------------------------------------------------------------------------------------------------------


def each(**loop: Any) -> dict[str, Any]:
    return {"a": {"prompt": "{{ item }} {{ index }}", "for_each": {"in": "{{ q }}", **loop}}}


def test_items_run_at_once_and_keep_their_order() -> None:
    lm = ScriptedLM([Rule(echo, contains=str(n), delay=6 - n) for n in range(6)])
    bound = binding.bind(plan.build(chain_of(each())), lm)
    result, seconds = patience.run(timed(runner.run(bound, {"q": list(range(6))}, Caller(lm))))
    step = result.steps["a"]
    assert step.value == [item.value for item in step.items] == [f"{n} {n}" for n in range(6)]
    assert result.totals.calls == 6
    assert seconds == pytest.approx(6)  # one after the other: 21
    assert run(each(), ScriptedLM([]), {"q": []}).outputs == {"a": []}


def test_the_concurrency_of_a_loop_is_kept() -> None:
    under_way, most = 0, 0

    class Counting(ScriptedLM):
        async def complete(self, request: Request, on_text: Any = None) -> Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(1)
            under_way -= 1
            return Response("x")

    lm = Counting("x")
    bound = binding.bind(plan.build(chain_of(each(concurrency=3))), lm)
    patience.run(runner.run(bound, {"q": list(range(12))}, Caller(lm)))
    assert most == 3


@pytest.mark.parametrize(("on_error", "status"), [("fail", FAILED), ("skip", DONE)])
def test_an_item_that_fails(on_error: str, status: Status) -> None:
    lm = ScriptedLM([Rule(error(Fault.REFUSED), contains="q"), Rule(echo, always=True)])
    step = run(each(on_error=on_error), lm, {"q": ["p", "q", "r"]}).steps["a"]
    assert (step.status, step.value) == (status, ["p 0", None, "r 2"] if on_error == "skip" else None)
    assert [item.status for item in step.items] == [DONE, FAILED, DONE]
    assert (step.error or step.warnings[0]).startswith(
        ("item 2 of 3: it is", "1 of 3 items failed, and are null; item 2: ")
    )
    assert on_error == "fail" or str(step.items[1].error) in step.warnings[0]


# -- ceilings, and being cancelled -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        {"a": "x", "b": "{{ a }}", "c": "{{ b }}", "d": "{{ c }}"},
        {"a": {"prompt": "x", "output": "integer", "retry": {"parse": 5}}},
        {"a": {"prompt": "x", "for_each": {"in": "[1, 2, 3, 4]", "on_error": "skip"}}},
    ],
)
def test_a_ceiling_is_never_passed(steps: Any) -> None:
    lm, budget = ScriptedLM("x"), Budget(calls=2)
    result = run(steps, lm, budget=budget)
    assert result.status is FAILED
    assert "--max-calls 2 leaves no room" in str(result.error)
    assert len(lm.requests) == budget.spent.calls == result.totals.calls == 2
    assert "raise --max-calls" in str(result.hint)


SLOW = {"done": "quick", "slow": "{{ done }} slow", "after": "{{ slow }}",
        "each": {"prompt": "{{ item }}", "for_each": "['quick', 'slow']"}}  # fmt: skip
AGAIN = {"again": {"prompt": "x", "output": "integer"}}  # the second try is slow


@pytest.mark.parametrize("steps", [SLOW, {"slow": "slow"}, {"each": SLOW["each"]}, AGAIN])
def test_a_run_that_is_cancelled_is_recorded(steps: Any) -> None:
    records: list[Run] = []

    async def main() -> None:
        waits = [Rule("x", contains=text, delay=60) for text in ("slow", "cannot be used")]
        lm = ScriptedLM([*waits, Rule("quick", always=True)])
        bound = binding.bind(plan.build(chain_of(steps)), lm)
        task = asyncio.create_task(runner.run(bound, {}, Caller(lm), record=records.append))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    patience.run(main())
    (record,) = records
    assert (record.status, record.error, record.outputs) == (Status.INTERRUPTED, "interrupted", {})
    ended = {"done": "done"} if "done" in steps else {}
    assert statuses(record) == dict.fromkeys(steps, "interrupted") | ended
    if "each" in steps:
        assert [item.value for item in record.steps["each"].items] == ["quick", None]
    assert record.totals.calls == len(ended) + ("each" in steps) + ("again" in steps)  # what was paid for


def test_an_observer_that_fails_ends_the_run() -> None:
    records: list[Run] = []

    def observe(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run({"a": "x", "b": "y"}, ScriptedLM("x", delay=60), observe=observe, record=records.append)
    assert [record.status for record in records] == [Status.INTERRUPTED]


def test_an_observer_that_fails_at_an_item_ends_the_run_as_it_is() -> None:
    records: list[Run] = []

    def observe(event: Event) -> None:
        if isinstance(event, ItemEnded):
            raise BrokenPipeError

    lm = ScriptedLM([Rule("quick", contains="1"), Rule("slow", contains="2", delay=60)])
    with pytest.raises(BrokenPipeError):  # and no group of them
        run({"a": {"prompt": "{{ item }}", "for_each": "{{ [1, 2] }}"}}, lm, observe=observe, record=records.append)
    assert [item.value for item in records[0].steps["a"].items] == ["quick", None]


# -- before anything runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "models", "kind", "message"),
    [
        (chain_of({"a": "x"}, model=None), Models(), UsageError, "step 'a' has no model"),
        (chain_of({"a": "x"}), Models(steps={"b": "m"}), UsageError, "unknown step 'b'; known steps: a"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_at_once(chain: Chain, models: Models, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        binding.bind(plan.build(chain), ScriptedLM([]), models)


def test_which_model_a_step_runs_on() -> None:
    chain = chain_of({"a": "x", "b": {"prompt": "x", "model": "own"}})
    for models, expected in (
        (Models(last="l"), ["m", "own"]), (Models(default="d"), ["d", "own"]), (Models("d", {"b": "s"}), ["d", "s"])
    ):  # fmt: skip
        bound = binding.bind(plan.build(chain), ScriptedLM([]), models)
        assert [bound.prompts[name].model for name in "ab"] == expected
    assert Models(last="l").of_chain(chain_of({"a": "x"}, model=None)) == "l"


# -- any DAG -----------------------------------------------------------------------------------------------------------


@st.composite
def dags(draw: st.DrawFn) -> dict[str, Any]:
    """Up to eight steps; each waits for some before it, strictly or not, and may be skipped or fail."""
    steps: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 8))):
        uses = draw(st.lists(st.tuples(st.sampled_from(sorted(steps)), st.booleans()), max_size=3)) if steps else []
        reads = " ".join(f"{{{{ {name} }}}}" if strict else f"{{{{ {name} | default('-') }}}}" for name, strict in uses)
        steps[f"s{number}"] = {"prompt": f"<s{number}> {draw(st.sampled_from(['ok', 'ok', 'fail']))} {reads}"}
        if draw(st.integers(0, 3)) == 0:
            steps[f"s{number}"]["when"] = False
    return dict(draw(st.permutations(list(steps.items()))))


@settings(max_examples=80, deadline=None)
@given(steps=dags())
def test_every_step_ends_as_its_parents_let_it(steps: dict[str, Any]) -> None:
    def answer(request: Request) -> str | ModelError:
        return error(Fault.AUTH) if "fail" in echo(request) else "fine"

    lm = ScriptedLM([Rule(answer, always=True)])
    chain, ended = chain_of(steps), []
    result = run(chain, lm, observe=lambda event: ended.append(event.step) if isinstance(event, StepEnded) else None)
    for name, node in plan.build(chain).nodes.items():
        parents = {other: result.steps[other].status for other in node.after}
        ran = sum(echo(request).startswith(f"<{name}>") for request in lm.requests)
        if {FAILED, BLOCKED} & set(parents.values()):
            expected, times = BLOCKED, 0
        elif steps[name].get("when") is False or any(parents[other] is SKIPPED for other in node.needs):
            expected, times = SKIPPED, 0
        else:
            expected, times = FAILED if "fail" in steps[name]["prompt"] else DONE, 1
        assert (result.steps[name].status, ran) == (expected, times)
        assert all(ended.index(other) < ended.index(name) for other in parents)
    assert (result.status is FAILED) == any(step.status is FAILED for step in result.steps.values())
    assert sorted(ended) == sorted(steps)
