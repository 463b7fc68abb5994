"""What `promptchain.health` finds, as values; tests/cli/test_models.py has what is printed of it."""

import shutil
import sys
import time
from pathlib import Path

import pytest

from promptchain import health
from promptchain.errors import Fault, ModelError
from promptchain.health import Level, check_model, diagnose, usable_models
from promptchain.records import StepVariant
from tests import lock_kit
from tests.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    return Workspace(tmp_path / "project")


def test_local_models_come_first_and_the_usable_before_the_rest(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", "x")
    project.write("../models/mine.gguf", "GGUF")
    found = usable_models()
    kinds = [(not model.name.startswith("local/"), model.why_not is not None) for model in found]
    assert kinds == sorted(kinds)
    assert {"local/mine", "xai/…"} <= {model.name for model in found if model.why_not is None}
    assert all(model.remedy for model in found if model.why_not and not model.name.startswith("local/"))
    assert len({model.name for model in found}) == len(found)


@pytest.mark.parametrize("variables", [("AZURE_API_KEY",), ("AZURE_API_BASE",), ()])
def test_every_variable_that_is_missing_is_named(variables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables:
        monkeypatch.setenv(name, "x")
    azure = next(model for model in usable_models() if model.name == "azure/…")
    missing = [name for name in ("AZURE_API_KEY", "AZURE_API_BASE") if name not in variables]
    verb = "is" if len(missing) == 1 else "are"
    assert azure.why_not == " and ".join(missing) + f" {verb} not set"
    assert azure.remedy == f"export {missing[0]}=…"


def test_a_missing_git_and_an_unwritable_cache_are_warnings(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(health.os, "access", lambda path, mode: False)
    found = {finding.subject: finding for finding in diagnose(project.root)}
    assert (found["git"].level, found["cache"].level) == (Level.WARNING, Level.WARNING)
    assert "install git" in (found["git"].remedy or "")
    assert "PROMPTCHAIN_CACHE_DIR" in (found["cache"].remedy or "")


def test_the_model_of_the_settings_is_looked_at_for_chains_without_one(project: Workspace) -> None:
    project.write("chains/a.yaml", "steps: {x: {prompt: hi}}")
    project.write("chains/b.yaml", "steps: {x: {prompt: hi}}")
    project.write("promptchain.toml", 'model = "local/nope"')
    found = {finding.subject: finding for finding in diagnose(project.root)}
    assert found["model local/nope"].level is Level.ERROR
    assert "(used by a, b)" in found["model local/nope"].message
    assert found["a"].message == "1 step"


def test_one_bad_chain_does_not_hide_the_others(project: Workspace) -> None:
    project.write("chains/a.yaml", "steps: [")
    project.write("chains/B B.yaml", "steps: {x: {prompt: hi}}")
    project.write("chains/c.yaml", f"model: {project.model('x')}\nsteps: {{x: {{prompt: hi}}}}")
    levels = {finding.subject: finding.level for finding in diagnose(project.root)}
    assert (levels["a"], levels["B B"], levels["c"]) == (Level.ERROR, Level.ERROR, Level.OK)


def test_check_model_is_quick_and_says_what_kind_of_fault(project: Workspace) -> None:
    began = time.perf_counter()
    problem = check_model("openai/gpt-4o", {"api_base": "http://127.0.0.1:9/v1"})
    assert isinstance(problem, ModelError)
    assert problem.fault is Fault.CONNECTION
    assert "127.0.0.1:9" in problem.message
    assert isinstance(missing := check_model("openai/gpt-4o"), ModelError)
    assert missing.fault is Fault.AUTH
    assert check_model(project.model("x")) is None
    assert time.perf_counter() - began < 30


def test_what_compiled_prompts_need_is_looked_at(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    project.chain(replies=["card"])
    picked = lock_kit.POOL.model_copy(update={"by": "local/wordllama"})
    lock_kit.adopt(project, steps={"intent": StepVariant(nearest=picked)})
    monkeypatch.setitem(sys.modules, "wordllama", None)
    [found] = [finding for finding in diagnose(project.root) if finding.subject == "model local/wordllama"]
    assert (found.level, found.remedy) == (Level.ERROR, "pip install 'promptchain[rag]'")
    assert "used by demo" in found.message
    project.write("chains/demo.lock.yaml", "format: 99\n")
    [found] = [finding for finding in diagnose(project.root) if finding.subject == "demo" and finding.level != Level.OK]
    assert "a newer promptchain wrote this lock" in found.message
