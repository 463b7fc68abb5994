"""The lock: its text, what is wrong with one, two that write it at once, and merging."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import lock, yaml_text
from promptchain.chain import Demo, Format
from promptchain.errors import InvalidFileError, PromptChainError, StoreError
from promptchain.lock import Compared, Entry, Lock, MadeFrom, Spent
from promptchain.records import Nearest, StepVariant
from tests import lock_kit as kit
from tests.test_yaml_text import TEXTS, VALUES

# -- as text -----------------------------------------------------------------------------------------------------------

SHARES = st.floats(0, 1)
DEMOS = st.builds(Demo, inputs=st.dictionaries(TEXTS, VALUES, max_size=2), output=VALUES)
POOLS = st.builds(Nearest, count=st.integers(1, 100), pool=st.lists(DEMOS, max_size=2).map(tuple))
PARTS = st.builds(
    StepVariant,
    instructions=st.none() | TEXTS,
    demos=st.none() | st.lists(DEMOS, max_size=2).map(tuple),
    nearest=st.none() | POOLS,
    format=st.none() | st.sampled_from(Format),
    reasoning=st.none() | st.booleans(),
)
COMPARED = st.builds(Compared, examples=st.integers(0), before=SHARES, after=SHARES, p=st.none() | SHARES)
MADE = st.builds(
    MadeFrom,
    renderer=st.integers(1),
    chain=TEXTS,
    steps=st.dictionaries(TEXTS, TEXTS, max_size=2),
    models=st.dictionaries(TEXTS, TEXTS, max_size=2),
    dataset=TEXTS,
    metrics=TEXTS,
    settings=TEXTS,
)
ENTRIES = st.builds(
    Entry,
    kept=st.none() | TEXTS,
    steps=st.dictionaries(TEXTS, PARTS, max_size=2),
    test=st.none() | COMPARED,
    spent=st.builds(Spent, calls=st.integers(0), cost=st.none() | st.floats(0, 1e6)),
    settings=st.dictionaries(TEXTS, VALUES, max_size=2),
    parent=st.none() | TEXTS,
    made_from=MADE,
)
LOCKS = st.builds(Lock, models=st.dictionaries(TEXTS, ENTRIES, max_size=2))


@settings(max_examples=100, deadline=None)
@given(LOCKS)
def test_what_is_written_is_read_back(found: Lock) -> None:
    text = lock.to_text(found, "demo")
    assert lock.parse(text, "x", "demo") == found
    assert lock.to_text(lock.parse(text, "x", "demo"), "demo") == text
    assert lock.from_variants(lock.to_variants(found), "demo") == found


def test_how_a_lock_looks() -> None:
    parts = StepVariant(instructions="Decide.\nNow.\n", nearest=kit.POOL)
    found = Lock(models={"local/smollm2": kit.entry(parts, made_from=kit.made(examples=9))})
    assert lock.to_text(found, "support") == (
        "# The prompts of 'support' as compiled for each model, and what they were made from. Commit this file with"
        " the chain.\n"
        "# Do not edit it: change the chain, then run `chain compile support`.\n"
        """\
format: 1
models:
  local/smollm2:
    steps:
      intent:
        instructions: |
          Decide.
          Now.
        nearest:
          count: 1
          pool:
            - inputs:
                message: lost
              output: card
    test:
      examples: 50
      before: 0.34
      after: 0.86
      better: 27
      worse: 1
      p: 1.0e-07
    by_step:
      intent:
        examples: 50
        before: 0.34
        after: 0.86
    spent:
      calls: 588
      tokens: 100000
      cost: 0.25
    prompts: PROMPTS
    made_from:
      renderer: 1
      chain: c
      steps:
        intent: s
      models:
        intent: a/b
      dataset: d
      examples: 9
      metrics: m
      settings: t
""".replace("PROMPTS", yaml_text.scalar(found.models["local/smollm2"].fingerprint()))
    )


def test_order_and_digits_do_not_make_another_text() -> None:
    steps = {"b": kit.COMPILED, "a": kit.COMPILED}
    one = Lock(models={"x/b": kit.entry(steps=steps), "x/a": kit.entry()})
    other = Lock(models={"x/a": kit.entry(), "x/b": kit.entry(steps=dict(reversed(steps.items())))})
    assert lock.to_text(one, "demo") == lock.to_text(other, "demo")
    compared = Compared(examples=3, before=1 / 3, after=-0.0, p=0.0123456)
    assert compared.model_dump(exclude_none=True, exclude={"better", "worse"}) == {
        "examples": 3, "before": 0.3333, "after": 0.0, "p": 0.0123
    }  # fmt: skip
    assert not str(compared.after).startswith("-")


def test_the_order_in_a_demo_is_kept() -> None:
    """The model sees the fields of its output in it."""
    demo = Demo(inputs={}, output={"z": 1, "a": 2})
    found = kit.lock("x/a", parts=StepVariant(demos=(demo,)))
    for back in (lock.parse(lock.to_text(found, "d"), "x", "d"), lock.from_variants(lock.to_variants(found), "d")):
        assert json.dumps(back.models["x/a"].steps["intent"].demos[0].output) == '{"z": 1, "a": 2}'  # type: ignore[index]


def test_prompts_that_a_hand_edits_are_known() -> None:
    text = lock.to_text(kit.lock("x/a", "x/b"), "demo")
    assert not any(entry.edited for entry in lock.parse(text, "x", "demo").models.values())
    found = lock.parse(text.replace("decide what it is", "decide well", 1), "x", "demo")
    assert [entry.edited for entry in found.models.values()] == [True, False]
    again = lock.parse(lock.to_text(found, "demo"), "x", "demo")  # also when another model is compiled after that
    assert [entry.edited for entry in again.models.values()] == [True, False]


# -- what is wrong with one --------------------------------------------------------------------------------------------

TEXT = lock.to_text(kit.lock("x/a"), "demo")
MERGED = TEXT.replace("      cost: 0.25\n", "<<<<<<< HEAD\n      cost: 0.25\n=======\n      cost: 0.5\n>>>>>>> other\n")


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("", 1, "no lock of compiled prompts", "chain compile demo"),
        ("- a\n", 1, "no lock of compiled prompts", "chain compile demo"),
        ("format: 2\nmodels: []\n", 1, "a newer promptchain wrote this lock (format 2", "install a newer promptchain"),
        (MERGED, 24, "conflict markers in lines 24, 26, 28", "merge.promptchain.driver"),
        (TEXT.replace("examples: 50", "examples: many", 1), 10, "'examples' must be a number", "chain compile demo"),
        (TEXT.replace("    spent:", "    spend:"), 21, "unknown key 'spend'", "chain compile demo"),
        (TEXT.replace("      dataset: d\n", ""), 26, "'dataset' is missing", "chain compile demo"),
        (TEXT.replace("models:\n", "models: [\n", 1), 0, "", "chain compile demo"),
        (TEXT + "format: 1\n", 0, "the key 'format' is here twice", "chain compile demo"),
    ],
    ids=["empty", "a list", "newer", "conflict", "no number", "unknown key", "missing key", "syntax", "a key twice"],
)
def test_a_lock_that_cannot_be_read(text: str, line: int, said: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.lock.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFileError) as caught:
        lock.read(path, "chains/demo.lock.yaml")
    first = caught.value.problems[0]
    assert first.where.file == "chains/demo.lock.yaml"
    assert said in first.message
    assert hint in (first.hint or "")
    assert first.where.line
    if line:
        assert first.where.line == line


def test_a_lock_that_is_too_large_or_no_text(tmp_path: Path) -> None:
    path = tmp_path / "demo.lock.yaml"
    path.write_bytes(b"#" * (lock.MAX_BYTES + 1))
    with pytest.raises(InvalidFileError, match=r"more than the 8 MiB.*chain compile demo"):
        lock.read(path, "x")
    path.write_bytes(b"\xff\n")
    with pytest.raises(InvalidFileError, match="not UTF-8"):
        lock.read(path, "x")
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidFileError, match="folder"):
        lock.read(path, "x")


def test_a_line_of_equals_in_a_prompt_is_no_conflict(tmp_path: Path) -> None:
    found = kit.lock("x/a", parts=StepVariant(instructions="Title\n=======\n<<<<<<< not git's\n"))
    assert lock.parse(lock.to_text(found, "demo"), "x", "demo") == found


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"model": "x"}', b'{"format": 2, "model": "x", "entry": {}}', b"\xff"])
def test_a_variant_of_the_store_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        lock.from_variants({"x": text}, "demo")


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=2, unique=True))
def test_each_model_has_a_slug_of_its_own(models: list[str]) -> None:
    slugs = [lock.slug(model) for model in models]
    assert slugs[0].casefold() != slugs[1].casefold()
    assert all(slug.isascii() and not set(slug) - set("abcdefghijklmnopqrstuvwxyz0123456789_-") for slug in slugs)


# -- written -----------------------------------------------------------------------------------------------------------


def test_several_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chains" / "demo.lock.yaml"
    path.parent.mkdir()
    models = [f"x/{number}" for number in range(12)]

    def write(model: str) -> None:
        lock.update(path, model, kit.entry(), state=tmp_path / "state")

    threads = [threading.Thread(target=write, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(lock.read(path, "x").models) == sorted(models)
    assert [file.name for file in path.parent.iterdir()] == ["demo.lock.yaml"]


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "demo.lock.yaml"
    lock.update(path, "x/a", kit.entry(), state=tmp_path)
    os.utime(path, (1, 1))
    lock.update(path, "x/a", kit.entry(), state=tmp_path)
    assert path.stat().st_mtime == 1
    lock.update(path, "x/a", kit.entry(kept="no headroom", steps={}), state=tmp_path)
    assert lock.read(path, "x").models["x/a"].kept == "no headroom"


def test_a_broken_lock_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "demo.lock.yaml"
    path.write_text(MERGED)
    with pytest.raises(InvalidFileError):
        lock.update(path, "x/b", kit.entry(), state=tmp_path)
    assert path.read_text() == MERGED


def test_a_lock_that_cannot_be_written_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "demo.lock.yaml"
    lock.write(path, kit.lock("x/a"))

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PromptChainError, match="No space left"):
        lock.write(path, kit.lock("x/b"))
    assert list(lock.read(path, "x").models) == ["x/a"]
    assert [file.name for file in tmp_path.iterdir()] == ["demo.lock.yaml"]


# -- merged ------------------------------------------------------------------------------------------------------------

OTHER = kit.entry(StepVariant(instructions="Other."))
THIRD = kit.entry(StepVariant(instructions="Third."))


def side(**models: Entry) -> Lock:
    return Lock(models=models)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (side(), side(a=OTHER), side(b=THIRD), side(a=OTHER, b=THIRD)),
        (side(a=OTHER), side(a=THIRD), side(a=OTHER), side(a=THIRD)),
        (side(a=OTHER), side(a=OTHER), side(a=THIRD), side(a=THIRD)),
        (side(a=OTHER), side(a=THIRD), side(a=THIRD), side(a=THIRD)),
        (side(a=OTHER), side(), side(a=OTHER), side()),
        (side(a=OTHER), side(a=OTHER, b=THIRD), side(), side(b=THIRD)),
    ],
)
def test_what_one_side_changed_is_taken(base: Lock, ours: Lock, theirs: Lock, merged: Lock) -> None:
    assert lock.merge(base, ours, theirs) == lock.Merged(merged, {})


def test_what_both_changed_is_a_conflict() -> None:
    found = lock.merge(side(), side(a=OTHER, b=OTHER), side(a=THIRD))
    assert (found.lock, dict(found.conflicts)) == (side(b=OTHER), {"a": (OTHER, THIRD)})
    text = found.to_text("demo")
    with pytest.raises(InvalidFileError, match="conflict markers"):
        lock.parse(text, "x", "demo")
    lines = text.splitlines(keepends=True)
    marks = [index for index, line in enumerate(lines) if line[:7] in ("<" * 7, "=" * 7, ">" * 7)]
    ours = "".join(lines[: marks[0]] + lines[marks[0] + 1 : marks[1]] + lines[marks[2] + 1 :])
    theirs = "".join(lines[: marks[0]] + lines[marks[1] + 1 : marks[2]] + lines[marks[2] + 1 :])
    assert lock.parse(ours, "x", "demo") == side(a=OTHER, b=OTHER)
    assert lock.parse(theirs, "x", "demo") == side(a=THIRD, b=OTHER)


def test_one_changed_and_the_other_removed_is_a_conflict() -> None:
    assert dict(lock.merge(side(a=OTHER), side(), side(a=THIRD)).conflicts) == {"a": (None, THIRD)}


def test_a_single_marker_stands_in_a_line() -> None:
    with pytest.raises(InvalidFileError, match=r"conflict markers in line 3\b"):
        lock._refuse_conflicts("a: 1\nb: 2\n<<<<<<< HEAD\n", "c.lock.yaml", "c")
