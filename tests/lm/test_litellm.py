import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promptchain.errors import RETRYABLE, Fault, ModelError
from promptchain.lm import catalog
from promptchain.lm import litellm_wire as wire
from promptchain.lm.litellm import LiteLLM, check
from promptchain.lm.litellm_wire import is_closed
from promptchain.lm.protocol import (
    PLACE,
    Finish,
    Media,
    Message,
    OnText,
    Request,
    Response,
    ToolCall,
    ToolSpec,
    Usage,
)
from tests.loopback import Fate, Loopback, Reply
from tests.patience import PATIENCE

KEY = "sk-test-5ecr3t-0123456789"
MODEL = "openai/test-model"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, no endpoints, no proxies."""
    names = {name for provider in catalog.PROVIDERS.values() for group in provider.keys for name in group}
    names |= {"OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"}
    for name in names | {"http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def lm() -> Iterator[LiteLLM]:
    made = LiteLLM()
    yield made
    made.close()


def ask(
    server: Loopback | str, *, model: str = MODEL, schema: Mapping[str, Any] | None = None, **params: Any
) -> Request:
    base = server if isinstance(server, str) else server.url
    return Request(model, (Message("system", "be brief"), Message("user", "hi")), {"api_base": base, **params}, schema)


def complete(request: Request, on_text: OnText | None = None) -> Response:
    return asyncio.run(asyncio.wait_for(LiteLLM().complete(request, on_text), 60))


def fail(request: Request, on_text: OnText | None = None) -> ModelError:
    """The error of a call that fails; whatever it says, it says no secret and is one sentence."""
    with pytest.raises(ModelError) as raised:
        complete(request, on_text)
    error = raised.value
    assert KEY not in f"{error} {error.hint}"
    assert error.model == request.model
    assert "\n" not in error.message
    assert not error.message.endswith(".")
    assert "litellm" not in error.message
    assert len(error.message) < 450
    return error


def body(message: str, kind: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


# --- answers --------------------------------------------------------------------------------------------------------


def test_answers() -> None:
    with Loopback([Reply("Paris", usage=(12, 3), cached=5)], latency=0.05) as server:
        response = complete(ask(server, temperature=0, max_tokens=9, stream=True, num_retries=3))
    assert (response.text, response.finish, response.usage) == ("Paris", Finish.STOP, Usage(12, 3, 5))
    assert response.cost is None
    assert not response.cached
    assert 0.05 < response.latency < 60
    (asked,) = server.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "test-model",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "temperature": 0,
        "max_tokens": 9,
    }


def test_streams_pieces_as_they_come() -> None:
    pieces: list[str] = []
    taken = threading.Event()

    def take(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 3:
            taken.set()  # only then comes the end of the stream

    with Loopback([Reply("one two three", usage=(12, 3), cached=5, taken=taken)]) as server:
        response = complete(ask(server), take)
        assert taken.is_set()
    assert pieces == ["one", " two", " three"]
    assert (response.text, response.finish, response.usage) == ("one two three", Finish.STOP, Usage(12, 3, 5))
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


TOLD = {"content": [{"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": []},
                    {"token": "b", "logprob": -1.5, "bytes": [98], "top_logprobs": []}]}  # fmt: skip


def test_log_probabilities_are_read_where_they_are_told() -> None:
    message = {"role": "assistant", "content": "ab"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": TOLD}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    with Loopback([Reply(body=whole), Reply("ab")]) as server:
        assert complete(ask(server, logprobs=True)).logprobs == (-0.25, -1.5)
        assert complete(ask(server, logprobs=True)).logprobs == ()
    assert server.bodies[0]["logprobs"] is True


def test_log_probabilities_of_a_stream() -> None:
    common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told = [{"content": [token]} for token in TOLD["content"]]
    choices = [
        {"index": 0, "delta": {"content": "a"}, "finish_reason": None, "logprobs": told[0]},
        {"index": 0, "delta": {"content": "b"}, "finish_reason": None, "logprobs": told[1]},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    events = [json.dumps(common | {"choices": [choice]}) for choice in choices] + ["[DONE]"]
    stream = "".join(f"data: {event}\n\n" for event in events)
    with Loopback([Reply(body=stream, headers={"Content-Type": "text/event-stream"})]) as server:
        response = complete(ask(server, logprobs=True), lambda _: None)
    assert (response.text, response.logprobs) == ("ab", (-0.25, -1.5))


def test_an_error_of_the_listener_is_the_listeners() -> None:
    def take(piece: str) -> None:
        raise KeyError(piece)

    with Loopback([Reply("one two")]) as server, pytest.raises(KeyError, match="one"):
        complete(ask(server), take)


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("sent", "finish"),
    [("stop", Finish.STOP), ("length", Finish.LENGTH), ("content_filter", Finish.FILTER), ("eos", Finish.STOP)],
)
def test_finish(sent: str, finish: Finish, on_text: OnText | None) -> None:
    with Loopback([Reply("a b", finish=sent)]) as server:
        assert complete(ask(server), on_text).finish is finish


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
@pytest.mark.parametrize("text", ["", None])
def test_an_empty_answer_is_an_answer(text: str | None, on_text: OnText | None) -> None:
    with Loopback([Reply(text)]) as server:
        assert complete(ask(server), on_text).text == ""


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
def test_cost_counts_cached_tokens(on_text: OnText | None) -> None:
    with Loopback([Reply(usage=(1000, 100), cached=400)]) as server:
        response = complete(ask(server, model="openai/gpt-4o"), on_text)
    assert response.cost == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 100 * 1e-5)


CLOSED = {
    "title": "An answer",
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_schema() -> None:
    with Loopback(['{"n": 1}']) as server:
        complete(ask(server, schema=CLOSED))
        complete(ask(server, schema=OPEN))
    first, second = (asked["response_format"] for asked in server.bodies)
    assert first["json_schema"] == {"name": "An_answer", "strict": True, "schema": CLOSED}
    assert second["json_schema"] == {"name": "reply", "strict": False, "schema": OPEN}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (CLOSED, True),
        (OPEN, False),
        ({"type": "string"}, True),
        ({"type": "array", "items": OPEN}, False),
        ({"anyOf": [CLOSED, OPEN]}, False),
        ({"$defs": {"a": OPEN}, "type": "string"}, False),
        ({**CLOSED, "properties": {"n": OPEN}}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "properties": {"properties": {"type": "string"}}, "required": ["properties"]}, True),
        ({"type": ["object", "null"]}, False),
    ],
)
def test_is_closed(schema: dict[str, Any], closed: bool) -> None:
    assert is_closed(schema) is closed


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with Loopback() as server:
        assert complete(ask(server)).text == "ok"
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        assert complete(Request(MODEL, (Message("user", "hi"),))).text == "ok"
    assert server.requests[0].headers["authorization"] == "Bearer none"


# --- errors ---------------------------------------------------------------------------------------------------------

ERRORS: list[tuple[str, Reply, Fault, str, str | None]] = [
    (
        "key",
        Reply(status=401, body=body(f"Incorrect API key provided: {KEY}.", "invalid_request_error", "invalid_api_key")),
        Fault.AUTH,
        "openai refused the key (401): Incorrect API key provided: ***",
        "set OPENAI_API_KEY to a valid key",
    ),
    ("forbidden", Reply(status=403, body=body("no")), Fault.AUTH, "openai refused the key (403): no", "OPENAI_API_KEY"),
    (
        "key in a 400",
        Reply(status=400, body=body("API key not valid", "INVALID_ARGUMENT")),
        Fault.AUTH,
        "(400): API key not valid",
        "OPENAI_API_KEY",
    ),
    (
        "quota",
        Reply(status=429, body=body("You exceeded your current quota.", "insufficient_quota", "insufficient_quota")),
        Fault.AUTH,
        "the quota of openai is used up (429): You exceeded your current quota",
        "look at plan and billing of the account behind OPENAI_API_KEY",
    ),
    (
        "model",
        Reply(
            status=404, body=body("The model `test-model` does not exist", "invalid_request_error", "model_not_found")
        ),
        Fault.UNKNOWN_MODEL,
        "openai has no model 'test-model' (404): The model `test-model` does not exist",
        "see whether http://127.0.0.1:",
    ),
    ("path", Reply(status=404, body="<html>Not Found</html>"), Fault.UNKNOWN_MODEL, "'test-model' (404)", "is right"),
    ("limit", Reply(status=429, body=body("slow down")), Fault.RATE_LIMIT, "(429): slow down", "lower --concurrency"),
    (
        "context",
        Reply(status=400, body=body("This model's maximum context length is 10 tokens.", "invalid_request_error")),
        Fault.CONTEXT,
        "the prompt is too long for openai/test-model (400): This model's maximum context length is 10 tokens",
        "shorten the input",
    ),
    ("too large", Reply(status=413, body=body("Request too large")), Fault.CONTEXT, "(413)", "shorten"),
    (
        "policy",
        Reply(status=400, body=body("Not allowed", "invalid_request_error", "content_policy_violation")),
        Fault.REFUSED,
        "openai refused the content (400): Not allowed",
        None,
    ),
    (
        "request",
        Reply(status=400, body=body("Invalid 'temperature'", "invalid_request_error")),
        Fault.BAD_REQUEST,
        "openai refused the request (400): Invalid 'temperature'",
        "see params of the step",
    ),
    (
        "litellm takes it for a rate limit",
        Reply(status=400, body=body("Unknown parameter: rate_limit", "invalid_request_error")),
        Fault.BAD_REQUEST,
        "openai refused the request (400): Unknown parameter: rate_limit",
        None,
    ),
    ("unprocessable", Reply(status=422, body={"detail": "n must be 1"}), Fault.BAD_REQUEST, "(422): n must be 1", None),
    ("time", Reply(status=408, body=body("late")), Fault.TIMEOUT, "openai took too long (408): late", None),
    (
        "500",
        Reply(status=500, body=body("The server had an error.")),
        Fault.SERVER,
        "openai failed (500): The server",
        None,
    ),
    ("502", Reply(status=502, body="<html>\n<h1>502</h1></html>"), Fault.SERVER, "openai failed (502)", None),
    ("503", Reply(status=503, body="busy\nvery"), Fault.SERVER, "openai failed (503): busy", None),
    ("504", Reply(status=504, body=""), Fault.SERVER, "openai failed (504)", None),
    ("529", Reply(status=529, body=body("Overloaded", "overloaded_error")), Fault.SERVER, "(529): Overloaded", None),
    ("no JSON", Reply(body="hello"), Fault.BAD_RESPONSE, "openai sent no valid completion", "api_base"),
    (
        "HTML",
        Reply(body="<html>hi", headers={"Content-Type": "text/html"}),
        Fault.BAD_RESPONSE,
        "openai sent no valid completion",
        "api_base",
    ),
    (
        "half of JSON",
        Reply(body='{"id": "x", "choices": ['),
        Fault.BAD_RESPONSE,
        "openai sent no valid completion",
        "api_base",
    ),
    ("no choices", Reply(body={"id": "x"}), Fault.BAD_RESPONSE, "openai sent no valid completion", "api_base"),
    (
        "empty choices",
        Reply(body={"id": "x", "choices": []}),
        Fault.BAD_RESPONSE,
        "openai sent no valid completion",
        "api_base",
    ),
    ("a list", Reply(body="[1]"), Fault.BAD_RESPONSE, "openai sent no valid completion", "api_base"),
    (
        "an error with status 200",
        Reply(body=body("oh no")),
        Fault.BAD_RESPONSE,
        "openai sent no valid completion",
        "api_base",
    ),
    ("cut off", Reply("a b c d e f", fate=Fate.CUT), Fault.CONNECTION, "before the reply was complete", None),
]


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("reply", "fault", "message", "hint"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_errors(reply: Reply, fault: Fault, message: str, hint: str | None, on_text: OnText | None) -> None:
    with Loopback([reply]) as server:
        error = fail(ask(server), on_text)
    assert error.fault is fault
    assert message in error.message
    assert hint is None or hint in (error.hint or "")
    assert error.status == (None if reply.status == 200 else reply.status)
    assert error.retryable is (fault in RETRYABLE)
    assert len(server.requests) == 1  # no retries of litellm's own


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({}, None, None),
        ({"Retry-After": "2"}, 2, 2),
        ({"Retry-After": "0.5"}, 0.5, 0.5),
        ({"retry-after-ms": "150", "Retry-After": "1"}, 0.15, 0.15),
        ({"Retry-After": "soon"}, None, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"Retry-After": "FUTURE"}, 25, 30),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(headers: dict[str, str], low: float | None, high: float | None, status: int) -> None:
    future = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    headers = {name: future if value == "FUTURE" else value for name, value in headers.items()}
    with Loopback([Reply(status=status, headers=headers, body=body("wait"))]) as server:
        wait = fail(ask(server)).retry_after
    assert wait is None if low is None or high is None else wait is not None and low <= wait <= high


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ({"message": "boom", "code": 500}, Fault.SERVER),
        ({"message": "boom", "type": "overloaded_error"}, Fault.SERVER),
        ({"message": "boom", "code": "rate_limit_exceeded"}, Fault.RATE_LIMIT),
        ({"message": "boom"}, Fault.SERVER),
    ],
)
def test_an_error_within_a_stream(event: dict[str, Any], fault: Fault) -> None:
    pieces: list[str] = []
    with Loopback([Reply("a b", stream_error=event)]) as server:
        error = fail(ask(server), pieces.append)
    assert error.fault is fault
    assert "boom" in error.message
    assert pieces == ["a", " b"]


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
def test_refused_connection(on_text: OnText | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = fail(ask(f"http://127.0.0.1:{port}/v1"), on_text)
    assert error.fault is Fault.CONNECTION
    assert error.message == f"cannot connect to 127.0.0.1:{port}: connection refused"
    assert error.hint == "is the server running, and api_base right?"


@pytest.mark.parametrize("base", ["nowhere", "ftp://host/v1", "http://host:port/v1", "http://[::1/v1", "http:///v1", 1])
def test_an_endpoint_that_is_no_address(base: Any) -> None:
    error = fail(Request(MODEL, (Message("user", "hi"),), {"api_base": base}))
    assert error.fault is Fault.BAD_REQUEST
    assert error.message == f"api_base {base!r} is no address"
    assert str(check(MODEL, {"api_base": base})) == str(error)


def test_unknown_host() -> None:
    error = fail(ask("http://no-such-host.invalid/v1"))
    assert error.fault is Fault.CONNECTION
    assert error.message == "cannot connect to no-such-host.invalid:80: unknown host"


def test_a_time_limit_of_the_users_own() -> None:
    with Loopback([Reply(fate=Fate.HANG)]) as server:
        error = fail(ask(server, timeout=0.2))
    assert error.fault is Fault.TIMEOUT


@pytest.mark.parametrize("model", ["no-such-model", "nobody/no-such-model"])
def test_unknown_provider(model: str) -> None:
    error = fail(Request(model, (Message("user", "hi"),)))
    assert error.fault is Fault.UNKNOWN_MODEL
    assert error.message == f"no provider is known for the model '{model}'"
    assert (error.hint or "").startswith("write provider/model, for example ")


def test_a_misspelt_model_of_the_providers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import litellm

    with Loopback([404]) as server:
        monkeypatch.setattr(litellm, "api_base", server.url)  # what litellm takes for the provider's own address
        error = fail(Request("openai/gpt-4oo", (Message("user", "hi"),)))
    assert error.fault is Fault.UNKNOWN_MODEL
    assert error.hint == "did you mean 'openai/gpt-4o'?"


def test_unsupported_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    with Loopback() as server:
        error = fail(ask(server, model="anthropic/claude-opus-4-6", seed=3))
    assert error.fault is Fault.BAD_REQUEST
    assert "'seed'" in error.message
    assert not server.requests


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503, 529, 400])
def test_errors_of_a_provider_with_a_client_of_its_own(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    sent = {"type": "error", "error": {"type": "some_error", "message": "the sentence"}}
    with Loopback([Reply(status=status, body=sent, headers={"Retry-After": "3"})]) as server:
        error = fail(ask(server, model="anthropic/claude-opus-4-6"))
    kinds = {401: Fault.AUTH, 404: Fault.UNKNOWN_MODEL, 429: Fault.RATE_LIMIT, 400: Fault.BAD_REQUEST}
    assert error.fault is kinds.get(status, Fault.SERVER)
    assert error.message.endswith(f"({status}): the sentence")
    assert error.retry_after == (3 if error.retryable else None)


def test_an_answer_that_litellm_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    with Loopback() as server:  # it speaks OpenAI's dialect
        error = fail(ask(server, model="anthropic/claude-opus-4-6"))
    assert error.fault is Fault.BAD_RESPONSE


def test_a_refusal() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help."}
    answer = {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with Loopback([Reply(body=answer)]) as server:
        error = fail(ask(server))
    assert (error.fault, error.message) == (Fault.REFUSED, "openai/test-model refused: I cannot help")


# --- what happens without litellm -----------------------------------------------------------------------------------


def run_python(code: str, **environment: str) -> tuple[str, float]:
    """Standard output of a fresh interpreter, which must end well and say nothing else, and its seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-W", "error", "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, time.perf_counter() - started


def test_a_missing_key_is_found_before_the_slow_import() -> None:
    code = """
import asyncio, sys
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.protocol import Message, Request
try:
    asyncio.run(LiteLLM().complete(Request("openai/gpt-4o", (Message("user", "hi"),))))
except Exception as error:
    print(error)
assert not {"litellm", "httpx"} & set(sys.modules)
"""
    printed, _ = run_python(code)
    assert printed == "openai/gpt-4o needs a key for openai; set OPENAI_API_KEY, or api_base for a server of your own\n"


def test_the_event_loop_runs_on_during_the_import_and_nothing_is_left_open() -> None:
    code = """
import asyncio, sys, time
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.protocol import Message, Request
async def main():
    beats = 0
    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01); beats += 1
    heart = asyncio.create_task(beat())
    request = Request("openai/m", (Message("user", "hi"),), {"api_base": sys.argv[-1] if len(sys.argv) > 1 else URL})
    answers = await asyncio.gather(*(lm.complete(request, on) for on in (None, lambda _: None) for _ in range(4)))
    heart.cancel()
    assert beats > 10, beats
    print({answer.text for answer in answers})
lm = LiteLLM()
lm.warm("openai/m")
asyncio.run(main())
"""
    with Loopback() as server:
        printed, _ = run_python(f"URL = {server.url!r}\n{code}", OPENAI_API_KEY=KEY)
    assert printed == "{'ok'}\n"


def test_litellm_is_not_installed() -> None:
    code = """
import asyncio, sys
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.protocol import Message, Request
sys.modules["litellm"] = None
for _ in range(2):
    try:
        asyncio.run(LiteLLM().complete(Request("openai/m", (Message("user", "hi"),))))
    except Exception as error:
        print(error.fault, "|", error.hint)
"""
    printed, _ = run_python(code, OPENAI_API_KEY=KEY)
    assert printed == "not installed | pip install litellm\n" * 2


def test_many_calls_cancelled_at_any_instant_leave_no_trace() -> None:
    code = """
import asyncio, random
from promptchain.lm.litellm import LiteLLM
from promptchain.lm.protocol import Message, Request
async def main():
    request = Request("openai/m", (Message("user", "hi"),), {"api_base": URL})
    await lm.complete(request)
    for n in range(20):
        calls = [asyncio.create_task(lm.complete(request, on)) for on in (None, lambda _: None) for _ in range(16)]
        await asyncio.sleep(n / 100)
        for call in calls:
            call.cancel()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, Exception), outcome
    print((await lm.complete(request)).text)
lm = LiteLLM()
asyncio.run(main())
"""
    with Loopback(latency=0.05) as server:
        printed, _ = run_python(f"URL = {server.url!r}\n{code}", OPENAI_API_KEY=KEY)
    assert printed == "ok\n"


def test_a_command_that_ends_early_does_not_wait_for_the_import(tmp_path: Path) -> None:
    (tmp_path / "litellm.py").write_text("import time\ntime.sleep(300)\n")
    code = "from promptchain.lm.litellm import LiteLLM; LiteLLM().warm(); import time; time.sleep(0.3)"
    _, seconds = run_python(code, PYTHONPATH=str(tmp_path))
    assert seconds < 100


def test_identity(monkeypatch: pytest.MonkeyPatch, lm: LiteLLM) -> None:
    assert lm.identity("openai/gpt-4o") == lm.identity("nobody/x") == ""
    monkeypatch.setenv("OPENAI_API_BASE", "http://me:pass@host:8000/v1/?key=x")
    assert lm.identity("gpt-4o") == "http://host:8000/v1"
    assert lm.identity("anthropic/claude-opus-4-6") == ""


def test_capabilities(lm: LiteLLM) -> None:
    assert lm.capabilities("openai/gpt-4o").schema
    assert not lm.capabilities("openai/no-such").schema


def test_check(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback() as server:
        assert check(MODEL, {"api_base": server.url}) is None
        monkeypatch.setenv("http_proxy", server.url)
        assert check(MODEL, {"api_base": "http://no-such-host.invalid/v1"}) is None  # a proxy would find it
        monkeypatch.delenv("http_proxy")
        url = server.url
    found = check(MODEL, {"api_base": url})
    assert found is not None
    assert (found.fault, "connection refused" in found.message) == (Fault.CONNECTION, True)
    found = check(MODEL, {"api_base": "http://no-such-host.invalid/v1"})
    assert found is not None
    assert found.message == "cannot connect to no-such-host.invalid:80: unknown host"
    monkeypatch.delenv("OPENAI_API_KEY")
    found = check(MODEL)
    assert found is not None
    assert (found.fault, (found.hint or "").split(",")[0]) == (Fault.AUTH, "set OPENAI_API_KEY")
    found = check("nobody/x")
    assert found is not None
    assert found.fault is Fault.UNKNOWN_MODEL


# --- loops, cancellation, many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])
@pytest.mark.parametrize("reply", [Reply(fate=Fate.HANG), Reply("a b c d", gap=300)], ids=["hang", "slow stream"])
def test_cancelling_closes_the_connection(reply: Reply, on_text: OnText | None, lm: LiteLLM) -> None:
    async def main(server: Loopback) -> float:
        await lm.complete(ask(server))
        call = asyncio.create_task(lm.complete(ask(server), on_text))
        assert await asyncio.to_thread(server.wait_for_request, 2)
        await asyncio.sleep(0.05)
        started = time.perf_counter()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.wait_for_abandonment, 2)
        took = time.perf_counter() - started
        assert (await lm.complete(ask(server))).text == "ok"  # and the next call is none the worse
        return took

    slow = Reply(fate=Fate.HANG) if on_text is None else reply
    with Loopback(["ok", slow, "ok"]) as server:
        assert asyncio.run(asyncio.wait_for(main(server), 2 * PATIENCE)) < 60


def test_a_time_limit_of_the_callers_cuts_the_call(lm: LiteLLM) -> None:
    async def main(server: Loopback) -> None:
        async with asyncio.timeout(0.3):
            await lm.complete(ask(server))

    with Loopback([Reply(fate=Fate.HANG)]) as server:
        with pytest.raises(TimeoutError):
            asyncio.run(main(server))
        assert server.wait_for_abandonment()


def test_several_loops_one_after_the_other(lm: LiteLLM) -> None:
    with Loopback() as server:
        for _ in range(3):
            assert asyncio.run(lm.complete(ask(server))).text == "ok"
            assert asyncio.run(lm.complete(ask(server), lambda _: None)).text == "ok"
        lm.close()
        lm.close()
        assert asyncio.run(LiteLLM().complete(ask(server))).text == "ok"
    assert server.connections == 7  # each loop closed its own


def test_close_ends_the_connections_of_a_loop_that_rests(lm: LiteLLM) -> None:
    with Loopback() as server, asyncio.Runner() as runner:
        for _ in range(2):
            assert runner.run(lm.complete(ask(server))).text == "ok"
            lm.close()
        assert server.connections == 2


def test_connections_are_kept_and_64_calls_run_at_once(lm: LiteLLM) -> None:
    async def main(server: Loopback) -> list[Response]:
        rounds = [await asyncio.gather(*(lm.complete(ask(server, seed=n)) for n in range(64))) for _ in range(2)]
        return [response for answers in rounds for response in answers]

    with Loopback(lambda asked: str(asked["seed"]), latency=0.3) as server:
        answers = asyncio.run(main(server))
    assert [answer.text for answer in answers] == [str(n) for n in range(64)] * 2
    assert server.peak > 32
    assert server.connections <= 80


# --- tools and media ------------------------------------------------------------------------------------------------

LOOKUP = ToolSpec("lookup", "The price.", {"type": "object", "properties": {"item": {"type": "string"}}})
BOTH_WAYS = pytest.mark.parametrize("on_text", [None, lambda _: None], ids=["whole", "stream"])


def call_of(name: str, arguments: str, **more: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


@BOTH_WAYS
def test_calls_of_tools(on_text: OnText | None) -> None:
    calls = [call_of("lookup", '{"item": "tea"}', id="a1"), call_of("lookup", '{"item": "milk"}', id="b2")]
    with Loopback([Reply(None, finish="tool_calls", tool_calls=calls)]) as server:
        response = complete(replace(ask(server), tools=(LOOKUP,)), on_text)
    assert (response.text, response.finish, response.usage) == ("", Finish.TOOLS, Usage(11, 7))
    assert response.tool_calls == (
        ToolCall("a1", "lookup", '{"item": "tea"}'),
        ToolCall("b2", "lookup", '{"item": "milk"}'),
    )
    function = {"name": "lookup", "description": "The price.", "parameters": dict(LOOKUP.parameters)}
    assert server.bodies[0]["tools"] == [{"type": "function", "function": function}]


@BOTH_WAYS
def test_a_call_besides_a_text_that_a_server_says_stop_after(on_text: OnText | None) -> None:
    with Loopback([Reply("One moment.", tool_calls=[call_of("now", "{}", id="a")])]) as server:
        response = complete(replace(ask(server), tools=(LOOKUP,)), on_text)
    assert (response.text, response.finish) == ("One moment.", Finish.TOOLS)
    assert response.tool_calls == (ToolCall("a", "now", "{}"),)


@BOTH_WAYS
@pytest.mark.parametrize(("sent", "finish"), [("length", Finish.LENGTH), ("content_filter", Finish.FILTER)])
def test_a_call_that_was_cut_off_is_none(sent: str, finish: Finish, on_text: OnText | None) -> None:
    with Loopback([Reply("", finish=sent, tool_calls=[call_of("now", '{"a', id="a")])]) as server:
        response = complete(replace(ask(server), tools=(LOOKUP,)), on_text)
    assert (response.finish, response.tool_calls) == (finish, ())


def delta(index: int | None, name: str | None, arguments: str | None, told: str | None = None) -> dict[str, Any]:
    piece = {"index": index, "id": told, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in piece.items() if value is not None}


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        pytest.param(
            [delta(0, "look", ""), delta(0, "up", '{"a'), delta(1, "now", "{}"), delta(0, None, '": 1}')],
            [("call_3", "lookup", '{"a": 1}'), ("call_4", "now", "{}")],
            id="without ids, names in pieces, in turn",
        ),
        pytest.param(
            [delta(0, "now", "{}", "x"), delta(0, "lookup", '{"a": 1}', "y")],
            [("x", "now", "{}"), ("y", "lookup", '{"a": 1}')],
            id="all of them numbered 0",
        ),
        pytest.param(
            [delta(0, "lookup", '{"a"', "x"), delta(0, "lookup", ": 1}", "x")],
            [("x", "lookup", '{"a": 1}')],
            id="id and name with every piece",
        ),
    ],
)
def test_streamed_calls_of_all_kinds(deltas: list[dict[str, Any]], calls: list[tuple[str, str, str]]) -> None:
    with Loopback([Reply("", finish="tool_calls", deltas=deltas)]) as server:
        earlier = (
            Message("assistant", "", tool_calls=(ToolCall("call_1", "now", "{}"), ToolCall("call_2", "now", "{}"))),
            Message("tool", "12:00", tool_call_id="call_1"),
            Message("tool", "12:00", tool_call_id="call_2"),
        )
        asked = ask(server)
        response = complete(replace(asked, messages=asked.messages + earlier, tools=(LOOKUP,)), lambda _: None)
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == calls


def test_pieces_of_calls_without_a_number() -> None:
    pieces = wire.Pieces()
    for name, arguments in (("now", "{}"), ("lookup", '{"a"'), (None, ": 1}")):
        call = SimpleNamespace(id=None, function=SimpleNamespace(name=name, arguments=arguments))
        delta = SimpleNamespace(content=None, tool_calls=[call])
        assert pieces.add(SimpleNamespace(delta=delta, finish_reason=None, logprobs=None)) == ""
    assert not pieces.empty
    found = pieces.reply(Request("m", ())).tool_calls
    assert found == (ToolCall("call_1", "now", "{}"), ToolCall("call_2", "lookup", '{"a": 1}'))


def test_a_stream_that_breaks_off_within_a_call_is_no_reply() -> None:
    reply = Reply("", finish="tool_calls", fate=Fate.CUT, tool_calls=[call_of("now", '{"a": 1}', id="a")])
    with Loopback([reply]) as server:
        error = fail(replace(ask(server), tools=(LOOKUP,)), lambda _: None)
    assert error.fault is Fault.CONNECTION


def test_a_conversation_with_tools_and_media_is_sent_in_openais_form() -> None:
    png, pdf = "data:image/png;base64,iVBORw0KGgo=", "data:application/pdf;base64,JVBERi0="
    media = (Media("image", png), Media("file", pdf, "a.pdf"), Media("file", pdf))
    messages = (
        Message("user", f"Look: {PLACE} and {PLACE}{PLACE} please", media),
        Message("assistant", "", tool_calls=(ToolCall("a", "lookup", '{"item": "tea"}'), ToolCall("b", "now", ""))),
        Message("tool", "3 EUR", tool_call_id="a"),
        Message("tool", "12:00", tool_call_id="b"),
        Message("user", f"a {PLACE} of the text's own"),
        Message("user", "no place", (Media("image", "https://127.0.0.1/a.png"),)),
    )
    with Loopback() as server:
        complete(replace(ask(server), messages=messages))
    (body,) = server.bodies
    shown = {"type": "image_url", "image_url": {"url": png}}
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Look:"},
        shown,
        {"type": "text", "text": "and"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "file", "file": {"filename": "file.pdf", "file_data": pdf}},
        {"type": "text", "text": "please"},
    ]
    assert body["messages"][1] == {
        "role": "assistant",
        "tool_calls": [call_of("lookup", '{"item": "tea"}', id="a"), call_of("now", "{}", id="b")],
    }
    assert body["messages"][2] == {"role": "tool", "content": "3 EUR", "tool_call_id": "a"}
    assert body["messages"][4] == {"role": "user", "content": f"a {PLACE} of the text's own"}
    link = {"type": "image_url", "image_url": {"url": "https://127.0.0.1/a.png"}}
    assert body["messages"][5]["content"] == [{"type": "text", "text": "no place"}, link]
    assert "tools" not in body


def test_a_file_by_its_address_is_left_to_litellm() -> None:
    sent = wire.message_of(Message("user", PLACE, (Media("file", "https://example.com/a.pdf", "a.pdf"),)))
    assert sent["content"] == [{"type": "file", "file": {"file_id": "https://example.com/a.pdf"}}]
