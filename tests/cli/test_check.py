"""`chain check` and `chain schema`."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from promptchain import document
from tests.workspace import DEMO, Workspace

BROKEN = """
modle: local/smollm2
steps:
  first:
    prompt: "{{ mesage }}"
  second:
    promt: "{{ frist }}"
"""


def test_all_chains_are_checked_and_every_problem_is_a_line(demo: Workspace) -> None:
    demo.write("chains/broken.yaml", BROKEN)
    demo.write("chains/empty.yml", "")
    demo.write("chains/demo.lock.yaml", "format: 1\n")  # not a chain
    demo.write("chains/notes.txt", "not a chain")
    done = demo.invoke("check")
    assert done.code == 1
    lines = done.out.splitlines()
    assert "ok chains/demo.yaml: 3 steps" in lines
    problems = [line for line in lines if line.startswith("chains/broken.yaml:")]
    assert len(problems) >= 3
    assert problems[0].startswith("chains/broken.yaml:2:1: ")
    assert "did you mean 'model'?" in problems[0]
    assert any(line.startswith("chains/empty.yml") for line in lines)
    assert "3 chains checked: " in done.err
    assert "in 2 files" in done.err


def test_how_a_chain_is_compiled_is_checked_too(demo: Workspace) -> None:
    demo.write("chains/demo.yaml", f"{DEMO}compile:\n  optimiser: demos\n  steps: [intend]\n")
    done = demo.invoke("check", "demo")
    assert done.code == 1
    assert done.out.splitlines() == [
        "chains/demo.yaml:21:3: unknown key 'optimiser'; did you mean 'optimizer'?",
        "chains/demo.yaml:22:11: unknown step 'intend'; did you mean 'intent'?",
    ]


def test_json_has_the_places(demo: Workspace) -> None:
    demo.write("chains/broken.yaml", BROKEN)
    done = demo.invoke("check", "broken", "chains/demo.yaml", "demo", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    broken, good = done.json["chains"]
    kinds = dict.fromkeys(("intent", "draft", "check"), "prompt")
    assert good == {
        "chain": "demo", "file": "chains/demo.yaml", "ok": True, "steps": 3, "kinds": kinds, "problems": []
    }  # fmt: skip
    first = broken["problems"][0]
    assert (first["file"], first["line"], first["column"]) == ("chains/broken.yaml", 2, 1)
    assert first["hint"] == "did you mean 'model'?"
    assert demo.invoke("check", "demo", "--json").json["ok"] is True


def test_one_good_chain(demo: Workspace) -> None:
    done = demo.invoke("check", "demo")
    assert (done.code, done.out) == (0, "ok chains/demo.yaml: 3 steps\n")
    assert done.err == "1 chain checked: no problems\n"


def test_a_name_that_cannot_be_is_a_problem_of_its_file(demo: Workspace) -> None:
    demo.write("chains/My Chain.yaml", "steps: {a: {prompt: hi}}")
    demo.write("chains/me@home.yaml", "steps: {a: {prompt: hi}}")
    done = demo.invoke("check")
    assert done.code == 1
    assert "chains/me@home.yaml: " in done.out
    assert "'My Chain' cannot be a chain's name" in done.out
    assert "ok chains/demo.yaml: 3 steps" in done.out


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_checked(demo: Workspace) -> None:
    (demo.root / "chains/away.yaml").symlink_to("nowhere.yaml")
    (demo.root / "chains/odd.yaml").write_bytes(b"\xff\xfe")
    (demo.root / "chains/pipe.yaml").symlink_to("/dev/null")
    done = demo.invoke("check")
    assert (done.code, done.err) == (1, "4 chains checked: 3 problems in 3 files\n"), done
    assert "ok chains/demo.yaml: 3 steps" in done.out


def test_an_empty_chains_folder_is_said(empty: Workspace) -> None:
    (empty.root / "chains").mkdir()
    done = empty.invoke("check")
    assert (done.code, done.out) == (2, "")
    assert "there are no chains in" in done.err
    assert "chains/NAME.yaml" in done.err


def test_every_problem_of_an_invalid_file_stops_a_run_too(demo: Workspace) -> None:
    demo.write("chains/broken.yaml", BROKEN)
    listed = demo.invoke("check", "broken").out.splitlines()
    done = demo.invoke("run", "broken", "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [f"error: {line}" for line in listed]


@pytest.fixture
def schema(demo: Workspace) -> jsonschema.Draft202012Validator:
    found = demo.invoke("schema").json
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_the_schema_takes_every_chain_of_this_repository(schema: jsonschema.Draft202012Validator) -> None:
    schema.validate(yaml.safe_load(DEMO))
    folder = Path(__file__).parents[2] / "chains"
    for file in folder.glob("*.yaml"):
        if not file.stem.endswith(".lock"):
            schema.validate(document.parse(file.read_text(encoding="utf-8"), file.name).value)  # PyYAML refuses {a?: b}


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({"steps": {"a": {"prompt": {"file": "a.md"}, "retry": 2, "for_each": "{{ x }}", "fallbacks": ["m"]}}}, True),
        ({"steps": {"a": {"prompt": "x", "retry": {"parse": 2}, "fallbacks": [{"model": "m"}]}}}, True),
        ({"steps": {"a": {"retrieve": {"from": "*.md", "query": "x"}}, "b": {"python": "a:b"}}}, True),
        ({"steps": {"a": {"chain": "other", "inputs": {"x": 1}}}}, True),
        ({"compile": {"optimizer": "demos", "calls": 600, "split": {"train": 0.5, "dev": 0.25, "test": 0.25}}}, True),
        ({"compile": {"steps": ["intent"], "teacher": "m", "max_p": 0.05, "max_demos": 0}}, True),
        ({"compile": {"optimizer": "nearst"}}, False),
        ({"compile": {"max_demo": 3}}, False),
        ({"compile": {"calls": -1}}, False),
        ({"compile": {"split": {"train": 1}}}, False),
        ({"compile": "auto"}, False),
        ({"steps": {"a": {"prompt": 1}}}, False),
        ({"steps": {"a": {"prompt": "x", "promt": "x"}}}, False),
        ({"steps": {}}, False),
        ({"frob": 1}, False),
    ],
)
def test_the_schema_knows_good_from_bad(
    schema: jsonschema.Draft202012Validator, change: dict[str, object], good: bool
) -> None:
    assert schema.is_valid({**yaml.safe_load(DEMO), **change}) is good
