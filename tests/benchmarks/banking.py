"""What both sides of the comparison with DSPy share: the rows of BANKING77, the model's server, and DSPy's result."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "banking77"
MODEL = "local/smollm2"
INSTRUCTION = "Decide what the customer wants."
INTENTS = (
    "card_arrival",
    "lost_or_stolen_card",
    "exchange_rate",
    "request_refund",
    "change_pin",
    "transfer_fee_charged",
    "declined_card_payment",
    "terminate_account",
)
TRAIN_ROWS, TEST_ROWS = 120, 100
SLOTS, CONTEXT, THREADS = 4, 4096, 2

Optimizer = Literal["random", "mipro"]
"""DSPy's BootstrapFewShotWithRandomSearch and MIPROv2."""


class Row(NamedTuple):
    text: str
    intent: str


class Rows(NamedTuple):
    """train: also what is validated with; which of them is each side's own choice. test: seen once, at the end."""

    train: Sequence[Row]
    test: Sequence[Row]


def skip_without_data() -> None:
    if not DATA.is_dir():
        pytest.skip(f"there is no {DATA.relative_to(ROOT.parent)} beside the repository")


def rows_of(seed: int) -> Rows:
    """The rows of a seed: drawn evenly from all rows of the eight intents, so as often as an intent is in the data."""
    chance = random.Random(seed)
    return Rows(chance.sample(_rows("train"), TRAIN_ROWS), chance.sample(_rows("test"), TEST_ROWS))


def _rows(name: str) -> list[Row]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [Row(row["text"], row["category"]) for row in csv.DictReader(file) if row["category"] in INTENTS]


class Point(NamedTuple):
    """After so many calls a new best program was known. dev: its share of the validation rows that were right."""

    calls: int
    dev: float
    test_correct: int | None


@dataclass(frozen=True)
class Result:
    """What an optimizer reached. calls: those of optimizing, not those on the test rows.

    curve: each program that was the best so far, the last of them the one that is tested; `test_correct` of the
    others only where the curve was asked for. seconds: of optimizing. unparsed: test replies with no intent in them.
    """

    optimizer: str
    seed: int
    budget: int
    calls: int
    test_correct: int
    test_n: int
    unparsed: int
    seconds: float
    curve: Sequence[Point]
    program: str


@contextmanager
def served() -> Iterator[tuple[str, str]]:
    """Address and key of a llama.cpp server with the model, set up as LocalLM sets up its own."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    from promptchain.errors import ModelError
    from promptchain.lm.local import _import_xllamacpp
    from promptchain.lm.weights import find_weights

    try:
        path = find_weights(MODEL)
    except ModelError as error:
        pytest.skip(str(error))
    key = os.urandom(16).hex()
    xllamacpp = _import_xllamacpp(MODEL)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.verbosity = -1
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    params.n_batch = params.n_ubatch = 256
    params.cache_ram_mib = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.warmup = False
    params.hostnames, params.port, params.n_threads_http = ["127.0.0.1"], 0, 2 * SLOTS
    params.api_keys = [key]
    params.ui = False
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1", key
    del server


def run_dspy(optimizer: Optimizer, seed: int, budget: int, *, curve: bool = False) -> Result:
    """Let DSPy optimize the step on the rows of `seed` with at most `budget` model calls, and test what it found.

    In a process of its own: DSPy's threads, caches and warnings are none of ours. Skips where something is missing.
    curve: test each program of the curve too, which is 100 calls for each that are not counted.
    """
    skip_without_data()
    for package in ("dspy", "optuna"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: uv run --group bench pytest tests/benchmarks -m benchmark -s")
    words = [sys.executable, "-m", "tests.benchmarks.dspy_side", optimizer, str(seed), str(budget), str(int(curve))]
    with served() as (address, key), tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {
            "BANKING_ADDRESS": address,
            "BANKING_KEY": key,
            "DSPY_CACHEDIR": cache,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise its import asks the network for prices
        }
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"DSPy's side failed:\n{done.stderr[-4000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Result(**{**told, "curve": [Point(*point) for point in told["curve"]]})
