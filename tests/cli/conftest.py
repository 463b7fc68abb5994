from pathlib import Path

import pytest

from tests.workspace import Workspace


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A folder without chains, which is the current one; its caches and models are its own."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", str(tmp_path / "models"))
    return Workspace(root)


@pytest.fixture
def demo(empty: Workspace) -> Workspace:
    """A project with the chain `demo` of three steps."""
    empty.chain()
    return empty
