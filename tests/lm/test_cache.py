import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.errors import Fault, ModelError
from promptchain.lm.cache import CachedLM, CacheStats, default_cache_path
from promptchain.lm.protocol import Capabilities, Finish, Media, Message, Request, Response, ToolCall, ToolSpec, Usage
from promptchain.lm.scripted import Rule, ScriptedLM
from tests.patience import soon

FULL = Response("Paris", Finish.STOP, Usage(5, 2, 1), cost=0.25, latency=1.5)


def request(text: str = "hi", **changes: Any) -> Request:
    return Request("test/model", (Message("user", text),), **changes)


def ask(lm: CachedLM, *texts: str) -> list[Response]:
    async def together() -> list[Response]:
        return await asyncio.gather(*(lm.complete(request(text)) for text in texts))

    return asyncio.run(asyncio.wait_for(together(), 60))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "responses.db"


# hits and misses


def test_what_was_asked_before_is_not_asked_again_and_keeps_its_price_and_time(path: Path) -> None:
    first = CachedLM(ScriptedLM([FULL]), path)
    assert ask(first, "hi") == [FULL]
    first.close()
    inner = ScriptedLM([])
    second = CachedLM(inner, path)
    (answer,) = ask(second, "hi")
    second.close()
    assert (answer.text, answer.finish, answer.usage) == ("Paris", Finish.STOP, Usage(5, 2, 1))
    assert (answer.cached, answer.cost, answer.latency) == (True, 0.25, 1.5), "those that it was had with"
    assert inner.requests == []


def test_another_sample_schema_or_identity_is_another_request(path: Path) -> None:
    lm = CachedLM(ScriptedLM(["a", "b", "c"]), path)

    async def both() -> list[str]:
        asked = [request(), request(sample=1), request(schema={"type": "string"}), request()]
        return [(await lm.complete(each)).text for each in asked]

    assert asyncio.run(both()) == ["a", "b", "c", "a"]
    lm.close()
    other = CachedLM(ScriptedLM(["d"], identity="another endpoint"), path)
    assert ask(other, "hi")[0].text == "d"
    other.close()


def test_a_hit_is_streamed_in_one_piece(path: Path) -> None:
    lm = CachedLM(ScriptedLM(["two words"]), path)
    pieces: list[str] = []
    asyncio.run(lm.complete(request(), pieces.append))
    asyncio.run(lm.complete(request(), pieces.append))
    lm.close()
    assert pieces == ["two ", "words", "two words"]


def test_errors_and_filtered_answers_are_not_kept_but_truncated_ones_are(path: Path) -> None:
    error = ModelError("down", fault=Fault.SERVER, model="m")
    lm = CachedLM(ScriptedLM([error, Rule("filtered", finish=Finish.FILTER), Rule("cut", finish=Finish.LENGTH)]), path)
    with pytest.raises(ModelError, match="down"):
        ask(lm, "hi")
    assert [ask(lm, "hi")[0].text for _ in range(3)] == ["filtered", "cut", "cut"]
    assert ask(lm, "hi")[0].finish is Finish.LENGTH
    lm.close()


def test_lookup_never_asks_and_remember_keeps(path: Path) -> None:
    inner = ScriptedLM([])
    lm = CachedLM(inner, path)
    assert asyncio.run(lm.lookup(request())) is None
    asyncio.run(lm.remember(request(), FULL))
    pieces: list[str] = []
    found = asyncio.run(lm.lookup(request(), pieces.append))
    lm.close()
    assert found is not None
    assert (found.text, found.cached, pieces, inner.requests) == ("Paris", True, ["Paris"], [])


def test_stats_count(path: Path) -> None:
    lm = CachedLM(ScriptedLM("x"), path)
    ask(lm, "a"), ask(lm, "b"), ask(lm, "a")
    stats = lm.stats()
    lm.close()
    assert (stats.entries, stats.hits, stats.misses) == (2, 1, 2)
    assert stats.bytes > 0


def test_it_says_of_the_model_what_the_model_says_and_closes_it(path: Path) -> None:
    class Inner(ScriptedLM):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    inner = Inner("x", identity="me", capabilities=Capabilities(grammar=True))
    lm = CachedLM(inner, path)
    assert lm.capabilities("m").grammar
    assert lm.identity("m") == "me"
    lm.close(), lm.close()
    assert inner.closed == 2
    assert not path.exists(), "a cache that was never used leaves nothing behind"


RESPONSES = st.builds(
    Response,
    st.text(st.characters(codec=None, categories=None)) | st.text(st.sampled_from('\ud83d\ude00\x00é😀"\\\n')),
    st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.TOOLS]),
    st.builds(Usage, st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12)),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1e6),
    logprobs=st.lists(st.floats(-1e6, 0), max_size=3).map(tuple),
)


def test_every_text_comes_back_as_it_was(path: Path) -> None:
    lm = CachedLM(ScriptedLM([]), path)

    async def there_and_back(text: str, answer: Response) -> Response | None:
        await lm.remember(request(text), answer)
        return await lm.lookup(request(text))

    @settings(deadline=None)
    @given(st.text(st.characters(codec=None, categories=None)), RESPONSES)
    def check(text: str, answer: Response) -> None:
        back = asyncio.run(there_and_back(text, answer))
        assert back is not None
        assert back == replace(answer, cached=True)

    check()
    assert asyncio.run(there_and_back("x", Response("\ud83d\ude00"))).text == "\ud83d\ude00"  # type: ignore[union-attr]
    lm.close()


def test_the_value_is_json_with_the_original_cost_and_latency(path: Path) -> None:
    lm = CachedLM(ScriptedLM([FULL]), path)
    ask(lm, "hi")
    lm.close()
    db = sqlite3.connect(path)
    ((value,),) = db.execute("SELECT value FROM responses").fetchall()
    db.close()
    read = json.loads(value)
    assert 0 <= time.time() - read.pop("created") < 60
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1}
    assert read == {"text": "Paris", "finish": "stop", "usage": usage, "cost": 0.25, "latency": 1.5}
    assert path.stat().st_mode & 0o077 == 0, "answers may be private"


def test_an_entry_from_before_there_were_logprobs_is_an_answer(path: Path) -> None:
    lm = CachedLM(ScriptedLM([replace(FULL, logprobs=(-0.5, -2.25))]), path)
    ask(lm, "hi")
    assert ask(lm, "hi")[0].logprobs == (-0.5, -2.25)
    lm.close()
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE responses SET value = CAST(json_remove(CAST(value AS TEXT), '$.logprobs') AS BLOB)")
    db.close()
    lm = CachedLM(ScriptedLM([]), path)
    assert ask(lm, "hi") == [replace(FULL, cached=True)]
    lm.close()


CALLS = (ToolCall("call_1", "lookup", '{"item": "Zoë"}'), ToolCall("call_2", "now", ""))


def test_calls_of_tools_are_kept_though_there_is_no_text(path: Path) -> None:
    full = Response("", Finish.TOOLS, Usage(5, 2), cost=0.25, latency=1.5, tool_calls=CALLS)
    lm = CachedLM(ScriptedLM([full]), path)
    ask(lm, "hi")
    assert ask(lm, "hi") == [replace(full, cached=True)]
    pieces: list[str] = []
    asyncio.run(lm.complete(request(), pieces.append))
    assert pieces == []
    lm.close()


def test_tools_media_and_their_results_make_another_request() -> None:
    plain = request("hi")
    image = Media("image", "https://example.com/a.png")
    call, answer = Message("assistant", "", tool_calls=CALLS), Message("tool", "3", tool_call_id="call_1")
    others = [
        replace(plain, tools=(ToolSpec("lookup"),)),
        replace(plain, tools=(ToolSpec("lookup", "The price."),)),
        replace(plain, messages=(Message("user", "hi", (image,)),)),
        replace(plain, messages=(Message("user", "hi", (replace(image, url="https://example.com/b.png"),)),)),
        replace(plain, messages=(*plain.messages, call, answer)),
        replace(plain, messages=(*plain.messages, call, replace(answer, tool_call_id="call_2"))),
    ]
    assert len({one.key() for one in (plain, *others)}) == 7


def test_a_plain_request_has_the_key_that_it_had_before_there_were_tools() -> None:
    messages = (Message("system", "be brief"), Message("user", "Zoë \ufffc \ud83d"))
    params = {"temperature": 0, "max_tokens": 9}
    plain = Request("openai/gpt-4o", messages, params, {"type": "object"}, ("a", "b"), sample=2)
    assert plain.key("http://x") == "ff7c8a952df2b0bd0d258c0587ce8a89a03e8d14af83ef759db9487ca46e2c07"


# one flight at a time


def test_identical_requests_in_flight_are_made_once(path: Path) -> None:
    inner = ScriptedLM([Rule(FULL, delay=0.02)])
    lm = CachedLM(inner, path)
    answers = ask(lm, *["hi"] * 10)
    lm.close()
    assert len(inner.requests) == 1
    assert [answer.text for answer in answers] == ["Paris"] * 10
    assert sorted(answer.cached for answer in answers) == [False] + [True] * 9
    assert sum(answer.cost or 0 for answer in answers if not answer.cached) == 0.25


def test_different_requests_do_not_wait_for_each_other(path: Path) -> None:
    class Together(ScriptedLM):
        """Answers once it has been asked for all."""

        async def complete(self, request: Request, on_text: Any = None) -> Response:
            self._kept.append(request)
            await soon(lambda: len(self.requests) == 20)
            return Response("x")

    lm = CachedLM(Together("x"), path)
    ask(lm, *(str(i) for i in range(20)))
    lm.close()


def test_where_the_first_fails_another_takes_over(path: Path) -> None:
    error = ModelError("down", fault=Fault.SERVER, model="m")
    lm = CachedLM(ScriptedLM([Rule(error, delay=0.01), Rule("ok", delay=0.01)]), path)

    async def together() -> list[Any]:
        return await asyncio.gather(*(lm.complete(request()) for _ in range(4)), return_exceptions=True)

    first, *others = asyncio.run(together())
    lm.close()
    assert first is error
    assert [answer.text for answer in others] == ["ok"] * 3


@pytest.mark.parametrize("cancelled", [0, 1])
def test_cancelling_one_leaves_the_others(path: Path, cancelled: int) -> None:
    inner = ScriptedLM([Rule("first", delay=0.05), "second"])
    lm = CachedLM(inner, path)

    async def together() -> list[str]:
        tasks = [asyncio.create_task(lm.complete(request())) for _ in range(3)]
        while not inner.requests:
            await asyncio.sleep(0.001)
        tasks[cancelled].cancel()
        await asyncio.wait(tasks)
        return ["cancelled" if task.cancelled() else task.result().text for task in tasks]

    texts = asyncio.run(together())
    lm.close()
    assert texts[cancelled] == "cancelled"
    expected = "second" if cancelled == 0 else "first"
    assert [text for text in texts if text != "cancelled"] == [expected] * 2


# trouble


def trouble(path: Path, **options: Any) -> list[str]:
    """The warnings of a cache on this path, through which calls must work whatever it is like."""
    warnings: list[str] = []
    inner = ScriptedLM([Rule(lambda sent: sent.messages[0].content.upper(), always=True)])
    lm = CachedLM(inner, path, on_warning=warnings.append, **options)
    for _ in range(2):
        assert [answer.text for answer in ask(lm, "a", "b", "a")] == ["A", "B", "A"]
    lm.stats()
    lm.close()
    return warnings


def test_without_trouble_there_is_no_warning(path: Path) -> None:
    assert trouble(path) == []


def test_a_file_that_is_no_database_is_set_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    (warning,) = trouble(path)
    assert "was broken; it is set aside as responses.db.corrupt" in warning
    assert path.with_name("responses.db.corrupt").read_bytes().startswith(b"this is no database")
    assert trouble(path) == []


def test_a_database_with_broken_pages_is_set_aside(path: Path) -> None:
    lm = CachedLM(ScriptedLM([Response("x" * 9000)] * 300), path)
    ask(lm, *(str(i) for i in range(300)))
    lm.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    (warning,) = trouble(path)
    assert "was broken" in warning
    assert trouble(path) == []


def test_a_value_that_is_none_is_asked_for_again(path: Path) -> None:
    assert trouble(path) == []
    db = sqlite3.connect(path)
    for junk in (b"{", b"[]", b"\xff", b'{"text": "x"}'):
        with db:
            db.execute("UPDATE responses SET value = ?", (junk,))
        assert trouble(path) == []
    db.close()


def test_a_newer_format_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE other (x); PRAGMA user_version = 7")
    db.close()
    before = path.read_bytes()
    (warning,) = trouble(path)
    assert "is not used: a newer promptchain made it" in warning
    assert path.read_bytes() == before


def test_another_program_s_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE holidays (day)")
    db.close()
    before = path.read_bytes()
    (warning,) = trouble(path)
    assert "another program's database" in warning
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["/dev/null/cache/responses.db", "/proc/promptchain/responses.db"])
def test_where_nothing_can_be_written_the_cache_is_off(where: str) -> None:
    (warning,) = trouble(Path(where))
    assert f"the response cache {where} is not used" in warning


def test_a_folder_in_the_file_s_place_is_no_reason_to_fail(path: Path) -> None:
    path.mkdir(parents=True)
    assert len(trouble(path)) == 1


def test_a_file_that_is_removed_under_way_is_no_reason_to_fail(path: Path) -> None:
    warnings: list[str] = []
    lm = CachedLM(ScriptedLM("x"), path, on_warning=warnings.append)
    ask(lm, "a")
    for left in path.parent.iterdir():
        left.unlink()
    assert [answer.text for answer in ask(lm, "a", "b")] == ["x", "x"]
    lm.close()
    assert len(warnings) <= 1


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from promptchain.lm.cache import CachedLM
from promptchain.lm.protocol import Message, Request, Response
from promptchain.lm.scripted import ScriptedLM
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
lm = CachedLM(ScriptedLM(Response("x" * 50_000)), Path(sys.argv[1]), on_warning=lambda w: print("warning:", w))
for i in range(30):
    answer = asyncio.run(lm.complete(Request("m", (Message("user", str(i)),))))
    assert len(answer.text) == 50_000
lm.close()
print("done")
"""


def script(code: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_switches_the_cache_off(path: Path) -> None:
    out, err = script(FULL_DISK, path).communicate(timeout=300)
    assert err == ""
    assert out.splitlines()[-1] == "done"
    assert len([line for line in out.splitlines() if line.startswith("warning: ")]) == 1
    assert trouble(path) == [], "what was written before is whole"


# several processes

WRITER = """
import asyncio, sys
from pathlib import Path
from promptchain.lm.cache import CachedLM
from promptchain.lm.protocol import Message, Request
from promptchain.lm.scripted import Rule, ScriptedLM
path, me, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
warnings = []
inner = ScriptedLM([Rule(lambda sent: sent.messages[0].content * 50, always=True)], keep=0)
lm = CachedLM(inner, path, on_warning=lambda w: print("warning:", w, flush=True))
async def main():
    for i in range(count):
        texts = [f"{me} {i}", f"shared {i}"]
        answers = await asyncio.gather(*(lm.complete(Request("m", (Message("user", t),))) for t in texts))
        assert [a.text for a in answers] == [t * 50 for t in texts]
        print(i, flush=True)
asyncio.run(main())
lm.close()
print("done", flush=True)
"""


def stored(path: Path) -> tuple[int, int]:
    """Entries, and those whose text is what the writers above make."""
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    texts = [json.loads(value)["text"] for (value,) in db.execute("SELECT value FROM responses")]
    db.close()
    return len(texts), sum(text == text[: len(text) // 50] * 50 for text in texts)


def test_eight_processes_write_at_once(path: Path) -> None:
    writers = [script(WRITER, path, name, 100) for name in "abcdefgh"]
    for writer in writers:
        out, err = writer.communicate(timeout=600)
        assert err == ""
        assert "warning" not in out
        assert out.endswith("done\n")
    assert stored(path) == (900, 900)


def test_eight_processes_find_a_broken_file_at_once(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"broken" * 5000)
    writers = [script(WRITER, path, name, 20) for name in "abcdefgh"]
    for writer in writers:
        out, err = writer.communicate(timeout=300)
        assert err == ""
        assert out.endswith("done\n")
    entries, whole = stored(path)
    assert entries == whole >= 20


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_kill_9_at_any_instant_loses_nothing_that_was_answered(path: Path) -> None:
    for round_ in range(6):
        writer = script(WRITER, path, round_, 100_000)
        assert writer.stdout is not None
        answered = [writer.stdout.readline() for _ in range(3 + 7 * round_)]
        time.sleep(0.003 * round_)
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=300)
        answered += rest.splitlines()
        lm = CachedLM(ScriptedLM([]), path)
        for line in answered:
            asked = Request("m", (Message("user", f"{round_} {int(line)}"),))
            assert asyncio.run(lm.lookup(asked)) is not None
        lm.close()
    entries, whole = stored(path)
    assert entries == whole > 0


def test_a_process_that_holds_the_file_too_long_only_switches_the_cache_off(path: Path) -> None:
    assert trouble(path) == []
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    warnings: list[str] = []
    lm = CachedLM(ScriptedLM("x"), path, on_warning=warnings.append)
    lm._file._patience = 0.1
    assert [answer.text for answer in ask(lm, "new", "newer")] == ["x", "x"]
    lm.close()
    holder.close()
    (warning,) = warnings
    assert "database is locked" in warning


def test_a_call_goes_on_while_another_process_holds_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("promptchain.lm.cache._SLOW", 0.05)
    assert trouble(path) == []
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    lm = CachedLM(ScriptedLM("x"), path)
    lm._file._patience = 300
    assert [ask(lm, text)[0].text for text in ("new", "newer")] == ["x", "x"]
    holder.execute("COMMIT")
    holder.close()
    lm.close()
    assert stored(path)[0] == 4, "they were written as soon as the file was free"
    assert caplog.text == "", "the event loops that had asked for it are closed by then"


def test_the_event_loop_does_not_wait_for_another_process(path: Path) -> None:
    assert trouble(path) == []
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    lm = CachedLM(ScriptedLM("x"), path)

    lm._file._patience = 300

    async def story() -> None:
        task = asyncio.create_task(lm.complete(request("new")))
        for _ in range(30):
            await asyncio.sleep(0.01)
        holder.execute("COMMIT")  # for which the loop must have come round
        assert (await task).text == "x"

    asyncio.run(story())
    lm.close()
    holder.close()
    assert stored(path)[0] == 3


# size


def test_over_its_limit_the_oldest_goes(path: Path) -> None:
    limit = 1_000_000
    inner = ScriptedLM(Response("x" * 5000), keep=0)
    lm = CachedLM(inner, path, limit=limit)
    for i in range(600):
        ask(lm, str(i))
    stats = lm.stats()
    assert 0.7 * limit < stats.bytes < 1.1 * limit
    assert asyncio.run(lm.lookup(request("0"))) is None
    assert asyncio.run(lm.lookup(request("599"))) is not None
    lm.close()
    assert path.stat().st_size < 1.5 * limit


def test_one_answer_larger_than_the_limit_does_no_harm(path: Path) -> None:
    assert trouble(path, limit=10) == []


# the place


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path))
    assert default_cache_path() == tmp_path / "responses.db"
    monkeypatch.delenv("PROMPTCHAIN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_path().name == "responses.db"
    assert "promptchain" in default_cache_path().parts


def test_hits_and_misses_cost_little_time(path: Path) -> None:
    lm = CachedLM(ScriptedLM("ok", keep=0), path)

    async def seconds_each() -> float:
        started = time.process_time()
        for i in range(500):
            await lm.complete(request(str(i)))
        return (time.process_time() - started) / 500

    miss, hit = asyncio.run(seconds_each()), asyncio.run(seconds_each())
    stats = lm.stats()
    lm.close()
    assert isinstance(stats, CacheStats)
    assert (stats.hits, stats.misses) == (500, 500)
    print(f"miss {miss * 1e6:.0f} µs, hit {hit * 1e6:.0f} µs")
    assert max(miss, hit) < 0.01, "measured: below 0.3 ms of the processor"
