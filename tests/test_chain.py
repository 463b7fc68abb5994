"""The models of a chain file: its content id, and the JSON Schema that editors check it by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from promptchain import loader
from promptchain.chain import Chain, ForEach, PromptStep, Retry, file_schema
from promptchain.document import parse
from promptchain.types import TEXT
from tests.chain_files import BROKEN, FINE

STEP = {"prompt": "{{ m }}", "output": {"a": "string", "b": "number"}, "demos": [{"inputs": {}, "output": {"a": 1}}]}


def chain(**changes: Any) -> Chain:
    data = {"name": "c", "inputs": {"m": "string", "n": "string"}, "steps": {"a": STEP, "b": {"prompt": "x"}}}
    return Chain.model_validate({**data, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other", "description": "words for people"},
        {"steps": {"b": {"prompt": "x"}, "a": STEP}},  # the order of steps is display only
        {"steps": {"a": dict(reversed(STEP.items())), "b": {"prompt": {"text": "x"}, "description": "words"}}},
        {"steps": {"a": {**STEP, "retry": 3}, "b": {"prompt": "x", "when": None, "params": {}, "retry": {"parse": 1}}}},
        {"inputs": {"n": "string", "m": "string"}, "params": {}, "model": None, "outputs": None},
    ],
)
def test_the_content_id_is_that_of_what_a_chain_says(changes: dict[str, Any]) -> None:
    assert chain(**changes).content_id == chain().content_id


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"model": "m"},
    {"params": {"temperature": 0}},
    {"params": {"temperature": 0.5}},
    {"params": {"temperature": True}},
    {"inputs": {"m": "string"}},
    {"outputs": {"o": "{{ a }}"}},
    {"steps": {"a": STEP}},
    {"steps": {"a": STEP, "c": {"prompt": "x"}}},
    {"steps": {"a": STEP, "b": {"prompt": "x "}}},
    {"steps": {"a": STEP, "b": {"prompt": {"text": "x", "file": "x.md"}}}},
    {"steps": {"a": STEP, "b": {"prompt": "x", "retry": 2}}},
    {"steps": {"a": STEP, "b": {"prompt": "x", "when": False}}},
    {"steps": {"a": STEP, "b": {"prompt": "x", "output": ["a", "b"]}}},
    {"steps": {"a": STEP, "b": {"prompt": "x", "output": ["b", "a"]}}},
    {"steps": {"a": {**STEP, "output": {"b": "number", "a": "string"}}, "b": {"prompt": "x"}}},  # as the model sees it
    {"test": {"dataset": "a.jsonl"}},
]


def test_whatever_changes_a_run_changes_the_content_id() -> None:
    ids = [chain(**changes).content_id for changes in DIFFERENT]
    assert len(set(ids)) == len(DIFFERENT)
    assert all(len(found) == 64 and set(found) <= set("0123456789abcdef") for found in ids)
    chain(steps={"a": {"prompt": "\ud800"}}).content_id  # noqa: B018 - half a surrogate pair does no harm


def test_short_forms_stand_for_long_ones() -> None:
    step = PromptStep.model_validate(
        {"prompt": "x", "retry": 2, "for_each": "{{ m }}", "fallbacks": ["a/b"], "output": None}
    )
    assert step.retry == Retry(errors=2)
    assert step.for_each == ForEach.model_validate({"in": "{{ m }}", "as": "item"})
    assert step.fallbacks[0].model == "a/b"
    assert step.type == TEXT
    assert step.type is step.type
    assert [text.path for text in step.texts()] == [("for_each",), ("prompt",)]


def test_a_step_is_changed_by_making_a_new_chain() -> None:
    before = chain()
    after = before.with_step("b", PromptStep.model_validate({"prompt": "y"}))
    assert list(after.steps) == ["a", "b"]
    assert before.content_id == chain().content_id != after.content_id
    with pytest.raises(ValueError, match="frozen"):
        before.steps["b"].when = True


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    found = file_schema()
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


CHAINS = sorted(loader.chain_files(Path(__file__).parents[1] / "chains"))


@pytest.mark.parametrize(
    "source",
    [
        FINE,
        "steps:\n  a:\n    prompt: x\n",
        "inputs:\noutputs:\nsteps:\n  a: {prompt: {file: x.md}, when: null, for_each: x, retry: 0, freeze: true}\n",
        *(path.read_text("utf-8") for path in CHAINS),
    ],
    ids=["all", "least", "short", *(path.name for path in CHAINS)],
)  # fmt: skip
def test_the_schema_for_editors_takes_what_is_right(source: str, schema: Draft202012Validator) -> None:
    assert not [error.message for error in schema.iter_errors(parse(source, "f").value)]


SHAPES = """wrong types
unknown key
key of the file's name
steps misspelt
no steps
steps empty
inputs a list
kind misspelt
other kind misspelt
no kind
two kinds
key of another kind
step empty
python without a function
retry
for_each without in
fallbacks
test a text
file key misspelt
file and text
file without a name
too many steps
a list""".splitlines()


@pytest.mark.parametrize("name", SHAPES)
def test_the_schema_for_editors_refuses_what_is_wrong(name: str, schema: Draft202012Validator) -> None:
    source = next(source for case, source, _ in BROKEN if case == name)
    assert not schema.is_valid(yaml.safe_load(source))


def test_the_schema_explains_the_keys(schema: Draft202012Validator) -> None:
    found = schema.schema
    assert isinstance(found, dict)
    assert found["$schema"].endswith("2020-12/schema")
    assert "name" not in found["properties"]
    assert found["properties"]["model"]["description"] == "any litellm model string, or local/…"
