"""Which demos are most like a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.chain import Demo
from promptchain.records import Nearest, StepVariant
from promptchain.render import demos_for
from promptchain.similarity import nearest

TEXT = st.text(st.characters(), max_size=30)
VALUE = st.one_of(TEXT, st.none(), st.integers(), st.lists(TEXT, max_size=3), st.dictionaries(TEXT, TEXT, max_size=3))
INPUTS = st.dictionaries(st.sampled_from(["q", "r", "s"]), VALUE)
POOL = st.lists(st.builds(Demo, inputs=INPUTS, output=st.integers()), max_size=8)

QUESTIONS = (
    "My card has not arrived yet",
    "How do I change my PIN?",
    "What is the exchange rate for euros?",
    "Somebody stole my card",
    "I would like a refund",
)


def of(*texts: str) -> tuple[Demo, ...]:
    return tuple(Demo(inputs={"q": text}, output=n) for n, text in enumerate(texts))


def best(text: Any, *pool: str, count: int = 1, by: Literal["lexical", "local/wordllama"] = "lexical") -> list[int]:
    return [demo.output for demo in nearest(Nearest(count=count, by=by, pool=of(*pool)), {"q": text})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("where is my new card, it should have arrived", 0),
        ("chnage of pins", 1),
        ("exchange rates", 2),
        ("my card was STOLEN, somebody took it", 3),
        ("refunding", 4),
    ],
)
def test_words_endings_and_misspellings_find_what_is_meant(text: str, found: int) -> None:
    assert best(text, *QUESTIONS) == [found]


def test_the_likest_comes_first_and_of_equals_the_earlier() -> None:
    assert best("stolen card", "a stolen card", "weather", "a stolen card", "card", count=4) == [0, 2, 3, 1]
    assert best("zzz", *QUESTIONS, count=3) == [0, 1, 2]


def test_what_all_have_says_little() -> None:
    assert best("please card please", "please help please", "please mend please", "card", "please go please") == [2]


@given(POOL, INPUTS, st.integers(1, 10))
def test_so_many_are_found_and_the_same_each_time(pool: list[Demo], values: dict[str, Any], count: int) -> None:
    setting = Nearest(count=count, pool=tuple(pool))
    found = nearest(setting, values)
    assert len(found) == min(count, len(pool))
    assert all(demo in pool for demo in found)
    assert nearest(setting, values) == found
    assert found == nearest(Nearest(count=len(pool) or 1, pool=tuple(pool)), values)[:count]  # a beginning of all


def turned(value: Any) -> Any:
    """With the keys the other way round, all the way down."""
    if isinstance(value, Mapping):
        return {key: turned(value[key]) for key in reversed(list(value))}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(POOL, INPUTS)
def test_the_order_of_keys_does_not_matter(pool: list[Demo], values: dict[str, Any]) -> None:
    other = [demo.model_copy(update={"inputs": turned(demo.inputs)}) for demo in pool]
    there = nearest(Nearest(count=5, pool=tuple(pool)), values)
    back = nearest(Nearest(count=5, pool=tuple(other)), turned(values))
    assert [pool.index(demo) for demo in there] == [other.index(demo) for demo in back]


def test_the_order_of_keys_does_not_decide_what_of_a_huge_value_is_compared() -> None:
    pool = of("weather", "stolen card")
    inner = {"a": "stolen card", "b": "y " * 20_000}
    setting = Nearest(count=1, pool=pool)
    assert nearest(setting, {"q": inner}) == nearest(setting, {"q": turned(inner)})


def test_a_huge_value_does_not_hide_those_after_it() -> None:
    pool = (
        Demo(inputs={"a": "x" * 50_000, "b": "weather"}, output=0),
        Demo(inputs={"b": "stolen card", "a": "x" * 50_000}, output=1),
    )
    values = {"a": "x" * 50_000, "b": "a card was stolen"}
    assert nearest(Nearest(count=1, pool=pool), values)[0].output == 1


@pytest.mark.parametrize("text", ["", "x" * 300_000, "\ud83d", "😀" * 9, "İ ß ﬁ", "\x00", None, 0, ["é"], {"a": None}])
def test_any_value_can_be_asked_about(text: Any) -> None:
    assert len(best(text, "", "x" * 300_000, "\udc00 x", "é", count=3)) == 3


def test_letters_beyond_ascii_count_in_lists_too() -> None:
    pool = (Demo(inputs={"q": ["wetter"]}, output=0), Demo(inputs={"q": ["übergröße"]}, output=1))
    assert nearest(Nearest(count=1, pool=pool), {"q": "übergrößen"})[0].output == 1


def test_only_what_demos_name_is_compared() -> None:
    setting = Nearest(count=1, pool=of("stolen card", "weather"))
    assert nearest(setting, {"q": "weather", "other": "stolen card " * 9})[0].output == 1


def test_by_meaning_where_the_embedding_model_is_installed() -> None:
    pytest.importorskip("wordllama")
    assert best("give me my money back", *QUESTIONS, by="local/wordllama") == [4]
    assert best("", "x", "", "\ud83d", count=3, by="local/wordllama") == [0, 1, 2]  # what says nothing is like nothing


def test_local_vectors_are_of_one_length_and_of_each_text_alone() -> None:
    pytest.importorskip("wordllama")
    from promptchain.lm.embed import local_vectors

    texts = ["a card", "", "\ud83d", "weather " * 5000]
    together = local_vectors(texts)
    assert {len(vector) for vector in together} == {256}
    assert together == [local_vectors([text])[0] for text in texts]
    assert not any(together[1])
    assert local_vectors([]) == []


# -- in a request ------------------------------------------------------------------------------------------------------


def test_own_demos_come_first_and_the_likest_last() -> None:
    own = of("first")
    variant = StepVariant(demos=own, nearest=Nearest(count=2, pool=of("weather", "stolen card", "card")))
    shown = demos_for(variant, {"q": "a stolen card"})
    assert [demo.inputs["q"] for demo in shown] == ["first", "card", "stolen card"]


@pytest.mark.parametrize("setting", [None, Nearest(count=2, pool=())])
def test_without_a_pool_the_steps_own_are_all(setting: Nearest | None) -> None:
    assert demos_for(StepVariant(demos=of("a"), nearest=setting), {"q": "a"}) == of("a")
    assert demos_for(StepVariant(nearest=setting), {"q": "a"}) == ()


@settings(max_examples=40)
@given(POOL, INPUTS, st.integers(1, 5))
def test_a_request_has_no_more_than_are_asked_for(pool: list[Demo], values: dict[str, Any], count: int) -> None:
    variant = StepVariant(nearest=Nearest(count=count, pool=tuple(pool)))
    assert len(demos_for(variant, values)) == min(count, len(pool))
