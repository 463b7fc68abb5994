"""A step to messages, and a reply to a value."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.chain import Demo, Format, PromptStep
from promptchain.errors import ParseError, PromptChainError
from promptchain.lm.protocol import Capabilities, Message, Request, ToolSpec
from promptchain.records import StepVariant, Variant
from promptchain.render import Parsed, ask_again, format_instruction, parse, render, resolve_format
from promptchain.types import Type, parse_type

PLAIN, HOSTED = Capabilities(), Capabilities(schema=True)
LOCAL = Capabilities(schema=True, grammar=True, local=True)
SPECS: dict[str, Any] = {
    "text": "string",
    "enum": ["card_arrival", "refund", "no refund"],
    "maybe": ["a", "b", None],
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "maybe number": {"type": ["number", "null"]},
    "object": {"amount": "number", "note?": "string"},
    "list": {"type": "array", "items": {"type": "string"}},
    "any": "any",
}
TYPES = {name: parse_type(spec) for name, spec in SPECS.items()}
TEXT_, JSON, SCHEMA = Format.TEXT, Format.JSON, Format.SCHEMA
FORM = dict.fromkeys(("object", "list", "any"), JSON)
THINK = 'Think step by step first. Then write a last line that begins with "Answer:", followed by'
OBJECT = json.dumps(TYPES["object"].model_schema(), separators=(", ", ": "))


def rendered(capabilities: Capabilities = PLAIN, variant: StepVariant | None = None, **step: Any) -> Request:
    made = PromptStep.model_validate({"prompt": "{{ q }}", **step})
    return render(
        made, variant or Variant.seed(made), {"q": "Hi"}, model="m", params={"top_p": 1}, capabilities=capabilities
    )


# -- to messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain", "hosted"),
    [
        *((name, TEXT_, TEXT_) for name in ("text", "enum", "maybe", "integer", "number", "boolean", "maybe number")),
        *((name, JSON, SCHEMA) for name in ("object", "list", "any")),
    ],
)
def test_the_format_that_a_type_and_a_model_call_for(name: str, plain: Format, hosted: Format) -> None:
    step = PromptStep.model_validate({"prompt": "x", "output": SPECS[name]})
    assert [resolve_format(step, StepVariant(), model) for model in (PLAIN, HOSTED)] == [plain, hosted]
    assert resolve_format(step, StepVariant(format=JSON), HOSTED) is JSON


@pytest.mark.parametrize(
    ("name", "form", "reasoning", "expected"),
    [
        ("text", TEXT_, False, ""),
        ("enum", TEXT_, False, "Reply with exactly one of these, and nothing else: card_arrival, refund, no refund."),
        ("maybe", TEXT_, False, "Reply with exactly one of these, and nothing else: a, b, null."),
        ("integer", TEXT_, False, "Reply with one whole number, and nothing else."),
        ("number", TEXT_, False, "Reply with one number, and nothing else."),
        ("boolean", TEXT_, False, "Reply with true or false, and nothing else."),
        ("maybe number", TEXT_, False, "Reply with one number, or null, and nothing else."),
        ("enum", TEXT_, True, f"{THINK} exactly one of these: card_arrival, refund, no refund."),
        ("text", TEXT_, True, f"{THINK} the answer alone."),
        ("object", JSON, False, f"Reply with JSON that fits this JSON Schema, and nothing else:\n{OBJECT}"),
        ("object", SCHEMA, False, f"Reply with JSON that fits this JSON Schema, and nothing else:\n{OBJECT}"),
        (
            "boolean",
            JSON,
            True,
            "Reply with JSON that fits this JSON Schema, and nothing else:\n"
            '{"type": "object", "properties": {"reasoning": {"type": "string"}, "value": {"type": "boolean"}}, '
            '"required": ["reasoning", "value"], "additionalProperties": false}',
        ),
    ],
)
def test_what_is_said_of_the_form(name: str, form: Format, reasoning: bool, expected: str) -> None:
    assert format_instruction(TYPES[name], form, reasoning=reasoning) == expected


def test_messages_are_the_templates_and_nothing_else() -> None:
    assert rendered().messages == (Message("user", "Hi"),)
    assert rendered().params == {"top_p": 1}
    demo = {"inputs": {"q": "Ho"}, "output": "refund"}
    request = rendered(output=["refund", "none"], instructions="Help {{ q }}.", demos=[demo])
    assert request.messages == (
        Message("system", "Help Hi.\n\nReply with exactly one of these, and nothing else: refund, none."),
        Message("user", "Ho"),
        Message("assistant", "refund"),
        Message("user", "Hi"),
    )
    assert request == rendered(output=["refund", "none"], instructions="Help {{ q }}.", demos=[demo])
    compiled = StepVariant(instructions="Short.", demos=(), format=JSON, reasoning=False)
    assert [m.role for m in rendered(variant=compiled, output=["refund"], demos=[demo]).messages] == ["system", "user"]


def test_what_holds_a_model_to_the_form() -> None:
    assert rendered(output=["a", "b", None]).choices == ("a", "b", "null")
    assert rendered(output=["a", "b"], reasoning=True).choices == ()
    assert rendered(output="integer").schema is None
    assert rendered(LOCAL, output="integer").schema == {"type": "integer"}
    hosted, local = (rendered(model, output={"a": "string"}) for model in (HOSTED, LOCAL))
    assert hosted.schema == local.schema == parse_type({"a": "string"}).model_schema()
    assert [len(request.messages) for request in (hosted, local)] == [1, 2]  # only a local model is told too
    thinking = rendered(HOSTED, output={"a": "string"}, reasoning=True).schema
    assert thinking is not None
    assert list(thinking["properties"]) == ["reasoning", "value"]


def test_a_value_that_is_missing_says_where() -> None:
    with pytest.raises(PromptChainError, match=r"'gone' .* \(line 2 of the instructions\)"):
        rendered(instructions="a\n{{ gone }}")


def test_asking_again_shows_the_reply_and_the_problem() -> None:
    again = ask_again(rendered(), "\ud800oops", "it is wrong").messages[1:]
    assert [m.role for m in again] == ["assistant", "user"]
    assert again[0].content == "\ufffdoops"
    assert "it is wrong" in again[1].content


def _reply(name: str, form: Format, output: Any, reasoning: str | None, think: bool) -> str:
    step = PromptStep.model_validate({"prompt": "x", "output": SPECS[name]})
    demo = Demo(inputs={}, output=output, reasoning=reasoning)
    variant = StepVariant(instructions="", demos=(demo,), format=form, reasoning=think)
    request = render(step, variant, {}, model="m", params={}, capabilities=PLAIN)
    return request.messages[-2].content


_WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).map(str.strip).filter(bool)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": _WORDS,
    "enum": st.sampled_from(["card_arrival", "refund", "no refund"]),
    "maybe": st.sampled_from(["a", "b", None]),
    "integer": st.integers(-(10**30), 10**30),
    "number": _NUMBERS,
    "boolean": st.booleans(),
    "maybe number": st.none() | _NUMBERS,
    "object": st.fixed_dictionaries({"amount": _NUMBERS}, optional={"note": st.none() | st.text(max_size=20)}),
    "list": st.lists(st.text(max_size=20), max_size=4),
    "any": st.recursive(
        st.none() | st.booleans() | _NUMBERS | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
}


@settings(max_examples=250, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(TYPES)), think=st.booleans())
def test_what_a_demo_shows_is_read_back(data: st.DataObject, name: str, think: bool) -> None:
    kind = TYPES[name]
    forms = [JSON, SCHEMA] if name in FORM else list(Format)
    form, output = data.draw(st.sampled_from(forms)), data.draw(_VALUES[name])
    reasoning = data.draw(st.none() | _WORDS.filter(lambda text: "answer" not in text.lower())) if think else None
    parsed = parse(kind, form, _reply(name, form, output, reasoning, think), reasoning=think)
    assert parsed == Parsed(output, reasoning)
    assert type(parsed.value) is type(output) or isinstance(output, int | float)


# -- from a reply ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reply", "value"),
    [
        ("text", "  Hello. \n", "Hello."),
        *(("enum", reply, "card_arrival") for reply in (
            "card_arrival", "Card arrival", "CARD-ARRIVAL.", '"card_arrival"', "**card_arrival**", "`card_arrival`",
            "```\ncard_arrival\n```", "The intent is card_arrival, since it has not come.", "“Card Arrival”",
            '{"intent": "card_arrival"}', "card_arrival\ncard_arrival",
        )),
        *(("enum", reply, "no refund") for reply in ("no refund", "No_refund!", "I think: no refund.")),
        ("maybe", "null", None),
        ("maybe", "A", "a"),
        *(("integer", reply, 42) for reply in (
            "42", " 42. ", "**42**", "+42", "42.0", "It has 42 items.", "```\n42\n```", "(42)", "42 or 42", "42 = 42.0",
        )),
        ("integer", "about 1,234,567 of them", 1234567),
        ("integer", "−5", -5),
        ("number", ".5", 0.5),
        ("number", "around .5 of it", 0.5),
        ("number", "$1,234.50!", 1234.5),
        ("number", "-1.5e-3", -0.0015),
        ("maybe number", "null", None),
        ("maybe number", "It is 3", 3),
        *(("boolean", reply, True) for reply in ("true", "Yes.", "TRUE", "The answer is yes", "Yes, it is true")),
        *(("boolean", reply, False) for reply in ("false", "No!", "**no**")),
    ],
)  # fmt: skip
def test_bare_answers(name: str, reply: str, value: Any) -> None:
    assert parse(TYPES[name], TEXT_, reply).value == value


def read(kind: Type, form: Format, reply: str, *, cut_off: bool = False) -> Any:
    """The value of a reply, None where it is refused."""
    try:
        return parse(kind, form, reply, cut_off=cut_off).value
    except ParseError:
        return None


@pytest.mark.parametrize(
    ("name", "reply", "value", "thought"),
    [
        ("enum", "It says refund.\nAnswer: card_arrival", "card_arrival", "It says refund."),
        ("enum", "Hm.\n\n**Final answer:** Refund.", "refund", "Hm."),
        ("enum", "It must be a refund", "refund", "It must be a refund"),
        ("integer", "3 + 4 is 7.\nAnswer: 7", 7, "3 + 4 is 7."),
        ("text", "Think.\nAnswer: Paris,\nof course", "Paris,\nof course", "Think."),
    ],
)
def test_thinking_aloud(name: str, reply: str, value: Any, thought: str) -> None:
    assert parse(TYPES[name], TEXT_, reply, reasoning=True) == Parsed(value, thought)
    with pytest.raises(ParseError) as caught:
        parse(parse_type(["x", "y"]), TEXT_, reply, reasoning=True)
    assert caught.value.text == reply


@pytest.mark.parametrize(
    ("name", "form", "reply", "message"),
    [
        ("enum", TEXT_, "  ", "the reply is empty"),
        ("enum", TEXT_, "card_arrival or refund", r"names several of them \(card_arrival, refund\)"),
        ("enum", TEXT_, "A loan?", r"one of card_arrival, refund, no refund, and is 'A loan\?'"),
        ("enum", TEXT_, "refunds", "and is 'refunds'"),
        ("integer", TEXT_, "4 out of 5", r"holds several of them \(4, 5\)"),
        ("integer", TEXT_, "3.5", "'3.5' is not an integer"),
        ("integer", TEXT_, "v2", "'v2' is not an integer"),
        ("number", TEXT_, "NaN", "'NaN' is not a number"),
        ("number", TEXT_, "1e999", "'1e999' is not a number"),
        ("number", TEXT_, "many", "'many' is not a number"),
        ("boolean", TEXT_, "yes and no", "holds several of them"),
        ("boolean", TEXT_, "maybe", "'maybe' is not a boolean"),
        ("object", JSON, "no idea", "the reply is not JSON: 'no idea'"),
        ("object", JSON, '{"amount": NaN}', "does not fit|not JSON"),
        ("object", JSON, '{"amount": 1e999}', "does not fit"),
        ("object", JSON, '{"amount": "x"}', "amount: 'x' is not a number"),
        ("object", JSON, '{"amount": 1, "more": 2}', "unknown field 'more'"),
        ("object", JSON, '{"amount": 1} or {"amount": 2}', "2 different answers"),
        ("object", JSON, '```\n{"amount": 1}\n```\n```\n{"amount": 2}\n```', "2 different answers"),
        ("list", JSON, "[1]", r"\[0\]: 1 is not a string"),
        ("any", JSON, "[" * 150 + "]" * 150, "nested"),
    ],
)
def test_replies_that_cannot_be_used(name: str, form: Format, reply: str, message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        parse(TYPES[name], form, reply)
    assert caught.value.text == reply


@pytest.mark.parametrize(
    ("choices", "reply", "value"),
    [
        ([-1, 0, 1], "-1", -1),
        ([-1, 0, 1], "The score is -1.", -1),
        ([1, 2, 3], "I give it 2", 2),
        ([1, 2, 3], "1.5", None),
        ([1, "1"], "1", "1"),
        (["1", 1, "x"], "1", "1"),
        (["a b", "a_b"], "A-B", None),
        (["a b", "a_b"], "a_b", "a_b"),
        ([True, "maybe"], "true", True),
    ],
)
def test_labels_that_are_like_each_other(choices: list[Any], reply: str, value: Any) -> None:
    assert read(parse_type(choices), TEXT_, reply) == value
    assert read(parse_type(choices), TEXT_, str(choices[-1]).lower()) == choices[-1]


@pytest.mark.parametrize(
    ("spec", "reply", "value"),
    [
        (SPECS["object"], '{"amount": 12', None),
        (SPECS["object"], '{"amount": 12, "note": "the cust', None),
        (SPECS["object"], '{"amount": 12} and', {"amount": 12}),
        ("integer", "12", None),
        ("integer", "12 of", 12),
        (["card", "card_arrival"], "card", None),
        (["card", "card_arrival"], "card_arrival\n\nThe", "card_arrival"),
        ("string", "Once upon", "Once upon"),
    ],
)
def test_the_beginning_of_an_answer_is_none(spec: Any, reply: str, value: Any) -> None:
    form = JSON if isinstance(spec, dict) else TEXT_
    assert read(parse_type(spec), form, reply, cut_off=True) == value
    assert read(parse_type(spec), form, reply) is not None


_GARBAGE = st.text() | st.text(st.sampled_from("{}[]\"':,.-+`*0123456789eE \n\\truefalsnANwer_#/\ud800"), max_size=80)


@settings(max_examples=300, deadline=None)
@given(
    text=_GARBAGE,
    name=st.sampled_from(sorted(TYPES)),
    form=st.sampled_from(list(Format)),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_any_text_is_read_or_refused(text: str, name: str, form: Format, flags: tuple[bool, bool]) -> None:
    with suppress(ParseError):
        parsed = parse(TYPES[name], form, text, reasoning=flags[0], cut_off=flags[1])
        assert TYPES[name].check(parsed.value) == []
        json.dumps(parsed.value, allow_nan=False, ensure_ascii=False).encode()


# -- demos that call tools ---------------------------------------------------------------------------------------------

_LOOK = ToolSpec("look", "Looks.", {"type": "object", "properties": {"x": {"type": "string"}}})
_CALLING = {
    "tools": ["shop.tools:look"],
    "demos": [
        {
            "inputs": {"q": "Ada?"},
            "calls": [{"tool": "look", "arguments": {"x": "é"}, "result": {"n": 3}}],
            "output": "3",
        }
    ],
}


def _with_tools(capabilities: Capabilities, *tools: ToolSpec, **step: Any) -> list[Message]:
    made = PromptStep.model_validate({"prompt": "{{ q }}", **_CALLING, **step})
    request = render(
        made, Variant.seed(made), {"q": "Hi"}, model="m", params={}, capabilities=capabilities, tools=tools
    )
    return [message for message in request.messages if message.role != "system"]


def test_a_demo_shows_its_calls_as_a_model_writes_them() -> None:
    said = [(message.role, message.content) for message in _with_tools(PLAIN, _LOOK)]
    assert said == [
        ("user", "Ada?"),
        ("assistant", '{"tool": "look", "arguments": {"x": "é"}}'),
        ("user", 'look gave: {"n": 3}'),
        ("assistant", '{"answer": "3"}'),
        ("user", "Hi"),
    ]
    thinking = _with_tools(PLAIN, _LOOK, reasoning=True)
    assert thinking[1].content == '{"reasoning": "", "tool": "look", "arguments": {"x": "é"}}'


def test_a_demo_shows_its_calls_as_a_provider_has_them() -> None:
    asked, told = _with_tools(Capabilities(tools=True), _LOOK)[1:3]
    [call] = asked.tool_calls
    assert (asked.content, call.name, call.arguments) == ("", "look", '{"x": "é"}')
    assert (told.role, told.content, told.tool_call_id) == ("tool", '{"n": 3}', call.id)
    assert re.fullmatch(r"[a-zA-Z0-9]{9}", call.id)


def test_without_tools_to_call_a_demo_answers_at_once() -> None:
    assert [message.role for message in _with_tools(PLAIN)] == ["user", "assistant", "user"]
