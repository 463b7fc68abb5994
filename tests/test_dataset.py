"""Rows of a file: those that are broken say so, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import dataset
from promptchain.chain import Chain
from promptchain.dataset import Row
from promptchain.errors import PromptChainError, UsageError


def chain_of(**declared: Any) -> Chain:
    return Chain.model_validate({"name": "c", "inputs": declared, "steps": {"a": {"prompt": "x"}}})


CHAIN = chain_of(**{"q": "string", "n?": "integer"})


def read(tmp_path: Path, name: str, content: bytes, chain: Chain = CHAIN) -> list[Row]:
    path = tmp_path / name
    path.write_bytes(content)
    return list(dataset.rows(path, chain))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"q": "x", "n": 3}', {"inputs": {"q": "x", "n": 3}}),
        (b'{"q": "x", "id": 7, "expected": "y", "__expected": "z"}', {"inputs": {"q": "x"}, "id": "7"}),
        (b'{"q": "x", "more": 1}', {"inputs": {"q": "x"}, "ignored": ("more",)}),
        (b'{"id": "r1", "inputs": {"q": "x", "n": 1}}', {"inputs": {"q": "x", "n": 1}, "id": "r1"}),
        (b'{"vars": {"q": "x"}, "assert": []}', {"inputs": {"q": "x"}}),
        (b'{"q": "\\ud83d"}', {"inputs": {"q": "\ud83d"}}),
        (b'{"q": "a\\u0000b"}', {"inputs": {"q": "a\0b"}}),
        (b"{oops", {"error": "not JSON: Expecting property name enclosed in double quotes at column 2"}),
        (b'{"q": "\xff"}', {"error": "byte 8 of the line is not UTF-8"}),
        (b'["x"]', {"error": "a row is a JSON object, not a list"}),
        (b"[" * 100_000, {"error": "the JSON is nested too deep"}),
        (b'{"n": ' + b"1" * 5000 + b"}", {"error": "not JSON: "}),
        (b"\0", {"error": "not JSON: "}),
    ],
)
def test_lines_of_json(line: bytes, expected: dict[str, Any], tmp_path: Path) -> None:
    before, row, after = read(tmp_path, "rows.jsonl", b'{"q": "first"}\n\n' + line + b'\r\n{"q": "last"}')
    assert (before, after) == (Row(1, {"q": "first"}), Row(4, {"q": "last"}))
    if "error" in expected:
        assert (row.line, row.inputs) == (3, {})
        assert str(row.error).startswith(expected["error"])
    else:
        assert row == Row(3, **expected)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (b"x,3", {"inputs": {"q": "x", "n": 3}}),
        (b'"a, ""b""\nc",', {"inputs": {"q": 'a, "b"\nc', "n": None}}),
        (b",1", {"inputs": {"q": "", "n": 1}}),
        ("😀\0,1".encode(), {"inputs": {"q": "😀\0", "n": 1}}),
        (b"y" * 1_000_000 + b",1", {"inputs": {"q": "y" * 1_000_000, "n": 1}}),
        (b"x,three", {"error": "input 'n': 'three' is not an integer"}),
        (b"x", {"error": "1 cells under a header of 2 columns"}),
        (b"x,1,2", {"error": "3 cells under a header of 2 columns"}),
        (b"x\xff,1", {"error": "the row is not UTF-8"}),
        (b'"x"y,1', {"error": "not CSV: "}),
    ],
)
def test_rows_of_csv(cells: bytes, expected: dict[str, Any], tmp_path: Path) -> None:
    before, row, after = read(tmp_path, "rows.csv", b"q,n\r\nfirst,1\r\n" + cells + b"\r\nlast,2\r\n")
    assert (before.inputs, after.inputs) == ({"q": "first", "n": 1}, {"q": "last", "n": 2})
    assert (before.line, row.line, after.line) == (2, 3, 4 + cells.count(b"\n"))
    if "error" in expected:
        assert str(row.error).startswith(expected["error"])
    else:
        assert row == Row(3, **expected)


def test_columns_beside_the_inputs(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "rows.csv", b"\xef\xbb\xbfid,q,__expected,more\n7,x,y,z\n")
    assert row == Row(2, {"q": "x"}, id="7", ignored=("more",))
    wild = chain_of(**{"q": "string", "(*)": "string"})
    (row,) = read(tmp_path, "rows.jsonl", b'{"q": "x", "more": "y", "expected": "z"}', wild)
    assert row == Row(1, {"q": "x", "more": "y"})
    own = chain_of(id="string")
    assert read(tmp_path, "rows.jsonl", b'{"id": "x"}', own) == [Row(1, {"id": "x"}, id="x")]


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("rows.txt", b"", UsageError, "'.*rows.txt' is neither .jsonl nor .csv nor .yaml; rows are"),
        ("rows.csv", b"q,q\n1,2", PromptChainError, "rows.csv:1: the column 'q' is there twice"),
        ("rows.csv", "q,ü\n1,2".encode("latin-1"), PromptChainError, "rows.csv:1: the header is not UTF-8"),
        ("rows.csv", b'"q', PromptChainError, "rows.csv:1: the header is not CSV"),
    ],
)
def test_files_that_cannot_be_read(
    name: str, content: bytes, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        read(tmp_path, name, content)
    with pytest.raises(PromptChainError, match="there is no such file"):
        list(dataset.rows(tmp_path / "gone.csv", CHAIN))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(PromptChainError, match="cannot be read: Is a directory"):
        list(dataset.rows(tmp_path / "folder.jsonl", CHAIN))


@pytest.mark.parametrize("name", ["rows.yaml", "rows.yml", "rows.json"])
def test_a_list_of_mappings(name: str, tmp_path: Path) -> None:
    content = b"""[{"q": "x", "n": 3},\n "no",\n {"vars": {"q": "y"}, "id": 7}]\n"""
    first, broken, last = read(tmp_path, name, content)
    assert (first, last) == (Row(1, {"q": "x", "n": 3}), Row(3, {"q": "y"}, id="7"))
    assert (broken.line, broken.error) == (2, "a row is a JSON object, not a text")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1", "rows.yaml:1: the rows are a list of mappings, not a mapping"),
        (b"- [", "rows.yaml:2:1: the indentation or a bracket is off"),
    ],
)
def test_yaml_that_is_no_list_of_rows(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(PromptChainError, match=message):
        read(tmp_path, "rows.yaml", content)


def test_what_is_no_input_stays_beside(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "rows.csv", b"q,expected.a,more,__expected\nx,y,z,w\n")
    assert (row.beside, row.ignored, row.text) == (
        {"expected.a": "y", "more": "z", "__expected": "w"}, ("more",), True
    )  # fmt: skip


def test_no_rows(tmp_path: Path) -> None:
    assert [read(tmp_path, name, text) for name in ("a.jsonl", "a.csv") for text in (b"", b"\n \n")][:3] == [[], [], []]


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_ROW", 100)
    rows = read(tmp_path, "rows.jsonl", b'{"q": "' + b"x" * 1000 + b'"}\n{"q": "y"}\n')
    assert rows == [Row(1, error="the line is longer than 100 bytes"), Row(2, {"q": "y"})]


@given(
    content=st.binary(max_size=200)
    | st.text(st.sampled_from('{}"q:,1\n\r \0é\ud800')).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_whatever_a_file_holds_there_are_rows_or_one_error(name: str, content: bytes, tmp_path_factory: Any) -> None:
    try:
        rows = read(tmp_path_factory.getbasetemp(), name, b"q,n\n" + content if name == "rows.csv" else content)
    except PromptChainError:
        return
    lines = [row.line for row in rows]
    assert lines == sorted(lines)
    assert all(row.inputs == {} for row in rows if row.error)
    json.dumps([dict(row.inputs) for row in rows])
