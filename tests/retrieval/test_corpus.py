"""A corpus is kept up to date, and searched."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.errors import PromptChainError
from promptchain.retrieval import dense, files, index, keeper, texts, upkeep
from promptchain.retrieval.corpus import Corpus, fingerprint_of
from promptchain.retrieval.texts import Reading
from tests.retrieval.kit import ask, by_letters, corpus, run, sources, spec, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        docs_S_refunds__md="---\nteam: billing\ntags: [money, back]\n---\n"
        "# Refunds\n\nA refund takes five days.\n\n## Limits\n\nNo more than 100.\n",
        docs_S_cards__md="# Cards\n\nA new card comes in two days.\n\n## Lost\n\nCall us when a card is lost.\n",
        docs_S_rows__csv="title,text,year,vip\nFees,A fee for a card is one percent,2024,true\n"
        "Fees,No fees for a refund,2023,false\n",
    )
    return tmp_path


@pytest.fixture
def found(root: Path) -> Iterator[Corpus]:
    with corpus(root, "docs/*") as made:
        yield made


# --- what is found


def test_the_words_find_the_passage(found: Corpus) -> None:
    best = ask(found, "How long do refunds take?")[0]
    assert (best.source, best.title, best.line) == ("docs/refunds.md", "Refunds", 5)
    assert best.text == "# Refunds\n\nA refund takes five days."
    assert best.meta == {"section": "Refunds", "team": "billing", "tags": ["money", "back"]}
    assert best.score == round(best.score, 6) > 0
    assert best.to_json()["meta"]["team"] == "billing"


def test_a_heading_above_is_searched_too(found: Corpus) -> None:
    assert ask(found, "refund limits")[0].title == "Limits"
    assert ask(found, "cards lost")[0].meta["section"] == "Cards > Lost"


def test_scores_descend_and_top_k_holds(found: Corpus) -> None:
    many = ask(found, "refund card fee days", top_k=10)
    assert [p.score for p in many] == sorted((p.score for p in many), reverse=True)
    assert ask(found, "refund card fee days", top_k=2) == many[:2]
    least = many[1].score
    assert ask(found, "refund card fee days", min_score=least) == [p for p in many if p.score >= least]


@pytest.mark.parametrize("query", ["", " ", "?", '"', "zzz"])
@pytest.mark.parametrize("mode", ["lexical"])
def test_nothing_asked_finds_nothing(query: str, mode: str, found: Corpus) -> None:
    assert ask(found, query, mode=mode) == []


def test_only_words_that_say_nothing_still_find(found: Corpus) -> None:
    assert ask(found, "when is a")


def test_equals_stand_by_source_and_line(tmp_path: Path) -> None:
    rows = "".join('{"text": "same words"}\n' for _ in range(30))
    with corpus(tmp_path) as found:
        for name in ("docs_S_b__jsonl", "docs_S_a__jsonl"):
            write(tmp_path, **{name: rows})
            run(found.refresh())
        best = ask(found, "same", top_k=35)
    assert [(p.source, p.line) for p in best] == [
        *(("docs/a.jsonl", line) for line in range(1, 31)),
        *(("docs/b.jsonl", line) for line in range(1, 6)),
    ]


def test_other_scripts_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        docs_S_a__md="# 退款\n\n退款需要五天。",
        docs_S_b__md="# 卡\n\n新卡两天到。",
        docs_S_c__md="Rückerstattung café",
    )
    with corpus(tmp_path) as found:
        assert sources(found, "退款需要多久？") == ["docs/a.md"]
        assert sources(found, "CAFE") == sources(found, "cafe\u0301") == ["docs/c.md"]


# --- conditions


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"team": "billing"}, ["docs/refunds.md", "docs/refunds.md"]),
        ({"tags": "money"}, ["docs/refunds.md", "docs/refunds.md"]),
        ({"tags": ["x", "back"]}, ["docs/refunds.md", "docs/refunds.md"]),
        ({"year": 2024}, ["docs/rows.csv"]),
        ({"year": [2023, "2024"]}, ["docs/rows.csv", "docs/rows.csv"]),
        ({"vip": True}, ["docs/rows.csv"]),
        ({"title": "Fees"}, ["docs/rows.csv", "docs/rows.csv"]),
        ({"title": ["Lost", "Refunds"]}, ["docs/cards.md", "docs/refunds.md"]),
        ({"source": "docs/cards.md"}, ["docs/cards.md", "docs/cards.md"]),
        ({"source": "*.csv"}, ["docs/rows.csv", "docs/rows.csv"]),
        ({"source": ["docs/c*", "**/rows.csv"], "year": None}, ["docs/cards.md", "docs/cards.md"]),
        ({"team": "nobody"}, []),
        ({"none": "x"}, []),
        ({"team": []}, []),
        ({"team": "billing", "year": 2024}, []),
    ],
)
def test_conditions(where: dict[str, object], expected: list[str], found: Corpus) -> None:
    query = "refund card fee"
    assert sorted(sources(found, query, where=where)) == expected
    for mode in ("dense", "hybrid"):
        both = sources(found, query, where=where, mode=mode, embed=by_letters)
        assert set(both) >= set(expected)
        assert bool(both) == bool(expected)


def test_a_condition_never_hides_what_is_there(tmp_path: Path) -> None:
    rows = "".join(f'{{"text": "refund refund", "n": {n}}}\n' for n in range(300))
    write(tmp_path, docs_S_a__jsonl=rows + '{"text": "a refund among other words", "n": "last"}\n')
    with corpus(tmp_path) as found:
        for mode in ("lexical", "dense", "hybrid"):
            assert [
                p.line for p in ask(found, "refund", top_k=1, where={"n": "last"}, mode=mode, embed=by_letters)
            ] == [301]


@pytest.mark.parametrize("where", [{"a": {"b": 1}}, {"a": [[1]]}, {'a"b': 1}])
def test_a_condition_of_another_shape_is_an_error(where: dict[str, object], found: Corpus) -> None:
    with pytest.raises(PromptChainError, match="'where'"):
        ask(found, "x", where=where)


# --- vectors


def test_dense_and_hybrid(found: Corpus) -> None:
    query = "A new card comes in two days"
    best = ask(found, query, mode="dense", embed=by_letters)
    assert best[0].title == "Cards"
    assert -1 <= best[-1].score <= best[0].score <= 1
    assert len(best) == 6
    both = ask(found, query, mode="hybrid", embed=by_letters)
    assert both[0].title == "Cards"
    assert both[0].score == round(2 / 61, 6)


def test_a_search_by_meaning_needs_an_embedder(found: Corpus) -> None:
    with pytest.raises(PromptChainError, match="embedder"):
        ask(found, "x", mode="dense")


def test_no_text_is_embedded_twice(root: Path) -> None:
    asked: list[str] = []

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        asked.extend(texts)
        return await by_letters(texts)

    with corpus(root, "docs/*") as found:
        run(found.refresh(embed))
        assert len(asked) == len(set(asked)) == 6
        write(root, docs_S_more__csv="title,text\nFees,A fee for a card is one percent\nmore,Something new\n")
        (root / "docs/rows.csv").rename(root / "docs/moved.csv")
        run(found.refresh(embed))
        assert len(asked) == 7
    with corpus(root, "docs/*") as found:
        run(found.refresh(embed))
        assert ask(found, "one percent", mode="dense", embed=by_letters)
    assert len(asked) == 7


def test_embedding_goes_on_where_it_was_interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_BATCH", 2)
    asked: list[str] = []

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        if len(asked) == 4:
            raise PromptChainError("no more money")
        asked.extend(texts)
        return await by_letters(texts)

    with corpus(root, "docs/*") as found:
        with pytest.raises(PromptChainError, match="money"):
            run(found.refresh(embed))
        asked.append("")
        run(found.refresh(embed))
        assert len(asked) == 7


@pytest.mark.parametrize("given", [[[1.0]], [[]], [["x"]], [[float("nan")]], []])
def test_vectors_that_are_none_are_an_error(given: list[list[float]], root: Path) -> None:
    turn = 0

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        nonlocal turn
        turn += 1
        return given * (len(texts) if given != [[1.0]] else turn)

    with corpus(root, "docs/*") as found, pytest.raises((PromptChainError, ValueError)):
        run(found.refresh(embed))


def test_vectors_of_another_length_are_an_error(found: Corpus) -> None:
    run(found.refresh(by_letters))

    async def shorter(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, 2.0] for _ in texts]

    with pytest.raises(PromptChainError, match="2 numbers, and those of the passages have 26"):
        ask(found, "x", mode="dense", embed=shorter)


def test_many_vectors_are_found_through_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "EXACT_MOST", 50)
    names = [f"{one}{two}{three}" for one in "abcdefgh" for two in "ijklmnop" for three in "qrstu"]
    write(tmp_path, docs_S_a__jsonl="".join(f'{{"text": "{name * 3}"}}\n' for name in names))

    def best(found: Corpus, **more: object) -> list[str]:
        return [p.text for p in ask(found, "\n\naiqaiqaiq", mode="dense", embed=by_letters, top_k=3, **more)]

    with corpus(tmp_path) as found:
        assert best(found)[0] == "aiq" * 3
        assert best(found, where={"source": "*.jsonl"})[0] == "aiq" * 3
    (graph,) = (tmp_path / ".promptchain/retrieval").glob("*.usearch")
    write(tmp_path, docs_S_b__jsonl='{"text": "aaiiqq aaiiqq"}\n')
    (tmp_path / "docs/a.jsonl").write_text((tmp_path / "docs/a.jsonl").read_text().replace("aiqaiqaiq", "zzz"))
    with corpus(tmp_path) as found:
        nearest = best(found)
        assert nearest[0] == "aaiiqq aaiiqq"
        assert "aiq" * 3 not in nearest
    (newer,) = (tmp_path / ".promptchain/retrieval").glob("*.usearch")
    assert newer != graph
    for damage in (b"", b"garbage", newer.read_bytes()[:1000]):
        newer.write_bytes(damage)
        with corpus(tmp_path) as found:
            assert best(found)[0] == nearest[0]


def test_dense_needs_its_package(found: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "usearch", None)
    with pytest.raises(PromptChainError) as caught:
        ask(found, "x", mode="dense", embed=by_letters)
    assert "promptchain[rag]" in str(caught.value)
    assert ask(found, "refund")


# --- keeping up


def test_what_changed_is_found(root: Path, found: Corpus) -> None:
    before = run(found.refresh())
    assert run(found.refresh()) == before == found.fingerprint
    (root / "docs/cards.md").write_text("# Cards\n\nThey come by pigeon.\n")
    assert sources(found, "pigeon") == []  # the state at the last refresh
    after = run(found.refresh())
    assert after != before
    assert sources(found, "pigeon") == ["docs/cards.md"]
    assert sources(found, "lost") == []
    (root / "docs/cards.md").unlink()
    run(found.refresh())
    assert sources(found, "pigeon") == []


def test_the_fingerprint_is_of_what_is_found(root: Path) -> None:
    def fingerprint(*patterns: str, **more: object) -> str:
        with corpus(root, *patterns, **more) as found:
            return run(found.refresh())

    one = fingerprint("docs/*")
    assert fingerprint("docs/*") == one
    assert fingerprint("docs/*.*", state=root / "other") == one
    others = [
        fingerprint("docs/*.md"),
        fingerprint("docs/*", split={"size": 500}),
        fingerprint("docs/*", mode="hybrid"),
    ]
    others.append(fingerprint("docs/*", mode="hybrid", embedder="x"))
    assert len({one, *others}) == 5


def test_an_unchanged_corpus_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(0.1)  # so that no file is as new as its reading
    with corpus(root, "docs/*") as found:
        run(found.refresh())
        stats = 0

        def counted(found: os.stat_result) -> files.Stamp:
            nonlocal stats
            stats += 1
            return files.Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

        def forbidden(*_: object) -> None:
            raise AssertionError("a file was opened")

        monkeypatch.setattr(files, "stamp", counted)
        monkeypatch.setattr(Reading, "__init__", forbidden)
        run(found.refresh())
        assert stats == 3
    with corpus(root, "docs/*") as found:
        run(found.refresh())
        assert fingerprint_of(root, root, spec("docs/*"), root / ".promptchain").keys() == {
            "docs/cards.md", "docs/refunds.md", "docs/rows.csv",
        }  # fmt: skip


@pytest.mark.parametrize(("later", "seen"), [(1_000, True), (10**9, False)])
def test_a_change_within_the_same_tick_is_seen(
    later: int, seen: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that `stat` says is as before. Only a file that was older than a tick when it was read is trusted."""
    written = 10**18 + 7
    for module in (files, texts):
        monkeypatch.setattr(module, "stamp", lambda found: files.Stamp(found.st_size, 5, written, 7))
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(time_ns=lambda: written + later))
    write(root, docs_S_a__txt="one word")
    with corpus(root, "docs/a.txt") as found:
        run(found.refresh())
        write(root, docs_S_a__txt="two word")
        run(found.refresh())
        assert sources(found, "two") == (["docs/a.txt"] if seen else [])


def test_a_touched_file_is_the_same(root: Path, found: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(found.refresh())
    os.utime(root / "docs/cards.md")
    monkeypatch.setattr(upkeep.index, "take", lambda *_: pytest.fail("split again"))
    assert run(found.refresh()) == before


def test_a_file_that_vanishes_is_passed_over(root: Path, found: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Reading.__init__

    def vanishing(self: Reading, path: Path, name: str) -> None:
        if name.endswith("cards.md"):
            path.unlink(missing_ok=True)
        real(self, path, name)

    monkeypatch.setattr(Reading, "__init__", vanishing)
    run(found.refresh())
    assert "docs/cards.md" not in sources(found, "card refund")


def test_a_file_that_changes_while_it_is_read_is_read_again(
    root: Path, found: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Reading.sha

    def changing(self: Reading) -> str:
        sha = real(self)
        if self.name.endswith("cards.md"):
            (root / self.name).write_text("# Cards\n\nBy pigeon.\n")
        return sha

    with monkeypatch.context() as patched:
        patched.setattr(Reading, "sha", changing)
        run(found.refresh())
    run(found.refresh())
    assert sources(found, "pigeon") == ["docs/cards.md"]


names = st.sampled_from(["a.md", "b.md", "c.txt", "d.csv"])
contents = st.sampled_from(
    ["# One\n\nalpha beta", "# Two\n\nbeta gamma\n\n## Three\n\nalpha", "text\nalpha\ngamma beta", ""]
)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(names, st.one_of(st.none(), contents)), min_size=1, max_size=8))
def test_an_index_kept_up_is_as_one_made_anew(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str | None]]
) -> None:
    root = tmp_path_factory.mktemp("kept")
    write(root, docs_S_always__md="# Always\n\nalpha")
    with corpus(root, state=root / "one") as kept:
        for name, content in steps:
            path = root / "docs" / name
            path.unlink(missing_ok=True) if content is None else path.write_text(content)
            run(kept.refresh(by_letters))
        with corpus(root, state=root / "two") as fresh:
            assert run(fresh.refresh(by_letters)) == kept.fingerprint
            for mode in ("lexical", "dense", "hybrid"):
                for query in ("alpha", "beta gamma"):
                    more = {"mode": mode, "embed": by_letters, "top_k": 5}
                    assert ask(kept, query, **more) == ask(fresh, query, **more)


# --- what is wrong with the files


def test_no_file_is_an_error(root: Path) -> None:
    with corpus(root, "nothing/*.md", "none.txt") as found, pytest.raises(PromptChainError) as caught:
        run(found.refresh())
    assert str(caught.value) == "no file fits 'nothing/*.md', 'none.txt'; patterns count from the folder '.'"


def test_what_is_left_out_is_told(root: Path) -> None:
    write(root, docs_S_bin__txt=b"a\0b", docs_S_bad__md=b"\xff", docs_S_broken__pdf=b"nonsense")
    for _ in range(2):
        with corpus(root, "docs/*", "*.rst") as found:
            run(found.refresh())
            assert found.warnings == [
                "no file fits '*.rst'",
                "docs/bad.md is not UTF-8 (byte 0xff in line 1)"
                ": it is left out; save it as UTF-8, say with iconv -f latin1 -t utf-8",
                "docs/bin.txt is not a text",
                "docs/broken.pdf is no PDF that can be read",
            ]
            assert sources(found, "pigeon refund")


def test_no_passage_because_of_what_is_left_out_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, docs_S_a__txt=b"\0", docs_S_b__txt=b"\0")
    with corpus(tmp_path) as found:
        for _ in range(2):
            with pytest.raises(
                PromptChainError, match=r"no file gives a passage: docs/a.txt is not a text \(and 1 more\)"
            ):
                run(found.refresh())


def test_an_empty_file_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, docs_S_a__txt="")
    with corpus(tmp_path) as found:
        assert ask(found, "x") == []
        assert ask(found, "x", mode="dense", embed=by_letters) == []


def test_a_file_that_may_not_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(path: Path, flags: int, *rest: object, **more: object) -> int:
        if str(path).endswith("cards.md"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]

    with corpus(root, "docs/*") as found:
        monkeypatch.setattr(os, "open", refused)
        run(found.refresh())
        assert found.warnings == ["docs/cards.md cannot be read: Permission denied"]


def test_fingerprints_never_raise(root: Path) -> None:
    before = fingerprint_of(root, root, spec("docs/*"))
    assert set(before) == {"docs/cards.md", "docs/refunds.md", "docs/rows.csv"}
    assert all(len(sha) == 64 for sha in before.values())
    with corpus(root, "docs/*") as found:
        run(found.refresh())
    assert fingerprint_of(root, root, spec("docs/*"), root / ".promptchain") == before
    (root / "docs/cards.md").write_text("other")
    after = fingerprint_of(root, root, spec("docs/*"), root / ".promptchain")
    assert {name for name in before if before[name] != after[name]} == {"docs/cards.md"}
    assert fingerprint_of(root, root, spec("../*")) == {}
    assert fingerprint_of(root / "gone", root / "gone", spec("*")) == {}


def test_a_long_file_of_rows_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    line = json.dumps({"text": "word " * 2000}) + "\n"
    write(tmp_path, docs_S_a__jsonl=line * 2000)
    with corpus(tmp_path, split={"size": 20_000}) as found:
        tracemalloc.start()
        run(found.refresh())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "docs/a.jsonl").stat().st_size > 20_000_000
    assert peak < 10_000_000


# --- tasks


def test_several_tasks_may_use_it(root: Path, found: Corpus) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(found.refresh(by_letters) for _ in range(3)))
        more = await asyncio.gather(*(found.search("refund", top_k=3) for _ in range(20)))
        assert all(one == more[0] for one in more)
        assert more[0]

    run(all_of_them())


def test_a_refresh_without_vectors_does_not_take_them_from_others(root: Path, found: Corpus) -> None:
    async def both() -> None:
        await found.refresh(by_letters)

        async def slow(texts: Sequence[str]) -> list[list[float]]:
            (root / "docs/new.md").write_text("# New\n")
            await found.refresh()
            return await by_letters(texts)

        assert await found.search("# Cards", top_k=3, mode="dense", embed=slow)

    run(both())


def test_progress_is_told(root: Path, found: Corpus) -> None:
    told: list[tuple[int, int]] = []

    async def refreshed() -> None:
        await found.refresh(by_letters, progress=lambda done, total: told.append((done, total)))
        await asyncio.sleep(0)

    run(refreshed())
    assert told[:3] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1] == (6, 6)


def test_a_refresh_can_be_cancelled_between_files(tmp_path: Path) -> None:
    write(tmp_path, **{f"docs_S_{number}__md": f"# Page {number}\n\nword" for number in range(300)})

    async def cancelled(found: Corpus) -> int:
        reached = asyncio.Event()
        done = 0

        def progress(count: int, total: int) -> None:
            nonlocal done
            done = count
            reached.set()

        task = asyncio.create_task(found.refresh(progress=progress))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return done

    with corpus(tmp_path) as found:
        run(cancelled(found))
        assert len(ask(found, "word", top_k=400)) == 300


def test_closing_twice_is_no_error(root: Path) -> None:
    with corpus(root, "docs/*") as found:
        run(found.refresh())
        found.close()


def test_a_large_corpus_is_not_made_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MAX_IN_MEMORY", 10)
    write(root, state_S_retrieval="a file in the folder's place")
    with (
        corpus(root, "docs/*", state=root / "state") as found,
        pytest.raises(PromptChainError, match="no place for the index"),
    ):
        run(found.refresh())


@pytest.mark.parametrize(("number", "again"), [(errno.EMFILE, True), (errno.EIO, True), (errno.EACCES, False)])
def test_a_file_that_could_not_be_read_for_another_reason_than_its_own_is_tried_again(
    number: int, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, docs_S_a__md="# Refunds\n\nFive days.\n", docs_S_b__md="# Cards\n\nRefunds too.\n")
    opened = os.open
    time.sleep(0.1)  # so that no file is as new as its reading

    def refused(path: Any, *given: Any, **named: Any) -> int:
        if str(path).endswith("a.md"):
            raise OSError(number, os.strerror(number))
        return opened(path, *given, **named)

    with monkeypatch.context() as patch, corpus(tmp_path) as found:
        patch.setattr(os, "open", refused)
        assert sources(found, "refunds") == ["docs/b.md"]
        assert found.warnings == [f"docs/a.md cannot be read: {os.strerror(number)}"]
    with corpus(tmp_path) as found:
        assert set(sources(found, "refunds")) == ({"docs/a.md", "docs/b.md"} if again else {"docs/b.md"})


def test_a_refresh_that_is_cancelled_within_a_long_file_ends_soon_and_keeps_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, docs_S_a__md="# A\n\nText.\n", docs_S_b__jsonl='{"text": "some words of a row"}\n' * 400_000)
    time.sleep(0.1)  # so that no file is as new as its reading

    async def scene() -> float:
        with corpus(tmp_path) as found:
            begun = asyncio.Event()
            task = asyncio.create_task(found.refresh(progress=lambda *_: begun.set()))
            await begun.wait()  # the first file is read
            await asyncio.sleep(0.1)
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await found.aclose()
            return time.monotonic() - start

    assert run(scene()) < 3.0
    (path,) = (tmp_path / ".promptchain/retrieval").glob("*.db")
    db = index.connect(path, writing=False)
    assert [name for name, known in index.known(db).items() if known.sha] == ["docs/a.md"]
    db.close()


def test_what_is_still_read_holds_up_nobody_who_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, docs_S_a__md="# A\n\nText.\n")
    read, go_on = upkeep.Reading.text, threading.Event()

    def slow(reading: Reading, *limit: int) -> str:
        go_on.wait(20)
        return read(reading, *limit)

    monkeypatch.setattr(upkeep.Reading, "text", slow)

    async def scene() -> float:
        found = Corpus(tmp_path, tmp_path, spec("docs/*"), tmp_path / ".promptchain")
        task = asyncio.create_task(found.refresh())
        await asyncio.sleep(0.1)
        start = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        await found.aclose()
        await found.aclose()
        took = time.monotonic() - start
        go_on.set()
        return took

    assert run(scene()) < 3.0
