"""What is usable here and what is not, in words with the remedy: behind `chain models` and `chain doctor`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from promptchain import needs
from promptchain.chain import Chain, PromptStep, RetrieveStep
from promptchain.errors import Fault, InvalidFileError, ModelError, PromptChainError
from promptchain.lm import catalog, embed, litellm, weights
from promptchain.lm.cache import default_cache_path
from promptchain.lm.router import rooted
from promptchain.lm.scripted import ScriptedLM
from promptchain.models import Models
from promptchain.project import Project

NOT_INSTALLED, INSTALL = "llama.cpp is not installed", "pip install 'promptchain[local]'"


@dataclass(frozen=True, slots=True)
class Usable:
    """A model, or all models of a provider. why_not: what is missing, None where it can be used. remedy: how to mend
    that. detail: the size of weights, or how many models a provider has."""

    name: str
    detail: str = ""
    why_not: str | None = None
    remedy: str | None = None


def usable_models() -> list[Usable]:
    """Local weights first, then each provider of hosted models; those that can be used before those that cannot."""
    found = [*_local(), *_hosted()]
    return sorted(found, key=lambda item: (not item.name.startswith("local/"), item.why_not is not None, item.name))


def _local() -> Iterator[Usable]:
    missing = None if find_spec("xllamacpp") else NOT_INSTALLED
    for found in weights.available():
        size = f"{found.size / 1024 / 1024:.0f} MiB" if found.size else ""
        if found.problem:
            problem, _, remedy = found.problem.partition("; ")
            yield Usable(found.name, size, problem, remedy or None)
        elif missing:
            yield Usable(found.name, size, missing, INSTALL)
        else:
            yield Usable(found.name, size)


def _hosted() -> Iterator[Usable]:
    counts: dict[str, int] = {}
    for model in catalog.known_models():
        provider = model.partition("/")[0]
        counts[provider] = counts.get(provider, 0) + 1
    for provider in sorted(set(catalog.PROVIDERS) & set(counts)):
        missing = catalog.missing_credentials(provider)
        detail = f"{counts[provider]} models"
        url = catalog.PROVIDERS[provider].url or ""
        if urlsplit(url).hostname in ("localhost", "127.0.0.1"):
            detail += f", once its server answers at {url}"
        if missing:
            names = " and ".join(missing)
            verb = "is" if len(missing) == 1 else "are"
            yield Usable(f"{provider}/…", detail, f"{names} {verb} not set", f"export {missing[0]}=…")
        else:
            yield Usable(f"{provider}/…", detail)


class Level(StrEnum):
    """How bad a finding is: a warning leaves the tool usable."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    message: str
    remedy: str | None = None


def diagnose(start: Path | None = None) -> Iterator[Finding]:
    """Look at everything a run depends on, without spending tokens; endpoints get one TCP connection each. The code of
    the project's steps is imported."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(Level.OK, "python", version)
    yield _git()
    yield _cache()
    yield from _weights()
    try:
        project = Project.find(start)
    except PromptChainError as exc:
        yield Finding(Level.ERROR, "settings", str(exc), exc.hint)
        return
    yield from _store(project)
    yield from _project(project)


def _store(project: Project) -> Iterator[Finding]:
    """The store of versions and runs: where it is, what it holds, and what is wrong with it."""
    if not shutil.which("git"):
        return
    try:
        from promptchain.store.index import Query
        from promptchain.store.inspect import troubles

        with project.history() as history:
            found = [*troubles(history.repo)]
            own = project.root / ".promptchain" / "store.git"
            if own.is_dir() and own != history.repo.git_dir:
                told = f"what was kept before there was a repository is in {own}"
                yield Finding(Level.WARNING, "store", told, f"chain sync {own} --runs brings it here")
            for trouble in found:
                level = Level.ERROR if trouble.serious else Level.WARNING
                yield Finding(level, trouble.subject, trouble.message, trouble.remedy)
            if not any(trouble.serious for trouble in found):
                chains, runs = len(history.versions.chains()), len(history.runs.select(Query()))
                counted = f"{chains} chain{'s' * (chains != 1)} with versions, {runs} run{'s' * (runs != 1)}"
                yield Finding(Level.OK, "store", f"{history.repo.git_dir}: {counted}")
    except PromptChainError as exc:
        yield Finding(Level.ERROR, "store", exc.message, exc.hint)


def _git() -> Finding:
    if shutil.which("git"):
        return Finding(Level.OK, "git", "found")
    return Finding(Level.WARNING, "git", "not found", "install git: versions of prompts and runs are kept in it")


def _cache() -> Finding:
    folder = default_cache_path().parent
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(existing, os.W_OK):
        return Finding(Level.OK, "cache", str(folder))
    remedy = "make it writable, or set PROMPTCHAIN_CACHE_DIR to another folder"
    return Finding(Level.WARNING, "cache", f"{existing} cannot be written", remedy)


def _weights() -> Iterator[Finding]:
    for model in _local():
        if model.why_not:
            yield Finding(Level.WARNING, model.name, model.why_not, model.remedy)
        else:
            yield Finding(Level.OK, model.name, model.detail)


def _project(project: Project) -> Iterator[Finding]:
    names = project.names()
    if not names:
        yield Finding(Level.WARNING, "project", f"no chains in {project.folder}", "write one: chains/NAME.yaml")
        return
    models: dict[tuple[str | None, str | None], list[str]] = {}
    for name in names:
        try:
            chain = project.load(name)
        except InvalidFileError as exc:
            count = len(exc.problems)
            yield Finding(
                Level.ERROR,
                name,
                f"{count} problem{'s' * (count != 1)}; first: {exc.problems[0]}",
                f"chain check {name}",
            )
            continue
        except PromptChainError as exc:
            yield Finding(Level.ERROR, name, exc.message, exc.hint)
            continue
        count = len(chain.steps)
        yield Finding(Level.OK, name, f"{count} step{'s' * (count != 1)}")
        for call in _calls(chain, project):
            models.setdefault(call, []).append(name)
        for lack in needs.lacking(chain, project.root, project.folder):
            yield Finding(Level.ERROR, name, lack.message, lack.remedy)
        yield from _compiled(name, project)
    yield from _models(models, project.root)


def _compiled(name: str, project: Project) -> Iterator[Finding]:
    """What keeps the compiled prompts of a chain from being used."""
    try:
        entries = project.lock(name).models.values()
    except PromptChainError as exc:
        yield Finding(Level.ERROR, name, str(exc), exc.hint)
        return
    picked = [step.nearest.by for entry in entries for step in entry.steps.values() if step.nearest]
    if embed.LOCAL in picked and not embed.installed():
        message = f"wordllama is not installed, by which compiled prompts pick their examples (used by {name})"
        yield Finding(Level.ERROR, f"model {embed.LOCAL}", message, embed.INSTALL)


def _calls(chain: Chain, project: Project) -> list[tuple[str | None, str | None]]:
    """Each model that a chain calls, with the endpoint that its params name; None for a step without a model."""
    models = Models(last=project.settings.model)
    found = []
    for name, step in chain.steps.items():
        if isinstance(step, PromptStep):
            params = {**chain.params, **step.params}
            base = params.get("api_base") or params.get("base_url")
            names = (models.of(name, step, chain), *(fallback.model for fallback in step.fallbacks))
            found += [(model, base) for model in names]
        elif isinstance(step, RetrieveStep):
            spec = step.retrieve
            found += [(spec.rerank.model, None)] if spec.rerank else []
            if spec.patterns and spec.mode != "lexical" and spec.embedder not in (None, embed.LOCAL):
                found.append((spec.embedder, None))
    return list(dict.fromkeys(found))


def _models(used: Mapping[tuple[str | None, str | None], Iterable[str]], root: Path) -> Iterator[Finding]:
    for (model, base), names in used.items():
        where = f"used by {', '.join(names)}"
        if model is None:
            remedy = "set `model:` in the chain file or the settings, or give --model"
            yield Finding(Level.WARNING, "model", f"a step has none ({where})", remedy)
            continue
        subject = f"model {model}" + (f" at {base}" if base else "")
        problem = check_model(rooted(model, root), {"api_base": base} if base else {})
        if problem is None:
            yield Finding(Level.OK, subject, where)
        else:
            yield Finding(Level.ERROR, subject, f"{problem.message} ({where})", problem.hint)


def check_model(model: str, params: Mapping[str, Any] | None = None) -> PromptChainError | None:
    """What would keep a call from reaching a model; None where nothing is seen to."""
    kind, _, rest = model.partition("/")
    try:
        if kind == "local":
            return _check_local(model)
        if kind == "scripted":
            ScriptedLM.from_file(Path(rest))
            return None
        return litellm.check(model, params)
    except PromptChainError as exc:
        return exc


def _check_local(model: str) -> ModelError | None:
    path = weights.find_weights(model)
    if not find_spec("xllamacpp"):
        return ModelError(NOT_INSTALLED, fault=Fault.NOT_INSTALLED, model=model, hint=INSTALL)
    try:
        wrong = None if weights.is_gguf(path) else "is not a GGUF file"
    except OSError as exc:
        wrong = f"cannot be read: {exc.strerror}"
    return ModelError(f"{path} {wrong}", fault=Fault.NO_WEIGHTS, model=model) if wrong else None
