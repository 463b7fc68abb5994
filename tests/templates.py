"""Folders that many tests begin with: made once, then copied, which takes a tenth of the time."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


@cache
def _shelf() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="promptchain-templates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def copy(name: str, make: Callable[[Path], object], folder: Path) -> None:
    """`folder` as `make` leaves it, which is called for the first of a name. It must not depend on the test."""
    kept = _shelf() / name
    if not kept.exists():
        half = kept.with_suffix(".half")
        half.mkdir()
        make(half)
        for sample in half.rglob("hooks/*.sample"):
            sample.unlink()
        half.rename(kept)
    shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
