"""What a search should have found, in place of what it did."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from promptchain import gold
from promptchain.chain import Chain
from promptchain.criteria import Assertion
from promptchain.examples import Example
from promptchain.lm.scripted import ScriptedLM
from promptchain.results import ExampleResult, State
from promptchain.steps.workshop import Workshop
from tests.evaluate_kit import chain_of, check, example, text, try_one
from tests.workspace import Workspace

PAGES = {
    "card.md": "# Lost cards\n\nA lost card is blocked in the app.\n\n# New cards\n\nA new card takes five days.\n",
    "fees.md": "# Fees\n\nCash costs three euros.\n",
    "pin.md": "# PIN\n\nThe PIN can be read in the app.\n",
}
RECALL = check("recall", "{{ expected.pages }}", step="help")
RIGHT = check("contains", "five days", step="reply")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    folder = tmp_path / "chains" / "help"
    folder.mkdir(parents=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page)
    return Workshop(tmp_path)


def chain(top_k: int = 1, **rest: Any) -> Chain:
    help = {"retrieve": {"from": "help/*.md", "query": "{{ q }}", "top_k": top_k, **rest}}
    return chain_of({"help": help, "reply": "{% for page in help %}{{ page.text }} {% endfor %}"})


def row(q: str, *pages: str, **expected: Any) -> Example:
    return example(inputs={"q": q}, expected={"pages": [f"chains/help/{page}" for page in pages], **expected})


def lm() -> ScriptedLM:
    """Says what a page does that it was shown."""
    return ScriptedLM(lambda request: "in five days" if "five" in text(request) else "I do not know")


def tried(shop: Workshop, of: Example, checks: Iterable[Assertion] = (RECALL, RIGHT), **rest: Any) -> ExampleResult:
    return try_one(chain(**rest), lm(), of, checks, workshop=shop)


def test_a_search_that_found_the_wrong_page_is_to_blame(shop: Workshop) -> None:
    found = tried(shop, row("the PIN please, new to me", "card.md"))
    assert [page["source"] for page in found.steps["help"].value] == ["chains/help/pin.md"]
    assert (found.state, found.first) == (State.FAILED, "help")
    assert (found.steps["help"].passed, found.steps["help"].mends) == (False, True)
    # On the passage of the right page that fits the query best, the reply is right.
    assert (found.steps["reply"].passed, found.steps["reply"].gold) == (False, True)


def test_what_was_found_whole_is_as_expected(shop: Workshop) -> None:
    model = lm()
    found = try_one(chain(2), model, row("new card", "card.md"), (RECALL, RIGHT), workshop=shop)
    assert (found.state, found.steps["help"].gold, found.steps["reply"].gold) == (State.PASSED, True, True)
    assert len(model.requests) == 1  # nothing was run again


def test_some_of_each_source_and_no_more_than_it_may_give(shop: Workshop) -> None:
    sees = check("python", "len(output) == 2", step="reply", transform="{{ help | map(attribute='source') | list }}")
    both = check("equals", ["chains/help/card.md", "chains/help/fees.md"], step="reply", transform=sees.transform)
    found = tried(shop, row("PIN app card new", "card.md", "fees.md"), (RECALL, sees, both), top_k=2)
    assert (found.steps["reply"].passed, found.steps["reply"].gold) == (False, True)


def test_a_heading_is_a_source_of_its_own(shop: Workshop) -> None:
    found = tried(shop, row("PIN", "card.md#New cards"), top_k=3)
    assert (found.steps["help"].passed, found.steps["reply"].gold, found.steps["help"].mends) == (False, True, True)
    other = tried(shop, row("PIN", "card.md#Lost cards"), top_k=3)
    assert (other.steps["reply"].gold, other.steps["help"].mends) == (False, False)


def test_what_a_set_of_assertions_expects(shop: Workshop) -> None:
    both = Assertion.model_validate(
        {"type": "assert-set", "step": "help", "assert": [{"type": "recall", "value": "{{ expected.pages }}"}]}
    )
    found = tried(shop, row("the PIN please, new to me", "card.md"), (both, RIGHT))
    assert (found.steps["help"].mends, found.steps["reply"].gold) == (True, True)


def test_expected_of_the_step_itself(shop: Workshop) -> None:
    of = example(inputs={"q": "PIN"}, expected={"help": "chains/help/card.md"})
    found = tried(shop, of, (RIGHT,), top_k=2)
    assert (found.steps["help"].mends, found.steps["reply"].gold) == (True, True)


@pytest.mark.parametrize(
    ("of", "checks"),
    [
        (row("PIN"), (RECALL, RIGHT)),
        (row("PIN", "none.md"), (RECALL, RIGHT)),
        (example(inputs={"q": "PIN"}), (RECALL, RIGHT)),
        (example(inputs={"q": "PIN"}, expected={"help": 3}), (RIGHT,)),
        (row("PIN", "card.md"), (check("not-recall", "{{ expected.pages }}", step="help"), RIGHT)),
        (
            row("PIN", "card.md"),
            (check("recall", "{{ expected.pages }}", step="help", transform="{{ output }}"), RIGHT),
        ),
    ],
)
def test_where_no_source_is_expected_there_is_no_gold(
    shop: Workshop, of: Example, checks: tuple[Assertion, ...]
) -> None:
    found = tried(shop, of, checks)
    assert (found.steps["help"].mends, found.steps["reply"].gold) == (None, None)


# --- sources that no file is


HEADING = row("x", "card.md#Lost cards", "fees.md:1")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("x", "card.md"), HEADING], None),
        ([row("x", "card.md"), row("x", "crad.md")], "rows.jsonl:1: 'chains/help/crad.md' is none of the files that "
         "step 'help' searches, so it cannot be found; did you mean 'chains/help/card.md'?"),
        ([example(inputs={"q": "x"}, expected={"pages": "help/pin.md#PIN"})], "'help/pin.md#PIN' is none of the files "
         "that step 'help' searches, so it cannot be found; did you mean 'chains/help/pin.md'?"),
        ([row("x", "zzzzzzzzz", "b.md"), row("x", "zzzzzzzzz")], "'chains/help/zzzzzzzzz' is none of the files that "
         "step 'help' searches, so it cannot be found (and 1 more such sources)"),
        ([example(inputs={"q": "x"}, expected={"help": "a word that is no source"})], None),
        ([example(inputs={"q": "x"}), example(inputs={"q": "x"}, expected={"pages": []})], None),
        ([example(inputs={"q": "x"}, expected={"pages": {"source": "none.md", "grade": 0}})], None),
    ],
)  # fmt: skip
def test_a_source_that_no_file_is_is_told_of_once(shop: Workshop, rows: list[Example], said: str | None) -> None:
    found = list(gold.strangers(chain(), rows, (RECALL,), shop.root, shop.folder))
    assert len(found) == bool(said)
    assert (said or "") in "".join(found)


def test_of_a_search_elsewhere_it_cannot_be_told(shop: Workshop) -> None:
    other = chain_of({"help": {"retrieve": {"url": "http://127.0.0.1:1/", "query": "x"}}, "reply": "{{ help }}"})
    assert not list(gold.strangers(other, [row("x", "none.md")], (RECALL,), shop.root, shop.folder))


def test_chain_test_warns_of_it(empty: Workspace) -> None:
    empty.write("chains/help/card.md", PAGES["card.md"])
    empty.write("chains/rows.jsonl", '{"q": "card", "expected": {"pages": "chains/help/cards.md"}}\n')
    empty.chain(
        """
        model: MODEL
        inputs: {q: string}
        steps:
          help: {retrieve: {from: help/*.md, query: "{{ q }}"}}
          reply: {prompt: "{{ help }}"}
        test:
          dataset: rows.jsonl
          assert: [{step: help, type: recall, value: "{{ expected.pages }}"}]
        """,
        replies=["x"],
    )
    result = empty.invoke("test", "demo")
    assert result.code == 100
    assert (
        result.err.count("chains/rows.jsonl:1: 'chains/help/cards.md' is none of the files that step 'help' searches")
        == 1
    )
    assert "did you mean 'chains/help/card.md'?" in result.err
