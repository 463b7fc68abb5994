"""Reports in a real browser: drawn, filtered, used by keyboard, silent, without network, safe from what they show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptchain.courses import Course, CoursePoint
from promptchain.reports.html import page
from promptchain.reports.html.chain import course_section
from promptchain.results import State
from tests import chromium
from tests.chromium import Browser
from tests.cli import compile_kit
from tests.cli.test_report import REPLIES, SHOP, SHOUT, TOOLS
from tests.reports import html_kit, kit
from tests.reports.html_kit import page_of, written
from tests.workspace import Workspace

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason=chromium.WHY_NOT)

ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><!-- <script>"
MARKUP = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
SHOWN = "[...document.querySelectorAll('.examples')].at(-1)"
ROWS = f"{SHOWN}.querySelectorAll('tr.row').length"


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    with chromium.browser() as found:
        yield found


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """A window of 1280 × 900. Whatever a test does: the console stays silent, and nothing but files is asked for."""
    _browser.problems.clear()
    _browser.asked.clear()
    _browser.size(1280, 900)
    yield _browser
    assert not _browser.problems
    assert all(address.startswith("file://") or address == "about:blank" for address in _browser.asked), _browser.asked
    assert len({address for address in _browser.asked if address.startswith("file://")}) <= 1


def text(browser: Browser, selector: str) -> str:
    found = browser.run(f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText).join('\\n')")
    assert isinstance(found, str)
    return found


def fits(browser: Browser) -> bool:
    """Whether nothing is wider than the window."""
    return bool(browser.run("document.documentElement.scrollWidth <= innerWidth"))


# --- every kind of report ---------------------------------------------------------------------------------------------


@pytest.fixture
def shop(empty: Workspace) -> Workspace:
    empty.write("tools.py", TOOLS)
    empty.chain(SHOUT, name="shout", replies=[{"always": True, "reply": "HEY!"}])
    empty.chain(SHOP, replies=[*REPLIES[:-1], {"contains": "Answer", "reply": f"dear {ATTACK}"}])
    empty.invoke("run", "demo", ATTACK)
    assert empty.invoke("report", "last").code == 0
    return empty


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False), (400, True)])
def test_a_run_is_drawn_with_every_message(shop: Workspace, browser: Browser, width: int, dark: bool) -> None:
    browser.size(width, 800, dark=dark)
    browser.open(shop.root / "report.html")
    assert "demo: run 0" in text(browser, "h1")
    browser.wait("document.querySelectorAll('.lines path').length === 7")
    assert browser.run("document.querySelectorAll('.timeline > li > details').length") == 6
    browser.run("document.querySelector('.bar-head button').click()")
    browser.run("document.querySelectorAll('.course details').forEach((one) => one.openNow && one.openNow())")
    shown = text(browser, "main")
    for said in ("Items: ", "not taken: the reply is not JSON", "That reply cannot be used", "tool price", "not sold"):
        assert said in shown
    assert shown.count("SHOUT") >= 2
    assert ATTACK in shown
    assert browser.run("window.hacked") is None
    assert fits(browser)
    light = browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] > 128")
    assert light is not dark


def test_numbers_are_shown_as_the_terminal_shows_them(empty: Workspace, browser: Browser) -> None:
    empty.write(
        "tools.py",
        "def order():\n    return {'order_id': 9007199254740993, 'price': 391.0, 'rows': [2.0, 1e-7, -(2**70)]}\n",
    )
    empty.chain("steps: {order: {python: 'tools:order'}}\noutputs: {order: '{{ order }}', price: '{{ order.price }}'}")
    done = empty.invoke("run", "demo", "--json")
    assert done.code == 0, done.err
    assert empty.invoke("report", "last").code == 0
    browser.open(empty.root / "report.html")
    shown = text(browser, ".values dd").replace(" ", "").replace("\n", "")
    assert '"order_id":9007199254740993' in shown
    assert '"price":391.0,' in shown
    assert "[2.0,1e-07,-1180591620717411303424]" in shown
    assert text(browser, ".values dd").endswith("391.0")


def test_a_chain_and_its_compile_are_drawn(empty: Workspace, browser: Browser) -> None:
    compile_kit.project(empty)
    empty.invoke("test", "demo")
    compile_kit.compiled(empty)
    empty.invoke("test", "demo")
    assert empty.invoke("report").code == 0
    for width in (1280, 400):
        browser.size(width, 800)
        browser.open(empty.root / "report.html")
        shown = text(browser, "main")
        for said in ("Evaluations", "Score against calls", "Prompts, compared", "demo@v2", "50 %"):
            assert said in shown
        browser.wait("document.querySelectorAll('.curve circle').length >= 4")
        assert browser.run("document.querySelectorAll('.edits ins').length > 0")
        assert fits(browser)


def test_lines_that_would_lie_upon_each_other_are_both_seen(tmp_path: Path, browser: Browser) -> None:
    """A compile of which all comes to nothing."""
    names = (None, "first", "second", "third")
    curve = [CoursePoint(calls, name, score, "x", 8) for name in names for calls, score in ((8, 0.0), (40, 1.0))]
    course = Course(id="01m8b7jz45d40x2a7g1e8ya54v", chain="demo", model="m", content="0" * 64, curve=tuple(curve))
    browser.open(written(tmp_path / "report.html", page.page(page.content("t", [course_section(course, "demo@v1")]))))
    browser.wait("document.querySelectorAll('.curve circle').length === 8")
    places = (
        "[...document.querySelectorAll('.curve circle')].map((one) => [one.cx.baseVal.value, one.cy.baseVal.value])"
    )
    found = browser.run(places)
    assert len({tuple(place) for place in found}) == 8
    assert min(height for _, height in found) > 4
    lines = "[...document.querySelectorAll('.curve-line')].map((one) => one.getAttribute('d'))"
    assert len(set(browser.run(lines))) == 4
    assert "Lines of the same score are drawn a little apart." in text(browser, "figcaption")


# --- an evaluation ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tested(tmp_path: Path, browser: Browser) -> Browser:
    """A browser with the report of 120 examples, of which 24 failed."""
    browser.open(written(tmp_path / "report.html", page_of(kit.verdict(html_kit.many(120)))))
    return browser


def test_failures_come_first_and_a_page_at_a_time(tested: Browser) -> None:
    assert tested.run(ROWS) == 50
    states = text(tested, ".examples tr.row .state").split("\n")
    assert states[:25] == ["✗ failed"] * 24 + ["✓ passed"]
    assert "1–50 of 120" in text(tested, ".pager")
    tested.run("[...document.querySelectorAll('.pager button')].at(-1).click()")
    assert "51–100 of 120" in text(tested, ".pager")


def test_examples_are_filtered_by_state_step_and_words(tested: Browser) -> None:
    tested.run("document.querySelector('.chips input[value=failed]').click()")
    assert tested.run(ROWS) == 24
    tested.run(
        "(() => { const list = document.querySelector('.tools select'); list.value = 'reply';"
        " list.dispatchEvent(new Event('change')); })()"
    )
    assert tested.run(ROWS) == 12
    assert set(text(tested, ".examples tr.row .narrow").split("\n")) == {"reply"}
    tested.run("document.querySelector('.big input[type=search]').focus()")
    tested.type("ORDER 35?")
    tested.wait(f"{ROWS} === 1")
    assert "row-00035" in text(tested, ".examples tr.row")
    assert "1–1 of 1 (of 120)" in text(tested, ".pager")
    tested.type(" nothing like that")
    tested.wait(f"{ROWS} === 0")
    assert "Nothing here fits." in text(tested, ".examples")


def test_a_step_of_the_graph_leads_to_the_examples_that_fail_there(tested: Browser) -> None:
    tested.run("document.querySelector('.graph li:nth-child(2) button').click()")
    assert tested.run(ROWS) == 12
    assert tested.run("document.activeElement.type") == "search"


def test_columns_are_sorted_and_say_so(tested: Browser) -> None:
    head = "[...document.querySelectorAll('.examples thead th')].find((one) => one.innerText.startsWith('example'))"
    for expected, first in (("ascending", "row-00000"), ("descending", "row-00119")):
        tested.run(f"{head}.querySelector('button').click()")
        assert tested.run(f"{head}.getAttribute('aria-sort')") == expected
        assert tested.run("document.querySelector('.examples tr.row th').innerText") == first


def test_all_of_it_can_be_done_by_keyboard(tested: Browser) -> None:
    tested.press("Tab")
    assert tested.run("document.activeElement.className") == "skip"
    tested.press("Enter")
    tested.wait("document.activeElement.id === 'main'")
    tested.press("/")
    assert tested.run("document.activeElement.type") == "search"
    for _ in range(30):
        tested.press("Tab")
        if tested.run("document.activeElement.className") == "toggle":
            break
    assert tested.run("document.activeElement.matches(':focus-visible')")
    assert tested.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tested.press("Enter")
    assert tested.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert "Where is order" in text(tested, ".more:not([hidden])")
    tested.press(" ")
    assert tested.run("document.querySelectorAll('.more:not([hidden])').length") == 0


def test_what_a_screen_reader_is_told(tested: Browser) -> None:
    nameless = (
        "[...document.querySelectorAll('button,input,select,a')].filter((one) => !(one.innerText || '').trim()"
        " && !one.getAttribute('aria-label') && !one.closest('label') && !one.textContent.trim()).length"
    )
    assert tested.run(nameless) == 0
    assert tested.run("document.querySelectorAll('h1').length") == 1
    assert tested.run(
        "[...document.querySelectorAll('table')].every((one) => one.caption && one.querySelector('th[scope]'))"
    )
    assert tested.run("document.querySelectorAll('[role=status][aria-live=polite]').length") == 1
    ids = tested.run("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert "after intent" in tested.run("document.querySelector('.graph').textContent")
    toggles = "[...document.querySelectorAll('.toggle')].map((one) => one.getAttribute('aria-labelledby').split(' ')"
    told = tested.run(f"{toggles}.map((id) => document.getElementById(id).textContent).join(' '))")
    assert told[0] == "Details row-00000"
    assert len(set(told)) == len(told)


def test_the_theme_is_toggled_and_kept(tested: Browser) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tested.run(colour)
    tested.run("document.getElementById('theme').click()")
    assert tested.run(colour) != light
    assert "light" in tested.run("document.getElementById('theme').getAttribute('aria-label')")
    tested("Page.reload")
    tested.wait("document.documentElement?.dataset.theme === 'dark'")
    tested.run("localStorage.clear()")


def test_a_comparison_shows_what_flipped(tmp_path: Path, browser: Browser) -> None:
    before = [kit.result(f"e{number}") for number in range(10)]
    after = [kit.result("e0", State.FAILED, reason=ATTACK), *before[1:]]
    browser.open(written(tmp_path / "report.html", page_of(html_kit.compared(before, after))))
    shown = text(browser, ".comparison")
    assert "−10 points" in shown
    assert "1 worse and 0 better" in shown
    assert ATTACK in shown
    assert browser.run("document.querySelectorAll('.comparison tr.row').length") == 1


# --- what means no good -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [ATTACK, *kit.HOSTILE[:10], "\u202e\u0000\ufeff" + "x" * 5_000, "\\u003c/script>"])
def test_what_is_hostile_stays_text(tmp_path: Path, browser: Browser, words: str) -> None:
    verdict = kit.hostile(words)
    browser.open(written(tmp_path / "report.html", page_of(verdict, verdict, title=words)))
    browser.run("document.querySelectorAll('.toggle').forEach((one) => one.click())")
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('main script, main img, main iframe, main style').length") == 0
    assert browser.run("document.scripts.length") == 2


@pytest.mark.parametrize(
    ("hidden", "shown"), [("\u202e", "U+202E"), ("\u200b", "U+200B"), ("\U000e0068\U000e0069", "tags: hi")]
)
def test_what_is_not_seen_is_shown_by_its_code(tmp_path: Path, browser: Browser, hidden: str, shown: str) -> None:
    """What a model reads is not hidden from people; what is copied stays the text."""
    words = f"before{hidden}after"
    browser.open(written(tmp_path / "report.html", page_of(kit.hostile(words), title=words)))
    assert browser.run("document.querySelector('h1').textContent") == words
    browser.run("document.querySelectorAll('.toggle').forEach((one) => one.click())")
    codes = browser.run(
        "[...document.querySelectorAll('main .unseen')].map((one) => getComputedStyle(one, '::before').content)"
    )
    assert len(codes) > 2
    assert set(codes) == {f'"{shown}"'}
    apart = (
        "[...document.querySelectorAll('main .unseen')].every((one) => getComputedStyle(one).unicodeBidi === 'isolate')"
    )
    assert browser.run(apart)


@pytest.mark.parametrize("width", [400, 1280])
def test_long_names_push_no_column_out(tmp_path: Path, browser: Browser, width: int) -> None:
    long = "a_step_with_a_name_that_goes_on_and_on_and_has_no_end_at_all"
    result = kit.result("row" * 200, State.FAILED, step=kit.STEPS[0], line=1)
    made = page_of(kit.verdict([result])).replace(f'"{kit.STEPS[0]}"', f'"{long}"')
    browser.size(width, 900)
    browser.open(written(tmp_path / "report.html", made))
    browser.run("document.querySelector('.examples .toggle').click()")
    tables = "[...document.querySelectorAll('.scroll')].map((one) => one.scrollWidth - one.clientWidth)"
    assert max(browser.run(tables)) <= 0
    assert browser.run(f"{SHOWN}.querySelector('tr.row').offsetHeight") < 200
    assert "row" * 200 in browser.run("document.querySelector('.detail').textContent")


def test_the_policy_holds_where_markup_got_in(tmp_path: Path, browser: Browser) -> None:
    hole = page_of(kit.verdict()).replace("</main>", f"{MARKUP}<style>body {{ display: none }}</style></main>")
    browser.open(written(tmp_path / "report.html", hole))
    assert browser.run("window.hacked") is None
    assert browser.run("getComputedStyle(document.body).display") == "block"
    assert browser.problems  # the browser says what it has refused
    browser.problems.clear()
    browser.asked[:] = [address for address in browser.asked if not address.endswith("/x")]


# --- many -------------------------------------------------------------------------------------------------------------


def test_5000_examples_stay_responsive(tmp_path: Path, browser: Browser) -> None:
    browser.open(written(tmp_path / "report.html", page_of(kit.verdict(html_kit.many(5_000)))))
    assert browser.run("document.querySelectorAll('*').length") < 5_000
    start = time.perf_counter()
    browser.run("document.querySelector('.chips input[value=failed]').click()")
    assert "1–50 of 1,000 (of 5,000)" in text(browser, ".pager")
    browser.run("document.querySelector('.big input[type=search]').focus()")
    browser.type("order 4995")
    browser.wait(f"{ROWS} === 1")
    assert time.perf_counter() - start < 60


def test_a_report_that_had_to_be_shortened_says_so(tmp_path: Path, browser: Browser) -> None:
    cut = page_of(kit.verdict(html_kit.many(300, 1_000)), limit=page._ROOM + 60_000)
    browser.open(written(tmp_path / "report.html", cut))
    shown = text(browser, ".callout")
    assert "texts of more than 60 characters are cut" in shown
    assert "examples of 300, so that this file stays small" in shown
