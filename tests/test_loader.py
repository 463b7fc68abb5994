"""Chain files: every fault is told with its place, its cause and what to do, and all faults of a file at once."""

# ruff: noqa: E501

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import checks, loader, shape
from promptchain.chain import Chain, PromptStep, Text
from promptchain.errors import InvalidFileError
from tests.chain_files import BROKEN, FINE, S
from tests.patience import at_most


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project `proj` with files beside its chains, and one outside of it."""
    root = tmp_path_factory.mktemp("loader") / "proj"
    folder = root / "chains"
    (folder / "sub").mkdir(parents=True)
    (folder / "docs").mkdir()
    (root.parent / "outside.md").write_text("x")
    (folder / "link.md").symlink_to(root.parent / "outside.md")
    (root.parent / "outside.yaml").write_text("steps: {a: {prompt: x}}\n")
    (folder / "linked.yaml").symlink_to(root.parent / "outside.yaml")
    files = {
        "docs/one.md": "# One\n",
        "reply.md": "Hello\r\n{{ message }}\n",
        "plain.md": "\ufeffplain",
        "empty.md": "\n",
        "syntax.md": "a\n b {{ m | }}\n",
        "unknown.md": "a\n  b mm {{ mm }}\n",
    }
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    (folder / "latin.md").write_bytes(b"caf\n x\xe9")
    (folder / "other.yaml").write_text("inputs: {message: string}\nsteps: {a: {prompt: '{{ message }}'}}\n")
    (folder / "look.yaml").write_text("inputs: {what: string}\nsteps: {a: {prompt: '{{ what }}'}}\n")
    (root / "support").mkdir()
    (root / "support/tools.py").write_text("def fix(rows, n):\n    return {'x': rows * n}\n")
    (root / "x.py").write_text("def y(q=None):\n    return q\n")
    return root


def load(project: Path, source: str | bytes) -> Chain:
    path = project / "chains" / "bad.yaml"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return loader.load(path, project)


def said(project: Path, source: str | bytes) -> str:
    """All problems, those of the chain file without its name."""
    with pytest.raises(InvalidFileError) as caught:
        load(project, source)
    return "\n".join(str(problem).removeprefix("chains/bad.yaml:") for problem in caught.value.problems)


@pytest.mark.parametrize(("source", "expected"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_file_says_all_that_is_wrong_and_no_more(source: str | bytes, expected: str, project: Path) -> None:
    with at_most(1 if len(source) < 50_000 or "~ m" not in str(source) else 5):
        assert said(project, source) == expected


@pytest.mark.parametrize(
    "source",
    [
        FINE,
        FINE.replace("\n", "\r\n"),
        "\ufeff" + FINE,
        "inputs:\noutputs:\nsteps:\n  a: &a\n    prompt: x\n  b: *a\n  c: {<<: *a, retry: 0}\n",
        S + "  a:\n    prompt: {file: sub/../plain.md}\n    output: string\n",
    ],
)
def test_what_is_right_loads(source: str, project: Path) -> None:
    chain = load(project, source)
    assert chain.name == "bad"
    prompts = {name: step.prompt for name, step in chain.steps.items() if isinstance(step, PromptStep)}
    if "reply" in prompts:
        assert chain.steps["intent"].output == ["yes", "no"]
        assert prompts["reply"] == Text(text="Hello\r\n{{ message }}\n", file="chains/reply.md")
    if "plain" in source:
        assert prompts["a"] == Text(text="plain", file="chains/plain.md")


TEN = """\
descripton: x
params: {api_key: x}
inputs:
  m: strng
steps:
  my-step:
    prompt: x
  a:
    prompt: "{{ b.q }} {{ broken }} {{ gone }}"
    timeout: soon
  b:
    prompt: "{{ a | uper }} {{ broken.x }}"
    output: {r: string}
  broken:
    prompt: [x]
    output: {r: string}
  c:
    prompt: "{{ d }}{{ b.s }}"
  d:
    prompt: "{{ c }}"
    needs: [broken]
    assert: [{value: x}, {type: nope}]
outputs:
  o: "{{ broken.anything }} {{ nowhere }}"
"""


def test_all_faults_of_a_file_come_at_once_in_order_and_once(project: Path) -> None:
    lines = said(project, TEN).splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "1:1: unknown key 'descripton'",
        "2:10: a secret ('api_key') does not belong in a chain file",
        "4:6: unknown type 'strng'",
        "6:3: 'my-step' cannot be a step's name",
        "9:19: 'b' has no field 'q'",
        "9:40: step 'a' uses unknown input or step 'gone'",
        "10:14: 'timeout' must be a number of seconds, not a text ('soon')",
        "12:21: in the template: unknown filter 'uper'",
        "15:13: 'prompt' must be a text or {file: PATH}, not a list",
        "17:3: the steps wait for each other: c → d → c",
        "18:26: 'b' has no field 's'",
        "22:14: item 1 of 'assert' has no 'type'",
        "22:33: unknown assertion 'nope'",
        "24:32: output 'o' uses unknown input or step 'nowhere'",
    ]


def test_a_flood_of_faults_is_cut_off(project: Path) -> None:
    keys = "".join(f"k{i}: 1\n" for i in range(5000))
    lines = said(project, keys + "steps:\n  a:\n    prompt: x\n").splitlines()
    assert len(lines) == 101
    assert lines[-1] == "100:1: there are more problems after this one; mend these first"


def test_files_that_are_no_chain_files(project: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError, match=r"nope\.yaml: there is no such file"):
        loader.load(project / "chains" / "nope.yaml", project)
    for name in ("b.yaml", "a.yml", "a.lock.yaml", ".hidden.yaml", "notes.md"):
        (tmp_path / name).touch()
    assert [path.name for path in loader.chain_files(tmp_path)] == ["a.yml", "b.yaml"]
    assert not list(loader.chain_files(tmp_path / "nope"))


# -- whatever is written -----------------------------------------------------------------------------------------------


def check_is_sound(project: Path, source: str) -> None:
    """It loads or is refused, soon, with places that are in the file."""
    problems: tuple[Any, ...] = ()
    with at_most(3):
        try:
            load(project, source)
        except InvalidFileError as exc:
            problems = exc.problems
    lengths = [len(line) for line in source.removeprefix("\ufeff").splitlines()]
    for problem in problems:
        if problem.where.file == "chains/bad.yaml":
            line, column = problem.where.line, problem.where.column
            assert 1 <= line <= len(lengths) + 1
            assert 1 <= column <= (lengths[line - 1] if line <= len(lengths) else 0) + 1
        assert problem.message[:1].strip()
        assert "\n" not in str(problem)
    assert len(set(problems)) == len(problems)


WORDS = st.sampled_from([
    "name", "steps", "inputs", "outputs", "test", "a", "b", "prompt", "retrieve", "python", "chain", "for_each", "in", "as", "needs",
    "retry", "fallbacks", "demos", "assert", "type", "output", "file", "text", "freeze", "when", "model", "string", "{{ a }}", "{{ b.c }}",
    "reply.md", "m:f", "prompt: x", "", "(*)", "a(array)", "b?", "properties", "object", "$ref", "item", "format", "select", "samples",
])  # fmt: skip
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_chain_file_or_refused(project: Path, text: str) -> None:
    check_is_sound(project, text)


@settings(max_examples=300, deadline=None)
@given(DATA, st.dictionaries(WORDS, st.dictionaries(WORDS, DATA, max_size=5), max_size=3), st.booleans())
def test_any_data_is_a_chain_or_refused(project: Path, data: Any, steps: Any, flow: bool) -> None:
    if isinstance(data, dict):
        data = {**data, "steps": steps or data.get("steps")}
    check_is_sound(project, yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow, sort_keys=False))


@settings(max_examples=200, deadline=None)
@given(st.integers(), st.integers(1, 4))
def test_a_chain_file_that_a_cat_walked_over_is_a_chain_or_refused(project: Path, seed: int, times: int) -> None:
    chance = random.Random(seed)
    source = FINE
    for _ in range(times):
        at, length = chance.randrange(len(source)), chance.choice((0, 1, 1, 5, 40))
        typed = "".join(chance.choices("{}[]:#\"'|>-&*!%@,. \n\tax1é", k=chance.choice((0, 1, 1, 2))))
        source = source[:at] + typed + source[at + length :]
    check_is_sound(project, source)


def test_shapes_tell_where_things_stand_in_the_file() -> None:
    data = {"steps": {"a": {"prompt": "x", "needs": [1, "b", {}, "c"]}}}
    read = shape.Shape("c", data)
    assert [fault.path for fault in read.faults] == [("steps", "a", "needs", 0), ("steps", "a", "needs", 2)]
    assert read.chain is not None
    assert read.chain.steps["a"].needs == ("b", "c")
    found = [read.original(fault.path) for fault in checks.check(read.chain)]
    assert found == [("steps", "a", "needs", 1), ("steps", "a", "needs", 3)]


def test_turns_without_tools_are_told(tmp_path: Path) -> None:
    path = tmp_path / "chains/c.yaml"
    path.parent.mkdir()
    path.write_text("model: m\nsteps: {a: {prompt: x, max_turns: 3}}\n")
    with pytest.raises(InvalidFileError, match="there are no turns to take without tools"):
        loader.load(path, root=tmp_path)
