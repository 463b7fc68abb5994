"""Events as JSON, without secrets, and on their way to a slow reader."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import events
from promptchain.event_json import Whole, to_json
from promptchain.events import (
    Event,
    ItemEnded,
    RunEnded,
    RunEvent,
    RunStarted,
    StepEnded,
    StepRetried,
    StepStarted,
    StepText,
    ToolEnded,
    ToolStarted,
)
from promptchain.feed import LAG, Feed
from promptchain.lm.secrets import redact
from promptchain.records import Call, Run, Status, StepRun, ToolRun

KEY = "sk-abcdefgh12345678"
USAGE = {"calls": 1, "prompt_tokens": 3, "completion_tokens": 2, "cost": 0.5}
DONE = StepRun(
    status=Status.DONE,
    value={"a": None},
    seconds=1.5,
    calls=(Call(model="x", prompt_tokens=3, completion_tokens=2, cost=0.5),),
)
FAILED = StepRun(status=Status.FAILED, error="no", hint="yes", seconds=1.0)
TOOL = ToolRun(name="refund", arguments={"id": 7})
RUN = Run(id="01", chain="demo", source="s", model=None, started="2026-01-01T00:00:00.000Z", status=Status.DONE)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            RunStarted("demo", "x/y", {"a": 1}),
            {"event": "run_started", "chain": "demo", "model": "x/y", "inputs": {"a": 1}},
        ),
        (StepStarted("a"), {"event": "step_started", "step": "a"}),
        (StepStarted("a", "x/y", 0), {"event": "step_started", "step": "a", "model": "x/y", "items": 0}),
        (StepText("a", "hi ", 0), {"event": "token", "step": "a", "item": 0, "text": "hi "}),
        (StepRetried("a", "slow", 0.12345), {"event": "retry", "step": "a", "reason": "slow", "wait": 0.123}),
        (ToolStarted("a", TOOL), {"event": "tool_started", "step": "a", "name": "refund", "arguments": {"id": 7}}),
        (
            ToolEnded("a", TOOL.model_copy(update={"value": "ok", "seconds": 0.5}), 2),
            {
                "event": "tool_ended",
                "step": "a",
                "item": 2,
                "name": "refund",
                "arguments": {"id": 7},
                "value": "ok",
                "seconds": 0.5,
            },
        ),
        (
            ToolEnded("a", TOOL),
            {
                "event": "tool_ended",
                "step": "a",
                "name": "refund",
                "arguments": {"id": 7},
                "value": None,
                "seconds": 0.0,
            },
        ),
        (
            ToolEnded("a", TOOL.model_copy(update={"error": "bad"})),
            {
                "event": "tool_ended",
                "step": "a",
                "name": "refund",
                "arguments": {"id": 7},
                "error": "bad",
                "seconds": 0.0,
            },
        ),
        (
            ItemEnded("a", 3, FAILED),
            {
                "event": "item_done",
                "step": "a",
                "item": 3,
                "status": "failed",
                "value": None,
                "error": "no",
                "hint": "yes",
                "seconds": 1.0,
                "usage": {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0},
            },
        ),
        (
            StepEnded("a", DONE),
            {"event": "step_done", "step": "a", "status": "done", "value": {"a": None}, "seconds": 1.5, "usage": USAGE},
        ),
        (
            RunEnded(RUN.model_copy(update={"status": Status.FAILED, "error": "no", "hint": "yes", "version": 7})),
            {
                "event": "run_done",
                "id": "01",
                "chain": "demo",
                "version": 7,
                "status": "failed",
                "outputs": {},
                "error": "no",
                "hint": "yes",
                "totals": {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0},
                "seconds": 0.0,
            },
        ),
    ],
)
def test_every_event_as_json(event: RunEvent, expected: dict[str, Any]) -> None:
    assert to_json(event) == expected
    assert json.loads(json.dumps(to_json(event))) == expected


def test_every_event_has_a_name() -> None:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__]
    assert len(kinds) == 9
    assert len({to_json(_any(kind))["event"] for kind in kinds}) == 9


def _any(kind: type) -> Any:
    given = {"result": DONE, "tool": TOOL, "run": RUN, "inputs": {}, "item": 0}
    return kind(**{name: given.get(name, "x") for name in kind.__dataclass_fields__ if name not in ("wait", "items")})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "event",
    [
        RunStarted("demo", None, {"a": [KEY]}),
        StepText("a", KEY),
        StepRetried("a", f"the key {KEY} is wrong"),
        ToolStarted("a", ToolRun(name="x", arguments={KEY: 1})),
        ToolEnded("a", ToolRun(name="x", value={"a": KEY})),
        StepEnded("a", FAILED.model_copy(update={"error": KEY})),
        RunEnded(RUN.model_copy(update={"outputs": {"a": KEY}})),
    ],
)
def test_no_event_tells_a_secret(event: RunEvent) -> None:
    assert "abcdefgh" not in json.dumps(to_json(event))
    assert "***" in json.dumps(to_json(event))


def pieces(whole: Whole, *texts: str) -> list[str]:
    return [told.text for text in texts for told in whole.passed(StepText("a", text)) if isinstance(told, StepText)]


def test_text_goes_on_word_by_word() -> None:
    whole = Whole()
    assert pieces(whole, "It ", "is on", " its", " way", ", 你好") == ["It ", "is ", "on ", "its ", "way, 你好"]
    assert pieces(whole, ' {"a": "b', '", "c"') == [' {"a": "', 'b", "c"']


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"use {KEY} now", "use *** now"),
        ("Authorization: Bearer abcdef1234567 ok", "Authorization: Bearer *** ok"),
        ("at https://me:pa,ss!w0rd@host/x", "at https://me:***@host/x"),
        ("it is correct horse, battery! staple", "it is ***"),
    ],
)
def test_a_secret_in_pieces_is_not_told(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "correct horse, battery! staple")
    for size in (1, 2, 3, 5, 7, 100):
        whole = Whole()
        texts = [text[at : at + size] for at in range(0, len(text), size)]
        said = pieces(whole, *texts) + [e.text for e in whole.passed(StepEnded("a", DONE)) if isinstance(e, StepText)]
        assert "".join(said) == told, size


WORDS = st.sampled_from([KEY, "Bearer ", "abc123def456", " ", "://me:", "@", "text", "\n", "é", ",", "sk-", "7"])


@settings(deadline=None)
@given(st.lists(WORDS | st.text(max_size=3), max_size=12))
def test_in_pieces_no_more_is_told_than_as_a_whole(texts: list[str]) -> None:
    whole = Whole()
    said = pieces(whole, *texts)
    said += [e.text for e in whole.passed(RunEnded(RUN)) if isinstance(e, StepText)]
    assert "".join(said) == redact("".join(texts))


def test_what_is_held_back_comes_before_what_follows_it() -> None:
    whole = Whole()
    assert [*whole.passed(StepText("a", "half", 1))] == []
    assert [*whole.passed(StepText("b", "other"))] == []
    ended = ItemEnded("a", 1, DONE)
    assert [*whole.passed(ended)] == [StepText("a", "half", 1), ended]
    assert [*whole.passed(RunEnded(RUN))] == [StepText("b", "other"), RunEnded(RUN)]


async def _read(feed: Feed) -> list[Event]:
    return [event async for event in feed]


def test_a_feed_gives_what_was_put_into_it_in_order() -> None:
    async def scene() -> list[Event]:
        feed = Feed()
        reading = asyncio.create_task(_read(feed))
        await asyncio.sleep(0)
        for event in (StepStarted("a"), StepText("a", "x"), StepText("a", "y"), StepEnded("a", DONE)):
            feed.put(event)
            await asyncio.sleep(0)
        feed.close()
        return await reading

    assert asyncio.run(scene()) == [StepStarted("a"), StepText("a", "x"), StepText("a", "y"), StepEnded("a", DONE)]


def test_pieces_that_nobody_reads_are_joined() -> None:
    """And never over a retry: what came before it is void."""

    async def scene() -> list[Event]:
        feed = Feed()
        for number in range(100_000):
            feed.put(StepText("ab"[number % 2], "x"))
        feed.put(StepRetried("a", "again"))
        for _ in range(1_000):
            feed.put(StepText("a", "y"))
        feed.close()
        return await _read(feed)

    found = asyncio.run(scene())
    assert len(found) <= LAG + 3
    texts = {name: "".join(e.text for e in found if isinstance(e, StepText) and e.step == name) for name in "ab"}
    assert texts == {"a": "x" * 50_000 + "y" * 1_000, "b": "x" * 50_000}
    retried = found.index(StepRetried("a", "again"))
    assert "".join(e.text for e in found[retried:] if isinstance(e, StepText)) == "y" * 1_000
