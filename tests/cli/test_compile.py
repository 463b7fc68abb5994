"""`chain compile`: what it adopts, what it keeps, what stands in the lock, and what it prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.compile_kit import (
    CHAIN,
    DULL,
    EASY,
    MODEL,
    PROPOSER,
    compiled,
    dataset,
    entry,
    lock,
    lock_text,
    new_calls,
    no_lock,
    project,
    rows,
)
from tests.cli.test_live import on_terminal
from tests.workspace import CHAIN as COMMAND
from tests.workspace import Workspace

OTHER = "scripted/other.script.yaml"
OWN = "scripted/demo.script.yaml"


@pytest.fixture
def learning(empty: Workspace) -> Workspace:
    """The chain `demo`, at 50 %, that demos or better instructions bring to 100 %."""
    return project(empty)


# -- adopt or keep -----------------------------------------------------------------------------------------------------


def test_what_is_better_on_held_out_rows_is_adopted(learning: Workspace) -> None:
    found = compiled(learning, "--optimizer", "demos")
    assert (found["compiled"], found["kept"], found["version"]) == (True, None, "demo@v2")
    assert found["examples"] == {"train": 16, "dev": 16, "test": 20}
    assert found["test"] == found["by_step"]["intent"]
    assert {**found["test"], "low": 0, "high": 0} == {
        "examples": 20, "before": 0.5, "after": 1.0, "better": 10, "worse": 0, "low": 0, "high": 0, "p": 0.000977,
    }  # fmt: skip
    [demo] = found["variant"]["intent"]["demos"]
    assert demo["inputs"]["message"].startswith("lesson")


def test_the_lock_says_what_was_adopted_and_what_it_cost(learning: Workspace) -> None:
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    assert (done.code, new_calls(done)) == (0, entry(learning)["spent"]["calls"]), done
    [demo] = entry(learning)["steps"]["intent"]["demos"]
    assert (demo["inputs"]["message"][:6], demo["output"]) == ("lesson", "refund")
    found = {name: value for name, value in entry(learning).items() if name not in ("steps", "spent")}
    shares = {"before": 0.5, "after": 1.0}
    test = {"examples": 20, **shares, "better": 10, "low": 0.2113, "high": 0.6978, "p": 0.000977}
    assert found.pop("made_from")["examples"] == 52
    assert re.fullmatch("[0-9a-f]{16}", found.pop("prompts"))
    assert found == {
        "dev": {"examples": 16, **shares, "better": 8},
        "test": test,
        "by_step": {"intent": test},
        "settings": {"optimizer": "demos"},
    }
    assert list(lock(learning)) == [OWN]


def test_no_headroom_is_an_answer_that_costs_the_dev_rows_alone(empty: Workspace) -> None:
    project(empty, model=[EASY, {"contains": "odd", "reply": "refund"}])
    done = empty.invoke("compile", "demo")
    assert done.code == 0, done
    assert "= kept the seed prompts: no headroom: the seed prompts pass every dev example\n" in done.out
    assert "  noted in chains/demo.lock.yaml, demo@v2\n" in done.out
    assert new_calls(done) == 16
    assert "steps" not in entry(empty)
    assert "fresh (the seed prompts were kept)" in empty.invoke("compile", "--check").out


def test_what_does_not_help_is_kept(empty: Workspace) -> None:
    project(empty, model=DULL)
    found = compiled(empty)
    assert (found["compiled"], found["variant"], found["test"]) == (False, {}, None)
    assert found["kept"] == "no candidate was better on the dev examples"
    assert "steps" not in entry(empty)


def test_what_is_no_better_on_held_out_rows_is_kept(empty: Workspace) -> None:
    project(empty, model=[{"contains": "odd test", "reply": "card"}, *MODEL])
    found = compiled(empty, "--optimizer", "demos")
    assert found["dev"]["after"] == 1.0
    assert found["kept"] == "no gain on the held-out examples (0 better, 0 worse of 20)"
    assert "steps" not in entry(empty)
    assert entry(empty)["test"]["after"] == 0.5


def test_a_gain_that_can_be_chance_is_kept_and_says_how_many_rows_would_settle_it(learning: Workspace) -> None:
    dataset(learning, rows(test=3))
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    kept = "3 better, 0 worse of 6 held-out examples can be chance (p = 0.12); about 8 would settle a gain like that"
    assert f"= kept the seed prompts: too little data: {kept}\n" in done.out
    assert done.code == 0
    assert "warning: only 6 examples are held out: a gain must be large to be seen\n" in done.err
    learning.chain(CHAIN.replace("MODEL", OWN) + "compile: {max_p: 0.2}\n", replies=MODEL)
    assert compiled(learning, "--optimizer", "demos")["compiled"]


def test_too_few_rows_to_adopt_anything_is_said(learning: Workspace) -> None:
    dataset(learning, rows(test=1))
    done = learning.invoke("compile", "demo")
    assert "only 2 of the examples are held out: nothing can be adopted with fewer than 4" in done.err
    assert "kept the seed prompts" in done.out


def test_a_worse_prompt_replaces_none_that_was_adopted(learning: Workspace) -> None:
    """What was compiled before is what the next begins with."""
    compiled(learning, "--optimizer", "demos")
    before = entry(learning)["steps"]
    found = compiled(learning, "--force", "--optimizer", "format")
    assert found["steps"][0]["stages"][0] == {
        "optimizer": "earlier", "tried": 1, "before": 0.5, "after": 1.0, "calls": 16, "best": "the compile before",
        "note": "",
    }  # fmt: skip
    assert entry(learning)["steps"] == before


# -- again -------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_lock_byte_by_byte(
    empty: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two folders, one with an empty cache and one with what the other was answered."""
    texts = []
    for name in ("first", "second"):
        root = tmp_path / name
        root.mkdir()
        monkeypatch.chdir(root)
        workspace = project(Workspace(root), text=CHAIN + "compile: {max_demos: 4}\n")
        assert workspace.invoke("compile", "demo", "--seed", "3").code == 0
        texts.append((root / "chains/demo.lock.yaml").read_bytes())
    assert texts[0] == texts[1]


def test_the_seed_decides_what_is_tried(learning: Workspace) -> None:
    def demos(seed: int) -> Any:
        return compiled(learning, "--optimizer", "demos", "--force", "--seed", str(seed))["variant"]

    found = {str(demos(seed)) for seed in range(1)}
    (learning.root / "chains/demo.lock.yaml").unlink()
    assert str(demos(1)) not in found
    assert entry(learning)["settings"]["seed"] == 1
    demos(0)  # and the seed that it has by itself can be asked for too
    assert "seed" not in entry(learning)["settings"]


def test_what_is_fresh_is_not_compiled_again(learning: Workspace, asked: list[Any]) -> None:
    learning.invoke("compile", "demo")
    before, calls = lock_text(learning), len(asked)
    done = learning.invoke("compile", "demo")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"demo on {OWN} is fresh: nothing to do; --force compiles it all the same\n"
    done = learning.invoke("compile", "demo", "--json")
    assert (done.json, done.err.count("is fresh: nothing to do")) == ([], 1)
    done = learning.invoke("compile", "--all", "--dry-run")
    assert (done.out, done.err.count("is fresh: nothing to do")) == ("", 1)
    assert (lock_text(learning), len(asked)) == (before, calls)


def test_force_does_it_again_from_what_was_there(learning: Workspace, asked: list[Any]) -> None:
    learning.invoke("compile", "demo")
    assert "parent" not in entry(learning)
    calls = len(asked)
    done = learning.invoke("compile", "demo", "--force")
    assert re.search(r"^intent\tearlier \(1\)\t50 % → 100 %\t16\tthe compile before$", done.out, re.MULTILINE), done
    assert len(asked) == calls
    assert new_calls(done) == 0
    assert "parent" not in entry(learning), "the same prompts took nobody's place"


def test_flags_that_the_lock_records_keep_it_fresh_and_hold_again(learning: Workspace) -> None:
    compiled(learning, "--optimizer", "demos", "--seed", "5", "--calls", "300", "--step", "intent")
    settings = {"optimizer": "demos", "calls": 300, "seed": 5, "steps": ["intent"]}
    assert entry(learning)["settings"] == settings
    assert learning.invoke("compile", "--check").code == 0
    compiled(learning, "--force")
    assert entry(learning)["settings"] == settings
    assert compiled(learning, "--optimizer", "format")  # another flag is another compile
    assert entry(learning)["settings"] == {**settings, "optimizer": "format"}


def test_without_the_cache_every_answer_is_asked_for_once_more(learning: Workspace, asked: list[Any]) -> None:
    learning.invoke("compile", "demo", "--optimizer", "demos")
    first = len(asked)
    done = learning.invoke("compile", "demo", "--force", "--no-cache")
    assert new_calls(done) == len(asked) - first > 0
    distinct = {str(request) for request in asked[first:]}
    assert len(distinct) == len(asked) - first  # but within the command none twice


def test_what_was_compiled_before_stays_where_the_new_rows_are_too_few_to_tell(learning: Workspace) -> None:
    before = compiled(learning, "--optimizer", "demos")
    dataset(learning, rows(test=3))
    assert compiled(learning, "--optimizer", "demos")["variant"] == before["variant"]


def test_what_was_compiled_before_is_not_dropped_without_a_word(learning: Workspace) -> None:
    compiled(learning, "--optimizer", "demos")
    learning.model(*DULL, name="demo")  # another model, so that nothing is known of them any more
    done = learning.invoke("compile", "demo", "--optimizer", "format")
    assert "= kept the seed prompts: no candidate was better on the dev examples" in done.out, done
    said = "what was compiled before is dropped (intent 50 % → 100 %); chain log demo has its version, chain rollback"
    assert f"warning: {said} brings it back\n" in done.err
    assert "is dropped" not in learning.invoke("compile", "demo", "--force").err


# -- what is tuned -----------------------------------------------------------------------------------------------------

TWO = """
model: MODEL
inputs: {message: string}
steps:
  intent:
    instructions: Decide what the customer wants.
    prompt: "Classify: {{ message }}"
    output: [card, refund]
  goods:
    instructions: Decide what it is about.
    prompt: "Goods: {{ message }}"
    output: [card, refund]
  reply:
    prompt: "Reply to {{ intent }}"
test:
  dataset: rows.jsonl
  assert:
    - {step: intent, type: equals, value: "{{ expected.intent }}"}
    - {step: goods, type: equals, value: "{{ expected.intent }}"}
"""


def test_steps_are_tuned_one_by_one_and_then_chosen_together(empty: Workspace) -> None:
    project(empty, text=TWO)
    dataset(empty, [{**one, "expected": {**one["expected"], "goods": one["expected"]["intent"]}} for one in rows()])
    found = compiled(empty, "--optimizer", "demos")
    assert found["compiled"], found
    assert sorted(found["variant"]) == ["goods", "intent"]
    assert found["test"]["after"] == found["by_step"]["goods"]["after"] == 1.0
    skipped = {step["step"]: step["skipped"] for step in found["steps"]}
    assert skipped == {"intent": "", "goods": "", "reply": "no assertion looks at it, or at what comes of it"}
    only = compiled(empty, "--step", "intent", "--force")
    skipped = {step["step"]: step["skipped"] for step in only["steps"]}
    stays = "not asked for: stays as it was compiled"
    assert skipped == {"intent": "", "goods": stays, "reply": "not asked for"}
    assert only["variant"]["goods"] == found["variant"]["goods"]
    assert only["test"]["after"] == 1.0
    assert entry(empty)["settings"] == {"optimizer": "demos", "steps": ["intent"]}
    assert "is fresh (tuned: intent only): nothing to do" in empty.invoke("compile", "demo").err


def test_a_step_that_is_not_asked_for_goes_back_to_words_that_are_new(empty: Workspace) -> None:
    project(empty, text=TWO)
    dataset(empty, [{**one, "expected": {**one["expected"], "goods": one["expected"]["intent"]}} for one in rows()])
    assert sorted(compiled(empty, "--optimizer", "demos")["variant"]) == ["goods", "intent"]
    project_text = (empty.root / "chains/demo.yaml").read_text(encoding="utf-8")
    empty.write("chains/demo.yaml", project_text.replace("it is about.", "it is about, please."))
    only = compiled(empty, "--step", "intent")
    assert list(only["variant"]) == ["intent"]
    assert [step["skipped"] for step in only["steps"]] == ["", "not asked for", "not asked for"]


def test_a_step_without_headroom_is_left_out_of_the_search(empty: Workspace) -> None:
    right = [{"contains": "Goods: easy", "reply": "card"}, {"contains": "Goods", "reply": "refund"}]
    project(empty, text=TWO, model=[*right, *MODEL])
    found = compiled(empty, "--optimizer", "demos")
    assert list(found["variant"]) == ["intent"]
    assert found["steps"][1]["skipped"] == "no headroom: it passes every dev example"


@pytest.mark.parametrize(
    ("freeze", "says"),
    [("true", "frozen"), ("[demos]", ""), ("[demos, instructions, format]", "")],
)
def test_what_is_frozen_stays(learning: Workspace, freeze: str, says: str) -> None:
    text = CHAIN.replace("    output: [card", f"    freeze: {freeze}\n    output: [card")
    learning.chain(text.replace("MODEL", OWN), replies=MODEL)
    found = compiled(learning)
    assert "demos" not in str(found["variant"])
    [step] = found["steps"]
    assert step["skipped"] == says
    tried = {stage["optimizer"] for stage in step["stages"]}
    assert tried == ({"format", "instructions"} if freeze == "[demos]" else set())
    assert found["kept"] == ("no candidate was better on the dev examples" if tried else "no step could be tuned")


def test_a_proposer_rewrites_the_instructions(learning: Workspace) -> None:
    proposer = learning.model(*PROPOSER, name="proposer")
    found = compiled(learning, "--optimizer", "instructions", "--proposer", proposer)
    assert found["compiled"], found
    assert found["variant"]["intent"]["instructions"] == "Decide with care what they want."
    assert entry(learning)["steps"] == {"intent": {"instructions": "Decide with care what they want."}}
    assert entry(learning)["settings"] == {"optimizer": "instructions", "proposer": proposer}


def test_without_a_proposer_auto_says_how_to_get_instructions_rewritten(empty: Workspace) -> None:
    project(empty, model=DULL)
    stages = {stage["optimizer"]: stage for stage in compiled(empty)["steps"][0]["stages"]}
    assert list(stages) == ["nearest", "demos", "format", "instructions"]
    assert stages["instructions"]["note"] == "a model has to write them: name one with --proposer MODEL"


def test_a_teachers_right_answers_become_demos(empty: Workspace) -> None:
    """Nothing is expected of the step in the training rows, so demos come of answers that passed."""
    text = CHAIN.replace('value: "{{ expected.intent }}"', "value: \"{{ 'refund' if 'o' in message else 'card' }}\"")
    project(empty, text=text.replace("the customer wants", "it is"))
    found = [{name: value for name, value in one.items() if name != "expected"} for one in rows()]
    dataset(empty, found)
    teacher = empty.model({"contains": "lesson", "reply": "refund"}, *MODEL, name="teacher")
    done = compiled(empty, "--optimizer", "demos", "--teacher", teacher)
    assert done["compiled"], done
    assert done["variant"]["intent"]["demos"][0]["output"] == "refund"
    assert entry(empty)["settings"]["teacher"] == teacher


# -- several models ----------------------------------------------------------------------------------------------------


def test_several_models_come_to_one_table_and_begin_with_what_the_first_found(learning: Workspace) -> None:
    learning.model(*MODEL, name="other")
    done = learning.invoke("compile", "demo", "--model", OWN, "--model", OTHER, "--optimizer", "demos")
    assert done.code == 0, done
    assert re.search(rf"^intent\tearlier \(1\)\t50 % → 100 %\t16\tcompiled for {OWN}$", done.out, re.MULTILINE), done
    table = [line.split("\t") for line in done.out.splitlines() if line.startswith("scripted/")]
    assert [(cells[:3], cells[-1]) for cells in table] == [
        ([OWN, "50 %", "100 %"], "compiled"),
        ([OTHER, "50 %", "100 %"], "compiled"),
    ]
    found = lock(learning)
    assert found[OWN]["steps"] == found[OTHER]["steps"]
    assert "parent" not in found[OTHER]
    spent = {model: found[model]["spent"]["calls"] for model in found}
    logged = re.sub(r", [0-9a-z]{12}$", "", learning.invoke("log", "demo").out, flags=re.MULTILINE)  # ids of compiles
    assert [line.split("\t")[3:] for line in logged.splitlines()] == [
        [f"compiled for {OTHER}: intent 50 % → 100 %", f"compile for {OTHER} ({spent[OTHER]} calls)"],
        [f"compiled for {OWN}: intent 50 % → 100 %", f"compile for {OWN} ({spent[OWN]} calls)"],
        ["first version", "auto"],
    ]


def test_all_is_every_chain_and_model_that_is_stale(learning: Workspace) -> None:
    learning.model(*MODEL, name="other")
    learning.write("chains/second.yaml", CHAIN.replace("MODEL", OWN))
    learning.write("chains/third.yaml", CHAIN.replace("MODEL", OWN))
    words = ("--optimizer", "demos")
    done = learning.invoke("compile", "demo", "second", "--model", OWN, "--model", OTHER, *words)
    table = [line.split("\t")[:2] for line in done.out.splitlines() if "\tscripted/" in line]
    assert table == [["demo", OWN], ["demo", OTHER], ["second", OWN], ["second", OTHER]], done
    learning.write("chains/second.yaml", CHAIN.replace("MODEL", OWN).replace("Decide", "Tell"))
    done = learning.invoke("compile", "--all")
    assert done.code == 0, done
    assert done.err.count("demo on scripted/") == 2 == done.err.count("is fresh: nothing to do")
    table = [line.split("\t")[0] for line in done.out.splitlines() if line.startswith("scripted/")]
    assert table == [OWN, OTHER]
    assert done.out.count("second on ") == 2
    assert not (learning.root / "chains/third.lock.yaml").exists()
    assert learning.invoke("compile", "--check").code == 0


def test_models_of_steps_go_with_each_model_of_the_chain(empty: Workspace) -> None:
    project(empty, text=TWO)
    empty.model(*MODEL, name="other")
    done = empty.invoke("compile", "demo", "--model", f"goods={OTHER}", "--optimizer", "demos")
    assert done.code == 0, done
    models = entry(empty)["made_from"]["models"]
    assert {name: model.split()[0] for name, model in models.items()} == {"intent": OWN, "goods": OTHER, "reply": OWN}


# -- what knows of it --------------------------------------------------------------------------------------------------


def test_run_uses_it_by_itself_and_source_does_not(learning: Workspace) -> None:
    assert learning.invoke("run", "demo", "odd one").out == "card\n"
    learning.invoke("compile", "demo", "--optimizer", "demos")
    assert learning.invoke("run", "demo", "odd one").out == "refund\n"
    assert learning.invoke("run", "demo", "odd one", "--locked").out == "refund\n"
    assert learning.invoke("run", "demo", "odd one", "--source").out == "card\n"
    assert "lesson" in learning.invoke("show", "demo", "--rendered", "-i", "message=odd one").out
    assert f"compiled: {OWN}: intent 50 % → 100 % (fresh)" in learning.invoke("show", "demo").out


def test_demos_picked_for_each_request_stand_in_the_lock_and_are_used(learning: Workspace) -> None:
    compiled(learning)  # what `auto` tries first is enough
    nearest = entry(learning)["steps"]["intent"]["nearest"]
    assert (nearest["count"], len(nearest["pool"])) == (1, 16)
    assert learning.invoke("run", "demo", "odd dev 3").out == "refund\n"
    shown = learning.invoke("show", "demo", "--rendered", "-i", "message=easy train 3").out
    assert "Classify: easy train 3\n── assistant\ncard\n" in shown


def test_a_rollback_brings_the_prompts_before_back(learning: Workspace) -> None:
    learning.invoke("compile", "demo", "--optimizer", "demos")
    assert "lesson" in learning.invoke("diff", "demo@v1").out, "what was there before is a version too"
    done = learning.invoke("rollback", "demo", "v1")
    assert done.code == 0, done
    assert no_lock(learning)
    assert learning.invoke("run", "demo", "odd one").out == "card\n"
    learning.invoke("rollback", "demo", "v2")
    assert learning.invoke("run", "demo", "odd one").out == "refund\n"


# -- what it prints ----------------------------------------------------------------------------------------------------


def test_in_a_pipe_the_data_is_on_stdout_and_what_is_done_on_stderr(learning: Workspace) -> None:
    done = learning.run("compile", "demo", "--optimizer", "demos")
    lines = done.out.splitlines()
    assert lines[0] == f"demo on {OWN}: 52 examples of chains/rows.jsonl (16 train, 16 dev, 20 test)"
    assert re.fullmatch(r"intent\tdemos \(\d+\)\t50 % → 100 %\t\d+\t1 demo", lines[1])
    assert lines[2:] == [
        "dev       50 % → 100 %  8 better, 0 worse of 16",
        "held out  50 % → 100 %  10 better, 0 worse of 20",
        "          +21 to +70 points (95 %), p = 0.00098",
        "✓ compiled intent: chains/demo.lock.yaml, demo@v2",
    ]
    assert done.err.splitlines()[:3] == [
        f"demo on {OWN}: 52 examples (16 train, 16 dev, 20 test)",
        "  the seed prompts on the dev examples",
        "  intent: demos",
    ]
    assert re.fullmatch(r"\d+ calls, [\d,]+ tokens, \$0; [\d.]+ (m?s)", done.err.splitlines()[-1])


def test_on_a_terminal_nothing_stays_of_the_progress_and_no_line_is_broken(learning: Workspace) -> None:
    learning.model(*MODEL, name="other")
    words = ["compile", "demo", "--optimizer", "demos", "--model", OWN, "--model", OTHER]
    shown = on_terminal([COMMAND, *words], learning.root, width=80)
    assert (shown.code, shown.cursor_shown) == (0, True)
    text = "\n".join(shown.lines)
    assert re.search(r"^step +tried +dev +calls +best$", text, re.MULTILINE), text
    assert re.search(r"^model +seed +compiled +cost a run +time \(p50\)$", text, re.MULTILINE), text
    assert re.search(rf"^{OWN} +50 % +100 % +\$0 ", text, re.MULTILINE), text
    assert "new call" not in text
    assert "+21 to +70 points (95 %)" in text
    assert max(map(len, shown.lines)) <= 80, text


def test_on_a_narrow_terminal_no_word_is_broken_and_the_spending_is_seen(learning: Workspace) -> None:
    dataset(learning, rows(test=3))
    learning.model(*({**rule, "delay": 0.2} for rule in MODEL), name="demo")
    shown = on_terminal([COMMAND, "compile", "demo", "--optimizer", "instructions"], learning.root, width=50)
    assert re.search(r"\d+ s, \d+ new calls?, \$0  demo on scripted", shown.text), shown.text
    found = shown.lines.index("demo on scripted/demo.script.yaml: 38 examples of")
    assert shown.lines[found + 1] == "    chains/rows.jsonl (16 train, 16 dev, 6 test)"
    found = next(index for index, line in enumerate(shown.lines) if line.startswith("= kept"))
    assert shown.lines[found : found + 2] == [
        "= kept the seed prompts: no candidate was better",
        "    on the dev examples",
    ]


def test_a_steps_gain_is_shown_where_the_whole_has_another(learning: Workspace) -> None:
    text = CHAIN.replace("MODEL", OWN) + "    - {type: latency, threshold: 0.0000001}\n"
    learning.write("chains/demo.yaml", text)
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    lines = done.out.splitlines()
    assert lines[3:7] == [
        "held out  0 % → 0 %  0 better, 0 worse of 20",
        "          -13 to +13 points (95 %), p = 1",
        "  intent  50 % → 100 %  10 better, 0 worse of 20",
        "          +21 to +70 points (95 %), p = 0.00098",
    ], done
    assert "✓ compiled intent" in done.out


def test_what_is_odd_about_the_rows_is_said_once_for_all_models(learning: Workspace) -> None:
    learning.model(*MODEL, name="other")
    dataset(learning, [*rows(), rows()[0]])
    done = learning.invoke("compile", "demo", "--model", OWN, "--model", OTHER, "--dry-run")
    assert done.err.count("row repeats an earlier one") == 1, done


def test_all_where_nothing_is_compiled(learning: Workspace) -> None:
    done = learning.invoke("compile", "--all")
    assert (done.code, done.out, done.err) == (0, "", "nothing is compiled here: chain compile NAME\n")


# -- a dry run ---------------------------------------------------------------------------------------------------------


def estimate(workspace: Workspace, *words: str) -> Any:
    done = workspace.invoke("compile", "demo", "--dry-run", "--json", *words)
    assert done.code == 0, done
    [found] = done.json
    return found


def test_a_dry_run_spends_and_writes_nothing(learning: Workspace, asked: list[Any]) -> None:
    done = learning.invoke("compile", "demo", "--dry-run", "--model", "openai/gpt-5-mini")
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert lines[0] == "demo on openai/gpt-5-mini: 16 train, 16 dev, 20 test"
    assert lines[1] == "  intent\tnearest, demos, format, instructions; tried alone"
    assert re.fullmatch(r"  at most 472 calls of openai/gpt-5-mini, about [\d,]+ tokens, about \$0\.\d{4}", lines[2]), (
        done
    )
    assert (asked, no_lock(learning)) == ([], True)


def test_an_estimate_is_by_model_with_the_price_that_is_known(learning: Workspace) -> None:
    found = estimate(learning, "--model", "openai/gpt-5-mini", "--calls", "200")
    assert (found["calls"], found["cost"] > 0, found["seconds"]) == (200, True, None)
    free = estimate(learning, "--calls", "200")
    assert (free["cost"], [one["model"] for one in free["models"]]) == (0.0, [OWN])
    assert estimate(learning, "--proposer", "openai/gpt-5-mini")["models"][0]["model"] == "openai/gpt-5-mini"
    assert estimate(learning, "--model", "hosted_vllm/mine")["cost"] is None
    text = learning.invoke("compile", "demo", "--dry-run", "--model", "hosted_vllm/mine").out
    assert "at an unknown price" in text


def test_an_estimate_knows_ceilings_steps_and_judges(empty: Workspace) -> None:
    project(empty, text=TWO + f"    - {{step: goods, type: llm-rubric, value: kind, provider: {OTHER}}}\n")
    empty.model({"always": True, "reply": {"reason": "", "score": 1, "pass": True}}, name="other")
    found = estimate(empty, "--max-calls", "300")
    assert found["calls"] == 300
    assert {one["model"]: one["calls"] for one in found["models"]} == {OWN: 200, OTHER: 100}
    assert estimate(empty, "--calls", "210", "--max-calls", "300")["calls"] in range(209, 212)
    only = estimate(empty, "--step", "intent")
    assert only["steps"]["goods"] == "not asked for"
    assert only["calls"] < estimate(empty)["calls"]


def test_runs_so_far_tell_the_time(learning: Workspace) -> None:
    learning.invoke("run", "demo", "odd one")
    found = estimate(learning)
    assert found["seconds"] >= 0
    assert ", if its calls go one by one as in the last runs" in learning.invoke("compile", "demo", "--dry-run").out


def test_a_dry_run_takes_no_more_than_it_says(learning: Workspace, asked: list[Any]) -> None:
    most = estimate(learning, "--calls", "120")["calls"]
    learning.invoke("compile", "demo", "--calls", "120")
    assert 0 < len(asked) <= most == 120
