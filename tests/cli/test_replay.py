"""`chain replay`: what is run anew, on which models, and what is said of it."""

from __future__ import annotations

import signal
import subprocess

import pytest

from promptchain import replay
from promptchain.chain import Format
from promptchain.records import Call, Run, Status, StepRun, ToolRun
from tests.cli.git_kit import git, replace
from tests.cli.run_kit import EACH, SECRET, again, calls, listed, other_replies, run
from tests.workspace import CHAIN, DEMO, REPLIES, Workspace


def test_a_replay_of_what_has_not_changed_says_so(demo: Workspace) -> None:
    first = run(demo)
    done = demo.invoke("replay", "last")
    newest = listed(demo)[0]
    assert (done.code, done.out) == (0, "")
    assert done.err == f"nothing came out differently; this is run {newest['id']}\n"
    record = demo.invoke("runs", "show", newest["id"], "--json").json
    assert (record["replay_of"], record["inputs"], record["source"]) == (first["id"], first["inputs"], first["source"])
    assert calls(record) == {"intent": 1, "draft": 1, "check": 1}
    assert f"replays {first['id']}" in demo.invoke("runs", "show", "last").out


def test_a_replay_tells_what_comes_out_differently(demo: Workspace) -> None:
    first = run(demo)
    other_replies(demo)
    done = demo.invoke("replay", first["id"][:-2])
    assert done.code == 0
    assert done.out.startswith(f"--- run {first['id']}\n+++ run ")
    assert "~ outputs.intent: card → refund\n" in done.out
    found = again(demo, first["id"])
    assert (found["run"]["outputs"]["intent"], found["taken_over"]) == ("refund", [])
    assert found["run"]["replay_of"] == first["id"]
    assert found["diff"]


@pytest.mark.parametrize(
    ("start", "asked", "taken"),
    [
        ("intent", {"intent": 1, "draft": 1, "check": 1}, []),
        ("draft", {"intent": 0, "draft": 1, "check": 1}, ["intent"]),
        ("check", {"intent": 0, "draft": 0, "check": 1}, ["draft", "intent"]),
    ],
)
def test_a_replay_from_a_step_takes_over_what_is_before_it(
    demo: Workspace, start: str, asked: dict[str, int], taken: list[str]
) -> None:
    first = run(demo)
    other_replies(demo)
    found = again(demo, first["id"], "--from", start)
    assert (calls(found["run"]), found["taken_over"]) == (asked, taken)
    assert found["run"]["totals"]["calls"] == sum(asked.values())
    for name, count in asked.items():
        assert found["run"]["steps"][name]["value"] == ("refund" if count else first["steps"][name]["value"])
    err = demo.invoke("replay", first["id"], "--from", start).err
    assert ("taken over from the record: " in err) is bool(taken)


def test_a_replay_on_another_model(demo: Workspace) -> None:
    first = run(demo)
    other = demo.model({"reply": "refund", "always": True}, name="second")
    found = again(demo, "last", "--model", other)
    assert {step["value"] for step in found["run"]["steps"].values()} == {"refund"}
    one = again(demo, first["id"], "--model", f"check={other}")["run"]
    assert [step["value"] for step in one["steps"].values()] == ["card", "It is on its way.", "refund"]
    assert one["steps"]["draft"]["calls"][0]["model"] == first["model"]


def test_a_replay_is_on_the_models_of_the_run(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a step was never asked, was taken over from an earlier run, or the environment says otherwise."""
    partly = demo.model(*REPLIES[:1], name="second")
    assert demo.invoke("run", "demo", "hi", "--model", partly).code == 1
    failed = listed(demo)[0]["id"]
    demo.model(*REPLIES, name="second")
    monkeypatch.setenv("PROMPTCHAIN_MODEL", "scripted/nowhere.yaml")
    found = again(demo, failed)["run"]
    assert {step["calls"][0]["model"] for step in found["steps"].values()} == {partly}
    part = again(demo, "last", "--from", "check")["run"]
    assert calls(part) == {"intent": 0, "draft": 0, "check": 1}
    whole = again(demo, part["id"])["run"]
    assert {step["calls"][0]["model"] for step in whole["steps"].values()} == {partly}


def test_a_replay_of_a_replay_is_on_the_models_that_values_were_taken_over_from(demo: Workspace) -> None:
    other = demo.model({"reply": "refund", "always": True}, name="second")
    run(demo, "hi", "--model", f"draft={other}")
    part = again(demo, "last", "--from", "check")["run"]
    assert calls(part) == {"intent": 0, "draft": 0, "check": 1}
    assert again(demo, part["id"])["run"]["steps"]["draft"]["calls"][0]["model"] == other


def test_the_model_of_a_step_is_not_that_of_its_judge_or_of_a_chain_in_it() -> None:
    calls = Call(model="own", format=Format.TEXT), Call(model="judge", purpose="judge")
    judged = StepRun(status=Status.DONE, calls=calls)
    inner = Run(id="i", chain="i", source="", model="inner", started="", status=Status.DONE, steps={"x": judged})
    asked = StepRun(
        status=Status.DONE, calls=(Call(model="mine", format=Format.JSON),), tools=(ToolRun(name="t", run=inner),)
    )
    steps = {"a": judged, "b": asked, "c": StepRun(status=Status.DONE, items=(judged, asked))}
    found = Run(id="o", chain="o", source="", model="own", started="", status=Status.DONE, steps=steps)
    assert replay.models(found) == {"a": "own", "b": "mine", "c": "mine"}
    assert replay.inner_models(found) == {"inner"}


def test_a_replay_is_not_on_the_models_of_judges_and_of_chains_that_are_tools(empty: Workspace) -> None:
    inner = empty.model({"reply": "polite", "always": True}, name="other")
    empty.chain(
        f"{{model: {inner}, inputs: {{text: string}}, steps: {{a: {{prompt: '{{{{ text }}}}'}}}}}}", name="inner"
    )
    judge = empty.model({"reply": {"pass": True, "score": 1, "reason": "x"}, "always": True}, name="judge")
    asks = [
        {"contains": "polite", "reply": {"answer": "Done."}},
        {"contains": "Agent", "reply": {"tool": "inner", "arguments": {"text": "Hey"}}},
        {"reply": "said", "always": True},
    ]
    empty.chain(
        f"""
        model: MODEL
        inputs: {{message: string}}
        steps:
          agent: {{prompt: "Agent: {{{{ message }}}}", tools: [{{chain: inner}}]}}
          said:
            prompt: "Say {{{{ message }}}}"
            assert: [{{type: llm-rubric, value: polite, provider: {judge}}}]
        """,
        replies=asks,
    )
    first = empty.invoke("run", "demo", "hi", "--json").json
    assert [call["model"] for call in first["steps"]["said"]["calls"]] == [first["model"], judge]
    found = again(empty, first["id"])
    assert {step["kind"] for step in found["diff"]["steps"]} == {"same"}, found["diff"]
    assert found["run"]["outputs"] == first["outputs"]
    assert {step["calls"][0]["model"] for step in found["run"]["steps"].values()} == {first["model"]}


def test_a_replay_at_a_version_that_names_another_model_is_on_that(demo: Workspace) -> None:
    first = run(demo)
    other = demo.model({"reply": "refund", "always": True}, name="second")
    replace(demo, first["model"], other)
    assert again(demo, first["id"], "--at", ".")["run"]["steps"]["check"]["calls"][0]["model"] == other
    chosen = demo.model({"reply": "card", "always": True}, name="third")
    by_hand = run(demo, "hi", "--model", chosen)
    replace(demo, other, first["model"])
    assert again(demo, by_hand["id"], "--at", ".")["run"]["steps"]["check"]["calls"][0]["model"] == chosen


def test_a_replay_at_another_version(demo: Workspace) -> None:
    first = run(demo)
    demo.model({"contains": "Sort", "reply": "refund"}, *REPLIES, name="demo")
    replace(demo, '"Classify: ', '"Sort: ')
    work = demo.invoke("replay", first["id"], "--at", ".")
    assert work.code == 0
    assert "~ outputs.intent: card → refund\n" in work.out
    assert "(.)" in work.out
    assert [version["version"] for version in demo.invoke("log", "demo", "--json").json] == ["v2", "v1"]
    for ref in ("v2", "latest", "@v2", "demo@v2"):
        assert again(demo, first["id"], "--at", ref)["run"]["steps"]["intent"]["value"] == "refund"
    assert again(demo, first["id"])["run"]["steps"]["intent"]["value"] == "card"
    fixed = again(demo, first["id"], "--at", "v2", "--from", "draft")
    assert fixed["run"]["steps"]["intent"]["value"] == "card"
    assert fixed["taken_over"] == ["intent"]


def test_a_replay_at_a_version_with_other_inputs(empty: Workspace) -> None:
    empty.chain(
        EACH, name="each", replies=[{"contains": "Say", "reply": "word"}, {"contains": "Join", "reply": "joined"}]
    )
    first = run(empty, "-i", 'words=["a", "b"]', chain="each")
    assert again(empty, first["id"])["run"]["inputs"] == {"words": ["a", "b"], "tone": None}
    replace(empty, ", tone?: string", "", "chains/each.yaml")
    found = again(empty, first["id"], "--at", ".", "--from", "all")
    assert found["run"]["steps"]["word"]["value"] == ["word", "word"]
    assert calls(found["run"]) == {"word": 0, "all": 1}
    replace(empty, "words(array): string", "texts(array): string", "chains/each.yaml")
    replace(empty, "{{ words }}", "{{ texts }}", "chains/each.yaml")
    done = empty.invoke("replay", first["id"], "--at", ".")
    assert (done.code, done.out) == (2, "")
    assert "has no input 'words'" in done.err
    assert len(listed(empty)) == 3


def test_a_replay_that_fails_says_why(demo: Workspace) -> None:
    first = run(demo)
    demo.model(*REPLIES[:1], name="demo")
    done = demo.invoke("replay", first["id"])
    assert done.code == 1
    assert "error: step 'draft' failed: the script has no reply" in done.err
    assert listed(demo)[0]["status"] == "failed"
    same = demo.invoke("replay", "last")
    assert (same.code, same.out) == (1, "")
    assert "it failed in the same way; this is run " in same.err
    assert "error: step 'draft' failed: the script has no reply" in same.err
    assert again(demo, "last", code=1)["run"]["status"] == "failed"


def test_a_failed_run_is_replayed_from_where_it_failed(demo: Workspace) -> None:
    demo.chain(replies=REPLIES[:1])
    demo.invoke("run", "demo", "hi")
    demo.chain()
    found = again(demo, "last", "--from", "check")
    assert (found["run"]["status"], found["taken_over"]) == ("done", ["intent"])
    assert calls(found["run"]) == {"intent": 0, "draft": 1, "check": 1}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["last", "--from", "chek"], 2, "did you mean 'check'?"),
        (["last", "--at", "v9"], 2, "has no version 'v9'"),
        (["last", "--at", ""], 2, "there is no version behind the @"),
        (["last", "--at", "other@v1"], 2, "has no version 'other@v1'"),
        (["last", "--at", "git:HEAD"], 2, "is in no git repository"),
        (["last", "--at", "demo@git:HEAD"], 2, "is in no git repository"),
        (["last", "--model", "chek=x/y"], 2, "did you mean 'check'?"),
        (["last", "--max-calls", "2"], 1, "raise --max-calls"),
        (["last", "--max-calls", "0", "--from", "check"], 1, "--max-calls 0 leaves no room"),
        (["nope"], 2, "there is no run 'nope'"),
        (["demo"], 2, "there is no run 'demo'"),
    ],
)
def test_a_replay_that_cannot_be(demo: Workspace, words: list[str], code: int, says: str) -> None:
    run(demo)
    done = demo.invoke("replay", *words)
    assert done.code == code, done
    assert says in done.err
    assert len(listed(demo)) == (1 if code == 2 else 2)


def test_a_replay_of_a_run_whose_version_is_gone(demo: Workspace) -> None:
    record = run(demo)
    git(demo.root / ".promptchain/store.git", "update-ref", "-d", "refs/promptchain/chains/demo")
    done = demo.invoke("replay", "last")
    assert (done.code, done.out) == (2, "")
    assert f"the version that run {record['id']} ran on is not in the store" in done.err
    assert "--at . takes the work tree" in done.err
    assert demo.invoke("runs").out.split("\t")[2] == f"demo@{record['source'][:12]}"
    assert again(demo, record["id"], "--at", ".")["run"]["status"] == "done"


def test_a_replay_is_within_its_budget(demo: Workspace) -> None:
    run(demo)
    assert again(demo, "last", "--max-calls", "3")["run"]["status"] == "done"
    assert again(demo, "last", "--from", "check", "--max-calls", "1")["run"]["status"] == "done"


def test_a_replay_that_is_stopped_is_recorded(demo: Workspace) -> None:
    slow = demo.model({"reply": "late", "always": True, "delay": 60}, name="slow")
    demo.chain(DEMO.replace("  check:\n", f"    fallbacks: [{slow}]\n  check:\n"))
    first = run(demo)
    demo.model(REPLIES[0], {"contains": "Draft for", "error": "authentication"}, name="demo")
    process = subprocess.Popen([CHAIN, "replay", "last"], cwd=demo.root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("step 'draft': ")  # it falls back: the first step is done
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    row = listed(demo)[0]
    assert f"what was done is recorded: chain runs show {row['id']}\n" in err
    assert row["status"] == "interrupted"
    assert listed(demo, "--status", "interrupted") == [row]
    shown = demo.invoke("runs", "show", "last", "--json").json
    assert (shown["replay_of"], shown["steps"]["intent"]["value"]) == (first["id"], "card")


def test_a_replay_of_a_run_with_a_secret_warns(demo: Workspace) -> None:
    run(demo, f"the key is {SECRET}")
    done = demo.invoke("replay", "last")
    assert done.code == 0
    assert "warning: the inputs hold *** where the record leaves out a secret" in done.err
