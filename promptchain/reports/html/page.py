"""Sections → one file of HTML. It carries its data as JSON, loads nothing, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

from promptchain.lm.secrets import redact_data
from promptchain.records import now, whole_text

MARK = "<!doctype html><!-- chain report -->"
"""How every report begins: by it a file is known that may be overwritten."""

MAX_BYTES = 15_000_000
"""The size of a report."""

SCRIPTS = ("dom.js", "text.js", "graph.js", "run.js", "table.js", "evaluation.js", "compile.js", "chain.js", "main.js")

_LENGTHS = (200_000, 20_000, 4_000, 1_000, 400, 160, 60)
"""Characters that a text keeps, the first at which the report is small enough."""

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What could end the script that holds the data, or begin a comment in it."""

_ROOM = 200_000
"""Bytes for all but the data."""

_MAX_DEPTH = 200
_WHOLE = 2**53
"""Up to here a browser's numbers are exact."""

_NUMBER = "\ufdd0"
"""How a text begins that is a number's digits: no character (Unicode 16.0, 23.7), and in no other text of a page."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A value of a user's, whose numbers a report shows as the terminal does: 391.0, which a browser takes for 391."""

    value: Any


def content(title: str, sections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of a report, without secrets, as JSON can carry it. By what the script goes stays whatever a pattern of
    the project says of it: the keys that it knows, which are no secrets, and what a section is."""
    found = {"title": title, "made": now(), "release": version("promptchain"), "sections": list(sections)}
    whole = _plain(found, _MAX_DEPTH)
    plain: dict[str, Any] = redact_data(whole, _words())
    for section, own in zip(plain["sections"], whole["sections"], strict=True):
        section["kind"] = own["kind"]
    return plain


def page(data: Mapping[str, Any], *, limit: int = MAX_BYTES) -> str:
    """The page for what `content` gave, of at most `limit` bytes: longer texts are cut, then the last examples and
    items left out, as far as that takes; the page says so."""
    style, script = _text("report.css"), _script()
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    filled = {
        "title": html.escape(str(data["title"])),
        "policy": html.escape(policy),
        "style": style,
        "script": script,
    }
    shell = _text("report.html")
    for name, text in filled.items():
        shell = shell.replace(f"<!--{name}-->", text)
    before, _, after = shell.partition("<!--data-->")
    return f"{MARK}\n{before}{_fitted(data, limit - _ROOM)}{after}"


@cache
def _text(name: str) -> str:
    return resources.files("promptchain.reports.html").joinpath("assets", name).read_text("utf-8")


@cache
def _script() -> str:
    return "'use strict';\n(() => {\n" + "\n".join(map(_text, SCRIPTS)) + "\n})();"


@cache
def _words() -> frozenset[str]:
    """The words of the script: every key that it looks for is among them."""
    return frozenset(re.findall(r"\w+", _script()))


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline script or style (https://www.w3.org/TR/CSP3/#hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _fitted(data: Mapping[str, Any], limit: int) -> str:
    text = _json(data)
    if _size(text) <= limit:
        return text
    cut, longest = data, _longest(data)
    for length in (length for length in _LENGTHS if length < longest):
        cut = {**_shortened(data, length), "cut": length}
        if _size(text := _json(cut)) <= limit:
            return text
    most = max(map(_rows, data["sections"]), default=0)
    while most > 1:
        most = int(most * min(0.9, limit / _size(text)))
        text = _json({**cut, "sections": [_fewer(section, most) for section in cut["sections"]]})
        if _size(text) <= limit:
            return text
    return text


def _rows(section: Mapping[str, Any]) -> int:
    """How many examples an evaluation has, or items the step of a run that has the most."""
    return max([len(section.get("examples", ())), *(len(step.get("items", ())) for step in _steps(section))], default=0)


def _steps(section: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = section["steps"] if section["kind"] == "run" and "steps" in section else ()
    return found


def _fewer(section: Mapping[str, Any], most: int) -> Mapping[str, Any]:
    """A section with its first examples, which are those that failed, and with the first items of each step."""
    if len(section.get("examples", ())) > most:
        return {**section, "examples": section["examples"][:most], "left_out": len(section["examples"]) - most}
    steps = [
        {**step, "items": step["items"][:most], "left_out": len(step["items"]) - most}
        if len(step.get("items", ())) > most
        else step
        for step in _steps(section)
    ]
    return {**section, "steps": steps} if steps else section


def _json(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, escape in _UNSAFE.items():  # a tenth of the time that `translate` takes
        text = text.replace(sign, escape)
    return text


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {name: _shortened(own, length) for name, own in value.items()}
    return [_shortened(own, length) for own in value] if isinstance(value, list) else value


def _longest(value: Any) -> int:
    """Characters of the longest text in it."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_longest, parts), default=0)


def _plain(value: Any, depth: int, *, exact: bool = False) -> Any:
    """As `records.storable`, but what JSON cannot say is put in words rather than refused, and numbers that a browser
    would show otherwise are their digits after `_NUMBER`. exact: this is so for floats, too."""
    if isinstance(value, str):
        return _text_of(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _WHOLE else _NUMBER + _digits(value)
    if isinstance(value, float):
        return _float(value, exact=exact)
    if isinstance(value, Exact):
        return _plain(value.value, depth, exact=True)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {_text_of(str(name)): _plain(own, depth - 1, exact=exact) for name, own in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(own, depth - 1, exact=exact) for own in value]
    return _text_of(str(value))


def _text_of(value: str) -> str:
    return whole_text(value).replace(_NUMBER, "\ufffd")


def _float(value: float, *, exact: bool) -> float | str | None:
    if not math.isfinite(value):
        return None
    digits = repr(value)
    return _NUMBER + digits if exact and (digits.endswith(".0") or "e" in digits) else value


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes (sys.set_int_max_str_digits), in a time that grows with them
        return hex(value)
