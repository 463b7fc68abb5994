"""What the steps of a chain need beside models: code that can be imported, packages, programs, variables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template

from promptchain import functions
from promptchain.chain import Chain, PromptStep, PythonStep, RetrieveStep
from promptchain.errors import FunctionError, PromptChainError
from promptchain.lm import embed
from promptchain.mcp_spec import McpServer
from promptchain.parts import Retrieve
from promptchain.retrieval.files import matching_files

MCP, RAG = "pip install 'promptchain[mcp]'", "pip install 'promptchain[rag]'"


@dataclass(frozen=True, slots=True)
class Lack:
    """What is not there. remedy: how to mend that."""

    message: str
    remedy: str | None = None


def lacking(chain: Chain, root: Path, folder: Path) -> Iterator[Lack]:
    """What is wanting for the chain's own steps. Imports their code, and starts no server. root: the project's folder.
    folder: that of the chain file, from which patterns count."""
    for name, step in chain.steps.items():
        for lack in _lacking(step, root, folder):
            yield Lack(f"step '{name}': {lack.message}", lack.remedy)


def _lacking(step: object, root: Path, folder: Path) -> Iterator[Lack]:
    if isinstance(step, PythonStep):
        yield from _code(step.python, root)
    elif isinstance(step, RetrieveStep):
        if step.retrieve.python is not None:
            yield from _code(step.retrieve.python, root)
        yield from _search(step.retrieve, root, folder)
    elif isinstance(step, PromptStep):
        for tool in step.tools:
            if tool.python is not None:
                yield from _code(tool.python, root)
            if tool.mcp is not None:
                yield from _server(tool.mcp, root)


def _code(name: str, root: Path) -> Iterator[Lack]:
    try:
        functions.find(name, root)
    except FunctionError as exc:
        yield Lack(f"{exc.where}: {exc.message}" if exc.where else exc.message, exc.hint)


def _search(spec: Retrieve, root: Path, folder: Path) -> Iterator[Lack]:
    if not spec.patterns:
        return
    if spec.mode != "lexical" and not find_spec("usearch"):
        yield Lack("usearch is not installed, which finds passages by their meaning", RAG)
    if spec.mode != "lexical" and spec.embedder in (None, embed.LOCAL) and not embed.installed():
        yield Lack("wordllama is not installed, which embeds passages here", embed.INSTALL)
    try:
        found = matching_files(root, folder, spec.patterns)
    except PromptChainError:  # told of by the loader
        return
    if not find_spec("pypdf") and any(path.suffix.casefold() == ".pdf" for path in found):
        yield Lack("pypdf is not installed, which reads PDFs", RAG)


def _server(server: McpServer, root: Path) -> Iterator[Lack]:
    if not find_spec("mcp"):
        yield Lack(f"the package mcp is not installed, which the server '{server}' is asked through", MCP)
    for value in (*server.env.values(), *server.headers.values()):
        for variable in Template(value).get_identifiers():
            if variable not in os.environ:
                message = f"the MCP server '{server}' wants the environment variable {variable}, which is not set"
                yield Lack(message, f"export {variable}=…")
    if server.command is None:
        return
    program = server.command[0]
    by_path = os.sep in program
    if not (os.access(root / program, os.X_OK) if by_path else shutil.which(program)):
        message = f"the MCP server '{server}' cannot start: there is no program '{program}'"
        yield Lack(message, "give another path, from the project's folder" if by_path else f"install {program}")
