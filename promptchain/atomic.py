"""A file of a project written whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from promptchain.errors import PromptChainError, Where


def write(target: Path, content: bytes, name: str) -> None:
    """Write a file whole or not at all, its mode kept; a new folder is made for it. name: what messages call it.

    A link is replaced: resolve it before. Raises PromptChainError."""
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as exc:
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(name)) from exc
    finally:
        with suppress(OSError):  # also after an interrupt
            temporary.unlink(missing_ok=True)
