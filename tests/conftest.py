"""Every test has a home, a cache and an environment of its own: nothing of the developer's machine gets in."""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from promptchain.lm import patterns
from tests.workspace import Workspace

# A gate must say the same twice of the same code, however slow the machine is just then: no example may take too long,
# and the examples are the same each time. `pytest --hypothesis-profile=search` looks for new ones.
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("search", STEADY)
settings.register_profile("gate", STEADY, derandomize=True, database=None)
settings.load_profile("gate")

# Who starts the tests in the background may have them ignore signals, which what they start then does too.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

BENCHMARKS = Path(__file__).parent / "benchmarks"

_FOREIGN = re.compile(
    r"(GIT|PROMPTCHAIN|OTEL|XDG|LITELLM|OPENAI|ANTHROPIC|AZURE|AWS|GOOGLE|GEMINI|VERTEXAI|OLLAMA|HF|HUGGINGFACE)_.*"
    r"|.*(_KEY|_TOKEN|_SECRET|_PASSWORD|_API_BASE|_BASE_URL)"
    r"|TRACEPARENT|TRACESTATE|NO_COLOR|FORCE_COLOR|CLICOLOR(_FORCE)?|CI|GITHUB_.*|COLUMNS|LINES",
    re.IGNORECASE,
)
_KEPT = {"GIT_SSL_CAINFO"}
_numbers = itertools.count()


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, _homes: Path) -> Path:
    """Gives the test an empty home folder, and takes away what the environment says to git, models and terminals."""
    patterns.forget()
    home = _homes / str(next(_numbers))
    home.mkdir()
    for name in os.environ:
        if _FOREIGN.fullmatch(name) and name not in _KEPT:
            monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name, folder in {
        "CONFIG": ".config",
        "CACHE": ".cache",
        "DATA": ".local/share",
        "STATE": ".local/state",
    }.items():
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / folder))
    for name in ("LOCALAPPDATA", "APPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,::1")  # the loopback servers
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")
    return home


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Benchmarks run on demand: where -m chooses, or where they are asked for by their path."""
    if config.option.markexpr or any(_in_benchmarks(config, argument) for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("benchmark")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What has been loaded by now stays; the collector need not look through it again and again."""
    gc.freeze()


def _in_benchmarks(config: pytest.Config, argument: str) -> bool:
    path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
    return path.is_relative_to(BENCHMARKS)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A folder without chains, which is the current one; its caches and models are its own."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it hides what goes wrong when a stream is flushed
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", str(tmp_path / "models"))
    return Workspace(root)


@pytest.fixture
def demo(empty: Workspace) -> Workspace:
    """A project with the chain `demo` of three steps."""
    empty.chain()
    return empty


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command that is interrupted in this process ignores signals from there on; what other tests start must not."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
