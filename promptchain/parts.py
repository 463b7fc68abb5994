"""Parts of a step beside its prompt: retrieval, tools, how one of several samples is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from promptchain.criteria import Assertion
from promptchain.mcp_spec import McpServer, is_address
from promptchain.model import Model, describe

FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""A function of the project: `module:function`."""

LOCAL_EMBEDDER = "local/wordllama"
"""The embedding model of those that name none; it runs in this process (`lm.embed`)."""

Mode = Literal["lexical", "dense", "hybrid"]


class Split(Model):
    """How texts become passages. size, overlap: in characters; a passage ends at a heading where `by` says so, and else
    at the end of a paragraph, a sentence or a word."""

    by: Literal["headings", "size"] = "headings"
    size: Annotated[int, Field(ge=50, le=100_000)] = 1200
    overlap: Annotated[int, Field(ge=0, le=50_000)] = 150

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.overlap * 2 > self.size:
            raise PydanticCustomError("overlap", "'overlap' can be half of 'size' at most")
        return self


class Rerank(Model):
    """A model that puts the best `of` passages in order again. A bare model string means `{model: …}`."""

    model: Annotated[str, Field(min_length=1)]
    of: Annotated[int, Field(ge=2, le=200, description="how many passages it is shown")] = 20

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return _from_word(value, "rerank", "model", "a model")


class Retrieve(Model):
    """Where passages come from, and which are wanted.

    from_: patterns of files, from the chain file's folder. python: a function of the project; url: an HTTP endpoint;
    both are given query and top_k. where: fields that a passage must have, with the value or one of several values; a
    template that gives null is no condition.
    """

    from_: Annotated[str | tuple[str, ...] | None, Field(alias="from")] = None
    python: Annotated[str, Field(pattern=FUNCTION, description="module:function")] | None = None
    url: str | None = None
    query: str
    top_k: Annotated[int, Field(ge=1, le=1000)] = 4
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    mode: Mode = "lexical"
    embedder: Annotated[str, Field(min_length=1)] | None = None
    rerank: Rerank | None = None
    where: dict[str, Any] = {}
    split: Split = Split()

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not is_address(url):
            raise PydanticCustomError("url", "must be an address such as https://example.com/search")
        if url is not None and not url.isascii():
            raise PydanticCustomError("url", "must be written in ASCII: other letters as %XX")
        return url

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.from_, self.python, self.url)) != 1:
            raise PydanticCustomError("source", "needs exactly one of 'from', 'python' and 'url'")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """`from` as a list; empty where passages come from elsewhere."""
        return (self.from_,) if isinstance(self.from_, str) else self.from_ or ()

    @property
    def named_embedder(self) -> str | None:
        """The model that makes its vectors; None where it searches by words alone."""
        return None if self.mode == "lexical" else self.embedder or LOCAL_EMBEDDER


class Tool(Model):
    """What a model may call: a function of the project, a chain, or the tools of an MCP server.

    name, description: in place of its own. only: which tools of an MCP server. confirm: each call waits for a person's
    consent. timeout: seconds for one call. A bare `module:function` means `{python: …}`.
    """

    python: Annotated[str, Field(pattern=FUNCTION, description="module:function")] | None = None
    chain: Annotated[str, Field(min_length=1, description="the name of a chain in chains/")] | None = None
    mcp: McpServer | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")] | None = None
    description: str | None = None
    only: tuple[str, ...] = ()
    confirm: bool = False
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return _from_word(value, "tool", "python", "a function of the project, such as support.tools:lookup")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(source is not None for source in (self.python, self.chain, self.mcp)) != 1:
            raise PydanticCustomError("tool", "needs exactly one of 'python', 'chain' and 'mcp'")
        for key in ("name", "description"):
            if self.mcp is not None and getattr(self, key) is not None:
                raise PydanticCustomError(
                    "tool", "'{key}' is for one tool, and an MCP server has its own", {"key": key}
                )
        if self.only and self.mcp is None:
            raise PydanticCustomError("tool", "'only' chooses from the tools of an MCP server")
        return self


class Select(Model):
    """Which of several samples is the step's value.

    `majority`: the value that most of them have. `first_passing`: the first one that passes the step's assertions; no
    more are drawn then. `best`: the one with the highest score, of the step's assertions or of the one given, as in
    `{best: {type: llm-rubric, value: …}}`. `all`: the list of all of them.
    """

    how: Literal["majority", "first_passing", "best", "all"]
    by: Assertion | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"how": value}
        if isinstance(value, Mapping) and set(value) == {"best"}:
            return {"how": "best", "by": value["best"]}
        if isinstance(value, Select) or (isinstance(value, Mapping) and "how" in value):
            return value
        message = "must be majority, first_passing, best, all, or a mapping {best: ASSERTION}, not {what}"
        raise PydanticCustomError("select", message, {"what": describe(value)})


def _from_word(value: Any, kind: str, key: str, meant: str) -> Any:
    """The mapping that a bare word stands for."""
    if isinstance(value, str):
        return {key: value}
    if isinstance(value, Mapping | Model):
        return value
    message = "must be {meant}, or a mapping with the key '{key}', not {what}"
    raise PydanticCustomError(kind, message, {"meant": meant, "key": key, "what": describe(value)})
