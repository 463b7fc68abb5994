"""The canonical layout of a chain file: what it looks like, and that it says what it said before."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from promptchain import document
from promptchain.chain import Chain, ChainStep, Demo, Fallback, ForEach, PromptStep, PythonStep, RetrieveStep, Retry
from promptchain.criteria import OPTIONS, Assertion, Gate, Test
from promptchain.errors import InvalidFileError, PromptChainError
from promptchain.formatting import order, tree, writer
from promptchain.formatting.layout import layout
from promptchain.mcp_spec import McpServer
from promptchain.parts import Rerank, Retrieve, Select, Split, Tool
from promptchain.tuning import Tuning
from tests.chain_files import BROKEN, FINE
from tests.formatting import yaml_kit

ROOT = Path(__file__).parents[2]

CASES: list[tuple[str, str, str | None]] = [
    (
        "keys have their order, and comments go along",
        """\
        # of the file

        # of the steps
        steps:
            a:
                # of the output
                output: [yes, no] # beside it
                # of the prompt
                prompt: hi

            b:
                assert: [{value: x, type: equals}]
                retrieve: {query: q, from: '*.md'}
        description: short
        """,
        """\
        # of the file

        description: short

        # of the steps
        steps:
          a:
            # of the prompt
            prompt: hi
            # of the output
            output: [yes, no]  # beside it

          b:
            retrieve: {from: "*.md", query: q}
            assert: [{type: equals, value: x}]
        """,
    ),
    (
        "inputs, steps, outputs, types, demos' values and unknown keys keep theirs",
        """\
        zebra: 1
        outputs: {z: "{{ z }}", a: "{{ a }}"}
        steps:
          z: {prompt: x, output: {z: string, a: string}}
          a: {prompt: x, demos: [{output: {b: 1, a: 2}, inputs: {z: 1, a: 2}}], what: 1}
        inputs: {z: string, a: string}
        """,
        """\
        inputs: {z: string, a: string}
        steps:
          z: {prompt: x, output: {z: string, a: string}}
          a: {prompt: x, demos: [{inputs: {z: 1, a: 2}, output: {b: 1, a: 2}}], what: 1}
        outputs: {z: "{{ z }}", a: "{{ a }}"}
        zebra: 1
        """,
    ),
    (
        "quotes stand where they are needed, double ones but where they would need escapes",
        """\
        params:
          - 'plain words'
          - "As an AI"
          - 'yes'
          - "12"
          - '{{ x }}'
          - 'a: b'
          - "it's"
          - "\\"hi\\" {{ x }}"
          - '\\d+'
          - "a\\tb"
          - ''
          - 'a, b'
          - [ 'a, b' , "c" ]
        """,
        """\
        params:
          - plain words
          - As an AI
          - "yes"
          - "12"
          - "{{ x }}"
          - "a: b"
          - it's
          - '"hi" {{ x }}'
          - '\\d+'
          - "a\\tb"
          - ""
          - a, b
          - ["a, b", c]
        """,
    ),
    (
        "what is plain stays as it is written",
        "params: {a: yes, b: on, c: 1e3, d: 0o7, e: 2026-01-01, f: 1.50, g: ~, h: , i: 0x1F, j: no}\n",
        "params: {a: yes, b: on, c: 1e3, d: 0o7, e: 2026-01-01, f: 1.50, g: ~, h: null, i: 0x1F, j: no}\n",
    ),
    (
        "blocks keep their style, their lines and what they end with",
        """\
        steps:
           a:
              prompt: |
                 one

                   two
              instructions: >-  # folded
                  some words
                  and more


           b: {prompt: x}
        description: |+
          kept

        """,
        """\
        description: |+
          kept

        steps:
          a:
            instructions: >-  # folded
              some words
              and more
            prompt: |
              one

                two

          b: {prompt: x}
        """,
    ),
    (
        "a block whose text begins with spaces says so",
        "steps:\n    a:\n        prompt: |4\n                two\n            x\n",
        "steps:\n  a:\n    prompt: |2\n          two\n      x\n",
    ),
    (
        "brackets in one line where they fit, else an entry to a line",
        f"""\
        steps:
          a:
            prompt: x
            output: [
              one,
              two ]
            params: {{stop: [{", ".join(["a long word"] * 10)}], n: 1}}
        outputs: {{ # why
          a: x, # of a
          b: y }}
        """,
        f"""\
        steps:
          a:
            prompt: x
            output: [one, two]
            params:
              stop:
                - {f"{chr(10)}                - ".join(["a long word"] * 10)}
              n: 1
        outputs:  # why
          a: x  # of a
          b: y
        """,
    ),
    (
        "lists are indented, and a comment behind a dash stands above",
        """\
        test:
          assert:
          # first
          - # odd
            value: x
            # of the type
            type: equals

          -   type: cost
              threshold: 1
          # behind the last
        """,
        """\
        test:
          assert:
            # first
            # odd
            # of the type
            - type: equals
              value: x

            - type: cost
              threshold: 1
            # behind the last
        """,
    ),
    (
        "a comment deeper than what follows belongs to what is before it",
        """\
        steps:
           a:
              prompt: x
              # of a
           # c:
           #   prompt: gone
        # of the outputs
        outputs: {a: x}
        # the end
        """,
        """\
        steps:
          a:
            prompt: x
            # of a
          # c:
          #   prompt: gone
        # of the outputs
        outputs: {a: x}
        # the end
        """,
    ),
    (
        "comments that stand below each other stay so",
        """\
        model: 'm'          # one
        params:             # two
            temperature: 0  # three
        steps: {a: {prompt: x}}    # four
        """,
        """\
        model: m            # one
        params:             # two
          temperature: 0  # three
        steps: {a: {prompt: x}}    # four
        """,
    ),
    (
        "empty lines: one is kept of several, none at the beginning of something",
        "\n\nmodel: m\n\n\n\nsteps:\n\n  a:\n\n    prompt: x\n\n\n\n  b: {prompt: y}\n\n\n",
        "model: m\n\nsteps:\n  a:\n    prompt: x\n\n  b: {prompt: y}\n",
    ),
    (
        "anchors and aliases",
        "steps:\n  a: &a\n     params: &p {t: 1}\n     prompt: x\n  b:\n     params: *p\n     prompt: x\n  c: *a\n",
        "steps:\n  a: &a\n    prompt: x\n    params: &p {t: 1}\n  b:\n    prompt: x\n    params: *p\n  c: *a\n",
    ),
    (
        "what is merged comes first",
        "steps:\n  a: {prompt: x, <<: {timeout: 1}}\n",
        "steps:\n  a: {<<: {timeout: 1}, prompt: x}\n",
    ),
    ("explicit keys and document marks", "%YAML 1.2\n--- # c\n? steps\n: {a: {prompt: x}}\n...\n", None),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_canonical(before: str, after: str | None) -> None:
    wanted = "# c\nsteps: {a: {prompt: x}}\n" if after is None else dedent(after)
    assert layout(dedent(before), "f") == wanted
    assert layout(wanted, "f") == wanted


def test_order_stays_where_an_alias_would_come_before_its_anchor() -> None:
    text = "steps:\n  a: {prompt: &t x}\ninputs: {b: *t}\n"
    assert layout(text, "f") == text


@pytest.mark.parametrize("file", sorted((ROOT / "chains").glob("*.yaml")), ids=lambda file: file.name)
def test_the_example_chains_are_canonical(file: Path) -> None:
    if not file.name.endswith(".lock.yaml"):
        text = file.read_text(encoding="utf-8")
        assert layout(text, file.name) == text


def test_line_breaks_stay_what_they_are() -> None:
    assert layout("steps:\r\n    a:\r\n        prompt: |\r\n            x\r\n            y", "f") == (
        "steps:\r\n  a:\r\n    prompt: |-\r\n      x\r\n      y\r\n"
    )
    assert layout("steps:\r  a: {prompt: 'x'}\r", "f") == "steps:\n  a: {prompt: x}\n"


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "just text", "[1, 2]\n", "- a\n-   b\n", "{}"])
def test_what_is_no_mapping_is_left_as_it_is(text: str) -> None:
    assert layout(text, "f") == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: the key 'a' is here twice, first in line 1"),
        ("a: [\n", "f:2:1: "),
        ("a: *b\n", "f:1:4: alias '*b' has no anchor"),
        ("a: {{ b }}\n", "YAML reads '{{' outside of quotes"),
        ("a: !!python/none x\n", "the tag '!!python/none' is not allowed"),
        ("a: 1\n---\nb: 2\n", "a second document begins here"),
        (f"a: {'[' * 70}{']' * 70}\n", "nested more than 64 deep"),
    ],
)
def test_what_is_no_yaml_is_told_as_ever(text: str, said: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        layout(text, "f")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("steps: {a: {prompt: y}}  # c\n", "the canonical layout would say something else"),
        ("steps: {a: {prompt: x}}\n", "a comment would be lost"),
    ],
)
def test_a_layout_that_changed_something_is_refused(written: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write", lambda tree: written)
    with pytest.raises(PromptChainError, match=said) as caught:
        layout("steps: {a: {prompt: x}}  # c\n", "f")
    assert caught.value.hint is not None


def says_the_same(before: str, after: str) -> bool:
    """By what `document` reads, to the order of all keys that are not the models'."""
    old, new = (document.parse(text, "f").value for text in (before, after))
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def comments(text: str) -> Counter[str]:
    found = tree.read(text)
    return Counter(comment.text for comment in found.comments) if found else Counter()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.integers(0, 2**64))
def test_whatever_is_yaml_says_the_same_afterwards(seed: int) -> None:
    before = yaml_kit.text(Random(seed))
    try:
        value = document.parse(before, "f").value
    except InvalidFileError:
        value = None
    assume(isinstance(value, dict))
    after = layout(before, "f")
    assert says_the_same(before, after), before
    assert comments(before) == comments(after), before
    assert layout(after, "f") == after, before


_WORDS = st.sampled_from(
    [*yaml_kit.PLAIN, "yes", "on", "1e3", "0o7", "0x1F", "2026-01-01", "12:30", ".inf", "y", "1_000"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=9), _VALUES, min_size=1, max_size=4))
def test_every_value_comes_back(value: dict[str, Any]) -> None:
    before = json.dumps({"params": value}, ensure_ascii=False)
    try:
        said = document.parse(before, "f").value
    except InvalidFileError:  # characters that no YAML may have
        assume(False)
    after = layout(before, "f")
    assert document.parse(after, "f").value == said
    assert layout(after, "f") == after


@pytest.mark.parametrize("text", [FINE, *(text for _, text, _ in BROKEN if isinstance(text, str))])
def test_chains_with_faults_are_laid_out_too(text: str) -> None:
    try:
        document.parse(text, "f")
    except InvalidFileError:
        pytest.skip("no YAML")
    after = layout(text, "f")
    assert says_the_same(text, after)
    assert layout(after, "f") == after


MODELS: list[tuple[order.Order, set[str]]] = [
    (found, {field.alias or name for model in models for name, field in model.model_fields.items()} - {"name"})
    for found, models in (
        (order.CHAIN, [Chain]),
        (order.STEP, [PromptStep, RetrieveStep, PythonStep, ChainStep]),
        (order.ASSERTION, [Assertion]),
        (order.TEST, [Test]),
        (order.TUNING, [Tuning]),
        (order.RETRIEVE, [Retrieve]),
        (order.SPLIT, [Split]),
        (order.MCP, [McpServer]),
        (order.STEP.inner["for_each"], [ForEach]),
        (order.STEP.inner["retry"], [Retry]),
        (order.STEP.inner["fallbacks"], [Fallback]),
        (order.STEP.inner["demos"], [Demo]),
        (order.TEST.inner["gate"], [Gate]),
        (order.RETRIEVE.inner["rerank"], [Rerank]),
    )
]


@pytest.mark.parametrize(("found", "keys"), MODELS)
def test_every_key_of_the_models_has_its_place(found: order.Order, keys: set[str]) -> None:
    own = [key for key in found.keys if found is not order.ASSERTION or key not in OPTIONS]
    assert set(own) == keys
    assert len(own) == len(keys)


def test_every_key_of_tools_and_selections_has_its_place() -> None:
    fields: list[tuple[order.Order, type[BaseModel]]] = [(order.TOOL, Tool), (order.SELECT, Select)]
    for found, model in fields:
        assert {*model.model_fields} <= {*found.keys}
