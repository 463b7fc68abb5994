"""The chain file as frozen models: `Chain` and the four kinds of `Step`. Shapes only; what they mean is checked in
`checks.py`, and how YAML becomes them in `loader.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from promptchain.criteria import Assertion, Test
from promptchain.model import Model, describe
from promptchain.parts import FUNCTION, Retrieve, Select, Tool
from promptchain.tuning import Tuning
from promptchain.types import TEXT, Type, parse_fields, parse_type

KINDS = ("prompt", "retrieve", "python", "chain")

MAX_STEPS = 2000


class Text(Model):
    """A text that stands in the chain file, or in a file of its own that it names: `{file: support/reply.md}`."""

    text: str = ""
    file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if isinstance(value, Text) or (isinstance(value, Mapping) and value):
            return value
        raise PydanticCustomError("text", "must be a text or {file: PATH}, not {what}", {"what": describe(value)})


class Format(StrEnum):
    """How a typed output is asked for and read (DESIGN section 4)."""

    TEXT = "text"
    JSON = "json"
    SCHEMA = "schema"


class DemoCall(Model):
    """A call of a tool that a few-shot example shows, and what the tool gave."""

    tool: Annotated[str, Field(min_length=1, description="the tool's name, as the model sees it")]
    arguments: dict[str, Any] = {}
    result: Any


class Demo(Model):
    """A few-shot example: values for the names that the step's templates use, and the output they should give; with
    the calls of tools that lead to it, one a turn."""

    inputs: dict[str, Any]
    calls: Annotated[tuple[DemoCall, ...], Field(exclude_if=lambda calls: not calls)] = ()
    output: Any
    reasoning: str | None = None


class Retry(Model):
    """How often a step is tried again: `errors` after rate limits, server and connection errors, `parse` after a reply
    that does not fit the output type, `assert` after a failed assertion. A bare number means `errors`."""

    errors: Annotated[int, Field(ge=0, le=20)] = 3
    parse: Annotated[int, Field(ge=0, le=20)] = 1
    assert_: Annotated[int, Field(ge=0, le=20, alias="assert")] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"errors": value}
        if not isinstance(value, Mapping | Retry):
            message = "must be a number of tries, or a mapping such as {errors: 3, parse: 1}, not {what}"
            raise PydanticCustomError("retry", message, {"what": describe(value)})
        return value


class ForEach(Model):
    """Run the step once for each item of a list: `for_each: "{{ questions }}"`, or with a name for the item."""

    in_: Annotated[str, Field(alias="in", description="an expression that gives a list")]
    as_: Annotated[str, Field(alias="as", description="the item's name in the templates")] = "item"
    concurrency: Annotated[int, Field(ge=1)] | None = None
    on_error: Literal["fail", "skip"] = "fail"

    @model_validator(mode="before")
    @classmethod
    def _from_expression(cls, value: Any) -> Any:
        if isinstance(value, Mapping | ForEach):
            return value
        if not isinstance(value, str):
            message = "must be an expression that gives a list, or a mapping with the key 'in', not {what}"
            raise PydanticCustomError("for_each", message, {"what": describe(value)})
        return {"in": value}


class Fallback(Model):
    """A model to try when the ones before it failed; a bare model string means `{model: …}`."""

    model: Annotated[str, Field(min_length=1)]
    on: tuple[Literal["error", "assertion", "refusal"], ...] = ("error",)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping | Fallback):
            return value
        if not isinstance(value, str):
            message = "must be a model, or a mapping with the key 'model', not {what}"
            raise PydanticCustomError("fallback", message, {"what": describe(value)})
        return {"model": value}


class _Step(Model):
    """What every kind of step has."""

    kind: ClassVar[str]

    description: str = ""
    output: Annotated[Any, Field(description="the type of the step's value: Picoschema, JSON Schema, or an enum")] = (
        None
    )
    when: Annotated[str | bool | None, Field(description="an expression; false gives the step the value null")] = None
    for_each: ForEach | None = None
    needs: tuple[str, ...] = ()
    retry: Retry = Retry()
    timeout: Annotated[float, Field(gt=0, le=86_400, description="seconds for one call")] | None = None
    assert_: Annotated[tuple[Assertion, ...], Field(alias="assert")] = ()

    @cached_property
    def type(self) -> Type:
        """The type of one value of the step (of each item, with `for_each`). Raises TypeSyntaxError."""
        return TEXT if self.output is None else parse_type(self.output)

    def texts(self) -> Iterator[TemplateText]:
        """Every template of the step."""
        if isinstance(self.when, str):
            yield TemplateText(("when",), self.when, expression=True)
        if self.for_each:
            yield TemplateText(("for_each",), self.for_each.in_, expression=True)


@dataclass(frozen=True, slots=True)
class TemplateText:
    """The source of a template: its place in the step, and the file it stands in when that is not the chain file."""

    path: tuple[str | int, ...]
    text: str
    file: str | None = None
    expression: bool = False


class PromptStep(_Step):
    """A call of a model."""

    kind: ClassVar[str] = "prompt"

    prompt: Annotated[Text, Field(description="the user message: a Jinja2 template")]
    instructions: Annotated[Text, Field(description="the system message: a Jinja2 template")] = Text(text="")
    demos: tuple[Demo, ...] = ()
    model: Annotated[str, Field(min_length=1)] | None = None
    params: dict[str, Any] = {}
    fallbacks: tuple[Fallback, ...] = ()
    tools: Annotated[tuple[Tool, ...], Field(description="what the model may call before it answers")] = ()
    max_turns: Annotated[int, Field(ge=2, le=100, description="calls of the model, with the one that answers")] = 8
    reasoning: Annotated[bool, Field(description="let the model think before it answers")] = False
    samples: Annotated[int, Field(ge=1, le=100, description="draws, of which `select` takes one")] = 1
    select: Select | None = None
    format: Format | None = None
    freeze: bool | tuple[Literal["instructions", "demos", "format"], ...] = False

    def texts(self) -> Iterator[TemplateText]:
        yield from super().texts()
        if self.instructions.text:
            yield TemplateText(("instructions",), self.instructions.text, self.instructions.file)
        yield TemplateText(("prompt",), self.prompt.text, self.prompt.file)


class RetrieveStep(_Step):
    """A search for passages."""

    kind: ClassVar[str] = "retrieve"

    retrieve: Retrieve

    def texts(self) -> Iterator[TemplateText]:
        yield from super().texts()
        yield TemplateText(("retrieve", "query"), self.retrieve.query)
        yield from _value_texts(self.retrieve.where, ("retrieve", "where"))


class PythonStep(_Step):
    """A call of a Python function of the project. inputs: what it is called with, by parameter; without them each
    parameter takes the input or the step of its name."""

    kind: ClassVar[str] = "python"

    python: Annotated[str, Field(pattern=FUNCTION, description="module:function")]
    inputs: dict[str, Any] = {}

    def texts(self) -> Iterator[TemplateText]:
        yield from super().texts()
        yield from _value_texts(self.inputs, ("inputs",))


class ChainStep(_Step):
    """Another chain of the project as a step. Its value is that chain's outputs."""

    kind: ClassVar[str] = "chain"

    chain: Annotated[str, Field(min_length=1, description="the name of a chain in chains/")]
    inputs: dict[str, Any] = {}

    def texts(self) -> Iterator[TemplateText]:
        yield from super().texts()
        yield from _value_texts(self.inputs, ("inputs",))


def _value_texts(value: Any, path: tuple[str | int, ...]) -> Iterator[TemplateText]:
    """The templates in a value, however deep."""
    if isinstance(value, str):
        yield TemplateText(path, value)
    elif isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _value_texts(item, (*path, key))


def _kind_of(value: Any) -> str:
    """The kind of a step as written; a step with no kind is read as a prompt, so that the message is about that."""
    if isinstance(value, _Step):
        return value.kind
    if isinstance(value, Mapping):
        return next((kind for kind in KINDS if kind in value), "prompt")
    return "prompt"


Step = Annotated[
    Annotated[PromptStep, Tag("prompt")]
    | Annotated[RetrieveStep, Tag("retrieve")]
    | Annotated[PythonStep, Tag("python")]
    | Annotated[ChainStep, Tag("chain")],
    Discriminator(_kind_of),
]


class Chain(Model):
    """A chain file. `name` is the file's stem and no key of the file."""

    name: str
    description: str = ""
    model: Annotated[str, Field(min_length=1, description="any litellm model string, or local/…")] | None = None
    params: Annotated[dict[str, Any], Field(description="parameters of every model call")] = {}
    inputs: Annotated[dict[str, Any], Field(description="name: type, in Picoschema")] = {}
    steps: Annotated[dict[str, Step], Field(min_length=1, max_length=MAX_STEPS)]
    outputs: Annotated[dict[str, Any], Field(description="name: template; without it, the last steps")] = {}
    test: Test | None = None
    compile: Annotated[Tuning, Field(description="how `chain compile` tunes the chain")] = Tuning()
    _chains: dict[str, Chain] = PrivateAttr(default_factory=dict)

    @property
    def chains(self) -> Mapping[str, Chain]:
        """The chains that its steps and tools name, loaded."""
        return self._chains

    @field_validator("inputs", "outputs", mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @cached_property
    def input_type(self) -> Type:
        """The inputs as one object type. Raises TypeSyntaxError."""
        return parse_fields(self.inputs)

    @cached_property
    def content_id(self) -> str:
        """SHA-256 (hex) of the chain's canonical source: what it says, not how the file is laid out."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name", "description"})
        data["steps"] = {name: canonical_step(step) for name, step in data["steps"].items()}
        if self.chains:
            data["chains"] = {name: chain.content_id for name, chain in self.chains.items()}
        return digest(data)

    @cached_property
    def depth(self) -> int:
        """How deep chains run each other from here: 1 for one that runs no other."""
        return 1 + max((chain.depth for chain in self.chains.values()), default=0)

    def used_chains(self) -> Iterator[Chain]:
        """Every chain that this one runs, directly or not, each once."""
        found: dict[str, Chain] = {}
        waiting = list(self.chains.values())
        while waiting:
            chain = waiting.pop()
            if chain.name not in found:
                found[chain.name] = chain
                waiting += chain.chains.values()
        return iter(found.values())

    def with_chains(self, chains: Mapping[str, Chain]) -> Chain:
        """The chain with the chains that it names."""
        if not chains:
            return self
        changed = self.model_copy(update={"steps": self.steps})  # which forgets what was worked out without them
        changed._chains = dict(chains)
        return changed

    def with_step(self, name: str, step: Step) -> Chain:
        """The chain with another step under `name`."""
        return self.model_copy(update={"steps": {**self.steps, name: step}})


_ORDERED = ("output", "demos", "tools")
"""Parts of a step whose fields the model sees in the order in which they stand."""


def canonical_step(data: Mapping[str, Any]) -> dict[str, Any]:
    """A step's data, as a model dumps it, for `digest`: without its description, and with order where order counts."""
    return {key: json.dumps(value) if key in _ORDERED else value for key, value in data.items() if key != "description"}


def digest(data: Any) -> str:
    """SHA-256 (hex) of JSON values, in whatever order mappings have their keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a chain file, for editors."""
    schema = Chain.model_json_schema(by_alias=True)
    schema["properties"].pop("name")
    schema["required"] = [key for key in schema["required"] if key != "name"]
    definitions = schema["$defs"]
    text = {"type": "string"}
    definitions["Text"] = {"anyOf": [text, {**definitions["Text"], "required": ["file"]}]}
    definitions["Text"]["anyOf"][1]["properties"].pop("text")
    definitions["Retry"] = {"anyOf": [{"type": "integer", "minimum": 0}, definitions["Retry"]]}
    definitions["ForEach"] = {"anyOf": [text, definitions["ForEach"]]}
    for name in ("Fallback", "Rerank", "Tool"):
        definitions[name] = {"anyOf": [text, definitions[name]]}
    words = definitions["Select"]["properties"]["how"]
    best = {"type": "object", "properties": {"best": {"$ref": "#/$defs/Assertion"}}, "required": ["best"]}
    definitions["Select"] = {"anyOf": [words, {**best, "additionalProperties": False}]}
    least = definitions["Gate"]["properties"]
    least["min"] = {"anyOf": [least["min"]["additionalProperties"], least["min"]]}
    for key in ("inputs", "outputs"):
        schema["properties"][key]["type"] = ["object", "null"]
    for model in (schema, *definitions.values()):
        for part in model.get("properties", {}).values():
            notes = [option["description"] for option in part.get("anyOf", ()) if "description" in option]
            if notes and "description" not in part:  # editors show that of the key
                part["description"] = notes[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "promptchain chain file"}
