"""Rows as promptfoo writes them: `assert` lists, `__expected` columns and their short form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptchain import examples, promptfoo
from promptchain.errors import PromptChainError
from tests.evaluate_kit import chain_of

CHAIN = chain_of({"a": "{{ q }}"})


def row(tmp_path: Path, text: str, name: str = "rows.csv") -> examples.Example:
    path = tmp_path / name
    path.write_text(text)
    [found] = examples.survey(CHAIN, [path], lambda path: path.name)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris", {"type": "equals", "value": "Paris"}),
        ("Note: it is late", {"type": "equals", "value": "Note: it is late"}),
        ("equals: Paris", {"type": "equals", "value": "Paris"}),
        ("contains: a: b", {"type": "contains", "value": "a: b"}),
        ("not-contains: x", {"type": "not-contains", "value": "x"}),
        ("is-json", {"type": "is-json"}),
        ("not-is-json", {"type": "not-is-json"}),
        ("contains-any: card, bank", {"type": "contains-any", "value": ["card", "bank"]}),
        ('icontains-all: "a, b", c', {"type": "icontains-all", "value": ["a, b", "c"]}),
        ("not-contains-all:x", {"type": "not-contains-all", "value": ["x"]}),
        ("similar(0.9): hello", {"type": "similar", "value": "hello", "threshold": 0.9}),
        ("similar: hello", {"type": "similar", "value": "hello", "threshold": 0.8}),
        ("not-similar(0.5): x", {"type": "not-similar", "value": "x", "threshold": 0.5}),
        ("levenshtein(5): hello", {"type": "levenshtein", "value": "hello", "threshold": 5.0}),
        ("latency(1000)", {"type": "latency", "threshold": 1000.0}),
        ("cost(0.01)", {"type": "cost", "threshold": 0.01}),
        ("rouge-n: x", {"type": "rouge-n", "value": "x", "threshold": 0.75}),
        ("grade: polite", {"type": "llm-rubric", "value": "polite"}),
        ("llm-rubric: is polite", {"type": "llm-rubric", "value": "is polite"}),
        ("python: len(output) > 3", {"type": "python", "value": "len(output) > 3"}),
        ("recall: of a product", {"type": "equals", "value": "recall: of a product"}),
        ("regex: ^a\n b$", {"type": "regex", "value": "^a\n b$"}),
    ],
)
def test_short_forms(text: str, expected: dict[str, Any]) -> None:
    assert promptfoo.from_short(text) == expected


@pytest.mark.parametrize("text", ["javascript: 1", "fn: output", "eval: output.length", "not-javascript: x"])
def test_what_only_promptfoo_runs_is_an_error(text: str) -> None:
    with pytest.raises(PromptChainError, match="JavaScript assertions are not run here"):
        promptfoo.from_short(text)


def test_columns_of_csv(tmp_path: Path) -> None:
    found = row(
        tmp_path,
        "q,__expected,__expected1,__expected2,__metric,__threshold,__description,__other\n"
        'hi,contains: card,,"contains-any: a, b",quality,0.5,greeting,x\n',
    )
    assert [(part.type, part.value, part.metric) for part in found.assertions] == [
        ("contains", "card", "quality"),
        ("contains-any", ["a", "b"], "quality"),
    ]
    assert (found.threshold, found.description, dict(found.beside)) == (0.5, "greeting", {})
    assert found.inputs == {"q": "hi"}


def test_without_a_metric_or_a_threshold(tmp_path: Path) -> None:
    found = row(tmp_path, "q,__expected,__metric,__threshold\nhi,is-json,,\n")
    assert (found.threshold, [part.metric for part in found.assertions]) == (None, [None])


def test_vars_and_assert(tmp_path: Path) -> None:
    found = row(
        tmp_path,
        """
- description: a greeting
  vars: {q: hi}
  threshold: 0.7
  assert:
    - {type: contains, value: card, weight: 2, metric: m}
    - "icontains: no"
    - type: assert-set
      threshold: 0.5
      assert: [{type: is-json}, {type: not-contains, value: x}]
""",
        "rows.yaml",
    )
    assert (found.inputs, found.description, found.threshold) == ({"q": "hi"}, "a greeting", 0.7)
    assert [(part.type, part.value, part.weight, part.metric) for part in found.assertions[:2]] == [
        ("contains", "card", 2.0, "m"),
        ("icontains", "no", 1.0, None),
    ]
    assert [part.type for part in found.assertions[2].assert_] == ["is-json", "not-contains"]
