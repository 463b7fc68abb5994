"""The data of the example chains: whole, consistent, and true to each other."""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chains.agent.tools import calculate, lookup
from promptchain import document

ROOT = Path(__file__).parents[2]
DATASETS = ("support/support.jsonl", "research/questions.jsonl", "extract/extract.jsonl", "agent/questions.jsonl")
FOLDERS = {"support/support.jsonl": "support/help", "research/questions.jsonl": "research/corpus"}


@cache
def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / "chains" / name).read_text(encoding="utf-8").splitlines()]


@cache
def page(path: str) -> str:
    """The text of a page in lower case, its lines joined."""
    return " ".join((ROOT / path).read_text(encoding="utf-8").split()).lower()


def pages(folder: str) -> list[Path]:
    return sorted((ROOT / "chains" / folder).glob("*.md"))


@pytest.mark.parametrize(("name", "count"), list(zip(DATASETS, (168, 32, 40, 24), strict=True)))
def test_every_row_has_an_id_and_a_text_of_its_own(name: str, count: int) -> None:
    found = rows(name)
    assert len(found) == len({row["id"] for row in found}) == count
    assert len({next(row[key] for key in ("message", "question", "text") if key in row) for row in found}) == count
    assert len({tuple(sorted(row)) for row in found}) == 1


@pytest.mark.parametrize("name", FOLDERS)
def test_expected_pages_exist_as_a_retrieval_names_them(name: str) -> None:
    there = {path.relative_to(ROOT).as_posix() for path in pages(FOLDERS[name])}
    for row in rows(name):
        expected = row["expected"]["pages"]
        assert expected, row["id"]
        assert len(set(expected)) == len(expected), row["id"]
        assert set(expected) <= there, row["id"]


@pytest.mark.parametrize(("folder", "least", "most"), [("support/help", 120, 300), ("research/corpus", 200, 500)])
def test_every_page_has_a_title_and_sections(folder: str, least: int, most: int) -> None:
    titles = set()
    for path in pages(folder):
        text = path.read_text(encoding="utf-8")
        assert re.match(r"# \S", text), path.name
        assert len(re.findall(r"(?m)^# ", text)) == 1, path.name
        assert 2 <= len(re.findall(r"(?m)^## \S", text)) <= 4, path.name
        assert least <= len(text.split()) <= most, path.name
        titles.add(text.splitlines()[0])
    assert len(titles) == len(pages(folder))


# -- support -----------------------------------------------------------------------------------------------------------


def test_there_is_a_help_page_for_every_intent_and_more() -> None:
    chain = document.read(ROOT / "chains/support.yaml").value
    intents = set(chain["steps"]["intent"]["output"])
    names = {path.stem for path in pages("support/help")}
    assert intents < names
    assert {row["expected"]["intent"] for row in rows("support/support.jsonl")} == intents
    for row in rows("support/support.jsonl"):
        assert row["expected"]["pages"] == [f"chains/support/help/{row['expected']['intent']}.md"]


# -- research ----------------------------------------------------------------------------------------------------------


def test_every_fact_stands_on_an_expected_page_and_every_page_is_needed() -> None:
    found = rows("research/questions.jsonl")
    for row in found:
        facts, needed = row["expected"]["facts"], row["expected"]["pages"]
        assert 1 <= len(facts) <= 3, row["id"]
        for fact in facts:
            assert any(fact.lower() in page(path) for path in needed), (row["id"], fact)
        for path in needed:
            assert any(fact.lower() in page(path) for fact in facts), (row["id"], path)
    assert sum(len(row["expected"]["pages"]) > 1 for row in found) == len(found) / 2
    used = {path for row in found for path in row["expected"]["pages"]}
    assert used == {path.relative_to(ROOT).as_posix() for path in pages("research/corpus")}


# -- extract -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("extract/extract.jsonl"), ids=lambda row: row["id"])
def test_an_order_keeps_what_holds_of_all_orders(row: dict[str, Any]) -> None:
    order = row["expected"]["order"]
    named = {"item": str, "quantity": int, "unit_price": (int, float), "total": (int, float), "deliver_on": str}
    assert set(order) - {"reference"} == {*named, "payment"}
    assert all(isinstance(order[name], kind) for name, kind in named.items())
    assert order["quantity"] >= 1
    assert round(order["quantity"] * order["unit_price"], 2) == order["total"] > 0
    assert date.fromisoformat(order["deliver_on"]).isoformat() == order["deliver_on"]
    assert order["payment"] in ("invoice", "card", "transfer")
    assert order["payment"] in row["text"].lower()
    assert order["item"] in row["text"]
    assert order.get("reference", "") in row["text"]


def test_some_orders_have_a_reference_and_some_a_second_amount() -> None:
    found = rows("extract/extract.jsonl")
    assert 10 <= sum("reference" in row["expected"]["order"] for row in found) <= 30
    amounts = [set(re.findall(r"\d+\.\d\d", row["text"])) for row in found]
    assert sum(len(several) > 2 for several in amounts) >= 5


# -- agent -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows("agent/questions.jsonl"), ids=lambda row: row["id"])
def test_the_tools_give_the_answer(row: dict[str, Any]) -> None:
    expected = row["expected"]
    assert calculate(expected["expression"]) == pytest.approx(expected["answer"])
    operands = [float(number) for number in re.findall(r"[\d.]+", expected["expression"])]
    for item in expected["items"]:
        found = lookup(item)
        assert found["price"] in operands or found["stock"] in operands, item
    assert expected["tools"] == [tool for tool in ("lookup", "calculate") if _wanted(tool, expected)]


def _wanted(tool: str, expected: dict[str, Any]) -> bool:
    return bool(expected["items"]) if tool == "lookup" else " " in expected["expression"]
