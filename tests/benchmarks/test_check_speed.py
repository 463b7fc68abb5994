"""What looking at the files of a large project takes, whole process."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.measure import command, say

pytestmark = pytest.mark.benchmark

CHAIN = str(Path(sys.executable).with_name("chain"))
CHAINS = Path(__file__).parents[2] / "chains"
COUNT = 200


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the chain `support` 200 times, each with a prompt of its own in a file."""
    root = tmp_path_factory.mktemp("large")
    source = (CHAINS / "support.yaml").read_text(encoding="utf-8")
    for number in range(COUNT):
        name = f"support{number}"
        (root / "chains" / name).mkdir(parents=True)
        for file in ("reply.md", "support.jsonl"):
            shutil.copy(CHAINS / "support" / file, root / "chains" / name / file)
        (root / "chains" / f"{name}.yaml").write_text(source.replace("support/", f"{name}/"), encoding="utf-8")
    return root


@pytest.mark.parametrize("words", [("check",), ("fmt", "--check")], ids=" ".join)
def test_200_chains_take_two_seconds(words: tuple[str, ...], large: Path) -> None:
    found = sorted(command(CHAIN, *words, cwd=large) for _ in range(5))
    say(f"chain {' '.join(words)} on {COUNT} chains, whole process (at most 2 s)", f"{median(found):.2f} s")
    assert median(found) <= 2
