"""Markdown and HTML → their text with its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from promptchain import document
from promptchain.errors import PromptChainError
from promptchain.records import storable
from promptchain.retrieval.texts import Block, Heading, LeftOut, Reading, clean

MAX_MARKUP = 16 * 1024 * 1024
"""Bytes of a file whose marks are read."""
_FRONT = re.compile(r"---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_MOST = 100_000


def markdown(reading: Reading) -> Iterator[Block]:
    """One block, without its front matter (YAML between lines of `---`), which is its `meta`."""
    text = reading.text(MAX_MARKUP)
    meta: dict[str, Any] = {}
    line = 1
    if found := _FRONT.match(text, 0, _FRONT_MOST):
        front = _front_matter(found.group(1) or "", reading)
        if front is not None:
            meta, line, text = front, 1 + text.count("\n", 0, found.end()), text[found.end() :]
    headings = tuple(_headings(text))
    title = meta.pop("title", None) if isinstance(meta.get("title"), str) else None
    yield Block(text, title or _page_title(headings) or reading.stem, line, meta, headings)


def _front_matter(text: str, reading: Reading) -> dict[str, Any] | None:
    try:
        value = document.parse(text, reading.name).value
        if value is None:
            return {}
        if isinstance(value, dict):
            found: dict[str, Any] = storable(value)
            return found
        return None  # a text between two rules
    except (PromptChainError, ValueError) as exc:
        why = exc.message if isinstance(exc, PromptChainError) else str(exc)
        reading.problems.append(f"has front matter that is not read: {why}")
        return None


def _headings(text: str) -> Iterator[Heading]:
    """The headings as CommonMark knows them (https://spec.commonmark.org/0.31.2/#atx-headings): none is in code.

    Those in lists and quotes are no page's parts."""
    return _parsed(text) if _HARD.search(text) else _plain(text)


_HARD = re.compile(
    r"^ {0,3}<[A-Za-z/!?]"  # HTML, which hides what is in it
    r"|(?<!\n)\n {0,3}(?:=+|-+)[ \t]*$"  # what may underline a heading
    r"|^ {1,3}#"
    r"|^[ \t>*+\-\d.)]+(?:```|~~~)",  # code in a list or a quote
    re.MULTILINE,
)
"""What takes a whole parser to find the headings; that one needs a second for 500 kB."""
_LINE = re.compile(r"^(?:(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*|(`{3,}|~{3,})(.*))$", re.MULTILINE)


def _plain(text: str) -> Iterator[Heading]:
    """The headings of a text in which none of `_HARD` is."""
    fence = ""
    for found in _LINE.finditer(text):
        marks, words, ticks, rest = found.groups()
        if marks is None and not fence:
            fence = "" if ticks[0] == "`" and "`" in rest else ticks
        elif marks is None and ticks[0] == fence[0] and len(ticks) >= len(fence) and not rest.strip(" \t"):
            fence = ""
        elif marks is not None and not fence:
            yield Heading(found.start(), len(marks), _words(words or ""))


def _parsed(text: str) -> Iterator[Heading]:
    from markdown_it import MarkdownIt

    # What stands within a line matters for headings only.
    tokens = MarkdownIt("commonmark").disable("inline").parse(text)
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    for token, inside in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            yield Heading(starts[token.map[0]], int(token.tag[1:]), _words(inside.content))


def _words(content: str) -> str:
    """The words of a heading without its marks."""
    from markdown_it import MarkdownIt

    if not re.search(r"[\\*_`\[!<&]", content):
        return " ".join(content.split())
    children = MarkdownIt("commonmark").parseInline(content)[0].children or []
    shown = (" " if child.type == "softbreak" else child.content for child in children if child.type != "html_inline")
    return " ".join("".join(shown).split())


def _page_title(headings: tuple[Heading, ...]) -> str | None:
    """The first heading of the first level."""
    return next((one.text for one in headings if one.level == 1 and one.text), None)


# --- HTML

_LEFT_OUT = frozenset({"script", "style", "nav", "template", "noscript", "svg", "iframe", "head"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_PARAGRAPHS = _HEADINGS | {
    "address", "article", "aside", "blockquote", "body", "dd", "details", "dialog", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "main", "ol",
    "p", "pre", "section", "table", "ul",
}  # fmt: skip
_LINES = frozenset({"br", "li", "tr", "option", "summary", "caption"})
_CELLS = frozenset({"td", "th"})
_GAPS = ("", " ", "\n", "\n\n")


def html(reading: Reading) -> Iterator[Block]:
    """One block: what a browser would show of it, without navigation."""
    page = _Page()
    try:
        page.feed(reading.text(MAX_MARKUP))
        page.close()
    except AssertionError as exc:  # so html.parser calls a declaration that it cannot read
        raise LeftOut(f"is no HTML that can be read: {exc}") from None
    headings = tuple(page.headings)
    title = " ".join("".join(page.title).split()) or _page_title(headings) or reading.stem
    yield Block(clean("".join(page.parts)), title, headings=headings, marks=tuple(page.marks) or ((0, 1),))


class _Page(HTMLParser):
    """Collects the text, its headings, and at which offsets of it which lines of the source begin."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.marks: list[tuple[int, int]] = []
        self.headings: list[Heading] = []
        self.title: list[str] = []
        self._length = 0
        self._gap = 0
        self._skipped: list[str] = []
        self._in_title = False
        self._pre = 0
        self._heading: tuple[int, int, int] | None = None  # where in parts, the offset, the level

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag == "title" and self._skipped in ([], ["head"]):
            self._in_title = True
        elif tag == "body":
            self._skipped.clear()  # a head need not be closed
        elif self._skipped:
            if tag == self._skipped[-1]:
                self._skipped.append(tag)
        elif tag in _LEFT_OUT:
            self._skipped.append(tag)
        else:
            self._break(tag)
            self._pre += tag == "pre"
            if tag in _HEADINGS and self._heading is None:
                self._heading = (len(self.parts), -1, int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif self._skipped:
            if tag == self._skipped[-1]:
                self._skipped.pop()
        else:
            self._break(tag)
            self._pre -= tag == "pre" and self._pre > 0
            if tag in _HEADINGS:
                self._end_heading()

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
            return
        if self._skipped:
            return
        for number, part in enumerate(data.split("\n")):
            if number:
                self._widen(2 if self._pre else 1)
            self._write(part, self.getpos()[0] + number)

    def _write(self, text: str, line: int) -> None:
        words = text.rstrip() if self._pre else " ".join(text.split())
        if not words:
            self._widen(1 if text else 0)
            return
        if text[0].isspace():
            self._widen(1)
        before = _GAPS[self._gap] if self._length else ""
        self.parts += (before, words)
        self._length += len(before)
        if self._heading and self._heading[1] < 0:
            self._heading = (len(self.parts) - 1, self._length, self._heading[2])
        if not self.marks or self.marks[-1][1] != line:
            self.marks.append((self._length, line))
        self._length += len(words)
        self._gap = 1 if text[-1].isspace() else 0

    def _end_heading(self) -> None:
        if self._heading and self._heading[1] >= 0:
            at, offset, level = self._heading
            words = " ".join("".join(self.parts[at:]).split())
            self.headings.append(Heading(offset, level, clean(words)))
        self._heading = None

    def _break(self, tag: str) -> None:
        self._widen(3 if tag in _PARAGRAPHS else 2 if tag in _LINES else 1 if tag in _CELLS else 0)

    def _widen(self, gap: int) -> None:
        self._gap = max(self._gap, gap)
