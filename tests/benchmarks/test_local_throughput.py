"""What LocalLM costs over calling llama.cpp directly: 64 requests that share a system prompt of about 300 tokens.

Each side has a llama.cpp server of its own with the same settings; they take turns in one process, and the better of
two turns counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import ModelError
from promptchain.lm.local import LocalLM
from promptchain.lm.protocol import Message, Request
from promptchain.lm.weights import find_weights

pytestmark = [pytest.mark.benchmark, pytest.mark.model]

SLOTS = 4
CONTEXT = 1024
REQUESTS = 64
TOKENS = 16
TURNS = 2
SYSTEM = "You answer the customers of a bank. " + " ".join(
    f"When asked about topic {n}, be polite, answer briefly and cite rule {n}." for n in range(15)
)


def question(n: int) -> str:
    return f"Question {n}: where is my card number {n * 37}?"


def through_local_lm(lm: LocalLM, requests: int = REQUESTS) -> int:
    """Tokens written."""

    def request(n: int) -> Request:
        messages = (Message("system", SYSTEM), Message("user", question(n)))
        return Request("local/smollm2", messages, params={"temperature": 0, "max_tokens": TOKENS})

    async def all_of_them() -> int:
        responses = await asyncio.gather(*(lm.complete(request(n)) for n in range(requests)))
        return sum(response.usage.completion_tokens for response in responses)

    return asyncio.run(all_of_them())


def directly(server: Any, requests: int = REQUESTS) -> int:
    """Tokens written, as a program would that knows nothing of promptchain: not streamed, a thread per slot."""

    def one(n: int) -> int:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(n)}]
        body = {"messages": messages, "temperature": 0, "max_tokens": TOKENS, "seed": 0}
        return int(server.handle_chat_completions(body)["usage"]["completion_tokens"])

    with ThreadPoolExecutor(SLOTS) as pool:
        return sum(pool.map(one, range(requests)))


def bare_server(path: Path, threads: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.verbosity = -1
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.n_batch = params.n_ubatch = 256
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    return xllamacpp.Server(params)


def speed(run: Callable[..., int], target: Any) -> float:
    """Tokens per second."""
    start = time.perf_counter()
    return run(target) / (time.perf_counter() - start)


def test_local_lm_keeps_nine_tenths_of_the_bare_throughput() -> None:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    try:
        path = find_weights("local/smollm2")
    except ModelError as error:
        pytest.skip(str(error))
    threads = 2
    lm = LocalLM(slots=SLOTS, context=CONTEXT, threads=threads)
    through_local_lm(lm, SLOTS)  # loads the model, and fills the slots with the shared prefix
    server = bare_server(path, threads)
    directly(server, SLOTS)
    turns = [(speed(directly, server), speed(through_local_lm, lm)) for _ in range(TURNS)]
    lm.close()
    bare, ours = max(turn[0] for turn in turns), max(turn[1] for turn in turns)
    print(f"\ntokens/s: bare {bare:.1f}, LocalLM {ours:.1f}, ratio {ours / bare:.2f} (at least 0.90)")
    assert ours / bare >= 0.9
