"""Finds the project and joins its parts: files, settings, models and records meet here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain as concatenated
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain import (
    batch,
    binding,
    dataset,
    diff,
    diff_lock,
    diff_uses,
    loader,
    location,
    lock,
    plan,
    settings,
    snapshots,
    sources,
)
from promptchain.adopted import again, choose
from promptchain.batch import Tally
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.dataset import Row
from promptchain.diff_uses import Uses, UsesDiff
from promptchain.errors import PromptChainError, UsageError, known_or_nearest
from promptchain.history import History
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM
from promptchain.lm.secrets import redact
from promptchain.location import CHAINS, SLUG
from promptchain.lock import Entry, Lock
from promptchain.models import Models, parse_models
from promptchain.record_file import to_json
from promptchain.records import Run, UsedVariant, checked
from promptchain.settings import Settings
from promptchain.steps.workshop import Approve, Workshop
from promptchain.store.snapshot import Snapshot
from promptchain.store.spool import Spool, is_due

if TYPE_CHECKING:
    from promptchain.store.versions import Version


@dataclass(frozen=True)
class Ceilings:
    """What a command may spend: US dollars, calls, tokens; None is no ceiling."""

    cost: float | None = None
    calls: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class _Bind:
    """What a chain and those in it are bound with: see `Project.bind`. known: whose models the lock's are."""

    lock: Lock | None
    used: UsedVariant | None
    known: LM | None
    locks: Mapping[str, Lock]
    workshop: Workshop


@dataclass(frozen=True)
class Project:
    """A folder with `chains/` in it."""

    root: Path
    settings: Settings

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project around `start` (the current folder): the nearest folder upwards with promptchain.toml, with
        `[tool.promptchain]` in pyproject.toml, or with chains/; else `start` itself. Raises for bad settings."""
        root = location.find_root(start)
        return cls(root, settings.load(root))

    @property
    def folder(self) -> Path:
        return self.root / CHAINS

    def names(self) -> list[str]:
        """The names of the chains, sorted."""
        return [path.stem for path in loader.chain_files(self.folder)]

    def path(self, reference: str) -> Path:
        """The file of a chain given by name or by path. Raises UsageError for what is no chain of this project."""
        if is_version(reference):
            hint = f"for example chains/{reference.partition('@')[0]}.yaml"
            raise UsageError(f"'{reference}' is no file of the work tree", hint=hint)
        if "/" in reference or reference.endswith((".yaml", ".yml")):
            return self._by_path(reference)
        for suffix in (".yaml", ".yml"):
            path = self.folder / (reference + suffix)
            if SLUG.fullmatch(reference) and path.is_file():
                return path
        if not self.folder.is_dir():
            hint = f"go to the project's folder, or write {CHAINS}/{reference}.yaml; chain init makes an example"
            raise UsageError(f"there is no folder {CHAINS}/ here or above", hint=hint)
        if reference in self.names():
            hint = "rename it: small letters, digits, - and _, at most 64, beginning with a letter or digit"
            raise UsageError(f"'{reference}' in {CHAINS}/ is no file with a chain's name", hint=hint)
        raise UsageError(f"there is no chain '{reference}'", hint=known_or_nearest(reference, self.names(), "chains"))

    def _by_path(self, reference: str) -> Path:
        path = Path(reference)
        try:
            there = path.is_file()
        except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
            there = False
        if not there:
            raise UsageError(
                f"there is no file '{reference}'", hint=known_or_nearest(path.stem, self.names(), "chains")
            )
        if not path.resolve().is_relative_to(self.root):
            raise UsageError(
                f"'{reference}' lies outside the project {self.root}", hint="go to its own project's folder"
            )
        return path.resolve()

    def load(self, reference: str) -> Chain:
        """Load and check a chain: `NAME` or a file of the work tree, or a version: `NAME@v7`, `NAME@production`,
        `NAME@latest`, `NAME@<content id>`, `NAME@git:main`. Raises UsageError, InvalidFileError, StoreError."""
        if is_version(reference):
            with self.history() as history:
                name, _, ref = reference.partition("@")
                if ref.startswith("git:"):
                    return self._at_revision(history, name, ref.removeprefix("git:"))
                return snapshots.chain_of(history.versions.snapshot(history.resolve(reference)), self.root)
        path = self._path_or_hint(reference)
        if not SLUG.fullmatch(path.stem):
            hint = "small letters, digits, - and _, at most 64, beginning with a letter or digit"
            raise UsageError(f"'{path.stem}' cannot be a chain's name; rename {path.name}", hint=hint)
        return loader.load(path, self.root)

    def _path_or_hint(self, reference: str) -> Path:
        """As `path`; for a chain that only the store has, the error says how to get at it."""
        try:
            return self.path(reference)
        except UsageError as exc:
            if SLUG.fullmatch(reference):
                with suppress(PromptChainError), self.history() as history:
                    if history.versions.tree(reference).tip:
                        hint = f"the store has versions of it: {reference}@latest; chain rollback {reference} latest"
                        exc.hint = f"{hint} restores its files"
            raise

    def lock_path(self, reference: str) -> Path:
        """Where the lock of a chain of the work tree is. Raises UsageError."""
        return lock.path_for(self.path(reference))

    def lock(self, reference: str) -> Lock:
        """The adopted prompts of a chain, named as for `load`; those of a version are its own.

        Raises UsageError, InvalidFileError, StoreError."""
        if not is_version(reference):
            path = self.path(reference)
            return lock.read(lock.path_for(path), snapshots.shown_lock(path, self.root))
        with self.history() as history:
            name, _, ref = reference.partition("@")
            if ref.startswith("git:"):
                self._check_repository()
                commit, prefix = history.repo.revision(self.root, ref.removeprefix("git:"))
                return snapshots.lock_at_revision(history.repo, name, commit, prefix)
            return snapshots.lock_of(history.versions.snapshot(history.resolve(reference)))

    def uses(self, reference: str, chain: Chain) -> Uses | None:
        """The hashes of the code and the passages that a chain uses, which was loaded as `reference`; None where they
        are not known, of a commit of git. Raises UsageError, StoreError."""
        if not is_version(reference):
            return snapshots.uses(chain, self.path(reference).parent, self.root)
        if "@git:" in reference:
            return None
        with self.history() as history:
            return history.versions.snapshot(history.resolve(reference)).uses

    def adopt(self, reference: str, model: str, entry: Entry) -> Lock:
        """Put the entry of one model into the lock of a chain of the work tree; see `lock.update`."""
        path, state = self.path(reference), location.store_place(self.root).state
        if not lock.path_for(path).resolve().is_relative_to(self.root.resolve()):
            shown = snapshots.shown_lock(path, self.root)
            raise PromptChainError(f"{shown} is a link that leads out of the project", hint="remove the link")
        return lock.update(lock.path_for(path), model, entry, state=state, shown=snapshots.shown_lock(path, self.root))

    def keep(
        self, reference: str, chain: Chain, message: str | None = None, *, any_lock: bool = False
    ) -> tuple[Version, bool]:
        """Have the chain that was loaded as `reference` as a version in the store, and whether it is a new one; see
        `Versions.commit`. message: is kept without secrets. any_lock: see `snapshots.take`. Safe to call from another
        thread. Raises PromptChainError."""
        message = None if message is None else redact(message)
        with self.history() as history:
            if is_version(reference) and "@git:" not in reference:
                version = history.resolve(reference)
                if message is None:
                    return version, False
                snapshot = history.versions.snapshot(version)
            elif is_version(reference):
                snapshot = self._snapshot_at_revision(history, reference, chain)
            else:
                snapshot = snapshots.take(chain, self.path(reference), self.root, any_lock=any_lock)
            return history.versions.commit(
                snapshot, message, lambda before: _changes(before, chain, snapshot, self.root)
            )

    def rollback(
        self, name: str, ref: str, *, message: str | None = None, force: bool = False
    ) -> tuple[Version, list[str]]:
        """Make a new version with the content of an older one, and restore its files in the work tree; returns the
        version, and the files that changed. Raises UsageError where the work tree has what no version has."""
        with self.history() as history:
            old = history.resolve(f"{name}@{ref}")
            snapshot = history.versions.snapshot(old)
            if not force:
                self._check_kept(history, name, snapshot)
            files = snapshots.restore(snapshot, self.root)
            newest = history.versions.resolve(name, "latest")
            if newest.content == old.content:
                return newest, files
            return history.versions.restore(old, None if message is None else redact(message)), files

    def not_restored(self, version: Version) -> UsesDiff:
        """The code and the passages that are otherwise in the work tree than the version had them: it keeps their
        hashes only. Nothing where that cannot be told, as of a chain that is broken without them."""
        with suppress(PromptChainError), self.history() as history:
            snapshot = history.versions.snapshot(version)
            return diff_uses.compare(snapshot.uses, self.uses(version.chain, self.load(version.chain)))
        return UsesDiff()

    def _check_kept(self, history: History, name: str, wanted: Snapshot) -> None:
        """Raises UsageError where a file that would be overwritten is in no version as it stands."""
        standing = {file for file in snapshots.changed_files(wanted, self.root) if (self.root / file).is_file()}
        for version in history.versions.log(name, _LOOK_BACK):
            if not standing:
                return
            with suppress(PromptChainError):  # one that cannot be read is no reason against another
                kept = history.versions.snapshot(version)
                changed = set(snapshots.changed_files(kept, self.root))
                standing -= snapshots.kept_files(kept) - changed
        if standing:
            hint = f"keep it first: chain commit {name}; or --force overwrites it"
            with suppress(PromptChainError):
                path = self.path(name)
                now = snapshots.take(loader.load(path, self.root), path, self.root)
                if same := history.versions.find(name, now.content):
                    hint = f"only layout or comments differ from {same.name}; keep them with git, or --force"
            raise UsageError(f"{', '.join(sorted(standing))}: what stands there is in no version", hint=hint)

    def models(self, given: Iterable[str] = ()) -> Models:
        """The models given as `MODEL` or `STEP=MODEL`, for which PROMPTCHAIN_MODEL may stand in. Raises UsageError."""
        chosen = parse_models(given, self.settings.model)
        own = os.environ.get("PROMPTCHAIN_MODEL")
        return replace(chosen, default=own) if chosen.default is None and own else chosen

    def bind(
        self,
        chain: Chain,
        lm: LM,
        models: Iterable[str] = (),
        *,
        lock: Lock | None = None,
        used: UsedVariant | None = None,
        stand_in: bool = False,
        locks: Mapping[str, Lock] | None = None,
        approve: Approve | None = None,
    ) -> BoundPlan:
        """The chain's plan on the models given as for `models`.

        lock: its prompts for the model that the chain's steps run on replace those of the file, as `adopted` of the
        plan tells; without one the file's words are used. used: what a recorded run took from it, and nothing else.
        stand_in: `lm` answers in place of the models. locks: those of the chains in it by name, as `inner_locks` gives
        them; what the work tree has without them. approve: see `Workshop`.
        Raises UsageError, PromptChainError.
        """
        chosen = self.models(models)
        workshop = self.workshop(approve)
        if locks is None:
            locks = self.inner_locks(chain.name, chain)
        return self._bind(chain, lm, chosen, _Bind(lock, used, None if stand_in else lm, locks, workshop))

    def _bind(self, chain: Chain, lm: LM, chosen: Models, given: _Bind) -> BoundPlan:
        adopted = None
        if given.lock is not None and given.used is not None:
            adopted = again(chain, given.lock, given.used)
        elif given.lock is not None:
            adopted = choose(chain, given.lock, chosen.of_lock(chain), chosen.by_step(chain), given.known)
        inner = replace(chosen, steps={}, last=chosen.of_chain(chain))
        chains = {
            name: self._bind(own, lm, inner, replace(given, lock=given.locks.get(name), used=None))
            for name, own in chain.chains.items()
        }
        variant = adopted.variant if adopted else None
        bound = binding.bind(
            plan.build(chain),
            lm,
            chosen,
            variant,
            timeout=self.settings.timeout,
            workshop=given.workshop,
            chains=chains,
        )
        return replace(bound, adopted=adopted)

    def workshop(self, approve: Approve | None = None) -> Workshop:
        """What steps use beside models. approve: see `Workshop`."""
        state = location.store_place(self.root).state
        own = {"approve": approve} if approve else {}
        return Workshop(self.root, folder=self.folder, state=state, timeout=self.settings.timeout, **own)

    def sources(self, chain: Chain) -> dict[str, str]:
        """By step of a chain of the work tree, a hash of the code, the passages or the chain that it uses."""
        return sources.fingerprints(chain, self.folder, self.root)

    def inner_locks(self, reference: str, chain: Chain) -> dict[str, Lock]:
        """The locks of the chains that a chain runs, which was loaded as `reference`. Raises InvalidFileError."""
        names = [inner.name for inner in chain.used_chains()]
        if not names:
            return {}
        if is_version(reference):
            return {name: lock for name in names if (lock := self._kept_lock(reference, name)).models}
        return {name: lock for name in names if (lock := self.lock(name)).models}

    def _kept_lock(self, reference: str, inner: str) -> Lock:
        """The lock of a chain in the version of another."""
        ref = reference.partition("@")[2]
        if ref.startswith("git:"):
            return self.lock(f"{inner}@{ref}")
        with self.history() as history:
            snapshot = history.versions.snapshot(history.resolve(reference))
            return snapshots.inner_lock(snapshot, inner)

    def lm(self, *, cache: bool = False) -> LM:
        """The models that can be named here, with the response cache around them if wanted."""
        from promptchain.lm.router import Router

        router = Router(self.root, slots=self.settings.local_slots, context=self.settings.local_context)
        if not cache:
            return router
        from promptchain.lm.cache import CachedLM, default_cache_path

        return CachedLM(router, default_cache_path())

    def warm(self, lm: LM, bound: BoundPlan) -> None:
        """Begin in the background what the first model call would have to wait for."""
        prepare = getattr(lm, "warm", None)
        if prepare:
            prepare(bound.models)

    def caller(self, lm: LM, bound: BoundPlan, ceilings: Ceilings, concurrency: int | None = None) -> Caller:
        """What makes the model calls of one command. Raises UsageError where a ceiling on cost cannot be held."""
        return Caller(lm, concurrency=concurrency or self.settings.concurrency, budget=self.budget(lm, bound, ceilings))

    def budget(self, lm: LM, bound: BoundPlan, ceilings: Ceilings, others: Iterable[str] = ()) -> Budget:
        """The ceilings given, else those of the settings. others: models that are called beside those of the plan.

        Raises UsageError where a ceiling on cost cannot be held."""
        own = self.settings
        cost = own.max_cost if ceilings.cost is None else ceilings.cost
        if cost is not None:
            for model in (*bound.models, *others):
                if lm.capabilities(model).price is None:
                    hint = "leave out --max-cost and use --max-calls or --max-tokens"
                    raise UsageError(f"the price of '{model}' is not known, so --max-cost cannot be held", hint=hint)
        return Budget(
            cost=cost,
            calls=own.max_calls if ceilings.calls is None else ceilings.calls,
            tokens=own.max_tokens if ceilings.tokens is None else ceilings.tokens,
        )

    def record(self, run: Run, *, durable: bool = True) -> None:
        """Keep the record of a run. durable: on disk when this returns. Raises StoreError."""
        Spool(location.store_place(self.root).state).write(run.id, to_json(run, indent=None), durable=durable)

    def flush(self) -> None:
        """Commit the records that wait, where enough of them do. Safe in any thread. Raises StoreError."""
        if is_due(Spool(location.store_place(self.root).state)):
            with self.history() as history:
                history.runs.flush()

    def find_run(self, reference: str) -> Run | None:
        """The recorded run with this id, or the beginning of one, or `last`; None where there is none.

        Raises UsageError where several begin so, StoreError where the record cannot be read."""
        with self.history() as history:
            row = history.runs.find(reference)
            return None if row is None else checked(history.runs.read(row))

    @contextmanager
    def history(self) -> Iterator[History]:
        """The store, for one piece of work: a process that reads is shared by no two threads."""
        history = History(self.root, location.store_settings(self.root))
        try:
            yield history
        finally:
            history.repo.close()

    def _at_revision(self, history: History, name: str, revision: str) -> Chain:
        self._check_repository()
        commit, prefix = history.repo.revision(self.root, revision)
        return snapshots.chain_of(snapshots.at_revision(history.repo, name, commit, prefix), self.root)

    def _check_repository(self) -> None:
        if location.git_folder(self.root).is_relative_to(self.root / ".promptchain"):
            raise UsageError(f"{self.root} is in no git repository", hint="NAME@git:REV is for chains that git has")

    def _snapshot_at_revision(self, history: History, reference: str, chain: Chain) -> Snapshot:
        name, _, ref = reference.partition("@git:")
        commit, prefix = history.repo.revision(self.root, ref)
        adopted = snapshots.lock_at_revision(history.repo, name, commit, prefix)
        found = snapshots.at_revision(history.repo, name, commit, prefix)
        variants, facts = lock.to_variants(adopted), snapshots.facts(adopted)
        return replace(found, meaning=chain.content_id, variants=variants, compiled=facts)


_LOOK_BACK = 500
"""Versions among which a file of the work tree is looked for before it is overwritten."""


def is_version(reference: str) -> bool:
    """Whether a reference names a version, and not a chain of the work tree."""
    return "@" in reference and not Path(reference).is_file()


def _changes(before: Snapshot | None, chain: Chain, now: Snapshot, root: Path) -> str:
    """What is new in a version, in a word."""
    try:
        source = diff.compare(snapshots.chain_of(before, root), chain).summary if before else "first version"
        was = snapshots.lock_of(before) if before else Lock()
        used = diff_uses.compare(before.uses, now.uses).summary if before else ""
        return "; ".join(filter(None, (source, used, diff_lock.compare(was, snapshots.lock_of(now)).summary)))
    except PromptChainError:  # a version that this release does not read any more
        return ""


async def run_batch(
    bound: BoundPlan,
    rows_file: Path,
    output: Path,
    caller: Caller,
    *,
    resume: bool = False,
    concurrency: int = 16,
    progress: Callable[[Tally, Row], None] | None = None,
    record: Callable[[Run], None] | None = None,
) -> Tally:
    """Run every row of a file and write a line for each; see `batch`. Raises UsageError, PromptChainError."""
    source = dataset.rows(rows_file, bound.plan.chain)
    source = concatenated(list(islice(source, 1)), source)  # a file that is not there is found before one is made
    if resume:
        source, file, already, failed = batch.resume(bound, source, output)
    else:
        file, already, failed = batch.open_output(output), 0, 0
    try:
        window = max(64, 4 * concurrency)
        tally = await batch.run_batch(
            bound, source, caller, file, window=window, at_once=concurrency, progress=progress, record=record
        )
    finally:
        with suppress(OSError):  # each line has been flushed, or its error told
            file.close()
    tally.resumed, tally.failed_before = already, failed
    return tally
