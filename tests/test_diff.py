"""What changed between two chains, two runs, two texts."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.chain import Chain
from promptchain.changes import Change, Kind, compare_demos, compare_values
from promptchain.diff import MAX_SUMMARY, ChainDiff, compare
from promptchain.diff_runs import compare_rendered, compare_runs
from promptchain.records import Run, StepRun
from promptchain.renames import rename_template
from promptchain.words import Edit, Op, align, compare_texts, rising
from tests.patience import at_most

# -- texts -------------------------------------------------------------------------------------------------------------


def sides(edits: tuple[Edit, ...]) -> tuple[str, str]:
    """The two texts that the edits are said to be."""
    before = "".join(edit.text for edit in edits if edit.op is not Op.INSERT)
    return before, "".join(edit.text for edit in edits if edit.op is not Op.DELETE)


def marked(before: str, after: str) -> str:
    marks = {Op.EQUAL: "{}", Op.DELETE: "[-{}-]", Op.INSERT: "{{+{}+}}"}
    return "".join(marks[edit.op].format(edit.text) for edit in compare_texts(before, after))


TEXTS = (
    st.text() | st.text(alphabet="ab \n\r.", max_size=80) | st.lists(st.sampled_from(["a", "b ", "c\n"])).map("".join)
)


@given(TEXTS, TEXTS)
def test_the_edits_are_both_texts_to_the_letter(before: str, after: str) -> None:
    edits = compare_texts(before, after)
    assert sides(edits) == (before, after)
    assert all(edit.text for edit in edits)
    assert all(one.op is not other.op for one, other in pairwise(edits))
    assert (before == after) == all(edit.op is Op.EQUAL for edit in edits)


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.integers(0, 4), max_size=30))
def test_what_is_aligned_is_a_longest_common_subsequence(before: list[int], after: list[int]) -> None:
    pairs = align(before, after)
    assert all(before[old] == after[new] for old, new in pairs)
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(pairs))
    table = [[0] * (len(after) + 1) for _ in range(len(before) + 1)]
    for i, old in enumerate(before):
        for j, new in enumerate(after):
            table[i + 1][j + 1] = table[i][j] + 1 if old == new else max(table[i][j + 1], table[i + 1][j])
    assert len(pairs) == table[-1][-1]


@given(st.lists(st.integers(0, 30), max_size=12))
def test_rising_finds_a_longest_rise(numbers: list[int]) -> None:
    found = [numbers[place] for place in rising(numbers)]
    assert found == sorted(set(found))
    best: list[int] = []
    for index, number in enumerate(numbers):
        best.append(1 + max((best[i] for i in range(index) if numbers[i] < number), default=0))
    assert len(found) == max(best, default=0)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("", "", ""),
        ("same", "same", "same"),
        ("at most three sentences", "at most two short sentences", "at most [-three-]{+two short+} sentences"),
        ("a b c d e f", "x y c d e f", "[-a b-]{+x y+} c d e f"),  # one replacement, not two with a space between
        ("one\ntwo\nthree\n", "one\nthree\n", "one\n[-two\n-]three\n"),
        ("a\r\nb", "a\nb", "a[-\r-]\nb"),
        ("Größe: drei", "Größe: vier", "Größe: [-drei-]{+vier+}"),
        ("Answer in French", "Be kind, always", "[-Answer in French-]{+Be kind, always+}"),  # no confetti
    ],
)
def test_words_are_told_apart(before: str, after: str, shown: str) -> None:
    assert marked(before, after) == shown


WORDS = [f"w{number}" for number in range(5000)]
CHANCE = random.Random(1)


def big(words: list[str], ends: float) -> str:
    text = ""
    while len(text) < 1_000_000:
        text += "".join(CHANCE.choice(words) + (" " if CHANCE.random() > ends else "\n") for _ in range(20_000))
    return text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (big(WORDS, 0.1), big(WORDS, 0.1)),
        (big(WORDS, 0), big(WORDS, 0)),
        (big(WORDS[:3], 0.5), big(WORDS[:3], 0.5)),
        ("." * 1_000_000, "x." * 500_000),
        ("\n" * 1_000_000, "x\n" * 500_000),
        (
            "".join(f"{n} same words {n}\n" for n in range(45_000)),
            "".join(f"{n} same word {n}\n" for n in range(45_000)),
        ),
    ],
    ids=["lines", "one line", "few words", "signs", "empty lines", "each line"],
)
def test_a_megabyte_takes_no_longer_than_one_waits(before: str, after: str) -> None:
    with at_most(3):  # a third of a second on an idle machine
        edits = compare_texts(before, after)
    assert sides(edits) == (before, after)


def test_two_changes_far_apart_in_a_megabyte_are_two_changes() -> None:
    lines = [f"line {number} says something" for number in range(40_000)]
    before = "\n".join(lines)
    lines[10], lines[-10] = "line 10 says nothing", "line 39990 says nothing"
    edits = compare_texts(before, "\n".join(lines))
    assert [edit.text for edit in edits if edit.op is not Op.EQUAL] == ["something", "nothing"] * 2


# -- chains ------------------------------------------------------------------------------------------------------------

SUPPORT: dict[str, Any] = {
    "model": "openai/gpt-4o",
    "inputs": {"message": "string"},
    "steps": {
        "intent": {
            "instructions": "Decide the intent.",
            "prompt": "{{ message }}",
            "output": ["card", "refund"],
        },
        "reply": {
            "instructions": "Answer the customer in at most three sentences.",
            "prompt": "The intent is {{ intent }}: {{ message }}",
            "params": {"temperature": 0},
            "demos": [
                {"inputs": {"message": "Where is it?"}, "output": "On its way."},
                {"inputs": {"message": "Money back!"}, "output": "Of course."},
            ],
        },
    },
    "outputs": {"intent": "{{ intent }}", "reply": "{{ reply }}"},
}


def chain(data: dict[str, Any]) -> Chain:
    return Chain.model_validate({"name": "support", **data})


def step(name: str, **fields: Any) -> dict[str, Any]:
    """SUPPORT with fields of a step set; None takes one out."""
    own = {**SUPPORT["steps"][name], **fields}
    own = {key: value for key, value in own.items() if value is not None}
    return {**SUPPORT, "steps": {**SUPPORT["steps"], name: own}}


def changed(after: dict[str, Any], before: dict[str, Any] = SUPPORT) -> ChainDiff:
    return compare(chain(before), chain(after))


def test_nothing_is_different_when_nothing_is() -> None:
    diff = changed(SUPPORT)
    assert not diff
    assert (diff.summary, diff.stat(), diff.steps, diff.fields) == ("", (), (), ())
    assert diff.to_json() == {"summary": "", "fields": [], "steps": []}


def test_the_order_of_steps_inputs_and_parameters_is_no_change() -> None:
    steps = dict(reversed(SUPPORT["steps"].items()))
    outputs = dict(reversed(SUPPORT["outputs"].items()))
    assert not changed({**SUPPORT, "steps": steps, "outputs": outputs})
    params = {"params": {"a": 1, "b": 2}}
    assert not changed({**SUPPORT, "params": {"b": 2, "a": 1}}, {**SUPPORT, **params})
    assert not changed(step("intent", retry=3))  # which is the default


def test_the_order_of_an_outputs_fields_is_a_change_for_the_model_sees_it() -> None:
    first = step("intent", output={"a": "string", "b": "string"})
    diff = changed(step("intent", output={"b": "string", "a": "string"}), first)
    assert [change.field for change in diff.steps[0].fields] == ["output"]


def test_words_of_a_text_are_told_apart() -> None:
    diff = changed(step("reply", instructions="Answer the customer in at most two short sentences."))
    (found,) = diff.steps
    (change,) = found.fields
    assert (found.kind, found.name, change.kind, change.path) == (
        Kind.CHANGED,
        "reply",
        Kind.CHANGED,
        ("instructions",),
    )
    assert change.edits == (
        Edit(Op.EQUAL, "Answer the customer in at most "),
        Edit(Op.DELETE, "three"),
        Edit(Op.INSERT, "two short"),
        Edit(Op.EQUAL, " sentences."),
    )
    assert diff.summary == "reply: instructions"
    (stat,) = diff.stat()
    assert stat.to_json() == {"step": "reply", "field": "instructions", "kind": "changed", "added": 2, "removed": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"params": {"temperature": 0.5}}, [("changed", "params.temperature", 0, 0.5)]),
        ({"params": {"temperature": 0, "top_p": 1}}, [("added", "params.top_p", None, 1)]),
        ({"params": None}, [("removed", "params", {"temperature": 0}, None)]),
        ({"params": {"temperature": False}}, [("changed", "params.temperature", 0, False)]),
        ({"model": "m"}, [("added", "model", None, "m")]),
        ({"when": "intent == 'card'"}, [("added", "when", None, "intent == 'card'")]),
        ({"for_each": "{{ intent }}"}, [("added", "for_each", None, {"in": "{{ intent }}"})]),
        ({"needs": ["intent"]}, [("added", "needs", None, ["intent"])]),
        ({"retry": {"parse": 3}}, [("added", "retry", None, {"parse": 3})]),
        ({"timeout": 3}, [("added", "timeout", None, 3.0)]),
        ({"fallbacks": ["m"]}, [("added", "fallbacks", None, [{"model": "m"}])]),
        ({"tools": ["m:t"]}, [("added", "tools", None, {"t": {"python": "m:t"}})]),
        ({"format": "json"}, [("added", "format", None, "json")]),
        ({"reasoning": True}, [("added", "reasoning", None, True)]),
        ({"samples": 3}, [("added", "samples", None, 3)]),
        ({"freeze": True}, [("added", "freeze", None, True)]),
        ({"description": "d"}, [("added", "description", None, "d")]),
        ({"assert": [{"type": "is-json"}]}, [("added", "assert", None, [{"type": "is-json"}])]),
        ({"prompt": {"text": "x", "file": "a.md"}}, [
            ("changed", "prompt", "The intent is {{ intent }}: {{ message }}", "x"),
            ("added", "prompt.file", None, "a.md"),
        ]),
    ],
)  # fmt: skip
def test_each_field_is_compared(fields: dict[str, Any], expected: list[Any]) -> None:
    (found,) = changed(step("reply", **fields)).steps
    seen = [(change.kind.value, change.field, change.before, change.after) for change in found.fields]
    assert seen == expected
    (back,) = changed(SUPPORT, step("reply", **fields)).steps
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    seen = [(turned[change.kind.value], change.field, change.after, change.before) for change in back.fields]
    assert seen == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "m"}, ["model"]),
        ({"params": {"seed": 1}}, ["params"]),
        ({"inputs": {"message": "string", "tone?": "string"}}, ["inputs.tone?"]),
        ({"outputs": {"reply": "{{ reply }}"}}, ["outputs.intent"]),
        ({"description": "d"}, ["description"]),
        ({"test": {"dataset": "d.jsonl"}}, ["test"]),
    ],
)
def test_the_fields_of_the_chain_itself_are_compared(fields: dict[str, Any], expected: list[str]) -> None:
    diff = changed({**SUPPORT, **fields})
    assert [change.field for change in diff.fields] == expected
    assert diff
    assert not diff.steps


def test_assertions_are_matched_one_by_one() -> None:
    one, two, three = ({"type": "contains", "step": "reply", "value": value} for value in "xyz")
    before = {**SUPPORT, "test": {"dataset": "d.jsonl", "assert": [one, two]}}
    diff = changed(
        {**SUPPORT, "test": {"dataset": "e.jsonl", "assert": [three, one, {**two, "threshold": 0.5}]}}, before
    )
    fields = {change.field: change.kind.value for change in diff.fields}
    assert fields == {"test.dataset": "changed", "test.assert[0]": "added", "test.assert[2].threshold": "added"}


def test_the_kind_of_a_step_may_change() -> None:
    after = {**SUPPORT, "steps": {**SUPPORT["steps"], "intent": {"python": "m:f", "inputs": {"x": "{{ message }}"}}}}
    (found,) = changed(after).steps
    fields = {change.field: change.kind.value for change in found.fields}
    assert fields == {
        "kind": "changed", "instructions": "removed", "prompt": "removed", "output": "removed",
        "python": "added", "inputs": "added",
    }  # fmt: skip


def test_a_step_that_came_or_went_says_all() -> None:
    after = {**SUPPORT, "steps": {**SUPPORT["steps"], "check": {"prompt": "Is {{ reply }} kind?"}}}
    (found,) = changed(after).steps
    assert (found.kind, found.name, [change.after for change in found.fields]) == (
        Kind.ADDED,
        "check",
        ["Is {{ reply }} kind?"],
    )
    (gone,) = changed(SUPPORT, after).steps
    assert (gone.kind, [change.before for change in gone.fields]) == (Kind.REMOVED, ["Is {{ reply }} kind?"])
    assert (changed(after).summary, changed(SUPPORT, after).summary) == ("+check", "-check")


# -- renamed steps -----------------------------------------------------------------------------------------------------


def renamed(**fields: Any) -> dict[str, Any]:
    """SUPPORT with `intent` as `topic`, references and all."""
    reply = {**SUPPORT["steps"]["reply"], "prompt": "The intent is {{ topic }}: {{ message }}"}
    steps = {"reply": reply, "topic": {**SUPPORT["steps"]["intent"], **fields}}
    return {**SUPPORT, "steps": steps, "outputs": {**SUPPORT["outputs"], "intent": "{{ topic }}"}}


def test_a_renamed_step_is_no_more_than_that() -> None:
    diff = changed(renamed())
    assert [(found.kind, found.was, found.name, found.fields) for found in diff.steps] == [
        (Kind.RENAMED, "intent", "topic", ())
    ]
    assert diff.fields == ()
    assert diff.renamed == {"intent": "topic"}
    assert diff.summary == "intent→topic"


def test_a_renamed_step_may_have_changed_a_little() -> None:
    diff = changed(renamed(instructions="Decide what the intent is."))
    assert diff.summary == "intent→topic: instructions"
    assert not changed(renamed(instructions="Something else entirely, of many new words.", prompt="Now!")).renamed


def test_a_chain_of_renamed_steps_is_followed() -> None:
    def named(*names: str) -> dict[str, Any]:
        first, second, third = names
        return {
            "steps": {
                first: {"prompt": "one"},
                second: {"prompt": "two {{ " + first + " }}"},
                third: {"prompt": "three {{ " + second + ".x }}", "needs": [first], "when": f"{second} is none"},
            },
            "test": {"dataset": "d", "assert": [{"type": "is-json", "step": third}]},
        }

    diff = changed(named("a", "b", "c"), named("x", "y", "z"))
    assert diff.renamed == {"x": "a", "y": "b", "z": "c"}
    assert not diff.fields
    assert all(not found.fields for found in diff.steps)


def test_prose_that_has_the_word_is_a_change() -> None:
    after = renamed()
    after["steps"]["reply"] = {**after["steps"]["reply"], "prompt": "The topic is {{ topic }}: {{ message }}"}
    diff = changed(after)
    assert diff.summary == "reply: prompt; intent→topic"
    change = diff.steps[0].fields[0]
    assert sides(change.edits) == (change.before, change.after)
    assert change.before == SUPPORT["steps"]["reply"]["prompt"]  # as it was, not as it would be


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a {{ a }} {{ x.a }} {{ a.a }}", "a {{ b }} {{ x.a }} {{ b.a }}"),
        ("{{ f(a=a) }}{{ 'a' }}{# a #}", "{{ f(a=b) }}{{ 'a' }}{# a #}"),
        ("{% if a %}a{% endif %}\n\n", "{% if b %}a{% endif %}\n\n"),
        ("{% raw %}{{ a }}{% endraw %}", "{% raw %}{{ a }}{% endraw %}"),
        ("{{ x | a }} {{ x is a }} {{ [a, x] }}", "{{ x | a }} {{ x is a }} {{ [b, x] }}"),
        ("{{ 'a {{ a }}", "{{ 'a {{ a }}"),
        ("{{ a }}\r\nx", "{{ a }}\r\nx"),
    ],
)
def test_only_references_are_renamed(text: str, after: str) -> None:
    assert rename_template(text, {"a": "b"}) == after


@given(TEXTS | st.text(alphabet="{}%# a.'\n\r"))
def test_to_rename_what_is_not_there_leaves_a_template_as_it_is(text: str) -> None:
    assert rename_template(text, {"nowhere": "else"}) == text
    assert rename_template(text, {"nowhere": "else"}, expression=True) == text


# -- demos -------------------------------------------------------------------------------------------------------------


def demo(question: str, answer: str = "yes") -> dict[str, Any]:
    return {"inputs": {"q": question}, "output": answer}


A, B, C = demo("is it a?"), demo("what of the other one"), demo("quite different words here")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([A, B], [A, B], []),
        ([A, B], [A, B, C], [("added", "demos[2]")]),
        ([A, B], [B], [("removed", "demos[0]")]),
        ([A, B], [C, A, B], [("added", "demos[0]")]),  # the others have not moved for that
        ([A, B, C], [B, C, A], [("moved", "demos[2]")]),
        ([A, B], [A, {**B, "output": "no"}], [("changed", "demos[1].output")]),
        ([A, B], [A, demo("what of the third one")], [("changed", "demos[1].inputs.q")]),
        ([A, A], [A], [("removed", "demos[1]")]),
        ([A], [{**A, "reasoning": "r"}], [("added", "demos[0].reasoning")]),
    ],
)
def test_demos_are_matched_by_their_inputs(
    before: list[Any], after: list[Any], expected: list[tuple[str, str]]
) -> None:
    found = list(compare_demos(("demos",), before, after))
    assert [(change.kind.value, change.field) for change in found] == expected
    assert sum(change.count()[0] for change in found if change.kind is Kind.MOVED) == 0


# -- the whole ---------------------------------------------------------------------------------------------------------

PROMPTS = st.sampled_from(["hi", "Say {{ x }} now", "{{ a }}", "one two three four"])
STEPS = st.fixed_dictionaries(
    {"prompt": PROMPTS},
    optional={
        "instructions": PROMPTS,
        "params": st.dictionaries(st.sampled_from("pq"), st.sampled_from([0, 1, 1.0, True, None, "1"])),
        "output": st.sampled_from([["x", "y"], ["y", "x"], "integer", {"u": "string", "v": "string"}]),
        "demos": st.lists(st.sampled_from([A, B, {**A, "output": 1}]), max_size=3),
        "needs": st.lists(st.sampled_from("abc"), max_size=2),
        "retry": st.sampled_from([3, 4, {"parse": 2}]),
    },
)
CHAINS = st.fixed_dictionaries(
    {"steps": st.dictionaries(st.sampled_from("abcde"), STEPS, min_size=1, max_size=4)},
    optional={"model": st.sampled_from(["m", "n"]), "outputs": st.dictionaries(st.sampled_from("op"), PROMPTS)},
)


@given(CHAINS, CHAINS)
def test_chains_differ_exactly_when_their_content_ids_do(before: dict[str, Any], after: dict[str, Any]) -> None:
    one, other = chain(before), chain(after)
    diff = compare(one, other)
    assert bool(diff) == (one.content_id != other.content_id)
    assert bool(diff.summary) == bool(diff)
    assert len(diff.summary) <= MAX_SUMMARY
    for change in (*diff.fields, *(change for found in diff.steps for change in found.fields)):
        if change.edits and isinstance(change.before, str):
            assert sides(change.edits) == (change.before, change.after)


def test_a_long_summary_is_cut_short() -> None:
    steps = {f"a_step_with_a_name_{number}": {"prompt": f"{number} {number * 7}"} for number in range(40)}
    diff = changed({"steps": {"x": {"prompt": "x"}, **steps}}, {"steps": {"x": {"prompt": "x"}}})
    assert diff.summary == "+a_step_with_a_name_0; +a_step_with_a_name_1; 38 more"
    many = {"steps": {"x": {"prompt": "y"}, **{"y" * 60: {"prompt": "z"}}}}
    assert changed(many, {"steps": {"x": {"prompt": "x"}}}).summary == "x; 1 more"


def test_hundreds_of_steps_take_no_longer_than_one_waits() -> None:
    def many(prefix: str, words: str) -> dict[str, Any]:
        return {"steps": {f"{prefix}{number}": {"prompt": f"{number} {words}"} for number in range(1000)}}

    with at_most(5):
        assert len(compare(chain(many("a", "x y z")), chain(many("b", "x y z"))).renamed) == 1000
        assert len(compare(chain(many("a", "x y z")), chain(many("b", "u v w"))).steps) == 2000


def test_a_change_is_plain_json() -> None:
    (change,) = compare_values(("a", 0), {"b": "x y"}, {"b": "x z"})
    assert change.to_json() == {
        "kind": "changed",
        "path": ["a", 0, "b"],
        "before": "x y",
        "after": "x z",
        "edits": [
            {"op": "equal", "text": "x "},
            {"op": "delete", "text": "y"},
            {"op": "insert", "text": "z"},
        ],
    }
    assert Change(Kind.ADDED, ("a",), after=None).to_json() == {"kind": "added", "path": ["a"], "after": None}


# -- rendered ----------------------------------------------------------------------------------------------------------


def test_messages_are_compared_word_by_word() -> None:
    before = {"a": (("system", "Be kind."), ("user", "hi")), "b": (("user", "same"),), "c": "no value"}
    after = {"a": (("system", "Be very kind."), ("user", "hi")), "b": (("user", "same"),), "c": "no value"}
    diff = compare_rendered(before, after)
    assert diff
    assert [(found.step, found.kind, found.reason) for found in diff.steps] == [
        ("a", Kind.CHANGED, None),
        ("b", None, None),
        ("c", None, "no value"),
    ]
    first, second = diff.steps[0].messages
    assert (first.kind, first.number, first.role, second.kind) == (Kind.CHANGED, 1, "system", None)
    assert sides(first.edits) == ("Be kind.", "Be very kind.")
    assert not compare_rendered(before, before)
    assert diff.to_json()["steps"][2] == {"step": "c", "kind": "same", "reason": "no value", "messages": []}


def test_messages_may_come_go_and_follow_a_rename() -> None:
    pair = (("user", "q"), ("assistant", "a"))
    diff = compare_rendered({"a": (("user", "x"),)}, {"b": (*pair, ("user", "x"))}, {"a": "b"})
    assert [message.kind for message in diff.steps[0].messages] == [Kind.ADDED, Kind.ADDED, None]
    assert (diff.steps[0].was, bool(diff)) == ("a", True)
    assert not compare_rendered({"a": pair}, {"b": pair}, {"a": "b"})
    apart = compare_rendered({"a": pair}, {"b": pair})
    assert [(found.step, found.kind) for found in apart.steps] == [("b", Kind.ADDED), ("a", Kind.REMOVED)]
    one_side = compare_rendered({"a": pair}, {"a": "no value"})
    assert one_side.steps[0].reason == "after: no value"
    assert one_side


# -- runs --------------------------------------------------------------------------------------------------------------


def run(value: Any = "All is well.", **fields: Any) -> Run:
    call = {"model": "m", "prompt_tokens": 10, "completion_tokens": 2, "cost": 0.01}
    steps = {"reply": StepRun.model_validate({"status": "done", "value": value, "seconds": 1, "calls": [call]})}
    data = {
        "id": "r", "chain": "c", "source": "s", "model": "m", "started": "now", "status": "done",
        "inputs": {"message": "hi"}, "outputs": {"reply": value}, "steps": steps, **fields,
    }  # fmt: skip
    return Run.model_validate(data)


def test_runs_differ_by_what_came_of_them_not_by_what_they_used() -> None:
    before = run()
    assert not compare_runs(before, run(id="other", seconds=7, totals={"calls": 9}, source="t"))
    assert not compare_runs(before, run(source="t")).same_source
    assert compare_runs(before, run("All is bad."))
    assert compare_runs(before, run(status="failed", error="no"))
    assert compare_runs(before, run(inputs={"message": "ho"}))
    assert compare_runs(before, run(outputs={}))
    assert compare_runs(before, run(steps={}))


def test_a_value_of_text_is_compared_by_words_and_json_as_json() -> None:
    (found,) = compare_runs(run("All is well."), run("All is bad.")).steps
    (change,) = found.changes
    assert (change.field, sides(change.edits)) == ("value", ("All is well.", "All is bad."))
    (found,) = compare_runs(run({"a": 1, "b": [1]}), run({"a": 2, "b": [1]})).steps
    assert [(change.field, change.before, change.after) for change in found.changes] == [("value.a", 1, 2)]
    (found,) = compare_runs(run("1"), run(1)).steps
    assert [(change.before, change.after) for change in found.changes] == [("1", 1)]
    data = compare_runs(run("x"), run("y")).to_json()
    assert (data["runs"], data["same_source"], data["steps"][0]["kind"]) == (["r", "r"], True, "changed")
    assert data["steps"][0]["before"] == {"models": ["m"], "calls": 1, "tokens": 12, "cost": 0.01, "seconds": 1.0}


PASSAGE = {"text": "Block it.", "title": "Lost", "source": "a.md", "line": 5, "score": 0.5, "meta": {}}
OTHER = {**PASSAGE, "line": 9, "title": "Late"}


def step_changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    sides = (run(steps={"a": {"status": "done", **side}}) for side in (before, after))
    (found,) = compare_runs(*sides).steps
    return [(change.field, change.before, change.after) for change in found.changes]


def test_passages_are_compared_by_their_places_and_texts() -> None:
    assert step_changes({"value": [PASSAGE, OTHER]}, {"value": [OTHER]}) == [
        ("passages", "a.md:5 Lost\na.md:9 Late\n", "a.md:9 Late\n")
    ]
    edited = {**PASSAGE, "text": "Block it now."}
    assert step_changes({"value": [PASSAGE]}, {"value": [edited]}) == [
        ("passages.a.md:5 Lost", "Block it.", "Block it now.")
    ]
    assert step_changes({"value": [PASSAGE]}, {"value": [{**PASSAGE, "score": 1.0}]}) == [("value[0].score", 0.5, 1.0)]
    assert step_changes({"value": [PASSAGE]}, {"value": [PASSAGE]}) == []
    assert [field for field, *_ in step_changes({"value": [PASSAGE]}, {"value": []})] == ["value"]


def test_calls_of_tools_are_compared_line_by_line() -> None:
    tea = {"name": "lookup", "arguments": {"item": "tea"}, "value": 12.5, "seconds": 1.0}
    milk = {"name": "lookup", "arguments": {"item": "milk"}, "error": "no milk", "turn": 2}
    lines = ['lookup(item="tea") → 12.5\n', 'lookup(item="milk") → error: no milk\n']
    assert step_changes({"tools": [tea]}, {"tools": [{**tea, "seconds": 9.0, "started": 3.0}]}) == []
    assert step_changes({"tools": [tea]}, {"tools": [tea, milk]}) == [("tools", lines[0], "".join(lines))]
    assert step_changes({}, {"tools": [milk]}) == [("tools", None, lines[1])]
    items = {"items": [{"status": "done", "tools": [tea]}]}
    assert step_changes(items, {"items": [{"status": "done"}]}) == [("tools", lines[0], None)]
    both = [run(steps={"a": {"status": "done", "tools": side}}) for side in ([tea], [tea, milk])]
    edits = compare_runs(*both).steps[0].changes[0].edits
    assert [(edit.op.value, edit.text) for edit in edits] == [("equal", lines[0]), ("insert", lines[1])]


def test_the_steps_of_a_chain_in_a_step_are_compared() -> None:
    def inner(value: str) -> dict[str, Any]:
        data = run(steps={"tone": {"status": "done", "value": value}}).model_dump(mode="json")
        return {"value": {"tone": "polite"}, "run": data}

    assert step_changes(inner("polite"), inner("rude")) == [("tone.value", "polite", "rude")]


# -- tools and chains of a chain ---------------------------------------------------------------------------------------


def tooled(*tools: Any) -> Chain:
    return Chain.model_validate({"name": "c", "steps": {"a": {"prompt": "x", "tools": list(tools)}}})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("m:f", "m:g"), ("m:g",), [("removed", "tools.f")]),
        (("m:f",), ({"python": "m:f", "confirm": True},), [("added", "tools.f.confirm")]),
        (("m:f",), ("n:f",), [("changed", "tools.f.python")]),
        (("m:f", "m:g"), ("m:g", "m:f"), [("changed", "tools")]),
        (({"mcp": "npx a"},), ({"mcp": "npx a", "only": ["x"]},), [("added", "tools.npx a.only")]),
        (({"mcp": "npx a"},), ({"mcp": "npx b"},), [("removed", "tools.npx a"), ("added", "tools.npx b")]),
        (("m:f",), ("m:f", "n:f"), [("added", "tools.f (2)")]),
    ],
)
def test_tools_are_compared_by_their_names(before: Any, after: Any, expected: list[tuple[str, str]]) -> None:
    (step,) = compare(tooled(*before), tooled(*after)).steps
    assert [(change.kind.value, change.field) for change in step.fields] == expected


def test_how_a_sample_is_selected_is_told_in_a_word() -> None:
    def drawn(select: Any) -> Chain:
        return Chain.model_validate({"name": "c", "steps": {"a": {"prompt": "x", "samples": 3, "select": select}}})

    (step,) = compare(drawn("majority"), drawn("all")).steps
    assert [(change.field, change.before, change.after) for change in step.fields] == [("select", "majority", "all")]
    best = {"best": {"type": "length"}}
    (step,) = compare(drawn("majority"), drawn(best)).steps
    assert [(change.before, change.after) for change in step.fields] == [("majority", {"best": {"type": "length"}})]


def nested(inner: Chain, step: dict[str, Any]) -> Chain:
    steps = {"a": step, "b": {"prompt": "y"}}
    return Chain.model_validate({"name": "c", "steps": steps}).with_chains({inner.name: inner})


@pytest.mark.parametrize("step", [{"chain": "inner"}, {"prompt": "x", "tools": [{"chain": "inner"}]}])
def test_a_chain_in_it_that_changed_is_named(step: dict[str, Any]) -> None:
    old, new = (Chain.model_validate({"name": "inner", "steps": {"t": {"prompt": text}}}) for text in ("One", "Two"))
    found = compare(nested(old, step), nested(new, step))
    assert found
    assert (found.steps, found.summary) == ((), "chain inner")
    assert [change.field for change in found.chains[0].diff.steps[0].fields] == ["prompt"]
    assert found.to_json()["chains"][0]["chain"] == "inner"
    assert [(stat.step, stat.added, stat.removed) for stat in found.stat()] == [("inner.t", 1, 1)]
    assert (bool(found.only("a")), bool(found.only("b"))) == (True, False)
    assert not compare(nested(old, step), nested(old, step))
    assert "chains" not in compare(nested(old, step), nested(old, {"prompt": "z"})).to_json()


def test_a_chain_within_a_chain_in_it_is_named_alone() -> None:
    def outer(text: str) -> Chain:
        deep = Chain.model_validate({"name": "deep", "steps": {"t": {"prompt": text}}})
        middle = Chain.model_validate({"name": "middle", "steps": {"m": {"chain": "deep"}}})
        return nested(middle.with_chains({"deep": deep}), {"chain": "middle"})

    found = compare(outer("One"), outer("Two"))
    assert [(inner.name, inner.steps) for inner in found.chains] == [("deep", frozenset({"a"}))]
