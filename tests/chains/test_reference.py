"""The reference of the chain file, `chains/README.md`: every example loads, every key has one, and most are run."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from promptchain import binding, plan, runner
from promptchain.chain import Chain, PromptStep, PythonStep, RetrieveStep, file_schema
from promptchain.criteria import ASSERTIONS
from promptchain.errors import ModelError
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Message, Request, Response
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.loader import load
from promptchain.records import Status
from promptchain.steps.workshop import Workshop

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "chains/README.md").read_text(encoding="utf-8")
_WRITTEN = re.findall(r"^```yaml\n(.*?)^```", REFERENCE, re.DOTALL | re.MULTILINE)
SCRIPTS = [block for block in _WRITTEN if block.startswith("# replies\n")]
BLOCKS = [block for block in _WRITTEN if block not in SCRIPTS]
IDS = [f"line{REFERENCE[: REFERENCE.index(block)].count(chr(10)) + 1}" for block in BLOCKS]

INPUTS = """
inputs: {message: string, language?: string, question?: string, photo?: string, report?: string, topics(array): string}
"""
VALUES = {"message": "Where is my card?", "question": "What is 2 + 2?", "topics": ["cards", "money"]}
FILES = {
    "chains/translate.yaml": """
        description: Translate a text.
        model: local/smollm2
        inputs: {text: string, language: string}
        steps: {text2: {prompt: "{{ text }} in {{ language }}"}}
        outputs: {text: "{{ text2 }}"}
        """,
    "chains/support/tone.md": "Be kind.",
    "chains/support/letter.md": "Dear customer: {{ message }}",
    "chains/support/help/cards.md": "# Cards\n\nA card takes five days.\n",
    "chains/support/more/money/fees.md": "# Fees\n\nMoney costs money.\n",
    "chains/support/support.jsonl": '{"message": "Hi", "expected": {"intent": "card"}}\n',
    "chains/refund/rows.jsonl": '{"message": "Hi"}\n',
    "chains/help/search.py": "def find(query: str, top_k: int = 4) -> list[str]:\n    return [query] * top_k\n",
    "chains/extract/functions.py": "def tidy(copied: dict, limit: int) -> dict:\n    return copied\n",
    "chains/agent/tools.py": (ROOT / "chains/agent/tools.py").read_text(encoding="utf-8"),
    "chains/agent/prices.csv": (ROOT / "chains/agent/prices.csv").read_text(encoding="utf-8"),
    "chains/agent/checks.py": "def can_be_worked_out(output: str) -> bool:\n    return True\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def loaded(block: str, project: Path) -> Chain:
    """The chain of an example, completed as its first line says."""
    lines = block.splitlines(keepends=True)
    name = re.fullmatch(r"# chains/(\w+)\.yaml\n", lines[0])
    if lines[0] == "# steps\n":
        block = "steps:\n" + "".join(f"  {line}" if line.strip() else line for line in lines)
    elif not name and "steps:" not in block:
        block += "steps:\n  reply: {prompt: Hello}\n"
    if not name:
        inputs = "" if re.search(r"^inputs:", block, re.MULTILINE) else INPUTS
        block = f"model: local/smollm2\n{inputs}{block}"
    path = project / "chains" / (f"{name[1]}.yaml" if name else "example.yaml")
    path.write_text(block, encoding="utf-8")
    return load(path, root=project)


@pytest.mark.parametrize("block", BLOCKS, ids=IDS)
def test_every_example_loads(block: str, project: Path) -> None:
    assert loaded(block, project).steps


def test_the_script_is_one(tmp_path: Path) -> None:
    [script] = SCRIPTS
    (tmp_path / "replies.yaml").write_text(script, encoding="utf-8")
    lm = ScriptedLM.from_file(tmp_path / "replies.yaml")

    def ask(text: str) -> Response:
        return asyncio.run(lm.complete(Request("scripted/replies.yaml", (Message("user", text),))))

    assert [ask(text).text for text in ("Which amount?", "a", "b", "c", "slow")] == [
        "12.50", "The first other request gets this,", "and the second this.", "I do not know.", "At last.",
    ]  # fmt: skip
    assert ask("The weather?").tool_calls[0].name == "forecast"
    with pytest.raises(ModelError, match="rate limit"):
        ask("busy")


# -- completeness ------------------------------------------------------------------------------------------------------


def _given(value: Any) -> Iterator[tuple[str, set[str]]]:
    """The models in a chain, and the keys that stand in its file."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        names = {fields[name].alias or name for name in value.model_fields_set if name in fields}
        yield f"{type(value).__module__}.{type(value).__name__}", names
        for name in value.model_fields_set:
            yield from _given(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _given(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _given(item)


def _keys(definition: dict[str, Any]) -> set[str]:
    options = [definition, *definition.get("anyOf", ())]
    return {key for option in options for key in option.get("properties", {})}


def test_every_key_has_an_example(project: Path) -> None:
    shown: dict[str, set[str]] = defaultdict(set)
    for block in BLOCKS:
        for name, keys in _given(loaded(block, project)):
            shown[name.rpartition(".")[2] if "Split" not in name else name.replace(".", "__")] |= keys
    schema = file_schema()
    wanted = {name: _keys(definition) for name, definition in schema["$defs"].items()}
    wanted["Chain"] = set(schema["properties"])
    shown["Select"] |= {"best"} if "by" in shown["Select"] else set()
    everywhere = set(PythonStep.model_fields) - {"python", "inputs"}  # shown of any kind of step
    common = {key for name in shown if name.endswith("Step") for key in shown[name] if key.rstrip("_") in everywhere}
    for name in [name for name in wanted if name.endswith("Step")]:
        shown[name] |= common | ({"assert"} & shown["PromptStep"])
    missing = {name: keys - shown[name] for name, keys in wanted.items() if keys - shown[name]}
    assert missing == {}


def test_every_assertion_is_named() -> None:
    table = REFERENCE[REFERENCE.index("| texts |") : REFERENCE.index("\n## Compile")]
    assert set(re.findall(r"`([a-z0-9-]+)`", table)) - {"output", "vars"} == set(ASSERTIONS)


def test_what_is_called_the_default_is_it() -> None:
    assert (PromptStep.model_fields["max_turns"].default, PromptStep.model_fields["samples"].default) == (8, 1)
    chain = yaml.safe_load("{steps: {a: {prompt: x}, b: {retrieve: {query: x, python: 'a:b'}}}, name: c}")
    made = Chain.model_validate(chain)
    prompt, search = made.steps["a"], made.steps["b"]
    assert isinstance(search, RetrieveStep)
    assert (search.retrieve.top_k, search.retrieve.mode) == (4, "lexical")
    assert (prompt.retry.errors, prompt.retry.parse, prompt.retry.assert_) == (3, 1, 0)
    shown = next(yaml.safe_load(block) for block in BLOCKS if "optimizer:" in block)["compile"]
    defaults = made.compile.model_dump(mode="json")
    own = {"calls", "steps", "teacher", "proposer"}
    assert {key: value for key, value in shown.items() if key not in own} == {
        key: value for key, value in defaults.items() if key not in own
    }


# -- running -----------------------------------------------------------------------------------------------------------

_NEEDS_MORE = ("photo", "mcp", "https://", "hybrid")
"""What an example needs that is not here: media, servers, embeddings."""
RUN = [(block, name) for block, name in zip(BLOCKS, IDS, strict=True) if not any(w in block for w in _NEEDS_MORE)]


def _instance(schema: Any) -> Any:
    """The least that fits a schema."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if options := schema.get("anyOf"):
        return _instance(options[-1])
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _instance(part) for name, part in schema.get("properties", {}).items()}
    return {"array": [], "integer": 1, "number": 1, "boolean": True, "null": None}.get(kind, "card 2 + 2")


def _reply(request: Request) -> str:
    """Such a reply as the request asks for, whatever it asks."""
    if request.choices:
        return request.choices[0]
    system = request.messages[0].content
    if '{"answer": …}' in system:
        return '{"answer": "card 2 + 2"}'
    if "Answer:" in system:
        return "Thinking.\nAnswer: card"
    found = re.search(r"JSON Schema, and nothing else:\n(.*)", system)
    if schema := request.schema or (json.loads(found[1]) if found else None):
        return json.dumps(_instance(schema))
    return "2" if "number" in system else "2 + 2" if "expression" in system else "card 2"


@pytest.mark.parametrize("block", [block for block, _ in RUN], ids=[name for _, name in RUN])
def test_examples_run(block: str, project: Path, tmp_path: Path) -> None:
    chain = loaded(block, project)
    lm = ScriptedLM([Rule(_reply, always=True)])
    workshop = Workshop(project, state=tmp_path / "state")
    bound = binding.bind(plan.build(chain), lm, workshop=workshop)
    values = VALUES if "message" in chain.input_type.fields() else {"question": "What is 2 + 2?"}
    needed = {name: value for name, value in values.items() if name in chain.input_type.fields()}
    result = asyncio.run(runner.run(bound, needed, Caller(lm)))
    assert (result.status, result.error) == (Status.DONE, None)
