"""Where the tools of an MCP server come from, as a chain file says it."""

from __future__ import annotations

import json
import shlex
from string import Template
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from promptchain.model import Model


def _substitutable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("mcp_value", "must be without the character NUL")
    if not Template(text).is_valid():
        message = "must have a name behind each $, as in $NAME or ${NAME}; a dollar itself is $$"
        raise PydanticCustomError("mcp_value", message)
    return text


Value = Annotated[str, AfterValidator(_substitutable)]
"""A text in which `$NAME` and `${NAME}` stand for environment variables, `$$` for a dollar (as in string.Template)."""


def is_address(url: str) -> bool:
    """Whether it is an http(s) address with a host."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        return False
    return whole and url.isprintable() and " " not in url


class McpServer(Model):
    """A server of the Model Context Protocol: a command that speaks it over stdin and stdout, or the URL of one that
    speaks it over streamable HTTP. In short: the command as a list or as a text, or the URL.

    command: program and arguments, started in the project's folder; a text is split as a shell would. env: variables
    for the command; it gets no others but PATH, HOME and the like. headers: sent with each request to the url. timeout:
    seconds that the server may take to start and to list its tools.
    """

    command: tuple[str, ...] | None = None
    url: str | None = None
    env: dict[str, Value] = {}
    headers: dict[str, Value] = {}
    timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 30.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            address = value.strip().lower().startswith(("http://", "https://"))
            return {"url": value.strip()} if address else {"command": value}
        return {"command": value} if isinstance(value, list | tuple) else value

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(shlex.split(value))
        except ValueError as exc:  # a quotation that does not end
            message = "cannot be split into words ({why}); give a list"
            raise PydanticCustomError("mcp_command", message, {"why": str(exc)}) from None

    @field_validator("command")
    @classmethod
    def _runnable(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None and not (command and command[0].strip()):
            raise PydanticCustomError("mcp_command", "must name a program")
        if command is not None and any("\0" in word for word in command):
            raise PydanticCustomError("mcp_command", "must be without the character NUL")
        return command

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not is_address(url):
            raise PydanticCustomError("mcp_url", "must be an address such as https://example.com/mcp")
        return url

    @field_validator("env", "headers")
    @classmethod
    def _named(cls, values: dict[str, str]) -> dict[str, str]:
        for name in values:
            if not name or not name.isascii() or not name.isprintable() or set(name) & set("=: "):
                raise PydanticCustomError("mcp_name", "has a name that is none: {name}", {"name": repr(name)})
        return values

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise PydanticCustomError("mcp", "needs exactly one of 'command' and 'url'")
        if self.url is None and self.headers:
            raise PydanticCustomError("mcp", "takes 'headers' only with 'url'")
        if self.command is None and self.env:
            raise PydanticCustomError("mcp", "takes 'env' only with 'command'")
        return self

    @property
    def key(self) -> str:
        """The same for what is the same server, however it is written and however long it may take."""
        return json.dumps(self.model_dump(mode="json", exclude={"timeout"}), sort_keys=True)

    def __str__(self) -> str:
        """The server as an error names it: without what an address may hold in secret."""
        if self.command is not None:
            text = shlex.join(self.command)
            return text if len(text) <= 100 else text[:99] + "…"
        parts = urlsplit(self.url or "")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
