"""Embeddings: hosted ones against a loopback server, the local ones with the real package where it is installed."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promptchain import parts
from promptchain.errors import BudgetError, Fault, ModelError, UsageError
from promptchain.lm import catalog
from promptchain.lm import embed as embedding
from promptchain.lm import litellm_wire as wire
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Answer, Caller
from promptchain.lm.embed import LOCAL, EmbeddingLM, cosine, embed
from promptchain.lm.ledger import Ledger
from promptchain.lm.protocol import LM
from promptchain.lm.router import Router
from promptchain.lm.scripted import Rule, ScriptedLM
from tests.loopback import Loopback, Reply

HOSTED = "openai/text-embedding-3-small"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name for provider in catalog.PROVIDERS.values() for group in provider.keys for name in group}:
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-5ecr3t-0123456789")


def vectors_of(
    model: str, texts: Sequence[str], lm: LM, budget: Budget | None = None
) -> tuple[list[list[float]], tuple[Answer, ...]]:
    async def ask() -> tuple[list[list[float]], tuple[Answer, ...]]:
        caller = Caller(EmbeddingLM(lm), budget=budget, sleep=lambda _: asyncio.sleep(0))
        return await embed(model, texts, caller, timeout=30)

    return asyncio.run(ask())


def served(body: dict[str, Any]) -> Reply:
    """The length of the text, and one."""
    data = [{"object": "embedding", "index": i, "embedding": [len(text), 1.0]} for i, text in enumerate(body["input"])]
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    return Reply(body={"object": "list", "data": data, "model": "m", "usage": usage})


# --- hosted


def test_a_hosted_model_gives_vectors_and_says_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        vectors, answers = vectors_of(HOSTED, ["four", "no", "four"], Router())
    assert vectors == [[4.0, 1.0], [2.0, 1.0], [4.0, 1.0]]
    assert [asked.path for asked in server.requests] == ["/v1/embeddings"]
    assert server.bodies[0]["input"] == ["four", "no"], "what repeats is asked once"
    assert not set(server.bodies[0]) - {"input", "model", "encoding_format"}
    assert [answer.response.usage.total for answer in answers] == [6]
    price = catalog.capabilities(HOSTED).price
    assert price is not None
    assert answers[0].response.cost == pytest.approx(6 * price.prompt)


def test_vectors_are_kept_in_the_response_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = CachedLM(Router(), tmp_path / "responses.db")
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        first, _ = vectors_of(HOSTED, ["four"], lm)
        again, answers = vectors_of(HOSTED, ["four"], lm, Budget(calls=0))
    lm.close()
    assert first == again == [[4.0, 1.0]]
    assert len(server.requests) == 1
    assert answers[0].response.cached


def inputs(server: Loopback) -> list[list[str]]:
    return [body["input"] for body in server.bodies]


def test_many_texts_go_in_few_requests_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MAX_TEXTS", 3)
    monkeypatch.setattr(embedding, "MAX_CHARACTERS", 20)

    def turned(body: dict[str, Any]) -> Reply:
        reply = served(body)
        assert isinstance(reply.body, dict)
        return Reply(body={**reply.body, "data": reply.body["data"][::-1]})

    texts = ["a", "bb", "ccc", "dddd", "e" * 17, "f" * 30, "g" * 18]
    budget = Budget(tokens=10_000)
    with Loopback(turned) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        vectors, _ = vectors_of(HOSTED, texts, Router(), budget)
    assert [vector[0] for vector in vectors] == [len(text) for text in texts]
    assert sorted(inputs(server)) == [texts[:3], [texts[3]], [texts[4]], [texts[5]], [texts[6]]]
    assert (budget.spent.calls, budget.spent.tokens) == (5, 30)
    assert vectors_of(HOSTED, [], Router()) == ([], ())


def test_each_text_of_a_request_is_kept_by_itself_with_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = CachedLM(Router(), tmp_path / "responses.db")
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        _, (whole,) = vectors_of(HOSTED, ["a" * 9, "b", "cc"], lm)
        again, answers = vectors_of(HOSTED, ["cc", "new", "b", "a" * 9], lm)
    lm.close()
    assert inputs(server) == [["a" * 9, "b", "cc"], ["new"]]
    assert [vector[0] for vector in again] == [2, 3, 1, 9]
    kept = [answer.response for answer in answers if answer.response.cached]
    assert sorted(response.usage.prompt_tokens for response in kept) == [1, 1, 4]
    assert whole.response.cost
    assert sum(response.cost or 0 for response in kept) == pytest.approx(whole.response.cost)


def test_the_books_do_not_depend_on_what_a_cache_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = CachedLM(Router(), tmp_path / "responses.db")
    books = [Ledger(lm), Ledger(lm), Ledger(Router())]
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        for ledger in books:
            vectors_of(HOSTED, ["a", "bb", "a"], ledger)
    lm.close()
    assert len(server.requests) == 2
    assert [(ledger.total.calls, ledger.total.tokens) for ledger in books] == [(2, 6)] * 3
    assert len({ledger.total.cost for ledger in books}) == 1


def test_a_request_that_is_refused_is_made_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider may take fewer texts at once, and says so in words only."""
    with Loopback(lambda body: served(body) if len(body["input"]) <= 2 else 400) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        vectors, answers = vectors_of(HOSTED, ["a", "bb", "ccc", "dddd", "eeeee"], Router())
    assert [vector[0] for vector in vectors] == [1, 2, 3, 4, 5]
    assert len(answers) == 3
    assert [len(some) for some in inputs(server)] == [5, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "(text 3 of 4: 'bad words, and many more of them, too m…')"),
        (503, "(tried 4 times) (4 of 4 texts, from number 1 on: 'a')"),
        (401, "(4 of 4 texts, from number 1 on: 'a')"),
    ],
)
def test_of_many_texts_it_says_which_ones_failed(status: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a", "b", "bad words,\nand many more of them, too many to show", "d"]
    with Loopback(lambda body: status if any("bad" in text for text in body["input"]) else served(body)) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        with pytest.raises(ModelError) as raised:
            vectors_of(HOSTED, texts, Router())
    assert raised.value.message.endswith(said)


def test_as_many_vectors_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [1.0]}]
    with Loopback([Reply(body={"object": "list", "data": data, "model": "m"})]) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        with pytest.raises(ModelError, match="1 embeddings for 2 texts") as raised:
            vectors_of(HOSTED, ["a", "b"], Router())
    assert raised.value.fault is Fault.BAD_RESPONSE


def test_a_ceiling_that_has_no_room_for_all_texts_at_once_may_have_it_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number} {'word ' * 6}" for number in range(4)]
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        budget = Budget(tokens=150)
        vectors, _ = vectors_of(HOSTED, texts, Router(), budget)
    assert len(vectors) == 4
    assert sorted(map(len, inputs(server))) == [1, 1, 1, 1]
    assert budget.spent.tokens == 24


def test_ceilings_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(served) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        budget = Budget(cost=1.0, tokens=200)
        vectors_of(HOSTED, ["four"], Router(), budget)
        assert (budget.spent.calls, budget.spent.tokens) == (1, 6)
        with pytest.raises(BudgetError, match="--max-tokens 200 leaves no room"):
            vectors_of(HOSTED, ["word " * 50], Router(), budget)
        with pytest.raises(UsageError, match="the price of openai/mine is not known"):
            vectors_of("openai/mine", ["four"], Router(), budget)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "fault", "asked"),
    [
        (Reply(status=401, body={"error": {"message": "no such key"}}), Fault.AUTH, 1),
        (503, Fault.SERVER, 4),
        (Reply(body={"object": "list", "data": [], "model": "m"}), Fault.BAD_RESPONSE, 1),
        (Reply(body="<html>"), Fault.BAD_RESPONSE, 1),
    ],
)
def test_errors_are_those_of_any_call(
    reply: Reply | int, fault: Fault, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Loopback([reply]) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        with pytest.raises(ModelError) as raised:
            vectors_of(HOSTED, ["four"], Router())
    assert (raised.value.fault, len(server.requests)) == (fault, asked)
    assert "\n" not in raised.value.message


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelError, match="needs a key") as raised:
        vectors_of(HOSTED, ["four"], Router())
    assert raised.value.fault is Fault.AUTH


# --- scripted


def test_a_script_may_answer() -> None:
    lm = ScriptedLM({"cat": "[1, 0]", "dog": "[0.5, 0.5]"})
    assert vectors_of("scripted/x", ["cat", "dog"], lm)[0] == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("reply", ["no", "{}", "[]", '["a"]', "[true]", "[1e999]", "[NaN]"])
def test_what_is_no_vector_is_an_error(reply: str) -> None:
    with pytest.raises(ModelError, match="scripted/x gave no embedding"):
        vectors_of("scripted/x", ["cat"], ScriptedLM(reply))


def test_vectors_of_different_lengths_are_an_error() -> None:
    with pytest.raises(ModelError, match="different lengths"):
        vectors_of("scripted/x", ["cat", "dog"], ScriptedLM({"cat": "[1, 0]", "dog": "[1]"}))


def test_none_is_left_under_way_when_another_fails() -> None:
    lm = ScriptedLM([Rule("nonsense" * 9, contains="a"), Rule("[1]", contains="b", delay=0.02)])
    with pytest.raises(ModelError):
        vectors_of("scripted/x", ["a", "b"], lm)
    assert len(lm.requests) == 2


# --- local


@pytest.mark.model
def test_wordllama_runs_without_a_network_and_leaves_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordllama")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    texts = ["Where is my card?", "my card has not come yet", "I like green tea", ""]
    (card, late, tea, empty), answers = vectors_of(LOCAL, texts, Router(), Budget(cost=0.0))
    assert cosine(card, late) > 0.3 > cosine(card, tea)
    assert len(empty) == len(card) == 256
    assert cosine(card, empty) == 0.0
    assert [answer.response.cost for answer in answers] == [0.0] * 4
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from promptchain.lm.embed import _wordllama

    _wordllama.cache_clear()
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(ModelError) as raised:
        vectors_of(LOCAL, ["a"], ScriptedLM([]))
    assert raised.value.fault is Fault.NOT_INSTALLED
    assert "promptchain[rag]" in str(raised.value.hint)


def test_another_local_model_makes_none() -> None:
    with pytest.raises(ModelError, match="local/smollm2 makes no embeddings") as raised:
        vectors_of("local/smollm2", ["a"], ScriptedLM([]))
    assert raised.value.hint == "use local/wordllama"


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [([1, 0], [2, 0], 1), ([1, 0], [0, 3], 0), ([1, 1], [-1, -1], -1), ([0, 0], [1, 0], 0), ([3, 4], [4, 3], 0.96)],
)
def test_cosine(one: list[float], other: list[float], near: float) -> None:
    assert cosine(one, other) == pytest.approx(near)


def test_litellm_is_not_imported_for_a_local_model() -> None:
    assert json.loads(run_apart("local/smollm2")) == []


def run_apart(model: str) -> str:
    import subprocess

    code = f"""
import asyncio, json, sys
from promptchain.errors import ModelError
from promptchain.lm.calls import Caller
from promptchain.lm.embed import EmbeddingLM, embed
from promptchain.lm.router import Router
try:
    asyncio.run(embed({model!r}, ["a"], Caller(EmbeddingLM(Router()))))
except ModelError:
    pass
print(json.dumps([name for name in ("litellm", "numpy", "wordllama") if name in sys.modules]))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout


def test_retrieval_means_the_same_local_model() -> None:
    """Both spell its name, for `lm` stands alone."""
    assert parts.LOCAL_EMBEDDER == LOCAL


@pytest.mark.parametrize("spoilt", [[], [1.0, float("nan")], [float("inf"), 0.0]])
def test_what_is_no_vector_is_a_bad_answer(spoilt: list[float]) -> None:
    """Else it would be kept, and given for ever."""
    with pytest.raises(ValueError, match="empty, or has a number that is none"):
        wire.vectors([{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": spoilt}], 2)
