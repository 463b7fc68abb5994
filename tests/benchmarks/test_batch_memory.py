"""A batch of any length takes the memory of a short one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measure import say

pytestmark = pytest.mark.benchmark

CHAIN = Path(sys.executable).with_name("chain")

MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _peak(folder: Path, rows: int) -> float:
    """Peak memory in MB of `chain run --batch` over so many rows."""
    source, output = folder / f"{rows}.jsonl", folder / f"{rows}.out.jsonl"
    with source.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"message": f"message {number} " + "words " * 40}) + "\n")
    command = [CHAIN, "run", "echo", "--batch", source, "-o", output, "-m", "scripted/answers.yaml"]
    words = [sys.executable, "-c", MEASURED, *map(str, command)]
    done = subprocess.run(words, cwd=folder, check=True, timeout=900, capture_output=True)
    with output.open() as file:
        assert sum(1 for _ in file) == rows
    return int(done.stdout) / 1024


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains" / "echo.yaml").write_text(
        'inputs: {message: string}\nsteps:\n  echo: {prompt: "{{ message }}"}\n'
    )
    (tmp_path / "answers.yaml").write_text('- {contains: "", reply: "an answer of a few words"}\n')
    small, large = _peak(tmp_path, 1_000), _peak(tmp_path, 100_000)
    say(
        "peak memory of 100,000 rows over 1,000 rows (at most 60 MB)",
        f"{large - small:.1f} MB ({small:.0f} → {large:.0f})",
    )
    assert large - small <= 60
