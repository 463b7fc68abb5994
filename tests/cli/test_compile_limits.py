"""`chain compile` and its ceilings, Ctrl-C, and going on from there."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

from tests.cli.compile_kit import CHAIN, MODEL, compiled, lock_text, new_calls, no_lock, project
from tests.loopback import Loopback, Reply
from tests.patience import at_rest
from tests.workspace import CHAIN as COMMAND
from tests.workspace import Workspace


@pytest.fixture
def learning(empty: Workspace) -> Workspace:
    return project(empty)


@pytest.mark.parametrize("most", [27, 40, 60, 90, 150])
def test_a_ceiling_on_calls_is_planned_for_and_never_passed(learning: Workspace, asked: list[Any], most: int) -> None:
    done = learning.invoke("compile", "demo", "--max-calls", str(most))
    assert done.code == 0, done
    assert 0 < len(asked) <= most
    assert new_calls(done) == len(asked)


@pytest.mark.parametrize("words", [("--max-calls", "0"), ("--calls", "0"), ("--max-calls", "26")])
def test_a_ceiling_that_tells_nothing_is_an_error_and_leaves_the_lock(
    learning: Workspace, asked: list[Any], words: tuple[str, str]
) -> None:
    compiled(learning, "--optimizer", "demos")
    before, calls = lock_text(learning), len(asked)
    done = learning.invoke("compile", "demo", "--force", *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-2:] == [
        f"error: {words[1]} calls are too few to tell one prompt from another",
        "  hint: raise --calls, or --max-calls where that is the limit: 27 at least, 400 a step are of use",
    ]
    assert (lock_text(learning), len(asked)) == (before, calls)
    assert learning.invoke("compile", "demo", "--force", "--dry-run", *words).code == 1


def test_a_ceiling_is_shared_by_the_models(learning: Workspace, asked: list[Any]) -> None:
    learning.model(*MODEL, name="other")
    words = ("--model", "scripted/demo.script.yaml", "--model", "scripted/other.script.yaml")
    done = learning.invoke("compile", "demo", *words, "--max-calls", "200")
    assert done.code == 0, done
    assert len(asked) <= 200
    dry = learning.invoke("compile", "demo", *words, "--max-calls", "200", "--dry-run", "--json", "--force")
    assert [one["calls"] for one in dry.json] == [100, 100]
    assert done.out.count("compiled intent") == 2


def test_the_settings_of_the_project_may_be_the_ceiling(learning: Workspace, asked: list[Any]) -> None:
    learning.write("promptchain.toml", "max_calls = 60\n")
    assert learning.invoke("compile", "demo").code == 0
    assert 0 < len(asked) <= 60


def test_a_ceiling_that_is_reached_half_way_writes_nothing_and_more_room_goes_on(
    learning: Workspace, asked: list[Any]
) -> None:
    done = learning.invoke("compile", "demo", "--max-tokens", "1500", "--optimizer", "demos")
    assert (done.code, done.out) == (1, "")
    assert "--max-tokens 1,500 leaves no room for another call: spent so far" in done.err
    hint = "raise --max-tokens; what was answered is in the cache: with more room it goes on from there"
    assert done.err.splitlines()[-1] == f"  hint: {hint}"
    assert no_lock(learning)
    assert asked
    assert learning.invoke("compile", "demo", "--optimizer", "demos").code == 0
    assert len({str(request) for request in asked}) == len(asked)


def test_without_the_cache_nothing_is_promised_of_it(learning: Workspace, asked: list[Any]) -> None:
    words = ("compile", "demo", "--max-tokens", "1500", "--optimizer", "demos", "--no-cache")
    said = "  hint: raise --max-tokens; the answers were not kept; without --no-cache they are"
    assert learning.invoke(*words).err.splitlines()[-1] == said
    before = len(asked)
    learning.invoke(*words)
    assert len(asked) == 2 * before > 0


def test_a_ceiling_on_cost_needs_the_price_of_every_model(learning: Workspace, asked: list[Any]) -> None:
    for flag in ("--model", "--proposer", "--teacher"):
        done = learning.invoke("compile", "demo", flag, "hosted_vllm/mine", "--max-cost", "1")
        assert (done.code, done.out) == (2, ""), done
        assert "error: the price of 'hosted_vllm/mine' is not known, so --max-cost cannot be held\n" in done.err
    rule = "    - {step: intent, type: llm-rubric, value: kind, provider: hosted_vllm/judge}\n"
    learning.chain(CHAIN.replace("MODEL", "scripted/demo.script.yaml") + rule, replies=MODEL)
    done = learning.invoke("compile", "demo", "--max-cost", "1")
    assert "error: the price of 'hosted_vllm/judge' is not known" in done.err
    assert (asked, no_lock(learning)) == ([], True)


def test_a_hosted_model_is_asked_no_more_than_the_ceiling(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where it is served; and what it costs is in the lock."""

    def answer(body: dict[str, Any]) -> Reply:
        *demos, last = (message["content"] for message in body["messages"])
        knows = "lesson" in "".join(demos) and "easy" not in last
        return Reply("refund" if knows else "card", usage=(100, 10))

    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback")
    with Loopback(answer) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        project(empty)
        words = ("--model", "openai/gpt-4o-mini", "--optimizer", "demos", "--max-calls", "80", "--max-cost", "1")
        done = empty.invoke("compile", "demo", *words)
        assert done.code == 0, done
        assert 0 < len(server.requests) <= 80
        assert new_calls(done) == len(server.requests)
        spent = done.err.splitlines()[-1]
        assert "compiled intent" in done.out, done
    assert f"${len(server.requests) * (100 * 0.15 + 10 * 0.6) / 1e6:.4f}" in spent


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------

LAST = {"contains": "odd dev 0", "reply": "card", "delay": 3}


def test_an_interrupt_leaves_the_lock_and_the_next_run_makes_only_what_is_missing(
    learning: Workspace, asked: list[Any]
) -> None:
    learning.chain(CHAIN.replace("MODEL", "scripted/demo.script.yaml"), replies=[LAST, *MODEL])
    words = ["compile", "demo", "--optimizer", "instructions"]  # without a proposer it tries the seed alone
    process = subprocess.Popen([COMMAND, *words], cwd=learning.root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "the seed prompts" not in process.stderr.readline():
        pass
    at_rest(process.pid)  # all others are answered
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err.splitlines() == [
        "16 calls made; the answers are in the cache: run the same again to go on",
        "interrupted",
    ]
    assert no_lock(learning)
    done = learning.invoke(*words)
    assert (done.code, len(asked), new_calls(done)) == (0, 1, 1), done
    assert "16 calls (1 new), " in done.err
