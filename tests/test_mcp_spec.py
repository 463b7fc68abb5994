"""Where tools come from, as a chain file says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promptchain.mcp_spec import McpServer


@pytest.mark.parametrize(
    ("written", "command", "url"),
    [
        (["python", "-m", "server"], ("python", "-m", "server"), None),
        ("python -m server --name 'two words'", ("python", "-m", "server", "--name", "two words"), None),
        ({"command": "python server.py"}, ("python", "server.py"), None),
        ({"command": ["python", "a b.py"]}, ("python", "a b.py"), None),
        ("https://example.com/mcp", None, "https://example.com/mcp"),
        ({"url": "http://127.0.0.1:8000/mcp"}, None, "http://127.0.0.1:8000/mcp"),
    ],
)
def test_a_server_is_a_command_or_a_url(written: Any, command: tuple[str, ...] | None, url: str | None) -> None:
    server = McpServer.model_validate(written)
    assert (server.command, server.url) == (command, url)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "exactly one of 'command' and 'url'"),
        ({"command": "a", "url": "http://a.b"}, "exactly one of 'command' and 'url'"),
        ({"command": "a", "headers": {"A": "b"}}, "takes 'headers' only with 'url'"),
        ({"url": "http://a.b", "env": {"A": "b"}}, "takes 'env' only with 'command'"),
        ("", "must name a program"),
        ([], "must name a program"),
        ([" "], "must name a program"),
        (["a", "b\0c"], "without the character NUL"),
        ("say 'hello", "cannot be split into words (No closing quotation)"),
        ({"command": ["a", 1]}, "valid string"),
        ({"url": "ftp://a.b"}, "must be an address"),
        ({"url": "http://"}, "must be an address"),
        ({"url": "http://a.b:99999/"}, "must be an address"),
        ({"url": "http://[::1"}, "must be an address"),
        ({"url": "http://a b/"}, "must be an address"),
        ({"command": "a", "env": {"A": "$"}}, "a name behind each $"),
        ({"command": "a", "env": {"A": "${B"}}, "a name behind each $"),
        ({"command": "a", "env": {"A=B": "c"}}, "a name that is none"),
        ({"command": "a", "env": {"": "c"}}, "a name that is none"),
        ({"command": "a", "env": {"A": "b\0"}}, "NUL"),
        ({"url": "http://a.b", "headers": {"A: x\nB": "c"}}, "a name that is none"),
        ({"command": "a", "timeout": 0}, "greater than 0"),
        ({"command": "a", "timeout": float("nan")}, "finite"),
        ({"command": "a", "cwd": "/"}, "Extra inputs"),
        (3, "valid dictionary"),
    ],
)
def test_what_is_none_is_refused(written: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        McpServer.model_validate(written)
    assert said in str(caught.value)


def test_the_key_is_of_the_server_not_of_how_it_is_written() -> None:
    one = McpServer.model_validate({"command": "a b", "env": {"A": "1", "B": "2"}, "timeout": 3})
    other = McpServer.model_validate({"command": ["a", "b"], "env": {"B": "2", "A": "1"}})
    assert one.key == other.key
    assert one.key != McpServer.model_validate("a b").key


def test_its_name_in_errors_holds_no_password_and_has_an_end() -> None:
    assert str(McpServer.model_validate("https://me:secret@a.b/mcp?token=x")) == "https://a.b/mcp"
    assert len(str(McpServer.model_validate(["a", "b" * 1000]))) == 100


@given(st.one_of(st.text(), st.lists(st.text()), st.dictionaries(st.sampled_from(["command", "url"]), st.text())))
def test_anything_is_a_server_or_is_refused(written: Any) -> None:
    try:
        server = McpServer.model_validate(written)
    except ValidationError:
        return
    assert (server.command is None) != (server.url is None)
    assert str(server)
    assert McpServer.model_validate(server.model_dump()).key == server.key
