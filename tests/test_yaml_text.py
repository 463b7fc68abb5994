"""YAML that people review: read back as it was written, and one line for one value."""

from __future__ import annotations

from difflib import unified_diff
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import document, yaml_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab \n\t:#-|>'\"\\{}[]\r\x85\u2028\ufeff\u00a0")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, min_size=1))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    for data in (values, {"items": [values]}):
        text = yaml_text.dump(data)
        assert document.parse(text, "x").value == data
        assert yaml_text.dump(document.parse(text, "x").value) == text


@pytest.mark.parametrize("word", ["no", "12", "1e3", "~", "2026-01-01", "12:30", "yes", "null", "0o7", "y", ".5", "-"])
def test_a_text_is_one_to_every_reader(word: str) -> None:
    text = yaml_text.dump({"value": word})
    assert yaml.safe_load(text) == document.parse(text, "x").value == {"value": word}


@pytest.mark.parametrize("number", [1e-05, -1e-300, 1e22, 9.54e-07, 0.5, 2.0])
def test_a_number_is_one_to_every_reader(number: float) -> None:
    text = yaml_text.dump({"value": number})
    assert yaml.safe_load(text) == document.parse(text, "x").value == {"value": number}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("one\ntwo\n", "a: |\n  one\n  two\n"),
        ("one\ntwo", "a: |-\n  one\n  two\n"),
        ("one\n\n\n", "a: |+\n  one\n\n\n"),
        ("  one\ntwo\n", "a: |2\n    one\n  two\n"),
        ("trailing \nspace\n", "a: |\n  trailing \n  space\n"),
        ("one\r\ntwo", 'a: "one\\r\\ntwo"\n'),
        ("hidden \u202e text\nin two lines", 'a: "hidden \\u202e text\\nin two lines"\n'),
        ("word " * 100 + "end", "a: " + "word " * 100 + "end\n"),
        ({"b": [{"c": 1, "d": []}, ["e"], {}]}, "a:\n  b:\n    - c: 1\n      d: []\n    -\n      - e\n    - {}\n"),
    ],
)
def test_how_it_looks(value: Any, written: str) -> None:
    assert yaml_text.dump({"a": value}) == written


def test_a_key_that_yaml_would_merge() -> None:
    data = {"<<": {"a": "b"}, "c": [{"<<": [{"d": "e"}]}]}
    assert document.parse(yaml_text.dump(data), "x").value == data


def test_a_key_of_any_length() -> None:
    data = {"k" * 2000: {"a": "b"}, "x": {"l" * 2000: [1]}}
    assert document.parse(yaml_text.dump(data), "x").value == data


def test_one_line_for_a_change_of_one_line() -> None:
    before = {"text": "one\ntwo\nthree\n", "list": [{"a": 1}, {"a": 2}]}
    after = {"text": "one\n2\nthree\n", "list": [{"a": 1}, {"a": 2}]}
    changed = unified_diff(yaml_text.dump(before).splitlines(), yaml_text.dump(after).splitlines(), n=0, lineterm="")
    assert list(changed)[3:] == ["-  two", "+  2"]
