"""Shell completion. It must be quick and must never fail: a broken project completes to nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from promptchain.errors import PromptChainError

_MOST = 100
"""Versions that are offered, the newest: nobody reads more."""


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


def _keys_of_chain(form: Callable[[str], str], *sections: str) -> Callable[[Any, str], list[str]]:
    """What completes to the keys of the first section that the chain has."""

    def complete(ctx: Any, incomplete: str) -> list[str]:
        return [word for word in map(form, _keys(_chain_of(ctx), *sections)) if word.startswith(incomplete)]

    return complete


def _keys(chain: str, *sections: str) -> list[str]:
    from promptchain import document

    try:
        file = next(file for file in _chain_files() if file.stem == chain)
        data = document.read(file).value
        found: Any = next((data[section] for section in sections if data.get(section)), {})
        return [str(key).split("(")[0].rstrip("?") for key in found]
    except (StopIteration, OSError, PromptChainError, AttributeError, TypeError):
        return []


steps = _keys_of_chain(lambda key: key, "steps")
inputs = _keys_of_chain(lambda key: key + "=", "inputs")
outputs = _keys_of_chain(lambda key: key, "outputs", "steps")


def steps_of_run(ctx: Any, incomplete: str) -> list[str]:
    """The steps of the chain whose run was named before."""
    return [step for step in _keys(_chain_of_run(ctx), "steps") if step.startswith(incomplete)]


def refs_of_run(ctx: Any, incomplete: str) -> list[str]:
    """The work tree, and the labels and versions of the chain whose run was named before."""
    return [ref for ref in (".", *_refs(_chain_of_run(ctx))) if ref.startswith(incomplete)]


def _chain_of_run(ctx: Any) -> str:
    from promptchain.history import History

    with suppress(OSError, PromptChainError), History.find() as history:
        return history.find_run(str(ctx.params.get("run") or next(iter(ctx.args), "last"))).chain
    return ""


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


def step_models(ctx: Any, incomplete: str) -> list[str]:
    """Models, and the steps that may have one of their own; behind STEP= the models for it."""
    step, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{step}={name}" for name in models(begun)]
    named = [f"{name}=" for name in _keys(_chain_of(ctx), "steps")] if "/" not in incomplete else []
    return [*models(incomplete), *(word for word in named if word.startswith(incomplete))]


def remotes(incomplete: str) -> list[str]:
    """The remotes of the repository."""
    from promptchain import location

    with suppress(OSError, ValueError):
        config = (location.git_folder(location.find_root()) / "config").read_text(encoding="utf-8", errors="replace")
        names = re.findall(r'^\s*\[remote "([^"\\]+)"\]', config, re.MULTILINE)
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    return []


def help(ctx: Any, incomplete: str) -> list[str]:
    """Topics and commands; behind a group of commands its own."""
    from promptchain.cli.app import COMMANDS
    from promptchain.cli.help import topics

    return [] if ctx.params.get("words") else [name for name in (*topics(), *COMMANDS) if name.startswith(incomplete)]


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


def sides(ctx: Any, incomplete: str) -> list[str]:
    """Chains and versions; after a first one also the labels and versions of its chain, without its name."""
    own = refs(ctx, incomplete) if "@" not in incomplete and _chain_of(ctx) else []
    return [*versions(incomplete), *own]


def reported(incomplete: str) -> list[str]:
    """What a report may be of: chains and versions, then runs; once an id is begun, evaluations and compiles too."""
    if "@" in incomplete:
        return versions(incomplete)
    tried = _tried(incomplete) if incomplete[:1].isdigit() else []
    return [*versions(incomplete), *runs(incomplete), *tried]


def _tried(begun: str) -> list[str]:
    """The ids of evaluations and compiles, the newest first."""
    try:
        from promptchain.history import History

        with History.find() as history:
            names, kept = history.versions.chains(), history.evaluations
            tests = [one for name in names for own in kept.summaries(name).values() for one in own]
            compiles = [one for name in names for one in kept.compiles(name)]
            found = {str(one["id"]) for one in (*tests, *compiles)}
    except (OSError, PromptChainError):
        return []
    return sorted((word for word in found if word.startswith(begun)), reverse=True)[:_MOST]


def _chain_of(ctx: Any) -> str:
    named = next(
        (ctx.params[key] for key in ("reference", "name", "chain", "names", "sides") if ctx.params.get(key)), ""
    )
    # With an option that waits for its value the words before it are not parsed yet.
    word = named[0] if isinstance(named, list | tuple) else named or next(iter(ctx.args), "")
    return str(word).partition("@")[0]


def _refs(chain: str) -> list[str]:
    try:
        from promptchain.history import History

        with History.find() as history:
            tree = history.versions.tree(chain)
            numbers = islice(tree.numbers(), _MOST)
            return [*tree.labels(), "latest", *(f"v{number}" for number in numbers)]
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
