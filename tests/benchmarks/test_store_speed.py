"""What the store costs: a version, a record, a look back, and what `chain run` pays for both."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from promptchain.records import Call, Run, Status, StepRun, Totals
from promptchain.store import stream
from promptchain.store.index import Query
from promptchain.store.repo import PREFIX, Repository
from promptchain.store.runs import Runs
from promptchain.store.snapshot import Snapshot
from promptchain.store.spool import Spool, sync_folder
from promptchain.store.stream import NewCommit
from promptchain.store.versions import Versions, place
from tests.benchmarks.measure import command, in_turn, say
from tests.workspace import CHAIN

pytestmark = pytest.mark.benchmark

VERSIONS, RUNS = 5_000, 100_000
SOURCE = b"steps:\n  reply:\n    prompt: Answer {{ message }} in number %d sentences.\n" * 10


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def snapshot(number: int) -> Snapshot:
    files = {"chains/support/reply.md": b"Be kind. %d\n" % number}
    return Snapshot("support", "chains/support.yaml", SOURCE.replace(b"%d", b"%d" % number), f"{number:064x}", files)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 5,000 versions of one chain, in one commit (what reads them does not look at commits)."""
    root = tmp_path_factory.mktemp("store")
    git(root, "init", "-q")
    (root / "chains").mkdir()
    (root / "chains/support.yaml").write_text("steps: {reply: {prompt: hello}}\n")
    repo = Repository(root / ".git")
    versions = Versions(repo)
    versions.commit(snapshot(0))
    tip = repo.tip("chains/support")
    manifest = repo.read(f"{PREFIX}/chains/support:{place(1)}/manifest.json") or b""
    changes: dict[str, bytes | str | None] = {}
    for number in range(2, VERSIONS + 1):
        own = snapshot(number)
        text = manifest.replace(snapshot(0).content.encode(), own.content.encode())
        changes[f"{place(number)}/manifest.json"] = text
        changes |= {f"{place(number)}/{path}": content for path, content in own.blobs().items()}
        changes[f"contents/{own.content[:2]}/{own.content}"] = b'{"version": %d}' % number
    repo.write([NewCommit("chains/support", "many", (tip or "",), changes)])
    repo.close()
    return root


def test_a_version_costs_at_most_two_fast_imports(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    repo = Repository(tmp_path / ".git")
    versions = Versions(repo)
    numbers = iter(range(100_000))
    versions.commit(snapshot(next(numbers)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    options = [word for option in ("core.hooksPath=/dev/null", "core.fsync=committed") for word in ("-c", option)]

    def bare() -> float:
        commit = NewCommit(
            f"bare/b{next(numbers)}", "x", (), {f"v/{k}": v for k, v in snapshot(next(numbers)).blobs().items()}
        )
        with tempfile.TemporaryFile() as file:
            file.write(stream.commands([commit], PREFIX, "a <a@b>"))
            file.seek(0)
            line = [
                "git",
                f"--git-dir={tmp_path}/.git",
                *options,
                "fast-import",
                "--quiet",
                "--done",
                "--date-format=raw",
            ]
            return timed(lambda: subprocess.run(line, stdin=file, check=True, capture_output=True, env=environment))

    found = in_turn(lambda: timed(lambda: versions.commit(snapshot(next(numbers)))), bare, rounds=40)
    say("a version against a bare git fast-import (at most 2)", f"{found.ratio:.2f} ({found})")
    assert found.ratio <= 2


def test_a_record_costs_at_most_two_bare_writes(tmp_path: Path) -> None:
    spool, bare = Spool(tmp_path / "state"), tmp_path / "bare"
    bare.mkdir()
    text = "x" * 1500
    numbers = iter(range(10**6))

    def ours() -> float:
        name = f"{next(numbers):026d}"
        return timed(lambda: spool.write(name, text))

    def theirs() -> float:
        path = bare / f"{next(numbers):026d}"

        def write() -> None:
            with open(f"{path}.tmp", "w") as file:  # noqa: PTH123 - the barest
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.rename(f"{path}.tmp", path)  # noqa: PTH104
            sync_folder(bare)

        return timed(write)

    found = in_turn(ours, theirs, rounds=300)
    say("a record against a bare write, fsync, rename, fsync (at most 2)", f"{found.ratio:.2f} ({found})")
    assert found.ratio <= 2


def test_a_version_of_5000_is_read_in_half_a_millisecond(folder: Path) -> None:
    versions = Versions(Repository(folder / ".git"))
    assert versions.resolve("support", "v7").number == 7
    tree = versions.tree("support")
    times = [timed(lambda number=number: tree.version(number)) for number in range(100, 4_900, 7)]  # type: ignore[misc]
    whole = [timed(lambda number=number: versions.snapshot(tree.version(number))) for number in range(100, 4_900, 97)]  # type: ignore[misc, arg-type]
    say(
        "reading a version of 5,000, warm (at most 0.5 ms)",
        f"{median(times) * 1000:.2f} ms; with all its files {median(whole) * 1000:.2f} ms",
    )
    assert median(times) <= 0.0005


def test_a_log_takes_at_most_two_imports_of_git(folder: Path) -> None:
    ours = lambda: command(str(CHAIN), "log", "support", "-n", "20", cwd=folder)  # noqa: E731
    found = in_turn(ours, lambda: command(sys.executable, "-c", "import git", cwd=folder), rounds=15)
    say("chain log -n 20 on 5,000 versions against python -c 'import git' (at most 2)", f"{found.ratio:.2f} ({found})")
    assert found.ratio <= 2


_CHANCE = random.Random(7)
_WORDS = ["".join(_CHANCE.choices("etaoinshrdlucmfwygp", k=_CHANCE.randint(2, 9))) for _ in range(2000)]


def a_run(number: int) -> Run:
    """A run of three steps whose texts repeat no more than people do."""

    def text(words: int) -> str:
        return " ".join(_CHANCE.choices(_WORDS, k=words))

    def step(value: str) -> StepRun:
        tokens = {"prompt_tokens": _CHANCE.randint(60, 300), "completion_tokens": _CHANCE.randint(3, 60)}
        call = Call(model="local/smollm2", finish="stop", cost=0.0, seconds=round(_CHANCE.random(), 6), **tokens)
        return StepRun(status=Status.DONE, value=value, seconds=round(_CHANCE.random(), 6), calls=(call,))

    steps = {"intent": step("card_arrival"), "reply": step(text(30)), "check": step("yes")}
    return Run(
        id="01m87n" + "".join(_CHANCE.choices("0123456789abcdefghjkmnpqrstvwxyz", k=20)),
        chain="support",
        source=f"{number % 7:064x}",
        model="local/smollm2",
        started="2026-11-24T20:57:18.504Z",
        seconds=1.5,
        status=Status.DONE,
        inputs={"message": text(25)},
        outputs={"intent": "card_arrival", "reply": steps["reply"].value},
        steps=steps,
        totals=Totals(calls=3, prompt_tokens=213, completion_tokens=60),
    )


def test_100000_runs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    repo = Repository(tmp_path / ".git")
    runs = Runs(repo)
    for number in range(RUNS):
        run = a_run(number)
        runs.spool.write(run.id, run.model_dump_json(), durable=False)
    spent = timed(lambda: runs.flush(everything=True))
    assert len(runs.select(Query(limit=None))) == RUNS
    commits = int(git(tmp_path, "rev-list", "--count", "--all"))
    git(tmp_path, "gc", "--quiet")
    size = sum(path.stat().st_size for path in (tmp_path / ".git/objects").rglob("*") if path.is_file())
    listed = [command(str(CHAIN), "runs", "-n", "20", cwd=tmp_path) for _ in range(8)][1:]
    say(
        "100,000 runs (at most 800 bytes each, 300 commits; listed in 0.3 s cold)",
        f"{size / RUNS:.0f} bytes each, {commits} commits in {spent:.1f} s; chain runs {median(listed):.3f} s",
    )
    assert size / RUNS <= 800
    assert commits <= 300
    assert median(listed) <= 0.3


WITHOUT_STORE = """
import sys
from promptchain import recording
class Nothing:
    problems = ()
    def __init__(self, *_): pass
    def version(self): return None
    def keep(self, run, **_): return run
recording.Recorder = Nothing
from promptchain.cli import main
main()
"""


@pytest.mark.parametrize("changed", [False, True], ids=["as it was", "changed"])
def test_what_a_run_pays_for_the_store(changed: bool, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "answers.yaml").write_text("- {always: true, reply: fine}\n")
    chain = tmp_path / "chains/demo.yaml"
    chain.parent.mkdir()
    numbers = iter(range(10**6))

    def write() -> None:
        number = next(numbers) if changed else 0
        chain.write_text(f"model: scripted/answers.yaml\nsteps: {{reply: {{prompt: hello {number}}}}}\n")

    def run(*start: str) -> float:
        write()
        return command(*start, "run", "demo", cwd=tmp_path)

    bare = "import sys; from promptchain.cli import main; main()"
    found = in_turn(
        lambda: run(sys.executable, "-c", bare), lambda: run(sys.executable, "-c", WITHOUT_STORE), rounds=15
    )
    paid = median(found.ours) - median(found.theirs)
    assert len(list((tmp_path / ".git/promptchain/spool").iterdir())) == 16
    how = "changed" if changed else "as it was"
    say(
        f"what a run pays for store and record, chain {how} (at most 80 ms)",
        f"{paid * 1000:.0f} ms ({found})",
    )
    assert paid <= 0.080
