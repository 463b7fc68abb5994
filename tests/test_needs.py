"""What steps need beside models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptchain import needs
from promptchain.chain import Chain


def lacks(root: Path, step: dict[str, Any]) -> list[tuple[str, str | None]]:
    chain = Chain.model_validate({"name": "c", "steps": {"a": step}})
    return [(lack.message, lack.remedy) for lack in needs.lacking(chain, root, root)]


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found = needs.find_spec
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name in packages else found(name))


@pytest.mark.parametrize("kind", ["python", "tool", "retrieve"])
def test_code_is_imported(tmp_path: Path, kind: str) -> None:
    def step(name: str) -> dict[str, Any]:
        kinds = {"python": {"python": name}, "tool": {"prompt": "x", "tools": [name]}}
        return kinds.get(kind) or {"retrieve": {"python": name, "query": "q"}}

    (tmp_path / "own.py").write_text("def f(query): return query\n")
    (tmp_path / "broken.py").write_text("import no_such_package_here\n")
    assert lacks(tmp_path, step("own:f")) == []
    [(message, _)] = lacks(tmp_path, step("broken:f"))
    assert message.startswith("step 'a': broken.py:1: ")
    assert "no_such_package_here" in message


@pytest.mark.parametrize(
    ("mcp", "said", "remedy"),
    [
        (["no-such-program", "x"], "there is no program 'no-such-program'", "install no-such-program"),
        (["./gone"], "there is no program './gone'", "give another path, from the project's folder"),
        (
            {"url": "https://x/mcp", "headers": {"A": "Bearer ${NOT_SET_HERE}"}},
            "variable NOT_SET_HERE",
            "export NOT_SET_HERE=…",
        ),
        ({"command": "sh", "env": {"A": "$NOT_SET_HERE"}}, "variable NOT_SET_HERE", "export NOT_SET_HERE=…"),
    ],
)  # fmt: skip
def test_servers_are_looked_at_and_not_started(tmp_path: Path, mcp: Any, said: str, remedy: str) -> None:
    [(message, mend)] = lacks(tmp_path, {"prompt": "x", "tools": [{"mcp": mcp}]})
    assert said in message
    assert mend == remedy


def test_a_server_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "server.sh"
    own.write_text("exit 1\n")
    own.chmod(0o755)
    monkeypatch.setenv("IS_SET", "x")
    tools = [
        {"mcp": "./server.sh"},
        {"mcp": {"command": "sh -c x", "env": {"A": "$IS_SET $$"}}},
        {"mcp": "https://x/y"},
    ]
    assert lacks(tmp_path, {"prompt": "x", "tools": tools}) == []
    without(monkeypatch, "mcp")
    found = lacks(tmp_path, {"prompt": "x", "tools": tools})
    assert [remedy for _, remedy in found] == [needs.MCP] * 3
    assert "the package mcp is not installed" in found[0][0]


@pytest.mark.parametrize(
    ("spec", "missing", "said"),
    [
        ({"mode": "dense"}, ("usearch",), "usearch is not installed"),
        ({"mode": "hybrid", "embedder": "openai/x"}, ("usearch", "wordllama"), "usearch is not installed"),
        ({"from": "*.pdf"}, ("pypdf",), "pypdf is not installed"),
        ({"mode": "lexical"}, ("usearch", "wordllama", "pypdf"), None),
        ({"from": "gone/*.pdf"}, ("pypdf",), None),
    ],
)
def test_packages_of_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], missing: tuple[str, ...], said: str | None
) -> None:
    for name in ("a.md", "b.PDF", "c.pdf"):
        (tmp_path / name).write_text("x")
    step = {"retrieve": {"from": "*.md", "query": "q", **spec}}
    assert lacks(tmp_path, step) == []
    without(monkeypatch, *missing)
    found = lacks(tmp_path, step)
    assert [said in message for message, _ in found] == ([True] if said else [])
    assert {remedy for _, remedy in found} <= {needs.RAG}


def test_an_embedder_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.embed, "installed", lambda: False)
    (tmp_path / "a.md").write_text("x")
    found = lacks(tmp_path, {"retrieve": {"from": "*.md", "query": "q", "mode": "dense"}})
    assert [message for message, _ in found] == ["step 'a': wordllama is not installed, which embeds passages here"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]  # nothing was indexed
