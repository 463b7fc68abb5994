"""Assertions on HTML. Names and verdicts are promptfoo's, which reads as browsers do (https://html.spec.whatwg.org).

Browsers mend everything, so what counts is whether text stands outside of all elements once it is mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from promptchain.assertions.protocol import Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.text import shown, text_of
from promptchain.schema import keywords

MAX_HTML = 10 * 1024 * 1024


_KNOWN = keywords(
    "title base link meta style article section nav aside h1 h2 h3 h4 h5 h6 header footer address p hr pre "
    "blockquote ol ul li dl dt dd figure figcaption main div a em strong small s cite q dfn abbr ruby rt rp data "
    "time code var samp kbd sub sup i b u mark bdi bdo span br wbr img iframe embed object param picture source "
    "video audio track map area svg math script noscript canvas ins del table caption colgroup col tbody thead "
    "tfoot tr td th form label input button select datalist optgroup option textarea output progress meter fieldset "
    "legend details summary dialog menu slot template"
)
_VOID = keywords("area base br col embed hr img input link meta param source track wbr")
_RAW = keywords("script style title textarea iframe noembed noframes xmp")
_IN_HEAD = keywords("base link meta title style script template noscript")
_ENDS_P = keywords(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form h1 h2 "
    "h3 h4 h5 h6 header hgroup hr li dd dt main menu nav ol p pre search section summary table ul"
)
_FORMATTING = keywords("a b big code em font i nobr s small strike strong tt u")
_TABLE = keywords("table tbody thead tfoot tr")
_IN_TABLE_ONLY = keywords("caption col colgroup tbody td tfoot th thead tr")
_SPECIAL = _ENDS_P | _IN_TABLE_ONLY | {"button", "object", "select", "template"}


def is_html(subject: Subject, spec: Spec) -> Verdict:  # noqa: ARG001
    """The whole output is HTML: it has an element that is known, and no text outside of all."""
    text = text_of(subject)
    wrong = _wrong(text.strip())
    return verdict(wrong is None, f"{wrong}: {shown(text)}", f"it is HTML: {shown(text)}")


_SIGNS = (  # how much each of them tells
    (2, re.compile(r"<!DOCTYPE\s+html", re.IGNORECASE)),
    (1, re.compile(r"&(?:[a-zA-Z]+|#[0-9]+|#x[0-9a-fA-F]+);")),
    (1, re.compile(r"\s[a-zA-Z-]++=\s*+[\"'][^\"']*+[\"']")),
    (
        2,
        re.compile(
            r"<(?:html|head|body|div|span|p|a|img|h[1-6]|ul|ol|li|table|tr|td|th|form|input|button|script|style|link"
            r"|meta|br|hr)\b",
            re.IGNORECASE | re.ASCII,
        ),
    ),
)
_OPENING = re.compile(r"<[a-zA-Z][a-zA-Z0-9-]*+(?:>|\s[^>]*+>)")
_CLOSING = re.compile(r"</[a-zA-Z][a-zA-Z0-9-]*+\s*+>")
_CLOSED = re.compile(r"<[a-zA-Z][a-zA-Z0-9-]*+(?:\s|/\Z)")


def contains_html(subject: Subject, spec: Spec) -> Verdict:  # noqa: ARG001
    """The output has HTML in it, by two signs at least: tags, entities, attributes, comments."""
    text = text_of(subject)
    signs = 0
    if len(text) <= MAX_HTML:
        tags = text[: text.rfind(">") + 1]  # what ends nowhere would be looked for again and again
        signs += (_OPENING.search(tags) is not None) + (_CLOSING.search(tags) is not None)
        signs += any(part.endswith("/") and _CLOSED.search(part) is not None for part in tags.split(">"))
        signs += 0 <= text.find("<!--") < text.rfind("-->") - 3
        signs += sum(weight for weight, sign in _SIGNS if sign.search(text))
    return verdict(signs >= 2, f"it should contain HTML, and is {shown(text)}", f"it contains HTML: {shown(text)}")


def _wrong(text: str) -> str | None:
    """What keeps a text from being HTML."""
    if not text:
        return "it is empty"
    if len(text) > MAX_HTML:
        return f"it is longer than {MAX_HTML:,} characters"
    if re.match(r"<\?xml", text, re.IGNORECASE):
        return "it is XML"
    page = _Page()
    for token in _tokens(text):
        page.take(*token)
    if page.stray and not page.has_body:
        return f"it has text outside of all elements ({shown(page.stray.strip())})"
    return None if page.known else "it has no element that is known"


# -- reading as browsers do --------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"<(?:!--(?:>|->|.*?(?:--!?>|\Z))|[!?][^>]*+>?|/(?![a-zA-Z]|\Z)[^>]*+>?"
    r"|(?P<end>/)?(?P<name>[a-zA-Z][^\s/>]*+)"
    r"(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+)?+)*+(?P<done>>|\Z))",
    re.DOTALL,
)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """What a page is made of, as ("text", …), ("start", name) and ("end", name)."""
    position = 0
    while position < len(text):
        match = _TOKEN.search(text, position)
        if match is None:
            yield "text", text[position:]
            return
        if match.start() > position:
            yield "text", text[position : match.start()]
        position = match.end()
        name = (match["name"] or "").lower()
        if not name or not match["done"]:
            continue
        yield "end" if match["end"] else "start", name
        if name in _RAW and not match["end"]:
            close = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(text, position)
            position = len(text) if close is None else close.start()


@dataclass(slots=True)
class _Page:
    """How far a page was read. stray: the first text outside of all elements. formatting: what was opened to format
    text and is open still, even where an element around it was closed. started, begun: the page, and its body."""

    stack: list[str] = field(default_factory=list)
    formatting: list[str] = field(default_factory=list)
    stray: str = ""
    known: bool = False
    has_body: bool = False
    started: bool = False
    begun: bool = False

    def take(self, kind: str, what: str) -> None:
        if kind == "start":
            self._start(what)
        elif kind == "end":
            self._end(what)
        elif what.strip(" \t\n\f\r"):
            self._text(what)

    def _text(self, text: str) -> None:
        if not self.stack:
            self.started = self.begun = True
        if not self.stack or self.stack[-1] in _TABLE:
            self._restore()
        if not self.stack or all(name in _TABLE for name in self.stack):
            self.stray = self.stray or text

    def _restore(self) -> None:
        for name in self.formatting:
            if name not in self.stack:
                self.stack.append(name)

    def _start(self, name: str) -> None:
        if name in ("html", "head", "body"):
            first = not self.started if name == "html" else not self.begun  # a browser makes each once, if need be
            self.known = self.known or first
            self.has_body = self.has_body or (first and name == "body")
            self.started, self.begun = True, self.begun or name == "body"
            return
        self.started, self.begun = True, self.begun or name not in _IN_HEAD
        in_table = any(part in _TABLE for part in self.stack)
        if name in _IN_TABLE_ONLY and not in_table:
            return  # a browser leaves it out
        self.known = self.known or name in _KNOWN or "-" in name
        if name in _ENDS_P and "p" in self.stack and not ({"button", "td", "th", "caption"} & set(self.stack)):
            del self.stack[self.stack.index("p") :]
        if name == "a" and "a" in self.formatting:
            self._end("a")
        if name in _VOID:
            return
        self.stack.append(name)
        if name in _FORMATTING:
            self.formatting.append(name)

    def _above(self, name: str) -> list[str]:
        return self.stack[self.stack.index(name) + 1 :]

    def _end(self, name: str) -> None:
        if name == "br" or (name == "p" and self.begun):
            self.known = True  # alone, it makes an element
        if name in self.formatting:
            self.formatting.remove(name)
            if name in self.stack and any(part not in _FORMATTING for part in self._above(name)):
                self.stack.remove(name)  # what is not for formatting stays open, and takes the format in
                return
        if name in self.stack and (name in _SPECIAL or not _SPECIAL.intersection(self._above(name))):
            del self.stack[len(self.stack) - 1 - self.stack[::-1].index(name) :]


HTML: dict[str, Check] = {"is-html": is_html, "contains-html": contains_html}
