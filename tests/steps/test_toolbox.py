"""Tools of a prompt step: called in the model's own way or in words; and all that goes wrong with them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from promptchain import runner
from promptchain.errors import Fault, ModelError, PromptChainError
from promptchain.events import ToolEnded, ToolStarted
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Capabilities
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.parts import Tool
from promptchain.records import Run, Status, StepRun, ToolRun
from promptchain.steps.context import Context
from promptchain.steps.toolbox import Toolbox, ToolSource
from promptchain.steps.workshop import Wish, Workshop
from tests.steps.kit import GRAMMAR, NATIVE, Folder, asks, told, writes

CODE = '''
    import sys, time

    def add(a: int, b: int) -> int:
        """Add two whole numbers.

        More that no model needs.
        """
        return a + b

    def boom(): raise ValueError("no such row")
    def hang(): time.sleep(60)
    def huge(): return "x" * 10_000_000
    def odd(): return object()
    def leave(): sys.exit(3)
    def chat(): print("printed"); return {"n": 1, "text": "é"}
    async def slow():
        import asyncio
        await asyncio.sleep(0.05)
        return "done"
'''
ADD = {"prompt": "what is 1 + 2", "tools": ["code:add"]}
ANY = {"prompt": "go", "tools": [f"code:{name}" for name in ("add", "boom", "huge", "odd", "leave", "chat")]}


@pytest.fixture
def project(folder: Folder) -> Folder:
    folder.code(CODE)
    return folder


def native(*replies: Any) -> ScriptedLM:
    return ScriptedLM([*replies], capabilities=NATIVE)


def step_of(run: Run) -> StepRun:
    return run.steps["a"]


# -- the two ways ------------------------------------------------------------------------------------------------------


def test_a_model_calls_in_its_own_way(project: Folder) -> None:
    lm = native(asks(("add", {"a": 1, "b": 2}), text="Let me add."), asks(("add", {"a": 3, "b": 4})), "7")
    run = project.once({**ADD, "output": "integer"}, lm)
    step = step_of(run)
    assert (run.status, step.value, len(step.calls)) == (Status.DONE, 7, 3)
    assert [(tool.name, tool.arguments, tool.value, tool.turn, tool.error) for tool in step.tools] == [
        ("add", {"a": 1, "b": 2}, 3, 1, None), ("add", {"a": 3, "b": 4}, 7, 2, None)
    ]  # fmt: skip
    first, second, third = lm.requests
    (spec,) = first.tools
    assert (spec.name, spec.description) == ("add", "Add two whole numbers.")
    assert set(spec.parameters["properties"]) == {"a", "b"}
    assert first.schema is None
    assert "add" not in "".join(message.content for message in first.messages)
    assert [message.role for message in third.messages[-4:]] == ["assistant", "tool", "assistant", "tool"]
    assert (told(second), told(third)) == (["3"], ["3", "7"])
    assert second.messages[-2].tool_calls[0].id == second.messages[-1].tool_call_id
    assert run.totals.model_dump() == {"calls": 3, "prompt_tokens": 38, "completion_tokens": 5, "cost": 1.0}
    assert step.reasoning == "Let me add."


@pytest.mark.parametrize("able", [Capabilities(), GRAMMAR, Capabilities(schema=True)])
def test_a_model_that_cannot_writes_its_calls(project: Folder, able: Capabilities) -> None:
    replies = [f"Sure:\n```json\n{writes('add', {'a': 1, 'b': 2})}\n```", '{"answer": {"sum": 3}}']
    lm = ScriptedLM(replies, capabilities=able)
    run = project.once({**ADD, "output": {"sum": "integer"}}, lm)
    assert (run.status, step_of(run).value) == (Status.DONE, {"sum": 3})
    assert [tool.value for tool in step_of(run).tools] == [3]
    first, second = lm.requests
    assert first.tools == ()
    assert first.messages[0].role == "system"
    assert "- add: Add two whole numbers." in first.messages[0].content
    assert '"sum"' in first.messages[0].content
    assert [message.content for message in second.messages[-2:]] == [replies[0], "add gave: 3"]
    assert bool(first.schema) is able.schema
    if first.schema:
        options = first.schema["anyOf"]
        assert options[0]["properties"]["tool"] == {"const": "add"}
        assert options[1]["required"] == ["answer"]


@pytest.mark.parametrize(
    ("reply", "value"),
    [("Just 3.", "Just 3."), ('{"answer": "3"}', "3"), ('The answer: {"answer": "3"}', "3"),
     ('{"tool": null, "answer": "3"}', "3")],
)  # fmt: skip
def test_a_text_may_be_answered_in_words(project: Folder, reply: str, value: str) -> None:
    run = project.once(ADD, ScriptedLM([reply]))
    assert (step_of(run).value, step_of(run).tools) == (value, ())


def test_what_a_model_writes_behind_its_call_is_not_read(project: Folder) -> None:
    """It goes on by itself with results that no tool gave."""
    made_up = writes("add", {"a": 1, "b": 2}) + '\nadd gave: 5\n{"answer": "five"}'
    run = project.once({**ADD, "output": "integer"}, ScriptedLM([made_up, '{"answer": 3}']))
    assert (step_of(run).value, len(step_of(run).tools)) == (3, 1)
    assert [call.error for call in step_of(run).calls] == [None, None]


def test_thinking_goes_before_calls_and_the_answer(project: Folder) -> None:
    lm = ScriptedLM(
        [writes("add", {"a": 1, "b": 2}, reasoning="I add."), '{"reasoning": "It is 3.", "answer": 3}'],
        capabilities=GRAMMAR,
    )
    run = project.once({**ADD, "output": "integer", "reasoning": True}, lm)
    assert (step_of(run).value, step_of(run).reasoning) == (3, "I add.\n\nIt is 3.")
    assert lm.requests[0].schema is not None
    assert [next(iter(option["properties"])) for option in lm.requests[0].schema["anyOf"]] == ["reasoning"] * 2


def test_a_model_thinks_in_its_own_way_too(project: Folder) -> None:
    lm = native(asks(("add", {"a": 1, "b": 2}), text="I add."), "It is odd.\nAnswer: 3")
    run = project.once({**ADD, "output": "integer", "reasoning": True}, lm)
    assert (step_of(run).value, step_of(run).reasoning) == (3, "I add.\n\nIt is odd.")


def test_an_object_after_tools(project: Folder) -> None:
    lm = native(asks(("add", {"a": 1, "b": 2})), "I have no idea", '{"sum": 3}')
    run = project.once({**ADD, "output": {"sum": "integer"}}, lm)
    assert step_of(run).value == {"sum": 3}
    assert [bool(call.error) for call in step_of(run).calls] == [False, True, False]
    assert "That reply cannot be used" in lm.requests[2].messages[-1].content


def test_calls_of_one_turn_run_side_by_side(project: Folder) -> None:
    events: list[Any] = []
    lm = native(asks(*[("slow", {})] * 20), "ok")
    run = project.once({"prompt": "go", "tools": ["code:slow"]}, lm, observe=events.append)
    tools = step_of(run).tools
    assert [tool.turn for tool in tools] == [1] * 20
    assert max(tool.started for tool in tools) < min(tool.started + tool.seconds for tool in tools)
    assert [len([event for event in events if isinstance(event, kind)]) for kind in (ToolStarted, ToolEnded)] == [
        20
    ] * 2
    assert [message.tool_call_id for message in lm.requests[1].messages if message.role == "tool"] == [
        f"id{n}" for n in range(20)
    ]


def test_demos_show_the_answer_in_the_form_of_the_way(project: Folder) -> None:
    demo = {"inputs": {}, "output": 5, "reasoning": "2 + 3"}
    step = {**ADD, "output": "integer", "demos": [demo], "reasoning": True}
    words, own = ScriptedLM(['{"reasoning": "", "answer": 3}']), native("x\nAnswer: 3")
    assert step_of(project.once(step, words)).value == step_of(project.once(step, own)).value == 3
    assert json.loads(words.requests[0].messages[2].content) == {"reasoning": "2 + 3", "answer": 5}
    assert own.requests[0].messages[2].content == "2 + 3\nAnswer: 5"


# -- turns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["own", "words"])
def test_at_the_last_turn_it_is_told_to_answer(project: Folder, way: str) -> None:
    call = {"a": 1, "b": 2}
    if way == "own":
        lm = native(*[asks(("add", call))] * 2, "3")
    else:
        lm = ScriptedLM([*[writes("add", call)] * 2, '{"answer": 3}'], capabilities=GRAMMAR)
    run = project.once({**ADD, "output": "integer", "max_turns": 3}, lm)
    step = step_of(run)
    assert (step.value, step.warnings) == (3, ("it had to answer after 2 turns of calling tools",))
    assert lm.requests[-1].messages[-1].content == "Answer now, without calling a tool."
    assert all(message.content != lm.requests[-1].messages[-1].content for message in lm.requests[1].messages)
    if way == "words":
        assert lm.requests[-1].schema is not None
        assert "anyOf" not in lm.requests[-1].schema


@pytest.mark.parametrize("way", ["own", "words"])
def test_a_model_that_goes_on_calling_fails(project: Folder, way: str) -> None:
    lm = ScriptedLM(
        Rule(asks(("add", {"a": 1, "b": 2})) if way == "own" else writes("add", {"a": 1, "b": 2}), always=True).reply,
        capabilities=NATIVE if way == "own" else Capabilities(),
    )
    run = project.once({**ADD, "max_turns": 2, "retry": {"parse": 1}}, lm)
    step = step_of(run)
    assert step.error == "it goes on calling tools after 2 turns"
    assert "max_turns" in str(step.hint)
    assert (len(step.calls), len(step.tools)) == (3, 1)
    said = [message.content for message in lm.requests[-1].messages]
    assert said.count("Answer now, without calling a tool.") == 1
    assert "That reply cannot be used: it goes on calling tools" in said[-1]


# -- what the model does wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("ad", {"a": 1}, "there is no tool 'ad'; did you mean 'add'?"),
        ("x" * 100_000, {}, "there is no tool 'xxx"),
        ("add", '{"a": 1, "b"', "the arguments are no JSON object"),
        ("add", "[1, 2]", "the arguments are no JSON object"),
        ("add", "", "the arguments do not fit: "),
        ("add", {"a": 1}, "the arguments do not fit: missing field 'b'"),
        ("add", {"a": "one", "b": 2}, "the arguments do not fit: a: 'one' is not an integer"),
        ("add", {"a": 1, "b": 2, "c": 3}, "the arguments do not fit: "),
        ("add", '{"a": NaN, "b": 2}', "the arguments are no JSON object"),
        ("add", '{"a": 1e999, "b": 2}', "the arguments are no JSON object"),
        ("add", '{"a": "\\ud800", "b": 2}', "the arguments do not fit: a: "),
        ("add\ud800", "\ud800", "there is no tool 'add\ufffd'"),
        ("add", '{"a": ' + "[" * 5000 + "]" * 5000 + "}", "the arguments are no JSON object"),
        ("add", '{"a": ' + "[" * 90 + "]" * 90 + ', "b": 1}', "the arguments do not fit: "),
        ("add", '{"a": ' + "9" * 5000 + ', "b": 1}', "the arguments are no JSON object"),
    ],
    ids=range(15),
)
def test_a_call_that_cannot_be_made_is_told_to_the_model(project: Folder, name: str, arguments: Any, said: str) -> None:
    lm = native(asks((name, arguments)), "I give up")
    run = project.once(ADD, lm)
    assert (run.status, step_of(run).value) == (Status.DONE, "I give up")
    (tool,) = step_of(run).tools
    assert tool.value is None
    assert str(tool.error).startswith(said)
    assert len(str(tool.error)) < 600
    assert json.loads(told(lm.requests[1])[0]) == {"error": tool.error}
    assert Run.model_validate_json(run.model_dump_json()) == run


# -- what the tool does wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("boom", "code.py:11: code:boom raised ValueError: no such row"),
        ("huge", "the result is too long: 10,000,000 characters, and at most 200,000 are read"),
        ("odd", "code:odd returned a value of the type object, which JSON cannot say; "),
        ("leave", "code.py:15: code:leave ended the program: sys.exit(3)"),
    ],
)
def test_a_tool_that_fails_is_told_to_the_model(project: Folder, name: str, said: str) -> None:
    lm = native(asks((name, {}), ("add", {"a": 1, "b": 2})), "ok")
    run = project.once(ANY, lm)
    bad, good = step_of(run).tools
    assert (run.status, good.value) == (Status.DONE, 3)
    assert str(bad.error).startswith(said)
    assert [json.loads(text) for text in told(lm.requests[1])] == [{"error": bad.error}, 3]


def test_a_tool_that_hangs_is_given_up(project: Folder) -> None:
    lm = native(asks(("hang", {})), "ok")
    run = project.once({"prompt": "go", "tools": [{"python": "code:hang", "timeout": 0.05}]}, lm)
    (tool,) = step_of(run).tools
    assert (tool.error, run.seconds < 30) == ("code:hang took longer than 0.05 s", True)


def test_what_a_tool_prints_is_no_output(project: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    lm = native(asks(("chat", {})), "ok")
    assert step_of(project.once(ANY, lm)).tools[0].value == {"n": 1, "text": "é"}
    assert capsys.readouterr() == ("", "printed\n")
    assert told(lm.requests[1]) == ['{"n": 1, "text": "é"}']


def test_a_tool_is_named_and_described_as_the_step_says(project: Folder) -> None:
    step = {"prompt": "go", "tools": [{"python": "code:add", "name": "plus", "description": "Sum\nof two."}]}
    lm = native(asks(("plus", {"a": 1, "b": 2})), "ok")
    assert step_of(project.once(step, lm)).tools[0].value == 3
    assert (lm.requests[0].tools[0].name, lm.requests[0].tools[0].description) == ("plus", "Sum\nof two.")


def test_two_tools_of_one_name_are_refused(project: Folder) -> None:
    with pytest.raises(PromptChainError, match="two tools are called 'add'; give one of them another `name`"):
        project.once({"prompt": "go", "tools": ["code:add", {"python": "code:chat", "name": "add"}]}, native())


def test_a_module_that_cannot_be_imported_fails_the_step_at_once(project: Folder) -> None:
    project.code("import nothing_of_that_name\ndef f(): return 1", "broken")
    run = project.once({"prompt": "go", "tools": ["broken:f"]}, native("never"))
    assert "the import of broken.py raised ModuleNotFoundError" in str(step_of(run).error)
    assert step_of(run).calls == ()


# -- consent -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consents", [True, False, None])
def test_a_tool_may_wait_for_consent(project: Folder, consents: bool | None) -> None:
    asked: list[Wish] = []

    async def approve(wish: Wish) -> bool:
        asked.append(wish)
        return bool(consents)

    if consents is not None:
        project.workshop["approve"] = approve
    step = {"prompt": "go", "tools": [{"python": "code:add", "confirm": True}]}
    lm = native(asks(("add", {"a": 1}), ("add", {"a": 1, "b": 2})), "ok")
    misfit, tool = step_of(project.once(step, lm)).tools
    assert (tool.value, tool.error) == ((3, None) if consents else (None, "the user did not consent to this call"))
    assert str(misfit.error).startswith("the arguments do not fit")  # nobody is asked about that
    assert [(wish.step, wish.tool, wish.arguments) for wish in asked] == [("a", "add", {"a": 1, "b": 2})] * (
        consents is not None
    )


# -- chains as tools ---------------------------------------------------------------------------------------------------

LOOK = {"prompt": "what is the price", "tools": [{"chain": "price"}]}


@pytest.fixture
def shop(project: Folder) -> Folder:
    project.chain(
        "price", {"find": "find {{ item }}", "tax": "tax of {{ find }}"}, description="The price of an item.",
        inputs={"item": "string", "where?": "string"}, outputs={"price": "{{ tax }}"},
    )  # fmt: skip
    return project


def of_shop(*own: Any, find: Any = "5", tax: Any = "6") -> ScriptedLM:
    return ScriptedLM([Rule(find, contains="find"), Rule(tax, contains="tax of"), *own], capabilities=NATIVE)


def test_a_chain_is_a_tool(shop: Folder) -> None:
    lm = of_shop(asks(("price", {"item": "tea"}), ("price", {"item": "milk"})), "6 euros")
    run = shop.once(LOOK, lm)
    tools = step_of(run).tools
    assert [tool.value for tool in tools] == ["6", "6"]  # its only output
    assert [list(tool.run.steps) for tool in tools if tool.run] == [["find", "tax"]] * 2
    assert (len(step_of(run).calls), run.totals.calls) == (2, 6)
    (spec,) = lm.requests[0].tools
    assert (spec.name, spec.description, spec.parameters["required"]) == ("price", "The price of an item.", ["item"])
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_a_chain_that_fails_is_told_to_the_model_and_recorded(shop: Folder) -> None:
    down = ModelError("the server is down", fault=Fault.AUTH, model="m")
    run = shop.once(LOOK, of_shop(asks(("price", {"item": "tea"}), ("price", {})), "sorry", tax=down))
    failed, misfit = step_of(run).tools
    assert (run.status, step_of(run).value) == (Status.DONE, "sorry")
    assert failed.error == "step 'tax' failed: the server is down"
    assert failed.run is not None
    assert failed.run.steps["find"].value == "5"
    assert str(misfit.error).startswith("the arguments do not fit: missing field 'item'")


def test_a_ceiling_that_is_reached_in_a_tool_ends_the_step(shop: Folder) -> None:
    run = shop.once(LOOK, of_shop(asks(("price", {"item": "tea"})), "never"), budget=Budget(calls=2))
    assert "--max-calls 2 leaves no room" in str(run.error)
    (tool,) = step_of(run).tools
    assert tool.run is not None
    assert tool.run.steps["find"].value == "5"
    assert "--max-calls" in str(tool.error)
    assert run.totals.calls == 2  # what was paid for is told


def test_a_chain_that_takes_too_long_is_given_up(shop: Folder) -> None:
    step = {"prompt": "go", "tools": [{"chain": "price", "timeout": 0.05}]}
    lm = ScriptedLM(
        [Rule("5", contains="find"), Rule("6", contains="tax of", delay=30), asks(("price", {"item": "tea"})), "ok"],
        capabilities=NATIVE,
    )
    run = shop.once(step, lm)
    (tool,) = step_of(run).tools
    assert (run.status, tool.error) == (Status.DONE, "it took longer than 0.05 s")
    assert tool.run is not None
    assert tool.run.status is Status.INTERRUPTED
    assert run.totals.calls == 3


# -- interrupted -------------------------------------------------------------------------------------------------------


def interrupted(folder: Folder, step: Any, lm: ScriptedLM, *, until: Any) -> Run:
    """The record of a run that is cancelled as soon as `until` says so of an event."""
    folder.chain("one", {"a": step}, model="m")
    bound = folder.bind("one", lm)
    records: list[Run] = []

    async def go() -> None:
        task: asyncio.Task[Run] | None = None

        def observe(event: Any) -> None:
            if until(event) and task:
                asyncio.get_running_loop().call_later(0.02, task.cancel)

        task = asyncio.create_task(runner.run(bound, {}, Caller(lm), observe=observe, record=records.append))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    (record,) = records
    return record


def starts(name: str) -> Any:
    return lambda event: isinstance(event, ToolStarted) and event.tool.name == name


def test_a_run_that_is_interrupted_in_a_tool_says_what_was_done(project: Folder) -> None:
    project.code("import asyncio\nasync def long(): await asyncio.sleep(30)\n", "waits")
    step = {"prompt": "go", "tools": ["code:add", "waits:long"]}
    lm = native(asks(("add", {"a": 1, "b": 2})), asks(("long", {})))
    record = interrupted(project, step, lm, until=starts("long"))
    step_run = step_of(record)
    assert (record.status, step_run.status) == (Status.INTERRUPTED, Status.INTERRUPTED)
    assert [(tool.name, tool.value, tool.error) for tool in step_run.tools] == [
        ("add", 3, None), ("long", None, "interrupted")
    ]  # fmt: skip
    assert record.totals.calls == len(step_run.calls) == 2


def test_a_run_that_is_interrupted_in_a_chain_counts_its_calls_once(shop: Folder) -> None:
    lm = ScriptedLM(
        [Rule("5", contains="find"), Rule("6", contains="tax of tea", delay=30), Rule("6", contains="tax of"),
         asks(("price", {"item": "milk"})), Rule("x", delay=30)],
        capabilities=NATIVE,
    )  # fmt: skip
    record = interrupted(shop, LOOK, lm, until=lambda event: isinstance(event, ToolEnded))
    (tool,) = step_of(record).tools
    assert (tool.value, step_of(record).run) == ("6", None)
    assert record.totals.calls == 3


# -- one toolbox for each step -----------------------------------------------------------------------------------------


def test_steps_have_their_own_tools_however_many_come_and_go(project: Folder) -> None:
    """What tools come from may lie in memory where that of others lay."""
    lm = native()
    context = Context(Caller(lm), Workshop(project.root))

    async def go() -> None:
        for name in ["add", "chat"] * 20:
            box = await Toolbox.of((ToolSource(Tool(python=f"code:{name}")),), context)
            assert [spec.name for spec in box.specs] == [name]

    asyncio.run(go())


def test_a_step_opens_its_tools_once_for_all_items(project: Folder) -> None:
    sources = (ToolSource(Tool(python="code:add")),)
    context = Context(Caller(native()), Workshop(project.root))

    async def go() -> int:
        boxes = await asyncio.gather(*(Toolbox.of(sources, context) for _ in range(10)))
        return len({*map(id, boxes)})

    assert asyncio.run(go()) == 1


# -- MCP servers -------------------------------------------------------------------------------------------------------

SERVER = """
    import json, os, pathlib, sys
    pathlib.Path("pid").write_text(str(os.getpid()))
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked: continue
        method, given = asked["method"], asked.get("params") or {}
        answer = {"jsonrpc": "2.0", "id": asked["id"]}
        if method == "initialize":
            answer["result"] = {"protocolVersion": given["protocolVersion"], "capabilities": {"tools": {}},
                                "serverInfo": {"name": "small", "version": "1"}}
        elif method == "tools/list":
            schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
            answer["result"] = {"tools": [{"name": "say", "description": "Says it.", "inputSchema": schema}]}
        elif method == "tools/call":
            if given["arguments"]["word"] == "die": sys.exit(1)
            answer["result"] = {"content": [{"type": "text", "text": given["arguments"]["word"].upper()}]}
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def served(folder: Folder) -> dict[str, Any]:
    """A step with the tools of a server."""
    folder.code(SERVER, "server")
    return {"prompt": "go", "tools": [{"mcp": [sys.executable, "server.py"]}]}


def test_tools_of_a_server(folder: Folder, served: dict[str, Any]) -> None:
    lm = native(asks(("say", {"word": "hi"}), ("say", {})), "ok")
    run = folder.once(served, lm)
    said, misfit = step_of(run).tools
    assert (step_of(run).value, said.value) == ("ok", "HI")
    assert str(misfit.error).startswith("the arguments do not fit")
    assert (lm.requests[0].tools[0].name, lm.requests[0].tools[0].description) == ("say", "Says it.")
    assert not alive(folder)  # it ends with the run's event loop


def test_a_server_that_dies_fails_the_step_and_names_itself(folder: Folder, served: dict[str, Any]) -> None:
    run = folder.once(served, native(asks(("say", {"word": "hi"})), asks(("say", {"word": "die"})), "never"))
    step = step_of(run)
    assert (run.status, len(step.calls)) == (Status.FAILED, 2)
    assert str(step.error).startswith("the tool 'say': the MCP server '")
    assert "server.py' ended with status 1" in str(step.error)
    assert [(tool.value, tool.error) for tool in step.tools] == [("HI", None), (None, step.error)]


def alive(folder: Folder) -> bool:
    try:
        os.kill(int((folder.root / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_the_record_of_tools_reads_back(tmp_path: Path) -> None:
    run = ToolRun(name="add", arguments="no JSON", error="x", started=0.5, sample=2)
    (tmp_path / "x").write_text(run.model_dump_json())
    assert ToolRun.model_validate_json((tmp_path / "x").read_text()) == run


class Mixed(ScriptedLM):
    """A model that calls tools in its own way, and others that cannot."""

    def capabilities(self, model: str) -> Capabilities:
        return NATIVE if model == "m" else Capabilities()


def test_a_fallback_calls_in_the_way_it_can(project: Folder) -> None:
    down = ModelError("no such key", fault=Fault.AUTH, model="m")
    one, two = asks(("add", {"a": 1, "b": 2})), asks(("add", {"a": 2, "b": 2}))
    lm = Mixed([one, two, down, writes("add", {"a": 3, "b": 4}), '{"answer": 7}'])
    run = project.once({**ADD, "output": "integer", "fallbacks": ["m2"]}, lm)
    assert step_of(run).value == 7
    assert [(tool.value, tool.turn) for tool in step_of(run).tools] == [(3, 1), (4, 2), (7, 1)]
    assert [bool(request.tools) for request in lm.requests] == [True, True, True, False, False]
    assert len(lm.requests[3].messages) == 2  # it begins anew


def test_a_name_that_no_provider_takes_is_written_so_that_it_does(folder: Folder, served: dict[str, Any]) -> None:
    folder.code(SERVER.replace('"name": "say"', '"name": "words.say/loud"'), "server")
    served["tools"][0]["only"] = ["words.say/loud"]
    lm = native(asks(("words_say_loud", {"word": "hi"})), "ok")
    (said,) = step_of(folder.once(served, lm)).tools
    assert (lm.requests[0].tools[0].name, said.name, said.value) == ("words_say_loud", "words_say_loud", "HI")
