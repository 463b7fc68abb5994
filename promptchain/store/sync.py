"""Sharing by ordinary fetch and push: what both sides have is brought together, and nothing is lost.

What the remote has keeps its numbers. A version that was made here under a number that the remote gave to another one
takes the next free number, and stays known as `v7@<writer>`. A label that was moved on both sides stays where the
remote has it, and the report says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from promptchain.errors import StoreError, UsageError
from promptchain.location import SLUG
from promptchain.store import meta
from promptchain.store.index import segments
from promptchain.store.repo import REMOTE, TRIES, Moved, Repository
from promptchain.store.runs import Runs
from promptchain.store.stream import NewCommit
from promptchain.store.versions import ChainTree, Label, Version, Versions, content_place, encode, place

_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_SECRET = re.compile(r"(?<=://)[^/@\s]*@")
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


@dataclass
class Report:
    """What a sync did. fetched, pushed: versions that came and went, by chain; runs: likewise, in segments."""

    remote: str
    fetched: dict[str, int] = field(default_factory=dict)
    pushed: dict[str, int] = field(default_factory=dict)
    segments_fetched: int = 0
    segments_pushed: int = 0
    renumbered: list[Renumbered] = field(default_factory=list)
    labels_kept: list[LabelKept] = field(default_factory=list)


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
    tracking = _tracking(remote)
    said = ""
    for _ in range(TRIES):
        report.pushed, report.segments_pushed = {}, 0
        _fetch(repo, remote, tracking, runs=runs)
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


def _tracking(remote: str) -> str:
    """The refs that keep what was last fetched from a remote; outside of the prefix, so that they are never pushed."""
    name = remote if _REMOTE.fullmatch(remote) and ".." not in remote and "//" not in remote else ""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name or _told(remote)).strip("-") or "remote"
    return f"refs/promptchain-remote/{slug[-80:]}"


def _fetch(repo: Repository, remote: str, tracking: str, *, runs: bool) -> None:
    if remote.startswith("-") or not remote.strip():
        raise UsageError(f"'{_told(remote)}' is no remote", hint=f"remotes: {', '.join(remotes(repo)) or 'none'}")
    parts = ("meta*", "chains/*", *(["runs/*"] if runs else []))
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
        hint = f"remotes: {', '.join(names)}" if names else "this repository has no remote: git remote add origin URL"
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
        mine, other = self._versions.tree(chain, ours), self._versions.tree(chain, theirs)
        had, there = set(mine.numbers()) if ours else set(), set(other.numbers()) if theirs else set()
        ref = f"chains/{chain}"
        settled = self._settled(ref, ours, theirs)
        if settled is not None:
            self._count(self._report.fetched, chain, len(there - had))
            self._count(self._report.pushed, chain, len(had - there))
            return settled
        assert ours is not None
        assert theirs is not None
        base = self._repo.merge_base(ours, theirs)
        changes = _joined(self._repo, mine, other, self._versions.tree(chain, base) if base else None, self._report)
        commit = NewCommit(ref, f"merge with {self._report.remote}", (theirs, ours), changes)
        sha = self._write(commit, ours)
        now = set(self._versions.tree(chain, sha).numbers())
        self._count(self._report.fetched, chain, len(now) - len(had))
        self._count(self._report.pushed, chain, len(now) - len(there))
        return sha

    def _runs(self, ref: str, ours: str | None, theirs: str | None) -> str:
        mine, other = segments(self._repo, ours), segments(self._repo, theirs)
        self._report.segments_fetched += len(other.keys() - mine.keys())
        self._report.segments_pushed += len(mine.keys() - other.keys())
        settled = self._settled(ref, ours, theirs)
        if settled is not None:
            return settled
        assert ours is not None
        assert theirs is not None
        new = {path: sha for path, sha in mine.items() if path not in other}
        return self._write(NewCommit(ref, f"merge with {self._report.remote}", (theirs, ours), new), ours)

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
            number = numbers[version.identity] = free
            changes |= _copied(repo, mine, version, number)
            if (restored := _restored(mine, version, numbers)) != version.restores:
                again = {"restores": restored, "changes": f"= v{restored}"}
                changes |= _manifest(mine, version.number, to=number, **again)
            changes[content_place(version.content)] = encode({"version": number})
        if number != version.number:
            changes[f"aliases/v{version.number}@{repo.writer}"] = encode({"version": number})
            if version.identity not in known:
                report.renumbered.append(Renumbered(mine.chain, version.number, number))
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
