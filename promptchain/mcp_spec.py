"""How a chain file names an MCP server."""

from __future__ import annotations

from promptchain.model import Model


class McpServer(Model):
    """A server of tools."""

    command: tuple[str, ...] | None = None
    url: str | None = None
