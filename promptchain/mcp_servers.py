"""MCP servers as the source of tools, through the package `mcp`: started when first asked, stopped all together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptchain.errors import McpError
from promptchain.mcp_connection import Connection
from promptchain.mcp_results import RemoteTool
from promptchain.mcp_spec import McpServer

__all__ = ["RemoteTool", "Servers"]

RESTART_AFTER = 60.0
"""Seconds before a server is started again that failed to start, or that ended once more after it was restarted."""


class Servers:
    """The MCP servers of one command: each is started when it is first asked, once however many steps and runs use it.
    Belongs to one event loop; `aclose` before that ends. `root`: the folder that commands are started in.

    A server that ended is started again by the next call, at most once in RESTART_AFTER seconds.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._connections: dict[str, Connection] = {}
        self._closed = False

    async def tools(self, server: McpServer) -> tuple[RemoteTool, ...]:
        """What the server offered when it was started. Raises McpError."""
        return (await self._connected(server)).tools

    async def call(
        self, server: McpServer, name: str, arguments: Mapping[str, Any], *, timeout: float | None = None
    ) -> Any:
        """The result as a JSON value: the structured content if there is any, else the text. timeout: in seconds.

        Raises ToolFailed for what the tool itself says, what it gives that is of no use, and when the time is over;
        McpError for a server that is not there or ends meanwhile. A call that is cancelled is so at the server too.
        """
        connection = await self._connected(server)
        return await connection.call(name, arguments, timeout)

    async def aclose(self) -> None:
        """Stop all servers, and kill the processes that do not end by themselves. May be called twice."""
        self._closed = True
        connections = list(self._connections.values())
        await asyncio.gather(*(connection.stop() for connection in connections))

    async def _connected(self, server: McpServer) -> Connection:
        if self._closed:
            raise McpError(f"the MCP server '{server}' was stopped")
        connection = self._connections.get(server.key)
        if connection is None:
            connection = self._connections[server.key] = Connection(server, self._root)
        elif connection.over and not _rests(connection):
            connection = self._connections[server.key] = Connection(server, self._root, again=True)
        await connection.ready()
        return connection


def _rests(connection: Connection) -> bool:
    """Whether it is too early to start a server again after that connection with it."""
    waits = connection.again or not connection.started
    return waits and time.monotonic() < connection.began + RESTART_AFTER
