"""A batch of any length takes the memory of a short one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.measure import say

pytestmark = pytest.mark.benchmark

MEASURED = """
import resource, sys
from promptchain.cli import main
sys.argv = ["chain", "run", "echo", "--batch", sys.argv[1], "-o", sys.argv[2], "-m", "scripted/answers.yaml"]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=open(sys.argv[1] + ".peak", "w"))
"""


def _peak(folder: Path, rows: int) -> float:
    """Peak memory in MB of `chain run --batch` over so many rows."""
    source, output = folder / f"{rows}.jsonl", folder / f"{rows}.out.jsonl"
    with source.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"message": f"message {number} " + "words " * 40}) + "\n")
    script = MEASURED.replace("sys.argv[1] + ", repr(str(source)) + " + ")
    subprocess.run([sys.executable, "-c", script, str(source), str(output)], cwd=folder, check=True, timeout=900)
    with output.open() as file:
        assert sum(1 for _ in file) == rows
    return int(Path(f"{source}.peak").read_text()) / 1024


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
