"""The work tree of a job in git: where a change begins, which lines it has, and how a lock gets onto its branch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from promptchain.errors import PromptChainError, StoreError, UsageError
from promptchain.location import CHAINS
from promptchain.lock import SUFFIX
from promptchain.store.repo import REMOTE, Repository

_OPTIONS = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false")
_BOT = ("user.name=github-actions[bot]", "user.email=41898282+github-actions[bot]@users.noreply.github.com")
"""Who commits where git knows nobody: the account of a workflow's token."""

_REMOTE = {**REMOTE, "GIT_NO_LAZY_FETCH": "0"}

_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_FULL = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Base:
    """What a change is compared with. name: as people are told of it."""

    commit: str
    name: str


class Checkout:
    """The work tree around `root`. warnings: what was found out on the way that people should know."""

    def __init__(self, repo: Repository, root: Path) -> None:
        self._repo = repo
        self._root = root
        self.warnings: list[str] = []

    def git(self, *words: str, remote: bool = False, options: Sequence[str] = ()) -> str:
        """What a git command prints. remote: it may use the network. Raises StoreError."""
        base = ["--no-pager", "-C", str(self._root), *(word for option in _OPTIONS for word in ("-c", option))]
        return self._repo.run(*words, base=base, options=options, **({"env": _REMOTE} if remote else {}))

    def commit(self, name: str) -> str | None:
        """The commit that a revision means; None where it is not here."""
        with suppress(StoreError):
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        return None

    @property
    def head(self) -> str | None:
        """None in a repository without commits."""
        return self.commit("HEAD")

    @property
    def shallow(self) -> bool:
        return self.git("rev-parse", "--is-shallow-repository").strip() == "true"

    def base_of_pull(self, commit: str | None, ref: str, head: str | None) -> Base:
        """Where a pull request begins. GitHub checks out the merge of the branch into its base: then that is the side
        of the base; else where the branch left it. commit: the base's as the event has it; ref: its branch; head: the
        branch's commit. What is not here is fetched. Raises PromptChainError where there is no finding it."""
        parents = self._parents()
        if len(parents) == 2 and (head is None or parents[1] == head):
            found = self._here(parents[0], ref)
        else:
            found = self._where_left(self._here(commit, ref), ref)
        self._complete(found)
        return Base(found, f"{ref} ({found[:7]})")

    def base_of_ref(self, name: str) -> Base:
        """Where HEAD left the revision `name`; of a remote's branch that is not here, it is fetched. Raises UsageError,
        PromptChainError."""
        found = self.commit(name)
        if found is None and not self._remote():
            raise UsageError(f"git knows no revision '{name}'", hint="for example --base origin/main")
        if found is None:
            found = self._here(name if _FULL.fullmatch(name) else None, name.removeprefix("origin/"))
        found = self._where_left(found, name)
        self._complete(found)
        told = name[:7] if _FULL.fullmatch(name) else f"{name} ({found[:7]})"
        return Base(found, told)

    def _parents(self) -> list[str]:
        """Those that HEAD names, also where a shallow clone has cut them off."""
        text = self.git("cat-file", "commit", "HEAD")
        return re.findall(r"^parent (\S+)$", text.partition("\n\n")[0], re.MULTILINE)

    def _here(self, commit: str | None, ref: str) -> str:
        """The commit, or the tip of the branch, fetched where it is not here."""
        if commit and self.commit(commit):
            return commit
        remote, reasons = self._remote(), []
        depth = ["--depth=1"] if self.shallow else []
        for wanted in filter(None, (commit, f"refs/heads/{ref}" if ref else None)):
            if remote is None:
                reasons.append("this repository has no remote")
                break
            try:
                self.git("fetch", "--quiet", "--no-tags", *depth, "--", remote, wanted, remote=True)
                if found := self.commit(commit if wanted == commit else "FETCH_HEAD"):
                    return found
            except StoreError as exc:
                reasons.append(exc.message)
        hint = "check out the whole history: actions/checkout with `fetch-depth: 0`"
        why = f": {reasons[-1]}" if reasons else ""
        raise PromptChainError(f"the commit to compare with, {commit or ref}, is not in this clone{why}", hint=hint)

    def _complete(self, commit: str) -> None:
        """Fetch the chains of a commit, where the clone is one that has files only once they are asked for."""
        if not self._known("extensions.partialclone") and not self._known(f"remote.{self._remote()}.promisor"):
            return
        with suppress(StoreError):  # one without the folder; what cannot be fetched is told where it is missed
            words = ("archive", "--format=tar", f"--output={os.devnull}", commit, "--", CHAINS)
            self.git(*words, remote=True)

    def _where_left(self, base: str, name: str) -> str:
        head = self.head
        found = self._repo.merge_base(base, head) if head else None
        if found is None:
            why = "this clone is shallow" if self.shallow else "the two have no common commit"
            self.warnings.append(
                f"compared with the tip of {name}, not with where this branch left it, for {why};"
                " actions/checkout with `fetch-depth: 0` has the whole history"
            )
        return found or base

    def _remote(self) -> str | None:
        names = self.git("remote").split()
        return "origin" if "origin" in names else names[0] if names else None

    # --- what changed -----------------------------------------------------------------------------------------------

    def chains_at(self, base: Base) -> set[str]:
        """The names of the chains that the base has."""
        prefix = self.git("rev-parse", "--show-prefix").strip("\n")
        out = self.git("ls-tree", "-z", "--name-only", "--full-tree", base.commit, "--", f"{prefix}{CHAINS}/")
        return {Path(name).stem for name in out.split("\0") if _is_chain(name)}

    def renamed(self, base: Base) -> dict[str, str]:
        """New name → old name of the chains whose files were renamed since."""
        out = self.git("diff", "-z", "--name-status", "--find-renames", "--diff-filter=R", base.commit, "--", CHAINS)
        words = iter(out.split("\0"))
        found = {}
        for status in words:
            if status.startswith("R"):
                old, new = next(words), next(words)
                if _is_chain(old) and _is_chain(new):
                    found[Path(new).stem] = Path(old).stem
        return found

    def changed_lines(self, base: Base, files: Iterable[str]) -> dict[str, list[range]]:
        """The lines of the files (from the project's folder) that are new or others since; where lines went, the one
        before them."""
        found: dict[str, list[range]] = {}
        for file in files:
            with suppress(StoreError):
                words = ("--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", base.commit)
                out = self.git("diff", *words, "--", f":(literal){file}")
                found[file] = list(_hunks(out))
        return found

    def counted(self, base: Base, patterns: Iterable[str]) -> dict[str, tuple[int, int]]:
        """How many lines came to the files and went since, each file from the project's folder; without those that are
        as they were. patterns: as of `Path.glob`, from there too."""
        found: dict[str, tuple[int, int]] = {}
        for pattern in patterns:
            with suppress(StoreError):  # one that leads out of the repository
                words = ("-z", "--numstat", "--no-renames", "--relative", "--no-ext-diff", "--no-textconv", base.commit)
                for line in self.git("diff", *words, "--", f":(glob){pattern}").split("\0"):
                    came, went, file = line.split("\t", 2) if line.count("\t") > 1 else ("-", "-", "")
                    if came.isdecimal() and went.isdecimal():
                        found[file] = int(came), int(went)
        return found

    # --- a lock on its branch ---------------------------------------------------------------------------------------

    def commit_locks(self, files: Sequence[str], message: str) -> str | None:
        """Commit these files and no others; the commit, or None where they are as HEAD has them. Raises StoreError."""
        # An entry without content, so that `commit -- FILE` also takes what is new.
        self.git("add", "--intent-to-add", "--", *files)
        if not self.git("status", "--porcelain", "--untracked-files=no", "--", *files).strip():
            return None
        self.git("commit", "--quiet", "--no-verify", "--message", message, "--", *files, options=self._identity())
        return self.head

    def push(self, branch: str, files: Sequence[str]) -> str:
        """Push HEAD, which is one commit of `files`, to a branch; the remote's name. Where others have pushed since,
        it goes on top of theirs, unless they changed what it was made from. Raises PromptChainError; the branch then
        is as it was."""
        remote = self._remote()
        if remote is None:
            raise UsageError("this repository has no remote to push to", hint="--no-push commits only")
        for last in (False, False, True):
            try:
                target = f"HEAD:refs/heads/{branch}"
                self.git("push", "--quiet", "--no-verify", "--", remote, target, remote=True)
                return remote
            except StoreError as exc:
                said = f"{exc.message} {getattr(exc.__cause__, 'stdout', '')}"
                raced = any(word in said for word in ("fetch first", "non-fast-forward", "cannot lock ref"))
                if last or not raced:
                    hint = "may the token push? `permissions: {contents: write}`; a protected branch takes no push"
                    message = f"the lock could not be pushed to {branch}: {exc.message}"
                    raise PromptChainError(message, hint=hint) from exc
            self._onto_theirs(branch, files)
        raise AssertionError

    def tip(self, branch: str) -> str | None:
        """The commit that the remote's branch is at now, fetched; None where it has none. Raises StoreError."""
        remote = self._remote()
        if remote is None:
            return None
        if not self.git("ls-remote", "--heads", "--", remote, f"refs/heads/{branch}", remote=True).strip():
            return None
        depth = ["--depth=1"] if self.shallow else []
        self.git("fetch", "--quiet", "--no-tags", *depth, "--", remote, f"refs/heads/{branch}", remote=True)
        return self.commit("FETCH_HEAD")

    def same_sources(self, one: str, other: str) -> bool:
        """Whether two commits have the same project, but for files that no chain is made from."""
        words = ("--name-only", "-z", "--no-renames", one, other, "--", ".")
        return not any(_matters(name) for name in self.git("diff", *words).split("\0") if name)

    def _onto_theirs(self, branch: str, files: Sequence[str]) -> None:
        theirs, own = self.tip(branch), self.head
        assert own is not None
        if theirs is None or not self.same_sources(f"{own}~1", theirs):
            message = f"{branch} has changed meanwhile in what the lock was made from: nothing was pushed"
            raise PromptChainError(message, hint="run it again; the answers are in the cache")
        message = self.git("log", "-1", "--format=%B", own).strip()
        written = {file: (self._root / file).read_bytes() for file in files}
        self.git("reset", "--quiet", "--keep", theirs)
        for file, content in written.items():
            (self._root / file).write_bytes(content)
        self.commit_locks(files, message)

    def _identity(self) -> list[str]:
        known = [self._known(f"user.{part}") for part in ("name", "email")]
        return [] if all(known) else [word for option in _BOT for word in ("-c", option)]

    def _known(self, name: str) -> bool:
        with suppress(StoreError):
            return bool(self.git("config", "--get", name).strip())
        return False


def _is_chain(name: str) -> bool:
    path = Path(name)
    return path.suffix in (".yaml", ".yml") and not path.name.endswith(SUFFIX) and path.parent.name == CHAINS


_DOCUMENTS = (".md", ".rst")


def _matters(name: str) -> bool:
    """Whether a lock may be made from a file: anything in chains/, settings, code; not a page outside of chains/."""
    path = Path(name)
    return CHAINS in path.parts or (path.suffix not in _DOCUMENTS and not name.startswith("."))


def _hunks(diff: str) -> Iterator[range]:
    for line in diff.splitlines():
        if match := _HUNK.match(line):
            start, count = int(match[1]), int(match[2]) if match[2] is not None else 1
            yield range(start, start + count) if count else range(max(1, start), max(1, start) + 1)
