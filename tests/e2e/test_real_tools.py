"""The embedded model is held to the form in which tools are called, whatever it means by that."""

import asyncio
import json

import jsonschema
import pytest

from promptchain import calling
from promptchain.lm.local import LocalLM
from promptchain.lm.protocol import Finish, Message, Request, ToolSpec
from promptchain.types import parse_type
from tests.e2e.test_real_models import _why_no_model
from tests.workspace import Workspace

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(_why_no_model() is not None, reason=_why_no_model() or ""),
]

ORDER = ToolSpec(
    "order",
    "Orders things.",
    {
        "type": "object",
        "properties": {"order": {"$ref": "#/$defs/Order"}},
        "required": ["order"],
        "additionalProperties": False,
        "$defs": {
            "Order": {
                "type": "object",
                "properties": {"first": {"$ref": "#/$defs/Thing"}, "then": {"$ref": "#/$defs/Thing"}},
                "required": ["first", "then"],
                "additionalProperties": False,
            },
            "Thing": {"enum": ["tea", "milk"]},
        },
    },
)


def test_a_call_has_the_form_of_its_tool() -> None:
    """Of definitions too, as pydantic writes them for the models of a function."""
    kind = parse_type({"sum": "integer"})
    whole = calling.schema([ORDER], kind, reasoning=True)
    only_calls = {"anyOf": whole["anyOf"][:1]}
    messages = (
        Message("system", calling.instruction([ORDER], kind, reasoning=True)),
        Message("user", "Order tea, and then milk."),
    )
    lm = LocalLM()
    try:
        for schema in (whole, only_calls):
            request = Request("local/smollm2", messages, {"temperature": 0, "max_tokens": 160}, schema=schema)
            response = asyncio.run(lm.complete(request))
            assert response.finish is Finish.STOP, response.text
            jsonschema.validate(json.loads(response.text), schema)
            turn = calling.read(kind, response.text)
            if schema is only_calls:
                assert [call.name for call in turn.calls] == ["order"]
                assert json.loads(turn.calls[0].arguments)["order"]["first"] in ("tea", "milk")
    finally:
        lm.close()


def test_a_step_with_a_tool_comes_to_an_answer(empty: Workspace) -> None:
    empty.write("shop.py", 'def price(thing: str) -> float:\n    """The price of a thing."""\n    return 2.5\n')
    empty.write(
        "chains/demo.yaml",
        """
        model: local/smollm2
        params: {temperature: 0, max_tokens: 80}
        inputs: {message: string}
        steps:
          answer:
            prompt: "{{ message }}"
            output: number
            tools: [shop:price]
            max_turns: 2
        """,
    )
    done = empty.run("run", "demo", "What is the price of tea?", "--json")
    assert done.code == 0, done
    step = done.json["steps"]["answer"]
    assert isinstance(step["value"], int | float)
    assert len(step["calls"]) == 1 + len(step.get("tools", ()))  # one way or the other
    assert all(call["error"] is None for call in step["calls"])
