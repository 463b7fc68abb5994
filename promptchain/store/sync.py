"""Sharing by ordinary fetch and push: what both sides have is brought together, and nothing is lost.

What the remote has keeps its numbers. A version that was made here under a number that the remote gave to another one
takes the next free number, and stays known as `v7@<writer>`. A label that was moved on both sides stays where the
remote has it, and the report says so.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from promptchain.errors import StoreError, UsageError
from promptchain.location import SLUG
from promptchain.store import evaluations, meta
from promptchain.store.index import segments
from promptchain.store.repo import PREFIX, REMOTE, TRIES, Moved, Repository
from promptchain.store.runs import Runs
from promptchain.store.stream import NewCommit
from promptchain.store.versions import MOST, ChainTree, Label, Version, Versions, content_place, encode, place

_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_SECRET = re.compile(r"(?<=://)[^/\s]*@|\?\S*(?=\s|$)")
"""A name or a password in a URL, which has no place in what others see."""

_RACE = ("fetch first", "non-fast-forward", "stale info", "failed to update ref", "cannot lock ref", "incorrect old")
"""What git says of a push where somebody else's came first."""


@dataclass(frozen=True, slots=True)
class Renumbered:
    """A version that took another number."""

    chain: str
    before: int
    now: int


@dataclass(frozen=True, slots=True)
class LabelKept:
    """A label that both sides moved: it is where the remote has it, `ours` is where it was here (0: deleted)."""

    chain: str
    label: str
    theirs: int
    ours: int


@dataclass(frozen=True, slots=True)
class LabelMoved:
    """A label that one side has learnt of. version: where it is now; 0 where it was deleted."""

    chain: str
    label: str
    version: int


@dataclass
class Report:
    """What a sync did. fetched, pushed: versions that came and went, by chain; runs: likewise, in segments;
    evaluations: likewise, of all chains.

    changed: whether either side has anything new at all.
    """

    remote: str
    fetched: dict[str, int] = field(default_factory=dict)
    pushed: dict[str, int] = field(default_factory=dict)
    segments_fetched: int = 0
    segments_pushed: int = 0
    evaluations_fetched: int = 0
    evaluations_pushed: int = 0
    renumbered: list[Renumbered] = field(default_factory=list)
    labels_fetched: list[LabelMoved] = field(default_factory=list)
    labels_pushed: list[LabelMoved] = field(default_factory=list)
    labels_kept: list[LabelKept] = field(default_factory=list)
    changed: bool = False


def remotes(repo: Repository) -> list[str]:
    """The names of the repository's remotes."""
    return sorted(repo.run("remote").split()) if repo.exists else []


def sync(repo: Repository, remote: str, *, runs: bool = False) -> Report:
    """Fetch, merge, push; again where another one pushed in between. remote: a name, or a URL or path.

    runs: also the records of runs, which may hold private data. Raises StoreError, UsageError.
    """
    meta.check(repo)
    if runs:
        Runs(repo).flush(everything=True)
    report = Report(_told(remote))
    tracking = _tracking(remote, repo.prefix)
    said = ""
    for attempt in range(TRIES):
        report.pushed, report.labels_pushed = {}, []
        report.segments_pushed = report.evaluations_pushed = 0
        try:
            _fetch(repo, remote, tracking, runs=runs)
        except StoreError as exc:
            said = exc.message
            if attempt < TRIES - 1 and any(word in said for word in ("cannot lock ref", "but expected", ".lock'")):
                time.sleep(random.random() * 0.1 * (attempt + 1))  # another sync of this clone is at it
                continue
            raise
        merged = _Merge(repo, tracking, report).all(runs=runs)
        rejected, said = _push(repo, remote, merged, tracking)
        if not rejected:
            return report
        if not any(word in said for word in _RACE):
            break
    hint = "see whether you may push there; hosts that take heads and tags only need `ref_prefix` in the settings"
    raise StoreError(f"{report.remote} refused {', '.join(rejected)}: {_told(said)}", hint=hint)


def _told(text: str) -> str:
    return _SECRET.sub("", text)


def _tracking(remote: str, prefix: str) -> str:
    """The refs that keep what was last fetched from a remote; outside of the prefix, so that they are never pushed."""
    name = remote if _REMOTE.fullmatch(remote) and ".." not in remote and "//" not in remote else ""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name or _told(remote)).strip("-") or "remote"
    own = "" if prefix == PREFIX else "-" + re.sub(r"[^A-Za-z0-9]+", "-", prefix)[-80:]
    return f"refs/promptchain-remote/{slug[-80:]}{own}"


def _fetch(repo: Repository, remote: str, tracking: str, *, runs: bool) -> None:
    if remote.startswith("-") or not remote.strip():
        raise UsageError(f"'{_told(remote)}' is no remote", hint=f"remotes: {', '.join(remotes(repo)) or 'none'}")
    parts = ("meta*", "chains/*", "evaluations/*", *(["runs/*"] if runs else []))
    specs = [f"+{repo.prefix}/{part}:{tracking}/{part}" for part in parts]
    # No refmap: a mirror's own refspec would also move our refs, back to where the remote has them.
    flags = (
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--refmap=",
        "--prune",
        "--no-recurse-submodules",
        "--no-filter",
    )
    checked = ["-c", "transfer.fsckObjects=true", "-c", "fetch.fsckObjects=true"]
    try:
        repo.run("fetch", *flags, "--", remote, *specs, options=checked, env=REMOTE)
    except StoreError as exc:
        names = remotes(repo)
        hint = f"remotes: {', '.join(names)}; or give an https or ssh URL, or the path of a repository"
        hint = hint if names else "give an https or ssh URL, the path of a repository, or: git remote add origin URL"
        raise StoreError(f"nothing could be fetched from {_told(remote)}: {_told(exc.message)}", hint=hint) from exc


def _push(repo: Repository, remote: str, wanted: Mapping[str, str], tracking: str) -> tuple[list[str], str]:
    """Push the refs that differ; returns those that were refused, and what was said. Never forced."""
    there = repo.refs("", tracking)
    specs = [f"{sha}:{repo.prefix}/{ref}" for ref, sha in wanted.items() if there.get(ref) != sha]
    if not specs:
        return [], ""
    refused: list[str] = []
    reasons: list[str] = []
    try:
        repo.run(
            "push",
            "--quiet",
            "--no-verify",
            "--porcelain",
            "--no-recurse-submodules",
            "--",
            remote,
            *specs,
            # A mirror takes no single refs, and would lose what others pushed.
            options=["-c", f"remote.{remote}.mirror=false"] if remote in remotes(repo) else [],
            env=REMOTE,
        )
    except StoreError as exc:
        cause = exc.__cause__
        out = getattr(cause, "stdout", "") or ""
        for line in str(out).splitlines():
            flag, _, rest = line.strip().removeprefix("stdout: '").partition("\t")
            if flag == "!":
                name, _, reason = rest.partition("\t")
                refused.append(name.rpartition(":")[2].removeprefix(repo.prefix + "/"))
                reasons.append(reason)
        if not refused:
            raise StoreError(f"nothing could be pushed: {_told(exc.message)}", hint=exc.hint) from exc
        reasons.append(exc.message)
    return refused, "; ".join(dict.fromkeys(reasons))


class _Merge:
    """Brings what was fetched together with what is here; the local refs move, and are what is to be pushed."""

    def __init__(self, repo: Repository, tracking: str, report: Report) -> None:
        self._repo = repo
        self._tracking = tracking
        self._report = report
        self._versions = Versions(repo)

    def all(self, *, runs: bool) -> dict[str, str]:
        """The refs to push, and the commits they are at."""
        there = self._repo.refs("", self._tracking)
        theirs = {ref: sha for ref, sha in there.items() if self._repo.commit(sha)}  # a ref can be at anything
        meta.check(self._repo, at=f"{self._tracking}/meta")
        with self._repo.lock():
            ours = self._repo.refs()
            merged: dict[str, str] = {}
            for ref in sorted({*ours, *theirs}):
                kind, _, name = ref.partition("/")
                if kind == "chains" and SLUG.fullmatch(name):
                    merged[ref] = self._chain(name, ours.get(ref), theirs.get(ref))
                elif kind == "evaluations" and SLUG.fullmatch(name):
                    merged[ref] = self._evaluations(ref, ours.get(ref), theirs.get(ref))
                elif kind == "runs" and runs and re.fullmatch(r"[0-9]{4}-[0-9]{2}", name):
                    merged[ref] = self._runs(ref, ours.get(ref), theirs.get(ref))
            first = theirs.get("meta")
            if first is None and "meta" in ours:
                merged["meta"] = ours["meta"]
            elif first is not None and "meta" not in ours:
                self._move("meta", None, first)
        return merged

    def _move(self, ref: str, ours: str | None, theirs: str) -> str:
        """Set a ref to what was fetched, which has what is here in its past."""
        old = ours or "0" * 40
        self._repo.run("update-ref", "--no-deref", f"{self._repo.prefix}/{ref}", theirs, old)
        return theirs

    def _settled(self, ref: str, ours: str | None, theirs: str | None) -> str | None:
        """The common tip where one side has all of the other's; None where they went different ways."""
        if theirs is None or ours == theirs:
            return ours
        if ours is None or self._repo.is_ancestor(ours, theirs):
            return self._move(ref, ours, theirs)
        return ours if self._repo.is_ancestor(theirs, ours) else None

    def _chain(self, chain: str, ours: str | None, theirs: str | None) -> str:
        mine, other = self._side(chain, ours), self._side(chain, theirs)
        had, there = set(mine.numbers()), set(other.numbers())
        ref = f"chains/{chain}"
        # One that has ours in its past and yet not all versions of ours is joined: nothing is lost, whoever wrote it.
        whole = (
            ours is None or theirs is None or ours == theirs or mine.identities().keys() <= other.identities().keys()
        )
        settled = self._settled(ref, ours, theirs) if whole or self._is_ahead(ours, theirs) else None
        if settled is not None:
            self._count(self._report.fetched, chain, len(there - had))
            self._count(self._report.pushed, chain, len(had - there))
            self._labels(mine, other, self._versions.tree(chain, settled))
            return settled
        assert ours is not None
        assert theirs is not None
        base = self._repo.merge_base(ours, theirs)
        changes = _joined(self._repo, mine, other, self._versions.tree(chain, base) if base else None, self._report)
        commit = NewCommit(ref, "merge", (theirs, ours), changes)
        sha = self._write(commit, ours)
        now = set(self._versions.tree(chain, sha).numbers())
        self._count(self._report.fetched, chain, len(now) - len(had))
        self._count(self._report.pushed, chain, len(now) - len(there))
        self._labels(mine, other, self._versions.tree(chain, sha))
        return sha

    def _side(self, chain: str, commit: str | None) -> ChainTree:
        """What one side has of a chain; without a commit, nothing."""
        if commit:
            return self._versions.tree(chain, commit)
        return ChainTree(chain, None, lambda path: {}, lambda path: {})  # noqa: ARG005

    def _is_ahead(self, ours: str | None, theirs: str | None) -> bool:
        return bool(ours and theirs) and self._repo.is_ancestor(str(theirs), str(ours))

    def _labels(self, mine: ChainTree, other: ChainTree, merged: ChainTree) -> None:
        """Tell which labels either side has elsewhere now."""
        now = {name: label.identity for name, label in merged.labels().items()}
        sides = ((mine, self._report.labels_fetched), (other, self._report.labels_pushed))
        self._report.changed |= any(side.tip != merged.tip for side, _ in sides)
        if mine.tip and mine.tip != merged.tip:
            numbers = merged.identities()
            moved_to = ((old, numbers.get(identity, old)) for identity, old in mine.identities().items())
            self._report.renumbered += [Renumbered(merged.chain, old, new) for old, new in moved_to if old != new]
        for side, moved in sides:
            before = {name: label.identity for name, label in side.labels().items()}
            for name in sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
                if any((kept.chain, kept.label) == (merged.chain, name) for kept in self._report.labels_kept):
                    continue  # that is told otherwise
                label = merged.labels().get(name)
                at = merged.at(label) if label else None
                moved.append(LabelMoved(merged.chain, name, at.number if at else 0))

    def _runs(self, ref: str, ours: str | None, theirs: str | None) -> str:
        mine, other = segments(self._repo, ours), segments(self._repo, theirs)
        self._report.segments_fetched += len(other.keys() - mine.keys())
        self._report.segments_pushed += len(mine.keys() - other.keys())
        self._report.changed |= ours != theirs
        return self._settled(ref, ours, theirs) or self._union(ref, ours, theirs, mine, other)

    def _evaluations(self, ref: str, ours: str | None, theirs: str | None) -> str:
        if ours is not None and ours == theirs:
            return ours  # without reading either
        mine, other = evaluations.entries(self._repo, ours), evaluations.entries(self._repo, theirs)
        self._report.evaluations_fetched += evaluations.count(other.keys() - mine.keys())
        self._report.evaluations_pushed += evaluations.count(mine.keys() - other.keys())
        self._report.changed = True
        # As with versions, one that has ours in its past and yet not all of ours is joined.
        whole = theirs is None or mine.keys() <= other.keys() or self._is_ahead(ours, theirs)
        return (whole and self._settled(ref, ours, theirs)) or self._union(ref, ours, theirs, mine, other)

    def _union(
        self, ref: str, ours: str | None, theirs: str | None, mine: Mapping[str, str], other: Mapping[str, str]
    ) -> str:
        """Two sides whose files have names that are never given twice."""
        assert ours is not None
        assert theirs is not None
        new = {path: sha for path, sha in mine.items() if path not in other}
        return self._write(NewCommit(ref, "merge", (theirs, ours), new), ours)

    def _write(self, commit: NewCommit, ours: str) -> str:
        """Write a merge, whose first parent is the other side's commit, onto the ref that is at `ours`."""
        try:
            return self._repo.write([commit])[0]
        except Moved as exc:  # under our own lock: somebody's git moved it by hand
            message = f"{commit.ref} moved from {ours[:12]} during the sync"
            raise StoreError(message, hint="try again") from exc

    @staticmethod
    def _count(into: dict[str, int], chain: str, number: int) -> None:
        if number > 0:
            into[chain] = into.get(chain, 0) + number


def _joined(
    repo: Repository, mine: ChainTree, other: ChainTree, base: ChainTree | None, report: Report
) -> dict[str, bytes | str | None]:
    """What is to be changed in the other side's tree, so that it also has what is here."""
    changes: dict[str, bytes | str | None] = {}
    known = {v.identity: v for v in map(other.version, other.numbers()) if v}
    numbers = {identity: version.number for identity, version in known.items()}
    free = other.last()
    for version in reversed([v for v in map(mine.version, mine.numbers()) if v]):
        if version.identity in known:
            number = numbers[version.identity]
            if version.message is not None and known[version.identity].message is None:  # it was named here only
                changes |= _manifest(other, number, message=version.message)
        else:
            free += 1
            if free >= MOST:
                raise StoreError(f"{report.remote} has made up a number for '{mine.chain}': v{free - 1}")
            number = numbers[version.identity] = free
            changes |= _copied(repo, mine, version, number)
            if (restored := _restored(mine, version, numbers)) != version.restores:
                again = {"restores": restored, "changes": f"= v{restored}"}
                changes |= _manifest(mine, version.number, to=number, **again)
            changes[content_place(version.content)] = encode({"version": number})
        if number != version.number:
            changes[f"aliases/v{version.number}@{repo.writer}"] = encode({"version": number})
    for alias, at in mine.aliases().items():
        if alias not in other.aliases() and (aliased := mine.version(at)) and aliased.identity in numbers:
            changes[f"aliases/{alias}"] = encode({"version": numbers[aliased.identity]})
    return changes | _joined_labels(mine, other, base, numbers, report)


def _restored(tree: ChainTree, version: Version, numbers: Mapping[str, int]) -> int | None:
    """The number that the version which this one repeats has now."""
    source = tree.version(version.restores) if version.restores else None
    return numbers.get(source.identity, version.restores) if source else version.restores


def _manifest(tree: ChainTree, number: int, to: int | None = None, **new: object) -> dict[str, bytes | str | None]:
    """A manifest with something else in it."""
    return {f"{place(to or number)}/manifest.json": encode({**tree.read(f"{place(number)}/manifest.json"), **new})}


def _copied(repo: Repository, tree: ChainTree, version: Version, number: int) -> dict[str, bytes | str | None]:
    """A version's files, by their ids, under another number."""
    found: dict[str, bytes | str | None] = {}

    def walk(source: str, target: str) -> None:
        for name, entry in repo.tree(f"{tree.tip}:{source}").items():
            if entry.is_tree:
                walk(f"{source}/{name}", f"{target}/{name}")
            else:
                found[f"{target}/{name}"] = entry.sha

    walk(place(version.number), place(number))
    return found


def _joined_labels(
    mine: ChainTree, other: ChainTree, base: ChainTree | None, numbers: Mapping[str, int], report: Report
) -> dict[str, bytes | str | None]:
    """Three ways: a label that only one side touched is as that side has it, else as the other side has it."""
    changes: dict[str, bytes | str | None] = {}
    ours, theirs = mine.labels(), other.labels()
    before = base.labels() if base else {}
    for name in sorted({*ours, *theirs}):
        here, there, was = _at(ours.get(name)), _at(theirs.get(name)), _at(before.get(name))
        if here in (there, was):
            continue
        if there != was:
            kept = theirs[name].number if name in theirs else 0
            lost = numbers.get(here or "", 0)
            report.labels_kept.append(LabelKept(mine.chain, name, kept, lost))
        elif here is None:
            changes[f"labels/{name}.json"] = None
        else:
            label = ours[name]
            number = numbers.get(label.identity, label.number)
            moved = Label(name, label.identity, number, label.moved, label.author)
            changes[f"labels/{name}.json"] = moved.to_bytes()
    return changes


def _at(label: Label | None) -> str | None:
    return label.identity if label else None
