"""`chain show`: the table and the graph, one step, the exact messages."""

import re

import pytest

from tests.workspace import DEMO, Workspace

LOOP = """
model: MODEL
inputs:
  topic: string
  tone?: string
steps:
  questions:
    prompt: "Ask about {{ topic }}"
    output: {list(array): string}
  answers:
    for_each: "{{ questions.list }}"
    prompt: "{{ index }}: {{ item }} ({{ tone | default('plainly') }})"
"""


def test_the_table_has_the_graph_the_kinds_and_the_outputs(demo: Workspace) -> None:
    done = demo.invoke("show", "demo")
    assert (done.code, done.err) == (0, "")
    lines = [line.rstrip() for line in done.out.splitlines()]
    assert lines[0] == "demo Answer a customer."
    assert lines[1].startswith("model: scripted/")
    assert "input: message: string" in lines
    assert any(line.startswith("● intent     prompt         one of card, refund") for line in lines)
    assert any(line.startswith("├─● draft    prompt") and "Draft for {{ intent }}" in line for line in lines)
    assert any(line.startswith("╰─┴─● check  prompt") for line in lines)
    assert lines[-2:] == ["output: intent = {{ intent }}", "output: reply = {{ check }}"]


def test_the_model_of_the_settings_is_shown_where_the_chain_has_none(empty: Workspace) -> None:
    empty.write("chains/x.yaml", "steps: {a: {prompt: hi}}")
    assert "model: none (give --model)" in empty.invoke("show", "x").out
    empty.write("promptchain.toml", 'model = "local/mine"')
    assert "model: local/mine" in empty.invoke("show", "x").out


def test_one_step_is_shown_with_its_whole_text(demo: Workspace) -> None:
    done = demo.invoke("show", "demo", "--step", "intent")
    assert "instructions\nDecide what the customer wants.\n" in done.out
    assert "prompt\nClassify: {{ message }}\n" in done.out
    assert "draft" not in done.out


def test_json_has_the_chain_and_its_plan(demo: Workspace) -> None:
    found = demo.invoke("show", "demo", "--json").json
    assert found["name"] == "demo"
    assert len(found["content_id"]) == 64
    assert list(found["steps"]) == ["intent", "draft", "check"]
    assert found["plan"]["check"] == {"kind": "prompt", "needs": ["draft", "intent"], "tolerates": []}
    only = demo.invoke("show", "demo", "--json", "--step", "draft").json
    assert list(only["steps"]) == list(only["plan"]) == ["draft"]


def test_rendered_prints_what_can_be_rendered_and_says_what_the_rest_needs(demo: Workspace) -> None:
    done = demo.invoke("show", "demo", "--rendered", "-i", "message=Where is it?")
    assert done.code == 0
    head, *body = done.out.splitlines()
    assert head.startswith("━━ intent → scripted/")
    assert head.endswith("(format: text)")
    assert body[0:2] == ["── system", "Decide what the customer wants."]
    assert body[-4:] == ["Classify: Where is it?", "── held to one of", '["card", "refund"]', ""]
    assert done.err.splitlines() == [
        "step 'draft' is not rendered: it needs intent; give -i intent=…",
        "step 'check' is not rendered: it needs draft, intent; give -i draft=… -i intent=…",
    ]


def test_rendered_takes_what_a_step_is_said_to_have_given(demo: Workspace) -> None:
    demo.write("draft.txt", "A long\ndraft.")
    words = ["show", "demo", "Hi", "--rendered", "-i", "intent=refund", "-i", "draft=@draft.txt", "--json"]
    found = demo.invoke(*words).json
    assert [entry["step"] for entry in found] == ["intent", "draft", "check"]
    texts = [entry["messages"][-1]["content"] for entry in found]
    assert texts == ["Classify: Hi", "Draft for refund: Hi", "Check A long\ndraft. against refund"]
    assert found[0]["choices"] == ["card", "refund"]
    assert "choices" not in found[1]


def test_rendered_needs_no_model_that_answers_and_keeps_no_record(demo: Workspace) -> None:
    done = demo.invoke("show", "demo", "Hi", "--rendered", "--step", "intent", "--model", "local/nothing")
    assert done.code == 0
    assert "━━ intent → local/nothing" in done.out
    assert done.err == ""
    assert demo.records() == []


def test_a_loop_is_rendered_for_its_first_item(empty: Workspace) -> None:
    empty.chain(LOOP, name="loop")
    needs = empty.invoke("show", "loop", "cards", "--rendered", "--step", "answers")
    assert needs.err == "step 'answers' is not rendered: it needs questions; give -i questions=…\n"
    words = ["show", "loop", "cards", "--rendered", "--step", "answers", "-i", 'questions={"list": ["why?", "how?"]}']
    assert empty.invoke(*words, "--json").json[0]["messages"][-1]["content"] == "0: why? (plainly)"
    assert "0: why? (kindly)" in empty.invoke(*words, "-i", "tone=kindly").out
    assert re.search(r"● answers +prompt +string\[\] +for_each ", empty.invoke("show", "loop").out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["Hi"], "add --rendered"),
        (["-i", "message=x"], "add --rendered"),
        (["--rendered", "-i", "mesage=x"], "did you mean 'message'?"),
        (["--rendered", "-i", "intnt=x"], "did you mean 'intent'?"),
        (["--rendered", "-i", "intent=nonsense"], "step 'intent': "),
        (["--rendered", "-i", "intent"], "not of the form name=value"),
        (["--rendered", "-i", "draft=@nowhere.txt"], "nowhere.txt"),
        (["--rendered", "--model", "intnt=local/x"], "did you mean 'intent'?"),
    ],
)
def test_what_does_not_fit_is_said(demo: Workspace, words: list[str], says: str) -> None:
    done = demo.invoke("show", "demo", *words)
    assert done.code in (1, 2)
    assert done.out == ""
    assert says in done.err


def test_a_chain_without_a_model_says_how_to_name_one(empty: Workspace) -> None:
    empty.chain(DEMO.replace("model: MODEL\n", ""))
    assert empty.invoke("show", "demo").code == 0
    done = empty.invoke("show", "demo", "Hi", "--rendered")
    assert done.code == 2
    assert "give --model" in done.err
