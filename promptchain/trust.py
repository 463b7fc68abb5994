"""What a version may start. Versions come from whoever may push; what runs code must stand in the work tree too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from promptchain import uses
from promptchain.chain import Chain, PromptStep, RetrieveStep
from promptchain.criteria import Assertion, flattened
from promptchain.errors import PromptChainError
from promptchain.project import Project, is_version


def check(project: Project, reference: str, chain: Chain) -> None:
    """Raises PromptChainError where a chain that was loaded as a version names an MCP server, with what it is given, or
    an address that is sent keys, queries or values, that no chain file of the work tree names; and where a function or
    the passages that it uses are not there. Functions are the work tree's own in any case."""
    if not is_version(reference):
        return
    chains = (chain, *chain.used_chains())
    for one in chains:
        for fault in uses.check(one, project.root, project.folder):
            place = ".".join(map(str, fault.path))
            raise PromptChainError(
                f"{reference} cannot run here: {one.name}.yaml, {place}: {fault.message}", hint=fault.hint
            )
    wanted = {key: said for one in chains for key, said in _risks(one)}
    if not wanted:
        return
    for name in project.names():
        with suppress(PromptChainError):
            for key, _ in _risks(project.load(name)):
                wanted.pop(key, None)
    for said in wanted.values():
        hint = "look at it with `chain show`; to allow it, name the same in a chain file of the work tree"
        raise PromptChainError(f"{reference} {said}", hint=hint)


def _risks(chain: Chain) -> Iterator[tuple[str, str]]:
    """What a chain starts and asks, each with what is said of it."""
    yield from _addresses(chain.params)
    for step in chain.steps.values():
        if isinstance(step, PromptStep):
            yield from _addresses(step.params)
            for tool in step.tools:
                if tool.mcp is not None:
                    yield tool.mcp.key, f"starts an MCP server that the work tree does not name: {tool.mcp}"
        elif isinstance(step, RetrieveStep) and step.retrieve.url is not None:
            yield from _address(step.retrieve.url)
    for assertion in flattened(_assertions(chain)):
        if assertion.name == "webhook" and isinstance(assertion.value, str):
            yield from _address(assertion.value)


def _assertions(chain: Chain) -> Iterator[Assertion]:
    """Those of its steps, which a run applies too, and of its test."""
    for step in chain.steps.values():
        yield from step.assert_
        if isinstance(step, PromptStep) and step.select is not None and step.select.by is not None:
            yield step.select.by
    yield from chain.test.assert_ if chain.test else ()


def _addresses(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The endpoints in place of a provider's own, which are sent its key."""
    for name in ("api_base", "base_url"):
        if isinstance(url := params.get(name), str):
            yield from _address(url)


def _address(url: str) -> Iterator[tuple[str, str]]:
    """An address, unless it is one of this machine."""
    host = "?"
    with suppress(ValueError):
        host = urlsplit(url).hostname or "?"
    if host not in ("localhost", "127.0.0.1", "::1"):
        yield url, f"asks a server that the work tree does not name: {host}"
