"""What a version may start. Versions come from whoever may push; what runs code must stand in the work tree too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from promptchain import uses
from promptchain.chain import Chain, PromptStep
from promptchain.errors import PromptChainError
from promptchain.mcp_spec import McpServer
from promptchain.project import Project, is_version


def check(project: Project, reference: str, chain: Chain) -> None:
    """Raises PromptChainError where a chain that was loaded as a version names an MCP server, with what it is given,
    that no chain file of the work tree names; and where a function or the passages that it uses are not there.
    Functions are the work tree's own in any case."""
    if not is_version(reference):
        return
    chains = (chain, *chain.used_chains())
    for one in chains:
        for fault in uses.check(one, project.root, project.folder):
            place = ".".join(map(str, fault.path))
            raise PromptChainError(
                f"{reference} cannot run here: {one.name}.yaml, {place}: {fault.message}", hint=fault.hint
            )
    wanted = {server.key: server for one in chains for server in _servers(one)}
    if not wanted:
        return
    for name in project.names():
        with suppress(PromptChainError):
            for server in _servers(project.load(name)):
                wanted.pop(server.key, None)
    for server in wanted.values():
        hint = "look at it with `chain show`; to allow it, name the same server in a chain file of the work tree"
        raise PromptChainError(
            f"{reference} starts an MCP server that the work tree does not name: {server}", hint=hint
        )


def _servers(chain: Chain) -> Iterator[McpServer]:
    for step in chain.steps.values():
        if isinstance(step, PromptStep):
            yield from (tool.mcp for tool in step.tools if tool.mcp is not None)
