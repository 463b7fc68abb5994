"""Searches as steps: of the project's files, of code and of a server, put in order again by a model."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import Fault, InvalidFileError
from promptchain.lm.scripted import ScriptedLM
from promptchain.records import Status, StepRun
from tests.loopback import Loopback, Reply
from tests.steps.kit import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def found(folder: Folder, retrieve: dict[str, Any], lm: ScriptedLM | None = None, **step: Any) -> StepRun:
    spec = {"retrieve": {"query": "tea", **retrieve}, **step}
    return folder.once(spec, lm or ScriptedLM([])).steps["a"]


def texts(step: StepRun) -> list[str]:
    assert step.status is Status.DONE, step.error
    return [passage["text"] for passage in step.value]


# --- code


def test_a_search_of_code_is_given_what_it_takes(folder: Folder) -> None:
    folder.code("""
        def whole(query, top_k, where): return [{"text": f"{query} {top_k} {where}", "source": "s", "rank": 7}]
        def words(question): return [question, "more", "too much"]
    """)
    step = found(folder, {"python": "code:whole", "top_k": 2, "where": {"lang": "en"}})
    assert step.value == [
        {"text": "tea 2 {'lang': 'en'}", "title": "", "source": "s", "line": 1, "score": 1.0, "meta": {"rank": 7}}
    ]
    assert texts(found(folder, {"python": "code:words", "top_k": 2})) == ["tea", "more"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "code:f gave no list of passages"),
        ("[{'title': 'x'}]", "passage 1 of code:f has no text"),
        ("object()", "code:f returned a value of the type object"),
        ("1 / 0", "code.py:2: code:f raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_search_of_code_that_gives_no_passages(returned: str, message: str, folder: Folder) -> None:
    folder.code(f"def f(query):\n    return {returned}\n")
    step = found(folder, {"python": "code:f"})
    assert step.status is Status.FAILED
    assert (step.error or "").startswith(message)


def test_searches_of_code_are_at_most_so_many_at_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptchain.steps.workshop.MAX_CALLS", 3)
    folder.code("""
        import threading, time
        now, most, lock, until = 0, 0, threading.Lock(), time.monotonic() + 60
        def f(query):
            global now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.01)
            while most < 3 and time.monotonic() < until:
                time.sleep(0.01)
            with lock:
                now -= 1
            return [str(most)]
    """)
    step = found(folder, {"python": "code:f"}, for_each="{{ range(30) | list }}")
    assert max(int(item[0]["text"]) for item in step.value) == 3


# --- a server


def test_a_search_of_a_server(folder: Folder) -> None:
    body = {"results": [{"page_content": "one", "score": 0.5, "lang": "en"}, "two", "three"]}
    with Loopback([503, Reply(body=body)]) as server:
        step = found(folder, {"url": f"{server.url}/search", "top_k": 2}, retry=1)
    assert texts(step) == ["one", "two"]
    assert step.value[0]["meta"] == {"lang": "en"}
    assert [asked.body for asked in server.requests] == [{"query": "tea", "top_k": 2, "where": {}}] * 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"hello", "gave no JSON that can be kept: Expecting value"),
        (b"\xff", "gave no JSON that can be kept: 'utf-8' codec"),
        (b"[" * 100_000, "gave no JSON that can be kept: it is nested too deep"),
        (b'[{"text": "a", "score": NaN}]', "gave no JSON that can be kept: nan is not a JSON value"),
        (b'{"text": "a"}', "gave no list of passages"),
    ],
)
def test_a_server_that_answers_nonsense(body: bytes, message: str, folder: Folder) -> None:
    with Loopback([Reply(body=body)]) as server:
        step = found(folder, {"url": server.url}, retry=0)
    assert step.status is Status.FAILED
    assert message in (step.error or "")


def test_a_server_whose_values_are_strange(folder: Folder) -> None:
    body = b'[{"text": "a \\ud800", "score": 1' + b"0" * 400 + b', "line": true}, {"text": "b", "score": true}]'
    with Loopback([Reply(body=body)]) as server:
        step = found(folder, {"url": server.url})
    assert texts(step) == ["a \ufffd", "b"]
    assert [(passage["score"], passage["line"]) for passage in step.value] == [(1.0, 1), (0.5, 1)]
    json.dumps(step.value).encode()


def test_a_server_that_is_not_there(folder: Folder) -> None:
    step = found(folder, {"url": "http://user:secret@127.0.0.1:1/x"}, retry=0)
    assert step.fault is Fault.CONNECTION
    assert (step.error or "").startswith("127.0.0.1:1 cannot be reached")
    assert "secret" not in f"{step.error}{step.hint}"


@pytest.mark.parametrize("url", ["http://[", "http://", "ftp://x/y", "http://a b/", "http://x:y/", "http://x/ä"])
def test_an_address_that_is_none_is_told_before_anything_runs(url: str, folder: Folder) -> None:
    folder.chain("c", {"a": {"retrieve": {"url": url, "query": "x"}}})
    with pytest.raises(InvalidFileError, match="'url' must be"):
        folder.load("c")


def test_requests_to_a_server_are_at_most_so_many_at_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptchain.steps.workshop.MAX_CALLS", 3)
    before, seen = threading.active_count(), []

    def reply(asked: dict[str, Any]) -> Reply:
        seen.append(threading.active_count() - before)
        return Reply(body=["x"], latency=0.01)

    with Loopback(reply) as server:
        found(folder, {"url": server.url}, for_each="{{ range(30) | list }}")
    assert len(seen) == 30
    assert max(seen) <= 3 + 4  # those of the server and of the event loop


# --- files, and their order


PAGES = {"a.md": "# Green\n\nGreen tea.\n", "b.md": "# Black\n\nBlack tea and more tea.\n", "c.md": "# Coffee\n\nNo.\n"}


def pages(folder: Folder) -> None:
    for name, text in PAGES.items():
        path = folder.root / "chains/pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_passages_of_files_are_found_and_told_with_their_fingerprint(folder: Folder) -> None:
    pages(folder)
    step = found(folder, {"from": "pages/*.md"})
    assert {passage["title"] for passage in step.value} == {"Green", "Black"}
    first = step.fingerprint
    assert first
    (folder.root / "chains/pages/c.md").write_text("# Coffee\n\nTea, after all.\n", encoding="utf-8")
    step = found(folder, {"from": "pages/*.md"})
    assert {passage["title"] for passage in step.value} == {"Green", "Black", "Coffee"}
    assert step.fingerprint != first


def test_a_model_puts_the_passages_in_order(folder: Folder) -> None:
    pages(folder)
    plain = texts(found(folder, {"from": "pages/*.md"}))
    lm = ScriptedLM(["[2, 9, 2]"])
    step = found(folder, {"from": "pages/*.md", "rerank": "judge"}, lm)
    assert texts(step) == plain[::-1]
    assert [(call.model, call.error) for call in step.calls] == [("judge", None)]
    assert all(text in lm.requests[0].messages[-1].content for text in plain)


def test_a_model_that_does_not_put_them_in_order_fails_the_step(folder: Folder) -> None:
    pages(folder)
    step = found(folder, {"from": "pages/*.md", "rerank": "judge"}, ScriptedLM(["first", "second", "third"]))
    assert step.status is Status.FAILED
    assert len(step.calls) == 2
