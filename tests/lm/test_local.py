"""LocalLM: with the real embedded model, and with a fake `xllamacpp` where the point is what goes in and out of it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptchain.errors import Fault, ModelError
from promptchain.lm.local import LocalLM
from promptchain.lm.protocol import Finish, Media, Message, OnText, Request, Response, ToolSpec, Usage
from promptchain.lm.weights import find_weights, fingerprint
from tests.patience import PATIENCE, soon

SMOLLM = "local/smollm2"


def ask(text: str = "Say hi", model: str = SMOLLM, **more: Any) -> Request:
    params = {"temperature": 0, "max_tokens": 24, **more.pop("params", {})}
    return Request(model, (Message("user", text),), params=params, **more)


def answer(lm: LocalLM, request: Request, on_text: OnText | None = None) -> Response:
    return asyncio.run(lm.complete(request, on_text))


def refusal(lm: LocalLM, request: Request) -> ModelError:
    with pytest.raises(ModelError) as caught:
        answer(lm, request)
    assert caught.value.model == request.model
    return caught.value


# --- the real model


@pytest.fixture(scope="module")
def lm() -> Iterator[LocalLM]:
    if find_spec("xllamacpp") is None:  # not importorskip: how it is imported matters
        pytest.skip("xllamacpp is not installed")
    try:
        find_weights(SMOLLM)
    except ModelError as error:
        pytest.skip(str(error))
    model = LocalLM(slots=2, context=512)
    yield model
    model.close()


@pytest.mark.model
def test_it_answers(lm: LocalLM) -> None:
    response = answer(lm, ask("What is 2+2?"))
    assert "4" in response.text
    assert response.cost == 0.0
    assert response.latency > 0
    assert not response.cached
    assert response.usage.prompt_tokens > 20
    assert 0 < response.usage.completion_tokens <= 24


@pytest.mark.model
def test_log_probabilities_are_told_where_they_are_asked_for(lm: LocalLM) -> None:
    told = answer(lm, ask(params={"logprobs": True, "max_tokens": 4}))
    assert len(told.logprobs) == told.usage.completion_tokens == 4
    assert all(-30 < number <= 0 for number in told.logprobs)
    assert answer(lm, ask(params={"max_tokens": 4, "logprobs": False})).logprobs == ()
    assert "logprobs must be true or false, not 3" in refusal(lm, ask(params={"logprobs": 3})).message


@pytest.mark.model
def test_text_is_streamed_on_the_loops_thread_before_the_answer_is_there(lm: LocalLM) -> None:
    pieces: list[tuple[str, int]] = []
    response = answer(
        lm,
        ask("Write a long story about a card that was lost."),
        lambda text: pieces.append((text, threading.get_ident())),
    )
    assert "".join(text for text, _ in pieces) == response.text
    assert len(pieces) > 5
    assert {thread for _, thread in pieces} == {threading.get_ident()}


@pytest.mark.model
def test_a_shared_prefix_is_not_computed_again(lm: LocalLM) -> None:
    system = Message("system", "You answer for a bank. " * 20)

    async def all_of_them() -> list[Response]:
        def one(n: int) -> Request:
            return Request(SMOLLM, (system, Message("user", f"Question {n}")), params={"max_tokens": 1})

        return await asyncio.gather(*(lm.complete(one(n)) for n in range(6)))

    cached = [response.usage.cached_tokens for response in asyncio.run(all_of_them())]
    assert sum(tokens > 100 for tokens in cached) >= 4  # the first of each of two slots has to compute it


@pytest.mark.model
def test_the_finish_says_whether_the_limit_was_hit(lm: LocalLM) -> None:
    assert answer(lm, ask(params={"max_tokens": 2})).finish is Finish.LENGTH
    assert answer(lm, ask(choices=("hi",))).finish is Finish.STOP


@pytest.mark.model
def test_stop_ends_the_reply(lm: LocalLM) -> None:
    response = answer(lm, ask("Count to ten.", params={"stop": [" ", "\n"]}))
    assert response.finish is Finish.STOP
    assert not set(" \n") & set(response.text)


# Of planes 0 to 3, which every vocabulary of bytes can spell.
ORDINARY = st.characters(exclude_categories=["C"], max_codepoint=0x3FFFF)

NASTY = (
    'say "hi"',
    "back\\slash",
    "two\nlines",
    "tab\t\r",
    "日本 🎉 é",
    "nul\0",
    "'",
    "|",
    "]",
    "/* */",
    "%llguidance",
    "",
)


@pytest.mark.model
@pytest.mark.parametrize("choice", NASTY)
def test_a_choice_may_be_any_text(choice: str, lm: LocalLM) -> None:
    assert answer(lm, ask(choices=(choice,))).text == choice


@pytest.mark.model
@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(choices=st.lists(st.text(ORDINARY, max_size=4), min_size=1, max_size=4))
def test_the_reply_is_one_of_the_choices(choices: list[str], lm: LocalLM) -> None:
    response = answer(lm, ask("Pick one.", choices=tuple(choices), params={"max_tokens": 32}))
    assert response.text in choices


@pytest.mark.model
def test_a_choice_that_the_vocabulary_cannot_spell(lm: LocalLM, capfd: pytest.CaptureFixture[str]) -> None:
    assert refusal(lm, ask(choices=("\U0005f3d6",))).fault is Fault.BAD_REQUEST
    assert capfd.readouterr() == ("", "")


@pytest.mark.model
def test_the_reply_fits_the_schema(lm: LocalLM) -> None:
    schema = {
        "type": "object",
        "properties": {"fruit": {"enum": ["pear", "apple"]}, "code": {"type": "string", "pattern": "^[a-c]{3}$"}},
        "required": ["fruit", "code"],
        "additionalProperties": False,
    }
    value = json.loads(answer(lm, ask("Give me a fruit.", schema=schema, params={"max_tokens": 40})).text)
    assert value["fruit"] in {"pear", "apple"}
    assert len(value["code"]) == 3
    scalar = answer(lm, ask("How many?", schema={"type": "integer", "minimum": 3, "maximum": 5})).text
    assert scalar in {"3", "4", "5"}


@pytest.mark.model
@pytest.mark.parametrize(
    "schema",
    [{"type": "objekt"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "("}, {"minimum": 5, "maximum": 2}],
)
def test_a_schema_that_cannot_be_held_is_refused(
    schema: dict[str, Any], lm: LocalLM, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refusal(lm, ask(schema={"type": "integer", **schema})).fault is Fault.BAD_REQUEST
    assert capfd.readouterr() == ("", "")


@pytest.mark.model
@pytest.mark.parametrize("schema", [{}, {"type": "string", "format": "phone"}, {"type": "string", "pattern": "b"}])
def test_a_schema_with_more_than_the_grammar_knows_is_held_as_far_as_it_goes(
    schema: dict[str, Any], lm: LocalLM, capfd: pytest.CaptureFixture[str]
) -> None:
    assert answer(lm, ask(schema=schema)).text[0] in '{["-0123456789tfn'
    assert capfd.readouterr() == ("", "")


@pytest.mark.model
def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(lm: LocalLM) -> None:
    error = refusal(lm, ask("word " * 600))
    assert error.fault is Fault.CONTEXT
    assert "615 tokens" in error.message
    assert "512" in error.message


@pytest.mark.model
def test_a_lone_surrogate_does_no_harm(lm: LocalLM) -> None:
    assert answer(lm, ask("a\ud800b", choices=("x\udfff",), params={"stop": ["!\ud800"]})).text == "x?"


@pytest.mark.model
def test_a_cancelled_request_frees_its_slot(lm: LocalLM) -> None:
    async def scenario() -> tuple[float, float]:
        times: list[list[float]] = [[], []]

        def story(heard: list[float]) -> asyncio.Task[Response]:
            request = ask("Write a long story about a dragon.", params={"max_tokens": 400})
            return asyncio.create_task(lm.complete(request, lambda _: heard.append(time.perf_counter())))

        tasks = [story(heard) for heard in times]
        while min(map(len, times)) < 12:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        since = time.perf_counter()
        await lm.complete(ask(choices=("x",)))
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        return time.perf_counter() - since, (times[0][11] - times[0][1]) / 10

    seconds, per_token = asyncio.run(scenario())
    print(f"answered {seconds:.2f} s after the cancellation; a token took {per_token:.3f} s")
    assert seconds < 1 + 150 * per_token  # had a story to be waited for, it would be 388 tokens


@pytest.mark.model
def test_loading_leaves_the_handling_of_signals_alone(lm: LocalLM) -> None:
    handler_of = ctypes.pythonapi.PyOS_getsig
    handler_of.restype = ctypes.c_void_p
    before = [handler_of(number) for number in (signal.SIGINT, signal.SIGTERM)]
    other = LocalLM(slots=1, context=128)
    answer(other, ask(params={"max_tokens": 1}))
    other.close()
    assert [handler_of(number) or None for number in (signal.SIGINT, signal.SIGTERM)] == [n or None for n in before]


@pytest.mark.model
@pytest.mark.parametrize("kept", [4, 8, 24, 3000, 30_000_000])
def test_damaged_weights_are_an_error_and_print_nothing(
    kept: int, lm: LocalLM, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.gguf"
    with find_weights(SMOLLM).open("rb") as whole:
        path.write_bytes(whole.read(kept) + b"\xff" * 100)
    broken = LocalLM(slots=1)
    error = refusal(broken, ask(model=f"local/{path}"))
    broken.close()
    assert error.fault is Fault.NO_WEIGHTS
    assert str(path) in error.message
    assert "damaged" in str(error.hint)
    assert capfd.readouterr() == ("", "")


@pytest.mark.model
def test_weights_without_a_chat_template_get_chatml(lm: LocalLM, tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    shutil.copyfile(find_weights(SMOLLM), path)
    with path.open("r+b") as file:
        file.seek(file.read(8 << 20).index(b"tokenizer.chat_template"))
        file.write(b"tokenizer.chat_tempXXXX")
    plain = LocalLM(slots=1, context=256)
    response = answer(plain, ask("What is 2+2?", model=f"local/{path}"))
    plain.close()
    assert "4" in response.text


INTERRUPTED = """
    import asyncio, sys
    from promptchain.lm.local import LocalLM
    from promptchain.lm.protocol import Message, Request

    story = Request("local/smollm2", (Message("user", "Write a long story."),), params={"max_tokens": 3000})
    told = []

    def tell(text):
        if not told:
            print("started", flush=True)
        told.append(text)

    async def main():
        await asyncio.gather(*(lm.complete(story, tell) for _ in range(8)))

    lm = LocalLM()
    END
"""


@pytest.mark.model
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("asyncio.run(main())", -signal.SIGINT),
        # The loop is left as it is, with generations under way.
        ("try: asyncio.new_event_loop().run_until_complete(main())\n    except KeyboardInterrupt: sys.exit(7)", 7),
    ],
)
def test_ctrl_c_ends_the_process_at_once(end: str, code: int, lm: LocalLM) -> None:
    script = textwrap.dedent(INTERRUPTED.replace("END", end))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    since = time.perf_counter()
    _, errors = process.communicate(timeout=PATIENCE)
    seconds = time.perf_counter() - since
    print(f"exit {seconds:.2f} s after SIGINT")
    assert process.returncode == code
    assert seconds < 30  # 0.2 s on an idle machine; the stories would take minutes
    assert "llama" not in errors.replace("promptchain/lm/local.py", "")
    assert "terminate" not in errors


# --- a fake xllamacpp


class FakeLlama(ModuleType):
    """Stands in for the package: records what was loaded and asked, and answers from `script`."""

    def __init__(self) -> None:
        super().__init__("xllamacpp")
        self.loads: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.script: Callable[[dict[str, Any], Callable[[Any], bool]], None] = say("ok")
        self.load_error: Exception | None = None
        self.running = 0
        self.most = 0
        fake = self

        def params() -> Any:
            return SimpleNamespace(
                model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace()
            )

        class Server:
            def __init__(self, params: Any) -> None:
                fake.loads.append(params)
                time.sleep(0.05)
                if fake.load_error:
                    raise fake.load_error

            def handle_chat_completions(self, body: dict[str, Any], callback: Callable[[Any], bool]) -> None:
                fake.bodies.append(body)
                fake.running += 1
                fake.most = max(fake.most, fake.running)
                try:
                    fake.script(body, callback)
                finally:
                    fake.running -= 1

        self.CommonParams = params
        self.Server = Server


def say(*pieces: str, finish: str = "stop", gap: float = 0.0) -> Callable[[Any, Callable[[Any], bool]], None]:
    def script(body: Any, callback: Callable[[Any], bool]) -> None:
        for piece in pieces:
            if callback({"choices": [{"delta": {"content": piece}, "finish_reason": None}]}):
                return
            time.sleep(gap)
        callback({"choices": [{"delta": {}, "finish_reason": finish}]})
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
        callback({"choices": [], "usage": usage})

    return script


def fail_with(code: int, kind: str = "server_error", **more: Any) -> Callable[[Any, Callable[[Any], bool]], None]:
    def script(body: Any, callback: Callable[[Any], bool]) -> None:
        callback({"error": {"code": code, "type": kind, "message": "no luck", **more}})

    return script


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLlama:
    module = FakeLlama()
    monkeypatch.setitem(sys.modules, "xllamacpp", module)
    return module


@pytest.fixture
def local(fake: FakeLlama) -> Iterator[LocalLM]:
    model = LocalLM(slots=3)
    yield model
    model.close()


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + bytes(20))
    return f"local/{tmp_path / 'tiny.gguf'}"


def test_the_response(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    fake.script = say("a", "b", finish="length")
    response = answer(local, ask(model=tiny))
    assert (response.text, response.finish, response.usage) == ("ab", Finish.LENGTH, Usage(9, 2, 5))


def test_what_is_sent(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    asked = {"temperature": 0.5, "max_tokens": None, "max_completion_tokens": 7, "stop": "x", "top_k": 3}
    messages = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v"))
    answer(local, Request(tiny, messages, params=asked))
    (body,) = fake.bodies
    assert body["messages"][0] == {"role": "system", "content": "s"}
    assert [message["content"] for message in body["messages"]] == ["s", "u", "a", "v"]
    assert (body["temperature"], body["max_tokens"], body["stop"], body["top_k"]) == (0.5, 7, ["x"], 3)
    assert not {"max_completion_tokens", "grammar", "top_p"} & set(body)


def test_tools_and_media_are_refused_and_what_a_tool_gave_is_the_users(
    local: LocalLM, fake: FakeLlama, tiny: str
) -> None:
    able = local.capabilities(tiny)
    assert (able.tools, able.images, able.files) == (False, False, False)
    error = refusal(local, ask(model=tiny, tools=(ToolSpec("lookup"),)))
    assert (error.fault, error.message) == (Fault.BAD_REQUEST, "local models take no tools")
    image = Message("user", "hi", (Media("image", "https://example.com/a.png"),))
    error = refusal(local, Request(tiny, (image,)))
    assert (error.fault, error.message) == (Fault.BAD_REQUEST, "local models take no images and files")
    answer(local, Request(tiny, (Message("user", "u"), Message("tool", "t", tool_call_id="a"))))
    assert [message["role"] for message in fake.bodies[0]["messages"]] == ["user", "user"]


def test_the_reply_is_bounded_and_the_seed_is_fixed(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    for params, sample in (({}, 0), ({}, 2), ({"seed": 5}, 1), ({"seed": 2**32 - 1}, 0), ({"seed": 2**80}, 0)):
        answer(local, Request(tiny, (Message("user", "u"),), params=params, sample=sample))
    assert [body["seed"] for body in fake.bodies[:4]] == [0, 2, 6, 0]
    assert all(body["max_tokens"] == 1024 and 0 <= body["seed"] < 2**32 - 1 for body in fake.bodies)


def test_how_it_is_loaded(fake: FakeLlama, tiny: str) -> None:
    model = LocalLM(slots=3, context=100, threads=2)
    answer(model, ask(model=tiny))
    model.close()
    (params,) = fake.loads
    assert (params.n_parallel, params.n_ctx, params.cpuparams.n_threads, params.verbosity) == (3, 300, 2, -1)
    # It cannot be told not to listen, so nobody else may reach it or use it, and two processes must not collide.
    assert (params.hostnames, params.port) == (["127.0.0.1"], 0)
    assert len(params.api_keys[0]) == 32


def test_concurrent_first_requests_load_once_and_at_most_slots_run(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    fake.script = say("ok", gap=0.01)

    async def many() -> list[Response]:
        return await asyncio.gather(*(local.complete(ask(model=tiny)) for _ in range(12)))

    assert {response.text for response in asyncio.run(many())} == {"ok"}
    assert len(fake.loads) == 1
    assert fake.most == local.slots == 3


def test_one_lm_serves_several_loops_and_several_weights(local: LocalLM, fake: FakeLlama, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF" + name.encode())
    requests = [ask(model=f"local/{tmp_path / name}.gguf") for name in "abab"]
    threads = [threading.Thread(target=answer, args=(local, request)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.bodies) == 4
    assert len(fake.loads) == 2


def test_replaced_weights_are_loaded_anew(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    answer(local, ask(model=tiny))
    before = local.identity(tiny)
    Path(tiny.removeprefix("local/")).write_bytes(b"GGUF and more")
    answer(local, ask(model=tiny))
    assert len(fake.loads) == 2
    assert local.identity(tiny) != before


def test_weights_that_do_not_load_are_tried_once(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    fake.load_error = RuntimeError("Failed to init server")
    for _ in range(2):
        assert refusal(local, ask(model=tiny)).fault is Fault.NO_WEIGHTS
    assert len(fake.loads) == 1


def test_a_file_that_is_no_gguf_is_not_given_to_llama(local: LocalLM, fake: FakeLlama, tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_text("<html>")
    error = refusal(local, ask(model=f"local/{tmp_path / 'page.gguf'}"))
    assert error.fault is Fault.NO_WEIGHTS
    assert "is not a GGUF file" in error.message
    assert not fake.loads


def test_without_xllamacpp(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    model = LocalLM()
    error = refusal(model, ask(model=tiny))
    model.close()
    assert error.fault is Fault.NOT_INSTALLED
    assert error.hint == "pip install 'promptchain[local]'"


def test_what_is_known_without_loading(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    model = LocalLM()
    assert model.identity("local/no-such") == model.identity("gpt-4o") == ""
    assert model.identity(tiny) == fingerprint(Path(tiny.removeprefix("local/")))
    known = model.capabilities("local/no-such")
    assert known.schema
    assert known.grammar
    assert known.local
    assert known.price is not None
    assert known.price.of(Usage(1000, 1000)) == 0.0
    model.close()


@pytest.mark.parametrize(
    ("params", "message", "hint"),
    [
        ({"temprature": 1}, "no parameter 'temprature'", "did you mean 'temperature'?"),
        ({"repetition_penalty": 1.1}, "no parameter", "did you mean 'repeat_penalty'?"),
        ({"xyz": 1}, "no parameter", "known parameters: "),
        ({"temperature": "hot"}, "temperature must be a number from 0, not 'hot'", ""),
        ({"temperature": -1}, "temperature must be", ""),
        ({"temperature": float("nan")}, "temperature must be", ""),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1", ""),
        ({"max_tokens": True}, "max_tokens must be", ""),
        ({"max_tokens": 2.0}, "max_tokens must be", ""),
        ({"top_p": 1.5}, "top_p must be a number from 0 to 1", ""),
        ({"stop": 5}, "stop must be a text or a list of texts", ""),
        ({"stop": [5]}, "stop must be", ""),
    ],
)
def test_a_wrong_parameter_is_named(
    params: dict[str, Any], message: str, hint: str, local: LocalLM, fake: FakeLlama, tiny: str
) -> None:
    error = refusal(local, Request(tiny, (Message("user", "u"),), params=params))
    assert error.fault is Fault.BAD_REQUEST
    assert message in error.message
    assert hint in (error.hint or "")
    assert not fake.bodies


@pytest.mark.parametrize(
    ("script", "fault", "message"),
    [
        (fail_with(400), Fault.BAD_REQUEST, "no luck"),
        (fail_with(500), Fault.SERVER, "no luck"),
        (fail_with(400, "exceed_context_size_error", n_prompt_tokens=9, n_ctx=4), Fault.CONTEXT, "9 tokens"),
        (lambda body, callback: None, Fault.BAD_RESPONSE, "too early"),
        (lambda body, callback: callback("no object"), Fault.BAD_RESPONSE, "not understood"),
        (lambda body, callback: (_ for _ in ()).throw(ValueError("bad")), Fault.BAD_REQUEST, "bad"),
        (lambda body, callback: (_ for _ in ()).throw(RuntimeError("worse")), Fault.SERVER, "worse"),
    ],
)
def test_what_goes_wrong_in_llama(
    script: Any, fault: Fault, message: str, local: LocalLM, fake: FakeLlama, tiny: str
) -> None:
    fake.script = script
    error = refusal(local, ask(model=tiny))
    assert error.fault is fault
    assert message in error.message


def test_a_dropped_grammar_is_noticed(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    for pieces in (("Sure! ", "here"), ("[", "draft] of it")):
        fake.script = say(*pieces)
        assert refusal(local, ask(model=tiny, schema={"type": "integer"})).fault is Fault.BAD_REQUEST
    fake.script = say("[", finish="length")
    assert answer(local, ask(model=tiny, schema={"type": "array"})).finish is Finish.LENGTH


def test_an_exception_of_on_text_stops_the_call_and_comes_out(local: LocalLM, fake: FakeLlama, tiny: str) -> None:
    fake.script = say(*"abcdefgh" * 5000, gap=0.01)

    def burst(text: str) -> None:
        raise KeyError(text)

    since = time.perf_counter()
    with pytest.raises(KeyError):
        answer(local, ask(model=tiny), burst)
    local.close()
    assert time.perf_counter() - since < 60  # to its end it would go on for 400 s


def test_a_request_cancelled_while_it_waits_is_never_run(fake: FakeLlama, tiny: str) -> None:
    model = LocalLM(slots=1)
    go, tell = threading.Event(), say("ok")

    def script(body: Any, callback: Callable[[Any], bool]) -> None:
        assert go.wait(PATIENCE)
        tell(body, callback)

    fake.script = script

    async def scenario() -> None:
        first = asyncio.create_task(model.complete(ask(model=tiny)))
        await soon(lambda: fake.running)
        second = asyncio.create_task(model.complete(ask(model=tiny)))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        go.set()
        await first

    asyncio.run(scenario())
    answer(model, ask(model=tiny))
    model.close()
    assert len(fake.bodies) == 2


def test_close_stops_what_runs_and_what_waits(fake: FakeLlama, tiny: str) -> None:
    model = LocalLM(slots=1)
    fake.script = say(*"abcdefgh" * 1000, gap=0.01)

    async def scenario() -> list[Any]:
        tasks = [asyncio.create_task(model.complete(ask(model=tiny))) for _ in range(3)]
        await soon(lambda: fake.running)
        await asyncio.to_thread(model.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = asyncio.run(scenario())
    assert [type(end) for end in ends] == [ModelError] * 3
    assert not any(end.retryable for end in ends)
    model.close()
    assert "closed" in refusal(model, ask(model=tiny)).message


def test_an_lm_that_is_dropped_ends_its_threads(fake: FakeLlama, tiny: str) -> None:
    before = threading.active_count()
    model = LocalLM(slots=5)
    answer(model, ask(model=tiny))
    assert threading.active_count() == before + 5
    del model
    assert threading.active_count() == before


@pytest.mark.model
def test_the_template_says_nothing_that_is_not_in_the_request(lm: LocalLM) -> None:
    """SmolLM2's template would put in a system message of its own: 16 tokens, "You are a helpful AI assistant …"."""
    bare = asyncio.run(lm.complete(Request("local/smollm2", (Message("user", "Hi"),), {"max_tokens": 1})))
    empty = (Message("system", ""), Message("user", "Hi"))
    said = asyncio.run(lm.complete(Request("local/smollm2", empty, {"max_tokens": 1})))
    assert bare.usage.prompt_tokens == said.usage.prompt_tokens < 16
