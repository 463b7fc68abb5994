"""`trust`: a version may start only what the work tree names as well."""

from __future__ import annotations

import pytest

from promptchain import load
from promptchain.errors import PromptChainError
from tests.cli.git_kit import make_repo, replace
from tests.workspace import Workspace

CHAIN = """
model: MODEL
inputs: {q: string}
steps:
  a: {prompt: "Ask {{ q }}", tools: [{mcp: {command: [no-such-server, --now], env: {KEY: $HOME}}}]}
"""
REFUSED = "demo@v1 starts an MCP server that the work tree does not name: no-such-server --now"


@pytest.fixture
def served(empty: Workspace) -> Workspace:
    """A version whose server is not the work tree's any more."""
    empty.chain(CHAIN, replies=["x"])
    make_repo(empty.root)
    assert empty.invoke("commit", "demo").out == "demo@v1\n"
    replace(empty, "KEY: $HOME", "KEY: $PATH")
    return empty


def test_a_server_that_only_the_version_names_is_not_started(served: Workspace) -> None:
    for command in (("run", "demo@v1", "x"), ("show", "demo@v1", "--rendered", "-i", "q=x")):
        result = served.invoke(*command)
        assert result.code == 1
        assert REFUSED in result.err
        assert "chain show" in result.err
    with pytest.raises(PromptChainError, match=REFUSED):
        load("demo@v1")


def test_it_can_be_looked_at(served: Workspace) -> None:
    assert served.invoke("show", "demo@v1").code == 0
    assert served.invoke("diff", "demo@v1").code in (0, 1)


def test_one_that_another_chain_names_too_is(served: Workspace) -> None:
    served.chain(CHAIN, name="other", replies=["x"])
    result = served.invoke("run", "demo@v1", "x")
    assert REFUSED not in result.err
    assert "no-such-server" in result.err  # it was tried


def test_the_work_tree_is_trusted(served: Workspace) -> None:
    assert "does not name" not in served.invoke("run", "demo", "x").err
