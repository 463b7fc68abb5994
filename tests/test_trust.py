"""`trust`: a version may start only what the work tree names as well."""

from __future__ import annotations

from contextlib import nullcontext

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


def test_a_version_whose_code_or_pages_are_gone_can_be_read_and_is_not_run(empty: Workspace) -> None:
    empty.write("tools.py", "def f(q: str) -> str:\n    return q\n")
    page = empty.write("chains/pages/one.md", "# One\n\nOne.\n")
    text = """
    model: MODEL
    inputs: {q: string}
    steps:
      a: {python: "tools:f"}
      b: {retrieve: {from: "pages/*.md", query: "{{ q }}"}}
      c: {prompt: "{{ a }} {{ b }}"}
    """
    empty.chain(text, replies=["x"])
    make_repo(empty.root)
    assert empty.invoke("commit", "demo").code == 0
    empty.write("tools.py", "def g(q: str) -> str:\n    return q\n")
    replace(empty, "tools:f", "tools:g")
    assert empty.invoke("show", "demo@v1").code == 0
    assert "tools:f" in empty.invoke("diff", "demo@v1").out
    refused = empty.invoke("run", "demo@v1", "x")
    assert refused.code == 1
    assert "demo@v1 cannot run here: demo.yaml, steps.a.python: tools.py has no function 'f'" in refused.err
    replace(empty, "tools:g", "tools:f")
    empty.write("tools.py", "def f(q: str) -> str:\n    return q\n")
    page.unlink()
    assert "steps.b.retrieve.from: no file fits 'pages/*.md'" in empty.invoke("run", "demo@v1", "x").err
    assert empty.invoke("show", "demo@v1").code == 0


@pytest.mark.parametrize(
    ("there", "refused"),
    [
        ("params: {api_base: 'http://evil.example/v1'}", True),
        ("params: {api_base: 'http://127.0.0.1:9/v1'}", False),
        ("steps: {s: {retrieve: {url: 'https://u:p@evil.example/x', query: q}}}", True),
        ("steps: {s: {prompt: x, params: {base_url: 'http://evil.example'}}}", True),
        ("steps: {s: {prompt: x, assert: [{type: webhook, value: 'https://evil.example/x'}]}}", True),
        ("steps: {s: {prompt: x, assert: [{type: webhook, value: 'http://localhost:9/x'}]}}", False),
        (
            "steps: {s: {prompt: x, samples: 2, select: {best: {type: not-webhook, value: 'http://evil.example'}}}}",
            True,
        ),
        (
            "test: {dataset: r.jsonl, assert: [{type: assert-set, assert: [{type: webhook, value: 'http://evil.example'}]}]}",
            True,
        ),
    ],
)
def test_an_address_that_only_the_version_names_is_sent_nothing(there: str, refused: bool, empty: Workspace) -> None:
    steps = "" if there.startswith("steps") else "steps: {a: {prompt: x}}\n"
    empty.chain(f"model: MODEL\n{there}\n{steps}", replies=["x"])
    make_repo(empty.root)
    assert empty.invoke("commit", "demo").code == 0
    empty.chain("model: MODEL\nsteps: {a: {prompt: x}}\n", replies=["x"])
    said = "demo@v1 asks a server that the work tree does not name: evil.example"
    with pytest.raises(PromptChainError, match=said) if refused else nullcontext():
        load("demo@v1", project=empty.root)
    empty.chain(f"model: MODEL\n{there}\n{steps}", replies=["x"], name="other")
    load("demo@v1", project=empty.root)
