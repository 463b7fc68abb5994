"""Assertions on SQL: the output is SQL of a dialect, and uses no other tables and columns than it may.

Names and verdicts are promptfoo's, whose parser is node-sql-parser; ours is sqlglot.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.text import search, sentence, shown, text_of, wrong_value

if TYPE_CHECKING:
    from sqlglot import exp

MAX_SQL = 20_000
"""Characters of a statement that are read: sqlglot takes a second for some hundred thousand."""

MAX_NESTED = 24
"""Brackets in brackets: on some that are never closed sqlglot takes twice the time for each more."""

DIALECTS = {  # promptfoo's databaseType, in lower case → sqlglot's dialect
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgres",
    "noql": "postgres",
    "sqlite": "sqlite",
    "transactsql": "tsql",
    "bigquery": "bigquery",
    "snowflake": "snowflake",
    "redshift": "redshift",
    "hive": "hive",
    "athena": "athena",
    "trino": "trino",
    "db2": "",
    "flinksql": "",
}


def is_sql(subject: Subject, spec: Spec) -> Verdict:
    """The whole output is SQL. value: {databaseType, allowedTables, allowedColumns}, of which MySQL is the default.

    The lists hold patterns such as `select::null::departments` and `(select|update)::staff::name`.
    """
    text = text_of(subject)
    wrong = _wrong(text, spec)
    return verdict(wrong is None, f"{wrong}: {shown(text)}", "it is SQL")


def contains_sql(subject: Subject, spec: Spec) -> Verdict:
    """The output is SQL, or a code block in it that is marked as SQL, or as nothing. value: as for is-sql."""
    text = text_of(subject)
    wrong: str | None = f"it should contain SQL, and is {shown(text)}"
    for piece in list(_blocks(text)) or [text]:
        if not piece.strip():
            continue
        wrong = _wrong(piece, spec)
        if wrong is None:
            return verdict(True, "", f"it contains SQL: {shown(piece)}")
    return verdict(False, wrong or "")


def _wrong(text: str, spec: Spec) -> str | None:
    """What is wrong with a piece of SQL, None for nothing."""
    options = spec.value or {}
    if not isinstance(options, Mapping):
        raise wrong_value(spec, "a mapping (databaseType, allowedTables, allowedColumns)")
    kind = str(options.get("databaseType") or "MySQL")
    if kind.lower() not in DIALECTS:
        raise AssertionFault(f"{spec.type} does not know databaseType {shown(kind)}", hint="such as MySQL, PostgreSQL")
    tables, columns = _patterns(spec, options, "allowedTables"), _patterns(spec, options, "allowedColumns")
    if _is_suspicious(text.strip(), kind.lower()):
        return f"it is not {kind}"
    statements = _statements(text, DIALECTS[kind.lower()])
    if isinstance(statements, str):
        return f"it is not {kind} ({statements})"
    return _forbidden(statements, tables, _tables, "table") or _forbidden(
        statements, columns and _without_tables(columns), _columns, "column"
    )


def _patterns(spec: Spec, options: Mapping[str, Any], name: str) -> list[str]:
    given = options.get(name) or []
    if not isinstance(given, list) or not all(isinstance(pattern, str) for pattern in given):
        raise AssertionFault(f"{name} of {spec.type} must be a list of texts, not {shown(given)}")
    return given


# -- syntax ------------------------------------------------------------------------------------------------------------

_STANDARD = "all|distinct"
_MYSQL = (
    r"all|distinct(?:row)?|high_priority|straight_join"
    r"|sql_(?:big_result|buffer_result|cache|calc_found_rows|no_cache|small_result)"
)
_IGNORED = re.compile(
    r"""'(?:[^'\\]|\\.|'')*+'?|"(?:[^"\\]|\\.|"")*+"?|`(?:[^`\\]|\\.|``)*+`?|--[^\r\n]*|\#[^\r\n]*|/\*.*?(?:\*/|\Z)""",
    re.DOTALL,
)


def _is_suspicious(sql: str, kind: str) -> bool:
    """What parsers take, and is wrong all the same: nothing, half a quote, `SELECT a b FROM t` without its comma."""
    if not sql or sql.count("`") % 2:
        return True
    if kind == "mysql" and re.search(r"\bgenerate_series\s*\(|\bilike\b", sql, re.IGNORECASE):
        return True
    plain = _IGNORED.sub(lambda match: " ? " if match.group()[0] in "'\"`" else " ", sql)
    modifiers = _MYSQL if kind in ("mysql", "mariadb") else _STANDARD
    name = r"[a-z_][a-z0-9_]*+"
    if re.search(r",\s*(?:[,;)]|from\b|where\b|\Z)", plain, re.IGNORECASE):
        return True  # a comma too many
    missing_comma = rf"\bselect\s+(?:(?:{modifiers})\s+)*+(?!(?:{modifiers})\b){name}\s+{name}\s+from\b"
    return re.search(missing_comma, plain, re.IGNORECASE | re.ASCII) is not None


_REPLACE = re.compile(r"(?:(?<=;)|\A)\s*replace(?=\s+into\b)", re.IGNORECASE)  # sqlglot does not know it


def _statements(sql: str, dialect: str) -> list[exp.Expr] | str:
    """The statements, or what is wrong with them."""
    import sqlglot  # 0.2 s
    from sqlglot import exp
    from sqlglot.errors import ErrorLevel, SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it leaves unread
    if len(sql) > MAX_SQL:
        return f"longer than {MAX_SQL:,} characters"
    if _depth(sql) > MAX_NESTED:
        return "nested too deeply"
    try:
        found = sqlglot.parse(_REPLACE.sub("insert", sql), read=dialect, error_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        return sentence(re.sub(r"\x1b\[[0-9;]*m", "", str(error)))
    except (RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError) as error:  # its own faults
        return sentence(str(error))
    statements = [one for one in found if one is not None]
    allowed = (exp.Query, exp.DML, exp.DDL, exp.Alter, exp.Drop, exp.TruncateTable, exp.Show, exp.Use, exp.Set)
    others = (exp.Transaction, exp.Commit, exp.Rollback, exp.Describe, exp.Grant, exp.Command)
    for one in statements:
        if not isinstance(one, (*allowed, *others)) or isinstance(one, exp.Values):
            return "not a statement"
        if isinstance(one, exp.Command) and str(one.this).upper() not in ("CALL", "EXPLAIN", "LOCK", "GRANT", "ALTER"):
            return f"{shown(one.this)} is not known"
        if wrong := _incomplete(one):
            return wrong
    return statements


def _depth(sql: str) -> int:
    deepest = now = 0
    for match in re.finditer(r"[()]", sql):
        now += 1 if match.group() == "(" else -1
        deepest = max(deepest, now)
    return deepest


def _incomplete(statement: exp.Expr) -> str | None:
    """What sqlglot takes, and no database."""
    from sqlglot import exp

    for part in statement.walk():
        if isinstance(part, exp.Select) and not part.expressions:
            return "nothing is selected"
        if isinstance(part, exp.In) and not any(
            part.args.get(name) for name in ("expressions", "query", "unnest", "field")
        ):
            return "IN has an empty list"
        if isinstance(part, exp.Insert) and part.expression is None:
            return "nothing is inserted"
        if isinstance(part, exp.Update) and not part.expressions:
            return "nothing is set"
        if isinstance(part, exp.Delete) and part.this is None:
            return "DELETE names no table"
        if isinstance(part, exp.Group | exp.Order) and not any(part.args.values()):
            return "nothing is listed after BY"
        if isinstance(part, exp.Case) and not part.args.get("ifs"):
            return "CASE has no WHEN"
    return None


# -- what may be used --------------------------------------------------------------------------------------------------


def _forbidden(statements: list[exp.Expr], patterns: list[str], used: Any, name: str) -> str | None:
    from sqlglot import exp

    if not patterns:
        return None
    if any(isinstance(statement, exp.Command) for statement in statements):
        return f"its {name}s cannot be told"
    for place in dict.fromkeys(place for statement in statements for place in used(statement)):
        if not any(search(f"^{_either_case(pattern)}$", place.lower()) for pattern in patterns):
            return f"it uses the {name} {place}, which is not allowed"
    return None


def _either_case(pattern: str) -> str:
    """The lists are read without regard to upper and lower case; escapes such as `\\D` keep theirs."""
    return re.sub(
        r"\\.|[A-Z]", lambda match: match.group() if match.group()[0] == "\\" else match.group().lower(), pattern
    )


def _without_tables(patterns: list[str]) -> list[str]:
    """A column that is allowed of a table is allowed where no table is told."""
    split = [pattern.split("::") for pattern in patterns]
    return [*patterns, *(f"{one[0]}::null::{one[2]}" for one in split if len(one) == 3)]


def _tables(statement: exp.Expr) -> Iterator[str]:
    from sqlglot import exp

    if isinstance(statement, exp.Show):
        yield "show::null::null"
    used = isinstance(statement, exp.Use)
    for table in statement.find_all(exp.Table):
        if used:
            yield f"use::{table.name}::null"
        elif table.name:
            yield f"{_verb(table)}::{table.db or 'null'}::{table.name}"


def _verb(table: exp.Expr) -> str:
    """What is done to a table: it is read, unless it is the target of its statement."""
    from sqlglot import exp

    parent = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
    target = parent is not None and (parent.this is table or parent.this is table.parent)
    if target and isinstance(parent, exp.Insert | exp.Update | exp.Delete | exp.Create | exp.Alter):
        return str(parent.key)
    if isinstance(parent, exp.TruncateTable):
        return "truncate"
    if isinstance(parent, exp.Drop):
        return "drop"
    if isinstance(parent, exp.Delete) and table in (parent.args.get("tables") or ()):
        return "delete"
    return "select"


def _columns(statement: exp.Expr) -> Iterator[str]:
    from sqlglot import exp

    names = {table.alias_or_name: table.name for table in statement.find_all(exp.Table)}
    for part in statement.find_all(exp.Star, exp.Column, exp.ColumnDef, exp.Insert, exp.Delete):
        if isinstance(part, exp.Column):
            verb = "update" if _is_set(part) else "select"
            star = isinstance(part.this, exp.Star)
            yield f"{verb}::{names.get(part.table, part.table) or 'null'}::{'(.*)' if star else part.name}"
        elif isinstance(part, exp.ColumnDef):
            yield from (f"select::null::{part.name}", f"create::null::{part.name}")
        elif isinstance(part, exp.Star):
            if isinstance(part.parent, exp.Select):
                yield "select::null::(.*)"
        elif isinstance(part, exp.Insert) and isinstance(part.this, exp.Schema):
            yield from (f"insert::{part.this.this.name}::{column.name}" for column in part.this.expressions)
        else:
            yield f"{part.key}::{_target(part)}::(.*)"


def _target(statement: exp.Expr) -> str:
    tables = statement.args.get("tables") or [statement.this]
    return str(tables[0].name) if tables[0] is not None else "null"


def _is_set(column: exp.Expr) -> bool:
    from sqlglot import exp

    pair = column.parent
    return (
        isinstance(pair, exp.EQ)
        and pair.this is column
        and isinstance(pair.parent, exp.Update)
        and pair in pair.parent.expressions
    )


# -- code blocks -------------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})(.*)")


def _blocks(text: str) -> Iterator[str]:
    """The code blocks that are marked as SQL, or not at all."""
    fence, wanted = "", False
    lines: list[str] = []
    for line in re.split(r"\r\n?|\n", text):
        match = _FENCE.fullmatch(line)
        if not fence:
            if match:
                fence, lines, wanted = match[1], [], match[2].strip().lower() in ("", "sql")
        elif match and match[1].startswith(fence) and not match[2].strip(" \t"):
            if wanted:
                yield "\n".join(lines).strip()
            fence = ""
        else:
            lines.append(line)


SQL: dict[str, Check] = {"is-sql": is_sql, "contains-sql": contains_sql}
