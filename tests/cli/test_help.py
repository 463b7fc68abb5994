"""Help: every command has an example, and the topics say what the code does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.cells import cell_len

from promptchain import errors, loader
from promptchain.chain import Chain, ChainStep, PromptStep, PythonStep, RetrieveStep
from promptchain.cli import INTERRUPTED, help
from promptchain.cli.app import COMMANDS, app
from promptchain.criteria import ASSERTIONS, OPTIONS, Assertion, Gate, Test
from promptchain.errors import PromptChainError
from promptchain.parts import Retrieve, Tool
from promptchain.settings import Settings
from promptchain.tuning import Tuning
from tests.workspace import Workspace

TOPICS = {file.stem: file.read_text(encoding="utf-8") for file in help.TOPICS.glob("*.md")}


@cache
def commands() -> dict[str, Any]:
    """Every command and subcommand by its words."""
    root = typer.main.get_command(app)
    return dict(_below(root, root.make_context("chain", [], resilient_parsing=True), ""))


def _below(group: Any, context: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield before + name, command
        if hasattr(command, "list_commands"):
            yield from _below(command, context, f"{before}{name} ")


def test_every_command_has_an_example() -> None:
    assert len(commands()) >= len(COMMANDS)
    for words, command in commands().items():
        examples = re.findall(r"Examples?:(.*)", command.help, re.DOTALL)
        assert examples, words
        assert f"chain {words}" in examples[0], words


def test_help_is_for_every_terminal() -> None:
    """click writes UTF-8 even to a terminal of ASCII, where a topic is spelt out."""
    for words, command in commands().items():
        told = [command.help, *(getattr(param, "help", None) or "" for param in command.params)]
        assert "".join(told).isascii(), words


@pytest.mark.parametrize("columns", [40, 51])
def test_every_help_fits_a_narrow_terminal(columns: int, empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ("", *commands()):
        done = empty.invoke(*words.split(), "--help")
        assert done.code == 0, done
        assert not [line for line in done.out.splitlines() if cell_len(line) > columns], (words, done)
        assert not re.search(r"<(?:int|float|str|list|path)\b", done.out), (words, done)
        told = re.sub(r"\W", "", done.out)
        assert all(re.sub(r"\W", "", param.help or "") in told for param in _params(words)), (words, done)


def _params(words: str) -> list[Any]:
    return [param for param in commands()[words].params if getattr(param, "help", None)] if words else []


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("width", [40, 80])
def test_topics_fit(topic: str, width: int) -> None:
    lines = [*help.lines(TOPICS[topic], width)]
    assert TOPICS[topic].startswith(f"# {lines[0]}\n")
    assert "```" not in "".join(lines)
    assert not [line for line in lines if cell_len(line) > width and not line.startswith("    ")]
    assert not [line for line in lines if cell_len(line) > 80 and line.startswith("    ")]
    assert not any(not one and not other for one, other in pairwise(lines))
    words = re.sub(r"```\w*\n|```$|^# ", "", TOPICS[topic]).split()
    assert "\n".join(lines).split() == words, "nothing is lost"


def test_a_topic_in_a_pipe_and_the_list(empty: Workspace) -> None:
    done = empty.invoke("help", "exit-codes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [*help.lines(TOPICS["exit-codes"], 80)]
    assert empty.invoke("help", "Exit-Codes").out == done.out
    listed = empty.invoke("help").out
    assert all(f"  {topic} " in listed for topic in TOPICS)
    assert all(command in listed for command in COMMANDS)


@pytest.mark.parametrize("words", [("compile",), ("runs", "show"), ("runs",)])
def test_a_command_is_explained_as_by_itself(words: tuple[str, ...], empty: Workspace) -> None:
    assert empty.run("help", *words).out == empty.run(*words, "--help").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refrences"], "there is no topic and no command 'refrences'\n  hint: did you mean 'references'?"),
        (["compil"], "there is no topic and no command 'compil'\n  hint: did you mean 'compile'?"),
        (["xyzzy"], "there is no topic and no command 'xyzzy'\n  hint: chain help lists them"),
        (["../../errors"], "there is no topic and no command '../../errors'\n  hint: chain help lists them"),
        (["runs", "shw"], "'chain runs' has no command 'shw'\n  hint: did you mean 'show'?"),
        (["check", "it"], "'chain check' has no command 'it'\n  hint: chain check --help"),
    ],
)
def test_what_is_not_known(words: list[str], message: str, empty: Workspace) -> None:
    done = empty.invoke("help", *words)
    assert (done.code, done.out, done.err) == (2, "", f"error: {message}\n")


def prose(topic: str) -> str:
    return re.sub(r"```.*?```", "", TOPICS[topic], flags=re.DOTALL)


def named(topic: str) -> set[str]:
    """What stands in backticks, and each of its words."""
    spans = re.findall(r"`([^`]+)`", prose(topic))
    return {*spans, *(word for span in spans for word in re.findall(r"[\w-]+", span))}


def keys(*models: Any) -> set[str]:
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def test_every_exit_code_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PromptChainError)]
    codes = {kind.exit_code for kind in kinds} | {0, 100, INTERRUPTED}
    assert {f"{code}" for code in codes} == {name for name in named("exit-codes") if name.isdecimal()}


def test_every_setting_is_explained() -> None:
    assert {*Settings.model_fields} <= named("settings")
    variables = {name for name in named("settings") if name.startswith("PROMPTCHAIN_")}
    assert {
        f"PROMPTCHAIN_{name.upper()}" for name in {*Settings.model_fields} - {"protected_labels", "redact"}
    } <= variables
    source = "".join(file.read_text() for file in Path(loader.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'"(PROMPTCHAIN_[A-Z_]+[A-Z])"', source)) <= variables


def test_every_assertion_is_explained() -> None:
    assert {*ASSERTIONS, *OPTIONS} | keys(Assertion) - {"options"} <= named("assertions")


@pytest.mark.parametrize(
    ("topic", "models"),
    [
        ("chain-file", (Chain, PromptStep, RetrieveStep, PythonStep, ChainStep)),
        ("retrieval", (Retrieve,)),
        ("tools", (Tool,)),
        ("testing", (Gate, Test)),
        ("compiling", (Tuning,)),
    ],
)
def test_every_key_is_explained(topic: str, models: tuple[Any, ...]) -> None:
    known = {*named(topic), *re.findall(r"[\w-]+(?=:)", TOPICS[topic])}
    assert keys(*models) - {"name"} <= known


def _examples(language: str) -> list[tuple[str, str]]:
    found = [
        (topic, block)
        for topic, text in TOPICS.items()
        for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]
    assert found
    return found


@pytest.mark.parametrize(("topic", "block"), _examples("sh"))
def test_commands_of_topics_are_commands(topic: str, block: str) -> None:
    for line in block.splitlines():
        for part in re.split(r";|&&", line):
            if part.strip().startswith("chain "):
                _parse(shlex.split(part)[1:])


def _parse(words: list[str]) -> None:
    """Take the words apart as the command would."""
    name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in commands()), "")
    assert name, words
    commands()[name].make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize("topic", TOPICS)
def test_commands_in_the_text_are_commands_too(topic: str) -> None:
    for span in re.findall(r"`chain ([^`]+)`", prose(topic)):
        words = shlex.split(span)
        if words[0] == "help":
            assert words[1] in TOPICS or words[1] == "TOPIC", span
            continue
        name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in commands()), "")
        assert name, span
        known = {option for param in commands()[name].params for option in param.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, span


CHAIN_PARTS = [(topic, block) for topic, block in _examples("yaml")]


@pytest.mark.parametrize(("topic", "block"), CHAIN_PARTS)
def test_parts_of_chains_are_right(topic: str, block: str, empty: Workspace) -> None:
    """With steps for what an example leaves out, it is a chain that `chain check` passes."""
    data = yaml.safe_load(block)
    data.setdefault("model", "scripted/any.yaml")
    steps = data.setdefault("steps", {})
    names = {"message", "question", "intent", "amount", "help", "reply"} - {*steps, *data.get("inputs", {})}
    data.setdefault("inputs", {})
    for name in names - {"help", "reply"}:
        data["inputs"].setdefault(name, "any")
    steps.setdefault("last", {"prompt": "x"})
    if "test" in data:
        for name in ("intent", "reply"):
            data["inputs"].pop(name, None)
            steps.setdefault(name, {"prompt": "{{ message }}"})
        steps.setdefault("help", {"retrieve": {"from": "support/help/*.md", "query": "{{ message }}"}})
    empty.write("any.yaml", "[]")
    empty.write(
        "shop.py", "def price(item: str) -> float:\n    return 1.0\n\n\ndef refund(order: int) -> str:\n    return ''\n"
    )
    empty.write("chains/summarise.yaml", "model: m\ninputs: {text: string}\nsteps: {a: {prompt: '{{ text }}'}}\n")
    for file in ("help/a.md", "support/help/a.md"):
        empty.write(f"chains/{file}", "# A page\n\nText.\n")
    for file in ("support/a.jsonl", "support/support.jsonl"):
        empty.write(f"chains/{file}", "{}\n")
    empty.write("chains/example.yaml", yaml.safe_dump(data))
    done = empty.invoke("check", "example")
    assert done.code == 0, (topic, done)
