"""Failed rows, run again: nothing is lost, whatever ends that."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from promptchain import batch, batch_retry, project
from promptchain.batch import Tally
from promptchain.errors import Fault, ModelError, PromptChainError, UsageError
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.scripted import Rule, ScriptedLM
from tests.test_batch import bound_to, echo, go, lines, numbered

GONE = ModelError("connection refused", fault=Fault.CONNECTION, model="m")


def but(*failing: str, also: tuple[Rule, ...] = ()) -> ScriptedLM:
    """A model that answers with the question, but for some of them."""
    return ScriptedLM([*(Rule(GONE, contains=text) for text in failing), *also, Rule(echo, always=True)])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return written(tmp_path, 9)


def written(folder: Path, count: int) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row.inputs) + "\n" for row in numbered(count)))
    return path


def retry(rows: Path, out: Path, lm: ScriptedLM | None = None, **options: Any) -> Tally:
    lm = lm or but()
    work = project.run_batch(bound_to(lm), rows, out, Caller(lm, **options), resume=True, retry_failed=True)
    return asyncio.run(work)


def states(out: Path) -> str:
    """d or f for each line."""
    return "".join(line["status"][0] for line in lines(out))


def in_order(out: Path, count: int) -> bool:
    return [line["line"] for line in lines(out)] == list(range(1, count + 1))


def test_failed_rows_are_run_again_and_their_lines_replaced(out: Path, rows: Path) -> None:
    go(out, numbered(7), but("q2", "q5"))
    before = out.read_bytes().splitlines()
    lm = but("q5")
    tally = retry(rows, out, lm)
    assert [echo(request) for request in lm.requests] == ["q2", "q5", "q8", "q9"]
    assert (tally.done, tally.failed, tally.resumed, tally.retried, tally.may_retry) == (3, 1, 5, 2, 1)
    assert states(out) == "ddddfdddd"
    assert in_order(out, 9)
    after = out.read_bytes().splitlines()
    assert [after[n] for n in (0, 2, 3, 5, 6)] == [before[n] for n in (0, 2, 3, 5, 6)]
    assert set(out.parent.iterdir()) == {out, rows}
    assert retry(rows, out).done == 1
    assert states(out) == "d" * 9


@pytest.mark.parametrize("failing", [[], [f"q{n}" for n in range(1, 10)]], ids=["none", "all"])
def test_none_and_all_may_have_failed(out: Path, rows: Path, failing: list[str]) -> None:
    go(out, numbered(9), but(*failing))
    tally = retry(rows, out)
    assert (tally.done, tally.retried) == (len(failing), len(failing))
    assert states(out) == "d" * 9
    assert in_order(out, 9)


def test_without_an_output_there_is_nothing_to_run_again(out: Path, rows: Path) -> None:
    assert retry(rows, out).done == 9


def test_rows_that_cannot_be_run_stay_as_they_are(out: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{nope\n{"q": "q2"}\n{"q": "q3"}\n')
    work = project.run_batch(bound_to(but("q2")), rows, out, Caller(but("q2")))
    assert asyncio.run(work).may_retry == 1
    lm = but()
    tally = retry(rows, out, lm)
    assert len(lm.requests) == 1
    assert (tally.resumed, tally.failed_before, tally.done, tally.may_retry) == (2, 1, 1, 0)
    assert states(out) == "fdd"


def test_a_line_that_was_cut_short_is_run_again_too(out: Path, rows: Path) -> None:
    go(out, numbered(9), but("q2"))
    out.write_bytes(out.read_bytes()[:-10])
    assert retry(rows, out).done == 2
    assert states(out) == "d" * 9
    assert in_order(out, 9)


def test_a_ceiling_keeps_what_was_done_and_what_was_there(out: Path, rows: Path) -> None:
    go(out, numbered(7), but("q1", "q3", "q5"))
    tally = retry(rows, out, concurrency=1, budget=Budget(calls=2))
    assert tally.stopped
    assert states(out) == "ddddfdd"
    assert in_order(out, 7)
    assert retry(rows, out).done == 3
    assert states(out) == "d" * 9


def test_an_interrupt_keeps_what_was_done_and_what_was_there(out: Path, rows: Path) -> None:
    go(out, numbered(9), but("q1", "q3", "q5"))
    lm = but(also=(Rule("x", contains="q3", delay=60),))

    async def main() -> None:
        found = asyncio.Event()
        work = project.run_batch(
            bound_to(lm), rows, out, Caller(lm), resume=True, retry_failed=True, progress=lambda *_: found.set()
        )
        task = asyncio.create_task(work)
        await asyncio.wait_for(found.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert states(out) == "ddfdfdddd"
    assert not batch_retry.beside(out).exists()
    assert retry(rows, out).done == 2


def killed(out: Path, rows: int, written: int) -> bytes:
    """What a process leaves that was killed when it had written so many bytes of the new lines. Gives all of them."""
    bound, lm = bound_to(but()), but()
    found = batch_retry.survey(bound, numbered(rows), out)
    file = batch_retry.Retried(out, found.end)
    source = file.rows(bound, numbered(rows))
    asyncio.run(batch.run_batch(bound, source, Caller(lm), file, window=4))
    file._new.flush()
    whole = batch_retry.beside(out).read_bytes()
    file._new.close()
    file._old.close()
    batch_retry.beside(out).write_bytes(whole[:written])
    return whole


@pytest.mark.parametrize("resumed", [{"retry_failed": True}, {}], ids=["retry", "resume"])
def test_what_a_killed_process_leaves_is_taken_over_wherever_it_was(
    out: Path, tmp_path: Path, resumed: dict[str, bool]
) -> None:
    rows = written(tmp_path, 6)
    go(out, numbered(5), but("q1", "q3"))
    before = out.read_bytes()
    whole = killed(out, 6, 0)
    for size in range(0, len(whole) + 1, 7):
        out.write_bytes(before)
        batch_retry.beside(out).write_bytes(whole[:size])
        lm = but("q1", "q2", "q3", "q4", "q5", "q6")
        work = project.run_batch(bound_to(lm), rows, out, Caller(lm), resume=True, **resumed)
        asyncio.run(work)
        assert in_order(out, 6)
        got = whole[:size].count(b"\n")
        assert states(out)[:got] == "d" * got
        assert states(out)[1] == states(out)[3] == states(out)[4] == "d"
        assert not batch_retry.beside(out).exists()


def test_what_is_left_of_another_batch_is_told_and_nothing_is_changed(out: Path, rows: Path) -> None:
    go(out, numbered(3), but("q2"))
    before = out.read_bytes()
    batch_retry.beside(out).write_text('{"key": "0", "status": "done"}\n')
    with pytest.raises(UsageError, match=r"out\.jsonl\.retry:1: this result is not") as found:
        retry(rows, out)
    assert "remove it" in (found.value.hint or "")
    assert out.read_bytes() == before


def test_an_output_of_something_else_is_found_before_anything_is_run(out: Path, rows: Path) -> None:
    go(out, numbered(9), but("q1"))
    out.write_bytes(out.read_bytes().replace(b'"line": 9', b'"lime": 9').replace(b'"key"', b'"kay"'))
    before, lm = out.read_bytes(), but()
    with pytest.raises(UsageError, match="was not written by this batch"):
        retry(rows, out, lm)
    assert not lm.requests
    assert out.read_bytes() == before


def test_where_there_is_no_room_the_output_stays(out: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(out, numbered(9), but("q5"))
    before = out.read_bytes()

    def full(self: batch_retry.Retried, end: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(batch_retry.Retried, "_copy", full)
        with pytest.raises(PromptChainError, match="cannot be written: No space left on device"):
            retry(rows, out)
    assert out.read_bytes() == before
    assert retry(rows, out).done == 1
    assert states(out) == "d" * 9


def test_a_link_stays_a_link_and_the_mode_the_mode(out: Path, rows: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real.jsonl"
    real.parent.mkdir()
    out.symlink_to(real)
    go(real, numbered(3), but("q2"))
    real.chmod(0o640)
    retry(rows, out)
    assert out.is_symlink()
    assert states(real) == "d" * 9
    assert real.stat().st_mode & 0o777 == 0o640


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        rows, out = written(folder, count), folder / "out.jsonl"
        go(out, numbered(count), ScriptedLM([Rule(GONE, contains="0"), Rule("x", always=True)], keep=0), window=64)
        lm = ScriptedLM([Rule("x", always=True)], keep=0)
        tracemalloc.start()
        try:
            retry(rows, out, lm)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(200)
    few, many = peak(300), peak(1500)
    assert many < few + 120_000
