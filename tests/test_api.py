"""The Python API: `promptchain.load`, `run`, `arun`."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import promptchain
from promptchain import InputError, InvalidFileError, PromptChainError, RunError, ScriptedLM, UsageError
from promptchain.errors import Fault, ModelError
from tests import lock_kit as kit
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
        await asyncio.sleep(0.05)
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
