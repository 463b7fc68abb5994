"""What the steps of a chain share: made once on each event loop, and let go with it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
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
    assert [ref() is None for ref in made] == [True, True, False]


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
