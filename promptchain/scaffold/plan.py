"""What a project lacks: an example, the editors' schema, what git and pre-commit and CI are to know of chains."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path

from promptchain import loader
from promptchain.chain import file_schema
from promptchain.errors import PromptChainError, UsageError
from promptchain.location import CHAINS, SLUG
from promptchain.scaffold import git, hooks, origin
from promptchain.scaffold.changes import Change, Left, Place, place, with_lines
from promptchain.yaml_text import scalar

EXAMPLE = "news"
"""The chain that a project without any begins with."""

SCHEMA = ".promptchain/chain.schema.json"

_ATTRIBUTES = [
    "chains/*.yaml diff=promptchain",
    "chains/*.yml diff=promptchain",
    "chains/*.lock.yaml merge=promptchain",
]
_PLACE = origin.UNKNOWN.partition("+")[2]
_IGNORED = [".promptchain/*", f"!{SCHEMA}"]
_IGNORED_WHOLE = {".promptchain", ".promptchain/", "/.promptchain", "/.promptchain/"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in `root`, and what is not: nothing is written before `Change.write` and the like.

    top: the repository's folder, `root` where there is none. new_repository: whether one is to be made. changes: of
    files. settings: of git, in this clone. there: names of what is as it should be. left: what is left alone although
    it is not, and why. chain: one to try; None where there are none that could be."""

    root: Path
    top: Path
    new_repository: bool = False
    changes: list[Change] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    chain: str | None = None

    @property
    def is_done(self) -> bool:
        return not (self.changes or self.settings or self.new_repository)


def plan(root: Path) -> Plan:
    """What `root` lacks to be a project; it need not be there yet. Raises UsageError, PromptChainError."""
    check(root)
    found_top = git.top_of(root)
    top = found_top or root
    chains = [path.stem for path in loader.chain_files(root / CHAINS)]
    known = git.is_installed()
    chain = next((name for name in chains if SLUG.fullmatch(name)), None) if chains else EXAMPLE
    made = Plan(root, top, new_repository=known and found_top is None, chain=chain)
    for path, what, after in _wanted(root, top, example=not chains):
        _add(made, path, what, after)
    if known:
        _add_settings(made, found_top)
    else:
        made.left.append("git is not installed, which keeps versions of prompts and runs: install it, then chain init")
    return made


def check(root: Path) -> None:
    """Raises UsageError for what can be no project's folder, PromptChainError for one that cannot be written."""
    if ".git" in root.parts:
        raise UsageError(f"{root} belongs to git", hint="go to the project's folder")
    if root.name == CHAINS:
        raise UsageError(f"{root} is a folder of chains, not of a project", hint=f"chain init {root.parent}")
    try:
        str(root).encode()
        if root.exists() and not root.is_dir():
            raise UsageError(f"{root} is no folder", hint="name a folder, there or not")
        existing = next(place for place in (root, *root.parents) if place.exists())
        writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except (OSError, ValueError) as exc:
        raise UsageError(f"there can be no folder {root}: {getattr(exc, 'strerror', None) or exc}") from None
    if not writable:
        raise PromptChainError(f"{existing} cannot be written", hint="see who owns it, or name another folder")


def _wanted(root: Path, top: Path, *, example: bool) -> Iterator[tuple[Path, str, Callable[[Place], str]]]:
    """Each file that a project has, what it is good for, and what it should say by what it says now."""
    folder = "" if root == top else root.relative_to(top).as_posix()
    if example:
        yield root / CHAINS / f"{EXAMPLE}.yaml", "an example, on the embedded model", partial(_kept, "news.yaml")
        yield root / CHAINS / EXAMPLE / "headlines.jsonl", "its test data", partial(_kept, "headlines.jsonl")
    yield root / SCHEMA, "for editors: completion and checks", _schema
    yield root / ".gitattributes", "git compares chains by steps and merges locks by models", _attributes
    yield root / ".gitignore", "what of .promptchain/ is of this machine alone", _ignored
    yield top / hooks.FILE, "checks before each commit", lambda now: hooks.config(now.text, folder)
    slug = re.sub(r"[^a-z0-9]+", "-", folder.casefold()).strip("-")
    name = f"prompts{f'-{slug}' if slug else ''}"
    workflow = top / ".github" / "workflows" / f"{name}.yml"
    if (top / ".github").exists() or not (top / ".gitlab-ci.yml").exists():
        yield workflow, "the same, and the tests, on pull requests", partial(_workflow, name, folder)


def _add(made: Plan, path: Path, what: str, after: Callable[[Place], str]) -> None:
    name = path.relative_to(made.top).as_posix()
    try:
        now = place(path, made.top)
        change = now.to(after(now), what)
    except Left as exc:
        made.left.append(f"{name} is left as it is: {exc}")
        return
    if change:
        made.changes.append(change)
        if origin.UNKNOWN in change.after:
            made.left.append(f"{name} has to be told where promptchain is installed from: put it in place of {_PLACE}")
    else:
        made.there.append(name)


def _add_settings(made: Plan, top: Path | None) -> None:
    """Those of git's settings that this clone lacks; another's choice is left alone."""
    for key, value in git.SETTINGS.items():
        try:
            now = git.setting(top, key) if top else None
        except PromptChainError as exc:
            made.left.append(f"git config is left as it is: {exc.message}")
            return
        if now is None:
            made.settings[key] = value
        elif now == value:
            made.there.append(key)
        else:
            made.left.append(f"git config {key} is left as it is: {now}")


def _template(name: str) -> str:
    return files("promptchain.scaffold").joinpath("files", name).read_text(encoding="utf-8")


def _kept(name: str, now: Place) -> str:
    """A file of the example; one that is there is the user's."""
    return _template(name) if now.text is None else now.text


def _schema(_: Place) -> str:
    return json.dumps(file_schema(), ensure_ascii=False, indent=2) + "\n"


def _attributes(now: Place) -> str:
    return with_lines(now.text, _ATTRIBUTES, "# chains of prompts: chain diff, chain compile (see git config)")


def _ignored(now: Place) -> str:
    if {line.strip() for line in (now.text or "").splitlines()} & _IGNORED_WHOLE:
        return now.text or ""
    return with_lines(now.text, _IGNORED, "# of promptchain: all but the schema is of this machine alone")


def _workflow(name: str, folder: str, now: Place) -> str:
    """The workflow; one that is there is the user's."""
    if now.text is not None:
        return now.text
    inside = f"    defaults:\n      run:\n        working-directory: {scalar(folder)}\n" if folder else ""
    needed = origin.requirement("local") or f"{origin.NAME}[local] @ {origin.UNKNOWN}"
    text = _template("prompts.yml").replace("NAME", name).replace("DEFAULTS", inside, 1)
    return text.replace("REQUIREMENT", needed, 1)
