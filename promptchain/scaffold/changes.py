"""Files as they are and as they are to be; nothing is written before somebody says so."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from promptchain import atomic, document
from promptchain.errors import PromptChainError

MAX_BYTES = 1024 * 1024


class Left(Exception):
    """A file that is better left alone, and why: `str(exc)`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file to be made (before is None) or changed. name: what messages call it. what: what it is good for."""

    path: Path
    name: str
    before: str | None
    after: str
    what: str

    def diff(self) -> list[str]:
        """What changes, as lines of a unified diff."""
        before, after = ((text or "").splitlines() for text in (self.before, self.after))
        old = f"a/{self.name}" if self.before is not None else "/dev/null"
        return [*unified_diff(before, after, old, f"b/{self.name}", lineterm="")]

    def write(self) -> None:
        """Raises PromptChainError."""
        atomic.write(self.path, self.after.encode(), self.name)


@dataclass(frozen=True, slots=True)
class Place:
    """A file of the project, or of the repository that it is in: `path`, which is no link, and what it holds now."""

    path: Path
    name: str
    text: str | None

    def to(self, after: str, what: str) -> Change | None:
        """The change to another text; None where it is there already. Line breaks are those of the file."""
        if self.text is not None and "\r\n" in self.text:
            after = after.replace("\r\n", "\n").replace("\n", "\r\n")
        return None if after == self.text else Change(self.path, self.name, self.text, after, what)


def place(path: Path, top: Path) -> Place:
    """What is at `path`. A link is followed within `top`. Raises Left for what is not to be written."""
    name = path.relative_to(top).as_posix()
    try:
        target = path.resolve()
        if not target.is_relative_to(top.resolve()):
            raise Left("it is a link that leads out of the project")
        if path.is_symlink() and not target.exists():
            raise Left("it is a link to nothing")
        if not target.exists():
            parent = next(folder for folder in target.parents if folder.exists())
            if not parent.is_dir():
                raise Left(f"{parent.name} is no folder")
            return Place(target, name, None)
        return Place(target, name, document.decoded(document.read_bytes(target, name, MAX_BYTES), name))
    except PromptChainError as exc:
        raise Left(exc.message) from None
    except (OSError, RuntimeError) as exc:  # a link to itself
        raise Left(getattr(exc, "strerror", None) or str(exc)) from None


def with_lines(text: str | None, lines: list[str], heading: str) -> str:
    """A text with lines at its end that it does not have yet, below a heading; white space makes no difference."""
    there = {" ".join(line.split()) for line in (text or "").splitlines()}
    wanted = [line for line in lines if line not in there]
    if not wanted:
        return text or ""
    before = (text or "").rstrip("\r\n")
    head = f"{before}\n\n" if before else ""
    return f"{head}{heading}\n" + "".join(f"{line}\n" for line in wanted)
