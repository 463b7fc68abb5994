"""What the steps of a chain share: made once on each event loop, and let go with it."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from promptchain.errors import PromptChainError
from promptchain.lm.scripted import ScriptedLM
from promptchain.steps.workshop import MAX_CALLS, Workshop
from tests.steps.kit import Folder


class Thing:
    pass


def test_a_thing_is_made_once_for_each_event_loop_and_freed_with_it(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    made: list[weakref.ref[Thing]] = []

    async def make() -> Thing:
        await asyncio.sleep(0)
        thing = Thing()
        made.append(weakref.ref(thing))
        return thing

    async def go() -> bool:
        things = await asyncio.gather(*(workshop.once("key", make) for _ in range(10)))
        return len({*map(id, things)}) == 1

    for count in (1, 2, 3):
        assert asyncio.run(go())
        assert len(made) == count
    gc.collect()
    assert [ref() is None for ref in made] == [True, True, True]


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    workshop, tries = Workshop(tmp_path), []

    async def make() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise PromptChainError("not yet")
        return 5

    async def go() -> int:
        with pytest.raises(PromptChainError, match="not yet"):
            await workshop.once("key", make)
        return await workshop.once("key", make)

    assert asyncio.run(go()) == 5


def test_who_stops_waiting_does_not_stop_the_making(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)

    async def make() -> int:
        await asyncio.sleep(0.02)
        return 5

    async def go() -> int:
        first = asyncio.create_task(workshop.once("key", make))
        await asyncio.sleep(0)
        second = asyncio.create_task(workshop.once("key", make))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(go()) == 5


def test_a_long_list_does_not_start_a_thread_for_each_item(folder: Folder) -> None:
    folder.code("""
        import threading, time
        many = threading.Event()
        def f(n):
            time.sleep(0.01)
            if threading.active_count() > 20:
                many.set()
            many.wait(60)
            return threading.active_count()
    """)
    before = threading.active_count()
    step = {"python": "code:f", "inputs": {"n": "{{ item }}"}, "for_each": "{{ range(300) | list }}"}
    value = folder.once(step, ScriptedLM([])).steps["a"].value
    assert len(value) == 300
    assert 20 < max(value) <= before + MAX_CALLS + 5


def test_what_was_made_on_a_loop_is_closed_and_made_anew_for_who_asks_again(tmp_path: Path) -> None:
    workshop, closed = Workshop(tmp_path), list[str]()

    class Closes:
        def __init__(self, name: str) -> None:
            self.name = name

        async def aclose(self) -> None:
            closed.append(self.name)

    async def made(name: str) -> Closes:
        return Closes(name)

    async def fails() -> Closes:
        raise PromptChainError("not there")

    async def hangs() -> Closes:
        try:
            await asyncio.sleep(60)
        finally:
            closed.append("hanging")
        return Closes("never")

    async def go() -> None:
        await workshop.aclose()
        first = await workshop.once("a", lambda: made("a"))
        assert await workshop.once("thing", _thing)
        with pytest.raises(PromptChainError):
            await workshop.once("b", fails)
        waiting = asyncio.create_task(workshop.once("c", hangs))
        await asyncio.sleep(0.01)
        await workshop.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert sorted(closed) == ["a", "hanging"]
        assert await workshop.once("a", lambda: made("a")) is not first
        await workshop.aclose()
        await workshop.aclose()

    asyncio.run(go())
    assert sorted(closed) == ["a", "a", "hanging"]


async def _thing() -> Thing:
    return Thing()


def test_an_import_that_hangs_is_given_up_and_may_be_done_later(folder: Folder) -> None:
    folder.code("import time\ntime.sleep(0.6)\ndef f(): return 5\n")
    workshop = Workshop(folder.root, timeout=0.2)

    async def go() -> str:
        with pytest.raises(PromptChainError, match=r"the import of code took longer than 0\.2 s"):
            await workshop.function("code:f")
        await asyncio.sleep(0.6)
        return (await workshop.function("code:f")).name

    assert asyncio.run(go()) == "code:f"


def test_a_step_whose_import_hangs_fails(folder: Folder) -> None:
    folder.code("import time\ntime.sleep(3)\ndef f(): return 5\n")
    folder.workshop = {"timeout": 0.1}
    run = folder.once({"python": "code:f"}, ScriptedLM([]))
    assert run.steps["a"].error == "the import of code took longer than 0.1 s"


def test_it_is_shared_by_the_event_loops_of_many_threads(tmp_path: Path) -> None:
    """A loaded chain is run in the threads of a server."""
    workshop = Workshop(tmp_path)

    async def twice() -> bool:
        first = workshop.code
        await asyncio.sleep(0.005)
        return workshop.code is first

    def run(_: int) -> bool:
        return all(asyncio.run(twice()) for _ in range(20))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(64) as threads:
            assert all(threads.map(run, range(64)))
    finally:
        sys.setswitchinterval(before)
