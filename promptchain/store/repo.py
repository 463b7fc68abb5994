"""The one door to git: transactions through `git fast-import`, reads through one `git cat-file --batch`.

The only user of GitPython. Nothing here touches HEAD, the index, branches or the work tree. What the environment and
the repository's configuration say does not change what is run: `GIT_*` is taken away, hooks are off.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from promptchain.errors import StoreError, UsageError
from promptchain.store import collection, objects, stream
from promptchain.store.objects import Commit, Entry
from promptchain.store.stream import NewCommit

INSTALL = "install git 2.36 or newer; versions and runs are kept in it"

try:
    from git.cmd import Git
    from git.exc import GitCommandError, GitCommandNotFound
except ImportError as exc:  # GitPython looks for git when it is imported
    raise StoreError("git is not installed", hint=INSTALL) from exc

if not Git.GIT_PYTHON_GIT_EXECUTABLE:  # and is content to be imported a second time
    raise StoreError("git is not installed", hint=INSTALL)

PREFIX = "refs/promptchain"
LOCK_TIMEOUT = 30.0
"""Seconds that a writer waits for the others."""

STALE = 60.0
"""Seconds after which a lock of a ref is what a crash left behind."""

TRIES = 8
"""Of one write, where another writer or a garbage collection comes in between."""

_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsync=committed",
    "core.fsmonitor=false",
    "core.filesRefLockTimeout=2000",
    "core.warnAmbiguousRefs=false",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
_KEPT = (  # how the user reaches a remote, and which settings are the user's
    *("GIT_SSH", "GIT_ASKPASS", "GIT_SSL_", "GIT_HTTP_", "GIT_PROXY_"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
REMOTE = {"GIT_ALLOW_PROTOCOL": "https:ssh:file"}
"""The environment of the commands that talk to a remote; what only reads does not fetch what a partial clone lacks."""

_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}


class Moved(Exception):
    """A ref is no longer where the writer took it to be: it reads again and goes on."""


class _Commands(Git):  # type: ignore[misc] # GitPython's own types are not read
    """git, started without what the environment says of repositories, and with our options."""

    def __init__(self, options: Sequence[str]) -> None:
        super().__init__()
        self.update_environment(**_ENVIRONMENT)
        self._persistent_git_options = list(options)  # those of the lasting cat-file too

    def execute(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """As GitPython's, which can add variables to the environment but take none away."""
        foreign = [name for name in os.environ if name.startswith("GIT_") and not name.startswith(_KEPT)]
        foreign = [name for name in foreign if name not in _ENVIRONMENT]
        if foreign and (env := shutil.which("env")):
            command = [env, *(word for name in sorted(foreign) for word in ("-u", name)), *command]
        return super().execute(command, *args, **kwargs)


class Repository:
    """The git folder that holds a store. Not safe for use from several threads: each opens its own.

    git_dir: the common git folder, or the bare fallback, which `write` makes when it is not there yet.
    prefix: where the refs are, for hosts that accept heads and tags only ("refs/heads/promptchain", say). state: the
    folder of lock, spool and index, where it is not the usual one.
    """

    def __init__(self, git_dir: Path, prefix: str = PREFIX, state: Path | None = None) -> None:
        self.git_dir = git_dir
        self.prefix = prefix
        self.state = state or git_dir / "promptchain"
        self._options = ["--no-pager", f"--git-dir={git_dir}", *(w for o in _OPTIONS for w in ("-c", o))]
        self._git = _Commands(self._options)

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads."""
        self._git.clear_cache()

    @property
    def exists(self) -> bool:
        # `git init` makes HEAD early and objects/ last.
        return (self.git_dir / "HEAD").is_file() and (self.git_dir / "objects").is_dir()

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, spec: str) -> bytes | None:
        """The content of a blob, given as `ref:path` or by its id; None where there is none."""
        found = self._object(spec)
        return found[2] if found and found[1] == "blob" else None

    def tip(self, ref: str) -> str | None:
        """The commit that a ref (without the prefix) is at; None where there is no such ref. Raises StoreError for one
        that is damaged, since what it had is not to be taken for nothing."""
        name = f"{self.prefix}/{ref}"
        for _ in range(2):
            if found := self._object(name):
                return found[0]
            if not (self.git_dir / name).is_file():
                return None
            self.close()  # it may have been made, or packed, just now
        hint = "see what is left with chain doctor; chain sync brings back what a remote has, once the file is removed"
        raise StoreError(f"{self.git_dir / name} is damaged: it names no commit that is there", hint=hint)

    def commit(self, spec: str) -> Commit | None:
        """The commit that a full ref or an id stands for."""
        found = self._object(spec)
        return objects.commit(found[0], found[2]) if found and found[1] == "commit" else None

    def tree(self, spec: str) -> dict[str, Entry]:
        """The entries of a tree, given as `ref:path` or by its id; empty where there is none."""
        found = self._object(spec)
        return dict(objects.entries(found[2])) if found and found[1] == "tree" else {}

    def refs(self, under: str = "", prefix: str | None = None) -> dict[str, str]:
        """The refs below `under` (without the prefix), and the commits they are at."""
        if not self.exists:
            return {}
        start = f"{prefix or self.prefix}/{under}"
        out = self.run("for-each-ref", "--format=%(objectname) %(refname)", "--", start.rstrip("/") + "/")
        lines = (line.partition(" ") for line in out.splitlines())
        return {name.removeprefix(start).lstrip("/"): sha for sha, _, name in lines}

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.succeeds("merge-base", "--is-ancestor", old, new)

    def merge_base(self, one: str, other: str) -> str | None:
        """A best common ancestor; None where there is none, or the history was cut off (a shallow clone)."""
        try:
            return self.run("merge-base", one, other).split()[0]
        except (StoreError, IndexError):
            return None

    def revision(self, folder: Path, name: str) -> tuple[str, str]:
        """The commit that a revision (git-rev-parse(1)) means in a work tree, and the path of `folder` in it.

        Raises UsageError for an unknown one; StoreError outside of a work tree."""
        here = ["-C", str(folder)]
        prefix = self.run("rev-parse", "--show-prefix", base=here).strip("\n")
        if "\0" not in name:
            with suppress(StoreError):
                commit = self.run(
                    "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", base=here
                )
                return commit.strip(), prefix
        raise UsageError(f"git knows no revision '{name}'", hint="for example NAME@git:HEAD~1 or NAME@git:origin/main")

    def _object(self, spec: str) -> tuple[str, str, bytes] | None:
        if "\n" in spec or "\0" in spec or not self.exists:
            return None
        for last in (False, True):
            try:
                sha, kind, _, data = self._git.get_object_data(spec)
            except ValueError as exc:
                if _SHA256.search(str(exc)):
                    raise self._foreign() from exc
                if "SHA is empty" not in str(exc):
                    return None
                if last:  # cat-file ended, and did so again
                    reason = self._failure("cat-file", "-e", "HEAD^{tree}") or "git cat-file ended at once"
                    raise StoreError(f"git cannot read {self.git_dir}: {reason}", hint="chain doctor") from exc
            except GitCommandNotFound as exc:
                raise StoreError("git is not installed", hint=INSTALL) from exc
            except OSError as exc:
                if last:
                    raise StoreError(f"git cannot read {self.git_dir}: {exc}", hint="chain doctor") from exc
            else:
                return _text(sha), _text(kind), data
            self._git.clear_cache()
        return None

    def _foreign(self) -> StoreError:
        message = f"the repository {self.git_dir} names objects by SHA-256, which GitPython cannot read"
        return StoreError(message, hint="keep the project in a SHA-1 repository, or outside of any")

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, commits: Sequence[NewCommit]) -> list[str]:
        """Write commits and move their refs, each from the first of its parents; returns the commits' ids.

        They are acknowledged, on disk and out of reach of a garbage collection, when this returns. Raises Moved where a
        ref is not where `parents` says it is; StoreError.
        """
        self.create()
        if self._object(_EMPTY_TREE) is None:
            raise self._foreign()
        text = stream.commands(commits, self.prefix, self.identity)
        packed = spoilt = False
        for tries_left in reversed(range(TRIES)):
            with self._uncollected() if spoilt else nullcontext(False) as alone:
                try:
                    shas = self._import(text, commits, packed=packed or (not alone and self._collecting))
                except StoreError as exc:
                    # The mark of a collection that is kept out is ours.
                    spoilt = (self._collecting and not alone) or any(word in exc.message for word in _SPOILT)
                    if not tries_left or not spoilt or _hint(exc.message):
                        raise
                    continue
                # A collection that began before the refs moved may not have seen the new objects, and may yet delete
                # them where they are loose. One that has ended by now has done it, or will not.
                if not packed and not alone and self._collecting:
                    packed = True
                    continue
                if all(self._is_whole(sha, commit) for sha, commit in zip(shas, commits, strict=True)):
                    return shas
                packed = True
        raise StoreError(
            f"what was written to {self.git_dir} did not stay there", hint="is git gc running all the time?"
        )

    def create(self) -> None:
        """Make the bare fallback where there is no repository. Raises StoreError."""
        try:
            fresh = not self.exists
            self.state.mkdir(parents=True, exist_ok=True)
            if fresh:
                ignore = self.git_dir.parent / ".gitignore"
                if not ignore.exists():
                    ignore.write_text("*\n")
        except OSError as exc:
            raise StoreError(
                f"the store cannot be made in {self.git_dir}: {exc.strerror or exc}", hint="chain doctor"
            ) from exc
        if fresh:
            with self._locked():  # two `git init` at once fail
                if not self.exists:
                    self.run("init", "--quiet", "--bare", "--template=", "--", str(self.git_dir), base=[])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers of this machine out; a lock ends with the process that holds it. Raises StoreError."""
        self.create()
        with self._locked():
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self.state / "lock", timeout=LOCK_TIMEOUT)
        try:
            lock.acquire()
        except Timeout:
            hint = f"wait for the other promptchain command, or see who holds {self.state / 'lock'}"
            raise StoreError(f"the store has been locked for {LOCK_TIMEOUT:.0f} s", hint=hint) from None
        except OSError as exc:
            raise StoreError(
                f"the store cannot be locked: {exc.strerror or exc}: {self.state / 'lock'}", hint="chain doctor"
            ) from exc
        try:
            yield
        finally:
            lock.release()

    @property
    def writer(self) -> str:
        """Eight characters that tell this clone from others."""
        path = self.state / "writer"
        with suppress(OSError):
            if len(found := path.read_text(encoding="ascii", errors="replace").strip()) == 8 and found.isalnum():
                return found
        fresh = os.urandom(4).hex()
        self.create()
        try:
            temporary = path.with_name(f"writer.{os.getpid()}.tmp")
            temporary.write_text(fresh + "\n")
            temporary.replace(path)
        except OSError as exc:
            raise StoreError(
                f"the store cannot be written: {exc.strerror or exc}: {path}", hint="chain doctor"
            ) from exc
        return fresh

    @property
    def _collecting(self) -> bool:
        return collection.is_running(self.git_dir)

    @contextmanager
    def _uncollected(self) -> Iterator[bool]:
        """As `collection.kept_out`, and forget what was read before: a pack held open may be gone."""
        with collection.kept_out(self.git_dir, LOCK_TIMEOUT) as alone:
            self._git.clear_cache()
            yield alone

    def _import(self, text: bytes, commits: Sequence[NewCommit], *, packed: bool) -> list[str]:
        """One `git fast-import`. packed: into a pack that is kept until the refs are moved, whatever collects."""
        limit = "0" if packed else "100"
        began = time.time()
        options = ["-c", f"fastimport.unpackLimit={limit}"]
        command = ("fast-import", "--quiet", "--done", "--date-format=raw")
        with _temporary(text) as file:
            for last in (False, True):
                try:
                    return str(self.run(*command, options=options, istream=file)).split()
                except StoreError as exc:
                    self._sweep(began)
                    said = str(exc.__cause__)
                    if not last and ".lock" in said and self._break_stale(commits):
                        file.seek(0)
                        continue
                    if "does not contain" in said or "but expected" in said or "cannot lock ref" in said:
                        if ".lock'" not in said:
                            # Git tells a new packed-refs by its size and second: a reader may not have noticed it.
                            self._git.clear_cache()
                            raise Moved from exc
                        hint = "another git command is at work; a lock that a crash left is removed after a minute"
                        raise StoreError("a ref of the store is locked", hint=hint) from exc
                    raise
        raise AssertionError

    def _break_stale(self, commits: Sequence[NewCommit]) -> bool:
        """Remove the locks of refs that no living git can hold, since it holds them for milliseconds."""
        broken = False
        for commit in commits:
            lock = self.git_dir / f"{self.prefix}/{commit.ref}.lock"
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > STALE:
                    lock.unlink()
                    broken = True
        return broken

    def _sweep(self, began: float) -> None:
        """Remove what a failing fast-import leaves: reports, and marks of packs that it could not keep."""
        marks = [mark for mark in self.git_dir.glob("objects/pack/*.keep") if not mark.with_suffix(".idx").exists()]
        for path in [*self.git_dir.glob("fast_import_crash_*"), *marks]:
            with suppress(OSError):
                if path.stat().st_mtime >= began - 1:
                    path.unlink()

    def _is_whole(self, sha: str, commit: NewCommit) -> bool:
        if self._object(sha) is None:
            return False
        return all(
            (self._object(f"{sha}:{path}") is None) is (content is None) for path, content in commit.changes.items()
        )

    @cached_property
    def identity(self) -> str:
        """Who writes, as the user's git has it: "Name <email>"."""
        try:
            name, _, rest = self.run("var", "GIT_COMMITTER_IDENT").rpartition(" <")
            found = f"{name} <{rest.partition('>')[0]}>"
        except StoreError:  # none is set, and none can be made up
            found = "promptchain <>"
        own = [os.environ.get(f"GIT_COMMITTER_{part}", "").translate(_NO_BRACKETS) for part in ("NAME", "EMAIL")]
        return f"{own[0]} <{own[1]}>" if all(own) else found

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(
        self,
        *words: str,
        options: Sequence[str] = (),
        base: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> str:
        """What a git command prints. base: options in place of those that name this git folder, and what we allow it.

        Raises StoreError with what git says."""
        first = self._options if base is None else base
        command = [Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *first, *options, *words]
        try:
            out = self._git.execute(command, stdout_as_string=False, **kwargs)
        except GitCommandError as exc:
            raise StoreError(f"git {words[0]} failed: {_said(exc)}", hint=_hint(_said(exc))) from exc
        except GitCommandNotFound as exc:
            raise StoreError("git is not installed", hint=INSTALL) from exc
        except OSError as exc:
            raise StoreError(f"git {words[0]} could not be run: {exc.strerror or exc}") from exc
        return bytes(out).decode("utf-8", "surrogateescape")

    def succeeds(self, *words: str) -> bool:
        try:
            self.run(*words)
        except StoreError:
            return False
        return True

    def _failure(self, *words: str) -> str:
        try:
            self.run(*words)
        except StoreError as exc:
            return exc.message
        return ""


@contextmanager
def _temporary(text: bytes) -> Iterator[IO[bytes]]:
    """A file to be read by git: unlike a pipe, it is there as a whole when we are killed."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        file.write(text)
        file.seek(0)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        hint = _hint(reason) or f"see {tempfile.gettempdir()}"
        raise StoreError(f"a temporary file could not be written: {reason}", hint=hint) from exc
    with file:
        yield file


_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Which every repository has, if it names objects by SHA-1."""

_SHA256 = re.compile(r"Failed to parse header: '[0-9a-f]{64} [a-z]+ [0-9]")
"""What GitPython says of an answer of cat-file whose id is too long."""

_SPOILT = ("No such file or directory", "missing commits")
"""What git says of a write whose files a collection deleted."""

_NO_BRACKETS = {ord(char): None for char in "<>\n\0"}


def _text(word: bytes | str) -> str:
    """GitPython's releases differ in whether cat-file's header is bytes."""
    return word.decode() if isinstance(word, bytes) else word


def _said(exc: GitCommandError) -> str:
    text = exc.stderr if isinstance(exc.stderr, str) else ""
    text = text.strip().removeprefix("stderr: '").removesuffix("'")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.startswith(("hint:", "fast-import: dumping"))
    ]
    return " / ".join(line.strip() for line in lines[:3]) or f"exit code {exc.status}"


def _hint(said: str) -> str | None:
    if "No space left" in said or "File too large" in said or "quota" in said.lower():
        return "free some space; nothing was lost, and nothing half-written was kept"
    if "Permission denied" in said or "Read-only" in said:
        return "the git folder must be writable"
    return None
