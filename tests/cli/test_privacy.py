"""Keys are planted wherever data comes in; none of them is in anything that is written for others to read."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import compile_kit
from tests.cli.git_kit import git, make_repo
from tests.cli.kinds_kit import calls
from tests.loopback import Loopback, Reply
from tests.workspace import Result, Workspace

SECRETS = {
    "input": "sk-ant-Inp0000000000",
    "reply": "ghp_Reply00000000000000000",
    "reasoning": "hf_Reas00000000000000000000",
    "argument": "AKIAARGUMENT00000000",
    "result": "xoxb-resu-0000000000",
    "passage": "gsk_Pass0000000000000000000",
    "expected": "glpat-Expe0000000000000000",
    "variable": "vAr!able-0000-s3cret",
    "header": "h3ader-0000-s3cret",
    "error": "r8_Erro00000000000000000000",
    "own": "EMP-123456",
    "message": "pplx-Mess00000000000000000",
}
"""Each in its place: by form, by the name of a variable, and by the project's own pattern."""

CODE = f"""
def lookup(item: str) -> dict:
    return {{"found": item + " {SECRETS["result"]} {SECRETS["own"]}"}}

def fail(text: str) -> str:
    raise ValueError("no {SECRETS["error"]} {SECRETS["own"]}")
"""
CHAIN = """
model: MODEL
inputs: {question: string}
steps:
  help: {retrieve: {from: docs/*.md, query: "{{ question }}", top_k: 2}}
  each: {for_each: "{{ [question, 'b'] }}", prompt: "Say {{ item }}"}
  agent:
    reasoning: true
    prompt: "Question: {{ question }} {{ help[0].text }}"
    tools: ["shop:lookup", {mcp: {command: [PYTHON, server.py], env: {SECRET_ARG: $MCP_TOKEN}}, only: [whoami]}]
  kind: {prompt: "Kind of {{ question }}", output: [good, bad], retry: {parse: 1}}
outputs: {answer: "{{ agent }}"}
test:
  dataset: rows.jsonl
  assert:
    - {step: agent, type: equals, value: "{{ expected.agent }}"}
    - {step: kind, type: equals, value: good}
"""
FAILING = """
model: MODEL
inputs: {question: string}
steps:
  first: {prompt: "Say {{ question }}"}
  broken: {python: "shop:fail", inputs: {text: "{{ first }}"}}
"""
SERVER = """
import os
from mcp.server.mcpserver import MCPServer

server = MCPServer("who", log_level="ERROR")

@server.tool(structured_output=False)
def whoami() -> str:
    return "it is " + os.environ["SECRET_ARG"]

server.run()
"""
REPLIES = (
    {"contains": "Say ", "reply": f"said {SECRETS['reply']} {SECRETS['variable']}"},
    {"contains": "Kind of", "reply": f"{SECRETS['reply']} {SECRETS['own']}"},
    {"contains": "Question:", "reply": calls("lookup", SECRETS["reasoning"], item=SECRETS["argument"])},
    {"contains": "lookup gave", "reply": calls("whoami", SECRETS["own"])},
    {"contains": "whoami gave", "reply": {"reasoning": SECRETS["own"], "answer": f"It is {SECRETS['reply']}."}},
)


@pytest.fixture
def planted(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project in a repository, in which every place where data comes from gives a secret."""
    monkeypatch.setenv("SOME_API_KEY", SECRETS["variable"])
    monkeypatch.setenv("MCP_TOKEN", SECRETS["header"])
    empty.write("promptchain.toml", r"redact = ['EMP-\d{6}']")
    empty.write("shop.py", CODE)
    empty.write("server.py", SERVER)
    empty.write("chains/docs/page.md", f"# The question\n\nIt is {SECRETS['passage']} of {SECRETS['own']}.\n")
    rows = [
        {"question": f"{name} {SECRETS['input']} {SECRETS['own']}", "expected": {"agent": SECRETS["expected"]}}
        for name in ("one", "two")
    ]
    empty.write("chains/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    chain = CHAIN.replace("PYTHON", sys.executable)
    empty.chain(chain, name="shop", replies=REPLIES)
    empty.chain(FAILING, name="failing", replies=REPLIES)
    empty.write(".gitignore", "*\n")
    make_repo(empty.root)
    return empty


ASKED = f"the question {SECRETS['input']} {SECRETS['variable']} {SECRETS['own']}"


def found(text: str) -> list[str]:
    """The places whose secrets are in a text."""
    return [place for place, secret in SECRETS.items() if secret in text]


def check(done: Result, *codes: int) -> Result:
    assert done.code in codes, done
    assert not found(done.err), done.err
    return done


def written(root: Path) -> Iterator[tuple[str, str]]:
    """Every object of a repository, every file of the store's folder and what its databases say; not the index of
    passages, which holds the texts of the project's own files."""
    for line in git(root, "cat-file", "--batch-all-objects", "--batch-check").splitlines():
        sha, kind, _ = line.split()
        shown = subprocess.run(["git", "cat-file", kind, sha], cwd=root, capture_output=True, check=True).stdout
        yield f"{kind} {sha}", shown.decode("utf-8", "replace")
    for path in (root / ".git/promptchain").rglob("*"):
        if "retrieval" in path.parts:
            continue
        if path.is_file():
            yield str(path), path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".db":
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
                yield f"{path} (dump)", "\n".join(database.iterdump())
            database.close()


def test_no_secret_is_in_what_is_recorded_or_reported(planted: Workspace) -> None:
    runs = [
        check(planted.run("run", "shop", ASKED, "--json", "--save-run", "run.json"), 1),
        check(planted.run("run", "shop", ASKED, "--stream"), 1),
        check(planted.run("run", "failing", ASKED, "--json"), 1),
        check(planted.run("run", "failing", ASKED, "--debug"), 1),
        check(planted.run("commit", "shop", "-m", f"for {SECRETS['message']} and {SECRETS['own']}"), 0),
        check(planted.run("runs", "show", "last", "--full"), 0),
        check(planted.run("runs", "--json"), 0),
        check(planted.run("replay", "last"), 0, 1),
        check(planted.run("runs"), 0),
    ]
    reports = ("--junit", "out.xml", "--markdown", "out.md", "--github")
    summary = {"GITHUB_STEP_SUMMARY": str(planted.root / "summary.md"), "GITHUB_ACTIONS": "true"}
    (planted.root / "summary.md").touch()
    runs += [
        check(planted.run("test", "shop", *reports, env=summary), 100),
        check(planted.run("test", "shop", "--json"), 100),
        check(planted.run("log", "shop"), 0),
        check(planted.run("log", "shop", "--json"), 0),
    ]
    first, last = (row["id"] for row in runs[6].json[:2])
    runs += [check(planted.run("diff", first, last, *more), 0) for more in ((), ("--json",))]
    team = planted.root.parent / "team.git"
    git(planted.root, "init", "--quiet", "--bare", str(team))
    runs.append(check(planted.run("sync", str(team), "--runs"), 0))  # which has the waiting runs in git
    for done in runs:
        assert not found(done.out), done.out
    assert "***" in runs[0].out
    assert "***" in runs[1].out
    assert runs[0].json["steps"]["agent"]["tools"], "the tools were called"
    for file in ("run.json", "out.xml", "out.md", "summary.md"):
        assert not found((planted.root / file).read_text()), file
    objects = [*written(planted.root), *written(team)]
    assert not {name: found(text) for name, text in objects if found(text)}
    segments = [text for name, text in objects if name.startswith("blob") and '"inputs"' in text and "***" in text]
    assert segments, "records are among them"


def test_what_was_asked_for_is_given_as_it_is(planted: Workspace) -> None:
    """Outputs, batches and rendered messages are the answer, and nobody's log; the cache is what a model said."""
    planted.chain(
        'model: MODEL\ninputs: {q: string}\nsteps:\n  a: {prompt: "Say {{ q }}"}\n', name="small", replies=REPLIES
    )
    assert found(check(planted.run("run", "small", ASKED, "--cache"), 0).out) == ["reply", "variable"]
    assert found(check(planted.run("show", "small", ASKED, "--rendered"), 0).out) == ["input", "variable", "own"]
    planted.write("in.jsonl", json.dumps({"q": ASKED}) + "\n")
    check(planted.run("run", "small", "--batch", "in.jsonl", "-o", "out.jsonl"), 0)
    assert "reply" in found((planted.root / "out.jsonl").read_text())


def test_a_record_of_yesterday_is_shown_by_the_patterns_of_today(planted: Workspace) -> None:
    shutil.move(planted.root / "promptchain.toml", planted.root / "later.toml")
    check_own = planted.run("run", "failing", "for EMP-123456")
    assert "EMP-123456" in check_own.err
    assert "EMP-123456" in planted.run("runs", "show", "last").out
    shutil.move(planted.root / "later.toml", planted.root / "promptchain.toml")
    for words in (("runs", "show", "last"), ("runs", "show", "last", "--json"), ("runs", "--json"), ("runs",)):
        assert "EMP-123456" not in check(planted.run(*words), 0).out


def test_headers_of_a_server_that_refuses_are_not_told(planted: Workspace) -> None:
    def refuse(request: object) -> Reply:
        return Reply(status=401, body={"error": f"wrong token {SECRETS['header']} {SECRETS['own']}"})

    with Loopback(refuse) as server:
        tool = f'{{mcp: {{url: "{server.url}/mcp", headers: {{Authorization: Bearer $MCP_TOKEN}}}}}}'
        planted.chain(f'model: MODEL\nsteps:\n  a: {{prompt: "x", tools: [{tool}]}}\n', name="remote")
        done = check(planted.run("run", "remote"), 1)
    assert "mcp" in done.err.lower()
    check(planted.run("doctor"), 0, 1)
    assert not found(planted.run("runs", "show", "last", "--json").out)


def test_no_secret_gets_into_a_lock(empty: Workspace) -> None:
    empty.write("promptchain.toml", r"redact = ['EMP-\d{6}']")
    compile_kit.project(empty)
    given = compile_kit.rows()
    for row in given:
        # Of demos that do as well the short ones are taken, and of some the secret is the shorter part.
        clean = row["message"] in ("lesson 3", "lesson 5", "easy train 4")
        row["message"] += " and so on and on" * 3 if clean else f" {SECRETS['own']}"
    compile_kit.dataset(empty, given)
    compile_kit.compiled(empty, "--optimizer", "demos", "--seed", "1")
    lock = compile_kit.lock_text(empty)
    assert "demos:" in lock
    assert "lesson" in lock
    assert not found(lock)
