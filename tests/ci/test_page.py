"""What a reviewer reads: the first lines say it, nothing breaks it, and it fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from promptchain.ci.checkout import Base
from promptchain.ci.findings import ChainFindings, Findings, worst
from promptchain.ci.page import headline, page
from promptchain.errors import Problem, PromptChainError, UsageError, Where
from promptchain.fingerprints import Stale
from promptchain.freshness import Freshness
from promptchain.results import State
from promptchain.testing import Verdict
from tests.reports import kit
from tests.reports.test_markdown import ANYTHING, Page, tables

BASE = Base("c0ffee" * 6 + "c0ff", "main (c0ffeec)")


def chain(name: str = "support", verdict: Verdict | None = None, **more: object) -> ChainFindings:
    return ChainFindings(name, f"chains/{name}.yaml", verdict=verdict, **more)  # type: ignore[arg-type]


def of(*chains: ChainFindings, **more: object) -> str:
    return page(Findings(chains, base=BASE, **more), limit=60_000)  # type: ignore[arg-type]


def compared(passed: int, failed: int, before: int) -> Verdict:
    """So many examples now; `before` of them passed."""
    was = [kit.result(f"s{n:03}", State.PASSED if n <= before else State.FAILED) for n in range(1, passed + failed + 1)]
    done = kit.verdict(kit.results(passed, failed), before=was, before_name=BASE.name)
    return Verdict(done.evaluation, done.comparison, done.misses, done.gated, before=kit.evaluation(was))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (chain(problems=(Problem("x", Where("f", 1)),)), "❌ `support` has 1 problem"),
        (chain(error=UsageError("no rows")), "❌ `support` could not be tested"),
        (chain(verdict=kit.verdict(stopped="too many errors")), "❌ `support`: the test ended early"),
        (chain(verdict=compared(1, 3, 4)), "❌ `support` got worse: 100 % → 25 %"),
        (chain(verdict=compared(4, 0, 1)), "✅ `support` got better: 25 % → 100 %"),
        (chain(verdict=compared(2, 2, 2), changed="x"), "✅ `support` is as good as before: 50 %"),
        (chain(verdict=kit.verdict(least={"chain": 0.9})), "❌ `support` misses its gate: 75 %"),
        (chain(verdict=kit.verdict()), "❌ `support`: 1 of 4 examples fail"),
        (chain(verdict=kit.verdict(kit.results(4, 0)), new=True), "✅ `support` is new and passes: 100 %"),
        (chain(new=True), "✅ `support` is new, and has no test"),
        (chain(locked=(Freshness("support", "m", True, "chain compile support", (Stale("dataset", "rows"),)),)),
         "❌ `support`: its compiled prompts are stale"),
    ],
)  # fmt: skip
def test_the_first_line_says_it(found: ChainFindings, said: str) -> None:
    assert of(found).splitlines()[0] == f"## {said}"


def test_several_chains_are_a_list_with_the_bad_ones_first() -> None:
    text = of(chain("a", compared(4, 0, 1)), chain("b", compared(1, 3, 4)), chain("c"), chain("d", kit.verdict()))
    lines = text.splitlines()
    assert lines[0] == "## ❌ 2 of 4 chains do not pass"
    assert [line[:10] for line in lines[2:5]] == ["- ❌ `b` go", "- ❌ `d`: 1", "- ✅ `a` go"]
    assert "unchanged and passing: `c`" in lines[-1]


def test_nothing_to_tell() -> None:
    assert of(chain("a"), chain("b")).startswith("## ✅ 2 chains: all is well\n")
    assert of(chain("a"), error=PromptChainError("no base", hint="fetch it")).startswith("## ❌ no base\n\nfetch it\n")


def test_the_exit_code_is_the_worst() -> None:
    assert worst([]) == 0
    assert worst([0, 101]) == 101
    assert worst([101, 100]) == 100
    assert worst([100, 2, 101]) == 2
    assert worst([2, 1, 100]) == 1
    stale = Freshness("support", "m", False, "chain compile support")
    assert chain(verdict=kit.verdict(), locked=(stale,)).exit_code == 100
    assert Findings((chain(verdict=kit.verdict()),), error=PromptChainError("x")).exit_code == 1


def test_before_and_after_stand_side_by_side() -> None:
    [table, *_] = tables(of(chain(verdict=compared(1, 3, 4))))
    assert table[0] == "| score | main (c0ffeec) | here | difference |"
    assert table[2].startswith("| chain | 100 % \\[51–100\\] | 25 % \\[5–70\\] | −75 points ")
    assert [line.split(" | ")[0] for line in table[3:]] == ["| step intent", "| step reply", "| cost", "| time (p50)"]


def test_a_diff_with_a_fence_in_it_stays_a_block() -> None:
    text = of(chain(changed="x", difference=("- ```", "+ ````  <b>", f"+ {kit.KEY}", "+ @everyone")))
    assert "`````diff\n- ```\n+ ````  <b>\n+ ***\n+ @everyone\n`````" in text


@given(text=ANYTHING)
@settings(deadline=None, max_examples=60)
def test_no_text_breaks_it(text: str) -> None:
    verdict = kit.hostile(text)
    verdict = Verdict(verdict.evaluation, verdict.comparison, verdict.misses, True, before=kit.evaluation())
    stale = Freshness(text, text, True, text, (Stale("dataset", text),))
    found = [
        chain(text, verdict, changed=text, difference=(text,), uncompared=text, was=text, locked=(stale,)),
        chain("other", error=PromptChainError(text, hint=text), problems=(Problem(text, Where(text)),)),
        chain(text),
    ]
    findings = Findings(tuple(found), Base(BASE.commit, text), PromptChainError(text, hint=text), notes=(text,))
    for which in (findings, Findings(tuple(found[:1]), BASE)):
        shown = page(which, limit=60_000)
        tables(shown)
        allowed = {
            "h2",
            "h3",
            "h4",
            "p",
            "ul",
            "li",
            "strong",
            "code",
            "pre",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        assert {*Page(shown).tags} <= allowed | {"details", "summary", "sub", "br"}, shown
        assert "\n" not in headline(which)


@pytest.mark.parametrize("limit", [0, 10, 700, 60_000])
def test_it_fits_and_keeps_what_matters_first(limit: int) -> None:
    long = ["+ " + "word " * 500] * 5000
    chains = [chain(f"c{n}", compared(60, 60, 100), difference=tuple(long)) for n in range(30)]
    text = page(Findings(tuple(chains), BASE), limit=limit, whole=True)
    assert len(text.encode()) <= limit
    if limit >= 700:
        assert text.startswith("## ❌ 30 of 30 chains do not pass\n")
        assert "Left out, for want of room: " in text
    if limit == 60_000:
        assert text.count("got worse") >= 30


def test_the_summary_has_every_figure() -> None:
    findings = Findings((chain(verdict=compared(1, 3, 4)),), BASE)
    assert "### All figures" in page(findings, limit=900_000, whole=True)
    assert "### All figures" not in page(findings, limit=60_000)
