"""`chain run` on the embedded model, and on a server that speaks as hosted providers do."""

import os
import socket
from importlib.util import find_spec

import pytest

from promptchain.errors import PromptChainError
from promptchain.lm.weights import find_weights
from tests.loopback import Loopback, Reply
from tests.workspace import DEMO, Workspace

KEY = "sk-a-key-that-nobody-may-see-123456"


def _why_no_model() -> str | None:
    if not find_spec("xllamacpp"):
        return "xllamacpp is not installed"
    try:
        find_weights("local/smollm2")
    except PromptChainError as exc:
        return str(exc)
    return None


@pytest.mark.model
@pytest.mark.skipif(_why_no_model() is not None, reason=_why_no_model() or "")
def test_the_embedded_model_classifies_and_answers(demo: Workspace) -> None:
    demo.write("chains/demo.yaml", DEMO.replace("MODEL", "local/smollm2\nparams: {temperature: 0, max_tokens: 24}"))
    done = demo.run("run", "demo", "My card has not come yet.", "--json")
    assert done.code == 0, done
    record = done.json
    assert record["outputs"]["intent"] in ("card", "refund")
    assert record["outputs"]["reply"].strip()
    assert record["model"] == "local/smollm2"
    assert record["totals"]["calls"] == 3
    assert record["totals"]["completion_tokens"] <= 3 * 24
    noise = [line for line in done.err.splitlines() if not line.startswith("warning: step ")]
    assert noise == []  # llama.cpp is not heard


@pytest.fixture
def hosted(demo: Workspace) -> Workspace:
    """The demo on an OpenAI model whose key is KEY."""
    demo.write("chains/demo.yaml", DEMO.replace("MODEL", "openai/gpt-4o-mini"))
    return demo


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_API_BASE": url}


def test_a_hosted_model_answers(hosted: Workspace) -> None:
    def reply(body: dict[str, object]) -> str:
        return "card" if "Classify" in str(body["messages"]) else "Well."

    with Loopback(reply) as server:
        done = hosted.run("run", "demo", "hi", "--json", env=environment(server.url))
    assert (done.code, done.err) == (0, "")
    record = done.json
    assert record["outputs"] == {"intent": "card", "reply": "Well."}
    assert (record["totals"]["calls"], record["totals"]["prompt_tokens"]) == (3, 33)
    assert 0 < record["totals"]["cost"] < 0.001
    assert {asked.headers["authorization"] for asked in server.requests} == {f"Bearer {KEY}"}
    assert KEY not in done.out


def test_a_wrong_key_is_said_and_never_shown(hosted: Workspace) -> None:
    refusal = Reply(status=401, body={"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid"}})
    with Loopback([refusal]) as server:
        done = hosted.run("run", "demo", "hi", "--save-run", "run.json", env=environment(server.url))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: step 'intent' failed: ")
    assert "  hint: " in done.err
    assert "OPENAI_API_KEY" in done.err
    assert len(server.requests) == 1
    assert "  not run because of it: draft, check" in done.err
    kept = [(hosted.root / "run.json").read_text(), *(path.read_text() for path in hosted.spool.iterdir())]
    assert all("nobody-may-see" not in text for text in (done.err, *kept))


def test_a_refused_connection_names_the_address(hosted: Workspace) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    done = hosted.run("run", "demo", "hi", env=environment(f"http://{address}/v1"))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: step 'intent' failed: ")
    assert address in done.err
    assert "Traceback" not in done.err


def test_a_missing_key_is_said_without_a_call_or_a_wait(hosted: Workspace) -> None:
    done = hosted.run("run", "demo", "hi")
    assert done.code == 1
    assert "openai/gpt-4o-mini needs a key for openai" in done.err
    assert "set OPENAI_API_KEY" in done.err
