import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.errors import Fault, InvalidFileError, ModelError, UsageError
from promptchain.lm.protocol import LM, Capabilities, Finish, Message, Price, Request, Response, ToolCall, Usage
from promptchain.lm.scripted import Rule, ScriptedLM


def ask(lm: LM, *texts: str, **params: object) -> Response:
    return asyncio.run(lm.complete(request(*texts, **params)))


def request(*texts: str, **params: object) -> Request:
    """system, then user and assistant in turn; a lone text is the user's."""
    roles = ["user"] if len(texts) == 1 else ["system", *["user", "assistant"] * len(texts)]
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))
    return Request("scripted/test", messages, params)


def test_replies_are_given_in_order() -> None:
    lm = ScriptedLM(["Paris", "42"])
    assert [ask(lm, "a").text, ask(lm, "b").text] == ["Paris", "42"]
    assert [sent.messages[-1].content for sent in lm.requests] == ["a", "b"]


def test_running_out_says_how_many_replies_there_were_and_what_was_asked() -> None:
    lm = ScriptedLM(["Paris", "42"])
    ask(lm, "a"), ask(lm, "b")
    with pytest.raises(ModelError, match=r"the script has 2 replies, and this is call 3: 'what now\?'") as caught:
        ask(lm, "be brief", "what now?")
    assert not caught.value.retryable
    assert caught.value.model == "scripted/test"


def test_one_text_answers_every_call() -> None:
    lm = ScriptedLM("yes")
    assert [ask(lm, "a").text for _ in range(3)] == ["yes"] * 3


def test_a_function_is_asked() -> None:
    def reply(sent: Request) -> str | Response | Exception:
        return sent.messages[-1].content.upper() if sent.messages[-1].content != "!" else ValueError("no")

    lm = ScriptedLM(reply)
    assert ask(lm, "loud").text == "LOUD"
    with pytest.raises(ValueError, match="no"):
        ask(lm, "!")


def test_a_mapping_is_matched_and_may_be_used_again() -> None:
    lm = ScriptedLM({"card": "card_arrival", "money": "refund"})
    assert [ask(lm, text).text for text in ("my card", "my money", "a card")] == [
        "card_arrival",
        "refund",
        "card_arrival",
    ]
    with pytest.raises(ModelError, match="no reply for this call: 'hello'"):
        ask(lm, "hello")


def test_rules_come_before_replies_in_turn_and_those_before_the_last_resort() -> None:
    lm = ScriptedLM([Rule("last", always=True), "first", Rule("ruled", contains="rule"), "second"])
    texts = ["a", "a rule", "b", "c", "d"]
    assert [ask(lm, text).text for text in texts] == [
        "first",
        "ruled",
        "second",
        "last",
        "last",
    ]


def test_a_rule_looks_at_system_and_last_user_message_before_the_demos() -> None:
    lm = ScriptedLM([Rule("demo", contains="refund"), Rule("asked", contains="card"), Rule("kind", contains="Decide")])
    assert ask(lm, "Answer", "a refund", "refund", "my card").text == "asked"
    assert ask(lm, "Decide", "a refund", "refund", "hello").text == "kind"
    assert ask(lm, "Answer", "a refund", "refund", "hello").text == "demo"


def test_errors_are_raised_afresh_each_time() -> None:
    error = ModelError("down", fault=Fault.SERVER, model="m")
    lm = ScriptedLM(error)
    depths = []
    for _ in range(3):
        with pytest.raises(ModelError, match="down") as caught:
            ask(lm, "a")
        depths.append(len(caught.traceback))
    assert depths[0] == depths[2], "a traceback that grows with each use is a leak"


def test_a_response_is_handed_on_untouched() -> None:
    response = Response("x", Finish.FILTER, Usage(3, 4, 1), cost=1.5, latency=9.0)
    assert ask(ScriptedLM([response]), "a") is response


def test_usage_counts_words_and_costs_nothing() -> None:
    answer = ask(ScriptedLM(["one two  three"]), "be brief", "say something")
    assert (answer.usage, answer.cost, answer.finish) == (Usage(4, 3), 0.0, Finish.STOP)


def test_max_tokens_is_kept_to() -> None:
    answer = ask(ScriptedLM(["one two three"]), "a", max_tokens=2)
    assert (answer.text, answer.finish, answer.usage.completion_tokens) == ("one two", Finish.LENGTH, 2)
    assert ask(ScriptedLM(["one two"]), "a", max_tokens=2).finish is Finish.STOP


@given(st.text())
def test_what_is_streamed_is_the_text(text: str) -> None:
    pieces: list[str] = []
    answer = asyncio.run(ScriptedLM([text]).complete(request("a"), pieces.append))
    assert "".join(pieces) == text == answer.text
    assert len(pieces) == answer.usage.completion_tokens


def test_a_text_is_streamed_word_by_word() -> None:
    pieces: list[str] = []
    asyncio.run(ScriptedLM([" to be\n or  not"]).complete(request("a"), pieces.append))
    assert pieces == [" to ", "be\n ", "or  ", "not"]


def test_a_delay_is_waited_without_losing_the_order() -> None:
    async def both() -> list[str]:
        lm = ScriptedLM([Rule("slow", delay=0.05), "quick"])
        return [answer.text for answer in await asyncio.gather(*(lm.complete(request(x)) for x in "ab"))]

    started = time.perf_counter()
    assert asyncio.run(both()) == ["slow", "quick"]
    assert time.perf_counter() - started >= 0.05


def test_requests_are_kept_as_far_as_asked() -> None:
    lm = ScriptedLM("yes", keep=2)
    for text in "abc":
        ask(lm, text)
    assert [sent.messages[-1].content for sent in lm.requests] == ["b", "c"]


def test_it_is_free_and_can_do_nothing_unless_told() -> None:
    assert ScriptedLM("a").capabilities("m") == Capabilities(price=Price(0.0, 0.0))
    assert ScriptedLM("a", capabilities=Capabilities(schema=True)).capabilities("m").schema


SCRIPT = """
- Paris
- 42
- {contains: card, reply: card_arrival}
- reply: {amount: 3, to: "Zoë"}
  finish: length
- {contains: down, error: rate limit, retry_after: 2}
- reply: otherwise
  always: true
"""


def test_a_file_is_a_script(tmp_path: Path) -> None:
    path = tmp_path / "replies.yaml"
    path.write_text(SCRIPT, encoding="utf-8")
    lm = ScriptedLM.from_file(path)
    assert [ask(lm, text).text for text in ["a", "my card", "b"]] == ["Paris", "card_arrival", "42"]
    answer = ask(lm, "c")
    assert (answer.text, answer.finish) == ('{"amount": 3, "to": "Zoë"}', Finish.LENGTH)
    assert [ask(lm, text).text for text in "de"] == ["otherwise", "otherwise"]
    with pytest.raises(ModelError) as caught:
        ask(lm, "is it down?")
    assert (caught.value.fault, caught.value.retry_after, caught.value.model) == (
        Fault.RATE_LIMIT,
        2.0,
        "scripted/test",
    )
    assert lm.requests == [], "a long batch must run in constant memory"


CALLING = """
- {contains: 3 EUR, reply: It is 3 EUR.}
- {contains: tea, tool_calls: [{name: lookup, arguments: {item: tea}}, {name: now}]}
- {reply: One moment., tool_calls: [{name: now, arguments: {}}]}
"""


def test_a_file_may_call_tools(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(CALLING)
    lm = ScriptedLM.from_file(tmp_path / "s.yaml")
    assert lm.capabilities("scripted/s.yaml").tools, "else a step with tools would wait for calls in the text"
    (tmp_path / "plain.yaml").write_text("- hello\n")
    assert not ScriptedLM.from_file(tmp_path / "plain.yaml").capabilities("scripted/plain.yaml").tools
    asked = request("How much is tea?")
    first = asyncio.run(lm.complete(asked))
    assert (first.text, first.finish, first.cost) == ("", Finish.TOOLS, 0.0)
    assert first.tool_calls == (ToolCall("call_1", "lookup", '{"item": "tea"}'), ToolCall("call_2", "now", "{}"))
    assert first.usage.completion_tokens > 0
    turn = (Message("assistant", "", tool_calls=first.tool_calls), Message("tool", "3 EUR", tool_call_id="call_1"))
    assert asyncio.run(lm.complete(replace(asked, messages=asked.messages + turn))).text == "It is 3 EUR."
    pieces: list[str] = []
    other = replace(request("wait"), messages=(*turn[:1], Message("user", "wait")))
    last = asyncio.run(lm.complete(other, pieces.append))
    assert (pieces, last.finish) == (["One ", "moment."], Finish.TOOLS)
    assert last.tool_calls == (ToolCall("call_3", "now", "{}"),), "no id comes twice in a conversation"
    cut = asyncio.run(ScriptedLM.from_file(tmp_path / "s.yaml").complete(request("wait", max_tokens=1)))
    assert (cut.text, cut.finish, cut.tool_calls) == ("One", Finish.LENGTH, ())


def test_a_rule_looks_at_what_a_tool_gave_before_an_earlier_turn() -> None:
    lm = ScriptedLM([Rule("old", contains="4 EUR"), Rule("new", contains="3 EUR")])
    messages = (
        Message("user", "milk?"),
        Message("tool", "4 EUR", tool_call_id="a"),
        Message("user", "tea?"),
        Message("tool", "3 EUR", tool_call_id="b"),
    )
    assert asyncio.run(lm.complete(Request("m", messages))).text == "new"


def test_another_script_has_another_identity(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"- {name}\n")
    one, other = (ScriptedLM.from_file(tmp_path / name).identity("m") for name in "ab")
    assert one != other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a script is a list of replies; start each reply with '- '"),
        ("hello: there", ":1: a script is a list of replies"),
        ("- a\n- {repl: b}", ":2:3: unknown key 'repl'; did you mean 'reply'?"),
        ("- {contains: b}", ":1:3: an entry has either 'reply' or 'error'"),
        ("- {reply: a, error: timeout}", "either 'reply' or 'error'"),
        ("- {error: timeot}", "unknown error 'timeot'; did you mean 'timeout'?"),
        ("- {reply: a, finish: [1]}", "unknown finish [1]; known values of 'finish'"),
        ("- {reply: a, delay: soon}", "'delay' is a number of seconds, not 'soon'"),
        ("- {reply: a, delay: -1}", "'delay' is a number of seconds, not -1"),
        ("- {reply: a, retry_after: 1}", "'retry_after' goes with 'error'"),
        ("- {reply: a, always: 3}", "'always' is true or false"),
        ("- {tool_calls: lookup}", "'tool_calls' is a list of calls; write each like {name: lookup"),
        ("- {tool_calls: []}", "'tool_calls' is a list of calls"),
        ("- {tool_calls: [{nam: lookup}]}", "'tool_calls' is a list of calls"),
        ("- {tool_calls: [{name: 3}]}", "'tool_calls' is a list of calls"),
        ("- {tool_calls: [{name: a, arguments: [1]}]}", "'tool_calls' is a list of calls"),
        ("- {tool_calls: [{name: a}], error: timeout}", "either 'reply' or 'error'"),
        ("- a\n- [b", "not YAML"),
    ],
)
def test_a_broken_file_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFileError) as caught:
        ScriptedLM.from_file(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("- {repl: a}\n- fine\n- {reply: a, delay: x}\n")
    with pytest.raises(InvalidFileError) as caught:
        ScriptedLM.from_file(path)
    assert [problem.where.line for problem in caught.value.problems] == [1, 3]


def test_a_file_that_cannot_be_read_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml can't be read: No such file"):
        ScriptedLM.from_file(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"- \xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        ScriptedLM.from_file(tmp_path / "bytes.yaml")
