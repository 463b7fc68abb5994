"""The house keeps its order: a module imports only from rows above its own, and the start stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "promptchain"

ROWS = (
    "errors",
    "threads",
    "rounding",
    "atomic",
    "modules",
    "importing",
    "docstrings",
    "document",
    "schema",
    "validate",
    "picoschema",
    "structured",
    "types",
    "markers",
    "sandbox",
    "template",
    "model",
    "criteria",
    "mcp_spec",
    "parts",
    "tuning",
    "chain",
    "models",
    "plan",
    "criteria_checks",
    "value_types",
    "checks",
    "shape",
    "lm",
    "lm.protocol",
    "lm.*",
    "records",
    "told",
    "plain",
    "signatures",
    "functions",
    "retrieval",
    "retrieval.passages",
    "retrieval.*",
    "uses",
    "loader",
    "mcp_stdio",
    "mcp_results",
    "mcp_connection",
    "mcp_servers",
    "similarity",
    "jsonish",
    "calling",
    "media",
    "render",
    "words",
    "changes",
    "renames",
    "diff",
    "diff_runs",
    "diff_uses",
    "events",
    "event_json",
    "feed",
    "tracing",
    "tracing.names",
    "tracing.tree",
    "tracing.spans",
    "tracing.export",
    "statistics",
    "inputs",
    "dataset",
    "promptfoo",
    "examples",
    "location",
    "yaml_text",
    "formatting",
    "formatting.nodes",
    "formatting.*",
    "scaffold",
    "scaffold.changes",
    "scaffold.*",
    "lock",
    "diff_lock",
    "fingerprints",
    "sources",
    "adopted",
    "steps",
    "steps.outcome",
    "steps.workshop",
    "steps.context",
    "steps.*",
    "assertions",
    "assertions.protocol",
    "assertions.*",
    "step_judge",
    "attempt",
    "binding",
    "runner",
    "replay",
    "batch",
    "results",
    "scorer",
    "blame",
    "gold",
    "evaluate",
    "selection",
    "summary",
    "comparison",
    "gates",
    "bench",
    "optimizers",
    "optimizers.*",
    "compile",
    "store",
    "store.snapshot",
    "store.stream",
    "store.objects",
    "store.collection",
    "store.spool",
    "store.repo",
    "store.meta",
    "store.index",
    "store.runs",
    "store.versions",
    "store.evaluations",
    "store.sync",
    "store.inspect",
    "snapshots",
    "history",
    "settings",
    "record_file",
    "project",
    "trust",
    "recording",
    "evaluations",
    "testing",
    "freshness",
    "courses",
    "compiling",
    "estimate",
    "reports",
    "reports.*",
    "ci",
    "ci.*",
    "needs",
    "health",
    "api",
    "",  # the package itself, which offers what `api` has
    "cli",
    "cli.*",
)
"""From the foundation up; where two rows fit a module, the one without a star is its own."""

SIBLINGS = ("lm", "retrieval", "steps", "assertions", "optimizers", "reports", "formatting", "scaffold", "ci", "cli")
"""Rooms whose modules may import each other."""

LM_MAY_IMPORT = {"errors": "*", "document": ("lm.scripted", "lm.settings")}
"""Outside of lm/, what its modules may import, and which of them."""

NEVER = (("store*", "runner"), ("store*", "steps*"), ("runner", "store*"), ("optimizers*", "store*"))
"""Rooms that must not know each other, whatever the order of the rows."""


def modules() -> dict[str, Path]:
    """Each module by its name without `promptchain.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(tree: ast.Module, name: str) -> Iterator[tuple[str, int]]:
    """What a module imports, in functions too, with the line; what is under `if TYPE_CHECKING:` is not imported."""
    apart = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in apart:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["promptchain", *name.split(".")][: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full.removeprefix("promptchain.") in MODULES else base), node.lineno


def own(imported: str) -> str | None:
    """The name of a module of the package, None for a foreign one."""
    if imported == "promptchain":
        return ""
    return imported.removeprefix("promptchain.") if imported.startswith("promptchain.") else None


def row(name: str) -> int:
    fitting = [number for number, pattern in enumerate(ROWS) if fnmatchcase(name, pattern)]
    return min(fitting, key=lambda number: "*" in ROWS[number], default=-1)


def faults(name: str, tree: ast.Module) -> Iterator[str]:
    room = name.split(".")[0]
    for imported, line in imports(tree, name):
        place = f"{name or '__init__'}:{line}"
        target = own(imported)
        if target is None:
            if room != "cli" and imported.split(".")[0] in ("typer", "rich", "click"):
                yield f"{place} imports {imported}: only cli/ talks to the terminal"
            continue
        sibling = room in SIBLINGS and target.split(".")[0] == room
        if row(target) >= row(name) and not (sibling and target != name):
            yield f"{place} imports {target or 'promptchain'}, which is not in a row above it"
        allowed = LM_MAY_IMPORT.get(target, ())
        if room == "lm" and not sibling and allowed != "*" and name not in allowed:
            yield f"{place} imports {target}: lm/ stands on errors alone"
        for who, whom in NEVER:
            if fnmatchcase(name, who) and fnmatchcase(target, whom):
                yield f"{place} imports {target}: {who} never sees {whom}"
    if room != "cli":
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                yield f"{name}:{node.lineno} prints: return it, and let cli/ print"


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or "__init__")
def test_a_module_imports_only_from_rows_above_its_own(name: str) -> None:
    assert row(name) >= 0, f"give '{name}' a row in ROWS, and in .github/ARCHITECTURE.md"
    assert not list(faults(name, ast.parse(MODULES[name].read_text("utf-8"))))


def test_every_row_has_a_module() -> None:
    assert not [pattern for pattern in ROWS if not any(fnmatchcase(name, pattern) for name in MODULES)]


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("template", "def f():\n    from promptchain import runner\n", "which is not in a row above"),
        ("template", "from .runner import run\n", "which is not in a row above"),
        ("lm.cache", "from promptchain.chain import Chain\n", "lm/ stands on errors alone"),
        ("lm.cache", "from promptchain.document import read\n", "lm/ stands on errors alone"),
        ("runner", "import promptchain\n", "imports promptchain, which"),
        ("runner", "import rich.table\n", "only cli/"),
        ("runner", "print(1)\n", "prints"),
        ("store.repo", "from promptchain.runner import run\n", "never sees"),
        ("chain", "from promptchain.chain import Step\n", "which is not in a row above"),
    ],
)
def test_the_test_sees_what_it_is_to_see(name: str, source: str, said: str) -> None:
    assert any(said in fault for fault in faults(name, ast.parse(source)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("template", "if TYPE_CHECKING:\n    from promptchain.runner import run\n"),
        ("lm.router", "def f():\n    from promptchain.lm.litellm import LiteLLM\n"),
        ("lm.scripted", "from promptchain import document\n"),
        ("cli.run", "import typer\nfrom promptchain.cli import output\nprint(1)\n"),
        ("records", "from promptchain.lm.protocol import Usage\n"),
    ],
)
def test_the_test_lets_pass_what_is_right(name: str, source: str) -> None:
    assert not list(faults(name, ast.parse(source)))


HEAVY = {"litellm", "git", "xllamacpp", "openai", "gepa", "mcp", "opentelemetry"}
FORMATTING = {"pydantic", "jinja2", "rich", "yaml", "jsonschema"}
SHOW_IMPORTS = """
import os, sys

def leave(code, end=os._exit):
    print("exit", code, file=sys.__stderr__)
    print("loaded", *{name.split(".")[0] for name in sys.modules}, file=sys.__stderr__)
    sys.__stderr__.flush()
    end(code)

os._exit = leave
sys.argv = ["chain", *sys.argv[1:]]
from promptchain.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "completing", "forbidden", "answer"),
    [
        (["--help"], None, HEAVY | FORMATTING, "Usage: chain"),
        (["check"], None, HEAVY, "demo"),
        (["show", "demo"], None, HEAVY, "demo"),
        (["fmt", "--check"], None, HEAVY, ""),
        (["init", "--dry-run"], None, HEAVY, "would make"),
        ([], ("chain sh", 1), HEAVY | {"jinja2", "rich", "yaml"}, "show"),
        ([], ("chain show de", 2), HEAVY | {"jinja2", "rich", "yaml"}, "demo"),
        ([], ("chain run demo -m lo", 4), HEAVY, ""),
    ],
)
def test_the_start_is_light(
    words: list[str], completing: tuple[str, int] | None, forbidden: set[str], answer: str, tmp_path: Path
) -> None:
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains" / "demo.yaml").write_text("steps:\n  a:\n    prompt: Hello\n")
    environment = dict(os.environ)
    if completing:
        environment |= {
            "_CHAIN_COMPLETE": "complete_bash",
            "COMP_WORDS": completing[0],
            "COMP_CWORD": str(completing[1]),
        }
    done = subprocess.run(
        [sys.executable, "-c", SHOW_IMPORTS, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "exit 0" in done.stderr, done.stderr
    assert answer in done.stdout
    assert not forbidden & set(done.stderr.rpartition("loaded")[2].split())
