"""Where records of runs wait until they are committed: one file for each, written and renamed, without git."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptchain.errors import StoreError

SEGMENT = 500
"""Runs in one commit, at most."""

RUN_ID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
"""As `records.new_run_id` makes them."""

_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Seconds. An id has room for more milliseconds than a date."""

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


class Spool:
    """The folder `<git dir>/promptchain/spool`. Any number of processes may write at once."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "spool"

    def write(self, run_id: str, text: str, *, durable: bool = True) -> Path:
        """Keep a record, given as JSON. durable: on disk when this returns. Raises StoreError."""
        path = self.path(run_id)
        temporary = self.folder / f".{run_id}.{os.getpid()}.tmp"
        try:
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            except FileNotFoundError:
                self.folder.mkdir(parents=True, exist_ok=True)
                _ignore(self.folder)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(text.encode("utf-8", "replace"))
                if durable:
                    file.flush()
                    os.fsync(descriptor)
            os.replace(temporary, path)  # noqa: PTH105 - paths are built once, and this is called for each run
            if durable:
                sync_folder(self.folder)
        except OSError as exc:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            hint = "free some space, or see who owns the folder"
            raise StoreError(f"the record could not be written to {path}: {exc.strerror or exc}", hint=hint) from exc
        return path

    def path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"

    def ids(self) -> list[str]:
        """The runs that wait, the oldest first."""
        with suppress(OSError):
            names = (name.removesuffix(".json") for name in os.listdir(self.folder) if name.endswith(".json"))  # noqa: PTH208 - half the time
            return sorted(name for name in names if RUN_ID.fullmatch(name))
        return []

    def read(self, run_id: str) -> dict[str, Any] | None:
        """A record; None where it is gone, or no record. Raises StoreError where it cannot be read just now."""
        try:
            found = json.loads(self.path(run_id).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        except OSError as exc:
            raise StoreError(
                f"the record {self.path(run_id)} cannot be read: {exc.strerror or exc}", hint="chain doctor"
            ) from exc
        return found if isinstance(found, dict) and found.get("id") == run_id else None

    def set_aside(self, run_id: str) -> None:
        """Keep what is no record from being read again and again; `chain doctor` tells of it."""
        with suppress(OSError):
            self.path(run_id).rename(self.folder / f"{run_id}.broken")

    def remove(self, run_id: str) -> None:
        with suppress(FileNotFoundError):
            self.path(run_id).unlink()

    # --- claims -----------------------------------------------------------------------------------------------------

    def claim(self, name: str, ids: list[str], ref: str, path: str) -> Path:
        """Note which runs go into which segment before it is written, so that a crash in between doubles none."""
        target = self.folder / f"{name}.claim"
        temporary = self.folder / f".{name}.tmp"
        text = json.dumps({"ids": ids, "ref": ref, "path": path})
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(self.folder)
        return target

    def claims(self) -> list[tuple[Path, Mapping[str, Any]]]:
        """What a crash left between noting and removing."""
        found: list[tuple[Path, Mapping[str, Any]]] = []
        for path in sorted(self.folder.glob("*.claim")):
            with suppress(OSError, ValueError, RecursionError):
                data = json.loads(path.read_bytes())
                if isinstance(data, dict) and _is_claim(data):
                    found.append((path, data))
        return found


def _is_claim(data: Mapping[str, Any]) -> bool:
    ids = data.get("ids")
    whole = isinstance(data.get("ref"), str) and isinstance(data.get("path"), str) and isinstance(ids, list)
    return whole and all(RUN_ID.fullmatch(str(run_id)) for run_id in ids or ())


def is_due(spool: Spool) -> bool:
    """Whether enough runs wait, or runs of a day that is over."""
    waiting = spool.ids()
    return bool(waiting) and (len(waiting) >= SEGMENT or day_of(waiting[0]) < today())


def today() -> str:
    """The day in UTC, as `day_of` gives it."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def day_of(run_id: str) -> str:
    """The day of a run, 2026-11-24 (UTC), from the milliseconds in its id."""
    milliseconds = 0
    for char in run_id[:10]:
        milliseconds = milliseconds * 32 + _BASE32.index(char)
    return datetime.fromtimestamp(min(milliseconds / 1000, _LATEST), UTC).strftime("%Y-%m-%d")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where the system can."""
    if os.name == "nt":  # no folder can be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ignore(folder: Path) -> None:
    """Keep git from listing the fallback store, which lies in the work tree."""
    place = folder.parents[2]
    if place.name == ".promptchain" and not (place / ".gitignore").exists():
        (place / ".gitignore").write_text("*\n")
