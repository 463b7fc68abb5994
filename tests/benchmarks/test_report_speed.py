"""A report of 5,000 examples: made within 5 s, 15 MB at most, on the screen within a second, and quick to filter."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import chromium
from tests.benchmarks.measure import say
from tests.reports import html_kit, kit

pytestmark = pytest.mark.benchmark

SECONDS, BYTES = 5.0, 15_000_000
FIRST_PAINT, FILTER = 1000.0, 200.0
"""Milliseconds."""


def test_a_report_of_5000_examples(tmp_path: Path) -> None:
    verdict = kit.verdict(html_kit.many(5_000, 800))
    start = time.perf_counter()
    text = html_kit.page_of(verdict)
    took = time.perf_counter() - start
    size = len(text.encode())
    say("made in", f"{took:.2f} s, {size / 1e6:.1f} MB")
    assert took <= SECONDS
    assert size <= BYTES
    if chromium.FOUND is None:
        pytest.skip(chromium.WHY_NOT)
    path = html_kit.written(tmp_path / "report.html", text)
    with chromium.browser() as browser:
        browser.size(1280, 900)
        browser.open(path)
        paint = browser.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        say("first paint", f"{paint:.0f} ms")
        found = browser.run(
            """(async () => {
              const took = [], search = document.querySelector('input[type=search]');
              for (const word of ['order 4321', 'row-00', 'nothing', '']) {
                search.value = word;
                const start = performance.now();
                search.dispatchEvent(new Event('input'));
                await new Promise((done) => setTimeout(done, 81));
                took.push(performance.now() - start - 81);
              }
              return took;
            })()"""
        )
        say("filter", ", ".join(f"{each:.0f} ms" for each in found))
        assert paint <= FIRST_PAINT
        assert max(found[1:]) <= FILTER
