"""Texts become passages of a bounded size, and nothing of them is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.parts import Split
from promptchain.retrieval.split import passages, pieces
from promptchain.retrieval.texts import Block, Heading

texts = st.one_of(
    st.text(max_size=600),
    st.lists(
        st.sampled_from(["word", "a", ".", ". ", "\n", "\n\n", " ", "longerword" * 20, "é", "。"]), max_size=200
    ).map("".join),
)
sizes = st.integers(50, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))


@settings(max_examples=300)
@given(texts, sizes)
def test_every_character_is_in_a_passage(text: str, how: tuple[int, int]) -> None:
    size, overlap = how
    found = list(pieces(text, size, overlap))
    covered = {at for start, end in found for at in range(start, end)}
    assert all(text[at].isspace() for at in range(len(text)) if at not in covered)
    for start, end in found:
        assert 0 < end - start <= size
        assert text[start:end].strip() == text[start:end]
    for (start, end), (following, last) in pairwise(found):
        assert start < following
        assert end <= last
        assert end - following <= overlap
    assert len(found) <= 2 + 4 * len(text) // size
    assert found == list(pieces(text, size, overlap))


def test_a_passage_ends_at_a_paragraph_before_a_sentence_before_a_word() -> None:
    def first(text: str) -> str:
        start, end = next(pieces(text, 60, 0))
        return text[start:end]

    assert first("Some words of a first paragraph.\n\nA second. And what more there is to say") == (
        "Some words of a first paragraph."
    )
    assert first("Some words that are a long sentence. And what more there is to say of it") == (
        "Some words that are a long sentence."
    )
    assert first("some words without an end and more of them until it is enough for all") == (
        "some words without an end and more of them until it is"
    )
    assert first("x" * 100) == "x" * 60


def test_the_overlap_begins_with_a_whole_word() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    found = [text[start:end] for start, end in pieces(text, 60, 20)]
    assert found[1].split()[0] in found[0].split()[-3:]


def block(text: str, *headings: Heading, **more: object) -> Block:
    return Block(text, "Page", headings=headings, **more)  # type: ignore[arg-type]


GUIDE = "Before.\n\n# Guide\n\n## Refunds\n\nFive days.\n\n## Cards\n\nTwo days.\n"
HEADINGS = tuple(
    Heading(GUIDE.index(mark), level, mark.strip("# "))
    for mark, level in (("# Guide", 1), ("## Refunds", 2), ("## Cards", 2))
)


def test_sections_are_passages_with_their_headings() -> None:
    found = list(passages(block(GUIDE, *HEADINGS, line=5), Split()))
    assert [(piece.title, piece.line, piece.meta.get("section")) for piece in found] == [
        ("Page", 5, None),
        ("Refunds", 7, "Guide > Refunds"),
        ("Cards", 13, "Guide > Cards"),
    ]
    assert found[1].text == "# Guide\n\n## Refunds\n\nFive days."
    assert found[1].heading == "Page > Guide > Refunds"


def test_by_size_headings_only_name_a_passage() -> None:
    (found,) = passages(block(GUIDE, *HEADINGS), Split(by="size"))
    assert (found.text, found.title) == (GUIDE.strip(), "Page")


def test_a_field_of_the_page_s_own_stays() -> None:
    found = list(passages(block(GUIDE, *HEADINGS, meta={"section": "billing"}), Split()))
    assert {piece.meta["section"] for piece in found} == {"billing"}


def test_marks_tell_the_lines() -> None:
    text = "a " * 30 + "\n\n" + "b " * 30
    found = list(passages(block(text, marks=((0, 3), (62, 9))), Split(size=62, overlap=0)))
    assert [piece.line for piece in found] == [3, 9]


@pytest.mark.parametrize("text", ["", " \n ", "\n\n\n"])
def test_nothing_gives_no_passage(text: str) -> None:
    assert not list(passages(block(text), Split()))


@given(st.lists(st.sampled_from(["# A", "## B", "### C", "text", "", "more text."]), max_size=30))
def test_no_section_loses_a_character(lines: list[str]) -> None:
    text = "\n".join(lines)
    offsets = [sum(len(line) + 1 for line in lines[:at]) for at in range(len(lines))]
    headings = [
        Heading(offset, line.count("#"), line.strip("# "))
        for offset, line in zip(offsets, lines, strict=True)
        if line.startswith("#")
    ]
    found = list(passages(block(text, *headings), Split(overlap=0)))
    assert "".join("".join(piece.text for piece in found).split()) == "".join(text.split())
    for piece in found:
        assert text.splitlines()[piece.line - 1].startswith(piece.text.splitlines()[0])
