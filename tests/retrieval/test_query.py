"""Whatever a user asks is a query of the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.retrieval.query import MAX_TERMS, indexed, match
from tests.patience import at_most


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:")
    found.execute("create virtual table fts using fts5(text, tokenize='porter unicode61 remove_diacritics 2')")
    yield found
    found.close()


def test_any_word_will_do() -> None:
    assert match("refund card") == '"refund" OR "card"'


def test_words_that_say_nothing_are_left_out_unless_there_are_no_others() -> None:
    assert match("How do I get the refund?") == '"get" OR "refund"'
    assert match("How is it?") == '"How" OR "is" OR "it"'


@pytest.mark.parametrize("query", ["", "  ", "?!", '"', "***", "\0", "()"])
def test_what_has_no_word_asks_for_nothing(query: str) -> None:
    assert match(query) is None


@pytest.mark.parametrize(
    "query",
    [
        'a "b',
        "a*",
        "NEAR(a b, 3)",
        "a AND",
        "NOT a",
        "-a",
        "text: a",
        "^a",
        "{text}: a",
        "a + b",
        "a' --",
        "\ud800 a",
        "a\0b",
    ],
)
def test_no_syntax_of_the_index_is_heard(query: str, db: sqlite3.Connection) -> None:
    found = match(query)
    assert found is not None
    db.execute("select * from fts where fts match ?", (found,)).fetchall()


@given(st.text())
def test_no_text_is_an_error(query: str) -> None:
    db = sqlite3.connect(":memory:")
    try:
        db.execute("create virtual table fts using fts5(text)")
        if (found := match(query)) is not None:
            db.execute("select * from fts where fts match ?", (found,)).fetchall()
    finally:
        db.close()


def test_a_query_of_100000_words_is_cut_to_what_it_repeats(db: sqlite3.Connection) -> None:
    words = [f"w{number}" for number in range(100_000)]
    words[10_000:10_000] = ["refund"] * 3
    with at_most(5):
        found = match(" ".join(words)) or ""
    assert found.startswith('"refund" OR "w0"')
    assert found.count(" OR ") == MAX_TERMS - 1
    db.execute("select * from fts where fts match ?", (found,)).fetchall()


def test_letters_of_scripts_without_spaces_stand_alone() -> None:
    assert indexed("plain text") == "plain text"
    assert indexed("ab退款") == "ab 退  款 "
    assert match("退款多久") == '"退 款" OR "款 多" OR "多 久"'
    assert match("款") == '"款"'
