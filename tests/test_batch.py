"""Many rows: in order, in constant memory, and continued after whatever ended them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from promptchain import batch, binding, dataset, plan
from promptchain.batch import Tally
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.dataset import Row
from promptchain.errors import Fault, ModelError, PromptChainError, UsageError
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.models import Models
from tests.patience import PATIENCE, soon
from tests.steps.kit import Folder


def bound_to(lm: ScriptedLM, prompt: str = "{{ q }}", model: str = "m", then: str | None = None) -> BoundPlan:
    steps = {"a": {"prompt": prompt, "retry": 0}} | ({"b": {"prompt": then}} if then else {})
    chain = {"name": "c", "inputs": {"q": "string"}, "steps": steps}
    return binding.bind(plan.build(Chain.model_validate(chain)), lm, Models(default=model))


def echo(request: Request) -> str:
    return request.messages[-1].content


def numbered(count: int) -> Iterator[Row]:
    return (Row(number, {"q": f"q{number}"}) for number in range(1, count + 1))


def go(
    path: Path, rows: Iterable[Row], lm: ScriptedLM | None = None, *, resume: bool = False, window: int = 8,
    bound: BoundPlan | None = None, **options: Any,
) -> Tally:  # fmt: skip
    lm = lm or ScriptedLM([Rule(echo, always=True)])
    bound = bound or bound_to(lm)
    rows, already = iter(rows), 0
    if resume:
        rows, file, already, _ = batch.resume(bound, rows, path)
    else:
        file = batch.open_output(path)
    with file:
        tally = asyncio.run(batch.run_batch(bound, rows, Caller(lm, **options), file, window=window))
    tally.resumed = already
    return tally


def lines(path: Path) -> list[dict[str, Any]]:
    """What the output says, but for the times."""
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_bytes().splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_the_order_of_the_rows_is_kept(out: Path) -> None:
    delays = random.Random(1)
    lm = ScriptedLM([Rule(echo, contains=f"q{n:02}", delay=delays.random() * 0.02) for n in range(40)])
    tally = go(out, [Row(n + 1, {"q": f"q{n:02}"}) for n in range(40)], lm)
    assert [line["outputs"]["a"] for line in lines(out)] == [f"q{n:02}" for n in range(40)]
    assert (tally.done, tally.failed, tally.calls, tally.cost) == (40, 0, 40, 0.0)


def test_what_a_line_says(out: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    broken = b'{"q": "half \\ud83d", "id": "r\\ud83d"}\n{"q": \n{"q": "\xff"}\n{"q": 5}\n{}\n'
    rows.write_bytes(broken + b'{"q": "bad"}\n{"q": "ok"}\n')
    no_key = ModelError("no key", fault=Fault.AUTH, model="m")
    lm = ScriptedLM([Rule(no_key, contains="bad"), Rule("half \ud83d, whole 😀", always=True)])
    bound = bound_to(lm)
    seen: list[tuple[int, str | None]] = []
    with out.open("w", encoding="utf-8") as file:
        work = batch.run_batch(
            bound, dataset.rows(rows, bound.plan.chain), Caller(lm), file, window=2,
            progress=lambda tally, row: seen.append((row.line, tally.last_error)),
        )  # fmt: skip
        tally = asyncio.run(work)
    told = lines(out)
    assert [(line["line"], line["status"]) for line in told] == [(n, "failed") for n in range(1, 7)] + [(7, "done")]
    errors = ["half of a character", "not JSON", "byte 8 of the line is not UTF-8", "5 is not a string",
              "'q' (string) is missing", "step 'a' failed: no key"]  # fmt: skip
    assert all(error in line["error"] for error, line in zip(errors, told, strict=False))
    assert told[0]["id"] == "r\ud83d"
    assert told[6]["outputs"] == {"a": "half \ufffd, whole 😀"}
    assert (told[6]["tokens"], told[6]["cost"], "error" in told[6]) == (5, 0.0, False)
    assert (tally.done, tally.failed, tally.rows) == (1, 6, 7)
    assert [line for line, _ in seen] == list(range(1, 8))


def test_an_output_is_never_overwritten(out: Path, tmp_path: Path) -> None:
    out.write_text("precious")
    with pytest.raises(UsageError, match="exists already; --resume continues it"):
        go(out, numbered(1))
    assert out.read_text() == "precious"
    with pytest.raises(PromptChainError, match="cannot be written: No such file"):
        go(tmp_path / "gone" / "out.jsonl", numbered(1))


def without_runs(out: Path) -> list[dict[str, Any]]:
    """The lines, but for the ids of the runs, which are new each time."""
    return [{name: value for name, value in line.items() if name != "run"} for line in lines(out)]


def test_a_batch_is_continued_from_any_byte(out: Path) -> None:
    rows = [
        Row(1, {"q": "one é"}, id="ü"),
        Row(2, error="not JSON"),
        Row(4, {"q": "two 😀"}),
        Row(5, {}),
        Row(6, {"q": "\ud83d"}),
    ]
    go(out, rows)
    whole, expected = out.read_bytes(), without_runs(out)
    for size in range(len(whole) + 1):
        out.write_bytes(whole[:size])
        tally = go(out, rows, resume=True)
        assert without_runs(out) == expected, size
        assert out.read_bytes().startswith(whole[: whole.rfind(b"\n", 0, size) + 1])
        assert tally.resumed == min(3, whole[:size].count(b"\n"))  # the last two failed, and are tried again
        assert tally.rows == len(rows) - tally.resumed


def test_what_is_no_file_cannot_be_continued(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError, match="is no file that could be continued"):
            go(path, numbered(1), resume=True)


def test_without_an_output_there_is_nothing_to_continue(out: Path) -> None:
    assert go(out, numbered(2), resume=True).rows == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not ours", "out.jsonl:4: this line was not written by this batch"),
        (b"not ours\n", "out.jsonl:4: this line was not written by this batch"),
        (b'{"line": 4}\n', "out.jsonl:4: this line was not written by this batch"),
        (b"[" * 100_000 + b"\n", "out.jsonl:4: this line was not written by this batch"),
        (b'{"line": 5, "key": "0"}\n', "out.jsonl:4: this result is not of the row in line 4"),
    ],
)
def test_an_output_of_something_else_is_left_alone(content: bytes, message: str, out: Path) -> None:
    go(out, numbered(3))
    before = out.read_bytes() + content
    out.write_bytes(before)
    with pytest.raises(UsageError, match=message):
        go(out, numbered(5), resume=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "bound", "message"),
    [
        ([Row(1, {"q": "q1"}), Row(2, {"q": "changed"})], {}, r"out.jsonl:2: .* the row in line 2"),
        ([Row(1, {"q": "q1"})], {}, "out.jsonl:2: the output has more rows than the batch"),
        (
            None,
            {"prompt": "{{ q }}!"},
            "out.jsonl:1: this result is not of the row in line 1 with this chain and model",
        ),
        (None, {"model": "other"}, "out.jsonl:1: this result is not of the row in line 1"),
    ],
)
def test_a_batch_that_has_changed_is_not_continued(rows: Any, bound: Any, message: str, out: Path) -> None:
    go(out, numbered(2))
    before = out.read_bytes()
    with pytest.raises(UsageError, match=message):
        go(out, rows or numbered(2), resume=True, bound=bound_to(ScriptedLM("x"), **bound))
    assert out.read_bytes() == before


def test_a_batch_is_not_continued_with_other_code_pages_or_chains(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.chain("inner", {"x": "Ask {{ q }}"}, inputs={"q": "string"})
    steps = {
        "code": {"python": "code:f"},
        "pages": {"retrieve": {"from": "pages/*.md", "query": "{{ q }}"}},
        "inner": {"chain": "inner"},
    }
    folder.chain("outer", steps, inputs={"q": "string"})
    page = tmp_path / "chains/pages/one.md"
    page.parent.mkdir()
    page.write_text("q1 and q2")
    folder.code("def f(q): return q")
    lm = ScriptedLM([])

    def key(**models: Any) -> str:
        return batch.row_key(folder.bind("outer", lm, Models(**models)), Row(1, {"q": "q1"}))

    keys = [key(default="m"), key(default="other")]  # of the model of the chain in it, for it has no prompt of its own
    assert key(default="other") == keys[-1]
    for edit in (
        lambda: folder.code("def f(q): return 2"),
        lambda: page.write_text("q3"),
        lambda: folder.chain("inner", {"x": "Ask again: {{ q }}"}, inputs={"q": "string"}),
    ):
        edit()
        keys.append(key(default="m"))
    assert len(set(keys)) == len(keys) == 5


def test_a_ceiling_stops_a_batch_which_can_be_continued(out: Path) -> None:
    lm = ScriptedLM([Rule(echo, contains="q3", delay=0.03), Rule(echo, always=True)])
    bound, budget = bound_to(lm, then="{{ a }}"), Budget(calls=15)
    first = go(out, numbered(20), lm, bound=bound, budget=budget)  # the second call of q3 is the sixteenth
    assert (first.stopped or "").startswith("step 'b' failed: --max-calls 15 leaves no room")
    assert (first.done, first.failed, budget.spent.calls) == (2, 0, 15)
    assert [line["line"] for line in lines(out)] == [1, 2]
    second = go(out, numbered(20), lm, resume=True, bound=bound)
    assert (second.done, second.resumed, second.stopped) == (18, 2, None)
    assert [line["outputs"]["b"] for line in lines(out)] == [f"q{n}" for n in range(1, 21)]


def test_a_batch_that_is_cancelled_leaves_its_first_rows(out: Path) -> None:
    slow = [Rule("x", contains=text, delay=60) for text in ("q5", "q7")]
    lm = ScriptedLM([*slow, Rule(echo, always=True)])

    async def main() -> None:
        with batch.open_output(out) as file:
            task = asyncio.create_task(batch.run_batch(bound_to(lm), numbered(20), Caller(lm), file, window=8))
            await soon(lambda: len(lm.requests) == 12)  # as far as the window goes while q5 is not written
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, PATIENCE)
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert [line["line"] for line in lines(out)] == [1, 2, 3, 4]
    assert go(out, numbered(20), resume=True).rows == 16
    assert [line["line"] for line in lines(out)] == list(range(1, 21))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_in_words() -> None:
    lm = ScriptedLM("x")
    file = open("/dev/full", "w")  # noqa: PTH123, SIM115
    with pytest.raises(PromptChainError, match="/dev/full: cannot be written: No space left on device"):
        asyncio.run(batch.run_batch(bound_to(lm), numbered(3), Caller(lm), file, window=2))
    with pytest.raises(OSError, match="No space"):
        file.close()


def test_lines_are_there_as_soon_as_their_rows_have_ended(out: Path) -> None:
    sizes: list[int] = []
    lm = ScriptedLM([Rule(echo, always=True)])
    with batch.open_output(out) as file:
        asyncio.run(batch.run_batch(
            bound_to(lm), numbered(5), Caller(lm), file, window=1,
            progress=lambda tally, row: sizes.append(out.read_bytes().count(b"\n")),
        ))  # fmt: skip
    assert sizes == [1, 2, 3, 4, 5]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rows = tmp_path / f"{count}.jsonl"
        rows.write_text("".join(f'{{"q": "question number {n}"}}\n' for n in range(count)))
        lm = ScriptedLM([Rule("x", always=True)], keep=0)
        bound = bound_to(lm)
        tracemalloc.start()
        try:
            go(tmp_path / f"{count}.out", dataset.rows(rows, bound.plan.chain), lm, bound=bound, window=64)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(200)
    few, many = peak(250), peak(1500)
    assert many < few + 120_000  # a record has 2 kB; and Python keeps some thousand freed tuples to use again


def test_a_row_is_finished_before_many_more_are_begun(tmp_path: Path) -> None:
    """A batch that is interrupted has lost little: its rows do not all take their first step before one ends."""
    lm = ScriptedLM([Rule(echo, always=True)])
    bound = bound_to(lm, prompt="first of {{ q }}", then="last after {{ a }}")
    with batch.open_output(tmp_path / "out") as file:
        asyncio.run(batch.run_batch(bound, numbered(20), Caller(lm), file, window=20, at_once=2))
    asked = [echo(request) for request in lm.requests]
    assert asked.index("last after first of q1") < asked.index("first of q4")


def test_rows_that_failed_because_the_server_went_away_are_run_again(out: Path) -> None:
    gone = ModelError("connection refused", fault=Fault.CONNECTION, model="m")
    dead = ScriptedLM(["ok", gone, "ok", gone, gone])
    assert go(out, numbered(5), dead).failed == 3
    rows, file, kept, failed = batch.resume(bound_to(dead), numbered(5), out)
    file.close()
    assert (kept, failed, len(list(rows))) == (3, 1, 2)  # what was paid for after a failure is kept
    assert go(out, numbered(5), resume=True).done == 2
    assert [line["status"] for line in lines(out)] == ["done", "failed", "done", "done", "done"]
