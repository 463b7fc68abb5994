"""Instructions that quote the rows they were made from."""

from __future__ import annotations

import pytest

from promptchain.optimizers.leaks import quoted
from tests.evaluate_kit import example
from tests.patience import at_most

ROW = example("e", {"a": "send it back to the sender at once"}, inputs={"q": "My card has not arrived yet, what now?"})


@pytest.mark.parametrize(
    ("instructions", "found"),
    [
        ("", ()),
        ("My card has not arrived", ()),  # five words are no quotation
        ("My card has not arrived yet", ("My card has not arrived yet",)),
        ("If: MY card has… not arrived\n  yet, say so", ("MY card has… not arrived yet",)),
        ("He: “my card has not arrived yet, what now?” You: wait.", ("my card has not arrived yet, what now",)),
        ("card has not arrived yet what", ("card has not arrived yet what",)),
        ("My card has really not arrived yet what now", ()),
        ("Then send it back to the sender at once.", ("send it back to the sender at once",)),
        ("my card has not arrived yet. Or: card has not arrived yet what now", ("card has not arrived yet what now",)),
        ("card has not arrived yet what card has not arrived yet what now", ("card has not arrived yet what now",)),
    ],
)  # fmt: skip
def test_a_run_of_six_words_is_a_quotation(instructions: str, found: tuple[str, ...]) -> None:
    assert quoted(instructions, [ROW]) == found


def test_texts_are_found_however_deep_and_told_once() -> None:
    text = "one two three four five six"
    rows = [
        example("a", [{"x": text}], inputs={"q": {"deep": [1, None, text]}}),
        example("b", None, inputs={"q": text}),
    ]
    assert quoted(f"Say {text}.", rows) == (text,)
    assert quoted(f"Say {text}.", [example("c", text, inputs={"q": ""})]) == (text,)


def test_it_takes_little_time() -> None:
    rows = [example(str(n), None, inputs={"q": f"{n} " + "and then " * 300}) for n in range(200)]
    with at_most(20):
        assert quoted("and then " * 200, rows)
