from __future__ import annotations

from collections.abc import Iterator

import pytest

from promptchain.store.repo import Repository


@pytest.fixture(autouse=True)
def _readers_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends the processes that read for the repositories of a test."""
    opened: list[Repository] = []
    begin = Repository.__init__

    def noted(self: Repository, *args: object, **options: object) -> None:
        begin(self, *args, **options)  # type: ignore[arg-type]
        opened.append(self)

    monkeypatch.setattr(Repository, "__init__", noted)
    yield
    for repo in opened:
        repo.close()
