"""The Python API: `promptchain.load`, `run`, `arun`, `stream`."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import promptchain
from promptchain import InputError, InvalidFileError, PromptChainError, RunError, ScriptedLM, UsageError, events
from promptchain.errors import Fault, ModelError
from promptchain.lm.protocol import OnText, Request, Response
from promptchain.lm.scripted import Rule
from promptchain.steps.workshop import Wish
from tests import lock_kit as kit
from tests.patience import PATIENCE, soon
from tests.steps.kit import Folder
from tests.steps.test_toolbox import SERVER, alive
from tests.workspace import Workspace

ANSWERS = {"Classify": "card", "Draft for": "On its way.", "Check": "All is well."}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path)
    workspace.chain()
    return workspace


def test_load_and_run(demo: Workspace) -> None:
    with promptchain.load("demo") as chain:
        result = chain.run(message="Where is it?")
        assert result.outputs == {"intent": "card", "reply": "All is well."}
        assert result.steps["draft"].value == "It is on its way."
        assert result.inputs == {"message": "Where is it?"}
        assert chain.chain.description == "Answer a customer."
        assert chain.run(message="and again").outputs["intent"] == "card"  # each run has an event loop of its own


def test_a_chain_is_found_by_file_and_in_another_project(
    demo: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Workspace(tmp_path_factory.mktemp("other"))
    other.write("chains/elsewhere.yaml", "model: x/y\nsteps: {a: {prompt: hi}}")
    assert promptchain.load("chains/demo.yaml").chain.name == "demo"
    assert promptchain.load("elsewhere", project=other.root, lm=ScriptedLM("hello")).run().outputs == {"a": "hello"}
    assert promptchain.load("elsewhere", project=str(other.root / "chains")).chain.name == "elsewhere"


def test_a_model_of_ones_own_answers_for_all(demo: Workspace) -> None:
    lm = ScriptedLM(ANSWERS)
    chain = promptchain.load("demo", lm=lm, model="any/model")
    assert chain.run(message="hi").outputs["reply"] == "All is well."
    assert {request.model for request in lm.requests} == {"any/model"}
    assert lm.requests[-1].messages[-1].content == "Check On its way. against card"


def test_arun_runs_many_at_once_in_one_loop(demo: Workspace) -> None:
    lm = ScriptedLM(ANSWERS, delay=0.05)
    chain = promptchain.load("demo", lm=lm)

    async def many() -> list[str]:
        runs = await asyncio.gather(*(chain.arun(message=str(number)) for number in range(10)))
        return [str(run.inputs["message"]) for run in runs]

    assert asyncio.run(many()) == [str(number) for number in range(10)]
    assert len(lm.requests) == 30


def test_cancelling_the_task_stops_the_calls(demo: Workspace) -> None:
    lm = ScriptedLM(ANSWERS, delay=60)

    async def cancelled() -> None:
        task = asyncio.create_task(promptchain.load("demo", lm=lm).arun(message="hi"))
        await soon(lambda: lm.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert len(lm.requests) == 1


def test_run_inside_of_a_loop_says_what_to_do(demo: Workspace) -> None:
    chain = promptchain.load("demo")

    async def wrong() -> None:
        chain.run(message="hi")

    with pytest.raises(UsageError, match=r"await arun\(…\) instead"):
        asyncio.run(wrong())


def test_a_run_that_fails_raises_with_its_record(demo: Workspace) -> None:
    error = ModelError("no such key", fault=Fault.AUTH, model="x", hint="set it")
    chain = promptchain.load("demo", lm=ScriptedLM({"Classify": "card", "Draft for": error}))
    with pytest.raises(RunError, match="step 'draft' failed: no such key; set it") as caught:
        chain.run(message="hi")
    run = caught.value.run
    assert run.status == "failed"
    assert {name: step.status.value for name, step in run.steps.items()} == {
        "intent": "done",
        "draft": "failed",
        "check": "blocked",
    }
    assert run.steps["intent"].value == "card"
    assert isinstance(caught.value, PromptChainError)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "the input 'message' (string) is missing"),
        ({"message": "x", "mesage": "y"}, "did you mean 'message'?"),
        ({"message": 3}, "input 'message': "),
    ],
)
def test_inputs_that_do_not_fit_cost_no_call(demo: Workspace, values: dict[str, object], says: str) -> None:
    lm = ScriptedLM(ANSWERS)
    with pytest.raises(InputError) as caught:
        promptchain.load("demo", lm=lm).run(**values)
    assert says in str(caught.value)
    assert lm.requests == []


def test_what_cannot_be_loaded(demo: Workspace) -> None:
    demo.write("chains/broken.yaml", "modle: x\nsteps: {a: {promt: x}}")
    with pytest.raises(UsageError, match="did you mean 'demo'"):
        promptchain.load("demp")
    with pytest.raises(UsageError, match="the chain 'demo' has no versions yet"):
        promptchain.load("demo@production")
    with pytest.raises(InvalidFileError) as caught:
        promptchain.load("broken")
    assert len(caught.value.problems) >= 2
    with pytest.raises(UsageError, match="the price of 'hosted_vllm/mine' is not known"):
        promptchain.load("demo", model="hosted_vllm/mine", max_cost=1.0).run(message="hi")


def test_cache_answers_the_second_time(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(demo.root / "cache"))
    calls = []
    for _ in range(2):
        with promptchain.load("demo", cache=True) as chain:
            calls.append(chain.run(message="hi").totals.calls)
    assert calls == [3, 0]


def test_close_frees_the_models_and_may_be_called_twice(demo: Workspace) -> None:
    class Closing(ScriptedLM):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    lm = Closing(ANSWERS)
    with promptchain.load("demo", lm=lm) as chain:
        chain.run(message="hi")
        assert lm.closed == 0
    chain.close()
    assert lm.closed == 2


def test_compiled_prompts_are_used(demo: Workspace) -> None:
    kit.tuned(demo)
    assert promptchain.load("demo").run(message="hi").outputs["intent"] == "refund"
    result = promptchain.load("demo", source=True).run(message="hi")
    assert (result.outputs["intent"], result.compiled) == ("card", None)


def test_a_stand_in_sees_the_compiled_prompts(demo: Workspace) -> None:
    """It answers in place of the models, so that its own identity says nothing of theirs."""
    kit.tuned(demo)
    lm = ScriptedLM({"COMPILED": "refund", **ANSWERS})
    result = promptchain.load("demo", lm=lm).run(message="hi")
    assert result.outputs["intent"] == "refund"
    assert result.compiled is not None
    assert result.compiled.steps == ("intent",)


def test_stale_prompts_are_warned_of(demo: Workspace) -> None:
    kit.tuned(demo)
    path = demo.root / "chains/demo.yaml"
    path.write_text(path.read_text().replace("Decide what", "Choose what"))
    with pytest.warns(promptchain.StaleWarning, match="step 'intent' was edited; mend it with: chain compile demo"):
        chain = promptchain.load("demo", lm=ScriptedLM({"COMPILED": "refund", **ANSWERS}))
    assert chain.run(message="hi").outputs["intent"] == "refund"
    promptchain.load("demo", source=True)  # no warning: it would be an error here


def test_a_lock_that_cannot_be_read(demo: Workspace) -> None:
    demo.write("chains/demo.lock.yaml", "models: [")
    with pytest.raises(InvalidFileError, match="chain compile demo"):
        promptchain.load("demo")
    assert promptchain.load("demo", source=True, record=True).run(message="hi").version == 1


def test_the_package_exports_what_it_says() -> None:
    assert all(getattr(promptchain, name) for name in promptchain.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = promptchain.lod


def test_importing_the_package_is_light() -> None:
    heavy = ("pydantic", "litellm", "git", "xllamacpp", "typer", "rich", "jinja2", "yaml", "asyncio")
    code = f"import sys, promptchain; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_running_a_scripted_chain_loads_no_litellm(demo: Workspace) -> None:
    code = (
        "import sys, promptchain; promptchain.load('demo').run(message='hi');"
        "print([name for name in ('litellm', 'git', 'xllamacpp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- stream


def test_stream_gives_the_events_and_the_record(demo: Workspace) -> None:
    async def streamed() -> list[events.RunEvent]:
        with promptchain.load("demo") as chain:
            return [event async for event in chain.stream(message="hi")]

    found = asyncio.run(streamed())
    assert isinstance(found[0], events.RunStarted)
    assert (found[0].chain, found[0].inputs) == ("demo", {"message": "hi"})
    assert "".join(event.text for event in found if isinstance(event, events.StepText)).endswith("All is well.")
    assert [event.step for event in found if isinstance(event, events.StepEnded)] == ["intent", "draft", "check"]
    assert isinstance(found[-1], events.RunEnded)
    assert found[-1].run.outputs == {"intent": "card", "reply": "All is well."}


def test_a_stream_whose_run_fails_says_it_and_raises_nothing(demo: Workspace) -> None:
    error = ModelError("no such key", fault=Fault.AUTH, model="x", hint="set it")
    chain = promptchain.load("demo", lm=ScriptedLM({"Classify": "card", "Draft for": error}))

    async def streamed() -> list[events.RunEvent]:
        return [event async for event in chain.stream(message="hi")]

    last = asyncio.run(streamed())[-1]
    assert isinstance(last, events.RunEnded)
    assert (last.run.status, last.run.error, last.run.hint) == ("failed", "step 'draft' failed: no such key", "set it")


def test_a_stream_looks_at_the_inputs_at_once(demo: Workspace) -> None:
    with pytest.raises(InputError, match="did you mean 'message'"):
        promptchain.load("demo").stream(mesage="hi")


async def _left(stream: AsyncGenerator[events.RunEvent]) -> None:
    async for event in stream:
        if isinstance(event, events.StepStarted) and event.step == "draft":
            break  # without closing it


@pytest.mark.parametrize("how", ["break", "aclose", "cancel"])
def test_a_stream_that_is_left_early_stops_the_calls(demo: Workspace, how: str) -> None:
    stopped = asyncio.Event()

    class Slow(ScriptedLM):
        async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
            try:
                return await super().complete(request, on_text)
            except asyncio.CancelledError:
                stopped.set()
                raise

    lm = Slow([Rule("card", contains="Classify"), Rule("late", contains="Draft", delay=60)])

    async def scene() -> None:
        chain = promptchain.load("demo", lm=lm, record=True)
        stream = chain.stream(message="hi")
        if how == "cancel":
            task = asyncio.create_task(_all(stream))
            await soon(lambda: len(lm.requests) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await _left(stream)
            if how == "aclose":
                await soon(lambda: len(lm.requests) == 2)
                await stream.aclose()
                assert stopped.is_set()
            del stream
        async with asyncio.timeout(PATIENCE):
            await stopped.wait()
        await soon(demo.records)

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))
    [record] = demo.records()
    assert record["status"] == "interrupted"
    assert record["steps"]["intent"]["value"] == "card"


async def _all(stream: AsyncGenerator[events.RunEvent]) -> list[events.RunEvent]:
    return [event async for event in stream]


def test_a_stream_that_nobody_reads_runs_nothing_and_a_slow_reader_locks_nothing(demo: Workspace) -> None:
    lm = ScriptedLM({"Classify": "card", "Draft for": "word " * 5_000, "Check": "All is well."})
    chain = promptchain.load("demo", lm=lm)

    async def scene() -> list[events.RunEvent]:
        await chain.stream(message="hi").aclose()
        assert lm.requests == []
        stream = chain.stream(message="hi")
        found = [await anext(stream), await anext(stream)]
        await soon(lambda: len(lm.requests) == 3)  # meanwhile the run goes on
        return found + await _all(stream)

    found = asyncio.run(asyncio.wait_for(scene(), PATIENCE))
    text = "".join(event.text for event in found if isinstance(event, events.StepText) and event.step == "draft")
    assert text == "word " * 5_000
    assert len(found) < 1_000
    assert isinstance(found[-1], events.RunEnded)


def test_a_recorded_stream_ends_with_the_record_as_it_is_kept(demo: Workspace) -> None:
    chain = promptchain.load("demo", record=True)
    last = asyncio.run(_all(chain.stream(message="hi")))[-1]
    assert isinstance(last, events.RunEnded)
    [record] = demo.records()
    assert (record["id"], record["version"]) == (last.run.id, last.run.version) == (last.run.id, 1)


def test_two_streams_at_once(demo: Workspace) -> None:
    chain = promptchain.load("demo", lm=ScriptedLM(ANSWERS, delay=0.02))

    async def scene() -> list[list[events.RunEvent]]:
        return list(await asyncio.gather(*(_all(chain.stream(message=word)) for word in ("a", "b", "c"))))

    assert [found[0].inputs["message"] for found in asyncio.run(scene())] == ["a", "b", "c"]  # type: ignore[union-attr]


# --- consent

CONFIRMED = """
model: MODEL
inputs: {order: string}
steps:
  answer:
    prompt: "Refund {{ order }}"
    tools: [{python: "tools:refund", confirm: true}]
"""


@pytest.fixture
def refunds(demo: Workspace) -> Workspace:
    demo.write("tools.py", 'def refund(order: str) -> str:\n    """Refund."""\n    return "gone " + order\n')
    asked = '{"tool": "refund", "arguments": {"order": "7"}}'
    answers = [
        {"contains": "gone 7", "reply": '{"answer": "done"}'},
        {"contains": "did not consent", "reply": '{"answer": "no"}'},
        {"contains": "Refund", "reply": asked},
    ]
    demo.chain(CONFIRMED, name="refunds", replies=answers)
    return demo


async def _later(wish: Wish) -> bool:
    await asyncio.sleep(0)
    return wish.arguments == {"order": "7"}


@pytest.mark.parametrize(
    ("approve", "answer"),
    [
        (None, "no"),
        (lambda wish: True, "done"),
        (lambda wish: (wish.step, wish.tool, wish.arguments) == ("answer", "refund", {"order": "7"}), "done"),
        (lambda wish: False, "no"),
        (lambda wish: None, "no"),
        (_later, "done"),
    ],
)
def test_code_consents_to_tools(refunds: Workspace, approve: Any, answer: str) -> None:
    assert promptchain.load("refunds", approve=approve).run(order="7").outputs == {"answer": answer}


def test_what_is_no_function_cannot_consent(refunds: Workspace) -> None:
    with pytest.raises(UsageError, match="approve is a function"):
        promptchain.load("refunds", approve=True)  # type: ignore[arg-type]


SEARCHING = """
model: MODEL
inputs: {message: string}
steps:
  pages: {retrieve: {from: "pages/*.md", query: "{{ message }}", top_k: 1}}
  reply: {prompt: "{{ pages }}"}
"""


def indexes() -> int:
    return sum(thread.name.startswith("promptchain-corpus") for thread in threading.enumerate())


def test_aclose_closes_what_runs_have_opened_and_the_next_run_sees_edited_pages(demo: Workspace) -> None:
    demo.write("chains/pages/one.md", "# One\n\nThe first words.\n")
    demo.chain(SEARCHING, replies=["fine"])

    async def scene() -> list[str]:
        async with promptchain.load("demo", lm=ScriptedLM("fine")) as chain:
            first = await chain.arun(message="words")
            assert indexes() == 1
            await chain.aclose()
            assert indexes() == 0
            demo.write("chains/pages/one.md", "# One\n\nOther words, and more.\n")
            again = await chain.arun(message="words")
        assert indexes() == 0
        return [run.steps["pages"].value[0]["text"] for run in (first, again)]

    assert [text.partition("\n\n")[2] for text in asyncio.run(scene())] == [
        "The first words.",
        "Other words, and more.",
    ]


def test_run_leaves_nothing_open(demo: Workspace) -> None:
    demo.write("chains/pages/one.md", "# One\n\nThe first words.\n")
    demo.chain(SEARCHING, replies=["fine"])
    with promptchain.load("demo", lm=ScriptedLM("fine")) as chain:
        assert chain.run(message="words").outputs == {"reply": "fine"}
        assert indexes() == 0
        demo.write("chains/pages/one.md", "# One\n\nOther words, and more.\n")
        assert "Other words" in chain.run(message="words").steps["pages"].value[0]["text"]


def test_aclose_ends_servers_of_tools(demo: Workspace) -> None:
    pytest.importorskip("mcp")
    folder = Folder(demo.root)
    folder.code(SERVER, "server")
    demo.chain(
        """
        model: MODEL
        inputs: {message: string}
        steps: {a: {prompt: "{{ message }}", tools: [{mcp: [PYTHON, server.py]}]}}
        """.replace("PYTHON", sys.executable),
        replies=["fine"],
    )

    async def scene() -> None:
        async with promptchain.load("demo", lm=ScriptedLM('{"answer": "fine"}')) as chain:
            await chain.arun(message="hi")
            assert alive(folder)
        assert not alive(folder)

    asyncio.run(scene())
