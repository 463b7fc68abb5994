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
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Answer, Caller
from promptchain.lm.embed import LOCAL, EmbeddingLM, cosine, embed
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
    assert [asked.path for asked in server.requests] == ["/v1/embeddings"] * 2, "what repeats is asked once"
    assert sorted(body["input"] for body in server.bodies) == [["four"], ["no"]]
    assert all(not set(body) - {"input", "model", "encoding_format"} for body in server.bodies)
    assert [answer.response.usage.total for answer in answers] == [6, 6]
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
