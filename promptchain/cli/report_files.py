"""Reports of tests in files. What keeps one from being written is found before anything is spent, where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain.errors import PromptChainError, UsageError, Where

if TYPE_CHECKING:
    from promptchain.testing import Verdict

_HINT = "name another file"


def check(*paths: Path | None) -> None:
    """Raises UsageError where a file is to stand in a folder's place, or below a file. None: nothing is written."""
    for path in filter(None, paths):
        try:
            if path.is_dir():
                raise UsageError("this is a folder", where=Where(str(path)), hint=_HINT)
            above = next((folder for folder in path.absolute().parents if folder.exists()), None)
            if above is not None and not above.is_dir():
                raise UsageError(f"{above.name} is no folder", where=Where(str(path)), hint=_HINT)
        except (OSError, ValueError) as exc:  # a name that is too long; a NUL in it
            reason = getattr(exc, "strerror", None) or exc
            raise UsageError(f"cannot be written: {reason}", where=Where(str(path)), hint=_HINT) from None


def check_html(path: Path | None) -> None:
    """As `check`; also where there is a file that is no report."""
    if path is not None:
        from promptchain.reports.html import file

        check(path)
        file.check(path)


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Raises PromptChainError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as exc:
        message = f"cannot be written: {exc.strerror or exc}"
        raise PromptChainError(message, where=Where(str(path)), hint=_HINT) from exc


def write_html(path: Path, verdicts: Sequence[Verdict]) -> None:
    """The tests as one page. Raises UsageError, PromptChainError where it cannot be written."""
    from promptchain.reports.html import evaluation, file, page

    sections = [evaluation.section(verdict) for verdict in verdicts]
    title = sections[0]["title"] if len(sections) == 1 else "Chains tested"
    file.write(path, page.page(page.content(title, sections)))
