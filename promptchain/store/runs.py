"""Runs: a spool file each at first, later lines of a segment under `refs/promptchain/runs/<yyyy-mm>`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from typing import Any

from promptchain.errors import StoreError, UsageError
from promptchain.store import meta
from promptchain.store.index import SPOOL, Index, Query, RunRow, records
from promptchain.store.repo import TRIES, Moved, Repository
from promptchain.store.spool import SEGMENT, Spool, day_of, is_due, today
from promptchain.store.stream import NewCommit

LAST = "last"
"""Stands for the newest run."""


class Runs:
    """The recorded runs of a repository."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self.spool = Spool(repo.state)

    def select(self, query: Query) -> list[RunRow]:
        """The runs that fit, the newest first."""
        with closing(Index(self._repo, self.spool)) as index:
            return [*index.select(query)]

    def find(self, reference: str) -> RunRow | None:
        """The run with this id, or the only one whose id begins so; `last` is the newest. None where there is none.

        Raises UsageError where several begin so."""
        beginning = "" if reference == LAST else reference.lower()
        with closing(Index(self._repo, self.spool)) as index:
            found = index.find(beginning)
        if len(found) > 1 and reference != LAST:
            hint = f"give more of it: {', '.join(row.id for row in found[:5])}"
            raise UsageError(f"'{reference}' is the beginning of several runs", hint=hint)
        return found[0] if found else None

    def read(self, row: RunRow) -> dict[str, Any]:
        """The record of a run. Raises StoreError where it is gone."""
        for _ in range(2):
            if row.place == SPOOL and (found := self.spool.read(row.id)):
                return found
            segment = self._repo.read(f"{self._repo.prefix}/{row.place}") if row.place else None
            for record in records(segment):
                if record["id"] == row.id:
                    return record
            row = self.find(row.id) or row  # it moved from the spool to a segment in between
        raise StoreError(f"the record of the run {row.id} cannot be read", hint="chain doctor")

    # --- from the spool into git ------------------------------------------------------------------------------------

    def flush(self, *, everything: bool = False) -> int:
        """Commit runs that wait: whole segments, and days that are over; with `everything` all of them.

        Returns how many. A crash at any instant loses none and doubles none. Raises StoreError."""
        try:
            return self._flush(everything=everything)
        except OSError as exc:
            raise StoreError(f"the spool cannot be emptied: {exc.strerror or exc}: {exc.filename}") from exc

    def _flush(self, *, everything: bool) -> int:
        if not everything and not is_due(self.spool) and not self.spool.claims():
            return 0
        meta.check(self._repo)
        done = 0
        with self._repo.lock():
            for path, claim in self.spool.claims():
                done += self._commit([str(run_id) for run_id in claim["ids"]], str(claim["ref"]), str(claim["path"]))
                path.unlink(missing_ok=True)
            for day, ids in groupby(self.spool.ids(), day_of):
                for part in _parts(list(ids)):
                    if everything or len(part) == SEGMENT or day < today():
                        done += self._segment(day, part)
        return done

    def _segment(self, day: str, ids: list[str]) -> int:
        name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
        ref, path = f"runs/{day[:7]}", f"seg/{day[8:]}/{name}.jsonl"
        try:
            claim = self.spool.claim(name, ids, ref, path)
        except OSError as exc:
            raise StoreError(
                f"the spool cannot be written: {exc.strerror or exc}",
                hint="free some space; chain doctor says what else is wrong",
            ) from exc
        done = self._commit(ids, ref, path)
        claim.unlink(missing_ok=True)
        return done

    def _commit(self, ids: list[str], ref: str, path: str) -> int:
        """Commit a claimed segment, unless it was before a crash; empty the spool of it."""
        for _ in range(TRIES):
            tip = self._repo.tip(ref)
            if tip and self._repo.read(f"{tip}:{path}") is not None:
                break
            lines = []
            for run_id in list(ids):
                record = self.spool.read(run_id)
                if record is None:
                    self.spool.set_aside(run_id)
                    ids.remove(run_id)
                else:
                    lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
            if not lines:
                break
            text = ("\n".join(lines) + "\n").encode("utf-8", "replace")
            commit = NewCommit(ref, f"{len(lines)} runs", (tip,) if tip else (), {path: text})
            try:
                self._repo.write([*meta.first(self._repo), commit])
            except Moved:
                continue
            break
        else:
            raise StoreError(f"others keep writing to {ref}", hint="try again")
        for run_id in ids:
            self.spool.remove(run_id)
        return len(ids)


def _parts(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), SEGMENT):
        yield ids[start : start + SEGMENT]
