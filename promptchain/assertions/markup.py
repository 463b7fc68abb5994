"""Assertions on XML and HTML: the output is it, or has some in it. Names and verdicts are promptfoo's.

Nothing is fetched and no entity is expanded: a document that declares any is refused.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from promptchain.assertions.html import HTML
from promptchain.assertions.protocol import Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.text import sentence, shown, text_of, wrong_value

MAX_PIECES = 100_000
"""Tags that are looked at in search of XML in a text."""


def is_xml(subject: Subject, spec: Spec) -> Verdict:
    """The whole output is one well-formed document. value: the paths of elements that it must have ("root.child"), as
    {requiredElements: […]}, a list, or a text with commas."""
    text, required = text_of(subject), _required(spec)
    try:
        tree = _document(text)
    except (ValueError, expat.ExpatError) as error:
        return verdict(False, f"it should be XML, and is {shown(text)}: {sentence(str(error))}")
    return _has(tree, required, f"it is XML: {shown(text)}")


def contains_xml(subject: Subject, spec: Spec) -> Verdict:
    """The output has an element in it that is closed. value: as for is-xml; paths begin at the outermost element."""
    text, required = text_of(subject), _required(spec)
    last = verdict(False, f"it should contain XML, and is {shown(text)}")
    for tree in _fragments(text):
        last = _has(tree, required, "it contains XML")
        if last.passed:
            break
    return last


def _required(spec: Spec) -> list[str]:
    value = spec.value
    if isinstance(value, Mapping) and value:
        value = value.get("requiredElements")
        if not isinstance(value, list):
            raise wrong_value(spec, "{requiredElements: [root.child]}, a list or a text")
    if isinstance(value, str):
        return [path.strip() for path in value.split(",")]
    if isinstance(value, list) and all(isinstance(path, str) for path in value):
        return value
    if value is None or value == {}:
        return []
    raise wrong_value(spec, "{requiredElements: [root.child]}, a list or a text")


# -- trees: an element is a dict of its children, a list of several of one name, or its text --------------------------


@dataclass(slots=True)
class _Element:
    """An element while it is read."""

    name: str
    children: dict[str, Any]
    text: str = ""

    def add(self, name: str, value: Any) -> None:
        before = self.children.get(name)
        if name not in self.children:
            self.children[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            self.children[name] = [before, value]

    def value(self) -> Any:
        text = self.text.strip()
        if self.children and text:
            self.children["#text"] = text
        return self.children or text


def _has(tree: Any, required: list[str], right: str) -> Verdict:
    missing = [path for path in required if not _leads(tree, path.split("."))]
    return verdict(not missing, f"the XML has no element {sentence(', '.join(missing))}", right)


def _leads(tree: Any, path: list[str]) -> bool:
    for key in path:
        if isinstance(tree, list) and re.fullmatch(r"0|[1-9]\d{0,8}", key, re.ASCII) and int(key) < len(tree):
            tree = tree[int(key)]
        elif isinstance(tree, dict) and key in tree:
            tree = tree[key]
        else:
            return False
    return True


# -- a document --------------------------------------------------------------------------------------------------------


def _document(text: str) -> Any:
    """The tree of a well-formed document. Raises ValueError or ExpatError."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a surrogate pair") from error
    strict = expat.ParserCreate("utf-8", " ")  # with namespaces: an unknown prefix is an error
    strict.StartDoctypeDeclHandler = _doctype
    strict.Parse(data, True)
    root = _Element("", {})
    open_elements = [root]

    def start(name: str, attributes: Mapping[str, str]) -> None:
        open_elements.append(_Element(name, {f"@_{key}": value for key, value in attributes.items()}))

    def end(_name: str) -> None:
        element = open_elements.pop()
        open_elements[-1].add(element.name, element.value())

    def characters(text: str) -> None:
        open_elements[-1].text += text

    reader = expat.ParserCreate("utf-8")
    reader.buffer_text = True
    reader.StartElementHandler, reader.EndElementHandler = start, end
    reader.CharacterDataHandler = characters
    reader.Parse(data, True)
    return root.value()


def _doctype(_name: str, system: str | None, _public: str | None, declares: int) -> None:
    if declares:
        raise ValueError("declarations in a DOCTYPE are not supported")
    if system and "#" in system:
        raise ValueError("its DOCTYPE is wrong")


# -- pieces of a text --------------------------------------------------------------------------------------------------

_START = ":A-Z_a-zÀ-ÖØ-öø-˿Ͱ-ͽͿ-῿\u200c\u200d⁰-↏Ⰰ-⿯、-\ud7ff豈-﷏ﷰ-\ufffd\U00010000-\U000effff"
_NAME = f"[{_START}][{_START}\\-.0-9·\u0300-\u036f‿⁀]*+"
_TAG = re.compile(
    rf"<(?:(?P<skip>!--.*?(?:-->|\Z)|!\[CDATA\[.*?(?:\]\]>|\Z)|\?.*?(?:\?>|\Z)|!(?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+>?)"
    rf"|(?P<close>/)?(?P<name>{_NAME})(?P<rest>(?:[^<>\"']|\"[^\"]*+\"|'[^']*+')*+)>)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""([^\s=/"'<>]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'))?""")


@dataclass(slots=True)
class _Piece:
    """An element in a text that was closed."""

    name: str
    value: Any


def _fragments(text: str) -> Iterator[Any]:
    """The trees of what stands in a text: all elements of a run beside each other together, or the only one.

    A closing tag that closes nothing ends what was open, and what is in it stands for itself.
    """
    groups: dict[int | None, list[_Piece]] = defaultdict(list)
    open_tags: list[tuple[int, _Element]] = []
    last = 0
    for count, match in enumerate(_TAG.finditer(text)):
        if count >= MAX_PIECES:
            break
        if open_tags:
            open_tags[-1][1].text += text[last : match.start()]
        last = match.end()
        name = match["name"]
        if name is None:
            if open_tags and match["skip"].startswith("![CDATA["):
                open_tags[-1][1].text += match["skip"][8:-3]
            continue
        if match["close"] is None:
            attributes = {f"@_{key}": one or two or "" for key, one, two in _ATTRIBUTE.findall(match["rest"])}
            open_tags.append((match.start(), _Element(name, attributes)))
            if not match["rest"].rstrip().endswith("/"):
                continue
        elif not open_tags or open_tags[-1][1].name != name:
            open_tags.clear()
            continue
        _close(open_tags, groups)
    yield from _outermost(groups)


def _close(open_tags: list[tuple[int, _Element]], groups: dict[int | None, list[_Piece]]) -> None:
    """What was opened last is complete: a child of what is open around it, where that is closed one day."""
    start, element = open_tags.pop()
    piece = _Piece(element.name, element.value())
    parent = open_tags[-1] if open_tags else None
    if parent is not None:
        parent[1].add(piece.name, piece.value)
    groups.pop(start, None)  # its own children stand in its value
    groups[parent[0] if parent else None].append(piece)


def _outermost(groups: Mapping[int | None, list[_Piece]]) -> Iterator[Any]:
    for pieces in groups.values():
        together = _Element("", {})
        for piece in pieces:
            together.add(piece.name, piece.value)
        yield together.value()


XML: dict[str, Check] = {"is-xml": is_xml, "contains-xml": contains_xml}

MARKUP: dict[str, Check] = {**XML, **HTML}
