"""`chain test` tells how well passages are found apart from what is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.cli.test_test import cells
from tests.workspace import Workspace

CHAIN = """
model: MODEL
inputs: {message: string}
steps:
  help:
    retrieve: {from: help/*.md, query: "{{ message }}", top_k: 2}
  reply:
    prompt: "{% for page in help %}{{ page.text }} {% endfor %}"
test:
  dataset: rows.jsonl
  assert:
    - {step: help, type: recall, value: "{{ expected.pages }}", k: 2}
    - {step: help, type: mrr, value: "{{ expected.pages }}", weight: 0}
    - {step: help, type: ndcg, value: "{{ expected.pages }}", k: 1, weight: 0, metric: order}
    - {step: reply, type: icontains, value: "{{ expected.word }}"}
"""
PAGES = {
    "card": "# New cards\n\nA new card takes five days.\n",
    "lost": "# Lost cards\n\nA lost card is blocked in the app.\n",
    "pin": "# PIN\n\nThe PIN is in the app.\n",
}
ANSWERS = (
    {"contains": "five", "reply": "five days"},
    {"contains": "blocked", "reply": "blocked"},
    {"contains": "", "reply": "no idea"},
)


def row(id: str, message: str, page: str, word: str) -> dict[str, Any]:
    return {"id": id, "message": message, "expected": {"pages": [f"chains/help/{page}.md"], "word": word}}


ROWS = [
    row("r1", "five days?", "card", "five"),
    row("r2", "is it blocked", "lost", "blocked"),
    row("r3", "my PIN", "card", "five"),
    row("r4", "the card was lost and blocked", "card", "five"),
]


@pytest.fixture
def searching(empty: Workspace) -> Workspace:
    """A chain that finds nothing of what is expected for r3, and finds it second for r4."""
    for name, text in PAGES.items():
        empty.write(f"chains/help/{name}.md", text)
    empty.write("chains/rows.jsonl", "".join(json.dumps(each) + "\n" for each in ROWS))
    empty.chain(CHAIN, replies=ANSWERS)
    return empty


def test_the_means_stand_in_a_table_of_their_own(searching: Workspace) -> None:
    done = searching.invoke("test", "demo")
    assert done.code == 100, done
    lines = done.out.splitlines()
    table = {cells(line)[0]: cells(line) for line in lines if line.strip()}
    assert table["retrieval"] == ["retrieval", "mean", "examples"]
    assert table["help recall@2"] == ["help recall@2", "0.750 [0.30–0.95]", "4"]
    assert table["help mrr"][1].startswith("0.625 [")
    assert table["order"][1].startswith("0.500 [")
    assert not any(line.startswith("metric") for line in lines)
    # The table of steps has the search too: its share of passed examples, and what it costs the chain.
    assert table["help"][:5] == ["help", "75 % [30–95]", "75 %", "25 %", "100 %"]
    assert table["reply"][:3] == ["reply", "75 % [30–95]", "100 %"]
    assert "retrieval" in searching.invoke("test", "demo", "--explain").out.split("product", 1)[1]


def test_as_json_junit_and_markdown(searching: Workspace, tmp_path: Path) -> None:
    xml, md = tmp_path / "r.xml", tmp_path / "r.md"
    done = searching.invoke("test", "demo", "--json", "--junit", str(xml), "--markdown", str(md))
    [found] = done.json["evaluations"]
    assert {name: mean["value"] for name, mean in found["retrieval"].items()} == {
        "help recall@2": 0.75,
        "help mrr": 0.625,
        "order": 0.5,
    }
    assert (found["metrics"], found["retrieval"]["help mrr"]["n"]) == ({}, 4)
    assert found["examples"][2]["assertions"][0] == {
        "type": "recall", "step": "help", "passed": False, "metric": "help recall@2", "score": 0.0,
        "reason": "it found 0 of 1 expected source, not chains/help/card.md",
    }  # fmt: skip
    properties = {each.get("name"): each.get("value") for each in ElementTree.parse(xml).iter("property")}
    assert properties["retrieval.help recall@2"] == "0.75"
    assert float(properties["retrieval.help mrr.low"] or 0) < 0.625 < float(properties["retrieval.help mrr.high"] or 0)
    written = md.read_text().replace("\u200b", "")
    assert "| retrieval | mean | examples |" in written
    assert "| help recall@2 | 0.750 \\[0.30–0.95\\] | 4 |" in written


@pytest.mark.parametrize(
    ("gate", "code", "told"),
    [
        ("{min: {help recall@2: 0.7, order: 0.5}}", 0, "the gate is met"),
        ("{min: {help recall@2: 0.8}}", 100, "help recall@2 is 0.750, 0.050 less than the 0.8 asked for"),
        ("{min: {help recall: 0.8}}", 1, "unknown step or metric 'help recall'; did you mean 'help recall@2'?"),
    ],
)
def test_a_gate_names_them(searching: Workspace, gate: str, code: int, told: str) -> None:
    searching.chain(f"{CHAIN}  gate: {gate}\n", replies=ANSWERS)
    done = searching.invoke("test", "demo")
    assert done.code == code, done
    assert told in done.out + done.err


def test_an_assertion_of_the_step_itself_has_a_name_too(searching: Workspace) -> None:
    own = '    assert: [{type: mrr, value: "{{ expected.pages }}", threshold: 0.1}]\n'
    text = CHAIN.replace("  reply:\n", f"{own}  reply:\n").replace(
        "{step: help, type: mrr,", "{step: help, type: ndcg,"
    )
    searching.chain(f"{text}  gate: {{min: {{help mrr: 0.9}}}}\n", replies=ANSWERS)
    assert "help mrr is 0.625" in searching.invoke("test", "demo").out


def test_a_change_for_the_worse_is_told_and_kept(searching: Workspace) -> None:
    searching.invoke("commit", "demo", "-m", "two")
    searching.invoke("test", "demo")
    searching.chain(CHAIN.replace("top_k: 2", "top_k: 1"), replies=ANSWERS)
    done = searching.invoke("test", "demo", "--compare", "demo@v1", "--markdown", "report.md")
    assert done.code == 100, done
    assert "  help recall@2: −0.250 [" in done.out
    assert "(0 better, 1 worse)" in done.out
    [line] = [line for line in Path("report.md").read_text().splitlines() if line.startswith("| help recall")]
    assert line.split("|")[4].strip().startswith("−0.250 \\[")
    log = searching.invoke("log", "demo").out
    assert "help recall@2 0.750" in log
    assert "help recall@2 0.500" in log
    kept = [
        each["retrieval"]
        for version in searching.invoke("log", "demo", "--json").json
        for each in version["evaluations"]
    ]
    assert sorted(each["help recall@2"]["value"] for each in kept) == [0.5, 0.75]


def test_several_models_stand_beside_each_other(searching: Workspace) -> None:
    other = searching.model(*ANSWERS, name="other")
    done = searching.invoke("test", "demo", "-m", other, "-m", searching.model(*ANSWERS, name="third"))
    rows = [cells(line) for line in done.out.splitlines() if line.startswith("help recall@2")]
    assert rows[-1] == ["help recall@2", "0.750 [0.30–0.95]", "0.750 [0.30–0.95]"]


def test_a_chain_that_asks_no_model(searching: Workspace, tmp_path: Path) -> None:
    """And code that gives passages; a question without an answer is right where nothing is found."""
    rows = [*({**each, "id": f"{each['id']}n"} for each in ROWS[:2]), {"message": "zzz", "expected": {"pages": []}}]
    searching.write("chains/rows.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
    searching.write("tools.py", "def short(help: list) -> list:\n    return help[:1]\n")
    begin = CHAIN.index("  reply:"), CHAIN.index("test:")
    text = CHAIN[: begin[0]] + "  short: {python: tools:short}\n" + CHAIN[begin[1] :]
    text = text.replace("model: MODEL\n", "").replace("step: help, type: ndcg", "step: short, type: ndcg")
    searching.chain("\n".join(line for line in text.splitlines() if "icontains" not in line) + "\n")
    xml = tmp_path / "r.xml"
    done = searching.invoke("test", "demo", "--junit", str(xml))
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert lines[0] == "demo@v1: 3 examples of chains/rows.jsonl"
    table = {cells(line)[0]: cells(line) for line in lines if line.strip()}
    assert table["short"][5:7] == ["0", "$0"]
    assert table["short"][7] != "–"
    assert [table[name][1][:5] for name in ("help recall@2", "help mrr", "order")] == ["1.000"] * 3
    assert "no model was asked" in done.err
    assert "100 % [44–100], 3 examples, help recall@2 1.000" in searching.invoke("log", "demo").out
    assert 'name="model"' not in xml.read_text()
