"""What the store keeps of a project: versions, labels, runs and evaluations. Light: no chain is loaded to look back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain import location
from promptchain.errors import UsageError, known_or_nearest
from promptchain.location import SLUG, StoreSettings

if TYPE_CHECKING:
    from promptchain.store.evaluations import Evaluations
    from promptchain.store.index import RunRow
    from promptchain.store.repo import Repository
    from promptchain.store.runs import Runs
    from promptchain.store.sync import Report
    from promptchain.store.versions import Version, Versions


@dataclass(frozen=True)
class History:
    """The store of the project at `root`. Not safe for use from several threads."""

    root: Path
    settings: StoreSettings

    @classmethod
    def find(cls, start: Path | None = None) -> History:
        """That of the project around `start` (the current folder). Raises for bad settings."""
        root = location.find_root(start)
        return cls(root, location.store_settings(root))

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process that reads, if one was begun."""
        if "repo" in self.__dict__:
            self.repo.close()

    @cached_property
    def repo(self) -> Repository:
        from promptchain.store.repo import Repository  # GitPython takes longer to import than most commands to run

        place = location.store_place(self.root)
        return Repository(place.git_dir, self.settings.prefix, place.state)

    @cached_property
    def versions(self) -> Versions:
        from promptchain.store.versions import Versions

        return Versions(self.repo)

    @cached_property
    def runs(self) -> Runs:
        from promptchain.store.runs import Runs

        return Runs(self.repo)

    @cached_property
    def evaluations(self) -> Evaluations:
        from promptchain.store.evaluations import Evaluations

        return Evaluations(self.repo)

    def resolve(self, reference: str) -> Version:
        """The version that `NAME@REF` stands for; without @REF the newest. Raises UsageError."""
        name, at, ref = reference.partition("@")
        self.check_chain(name)
        return self.at(name, ref if at else "latest")

    def at(self, chain: str, ref: str) -> Version:
        """The version of a chain that `v7`, `@v7` or `NAME@v7` stands for. Raises UsageError."""
        ref = ref.removeprefix(f"{chain}@").removeprefix("@")  # an alias, v7@ab12cd34, has an @ of its own
        if not ref:
            raise UsageError(
                "there is no version behind the @",
                hint=f"{chain}@v7, a label, or {chain}@latest; chain log {chain} lists them",
            )
        if ref.startswith("git:"):
            hint = f"keep it first, and take what that prints: chain commit {chain}@{ref}"
            raise UsageError(f"'{ref}' is a revision of git, not a version", hint=hint)
        return self.versions.resolve(chain, ref)

    def with_names(self, version: Version) -> Version:
        """The version with its labels and aliases, which only a log reads by itself."""
        tree = self.versions.tree(version.chain)
        at = {label.name: tree.at(label) for label in tree.labels().values()}
        labels = tuple(name for name, found in at.items() if found and found.number == version.number)
        aliases = tuple(alias for alias, number in tree.aliases().items() if number == version.number)
        return replace(version, labels=labels, aliases=aliases)

    def find_run(self, reference: str) -> RunRow:
        """The run with this id, the only one that begins so, or the `last`. Raises UsageError."""
        from promptchain.store.index import Query

        row = self.runs.find(reference) if reference else None
        if row is None:
            hint = "chain runs lists them" if self.runs.select(Query(limit=1)) else "there are none yet: chain run NAME"
            raise UsageError(f"there is no run '{reference}'", hint=hint)
        return row

    def check_chain(self, name: str) -> None:
        """Raises UsageError for what is neither a chain of the store nor of the work tree."""
        if not SLUG.fullmatch(name) or not (self.versions.tree(name).tip or self._has_file(name)):
            known = {*self.versions.chains(), *self.names()}
            hint = known_or_nearest(Path(name).stem, known, "chains")  # also of a path, as `chain run` takes one
            raise UsageError(f"there is no chain '{name}'", hint=hint)

    def names(self) -> list[str]:
        """The names of the chain files in the work tree."""
        folder = self.root / location.CHAINS
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return [file.stem for file in files if file.suffix in (".yaml", ".yml") and SLUG.fullmatch(file.stem)]

    def label(self, reference: str, label: str, *, expect: str | None = None, force: bool = False) -> Version:
        """Set a label to a version (`NAME@REF`, or the newest). Raises UsageError, StoreError."""
        self._check_label(label, force=force)
        version = self.resolve(reference)
        self.versions.label(version.chain, label, version, expect=self._expected(version.chain, expect))
        return version

    def delete_label(self, chain: str, label: str, *, expect: str | None = None, force: bool = False) -> None:
        """Raises UsageError, StoreError."""
        self._check_label(label, force=force)
        self.check_chain(chain)
        self.versions.label(chain, label, None, expect=self._expected(chain, expect))

    def sync(self, remote: str | None = None, *, runs: bool = False) -> Report:
        """See `store.sync.sync`; without a remote `origin`, or the only one there is."""
        from promptchain.store.sync import remotes, sync

        names = remotes(self.repo)
        if remote is None:
            if not names:
                hint = "git remote add origin URL; or give a URL or a path: chain sync ../team.git"
                raise UsageError("this repository has no remote", hint=hint)
            if "origin" not in names and len(names) > 1:
                raise UsageError("which remote?", hint=f"name one of {', '.join(names)}: chain sync {names[0]}")
            remote = "origin" if "origin" in names else names[0]
        own = self.root / ".promptchain" / "store.git"
        if runs and Path(remote).resolve() == own and own != self.repo.git_dir:
            self._flush(own)  # what was kept before there was a repository; nobody else empties that spool any more
        return sync(self.repo, remote, runs=runs)

    def _flush(self, git_dir: Path) -> None:
        from promptchain.store.repo import Repository
        from promptchain.store.runs import Runs

        with Repository(git_dir, self.settings.prefix) as repo:
            Runs(repo).flush(everything=True)

    def _has_file(self, name: str) -> bool:
        return any((self.root / location.CHAINS / f"{name}{suffix}").is_file() for suffix in (".yaml", ".yml"))

    def _expected(self, chain: str, ref: str | None) -> Version | None:
        return None if ref is None else self.at(chain, ref)

    def _check_label(self, label: str, *, force: bool) -> None:
        if label == "latest" or label.removeprefix("v").isdecimal():
            hint = "give it a name: chain label NAME@v7 production"
            raise UsageError(f"'{label}' cannot be a label: it stands for a version already", hint=hint)
        if not SLUG.fullmatch(label) or re.fullmatch("[0-9a-f]{64}", label):
            hint = "small letters, digits, - and _, at most 64, beginning with a letter or digit"
            raise UsageError(f"'{label}' cannot be a label", hint=hint)
        if label in self.settings.protected and not force:
            raise UsageError(f"the label '{label}' is protected", hint="move it with --force")
