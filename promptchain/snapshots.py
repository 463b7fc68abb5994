"""Chain files ↔ snapshots: what of the work tree goes into a version, and how a version becomes a chain again."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptchain import atomic, document, loader, lock, sources
from promptchain.chain import Chain, PromptStep
from promptchain.errors import InvalidFileError, PromptChainError, StoreError, UsageError
from promptchain.location import CHAINS, SLUG
from promptchain.lock import Lock
from promptchain.store.snapshot import Snapshot

if TYPE_CHECKING:
    from promptchain.store.repo import Repository


def take(chain: Chain, path: Path, root: Path, *, any_lock: bool = False) -> Snapshot:
    """The chain that was loaded from `path`, with the files it uses and the prompts of its lock.

    any_lock: a lock that cannot be read is none. Raises InvalidFileError for such a one, PromptChainError for what is
    gone since."""
    try:
        adopted = lock.read(lock.path_for(path), shown_lock(path, root))
    except InvalidFileError:
        if not any_lock:
            raise
        adopted = Lock()
    try:
        source = path.read_bytes()
        inner = [file for one in chain.used_chains() for file in _chain_files(one, path.parent, root)]
        files = {name: (root / name).read_bytes() for name in sorted({*_files(chain), *inner})}
    except OSError as exc:
        raise PromptChainError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc
    return Snapshot(
        chain=chain.name,
        path=path.resolve().relative_to(root).as_posix(),
        source=source,
        meaning=chain.content_id,
        files=files,
        variants=lock.to_variants(adopted),
        uses=uses(chain, path.parent, root),
        compiled=facts(adopted),
    )


def facts(adopted: Lock) -> dict[str, Any]:
    """What a log tells of a lock, by model."""
    return {model: entry.facts() for model, entry in adopted.models.items()}


def shown_lock(path: Path, root: Path) -> str:
    """The lock of a chain file, as messages call it."""
    found = lock.path_for(path)
    return found.relative_to(root).as_posix() if found.is_relative_to(root) else found.name


def lock_of(snapshot: Snapshot) -> Lock:
    """The lock that a snapshot keeps. Raises StoreError where this release does not read it."""
    return lock.from_variants(snapshot.variants, snapshot.chain)


def chain_of(snapshot: Snapshot, project: Path) -> Chain:
    """The chain that a snapshot holds. project: the project's folder, whose code and passages it uses as they are now.
    Raises InvalidFileError where this release does not read it any more."""
    with TemporaryDirectory(prefix="promptchain-") as folder:
        root = Path(folder).resolve()
        try:
            for name, content in contents(snapshot).items():
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except (OSError, ValueError) as exc:  # names that no file here can have
            raise StoreError(f"a version of '{snapshot.chain}' cannot be read: {exc}") from exc
        return loader.load(root / snapshot.path, root, project)


def inner_lock(snapshot: Snapshot, name: str) -> Lock:
    """The lock of a chain that a snapshot's chain runs; an empty one where it had none. Raises InvalidFileError."""
    shown = f"{CHAINS}/{name}{lock.SUFFIX}"
    text = snapshot.files.get(shown)
    return Lock() if text is None else lock.parse(text.decode("utf-8-sig", "replace"), shown, name)


def lock_at_revision(repo: Repository, name: str, commit: str, prefix: str) -> Lock:
    """The lock of the chain `name` as a commit of the project's own history has it. Raises InvalidFileError."""
    shown = f"{CHAINS}/{name}{lock.SUFFIX}"
    text = repo.read(f"{commit}:{prefix}{shown}")
    return Lock() if text is None else lock.parse(text.decode("utf-8-sig", "replace"), shown, name)


def at_revision(repo: Repository, name: str, commit: str, prefix: str) -> Snapshot:
    """The chain `name`, without its lock, as a commit of the project's own history has it; what it means is not known
    before it is loaded.

    prefix: the project's folder in the repository. Raises UsageError, InvalidFileError."""
    for suffix in (".yaml", ".yml"):
        path = f"{CHAINS}/{name}{suffix}"
        source = repo.read(f"{commit}:{prefix}{path}")
        if source is not None:
            break
    else:
        raise UsageError(
            f"there is no chain '{name}' in the commit {commit[:12]}", hint=f"git log -- {CHAINS}/{name}.yaml"
        )
    found: dict[str, bytes] = {}
    waiting = [(path, source)]
    while waiting:
        for file in _named_files(*waiting.pop()):
            text = None if file in found or file == path else repo.read(f"{commit}:{prefix}{file}")
            if text is not None:
                found[file] = text
                if posixpath.dirname(file) == CHAINS and not file.endswith(lock.SUFFIX):  # a chain that this one runs
                    waiting.append((file, text))
    return Snapshot(name, path, source, "", found)


_CHAIN_FILES = (".yaml", ".yml", lock.SUFFIX)


def _named_files(path: str, source: bytes) -> list[str]:
    """The files that a chain's prompts are in, and those of the chains that it runs, as they may be called; what lies
    outside of the project is left for the loader to tell of."""
    value = document.parse(source.decode("utf-8-sig", "replace"), path).value
    steps = value.get("steps") if isinstance(value, dict) else None
    files: list[str] = []
    for step in steps.values() if isinstance(steps, dict) else ():
        if isinstance(step, dict):
            texts = [text for key in ("prompt", "instructions") if isinstance(text := step.get(key), dict)]
            files += [text["file"] for text in texts if isinstance(text.get("file"), str)]
            tools = step.get("tools")
            named = [step, *(tool for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict))]
            chains = [one["chain"] for one in named if isinstance(one.get("chain"), str)]
            files += [f"{chain}{suffix}" for chain in chains if SLUG.fullmatch(chain) for suffix in _CHAIN_FILES]
    joined = (posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) for file in files)
    return [file for file in joined if not file.startswith(("..", "/"))]


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    """The files of a snapshot by their paths from the project's folder. Raises StoreError for a path outside of it."""
    found = {snapshot.path: snapshot.source, **snapshot.files}
    for name in found:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or os.path.isabs(name):  # noqa: PTH117
            raise StoreError(f"a version of '{snapshot.chain}' names a file outside of the project: {name!r}")
    return found


def lock_path(snapshot: Snapshot) -> str:
    """Where the lock of a snapshot's chain is, from the project's folder."""
    return lock.path_for(Path(snapshot.path)).as_posix()


def changed_files(snapshot: Snapshot, root: Path) -> list[str]:
    """Which of a snapshot's files the work tree has otherwise, or not at all; and its lock, where that says something
    else or is too much."""
    changed = []
    for name, content in contents(snapshot).items():
        try:
            same = (root / name).read_bytes() == content
        except OSError:
            same = False
        if not same:
            changed.append(name)
    name = lock_path(snapshot)
    try:
        same = lock.read(root / name, name) == lock_of(snapshot)  # not byte for byte: another release may lay it out
    except InvalidFileError:
        same = False
    return changed if same else [*changed, name]


def kept_files(snapshot: Snapshot) -> set[str]:
    """The files that a snapshot has: what stands so in the work tree is not lost when it is overwritten."""
    return {*contents(snapshot), *([lock_path(snapshot)] if snapshot.variants else [])}


def restore(snapshot: Snapshot, root: Path) -> list[str]:
    """Write a snapshot's files into the work tree, and remove a lock that it does not have; returns the files that
    changed. Raises PromptChainError."""
    names = changed_files(snapshot, root)
    files: dict[str, bytes | None] = {**contents(snapshot), lock_path(snapshot): None}
    if snapshot.variants:
        files[lock_path(snapshot)] = lock.to_text(lock_of(snapshot), snapshot.chain).encode()
    for name in names:
        _check_target(name, root)
        _replace(root / name, files[name], name)
    return names


def _check_target(name: str, root: Path) -> None:
    """Raises PromptChainError for a file that a version is not to write."""
    target = root / name
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise PromptChainError(f"{name} lies behind a link that leads out of the project", hint="remove the link")
    if any(map(_is_gits, target.resolve().parts)):
        raise PromptChainError(f"{name} is a file of git's own: it is not written", hint="chain show NAME@REF")
    if not _is_prompts(name):
        raise PromptChainError(f"{name} is no file of prompts: it is not written", hint="chain show NAME@REF")


def _replace(target: Path, content: bytes | None, name: str) -> None:
    """Write a file whole, or remove it where there is no content."""
    if content is not None:
        atomic.write(target, content, name)
        return
    try:
        target.unlink(missing_ok=True)
    except OSError as exc:
        raise PromptChainError(f"{name} could not be written: {exc.strerror or exc}") from exc


_TEXTS = (".md", ".txt", ".j2", ".jinja", ".jinja2", ".prompt", ".tmpl", ".yaml", ".yml")


def _is_prompts(name: str) -> bool:
    """Whether a file is one that prompts stand in. A version may come from anybody, and some files are run: those of
    hidden folders, code, settings; and YAML outside of chains/ (workflows, say)."""
    path = PurePosixPath(name)
    inside = path.parts[0] == CHAINS
    kinds = _TEXTS if inside else _TEXTS[:-2]
    return not any(part.startswith(".") for part in path.parts) and (path.suffix.casefold() in kinds)


def _is_gits(part: str) -> bool:
    """Whether a file system may take a folder's name for `.git`: what lies there is run by git, and a version may come
    from anybody."""
    return part.casefold().rstrip(". ") in (".git", "git~1")


def _files(chain: Chain) -> Iterator[str]:
    for step in chain.steps.values():
        if isinstance(step, PromptStep):
            yield from (text.file for text in (step.instructions, step.prompt) if text.file is not None)


def _chain_files(chain: Chain, folder: Path, root: Path) -> Iterator[str]:
    """The file of a chain that another runs, its prompts and its lock."""
    path = next(file for suffix in (".yaml", ".yml") if (file := folder / (chain.name + suffix)).is_file())
    for file in (path, lock.path_for(path)):
        if file.is_file():
            yield file.resolve().relative_to(root.resolve()).as_posix()
    yield from _files(chain)


def uses(chain: Chain, folder: Path, root: Path) -> dict[str, dict[str, str]]:
    """The hashes of what a chain uses but a version does not keep, or keeps as another chain's."""
    found: dict[str, dict[str, str]] = {"dataset": {}}
    if chain.test and chain.test.dataset:
        named = chain.test.dataset
        found["dataset"] = _hashes([folder / name for name in ([named] if isinstance(named, str) else named)], root)
    inner = [path for one in chain.used_chains() if (path := lock.path_for(folder / f"{one.name}.yaml")).is_file()]
    found["locks"] = _hashes(inner, root)
    for one in (chain, *chain.used_chains()):
        for kind, hashes in sources.of(one, folder, root).items():
            found.setdefault(kind, {}).update(hashes)
    return {kind: hashes for kind, hashes in found.items() if hashes}


def _hashes(paths: list[Path], root: Path) -> dict[str, str]:
    hashes = {}
    for path in paths:
        try:
            name = path.resolve().relative_to(root.resolve()).as_posix()
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError):  # not there, or not of this project: the checks tell of it where it matters
            continue
    return hashes
