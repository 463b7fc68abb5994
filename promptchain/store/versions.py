"""Versions and labels of chains: `refs/promptchain/chains/<chain>`, whose tip's tree holds every one of them.

versions/<n // 100>/<n>/   manifest.json, source.yaml, files/…, variants/<model>.json
labels/<name>.json         the version a label is at
aliases/<name>             the number of a version that was renumbered when two clones met
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from promptchain.errors import StoreError, UsageError, known_or_nearest
from promptchain.location import SLUG
from promptchain.store import meta
from promptchain.store.objects import as_mapping
from promptchain.store.repo import TRIES, Moved, Repository
from promptchain.store.stream import NewCommit

if TYPE_CHECKING:
    from promptchain.store.snapshot import Snapshot

LATEST = "latest"
"""Stands for the newest version wherever a label may stand."""

_Change = tuple["Version", dict[str, bytes | str | None], str]
"""What comes of a write, the files that change, and the commit's message."""

MOST = 10**8
"""A number that no version reaches; beyond it are those that somebody made up."""

_NUMBER = re.compile(r"v?([1-9][0-9]{0,7})")
_PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,7}")
_ALIAS = re.compile(r"v[1-9][0-9]{0,8}@[0-9a-z]{1,16}")
_CONTENT = re.compile(r"[0-9a-f]{4,64}")
_WHOLE_CONTENT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Version:
    """One version. created: UTC, ISO 8601. changes: what is new in it, in a word. restores: the number it repeats.

    identity: tells it from every other version, whatever its number; the content id, but for one that restores.
    compiled: what is told of its variants, by model: held-out shares, calls, cost, parent.
    """

    chain: str
    number: int
    content: str
    message: str | None = None
    changes: str = ""
    created: str = ""
    author: str = ""
    writer: str = ""
    restores: int | None = None
    identity: str = ""
    labels: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    compiled: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """As a reference names it: support@v7."""
        return f"{self.chain}@v{self.number}"

    def to_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "version": f"v{self.number}",
            "content": self.content,
            "message": self.message,
            "changes": self.changes,
            "created": self.created,
            "author": self.author,
            "restores": None if self.restores is None else f"v{self.restores}",
            "labels": list(self.labels),
            "aliases": list(self.aliases),
            "compiled": dict(self.compiled),
        }


@dataclass(frozen=True, slots=True)
class Label:
    """Where a label is. identity: of the version. moved: UTC, ISO 8601."""

    name: str
    identity: str
    number: int
    moved: str = ""
    author: str = ""

    def to_bytes(self) -> bytes:
        data = {"identity": self.identity, "version": self.number, "moved": self.moved, "author": self.author}
        return encode(data)


@dataclass(frozen=True, slots=True)
class ChainTree:
    """What the tip of a chain holds, read as far as it was asked for."""

    chain: str
    tip: str | None
    read: Callable[[str], Mapping[str, Any]] = field(repr=False)
    entries: Callable[[str], Mapping[str, Any]] = field(repr=False)
    _identities: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def numbers(self) -> Iterator[int]:
        """The numbers of the versions, the newest first."""
        for bucket in _falling(self.entries("versions")):
            yield from (n for n in _falling(self.entries(f"versions/{bucket}")) if n and n // 100 == bucket)

    def last(self) -> int:
        """The newest number; 0 where there is no version."""
        return next(self.numbers(), 0)

    def latest(self) -> Version | None:
        """The newest version that can be read."""
        return next(filter(None, map(self.version, self.numbers())), None)

    def version(self, number: int) -> Version | None:
        manifest = self.read(f"{place(number)}/manifest.json")
        return _version(self.chain, number, manifest) if manifest else None

    def find(self, content: str) -> Version | None:
        """The newest version with this content."""
        if not _WHOLE_CONTENT.fullmatch(content):
            return None
        number = self.read(content_place(content)).get("version")
        found = self.version(number) if isinstance(number, int) else None
        return found if found and found.content == content else None

    def contents(self, beginning: str) -> list[str]:
        """The content ids that begin so; at least two characters."""
        return sorted(name for name in self.entries(f"contents/{beginning[:2]}") if name.startswith(beginning))

    def labels(self) -> dict[str, Label]:
        found = (name.removesuffix(".json") for name in self.entries("labels"))
        names = sorted(name for name in found if SLUG.fullmatch(name))
        return {name: _label(name, self.read(f"labels/{name}.json")) for name in names}

    def aliases(self) -> dict[str, int]:
        found = {name: self.read(f"aliases/{name}").get("version") for name in sorted(self.entries("aliases"))}
        return {name: number for name, number in found.items() if isinstance(number, int)}

    def at(self, label: Label) -> Version | None:
        """The version a label is at, also when versions were renumbered since it was moved."""
        found = self.version(label.number)
        if found and found.identity == label.identity:
            return found
        number = self.identities().get(label.identity)
        return self.version(number) if number else None

    def identities(self) -> dict[str, int]:
        """The number of each version by its identity; all manifests are read, once."""
        if not self._identities:
            found = (version for version in map(self.version, self.numbers()) if version)
            self._identities.update({version.identity: version.number for version in found})
        return self._identities


class Versions:
    """The versions of every chain in a repository."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._readable = False  # not known yet; a format does not change under a command

    def chains(self) -> list[str]:
        """The names of the chains that have versions. Raises StoreError."""
        meta.check(self._repo, writing=False)
        return sorted(name for name in self._repo.refs("chains") if SLUG.fullmatch(name))

    def tree(self, chain: str, commit: str | None = None) -> ChainTree:
        """The chain's tip, or a given commit of it. Raises StoreError for the format of a newer release."""
        if not self._readable:
            meta.check(self._repo, writing=False)
            self._readable = True
        tip = commit or (self._repo.tip(f"chains/{chain}") if SLUG.fullmatch(chain) else None)

        def read(path: str) -> Mapping[str, Any]:
            return as_mapping(self._repo.read(f"{tip}:{path}")) if tip else {}

        def entries(path: str) -> Mapping[str, Any]:
            return self._repo.tree(f"{tip}:{path}") if tip else {}

        return ChainTree(chain, tip, read, entries)

    # --- reading ----------------------------------------------------------------------------------------------------

    def log(self, chain: str, limit: int | None = None) -> list[Version]:
        """The versions, the newest first, with their labels and aliases."""
        tree = self.tree(chain)
        named: dict[int, list[str]] = {}
        for label in tree.labels().values():
            if at := tree.at(label):
                named.setdefault(at.number, []).append(label.name)
        known: dict[int, list[str]] = {}
        for alias, number in tree.aliases().items():
            known.setdefault(number, []).append(alias)
        found: list[Version] = []
        for number in tree.numbers():
            if limit is not None and len(found) >= limit:
                break
            if version := tree.version(number):
                labels, aliases = tuple(named.get(number, ())), tuple(known.get(number, ()))
                found.append(replace(version, labels=labels, aliases=aliases))
        return found

    def resolve(self, chain: str, ref: str) -> Version:
        """The version that `v7`, `7`, a label, `latest`, an alias or the beginning of a content id stands for.

        Raises UsageError, with what there is."""
        tree = self.tree(chain)
        latest = tree.latest()
        if latest is None:
            hint = f"`chain commit {chain}` makes the first; so does a run"
            raise UsageError(f"the chain '{chain}' has no versions yet", hint=hint)
        found = self._resolve(tree, ref, latest)
        if found is None:
            known = [*tree.labels(), LATEST, f"v{latest.number}"]
            hint = known_or_nearest(ref, known, "labels and versions") + f"; `chain log {chain}` lists them"
            raise UsageError(f"the chain '{chain}' has no version '{ref}'", hint=hint)
        return found

    def _resolve(self, tree: ChainTree, ref: str, latest: Version) -> Version | None:
        if ref == LATEST:
            return latest
        if _WHOLE_CONTENT.fullmatch(ref) and (found := tree.find(ref)):
            return found  # what a run cites is no label's to take
        if (match := _NUMBER.fullmatch(ref)) and (found := tree.version(int(match.group(1)))):
            return found
        if label := tree.labels().get(ref):
            return tree.at(label)
        if _ALIAS.fullmatch(ref):
            number = tree.aliases().get(ref)
            return tree.version(number) if number else None
        if not _CONTENT.fullmatch(ref):
            return None
        contents = tree.contents(ref)
        if len(contents) > 1:
            hint = f"give more of it: {', '.join(content[:12] for content in contents[:5])}"
            raise UsageError(f"'{ref}' is the beginning of {len(contents)} content ids", hint=hint)
        return tree.find(contents[0]) if contents else None

    def find(self, chain: str, content: str) -> Version | None:
        """The newest version with this content."""
        return self.tree(chain).find(content)

    def snapshot(self, version: Version) -> Snapshot:
        """What the version keeps. Raises StoreError where it cannot be read."""
        from promptchain.store.snapshot import Snapshot, stored  # a log needs neither

        tip = self.tree(version.chain).tip
        # By their ids from here: to go through the trees from the top for each file takes most of the time.
        there = {name: entry.sha for name, entry in self._repo.tree(f"{tip}:{place(version.number)}").items()}
        read, none = self._repo.read, "0" * 40
        manifest = as_mapping(read(there.get("manifest.json", none)))
        source = read(there.get("source.yaml", none))
        paths = [str(path) for path in _list(manifest.get("files"))]
        files = {path: read(f"{there.get('files', none)}:{stored(path)}") for path in paths}
        kept = self._repo.tree(there["variants"]) if "variants" in there else {}
        variants = {name: read(entry.sha) for name, entry in kept.items()}
        whole = {path: text for path, text in files.items() if text is not None}
        if source is None or len(whole) < len(files):
            raise StoreError(f"{version.name} cannot be read whole", hint="chain doctor")
        return Snapshot(
            chain=version.chain,
            path=str(manifest.get("path") or f"chains/{version.chain}.yaml"),
            source=source,
            meaning=str(manifest.get("meaning") or version.content),
            files=whole,
            variants={name.removesuffix(".json"): text for name, text in variants.items() if text is not None},
            uses={kind: _dict(found) for kind, found in _dict(manifest.get("uses")).items()},
            compiled=_dict(manifest.get("compiled")),
        )

    # --- writing ----------------------------------------------------------------------------------------------------

    def commit(
        self,
        snapshot: Snapshot,
        message: str | None = None,
        describe: Callable[[Snapshot | None], str] = lambda before: "first version" if before is None else "",
    ) -> tuple[Version, bool]:
        """The version with this content, and whether it is new: what is there already is not written again, but a
        `message` names one that has none. describe: says what is new after the newest version. Raises StoreError."""

        def change(tree: ChainTree) -> _Change | Version:
            known = tree.find(snapshot.content)
            if known and (message is None or known.message is not None):
                return known
            if known:
                path = f"{place(known.number)}/manifest.json"
                named = replace(known, message=message)
                return named, {path: encode({**tree.read(path), "message": message})}, f"v{known.number}: {message}"
            before = tree.latest()
            version = Version(
                chain=snapshot.chain,
                number=tree.last() + 1,
                content=snapshot.content,
                message=message,
                changes=self._changes(before, describe),
                identity=snapshot.content,
            )
            return self._new(version, snapshot)

        return self._write(snapshot.chain, change)

    def _changes(self, before: Version | None, describe: Callable[[Snapshot | None], str]) -> str:
        if before is None:
            return describe(None)
        try:
            return describe(self.snapshot(before))
        except StoreError:  # damaged; it must not keep what is new out
            return ""

    def restore(self, version: Version, message: str | None = None) -> Version:
        """A new version with the content of an older one. Raises StoreError."""
        snapshot = self.snapshot(version)

        def change(tree: ChainTree) -> _Change:
            now = _now()
            again = Version(
                chain=version.chain,
                number=tree.last() + 1,
                content=version.content,
                message=message or f"roll back to v{version.number}",
                changes=f"= v{version.number}",
                restores=version.number,
                identity=f"{version.content}+{now}+{self._repo.writer}",
            )
            return self._new(again, snapshot)

        return self._write(version.chain, change)[0]

    def label(self, chain: str, name: str, version: Version | None, *, expect: Version | None = None) -> None:
        """Move a label, or delete it where `version` is None. expect: where it has to be for that.

        Raises UsageError where it is elsewhere; StoreError."""

        def change(tree: ChainTree) -> _Change | Version:
            now = tree.labels().get(name)
            at = tree.at(now) if now else None
            if expect is not None and (at is None or at.identity != expect.identity):
                where = f"at v{at.number}" if at else "not set"
                hint = f"somebody moved it; chain log {chain} says what is where"
                raise UsageError(f"the label '{name}' is {where}, not at v{expect.number}", hint=hint)
            path = f"labels/{name}.json"
            if version is None:
                if now is None:
                    raise UsageError(
                        f"the chain '{chain}' has no label '{name}'",
                        hint=known_or_nearest(name, tree.labels(), "labels"),
                    )
                return at or Version(chain, now.number, ""), {path: None}, f"label {name}: deleted"
            if at and at.identity == version.identity:
                return version
            moved = Label(name, version.identity, version.number, _now(), self._author())
            was = f" (was v{at.number})" if at else ""
            return version, {path: moved.to_bytes()}, f"label {name}: v{version.number}{was}"

        self._write(chain, change)

    def _new(self, version: Version, snapshot: Snapshot) -> _Change:
        if version.number >= MOST:
            raise StoreError(f"the chain '{version.chain}' has no number left", hint="somebody made one up: chain log")
        version = replace(
            version,
            created=_now(),
            author=self._author(),
            writer=self._repo.writer,
            compiled=snapshot.compiled,
        )
        folder = place(version.number)
        changes: dict[str, bytes | str | None] = {f"{folder}/manifest.json": encode(_manifest(version, snapshot))}
        changes |= {f"{folder}/{path}": text for path, text in snapshot.blobs().items()}
        changes[content_place(version.content)] = encode({"version": version.number})
        return version, changes, f"v{version.number}: {version.message or 'auto'}"

    def _author(self) -> str:
        return self._repo.identity.partition(" <")[0]

    def _write(
        self,
        chain: str,
        change: Callable[[ChainTree], _Change | Version],
    ) -> tuple[Version, bool]:
        """Write what `change` makes of the chain as it is, again where another was first; and whether it wrote."""
        if not SLUG.fullmatch(chain):
            raise UsageError(f"'{chain}' cannot be a chain's name", hint="small letters, digits, - and _, at most 64")
        meta.check(self._repo)
        with self._repo.lock():
            for _ in range(TRIES):
                tree = self.tree(chain)
                wanted = change(tree)
                if isinstance(wanted, Version):
                    return wanted, False
                version, changes, message = wanted
                commit = NewCommit(f"chains/{chain}", message, (tree.tip,) if tree.tip else (), changes)
                try:
                    self._repo.write([*meta.first(self._repo), commit])
                except Moved:
                    continue
                return version, True
        raise StoreError(f"others keep writing to the chain '{chain}'", hint="try again")


def place(number: int) -> str:
    """The folder of a version in the tree."""
    return f"versions/{number // 100}/{number}"


def content_place(content: str) -> str:
    """The file of a content id in the tree."""
    return f"contents/{content[:2]}/{content}"


def _falling(names: Mapping[str, Any]) -> list[int]:
    """The names that are numbers as we write them; other stores may hold anything."""
    return sorted((int(name) for name in names if _PLAIN_NUMBER.fullmatch(name)), reverse=True)


def _manifest(version: Version, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "format": meta.FORMAT,
        "content": version.content,
        "identity": version.identity,
        "meaning": snapshot.meaning,
        "path": snapshot.path,
        "files": sorted(snapshot.files),
        "uses": {kind: dict(found) for kind, found in snapshot.uses.items() if found},
        "message": version.message,
        "changes": version.changes,
        "created": version.created,
        "author": version.author,
        "writer": version.writer,
        "restores": version.restores,
        **({"compiled": dict(version.compiled)} if version.compiled else {}),
    }


def _version(chain: str, number: int, manifest: Mapping[str, Any]) -> Version | None:
    """A manifest as a Version; what newer writers add is passed over. None for what is no manifest."""
    content = str(manifest.get("content", ""))
    if not _WHOLE_CONTENT.fullmatch(content):
        return None
    message, restores = manifest.get("message"), manifest.get("restores")
    return Version(
        chain=chain,
        number=number,
        content=content,
        message=None if message is None else str(message),
        changes=str(manifest.get("changes") or ""),
        created=str(manifest.get("created") or ""),
        author=str(manifest.get("author") or ""),
        writer=str(manifest.get("writer") or ""),
        restores=restores if isinstance(restores, int) else None,
        identity=str(manifest.get("identity") or content),
        compiled=_dict(manifest.get("compiled")),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _label(name: str, data: Mapping[str, Any]) -> Label:
    number = data.get("version")
    return Label(
        name=name,
        identity=str(data.get("identity", "")),
        number=number if isinstance(number, int) else 0,
        moved=str(data.get("moved") or ""),
        author=str(data.get("author") or ""),
    )


def encode(data: Mapping[str, Any]) -> bytes:
    """As JSON. What is no Unicode (a name in Latin-1, read as surrogates) becomes an escape that JSON knows."""
    return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8", "backslashreplace") + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
