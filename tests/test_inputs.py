"""A chain's inputs, from wherever they come."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import inputs
from promptchain.chain import Chain
from promptchain.errors import InputError, PromptChainError, UsageError


def chain_of(**declared: Any) -> Chain:
    return Chain.model_validate({"name": "c", "inputs": declared, "steps": {"a": {"prompt": "x"}}})


CHAIN = chain_of(**{"message": "string", "count?": "integer", "tags?(array)": "string", "kind?(enum)": ["a", "b"]})
NOTHING = {"message": None, "count": None, "tags": None, "kind": None}


def full(**given: Any) -> dict[str, Any]:
    return NOTHING | given


def test_what_is_not_given_is_null() -> None:
    assert inputs.check(CHAIN, {"message": "Hi", "count": 2}) == full(message="Hi", count=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"the input 'message' \(string\) is missing; give it with -i message=\"…\""),
        ({"message": "x", "mesage": "y"}, "the chain 'c' has no input 'mesage'; did you mean 'message'?"),
        ({"message": "x", "zzz": "y"}, "has no input 'zzz'; known inputs: count, kind, message, tags"),
        ({"message": 5}, "input 'message': 5 is not a string"),
        ({"message": None}, "input 'message': null is not a string"),
        ({"message": "x", "count": "3"}, "input 'count': '3' is not an integer"),
        ({"message": "x", "count": float("nan")}, "input 'count': NaN is not a"),
        ({"message": "x", "tags": ["a", 1]}, r"input 'tags': \[1\]: 1 is not a string"),
        ({"message": "x", "tags": ("a",)}, "input 'tags': "),
        ({"message": "x", "kind": "c"}, "input 'kind': 'c' is not one of a, b"),
        ({"message": "a\ud800b"}, "input 'message': the text holds half of a character"),
        ({"message": "x", "tags": ["\udc80"]}, "input 'tags': the text holds half of a character"),
        ({"count": "x", "more": 1}, r"'message' \(string\) is missing.*"),
    ],
)
def test_inputs_that_do_not_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        inputs.check(CHAIN, given)
    assert caught.value.exit_code == 2


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        inputs.check(CHAIN, {"count": "x", "more": 1})
    assert [part for part in ("'message'", "'count'", "'more'") if part in caught.value.message] == [
        "'message'", "'count'", "'more'",
    ]  # fmt: skip


def test_names_that_a_wildcard_allows_are_checked_too() -> None:
    wild = chain_of(**{"a": "string", "(*)": "integer"})
    assert inputs.check(wild, {"a": "x", "b": 1}) == {"a": "x", "b": 1}
    with pytest.raises(InputError, match="input 'b': 'y' is not an integer"):
        inputs.check(wild, {"a": "x", "b": "y"})


def test_a_value_may_be_nested_but_not_without_end() -> None:
    loose = chain_of(data="any")
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    inputs.check(loose, {"data": deep})
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InputError, match=r"input 'data': .*nested"):
        inputs.check(loose, {"data": deep})


@pytest.mark.parametrize(
    "text", ["", "😀👩‍👩‍👧", "שלום עולם", "e\u0301", "\u202egnp.exe", "a\0b", "\ufeff", "\u2028", "x" * 1_000_000]
)
def test_text_of_every_kind_comes_through_every_way(text: str, tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    path.write_text(json.dumps({"message": text}, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "text").write_bytes(text.encode())
    for values in (
        inputs.from_pairs(CHAIN, [f"message={text}"]),
        inputs.from_text(CHAIN, text),
        inputs.from_file(CHAIN, str(path)),
        inputs.from_file(CHAIN, "-", json.dumps({"message": text})),
        {"message": text} if text == "\ufeff" else inputs.from_pairs(CHAIN, [f"message=@{tmp_path / 'text'}"]),
    ):
        assert inputs.check(CHAIN, values) == full(message=text)


def test_pairs_are_read_by_their_types(tmp_path: Path) -> None:
    pairs = ["message=a=b", "count= 3 ", 'tags=["x", "y"]', "kind=b"]
    assert inputs.from_pairs(CHAIN, pairs) == {"message": "a=b", "count": 3, "tags": ["x", "y"], "kind": "b"}
    assert inputs.from_pairs(CHAIN, ["message=@", "more=1"]) == {"message": "@", "more": "1"}


@pytest.mark.parametrize(
    ("pair", "kind", "message"),
    [
        ("message", UsageError, "'message' is not of the form name=value; for example"),
        ("count=three", InputError, "input 'count': 'three' is not an integer; it is integer"),
        ("count=1.5", InputError, "input 'count': '1.5' is not an integer"),
        ("kind=c", InputError, "input 'kind': 'c' is not one of a, b"),
        ('tags=["x"', InputError, "input 'tags': .* is not an array in JSON"),
        ("message=@gone.txt", PromptChainError, "gone.txt: there is no such file"),
        ("message=@.", PromptChainError, "a folder"),
    ],
)
def test_pairs_that_are_wrong(pair: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        inputs.from_pairs(CHAIN, [pair])
    with pytest.raises(UsageError, match="given twice"):
        inputs.from_pairs(CHAIN, ["message=a", "message=b"])


@pytest.mark.parametrize(
    ("declared", "text", "expected"),
    [
        ({"a": "string"}, "x", {"a": "x"}),
        ({"a?": "string"}, "x", {"a": "x"}),
        ({"a": "string", "b?": "integer"}, "x", {"a": "x"}),
        ({"n": "integer"}, "5", {"n": 5}),
        ({"n": "integer"}, "five", "input 'n': 'five' is not an integer"),
        ({"a": "string", "b": "string"}, "x", "a bare text does not say which input it is; the chain 'c' has: a, b"),
        ({}, "x", "the chain 'c' has: none; name it"),
    ],
)
def test_a_bare_text_is_the_only_input(declared: Any, text: str, expected: Any) -> None:
    chain = chain_of(**declared)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            inputs.from_text(chain, text)
    else:
        assert inputs.from_text(chain, text) == expected


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        ('{"message": "Hi"}', {"message": "Hi"}),
        (' \n{"message": "Hi", "count": 1}\n', {"message": "Hi", "count": 1}),
        ("Where is my card?\n", {"message": "Where is my card?"}),
        ("two\nlines\r\n", {"message": "two\nlines"}),
        ("[1]", {"message": "[1]"}),
    ],
)
def test_standard_input(stdin: str, expected: Any) -> None:
    assert inputs.from_file(CHAIN, "-", stdin) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.json", b'{"message": "x",\n "count" 1}', r"in.json:2:10: this is not JSON \(Expecting ':' delimiter\)"),
        ("in.json", b"", "in.json:1:1: this is not JSON"),
        ("in.json", b"[1]", "in.json: the inputs are one mapping of names to values, not a list"),
        ("in.json", b'"x"', "not a text"),
        ("in.json", b'{"message": "\xff"}', "in.json:1:14: byte 0xff is not UTF-8"),
        ("in.json", b"[" * 100_000, "nested too deep"),
        ("in.json", b'{"count": ' + b"1" * 5000 + b"}", "in.json: this is not JSON .*digits"),
        ("in.yaml", b"message: [", "in.yaml:2:1: the indentation or a bracket is off"),
        ("in.yaml", b"", "not empty"),
        ("in.yml", b"a: 1\na: 2", "in.yml:2:1: the key 'a' is here twice"),
    ],
)
def test_files_that_are_wrong(name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(PromptChainError, match=message):
        inputs.from_file(CHAIN, name)


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "standard input is empty"),
        (" \n", "standard input is empty"),
        ("{oops}", "standard input:1:2: this is not JSON"),
    ],
)
def test_a_standard_input_that_is_wrong(stdin: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inputs.from_file(CHAIN, "-", stdin)


def test_files_of_inputs(tmp_path: Path) -> None:
    bom = tmp_path / "bom.json"
    bom.write_bytes(b'\xef\xbb\xbf{"message": "x"}')
    other = tmp_path / "in.yaml"
    other.write_text("message: no\ncount: 3\n")
    assert inputs.from_file(CHAIN, str(bom)) == {"message": "x"}
    assert inputs.from_file(CHAIN, str(other)) == {"message": "no", "count": 3}
    with pytest.raises(PromptChainError, match="there is no such file"):
        inputs.from_file(CHAIN, str(tmp_path / "gone.json"))
    (tmp_path / "big.json").write_bytes(b" " * (inputs.MAX_BYTES + 1))
    with pytest.raises(PromptChainError, match="more than the 64 MiB"):
        inputs.from_file(CHAIN, str(tmp_path / "big.json"))


@given(st.text(st.characters()), st.sampled_from(["message", "count", "tags", "kind", "more"]))
def test_no_text_is_more_than_refused(text: str, name: str) -> None:
    for read in (
        lambda: inputs.from_pairs(CHAIN, [f"{name}={text.lstrip('@')}"]),
        lambda: inputs.from_file(CHAIN, "-", text),
    ):
        try:
            json.dumps(inputs.check(CHAIN, {"message": "x", **read()}), ensure_ascii=False).encode()
        except PromptChainError as exc:
            assert str(exc)  # noqa: PT017


def test_a_file_that_is_no_text_is_a_data_uri(tmp_path: Path) -> None:
    chain = chain_of(photo="string")
    for name, content, head in [
        ("my photo.png", b"\x89PNG\r\n\x1a\n\0", "data:image/png;name=my%20photo.png;base64,"),
        ("plain.pdf", b"%PDF-1.7 all of it ASCII", "data:application/pdf;name=plain.pdf;base64,"),
        ("blob", b"\xff\0\1", "data:application/octet-stream;name=blob;base64,"),
    ]:
        (tmp_path / name).write_bytes(content)
        given = inputs.from_pairs(chain, [f"photo=@{tmp_path / name}"])
        assert given == {"photo": head + b64encode(content).decode()}


@pytest.mark.parametrize("content", ["Zoë".encode("latin-1"), "Zoë".encode("utf-16")])
def test_a_text_in_another_encoding_is_still_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(PromptChainError, match="is not UTF-8"):
        inputs.from_pairs(chain_of(note="string"), [f"note=@{tmp_path / 'a.txt'}"])


def test_a_file_that_is_no_text_has_a_limit(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(20 * 1024 * 1024 + 1)
    with pytest.raises(PromptChainError, match="more than the 20 MiB that are sent"):
        inputs.from_pairs(chain_of(note="string"), [f"note=@{tmp_path / 'a.png'}"])
