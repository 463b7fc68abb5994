"""Assertions on SQL, beyond promptfoo's table."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.sql import DIALECTS, MAX_SQL, SQL


def check(output: Any, value: Any = None, name: str = "is-sql") -> Verdict:
    return SQL[name](Subject(output), Spec(name, value))


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_each_dialect_reads_a_plain_query(dialect: str) -> None:
    assert check("SELECT a FROM t WHERE b = 1", {"databaseType": dialect}).passed
    assert not check("SELECT FROM WHERE", {"databaseType": dialect}).passed


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([1], "needs a mapping"),
        ({"databaseType": "Nosuch"}, "does not know databaseType 'Nosuch'"),
        ({"allowedTables": "select::null::a"}, "must be a list of texts"),
        ({"allowedColumns": [1]}, "must be a list of texts"),
        ({"allowedTables": ["("]}, "is not a regular expression"),
    ],
)
def test_a_wrong_value_is_a_fault(value: Any, fault: str) -> None:
    with pytest.raises(AssertionFault, match=fault):
        check("SELECT a FROM t", value)


def test_the_reason_names_what_is_not_allowed() -> None:
    assert check("SELECT a FROM t JOIN u", {"allowedTables": ["select::null::t"]}).reason == (
        "it uses the table select::null::u, which is not allowed: 'SELECT a FROM t JOIN u'"
    )
    assert check("SELECT b FROM t", {"allowedColumns": [r"select::null::\w"]}).passed
    assert "select::null::bc" in check("SELECT bc FROM t", {"allowedColumns": [r"select::null::\w"]}).reason


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM (SELECT * FROM secret) s",
        "SELECT * FROM ok WHERE a IN (SELECT a FROM secret)",
        "WITH q AS (SELECT * FROM secret) SELECT * FROM q",
        "SELECT * FROM ok UNION SELECT * FROM secret",
        "SELECT * FROM ok; DROP TABLE secret",
        "INSERT INTO ok SELECT * FROM secret",
        "REPLACE INTO secret VALUES (1)",
        "TRUNCATE TABLE secret",
        "ALTER TABLE secret ADD COLUMN x INT",
        "CALL secret()",
        "SHOW TABLES",
        "USE secret",
    ],
)
def test_no_statement_gets_round_the_list_of_tables(query: str) -> None:
    lists = {"allowedTables": ["(select|insert)::null::(ok|q|s)"]}
    assert check(query).passed
    assert not check(query, lists).passed


@pytest.mark.parametrize(
    "query", ["DELETE FROM t", "INSERT INTO t VALUES (1)", "SELECT t.* FROM t", "CREATE TABLE t (a INT)"]
)
def test_what_uses_all_columns_needs_all_to_be_allowed(query: str) -> None:
    assert not check(query, {"allowedColumns": ["select::null::name"]}).passed


def test_what_is_long_or_deep_is_not_read() -> None:
    assert not check("SELECT " + "(" * 100_000).passed
    assert not check("SELECT " + "(" * 30 + "1" + ")" * 30).passed
    assert "longer than" in check("SELECT 1" + " + 1" * MAX_SQL).reason


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert check("CALL foo()").passed
    assert not caplog.records


def test_the_first_block_that_is_sql_counts() -> None:
    text = "```sql\nnonsense\n```\nand\n```sql\nSELECT 1\n```"
    assert check(text, name="contains-sql").reason == "it contains SQL: 'SELECT 1'"
    assert check("```sql\nnonsense\n```", name="contains-sql").reason.startswith("it is not MySQL")
    assert check("nothing", name="contains-sql").reason.startswith("it is not MySQL")
    assert check("", name="contains-sql").reason == "it should contain SQL, and is ''"
