"""What MCP servers send, as the rest of the house takes it: their tools, and the results of calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptchain.errors import McpError, ToolFailed
from promptchain.records import storable, whole_text

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock, Tool

MAX_TOOLS = 1000
"""Tools of one server; models take about a hundred."""

MAX_RESULT = 1_000_000
"""Characters of one result as text."""

MAX_ERROR = 4000
"""Characters that are kept of what a tool says that went wrong."""


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """A tool that a server offers. parameters: a JSON Schema of the type object. name: as the server has it, which may
    be one that a model's provider does not take."""

    name: str
    description: str
    parameters: Mapping[str, Any]


async def listed(client: Client, server: str) -> tuple[RemoteTool, ...]:
    """All pages of a server's list. Raises McpError for one that cannot be used."""
    found: dict[str, RemoteTool] = {}
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            if tool.name in found:
                raise McpError(f"the MCP server '{server}' lists the tool '{tool.name}' twice")
            found[tool.name] = _remote(tool, server)
        if len(found) > MAX_TOOLS:
            hint = "give a server that offers fewer; many take an option for that"
            raise McpError(f"the MCP server '{server}' lists more than {MAX_TOOLS} tools", hint=hint)
        if not page.next_cursor:
            return tuple(found.values())
        if page.next_cursor == cursor or not page.tools:
            raise McpError(f"the MCP server '{server}' lists its tools without an end")
        cursor = page.next_cursor


def _remote(tool: Tool, server: str) -> RemoteTool:
    which = f"the tool '{tool.name}' of the MCP server '{server}'"
    try:
        schema = storable(tool.input_schema)
    except ValueError as exc:
        raise McpError(f"the parameters of {which} are of no use: {exc}") from None
    if schema.get("type", "object") != "object":
        kind = json.dumps(schema["type"])
        raise McpError(f"the parameters of {which} are no object but {kind}", hint="leave it out with `only`")
    return RemoteTool(tool.name, whole_text(tool.description or tool.title or ""), {"type": "object", **schema})


def value_of(result: CallToolResult, name: str) -> Any:
    """The result of a call as a JSON value: what is structured in it, else its text; what is no text is only named.

    Raises ToolFailed where the tool says that it failed, or gives more than MAX_RESULT.
    """
    if result.is_error:
        said = _text(result).strip()
        raise ToolFailed(said[:MAX_ERROR] if said else f"the tool '{name}' failed and does not say why")
    value = _text(result) if result.structured_content is None else result.structured_content
    try:
        value = storable(value)
    except ValueError as exc:
        raise ToolFailed(f"the tool '{name}' gave what cannot be kept: {exc}") from None
    size = len(value) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False))
    if size > MAX_RESULT:
        message = f"the tool '{name}' gave {size / 1e6:.1f} million characters, and at most 1 million are taken"
        raise ToolFailed(message, hint="ask for less at once")
    return value


def _text(result: CallToolResult) -> str:
    return "\n".join(_described(block) for block in result.content)


def _described(block: ContentBlock) -> str:
    """A block's text, or what it is in brackets."""
    if block.type == "text":
        return block.text
    if block.type == "resource_link":
        return f"[link to {block.name}: {block.uri}]"
    if block.type == "resource":
        file = block.resource
        text = getattr(file, "text", None)
        return text if isinstance(text, str) else f"[file {file.uri}, {file.mime_type or 'no text'}]"
    return f"[{block.type}, {block.mime_type}, {len(block.data) * 3 // 4} bytes]"
