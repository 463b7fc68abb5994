"""The reader of YAML: values, places, and bounds."""

# ruff: noqa: E501

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import document
from promptchain.errors import InvalidFileError, PromptChainError, Where
from tests.patience import at_most


def problems(text: str) -> str:
    with pytest.raises(InvalidFileError) as caught:
        document.parse(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: [yes, no, on, off, y, N]", {"a": ["yes", "no", "on", "off", "y", "N"]}),
        ("a: [true, False, ~, null, '', -0, 007]", {"a": [True, False, None, None, "", 0, 7]}),
        ("a: [1, -2, 0x1F, 0o17, 1.5, .5, 1e3, 1_000]", {"a": [1, -2, 31, 15, 1.5, 0.5, 1000.0, "1_000"]}),
        ("a: [.inf, .nan, 1e999, 12:30, 2026-01-01]", {"a": [".inf", ".nan", "1e999", "12:30", "2026-01-01"]}),
        ("a: ['1', \"true\", !!str 5]", {"a": ["1", "true", "5"]}),
        (f"a: {'9' * 500}", {"a": "9" * 500}),  # beyond what Python reads as a number
        ("1: a\ntrue: b\nnull: c\n'': d", {"1": "a", "true": "b", "null": "c", "": "d"}),
        ("a: |\n  x\n  y\nb: >\n  x\n  y\n", {"a": "x\ny\n", "b": "x y\n"}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 1}\nd: {<<: *x, c: 2}", {"a": {"b": 1, "c": 1}, "d": {"b": 1, "c": 2}}),
        ("a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}", {"a": {"b": 1}, "c": {"b": 2, "d": 3}, "e": {"b": 1, "d": 3}}),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: käse 🧀\n", {"a": "käse 🧀"}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode())
    read = document.read(path)
    assert read.value == value
    assert repr(read.value) == repr(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\nb: {c: 1, c: 2}", "f.yaml:2:1: the key 'a' is here twice, first in line 1; remove one of them\n"
         "f.yaml:3:11: the key 'c' is here twice, first in line 3; remove one of them"),
        ("a:\n\tb: 1", "f.yaml:2:1: a tab indents this line; YAML indents with spaces only"),
        ("a: {{ b }}", "f.yaml:1:5: YAML reads '{{' outside of quotes as the start of a mapping; "
         "put the template in quotes: \"{{ … }}\", or in a block after '|'"),
        ("a: {% if b %}", "f.yaml:1:5: YAML reads '{%' outside of quotes as the start of a mapping; put the template in quotes"),
        ("? [a, b]\n: c", "f.yaml:1:3: a key must be a plain word; put it in quotes"),
        ("a: Answer: {{ b }}", "f.yaml:1:10: a ':' is not expected here; put a text that contains ': ' in quotes, or check the indentation"),
        ("a: \"x\nb: y\n", "f.yaml:1:4: the quote that opens here is never closed; close it"),
        ("a: 'it's fine'", "f.yaml:1:8: text follows the closing '; write '' for a quote inside the text, or a block after '|'"),
        ("a: [b, c\nd: e", "f.yaml:2:2: a ',' or a closing bracket is missing; the bracket opens in line 1, column 4"),
        ("a: | text\n  b", "f.yaml:1:6: a text after '|' begins in the next line; move it there, indented deeper than the key"),
        ("a: *bold* text", "f.yaml:1:4: a plain value cannot begin with '*'; put it in quotes"),
        ("a: @b", "f.yaml:1:4: a plain value cannot begin with '@'; put it in quotes"),
        ("a:\n  b: 1\n c: 2", "f.yaml:3:2: the indentation or a bracket is off; check that this line is indented like its neighbours"),
        ("a: *b", "f.yaml:1:4: alias '*b' has no anchor '&b' before it"),
        ("a: &b [*b]", "f.yaml:1:8: alias '*b' has no anchor '&b' before it"),
        ("a: !env B", "f.yaml:1:4: the tag '!env' is not allowed here; remove it, or put a text that begins with '!' in quotes"),
        ("a: !!python/object/apply:os.system [b]", "f.yaml:1:4: the tag '!!python/object/apply:os.system' is not allowed here; "
         "remove it, or put a text that begins with '!' in quotes"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document begins here; keep one chain to a file; remove the '---'"),
        ("a: x\0y", "f.yaml:1:5: character U+0000 is not allowed in YAML; remove it"),
        ("a: \ud800", "f.yaml:1:4: character U+D800 is not allowed in YAML; remove it"),
        ("ä: 🧀\nb: x\x07y", "f.yaml:2:5: character U+0007 is not allowed in YAML; remove it"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_told_in_plain_words(text: str, said: str) -> None:
    assert problems(text) == said


DEEP = "values are nested more than 64 deep; flatten the file"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "aliases expand to more than 100,000 values; write the values out, or fewer"),
        ("a: " + "[" * 100_000, DEEP),
        ("{a: " * 100_000, DEEP),
        ("- " * 100_000, DEEP),
        ("".join(" " * i + "a:\n" for i in range(500)), DEEP),
        ("a: [" + "x," * 200_000 + "]", "the file holds more than 100,000 values, aliases expanded; make it smaller"),
        ("a: 1\n" * 100_000, "the key 'a' is here twice"),
    ],
)
def test_bombs_are_refused_at_once(text: str, said: str) -> None:
    with at_most(1):
        found = problems(text)
    assert said in found
    assert len(found.splitlines()) <= document.MAX_PROBLEMS


def error(path: Path) -> str:
    with pytest.raises(PromptChainError) as caught:
        document.read(path, "f.yaml")
    return str(caught.value)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    assert error(path) == "f.yaml: there is no such file"
    assert error(tmp_path) == "f.yaml: this is a folder, not a file"
    assert error(tmp_path / ("x" * 300)) == "f.yaml: cannot be read: File name too long"
    os.mkfifo(tmp_path / "pipe")
    assert error(tmp_path / "pipe") == "f.yaml: this is a device or a pipe, not a file"
    path.write_bytes("a: ä\nb: käs".encode() + b"\xe9")
    assert error(path) == "f.yaml:2:7: byte 0xe9 is not UTF-8; save the file with the encoding UTF-8"
    path.write_text("a: 1\n", "utf-16")
    assert error(path).startswith("f.yaml:1:1: byte 0xff is not UTF-8")
    path.write_bytes(b"x" * 10_000_000)
    with at_most(1):
        said = error(path)
    assert said.startswith("f.yaml: the file has 9.5 MiB, more than the 1 MiB that are read; keep long texts in")


PLACES = """\
a:
  b: [x, {c: 1}]
  d: |
    one
    two {{ word }}
  e: >
    word word

    {{ word }} three
  f: "{{ word }}"
  g: "one\\ntwo {{ word }}"
  h: &h {i: 1}
  j: *h
"""


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        ((), False, (1, 1)),
        (("a",), True, (1, 1)),
        (("a", "b"), True, (2, 3)),
        (("a", "b"), False, (2, 6)),
        (("a", "b", 1, "c"), False, (2, 14)),
        (("a", "b", 1, "nope"), True, (2, 10)),  # the nearest thing that is there
        (("a", "j", "i"), False, (13, 6)),  # inside of an alias: where the alias stands
        (("nope",), False, (1, 1)),
    ],
)
def test_places(path: document.Path_, key: bool, place: tuple[int, int]) -> None:
    assert document.parse(PLACES, "f").where(path, key=key) == Where("f", *place)


@pytest.mark.parametrize(
    ("key", "line", "word", "place"),
    [
        ("d", 2, "word", (5, 12)),
        ("d", 2, "", (5, 5)),
        ("d", 2, "wor", (5, 5)),  # no word of its own
        ("d", 99, "word", (5, 12)),
        ("d", 99, "", (3, 6)),
        ("e", 2, "word", (9, 8)),  # folding has moved it down a line
        ("e", 1, "word", (7, 5)),  # outside of braces, where there is no other
        ("f", 1, "word", (10, 10)),
        ("g", 2, "word", (11, 19)),  # an escaped line break
        ("g", 2, "", (11, 6)),
        ("nope", 1, "word", (2, 3)),
    ],
)
def test_places_inside_of_texts(key: str, line: int, word: str, place: tuple[int, int]) -> None:
    assert document.parse(PLACES, "f").where_in(("a", key), line, word) == Where("f", *place)


@pytest.mark.parametrize(
    ("line", "word", "column"),
    [("serch: {{ serch }}", "serch", 11), ("a serch", "serch", 3), ("reserch serch", "serch", 9), ("{{ a }", "}", 6), ("x", "y", None)],
)  # fmt: skip
def test_a_word_is_found_in_braces_first(line: str, word: str, column: int | None) -> None:
    assert document.find_word(line, word) == column


YAMLISH = st.text(st.sampled_from("ab:- \n\t{}[]&*!|>'\"#%@,?~1.\r\0é\u2028\x85"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.one_of(YAMLISH, st.text(max_size=60)))
def test_any_text_is_read_or_refused_with_places_in_the_file(text: str) -> None:
    try:
        read = document.parse(text, "f")
    except InvalidFileError as exc:
        lines = [problem.where.line for problem in exc.problems]
        places = [problem.where for problem in exc.problems]
        assert lines == sorted(line or 0 for line in lines)
    else:
        places = [read.where(path, key=key) for path in read.values for key in (False, True)]
        places += [read.where_in(path, line, "a") for path in read.values for line in (1, 2, 9)]
    lengths = [len(line) for line in text.splitlines()] or [0]
    for place in places:
        assert place.line is not None
        assert place.column is not None
        assert 1 <= place.line <= len(lengths) + 1  # what is missing at the end is missed after the last line
        assert 1 <= place.column <= (lengths[place.line - 1] if place.line <= len(lengths) else 0) + 1
