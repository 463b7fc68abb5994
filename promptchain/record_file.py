"""A run's record as JSON, and in a file of its own."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from promptchain.errors import PromptChainError
from promptchain.lm.secrets import redact_data
from promptchain.records import Run, checked


def write_record(run: Run, path: Path) -> None:
    """Write a run as JSON, without secrets, so that a reader never sees half of it. Raises PromptChainError."""
    text = to_json(run) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: to rename a file onto it would replace it
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path.resolve(), text)
    except (OSError, RuntimeError, ValueError) as exc:  # a loop of links; a NUL in the name
        reason = (isinstance(exc, OSError) and exc.strerror) or exc
        raise PromptChainError(f"the record could not be written to {path}: {reason}") from exc


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def without_secrets(run: Run) -> Run:
    """The run as its record would be now: what was no secret when it was kept may be one of today's settings."""
    return checked(redact_data(run.model_dump(mode="json")))


def to_json(run: Run, indent: int | None = 2) -> str:
    """A run as JSON, without secrets."""
    data = run.model_dump(mode="json")
    return json.dumps(redact_data(data), ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))
