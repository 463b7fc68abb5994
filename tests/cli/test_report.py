"""`chain report`: what the words stand for, that messages are told as they were sent, and the file that is written."""

from __future__ import annotations

import json
import webbrowser
from typing import Any

import pytest

from promptchain.reports.html import page
from tests.cli import compile_kit
from tests.cli.compile_kit import project
from tests.cli.git_kit import make_repo, replace
from tests.cli.run_kit import SECRET, run
from tests.reports.html_kit import data_of
from tests.workspace import Workspace

TOOLS = '''
def price(item: str) -> float:
    """What an item costs."""
    if item == "gold":
        raise ValueError("not sold")
    return 3.5
'''
SHOUT = """
model: MODEL
inputs: {word: string}
steps:
  shout: {prompt: "SHOUT {{ word }}"}
"""
SHOP = """
model: MODEL
inputs: {message: string, tone?: string}
steps:
  words:
    instructions: Split it.
    prompt: "Items: {{ message }}"
    output: {type: array, items: {type: string}}
    retry: {parse: 1}
  each: {for_each: "{{ words }}", prompt: "One {{ item }} ({{ index }}) of {{ words }}"}
  quote:
    prompt: "Price of {{ words }}"
    tools: [{python: "tools:price"}, {chain: shout}]
    max_turns: 4
  vote: {prompt: "Vote on {{ quote }}", samples: 2, output: [a, b]}
  loud: {chain: shout, inputs: {word: "{{ quote }}"}}
  kind:
    prompt: "Answer {{ message }} {{ loud }} {{ vote }} {{ each }}"
    assert: [{type: contains, value: dear}]
    retry: {assert: 1}
"""
REPLIES = (
    {"contains": "reply is not JSON", "reply": '["tea", "gold"]'},
    {"contains": "cannot be used: it should contain", "reply": "dear you"},
    {"contains": "Items:", "reply": "tea and gold"},
    {"contains": "One", "reply": "Lovely."},
    {"contains": "Answer now", "reply": '{"answer": "3.5"}'},
    {"contains": "not sold", "reply": '{"tool": "shout", "arguments": {"word": "tea"}}'},
    {"contains": "price gave: 3.5", "reply": '{"tool": "price", "arguments": {"item": "gold"}}'},
    {"contains": "Price of", "reply": '{"tool": "price", "arguments": {"item": "tea"}}'},
    {"contains": "Vote", "reply": "a"},
    {"contains": "Answer", "reply": "Hello you"},
)


@pytest.fixture
def shop(empty: Workspace) -> Workspace:
    """The chain `demo` of every kind of step that asks a model."""
    empty.write("tools.py", TOOLS)
    empty.chain(SHOUT, name="shout", replies=[{"always": True, "reply": "HEY!"}])
    empty.chain(SHOP, replies=REPLIES)
    return empty


def sections(workspace: Workspace, *words: str) -> list[dict[str, Any]]:
    done = workspace.invoke("report", *words, "--json")
    assert done.code == 0, done
    found: list[dict[str, Any]] = done.json["sections"]
    return found


def steps_in(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Every step, item, and step of an inner chain, that has turns."""
    found = []
    for step in run["steps"]:
        for own in step.get("items", [step]):
            found.append(own)
            inner = [own["run"], *(tool["run"] for tool in own["tools"])]
            found += [each for one in inner if one for each in steps_in(one)]
    return found


def spoken(turns: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """For each call the messages of its request, put together from what was new in each."""
    found: list[list[tuple[str, str]]] = []
    for turn in turns:
        assert turn["sent"] is not None, turn["note"]
        first = turn["details"] is not None
        before = [] if first else [*found[-1], ("assistant", turns[len(found) - 1]["received"])]
        found.append([*before, *((message["role"], message["text"]) for message in turn["sent"])])
    return found


# --- a run ------------------------------------------------------------------------------------------------------------


def test_messages_are_told_as_they_were_sent(shop: Workspace, asked: list[Any]) -> None:
    run(shop, "hi")
    really = sorted([(message.role, message.content) for message in request.messages] for request in asked)
    asked.clear()
    [section] = sections(shop, "last")
    assert not asked  # nothing is asked for a report
    told = []
    for step in steps_in(section):
        for sample in sorted({turn["call"]["sample"] for turn in step["turns"]}):
            told += spoken([turn for turn in step["turns"] if turn["call"]["sample"] == sample])
    assert sorted(told) == really
    assert len(told) > 12


def test_what_came_of_each_call_is_told(shop: Workspace) -> None:
    run(shop, "hi")
    [section] = sections(shop, "last")
    steps = {step["name"]: step for step in section["steps"]}
    first, second = steps["words"]["turns"]
    assert first["received"] == "tea and gold"
    assert "not JSON" in first["call"]["error"]
    assert second["received"] == '["tea", "gold"]'
    assert second["call"]["error"] is None
    quote = steps["quote"]
    asked_for = [[quote["tools"][number]["name"] for number in turn["tools"]] for turn in quote["turns"]]
    assert asked_for == [["price"], ["price"], ["shout"], []]
    assert steps["quote"]["tools"][1]["error"].endswith("not sold")
    assert steps["quote"]["tools"][2]["run"]["outputs"] == {"shout": "HEY!"}
    assert [item["name"] for item in steps["each"]["items"]] == ["item 1", "item 2"]
    assert {turn["call"]["sample"] for turn in steps["vote"]["turns"]} == {0, 1}
    assert steps["loud"]["run"]["steps"][0]["turns"][0]["sent"] == [{"role": "user", "text": "SHOUT 3.5"}]
    assert section["version"] == "demo@v1"
    assert [node["id"] for node in section["graph"]["nodes"]] == ["words", "each", "quote", "vote", "loud", "kind"]


def test_messages_are_those_of_the_version_that_ran(demo: Workspace) -> None:
    make_repo(demo.root)
    first = run(demo)
    replace(demo, '"Classify: ', '"Sort: ')
    [section] = sections(demo, first["id"][:20])
    assert section["steps"][0]["turns"][0]["sent"][-1]["text"] == "Classify: hi"


def test_a_run_whose_version_is_gone_is_shown_without_messages(demo: Workspace) -> None:
    run(demo)
    [record] = demo.spool.glob("*.json")
    data = json.loads(record.read_text())
    record.write_text(json.dumps({**data, "source": "0" * 64, "version": None}))
    [section] = sections(demo, "last")
    assert "not in the store" in section["note"]
    turn = section["steps"][0]["turns"][0]
    assert turn["sent"] is None
    assert turn["received"] == "card"


def test_a_failed_run_and_one_step_that_was_not_run(demo: Workspace) -> None:
    demo.model({"always": True, "reply": "nonsense"}, name="demo")
    demo.invoke("run", "demo", "hi")
    [section] = sections(demo, "last")
    assert section["status"] == "failed"
    assert [step["status"] for step in section["steps"]] == ["failed", "blocked", "blocked"]
    assert section["steps"][0]["turns"][0]["received"] == "nonsense"


# --- chains, evaluations, compiles ------------------------------------------------------------------------------------


def test_a_chain_with_its_evaluations_compiles_and_runs(empty: Workspace) -> None:
    project(empty)
    empty.invoke("test", "demo")
    done = compile_kit.compiled(empty)
    empty.invoke("test", "demo")
    empty.invoke("label", "demo@v2", "production")
    run(empty, "easy")
    [section] = sections(empty, "demo")
    assert [own["version"] for own in section["evaluations"]] == ["demo@v2", "demo@v1"]
    assert section["labels"] == {"production": "demo@v2"}
    assert section["scores"]["intent"]["score"]["value"] > 0.5
    assert [own["version"] for own in section["runs"]] == ["demo@v2"]
    [compiled] = section["compiles"]
    assert compiled["test"]["after"] == done["test"]["after"]
    assert {part["field"] for part in compiled["prompts"][0]["parts"]} & {"demos", "nearest.pool", "instructions"}
    course = compiled["course"]
    calls = [point[0] for point in course["curve"]]
    assert calls == sorted(calls)
    assert calls[-1] <= done["spent"]["calls"]
    assert course["curve"][0][1:3] == [None, 0.5]
    assert {point[1] for point in course["curve"]} == {None, "intent"}
    assert any(point[4] < course["curve"][0][4] for point in course["curve"])  # during a race
    assert course["curve"][-1][1:3] == [None, done["dev"]["after"]]
    assert course["parts"] == [done["examples"][part] for part in ("train", "dev", "test")]
    assert course["spent"]["calls"] == done["spent"]["calls"]
    [alone] = sections(empty, course["id"])
    assert alone["course"] == course
    assert alone["prompts"] == compiled["prompts"]


def test_a_course_stays_when_the_lock_is_another(empty: Workspace) -> None:
    project(empty)
    compile_kit.compiled(empty)
    [section] = sections(empty, "demo")
    found = section["compiles"][0]["course"]["id"]
    (empty.root / "chains/demo.lock.yaml").unlink()
    assert sections(empty, "demo")[0]["compiles"] == []
    assert sections(empty, found)[0]["course"]["id"] == found


def test_two_evaluations_are_compared(empty: Workspace) -> None:
    project(empty)
    empty.invoke("test", "demo")
    compile_kit.compiled(empty)
    empty.invoke("test", "demo")
    new, old = (own["id"] for own in sections(empty, "demo")[0]["evaluations"])
    compared, before, after = sections(empty, old[:22], new)
    assert [one["kind"] for one in (compared, before, after)] == ["comparison", "evaluation", "evaluation"]
    flipped = compared["comparison"]["flipped"]
    assert flipped
    assert all(flip["better"] for flip in flipped)
    assert compared["comparison"]["chain"]["difference"] > 0
    states = {row[0]: row[3] for row in after["examples"]}
    assert {states[flip["id"]] for flip in flipped} == {"passed"}
    assert not after["whole"]


def test_without_words_all_chains_and_what_is_broken_is_told(demo: Workspace) -> None:
    demo.chain(name="other")
    demo.write("chains/broken.yaml", "steps: {")
    done = demo.invoke("report", "--json")
    assert [one["chain"] for one in done.json["sections"]] == ["demo", "other"]
    assert "left out: chains/broken.yaml" in done.err


def test_the_page_of_a_test_has_inputs_and_answers(empty: Workspace) -> None:
    project(empty)
    done = empty.invoke("test", "demo", "--html", "out/test.html")
    assert done.code == 100
    section = data_of((empty.root / "out/test.html").read_text("utf-8"))["sections"][0]
    assert section["whole"]
    assert section["examples"][0][3] == "failed"
    assert section["examples"][0][8]["message"]
    assert section["examples"][0][10][0][4] == "card"


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_report_is_written_and_written_again(demo: Workspace) -> None:
    run(demo)
    for _ in range(2):
        done = demo.invoke("report", "last")
        assert (done.code, done.out, done.err) == (0, "report.html\n", "")
    assert (demo.root / "report.html").read_text("utf-8").startswith(page.MARK)


def test_no_other_file_is_overwritten_and_nothing_is_spent_before(demo: Workspace, asked: list[Any]) -> None:
    mine = demo.write("report.html", "<p>mine</p>")
    for words in (("report", "demo"), ("test", "demo", "--html", "report.html")):
        done = demo.invoke(*words)
        assert done.code == 2, done
        assert "report.html: there is a file that is no report" in done.err
    assert mine.read_text() == "<p>mine</p>"
    assert not asked


def test_no_key_gets_into_a_report(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2-and-more")
    replace(demo, "Answer a customer.", f"Answer with {SECRET[:3]}.")
    run(demo, f"my key is {SECRET}, my word hunter2-and-more")
    demo.invoke("report", "last")
    demo.invoke("report", "demo", "-o", "chain.html")
    for name in ("report.html", "chain.html"):
        text = (demo.root / name).read_text("utf-8")
        assert SECRET not in text
        assert "hunter2" not in text


def test_open_shows_the_file(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    assert demo.invoke("report", "demo", "--open").code == 0
    assert opened == [(demo.root / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    done = demo.invoke("report", "demo", "--open")
    assert done.code == 0
    assert "no browser could be started; open file://" in done.err


# --- what is asked for wrongly ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dmo",), "there is no chain, run, evaluation or compile 'dmo'"),
        (("last",), "there are no runs yet"),
        (("",), "there is no chain, run"),
        (("demo@v9",), "demo"),
        (("chains/no.yaml",), "there is no file"),
        (("demo", "--json", "-o", "x.html"), "--json prints the data"),
        (("demo", "-o", "chains"), "this is a folder"),
        (("../" * 3,), "there is no file"),
        (("\ud800",), "there is no"),
    ],
)
def test_what_cannot_be_reported_is_told(demo: Workspace, words: tuple[str, ...], said: str) -> None:
    done = demo.invoke("report", *words)
    assert done.code == 2, done
    assert said in done.err
    assert "hint:" in done.err
    assert not (demo.root / "report.html").exists()


@pytest.mark.parametrize(
    ("gate", "passed"), [("", False), ("  gate: {min: 0.4}\n", True), ("  gate: {min: 0.6}\n", False)]
)
def test_what_is_kept_of_a_test_passed_where_the_test_did(empty: Workspace, gate: str, passed: bool) -> None:
    project(empty, text=compile_kit.CHAIN + gate)
    assert (empty.invoke("test", "demo").code == 0) is passed
    [section] = sections(empty, empty.invoke("log", "demo", "--json").json[0]["evaluations"][0]["id"])
    assert section["passed"] is passed


def test_a_beginning_of_several_is_told(demo: Workspace) -> None:
    run(demo)
    run(demo)
    done = demo.invoke("report", "01")
    assert done.code == 2
    assert "beginning of several" in done.err


def test_a_project_without_chains(empty: Workspace) -> None:
    done = empty.invoke("report")
    assert done.code == 2
    assert "there is nothing to report on" in done.err


def test_a_chain_that_only_the_store_has(demo: Workspace) -> None:
    make_repo(demo.root)
    demo.invoke("commit", "demo")
    (demo.root / "chains/demo.yaml").unlink()
    [section] = sections(demo, "demo")
    assert section["chain"] == "demo"
