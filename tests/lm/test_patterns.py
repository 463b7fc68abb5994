"""What a project's own patterns mask: in bounded time, whole, and in pieces too."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from promptchain.courses import Course
from promptchain.evaluations import EvaluationRecord
from promptchain.lm import patterns
from promptchain.lm.secrets import redact, redact_data, settled
from promptchain.records import Run
from tests.patience import at_most

SLOW = r"(x|xx)+$"


@pytest.fixture(autouse=True)
def employees() -> None:
    patterns.use("here", [r"EMP-\d{6,8}", r"(?i)patient \p{Lu}\w+"])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ask EMP-123456.", "ask ***."),
        ("EMP-12345678EMP-000000", "******"),
        ("EMP-12345", "EMP-12345"),
        ("the Patient Zora and sk-ant-0123456789", "the *** and ***"),
        ("", ""),
    ],
)
def test_matches_go(text: str, masked: str) -> None:
    assert redact(text) == masked
    assert redact(masked) == masked
    assert redact_data({text: [text]}) == {masked: [masked]}


def test_the_patterns_of_all_projects_of_a_process_count_until_they_are_taken_back() -> None:
    patterns.use("there", ["cat"])
    assert redact("a cat, EMP-123456") == "a ***, ***"
    patterns.use("here", ["dog"])
    assert redact("a cat, a dog, EMP-123456") == "a ***, a ***, EMP-123456"
    patterns.use("there", [])
    assert redact("a cat, a dog") == "a cat, a ***"


def test_no_pattern_may_mask_the_names_of_a_records_fields() -> None:
    def fields(kind: Any, seen: set[Any]) -> Iterator[str]:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in seen:
                seen.add(kind)
                for name, field in kind.model_fields.items():
                    yield field.alias or name
                    yield from fields(field.annotation, seen)
        else:
            for part in get_args(kind):
                yield from fields(part, seen)

    found = {name for kind in (Run, EvaluationRecord, Course) for name in fields(kind, set())}
    assert len(found) > 50
    assert found <= set(patterns.OWN)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is not a regular expression: missing )"),
        ("a**", "is not a regular expression: multiple repeat"),
        ("a{99999999999}", "is not a regular expression: repeat count too big"),
        ("x*", "matches the empty text"),
        ("", "matches the empty text"),
        (".", "matches ***"),
        ("a" * 1001, "is longer than 1,000 characters"),
        ("a", "matches 'after' too, as it stands in every record"),
        (r"(a|a)*b", "matches 'before' too"),
        (r"\w+", "matches 'after' too"),
        (r"\d{4}", "matches '2026-"),
        (r"\d{6}", "matches 'e3b0c4"),
        (r"\b\d{6}\b", None),
        (r"\b\d{16}\b", None),
        (r"\w+@\w+\.\w+", None),
        (r"EMP-\d{6}", None),
        (r"\p{Script=Greek}+", None),
    ],
)
def test_what_is_no_pattern(pattern: str, said: str | None) -> None:
    found = patterns.fault(pattern)
    assert found is None if said is None else found is not None and found.startswith(said)


def test_a_pattern_that_takes_too_long_takes_the_text_with_it() -> None:
    patterns.use("here", [SLOW])
    assert redact("nothing in it") == "nothing in it"
    with at_most(10):
        found = redact_data(["x" * 60 + f"-{number}, my secret" for number in range(50)])
    assert all(text.startswith("*** (the whole text: the pattern ") for text in found)
    assert "secret" not in str(found)
    assert settled("x" * 60 + "!") == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("so E", 3), ("so EMP-12", 3), ("so EMP-123456", 3), ("so EMP-123456 ", 14), ("so EMP-12345678", 3), ("so ", 3)],
)
def test_what_may_go_on_is_held_back(text: str, count: int) -> None:
    assert settled(text) == count


@given(st.lists(st.text("EMP-0123456789 x", max_size=8), max_size=12))
def test_pieces_show_no_more_than_the_whole(pieces: list[str]) -> None:
    patterns.use("here", [r"EMP-\d{6,8}"])
    held, told = "", ""
    for piece in pieces:
        held += piece
        end = settled(held)
        told, held = told + redact(held[:end]), held[end:]
    assert told + redact(held) == redact("".join(pieces))
