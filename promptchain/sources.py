"""What of the project decides what a chain does and stands in no prompt: code and passages, as hashes of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptchain import location, modules
from promptchain.chain import Chain, ChainStep, PromptStep, PythonStep, RetrieveStep, digest
from promptchain.parts import Retrieve
from promptchain.plan import AnyStep


def of(chain: Chain, folder: Path, root: Path) -> dict[str, dict[str, str]]:
    """By kind ("python", "retrieve") the files that the chain's own steps use, with the SHA-256 of each. What is not
    there is left out: the checks tell of it.

    folder: that of the chain file. root: the project's."""
    found: dict[str, dict[str, str]] = {}
    for name in chain.steps:
        for kind, hashes in of_step(chain, name, folder, root).items():
            found.setdefault(kind, {}).update(hashes)
    return found


def of_step(chain: Chain, name: str, folder: Path, root: Path) -> dict[str, dict[str, str]]:
    """As `of`, of one step."""
    found: dict[str, dict[str, str]] = {}
    for function in _functions(chain, name):
        found.setdefault("python", {}).update(modules.fingerprint(function, root))
    step = chain.steps[name]
    if isinstance(step, RetrieveStep) and step.retrieve.patterns:
        found["retrieve"] = passages(step.retrieve, folder, root)
    return found


def fingerprints(chain: Chain, folder: Path, root: Path) -> dict[str, str]:
    """By step, a hash of what it uses: code, passages, another chain with all that this one uses. Only of steps that
    use something."""
    found = {}
    for name, step in chain.steps.items():
        used: list[Any] = [of_step(chain, name, folder, root)]
        for inner in _chains(step):
            own = chain.chains[inner]
            lock = folder / f"{inner}.lock.yaml"
            used.append([own.content_id, _text(lock), fingerprints(own, folder, root)])
        if any(used):
            found[name] = digest(used)[:16]
    return found


def told(chain: Chain) -> dict[str, str]:
    """By step, in words, what a change of its fingerprint may be of."""
    found = {}
    for name, step in chain.steps.items():
        parts = [f"the code of {function}, or what that imports" for function in _functions(chain, name)]
        if isinstance(step, RetrieveStep) and step.retrieve.patterns:
            parts.append(f"the files of {', '.join(step.retrieve.patterns)}")
        parts += [f"the chain '{inner}', its lock, or what that uses" for inner in _chains(step)]
        if parts:
            found[name] = parts[0] if len(parts) == 1 else f"one of these: {'; '.join(parts)}"
    return found


def _chains(step: AnyStep) -> list[str]:
    """The chains that a step, or its tools, run."""
    if isinstance(step, ChainStep):
        return [step.chain]
    return [tool.chain for tool in step.tools if tool.chain] if isinstance(step, PromptStep) else []


def _text(path: Path) -> str:
    """What a file says; nothing where it cannot be read, of which its own reader tells."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def passages(spec: Retrieve, folder: Path, root: Path) -> dict[str, str]:
    """The files that are searched, with the SHA-256 of each, from the index's own cache where that is fresh."""
    from promptchain.retrieval.corpus import fingerprint_of

    return fingerprint_of(root, folder, spec, location.store_place(root).state)


def _functions(chain: Chain, name: str) -> Iterator[str]:
    step = chain.steps[name]
    if isinstance(step, PythonStep):
        yield step.python
    elif isinstance(step, RetrieveStep) and step.retrieve.python:
        yield step.retrieve.python
    elif isinstance(step, PromptStep):
        yield from (tool.python for tool in step.tools if tool.python)
