"""A hosted model for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

LATENCY = 0.1
"""Seconds before each answer."""


def _serve(pipe: Connection) -> None:
    from tests.loopback import Loopback, Reply

    with Loopback(lambda body: Reply(text="Paris"), latency=LATENCY) as server:
        pipe.send(server.url)
        pipe.recv()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server of its own process, so that it takes no time from what is measured."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    yield ours.recv()
    ours.send("stop")
    process.join()
