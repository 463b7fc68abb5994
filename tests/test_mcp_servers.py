"""Tools of MCP servers: real ones as child processes and over HTTP, and some that do everything wrong."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from promptchain import mcp_servers, mcp_stdio
from promptchain.errors import McpError, PromptChainError, ToolFailed
from promptchain.mcp_servers import Servers
from promptchain.mcp_spec import McpServer
from tests.loopback import Loopback, Reply
from tests.patience import PATIENCE, soon, until

OFFICIAL = '''
import asyncio, os, sys
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("official", log_level="ERROR")
here = asyncio.Event()

@server.tool()
def add(a: int, b: int) -> dict[str, int]:
    """Adds two numbers."""
    return {"sum": a + b}

@server.tool(structured_output=False)
def say(texts: list[str]) -> list[str]:
    return texts

@server.tool(structured_output=False)
def draw() -> list:
    return ["a dot", Image(data=b"1234", format="png")]

@server.tool()
def fail() -> str:
    raise ToolError("no such customer")

@server.tool()
def environment() -> dict[str, str]:
    return dict(os.environ)

@server.tool()
def process() -> dict[str, int]:
    return {"pid": os.getpid()}

@server.tool(structured_output=False)
async def wait() -> str:
    await here.wait()
    return "waited"

@server.tool(structured_output=False)
async def come() -> str:
    here.set()
    return "came"

@server.tool(structured_output=False)
async def sleep() -> str:
    await asyncio.sleep(60)

print("a server greets", file=sys.stderr)
if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''

BARE = """
import json, os, sys, time
def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
def tools(cursor):
    return {"tools": [{"name": "act", "inputSchema": {"type": "object"}}]}
def act(arguments):
    return {"content": [{"type": "text", "text": "done"}]}
#
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    if method == "initialize":
        about = {"name": "bare", "version": "1"}
        version = params["protocolVersion"]
        send(id=asked["id"], result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about})
    elif method == "tools/list":
        send(id=asked["id"], result=tools(params.get("cursor")))
    elif method == "tools/call":
        send(id=asked["id"], result=act(params["arguments"]))
    else:
        send(id=asked["id"], error={"code": -32601, "message": "no such method"})
#
"""
"""A server of the earlier protocol, in plain Python since that starts at once; `bare` puts lines in it."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mcp")
    (root / "official.py").write_text(OFFICIAL)
    return root


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs on one event loop for all tests of the module, so that they share servers."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def shared(folder: Path, run: Run) -> Iterator[Servers]:
    servers = Servers(folder)
    yield servers
    run(servers.aclose())


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The official server over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "official.py", str(port)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    until(listens)
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()


@pytest.fixture(params=["stdio", "http"])
def official(request: pytest.FixtureRequest) -> McpServer:
    written = STDIO if request.param == "stdio" else request.getfixturevalue("address")
    return McpServer.model_validate(written)


STDIO = [sys.executable, "official.py"]


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., McpServer]:
    def written(before: str = "", after: str = "", **keys: Any) -> McpServer:
        _, head, loop, _ = ("#" + BARE).split("#")
        (tmp_path / "bare.py").write_text("\n".join([head, before, loop, after]))
        return McpServer.model_validate({"command": [sys.executable, "bare.py"], **keys})

    return written


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[Servers]:
    servers = Servers(root)
    try:
        yield servers
    finally:
        await servers.aclose()


def error_of(root: Path, server: McpServer, kind: type[PromptChainError] = McpError) -> PromptChainError:
    """What `act` of the server, or its start, fails with; a warning or a task left over fails the test."""

    async def fails() -> PromptChainError:
        async with opened(root) as servers:
            with pytest.raises(kind) as caught:
                await servers.call(server, "act", {}, timeout=PATIENCE)
            return caught.value

    return asyncio.run(fails())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Soon: a signal takes its time on a busy machine."""
    until(lambda: not alive(pid))
    return True


# what a server is for


def test_the_tools_of_a_server(shared: Servers, official: McpServer, run: Run) -> None:
    tools = {tool.name: tool for tool in run(shared.tools(official))}
    assert tools["add"].description == "Adds two numbers."
    assert tools["add"].parameters["properties"]["a"]["type"] == "integer"
    assert tools["add"].parameters["required"] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("add", {"a": 1, "b": 2}, {"sum": 3}),
        ("say", {"texts": ["one"]}, "one"),
        ("say", {"texts": ["ä", "ö"]}, "ä\nö"),
        ("say", {"texts": []}, ""),
        ("draw", {}, "a dot\n[image, image/png, 6 bytes]"),
    ],
)
def test_a_result_is_a_json_value(
    shared: Servers, official: McpServer, run: Run, name: str, arguments: dict[str, Any], value: Any
) -> None:
    assert run(shared.call(official, name, arguments)) == value


@pytest.mark.parametrize(
    ("name", "said"), [("fail", "no such customer"), ("add", "Field required"), ("nothing", "nothing")]
)
def test_what_a_tool_says_that_went_wrong(shared: Servers, official: McpServer, run: Run, name: str, said: str) -> None:
    with pytest.raises(ToolFailed, match=said):
        run(shared.call(official, name, {}))


def test_calls_are_in_flight_together(shared: Servers, official: McpServer, run: Run) -> None:
    async def both() -> list[Any]:
        waits = [shared.call(official, "wait", {}, timeout=PATIENCE) for _ in range(3)]
        return await asyncio.gather(*waits, shared.call(official, "come", {}))

    assert run(both()) == ["waited", "waited", "waited", "came"]


def test_a_call_has_its_time_and_the_server_goes_on(shared: Servers, official: McpServer, run: Run) -> None:
    with pytest.raises(ToolFailed, match=r"gave nothing in 0\.05 seconds"):
        run(shared.call(official, "sleep", {}, timeout=0.05))
    assert run(shared.call(official, "say", {"texts": ["on"]})) == "on"


def test_a_cancelled_call_leaves_the_server_as_it_was(shared: Servers, official: McpServer, run: Run) -> None:
    async def cancelled() -> Any:
        call = asyncio.create_task(shared.call(official, "sleep", {}))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await shared.call(official, "say", {"texts": ["on"]})

    assert run(cancelled()) == "on"


def test_one_process_for_all_who_ask(bare: Callable[..., McpServer], tmp_path: Path) -> None:
    server = bare("open('starts', 'a').write('x')")

    async def asked() -> None:
        async with opened(tmp_path) as servers:
            await asyncio.gather(*(servers.tools(server) for _ in range(5)), servers.call(server, "act", {}))

    asyncio.run(asked())
    assert (tmp_path / "starts").read_text() == "x"


def test_a_child_gets_a_clean_environment_and_the_projects_folder(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("OPENAI_API_KEY", "GIT_DIR", "PYTHONPATH"):
        monkeypatch.setenv(name, "not for you")
    monkeypatch.setenv("THEIRS", "for you")
    env = {"GIVEN": "${THEIRS}, and $THEIRS for $$1"}
    server = McpServer.model_validate({"command": STDIO, "env": env})

    async def told() -> dict[str, str]:
        async with opened(folder) as servers:
            found: dict[str, str] = await servers.call(server, "environment", {})
            return found

    found = run(told())
    assert found["GIVEN"] == "for you, and for you for $1"
    assert found["PATH"] == os.environ["PATH"]
    assert not {"OPENAI_API_KEY", "GIT_DIR", "THEIRS", "PYTHONPATH"} & set(found)
    assert capfd.readouterr() == ("", "")  # the server greets on its stderr


def test_pages_of_a_list(bare: Callable[..., McpServer], tmp_path: Path) -> None:
    server = bare("""
def tools(cursor):
    number = int(cursor or 0)
    tool = {"name": f"t{number}", "inputSchema": {"type": "object"}}
    return {"tools": [tool], **({"nextCursor": str(number + 1)} if number < 3 else {})}
""")

    async def names() -> list[str]:
        async with opened(tmp_path) as servers:
            return [tool.name for tool in await servers.tools(server)]

    assert asyncio.run(names()) == ["t0", "t1", "t2", "t3"]


def test_a_greeting_on_stdout_is_passed_over(bare: Callable[..., McpServer], tmp_path: Path) -> None:
    server = bare("print('Hello'); print(); print('{}')")

    async def called() -> Any:
        async with opened(tmp_path) as servers:
            return await servers.call(server, "act", {})

    assert asyncio.run(called()) == "done"


def test_headers_are_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THEIR_TOKEN", "abcdefgh1")
    with Loopback([401]) as loopback:
        headers = {"Authorization": "Bearer $THEIR_TOKEN"}
        error = error_of(tmp_path, McpServer.model_validate({"url": loopback.url, "headers": headers}))
        assert loopback.requests[0].headers["authorization"] == "Bearer abcdefgh1"
    assert "does not let us in (HTTP 401)" in error.message
    assert error.hint is not None
    assert "Authorization" in error.hint


# what goes wrong at the start


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["no-such-program"], "the program 'no-such-program' of an MCP server is not there; install it"),
        (["./no/such"], "the program './no/such' of an MCP server is not there; install it"),
        (["./"], "cannot be started: Permission denied"),
        (["false"], "the MCP server 'false' ended with status 1 before it was ready"),
        (["echo", "Usage: server"], "ended with status 0 before it was ready; to stdout it printed 'Usage: server'"),
        (["yes"], "prints to stdout what is no message of the protocol before it was ready; to stdout it printed 'y'"),
        (["cat"], "the MCP server 'cat' cannot be used: "),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "was ended by SIGKILL before it was ready"),
        ([sys.executable, "-c", "raise SystemExit('\x1b[31mno\x07 database')"], "its stderr ends so:\nno database"),
        ({"command": "sleep 60", "timeout": 0.1}, "was not ready in 0.1 seconds; give it longer with `timeout"),
        ({"command": "cat", "env": {"A": "${NOT_SET}"}}, "the environment variable NOT_SET, which is not set"),
        ({"url": "http://127.0.0.1:9/mcp", "headers": {"A": "$NOT_SET"}}, "variable NOT_SET, which is not set"),
        ({"url": "http://127.0.0.1:9/mcp", "headers": {"A": "$BROKEN"}}, "header 'A'"),
        ("http://127.0.0.1:9/mcp", "the MCP server 'http://127.0.0.1:9/mcp' cannot be reached"),
        ("http://no-such-host.invalid/mcp", "cannot be reached"),
    ],
)
def test_a_server_that_cannot_be_started(
    written: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mcp_stdio, "_GRACE", 0.05)
    monkeypatch.setenv("BROKEN", "a\nb: c")
    assert said in str(error_of(tmp_path, McpServer.model_validate(written)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=403), "does not let us in (HTTP 403)"),
        (Reply(status=404, body="nothing"), "no MCP server answers at"),
        (Reply(status=500), "answers with HTTP 500"),
        (Reply(status=302, headers={"Location": "http://elsewhere.invalid/"}), "elsewhere.invalid"),
        (Reply(body="<html>", headers={"Content-Type": "text/html"}), "text/html"),
        (Reply(body="{}"), "cannot be used"),
    ],
)
def test_an_address_where_no_server_is(reply: Reply, said: str, tmp_path: Path) -> None:
    with Loopback([reply]) as loopback:
        assert said in str(error_of(tmp_path, McpServer.model_validate(loopback.url)))


def test_an_address_that_never_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = {"url": f"http://127.0.0.1:{silent.getsockname()[1]}/mcp", "timeout": 0.2}
        assert "was not ready in 0.2 seconds" in str(error_of(tmp_path, McpServer.model_validate(server)))


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("[{'name': f't{n}', 'inputSchema': {'type': 'object'}} for n in range(10_000)]", "more than 1000 tools"),
        ("[{'name': 'act', 'inputSchema': {'type': 'object'}}] * 2", "lists the tool 'act' twice"),
        ("[{'name': 'act', 'inputSchema': []}]", "cannot be used: tools.0.inputSchema: "),
        ("[{'name': 'act', 'inputSchema': {'type': 'string'}}]", "tools.0.inputSchema.type: Input should be 'object'"),
        ("7", "cannot be used: tools: "),
    ],
)
def test_a_list_of_tools_that_is_of_no_use(
    tools: str, said: str, bare: Callable[..., McpServer], tmp_path: Path
) -> None:
    error = error_of(tmp_path, bare(f"tools = lambda cursor: {{'tools': {tools}}}"))
    assert said in error.message
    assert "MCP server" in error.message


@pytest.mark.parametrize("page", ["[]", "[{'name': f'{time.time_ns()}', 'inputSchema': {'type': 'object'}}]"])
def test_a_list_without_an_end(page: str, bare: Callable[..., McpServer], tmp_path: Path) -> None:
    error = error_of(tmp_path, bare(f"tools = lambda cursor: {{'tools': {page}, 'nextCursor': 'more'}}"))
    assert "lists its tools without an end" in error.message


def test_a_failed_start_is_not_tried_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = McpServer.model_validate(["sh", "-c", "echo x >> starts; exit 1"])

    async def asked(times: int) -> None:
        async with opened(tmp_path) as servers:
            for _ in range(times):
                with pytest.raises(McpError, match="ended with status 1"):
                    await servers.tools(server)

    asyncio.run(asked(3))
    assert (tmp_path / "starts").read_text() == "x\n"
    monkeypatch.setattr(mcp_servers, "RESTART_AFTER", 0)
    asyncio.run(asked(2))
    assert (tmp_path / "starts").read_text() == "x\n" * 3


def test_secrets_are_not_in_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN", "correct horse")
    env = {"GIVEN": "$PLAIN", "ALSO": "sk-abcdefghijklmnop"}
    command = ["sh", "-c", 'echo "$GIVEN $ALSO" >&2; exit 1']
    error = error_of(tmp_path, McpServer.model_validate({"command": command, "env": env}))
    assert error.hint == "its stderr ends so:\n*** ***"


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    error = error_of(tmp_path, McpServer.model_validate(["cat"]))
    assert "needs the package mcp, which is not installed" in error.message
    assert error.hint == "pip install 'promptchain[mcp]'"


def test_the_package_is_loaded_only_when_it_is_used() -> None:
    code = "import sys, promptchain.mcp_servers; sys.exit('mcp' in sys.modules or 'httpx2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# what goes wrong later

DIES = "def act(arguments): print('out of memory', file=sys.stderr); sys.exit(3)"


def test_a_server_that_dies_fails_the_calls_in_flight(bare: Callable[..., McpServer], tmp_path: Path) -> None:
    server = bare(DIES)

    async def three() -> list[Any]:
        async with opened(tmp_path) as servers:
            return await asyncio.gather(*(servers.call(server, "act", {}) for _ in range(3)), return_exceptions=True)

    for error in asyncio.run(three()):
        assert isinstance(error, McpError)
        assert error.message.endswith("bare.py' ended with status 3")
        assert error.hint == "its stderr ends so:\nout of memory"


def test_a_server_that_died_is_started_again_once(
    bare: Callable[..., McpServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bare("open('starts', 'a').write('x')\n" + DIES)

    async def asked() -> int:
        with pytest.raises(McpError, match="ended with status 3"):
            await servers.call(server, "act", {})
        return len((tmp_path / "starts").read_text())

    async def story() -> None:
        assert [await asked() for _ in range(4)] == [1, 2, 2, 2]
        monkeypatch.setattr(mcp_servers, "RESTART_AFTER", 0)
        assert await asked() == 3
        await servers.aclose()

    servers = Servers(tmp_path)
    asyncio.run(story())


def test_a_server_that_died_between_two_calls_is_started_again(bare: Callable[..., McpServer], tmp_path: Path) -> None:
    server = bare("def act(arguments): return {'content': [], 'structuredContent': {'pid': os.getpid()}}")

    async def twice() -> tuple[int, int]:
        async with opened(tmp_path) as servers:
            first = (await servers.call(server, "act", {}))["pid"]
            os.kill(first, 9)
            await soon(lambda: not alive(first))
            await asyncio.sleep(0.05)
            return first, (await servers.call(server, "act", {}))["pid"]

    first, second = asyncio.run(twice())
    assert first != second


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("{'content': [{'type': 'text', 'text': 'x' * 10_000_000}]}", "gave 10.0 million characters"),
        ("{'content': [], 'structuredContent': {'a': ['x' * 10_000_000]}}", "gave 10.0 million characters"),
        ("{'content': 7}", "gave what it should not give"),
        ("{'content': [{'type': 'hologram'}]}", "gave what it should not give"),
        ("{'content': [], 'isError': True}", "the tool 'act' failed and does not say why"),
    ],
)
def test_a_result_that_is_of_no_use(act: str, said: str, bare: Callable[..., McpServer], tmp_path: Path) -> None:
    assert said in str(error_of(tmp_path, bare(f"act = lambda arguments: {act}"), ToolFailed))


def test_a_message_that_is_too_long_ends_the_server(
    bare: Callable[..., McpServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_stdio, "MAX_LINE", 1024 * 1024)
    server = bare("def act(arguments):\n while True: sys.stdout.write('x' * 100_000)")
    assert "sent a message of more than 1 MB" in error_of(tmp_path, server).message


def earlier(body: dict[str, Any]) -> Reply:
    """A server of the earlier protocol over HTTP that has no tools and answers calls with 503."""
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "a", "version": "1"}}
    results = {"initialize": about, "tools/list": {"tools": []}}
    if "id" not in body:
        return Reply(status=202, body="")
    if (method := body["method"]) in results:
        return Reply(body={"jsonrpc": "2.0", "id": body["id"], "result": results[method]})
    return Reply(status=503 if method == "tools/call" else 400, body="")


def test_an_http_server_that_breaks(folder: Path) -> None:
    with Loopback(earlier) as loopback:
        assert "answers with HTTP 503" in error_of(folder, McpServer.model_validate(loopback.url)).message


def test_an_http_server_that_goes_away(folder: Path) -> None:
    async def story() -> None:
        async with opened(folder) as servers:
            with Loopback(earlier) as loopback:
                server = McpServer.model_validate(loopback.url)
                assert await servers.tools(server) == ()
            with pytest.raises(McpError, match="cannot be reached"):
                await servers.call(server, "act", {}, timeout=PATIENCE)

    asyncio.run(story())


# nothing outlives the command

WITH_CHILD = """
import signal, subprocess
def act(arguments):
    other = subprocess.Popen(['sleep', '600'])
    return {'content': [], 'structuredContent': {'pids': [os.getpid(), other.pid]}}
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
FOREVER = "while True: time.sleep(1)"


@pytest.mark.parametrize("end", ["aclose", "cancel", "leave"])
@pytest.mark.parametrize("stubborn", [False, True])
def test_no_process_is_left(
    end: str, stubborn: bool, bare: Callable[..., McpServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_stdio, "_GRACE", 0.1)
    monkeypatch.setattr(mcp_stdio, "_TERM", 0.1)
    server = bare(WITH_CHILD + (STUBBORN if stubborn else ""), FOREVER if stubborn else "")
    pids: list[int] = []

    async def story() -> None:
        servers = Servers(tmp_path)
        pids.extend((await servers.call(server, "act", {}))["pids"])
        if end == "aclose":
            await servers.aclose()
            await servers.aclose()
            with pytest.raises(McpError, match="was stopped"):
                await servers.tools(server)
        elif end == "cancel":
            asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)  # type: ignore[union-attr]
            try:
                await asyncio.Event().wait()
            finally:
                await servers.aclose()

    try:
        asyncio.run(story())
    except asyncio.CancelledError:
        assert end == "cancel"
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("close", [True, False])
def test_no_process_is_left_of_a_start_that_is_broken_off(
    close: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_stdio, "_GRACE", 0.1)
    server = McpServer.model_validate(["sh", "-c", "read asked; echo $$ > pid; exec sleep 600"])

    async def story() -> None:
        servers = Servers(tmp_path)
        asking = asyncio.create_task(servers.tools(server))
        await soon(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        if close:
            await servers.aclose()
            with pytest.raises(McpError, match="was stopped"):
                await asking

    asyncio.run(story())
    assert gone(int((tmp_path / "pid").read_text()))


def test_no_process_is_left_whenever_a_start_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_stdio, "_GRACE", 0.02)
    server = McpServer.model_validate(["sh", "-c", "echo $$ >> pids; exec sleep 600"])

    async def story(delay: float) -> None:
        servers = Servers(tmp_path)
        asking = asyncio.create_task(servers.tools(server))
        await asyncio.sleep(delay)
        await servers.aclose()
        with pytest.raises(McpError, match="was stopped"):
            await asking

    for delay in range(10):
        asyncio.run(story(delay / 1000))
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())
