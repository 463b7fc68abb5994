"""A pull request, played through as GitHub Actions does it: with a bare remote, and GitHub's API on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ci_kit import GOOD, SEED, WORST, Pull
from tests.cli import compile_kit
from tests.cli.git_kit import git
from tests.fake_github import GitHub


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


def test_worse_is_refused_and_better_is_let_in_with_its_lock(
    tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    pull = Pull(tmp_path, text=compile_kit.CHAIN.replace(SEED, GOOD))

    # Somebody shortens a prompt, and half of the answers are wrong now.
    pull.replace(GOOD, SEED)
    pull.commit()
    pull.checkout()
    done = pull.start(github=github)
    assert done.code == 100, done
    (comment,) = github.bodies()
    print(comment)
    lines = comment.splitlines()
    assert lines[0] == "<!-- promptchain -->"
    assert lines[1] == "## ❌ `demo` got worse: 85 % → 50 %"
    base = git(pull.remote, "rev-parse", "main")[:7]
    assert lines[3].startswith(
        f"**18 examples that passed on main ({base}) fail now**, most at step **intent**: −35 points "
    )
    assert lines[5] == "What changed: intent: instructions."
    assert "-   instructions: Decide with care what the customer wants.\n+   instructions: Decide what" in comment
    assert f"| score | main ({base}) | here | difference |" in comment
    assert "| step intent | 85 % " in comment
    assert "it should be 'refund', and is 'card'" in comment
    assert pull.summary.read_text().startswith(lines[1])
    assert pull.outputs["passed"] == "false"
    assert pull.outputs["exit-code"] == "100"
    # In the files of the pull request it stands on the line that was changed.
    (first,) = [line for line in done.out.splitlines() if "demo got worse" in line]
    number = 1 + pull.author.root.joinpath("chains/demo.yaml").read_text().splitlines().index(
        f"    instructions: {SEED}"
    )
    assert first.startswith(f"::error file=chains/demo.yaml,line={number},title=demo got worse%3A 85 %25 → 50 %25::")

    # They take it back, and improve something else: the same comment says so.
    pull.replace(SEED, GOOD)
    pull.replace('"Classify: {{ message }}"', '"Goods, classify: {{ message }}"')
    pull.commit()
    pull.checkout()
    done = pull.start(github=github)
    assert done.code == 0, done
    assert len(github.comments) == 1
    assert github.bodies()[0].splitlines()[1].startswith("## ✅ `demo` "), github.bodies()[0]


def test_what_is_better_passes_and_its_lock_is_committed(
    tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    pull = Pull(tmp_path, text=compile_kit.CHAIN.replace(SEED, WORST))
    pull.replace(WORST, SEED)
    before = pull.commit()
    pull.checkout()
    done = pull.start(github=github)
    assert done.code == 0, done
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ✅ `demo` got better: 31 % → 50 %"
    assert "::error" not in done.out

    # Somebody starts the workflow that compiles, on the branch.
    pull.checkout(merge=False)
    job = {"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_HEAD_REF": "", "GITHUB_REF_NAME": pull.branch}
    (tmp_path / "empty.json").write_text("{}")
    done = pull.start("compile", "demo", github=github, env={**job, "GITHUB_EVENT_PATH": str(tmp_path / "empty.json")})
    assert done.code == 0, done
    assert "✓ compiled intent: chains/demo.lock.yaml" in done.out
    after = git(pull.remote, "rev-parse", pull.branch)
    assert git(pull.remote, "rev-parse", f"{after}~1") == before
    assert git(pull.remote, "diff", "--name-only", before, after) == "chains/demo.lock.yaml"
    assert git(pull.remote, "log", "-1", "--format=%an: %s", after) == "github-actions[bot]: Compile demo"
    assert pull.outputs["commit"] == after

    # The pull request with its lock: better still, and the comment is updated, not repeated.
    pull.checkout()
    done = pull.start(github=github)
    assert done.code == 0, done
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ✅ `demo` got better: 31 % → 81 %", comment
    assert "compiled for scripted/demo.script.yaml" in comment
    assert pull.outputs["new-calls"] == "0" or int(pull.outputs["new-calls"]) < 104

    # An edit makes it stale: that is said, with what mends it.
    git(pull.author.root, "pull", "--quiet", "--rebase", "origin", pull.branch)
    pull.replace(SEED, f"{SEED} Please.")
    pull.commit()
    pull.checkout()
    done = pull.start(github=github)
    assert done.code == 101, done
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ❌ `demo`: its compiled prompts are stale", comment
    assert "step 'intent' was edited. Mend it with `chain compile demo`." in comment
