"""Examples: rows that fit the chain, each with an id of its own; and what is said of those that do not."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import examples
from promptchain.chain import Chain
from promptchain.errors import InvalidFileError, UsageError
from promptchain.examples import MAX_PROBLEMS, Examples
from tests.evaluate_kit import chain_of

CHAIN = chain_of(
    {
        "kind": {"prompt": "{{ q }}", "output": ["card", "refund"]},
        "n": {"prompt": "{{ q }}", "output": "integer"},
        "all": {"prompt": "{{ item }}", "for_each": "{{ [q] }}", "output": "integer"},
        "reply": "{{ kind }} {{ n }}",
    },
    inputs={"q": "string", "times?": "integer"},
)


@pytest.fixture
def survey(tmp_path: Path) -> Callable[..., Examples]:
    def made(rows: Any, *words: str, name: str = "rows.jsonl", chain: Chain = CHAIN) -> Examples:
        path = tmp_path / name
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        return examples.survey(chain, [path], lambda path: path.name, words)

    return made


def ids(found: Iterable[examples.Example]) -> list[str]:
    return [example.id for example in found]


def told(error: pytest.ExceptionInfo[InvalidFileError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


# -- ids and digest ----------------------------------------------------------------------------------------------------

_rows = st.lists(
    st.fixed_dictionaries(
        {"q": st.sampled_from("abcdef")}, optional={"expected": st.sampled_from(["x", "y"]), "times": st.integers(0, 2)}
    ),
    min_size=1,
    max_size=8,
)


@given(rows=_rows, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(
    rows: list[dict[str, Any]], order: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mixed = order.sample(rows, len(rows))
    path = tmp_path_factory.getbasetemp() / "mixed.jsonl"

    def read(given: list[dict[str, Any]]) -> Examples:
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
        return examples.survey(CHAIN, [path], str)

    before, after = read(rows), read(mixed)
    assert (before.digest, before.count) == (after.digest, after.count)
    assert before.count == len({json.dumps(row, sort_keys=True) for row in rows})
    for found in (before, after):
        assert len(set(ids(found))) == found.count
    said = [{example.id: (example.inputs, example.expected) for example in found} for found in (before, after)]
    assert said[0] == said[1]


def test_an_id_is_kept_when_another_row_comes_or_goes(survey: Callable[..., Examples]) -> None:
    first, second = ids(survey([{"q": "a"}, {"q": "b"}]))
    assert ids(survey([{"q": "c"}, {"q": "b"}, {"q": "a"}]))[1:] == [second, first]
    assert ids(survey([{"q": "a", "id": "own"}])) == ["own"]


def test_the_digest_is_of_what_rows_say(survey: Callable[..., Examples]) -> None:
    digest = survey([{"q": "a", "id": "1"}]).digest
    assert digest == survey([{"id": "2", "q": "a"}]).digest
    for other in ({"q": "b"}, {"q": "a", "expected": "x"}, {"q": "a", "assert": [{"type": "is-json"}]},
                  {"q": "a", "threshold": 0.5}, {"q": "a", "metadata": {"x": 1}}):  # fmt: skip
        assert survey([other]).digest != digest
    assert len({survey([{"q": "a"}]).digest, survey([{"q": "a"}, {"q": "b"}]).digest, survey([{"q": "b"}]).digest}) == 3


def test_duplicates_are_told_and_counted_once(survey: Callable[..., Examples]) -> None:
    found = survey([{"q": "a"}, {"q": "b"}, {"q": "a"}, {"q": "a"}])
    assert (found.count, len(ids(found))) == (2, 2)
    [warning] = found.warnings
    assert warning == "2 rows repeat an earlier one and are counted once: rows.jsonl:3, rows.jsonl:4"
    [warning] = survey([{"q": "a"}, {"q": "a"}]).warnings
    assert warning == "1 row repeats an earlier one and is counted once: rows.jsonl:2"
    assert survey([{"q": "a"}, {"q": "b"}]).warnings == ()


def test_the_same_inputs_with_another_expectation_are_kept_apart(survey: Callable[..., Examples]) -> None:
    found = survey([{"q": "a", "expected": "x"}, {"q": "a", "expected": "y"}])
    assert (found.count, found.warnings) == (2, ())
    assert len(set(ids(found))) == 2


def test_an_id_that_is_there_twice_is_an_error_with_both_places(survey: Callable[..., Examples]) -> None:
    with pytest.raises(InvalidFileError) as error:
        survey([{"q": "a", "id": "x"}, {"q": "b", "id": "y"}, {"q": "c", "id": "x"}])
    assert told(error) == ["rows.jsonl:3: the id 'x' is there already, at rows.jsonl:1; give it another"]


def test_an_expected_value_of_a_name_that_is_misspelt_is_told(survey: Callable[..., Examples]) -> None:
    found = survey([{"q": "a", "expected": {"kind": "card"}}, {"q": "b", "expected": {"kidn": "card", "other": 1}}])
    assert found.warnings == ("rows.jsonl:2: expected.kidn is of no step and no output; did you mean 'kind'?",)
    named = {"assert": [{"type": "contains", "value": "{{ expected.replies }} {{ expected['kinds'] }}"}]}
    chain = chain_of({"kind": "{{ q }}", "reply": "{{ kind }}"}, test=named)
    assert survey([{"q": "a", "expected": {"replies": "x", "kinds": "y"}}], chain=chain).warnings == ()


def test_a_missing_input_is_looked_for_in_the_row(survey: Callable[..., Examples]) -> None:
    chain = chain_of({"a": "{{ message }}"}, inputs={"message": "string"})
    with pytest.raises(InvalidFileError) as error:
        survey([{"mesage": "x"}, {}, {"message": 3}], chain=chain)
    assert told(error) == [
        "rows.jsonl:1: the input 'message' (string) is missing; the row has 'mesage': did you mean 'message'?",
        "rows.jsonl:2: the input 'message' (string) is missing; add 'message' to the row",
        "rows.jsonl:3: input 'message': 3 is not a string",
    ]


# -- expected values ---------------------------------------------------------------------------------------------------


def test_columns_of_csv_take_the_types_of_steps(survey: Callable[..., Examples]) -> None:
    text = "q,expected.kind,expected.n,expected.all,expected.reply,more\na,card,3,[1],007,x\nb,,,,,\n"
    first, second = survey(text, name="rows.csv")
    assert first.expected == {"kind": "card", "n": 3, "all": [1], "reply": "007"}
    assert first.gold(CHAIN) == first.expected
    assert first.beside["more"] == "x"
    assert (second.expected, second.gold(CHAIN)) == (None, {})


def test_expected_as_a_mapping_and_as_columns_is_one(survey: Callable[..., Examples]) -> None:
    [found] = survey([{"q": "a", "expected": {"kind": "card", "answer": 1}, "expected.n": 3}])
    assert found.expected == {"kind": "card", "answer": 1, "n": 3}
    assert found.gold(CHAIN) == {"kind": "card", "n": 3}
    [found] = survey('q,expected\na,"{""kind"": ""card""}"\n', name="rows.csv")
    assert found.expected == {"kind": "card"}


def test_what_a_search_should_find_is_not_what_it_gives(survey: Callable[..., Examples]) -> None:
    help = {"retrieve": {"from": "*.md", "query": "{{ q }}"}, "output": {"passages(array)": "object"}}
    chain = chain_of({"help": help, "clean": {"python": "m:f"}, "reply": "{{ help }} {{ clean }}"})
    expected = {"help": ["a.md"], "clean": "hi", "reply": "x"}
    [found] = survey([{"q": "a", "expected": expected}], chain=chain)
    assert (found.expected, found.gold(chain)) == (expected, {"clean": "hi", "reply": "x"})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"q": "a", "expected": {"kind": "crad"}}, "expected.kind: "),
        ({"q": "a", "expected.n": "three"}, "expected.n: "),
        ({"q": "a", "expected": {"all": 1}}, "expected.all: "),
        ({"q": "a", "expected": "x", "expected.n": 1}, "'expected' and 'expected.n' are both there"),
        ({"q": 5}, "input 'q'"),
        ({}, "the input 'q' (string) is missing"),
        ({"q": "a", "assert": [{"type": "contains", "value": "file://x.txt"}]}, "assert: a row cannot name a file"),
        ({"q": "a", "threshold": "high"}, "threshold: must be a number from 0 to 1, not a text"),
        ({"q": "a", "threshold": 2}, "threshold: must be a number from 0 to 1, not 2"),
        ({"q": "a", "threshold": True}, "threshold: must be a number from 0 to 1, not true or false"),
        ({"q": "a", "assert": {"type": "is-json"}}, "assert: must be a list of assertions, not a mapping"),
        ({"q": "a", "assert": [3]}, "assert: an assertion is a mapping, not a number"),
        ({"q": "a", "assert": [{"type": "contans", "value": "x"}]}, "assert: unknown assertion 'contans'"),
        ({"q": "a", "options": {"transform": "output.trim()"}}, "options: a row has no `transform` here"),
        ({"q": "a", "assert": [{"type": "equals", "value": 1, "step": "knd"}]}, "assert: unknown step 'knd'"),
        ({"q": "a", "assert": [{"type": "is-json", "weight": -1}]}, "assert: 'weight': "),
        ({"q": "a", "assert": [{"type": "assert-set", "assert": [{"type": "is-json", "step": "kind"}]}]},
         "assert: an assert-set as a whole has a 'step'"),
        ({"q": "a", "__expected": "javascript: 1"}, "JavaScript assertions are not run here"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_named(row: dict[str, Any], says: str, survey: Callable[..., Examples]) -> None:
    with pytest.raises(InvalidFileError) as error:
        survey([{"q": "fine"}, row])
    [problem] = told(error)
    assert problem.startswith("rows.jsonl:2: ")
    assert says in problem


def test_a_cell_that_is_not_of_the_steps_type_is_named_by_its_line(survey: Callable[..., Examples]) -> None:
    with pytest.raises(InvalidFileError) as error:
        survey('q,expected.n\n"two\nlines",3\nb,three\n', name="rows.csv")
    [problem] = told(error)
    assert problem.startswith("rows.csv:4: expected.n: ")
    assert "integer" in problem


def test_all_rows_that_do_not_fit_are_told_up_to_a_number(survey: Callable[..., Examples]) -> None:
    with pytest.raises(InvalidFileError) as error:
        survey([{"q": n} for n in range(MAX_PROBLEMS + 5)])
    problems = told(error)
    assert [problem.partition(": ")[0] for problem in problems[:-1]] == [
        f"rows.jsonl:{line}" for line in range(1, MAX_PROBLEMS + 1)
    ]
    assert "5 more rows have problems" in problems[-1]


@pytest.mark.parametrize(
    ("name", "rows"), [("rows.jsonl", ""), ("rows.csv", "q\n"), ("rows.yaml", "[]"), ("r.json", "[]")]
)
def test_a_dataset_without_rows_is_an_error(name: str, rows: str, survey: Callable[..., Examples]) -> None:
    with pytest.raises(UsageError, match=f"there are no rows in {name}"):
        survey(rows, name=name)


def test_several_files_are_one_dataset(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "a"}\n')
    (tmp_path / "b.yaml").write_text("- {q: b, expected: {n: 1}}\n- {q: a}\n")
    found = examples.survey(CHAIN, [tmp_path / "a.jsonl", tmp_path / "b.yaml"], lambda path: path.name)
    assert [str(example.where) for example in found] == ["a.jsonl:1", "b.yaml:1"]
    assert (found.files, "b.yaml:2" in found.warnings[0]) == (("a.jsonl", "b.yaml"), True)


# -- the filter --------------------------------------------------------------------------------------------------------

_ROWS = [
    {"id": "s01", "q": "hello", "times": 1, "expected": {"kind": "card"}, "metadata": {"lang": "en"}, "team": "a"},
    {"id": "s02", "q": "bye=now", "expected": {"kind": "refund", "n": 12}, "team": "b"},
    {"id": "t01", "q": "hello", "times": 12, "expected": "hello"},
]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["s01", "s02", "t01"]),
        (["s*"], ["s01", "s02"]),
        (["s01"], ["s01"]),
        (["q=hello"], ["s01", "t01"]),
        (["q=hello", "s*"], ["s01"]),
        (["q=bye=now"], ["s02"]),
        (["times=1"], ["s01"]),
        (["kind=card"], ["s01"]),
        (["expected.kind=c*"], ["s01"]),
        (["n=12"], ["s02"]),
        (["expected=hello"], ["t01"]),
        (["team=?"], ["s01", "s02"]),
    ],
)
def test_filter_words(words: list[str], expected: list[str], survey: Callable[..., Examples]) -> None:
    found = survey(_ROWS, *words)
    assert (ids(found), found.count) == (expected, len(expected))


@pytest.mark.parametrize("words", [["x*"], ["times=2"], ["nowhere=1"], ["s01", "s02"]])
def test_a_filter_that_nothing_fits_is_an_error(words: list[str], survey: Callable[..., Examples]) -> None:
    with pytest.raises(UsageError, match="none of the 3 examples fits the filter") as error:
        survey(_ROWS, *words)
    assert "a filter is an id" in (error.value.hint or "")


# -- size --------------------------------------------------------------------------------------------------------------


def test_few_are_kept_and_many_are_read_again(tmp_path: Path, survey: Callable[..., Examples]) -> None:
    few = survey([{"q": "a"}])
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for n in range(3_000):
            file.write(json.dumps({"q": f"{n // 2} " + "x" * 12_000, "expected": {"n": n % 2}}) + "\n")
    tracemalloc.start()
    long = examples.survey(CHAIN, [path], str)
    found = {example.id: example.expected["n"] for example in long}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 32 * 1024 * 1024
    assert peak < 10_000_000
    assert (long.count, len(found)) == (3_000, 3_000)
    again = {example.id: example.expected["n"] for example in long}
    assert again == found
    (tmp_path / "rows.jsonl").unlink()
    assert len(ids(few)) == 1
    path.write_text('{"q": "other"}\n')
    assert [example.inputs["q"] for example in long] == ["other"]


def test_of_a_survey_of_many_rows_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "_KEPT", 0)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": str(n)}) + "\n" for n in range(3_000)))
    examples.survey(CHAIN, [path], str)  # what is imported and compiled once
    tracemalloc.start()
    found = examples.survey(CHAIN, [path], str)
    stays, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.count == 3_000
    assert stays < peak / 5


def test_an_id_of_a_row_that_shares_its_inputs_can_be_filtered_for(survey: Callable[..., Examples]) -> None:
    rows = [{"q": "a", "expected": "x"}, {"q": "b"}, {"q": "a", "expected": "y"}]
    first, second, third = ids(survey(rows))
    for name in (first, second, third):
        found = survey(rows, name)
        assert (found.count, ids(found)) == (1, [name])
    assert ids(survey(rows, first.partition("-")[0] + "*")) == [first, third]
