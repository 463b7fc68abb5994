"""Shell completion. It must be quick and must never fail: a broken project completes to nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from promptchain.errors import PromptChainError


def _chain_files() -> list[Path]:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "chains").is_dir():
            files = sorted((folder / "chains").iterdir())
            return [file for file in files if file.suffix in (".yaml", ".yml") and not file.stem.endswith(".lock")]
    return []


def chains(incomplete: str) -> list[str]:
    """The names of the project's chains."""
    try:
        return [file.stem for file in _chain_files() if file.stem.startswith(incomplete)]
    except OSError:
        return []


def _keys_of_chain(section: str, form: Callable[[str], str]) -> Callable[[Any, str], list[str]]:
    def complete(ctx: Any, incomplete: str) -> list[str]:
        from promptchain import document

        # With an option that waits for its value the words before it are not parsed yet.
        named = ctx.params.get("name") or next(iter(ctx.args), "")
        wanted = str(named).partition("@")[0]
        try:
            file = next(file for file in _chain_files() if file.stem == wanted)
            found = document.read(file).value.get(section, {})
            words = [form(str(key).split("(")[0].rstrip("?")) for key in found]
        except (StopIteration, OSError, PromptChainError, AttributeError, TypeError):
            return []
        return [word for word in words if word.startswith(incomplete)]

    return complete


steps = _keys_of_chain("steps", lambda key: key)
inputs = _keys_of_chain("inputs", lambda key: key + "=")


def models(incomplete: str) -> list[str]:
    """The models that need no network; hosted ones once a provider's name is typed."""
    try:
        from promptchain.lm import catalog, weights

        names = [found.name for found in weights.available() if not found.problem]
        if len(incomplete) >= 3 and not incomplete.startswith("local/"):
            names += [name for name in catalog.known_models() if name.startswith(incomplete)][:50]
    except (OSError, PromptChainError, AttributeError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def optimizers(incomplete: str) -> list[str]:
    """The names of optimizers."""
    from promptchain.tuning import Optimizer

    return [name for name in get_args(Optimizer) if name.startswith(incomplete)]


def versions(incomplete: str) -> list[str]:
    """Chains; behind an @ the labels and versions of one."""
    name, at, begun = incomplete.partition("@")
    if not at:
        return chains(incomplete)
    return [f"{name}@{ref}" for ref in _refs(name) if ref.startswith(begun)]


def refs(ctx: Any, incomplete: str) -> list[str]:
    """The labels and versions of the chain that was named before."""
    return [ref for ref in _refs(_chain_of(ctx)) if ref.startswith(incomplete)]


def labels(ctx: Any, incomplete: str) -> list[str]:
    """The labels of the chain that was named before; of all chains where none was."""
    return [label for label in _labels(_chain_of(ctx)) if label.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """The newest runs."""
    try:
        from promptchain.history import History
        from promptchain.store.index import Query

        with History.find() as history:
            found = [row.id for row in history.runs.select(Query(limit=100))]
    except (OSError, PromptChainError):
        return []
    return [word for word in ("last", *found) if word.startswith(incomplete)]


def reported(incomplete: str) -> list[str]:
    """What a report may be of: chains and versions, then runs."""
    return [*versions(incomplete), *([] if "@" in incomplete else runs(incomplete))]


def _chain_of(ctx: Any) -> str:
    named = ctx.params.get("reference") or ctx.params.get("name") or ctx.params.get("chain")
    return str(named or next(iter(ctx.args), "")).partition("@")[0]


def _refs(chain: str) -> list[str]:
    try:
        from promptchain.history import History

        with History.find() as history:
            tree = history.versions.tree(chain)
            return [*tree.labels(), "latest", *(f"v{number}" for number in tree.numbers())]
    except (OSError, PromptChainError):
        return []


def _labels(chain: str) -> list[str]:
    try:
        from promptchain.history import History

        with History.find() as history:
            names = [chain] if chain else history.versions.chains()
            return sorted({label for name in names for label in history.versions.tree(name).labels()})
    except (OSError, PromptChainError):
        return []
