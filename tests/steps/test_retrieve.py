"""Searches as steps: of the project's files, of code and of a server, put in order again by a model."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import Fault, InvalidFileError
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.protocol import LM
from promptchain.lm.router import Router
from promptchain.lm.scripted import ScriptedLM
from promptchain.records import Status, StepRun
from tests.loopback import Loopback, Reply
from tests.steps.kit import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def found(folder: Folder, retrieve: dict[str, Any], lm: LM | None = None, **step: Any) -> StepRun:
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


# --- conditions


CONDITIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"lang": "{{ lang }}", "kind": "a"}, {"kind": "a"}),
    ({"lang": ["{{ lang }}", "de"]}, {"lang": ["de"]}),
    ({"lang": ["{{ lang }}", "{{ lang }}"]}, {}),
    ({"lang": None, "kind": [None, "{{ lang }}"]}, {"lang": None, "kind": [None]}),
    ({"lang": [], "kind": "{{ [lang] }}"}, {"lang": [], "kind": [None]}),
    ({"lang": "{{ lang | default('de') }}"}, {"lang": "de"}),
]


@pytest.mark.parametrize(("where", "given"), CONDITIONS)
def test_a_condition_whose_template_gives_null_is_left_out(
    where: dict[str, Any], given: dict[str, Any], folder: Folder
) -> None:
    folder.code("import json\ndef f(query, where): return [json.dumps(where)]\n")
    folder.chain(
        "c", {"a": {"retrieve": {"python": "code:f", "query": "x", "where": where}}}, inputs={"lang?": "string"}
    )
    step = folder.run("c", ScriptedLM([]), {"lang": None}).steps["a"]
    assert json.loads(texts(step)[0]) == given


def test_a_condition_of_files_may_be_left_to_who_asks(folder: Folder) -> None:
    folder.chain(
        "c",
        {"a": {"retrieve": {"from": "pages/*.md", "query": "tea", "where": {"lang": "{{ lang }}"}}}},
        inputs={"lang?": "string"},
    )
    for lang in ("de", "en"):
        (folder.root / "chains/pages").mkdir(exist_ok=True)
        (folder.root / f"chains/pages/{lang}.md").write_text(f"---\nlang: {lang}\n---\nTea in {lang}.\n")
    (folder.root / "chains/pages/none.md").write_text("Tea anywhere.\n")
    told = {}
    for lang in (None, "de", "fr"):
        told[lang] = sorted(texts(folder.run("c", ScriptedLM([]), {"lang": lang}).steps["a"]))
    assert told == {None: ["Tea anywhere.", "Tea in de.", "Tea in en."], "de": ["Tea in de."], "fr": []}


def test_a_step_that_a_list_of_conditions_names_comes_first(folder: Folder) -> None:
    folder.code("import json\ndef f(query, where): return [json.dumps(where)]\n")
    search = {"retrieve": {"python": "code:f", "query": "x", "where": {"lang": ["{{ guess }}", "en"]}}}
    folder.chain("c", {"a": search, "guess": "Which language?"}, model="m")
    assert texts(folder.run("c", ScriptedLM(["de"])).steps["a"]) == ['{"lang": ["de", "en"]}']
    folder.chain("d", {"a": {"retrieve": {**search["retrieve"], "where": {"lang": ["{{ gess }}"]}}}})
    with pytest.raises(InvalidFileError, match="gess"):
        folder.load("d")


@pytest.mark.parametrize("number", [2**63, -(2**80), 10**400])
def test_a_condition_with_a_number_of_any_size(number: int, folder: Folder) -> None:
    path = folder.root / "chains/pages/rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(
        f'{{"text": "tea", "n": {number}}}\n{{"text": "tea too", "n": 1}}\n{{"text": "tea", "n": "{number}"}}\n'
    )
    found_ = found(folder, {"from": "pages/*", "where": {"n": number}})
    assert "tea too" not in texts(found_)
    assert texts(found_)


@pytest.mark.parametrize("name", ["", "a\0b", 'a"b'])
def test_a_condition_on_what_is_no_field(name: str, folder: Folder) -> None:
    pages(folder)
    step = found(folder, {"from": "pages/*.md", "where": {name: "x"}})
    assert step.status is Status.FAILED
    assert "'where' cannot have a field of the name" in (step.error or "")


@pytest.mark.parametrize("name", ["a.b", "ä", "a\\b", "[0]", "$", "a'b", "*"])
def test_a_condition_on_a_field_with_a_strange_name(name: str, folder: Folder) -> None:
    path = folder.root / "chains/pages/rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"text": f"tea {v}", name: v}) + "\n" for v in "xy"))
    assert texts(found(folder, {"from": "pages/*", "where": {name: "x"}})) == ["tea x"]


@pytest.mark.parametrize("key", ["mode", "embedder", "split"])
def test_what_is_for_files_alone_is_told_before_anything_runs(key: str, folder: Folder) -> None:
    values = {"mode": "dense", "embedder": "x/y", "split": {"size": 500}}
    folder.chain("c", {"a": {"retrieve": {"url": "http://127.0.0.1:1/", "query": "x", key: values[key]}}})
    with pytest.raises(InvalidFileError, match=f"'{key}' is of searches of files"):
        folder.load("c")


# --- vectors of a hosted model


EMBEDDER = "openai/text-embedding-3-small"


def embedded(body: dict[str, Any]) -> Reply:
    data = [
        {"object": "embedding", "index": i, "embedding": [text.count("e"), text.count("a"), 1.0]}
        for i, text in enumerate(body["input"])
    ]
    return Reply(body={"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}})


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    pytest.importorskip("usearch")
    with Loopback(embedded, latency=0.02) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-5ecr3t-0123456789")
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        yield server


def test_passages_are_embedded_many_at_once_and_the_record_counts_requests(folder: Folder, hosted: Loopback) -> None:
    pages(folder)
    step = found(folder, {"from": "pages/*.md", "mode": "dense", "embedder": EMBEDDER}, Router())
    assert texts(step)
    assert [len(body["input"]) for body in hosted.bodies] == [3, 1]
    assert [(call.purpose, call.prompt_tokens, call.cached) for call in step.calls] == [("embed", 9, False)] * 2
    assert step.calls[1].started > step.calls[0].started


def test_what_a_cache_has_is_no_cost_again(folder: Folder, hosted: Loopback, tmp_path: Path) -> None:
    pages(folder)
    lm = CachedLM(Router(), tmp_path / "responses.db")
    search = {"from": "pages/*.md", "mode": "dense", "embedder": EMBEDDER}
    first = folder.once({"retrieve": {"query": "tea", **search}}, lm).totals
    shutil.rmtree(folder.root / ".promptchain")
    (folder.root / "chains/pages/d.md").write_text("# Another\n\nCocoa.\n")
    again = folder.once({"retrieve": {"query": "tea", **search}}, lm)
    lm.close()
    assert (first.calls, first.prompt_tokens) == (2, 18)
    assert [(call.cached, call.prompt_tokens) for call in again.steps["a"].calls] == [(False, 9), (True, 9), (True, 9)]
    assert (again.totals.calls, again.totals.prompt_tokens) == (1, 9)


def test_searches_share_the_places_in_flight_of_the_command(folder: Folder, hosted: Loopback) -> None:
    pages(folder)
    step = {"retrieve": {"query": "{{ item }}", "from": "pages/*.md", "mode": "dense", "embedder": EMBEDDER}}
    folder.once({**step, "for_each": "{{ range(40) | map('string') | list }}"}, Router())
    assert len(hosted.requests) == 41
    assert hosted.peak <= 16


def test_a_ceiling_that_refuses_a_vector_is_known_to_the_command(folder: Folder, hosted: Loopback) -> None:
    """So that what comes of it is not taken for a result."""
    pages(folder)
    step = {"retrieve": {"query": "{{ item }}", "from": "pages/*.md", "mode": "dense", "embedder": EMBEDDER}}
    loop = {"in": "{{ ['a', 'b', 'c'] }}", "on_error": "skip", "concurrency": 1}
    run = folder.once({**step, "for_each": loop}, Router(), budget=Budget(calls=2))
    assert len(hosted.requests) == 2
    assert run.status is Status.FAILED
    assert "--max-calls 2 leaves no room" in (run.error or "")


def test_tries_that_failed_are_in_the_record(folder: Folder, hosted: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    pages(folder)
    with Loopback([503]) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        step = found(folder, {"from": "pages/*.md", "mode": "dense", "embedder": EMBEDDER}, Router(), retry=1)
    assert (step.fault, len(server.requests)) == (Fault.SERVER, 2)
    assert [(call.purpose, bool(call.error)) for call in step.calls] == [("embed", True)] * 2


def test_the_models_of_a_search_are_those_of_the_plan(folder: Folder) -> None:
    pages(folder)
    folder.chain("c", {"a": {"retrieve": {"from": "pages/*.md", "query": "x", "mode": "hybrid", "embedder": EMBEDDER,
                                          "rerank": "judge"}}})  # fmt: skip
    bound = folder.bind("c", ScriptedLM([]))
    assert bound.models == (EMBEDDER, "judge")
    assert bound.calls == 2


# --- what else a search may be


def test_a_function_that_takes_anything_is_given_all(folder: Folder) -> None:
    folder.code("def f(**more): return [' '.join(sorted(more))]\n")
    assert texts(found(folder, {"python": "code:f"})) == ["query top_k where"]


def test_a_name_in_the_address_goes_as_the_header_that_it_stands_for(folder: Folder) -> None:
    with Loopback([Reply(body=["x"])]) as server:
        step = found(folder, {"url": f"http://me:p%40ss@127.0.0.1:{server.port}/q"})
    assert texts(step) == ["x"]
    assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert server.requests[0].path == "/q"


def test_an_index_is_closed_with_the_event_loop(folder: Folder) -> None:
    pages(folder)
    assert texts(found(folder, {"from": "pages/*.md"}))
    assert not [one for one in threading.enumerate() if one.name.startswith("promptchain-corpus")]


def test_a_search_that_fails_leaves_nothing_open(folder: Folder) -> None:
    pages(folder)
    (folder.root / "chains/pages/c.md").unlink()
    for name in ("a", "b"):
        (folder.root / f"chains/pages/{name}.md").write_bytes(b"\xff")
    for _ in range(3):
        assert found(folder, {"from": "pages/*.md"}).status is Status.FAILED
    assert not [one for one in threading.enumerate() if one.name.startswith("promptchain-corpus")]


def test_what_a_ranking_model_says_is_no_text_of_the_step(folder: Folder) -> None:
    pages(folder)
    folder.chain("c", {"a": {"retrieve": {"from": "pages/*.md", "query": "tea", "rerank": "judge"}}})
    told: list[Any] = []
    folder.run("c", ScriptedLM(["[2, 1]"]), observe=told.append, stream=True)
    assert [type(event).__name__ for event in told] == ["StepStarted", "StepEnded"]


@pytest.mark.parametrize(
    ("query", "sent"), [("{{ [true, 'x'] }}", '[true, "x"]'), ("{{ {'a': none} }}", '{"a": null}')]
)
def test_a_query_that_is_no_text_is_written_as_in_a_template(query: str, sent: str, folder: Folder) -> None:
    folder.code("def f(query): return [query]\n")
    assert texts(found(folder, {"python": "code:f", "query": query})) == [sent]


@pytest.mark.parametrize("value", [{"a": 1}, ["x", {"a": 1}], [["x"]]])
def test_a_condition_that_is_none_is_told_before_anything_runs(value: Any, folder: Folder) -> None:
    pages(folder)
    folder.chain("c", {"a": {"retrieve": {"from": "pages/*.md", "query": "x", "where": {"f": value}}}})
    with pytest.raises(InvalidFileError, match="a field is compared with a value or a list of values, not with a"):
        folder.load("c")
    folder.code("def f(query, where): return [str(where)]\n")
    assert texts(found(folder, {"python": "code:f", "where": {"f": {"a": 1}}})) == ["{'f': {'a': 1}}"]
