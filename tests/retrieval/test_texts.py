"""What files of each kind say."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.errors import PromptChainError
from promptchain.retrieval import markup
from promptchain.retrieval.texts import Block, LeftOut, Reading, blocks


def read(folder: Path, name: str, content: str | bytes) -> tuple[list[Block], list[str]]:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    with Reading(path, name) as reading:
        found = list(blocks(reading))
        assert reading.sha() == hashlib.sha256(data).hexdigest()
        return found, reading.problems


def left_out(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(LeftOut) as caught:
        read(folder, name, content)
    return str(caught.value)


# --- Markdown

PAGE = """---
title: Money back
tags: [billing, refund]
---
# Refunds *and* `more`

Text.

```sh
# no heading
```

How long
--------
Five days.

> # quoted
"""


def test_markdown(tmp_path: Path) -> None:
    ((block,), problems) = read(tmp_path, "a.md", PAGE.replace("\n", "\r\n"))
    assert (block.title, block.line, block.meta) == ("Money back", 5, {"tags": ["billing", "refund"]})
    assert [(one.text, one.level) for one in block.headings] == [("Refunds and more", 1), ("How long", 2)]
    assert [block.text[one.offset :][:5] for one in block.headings] == ["# Ref", "How l"]
    assert not problems


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## Deep\n\n# First\n", "First"),
        ("words", "page"),
        ("", "page"),
        ("---\n---\n# One", "One"),
        ("---\ntitle: 3\n---\n", "page"),
    ],
)
def test_a_page_has_a_title(text: str, title: str, tmp_path: Path) -> None:
    assert read(tmp_path, "page.markdown", text)[0][0].title == title


def test_front_matter_that_is_none_stays_text(tmp_path: Path) -> None:
    ((block,), problems) = read(tmp_path, "a.md", "---\na: [\n---\nText")
    assert block.text.startswith("---")
    assert "front matter" in problems[0]
    ((block,), problems) = read(tmp_path, "a.md", "---\nonly words\n---\nText")
    assert block.text.startswith("---")
    assert not problems


LINES = ["# a", "## b ##", "#", "#x", "```", "~~~", "````", "``` py", "```x```", "text", "- item", "> q", "    code",
         "\t# t", "", "  ", "1. x", "***", "---", "# a \\# #", "[a]: /u", '"t', "  # y", "===", "<b>", "# *x* `y`",
         "- # n", "- ```", "#\tz", "# a\t#"]  # fmt: skip


@settings(max_examples=500)
@given(st.lists(st.sampled_from(LINES), max_size=12).map("\n".join))
def test_the_quick_way_finds_the_headings_that_the_parser_finds(text: str) -> None:
    assert list(markup._headings(text)) == list(markup._parsed(text))


# --- HTML


def test_html(tmp_path: Path) -> None:
    text = """<!doctype html><html><head><title>Help &amp; more</title><style>p {}</style></head>
<body><nav>Menu</nav><script>if (a < b) {}</script>
<h1>Refunds <b>and</b>
 more</h1><p>Five
 days.<br>No more.</p><ul><li>one<li>two</ul>
<h2>Cards</h2><pre>a
  b</pre><table><tr><td>x<td>y</tr></table></body></html>"""
    ((block,), _) = read(tmp_path, "a.html", text)
    assert block.title == "Help & more"
    assert block.text == "Refunds and more\n\nFive days.\nNo more.\n\none\ntwo\n\nCards\n\na\n  b\n\nx y"
    assert [(one.text, one.level) for one in block.headings] == [("Refunds and more", 1), ("Cards", 2)]
    assert block.marks is not None
    lines = dict(block.marks)
    assert lines[0] == 3
    assert lines[block.text.index("Cards")] == 6


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<![",
                "<!--",
                "-->",
                "<script>",
                "</nav>",
                "<nav>",
                "a b",
                "&#0;",
                "&#xd800;",
                "<h1>",
                "</h1>",
                "<pre>",
                "<",
                "\n",
                "<!x",
                "<?",
                "</title>",
                "<title>",
            ]
        ),
        max_size=20,
    ).map("".join)
)
def test_no_html_is_too_broken(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        ((block,), _) = read(tmp_path_factory.getbasetemp(), "any.htm", text)
    except LeftOut:
        return
    block.text.encode()
    assert all(block.text[one.offset :].startswith(one.text[:1]) for one in block.headings)


# --- rows


def test_csv(tmp_path: Path) -> None:
    text = 'Title,Text,lang\nRefunds,"Five\ndays",en\n,Two,de\nbroken\n'
    found, problems = read(tmp_path, "a.csv", "\ufeff" + text)
    assert [(block.title, block.text, block.line, dict(block.meta)) for block in found] == [
        ("Refunds", "Five\ndays", 2, {"lang": "en"}),
        ("a", "Two", 4, {"Title": "", "lang": "de"}),
    ]
    assert problems == ["has rows that are left out (line 5: 1 cells under 3 columns)"]


def test_rows_without_a_text_are_all_their_columns(tmp_path: Path) -> None:
    ((block,), _) = read(tmp_path, "a.csv", "question,answer,none\nHow long?,Five days,\n")
    assert block.text == "question: How long?\nanswer: Five days"
    ((block,), _) = read(tmp_path, "a.tsv", "body\tn\nx, y\t2\n")
    assert (block.text, block.meta) == ("x, y", {"n": "2"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a;b\n1;2\n", "';'"),
        ("a,a\n1,2\n", "column 'a' twice"),
        (b"\xff\n1\n", "not UTF-8"),
        ('"a\n', "header that is not CSV"),
    ],
)
def test_csv_that_is_none(content: str | bytes, why: str, tmp_path: Path) -> None:
    assert why in left_out(tmp_path, "a.csv", content)


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        '{"text": "one", "year": 2024}',
        '"two"',
        "",
        "[1]",
        "{",
        '{"text": "a\\u0000b\\ud800", "x": NaN}',
        '{"q": {"a": 1}}',
    ]
    found, problems = read(tmp_path, "a.jsonl", "\n".join(rows))
    assert [(block.text, block.line) for block in found] == [("one", 1), ("two", 2), ('q: {"a": 1}', 7)]
    assert found[0].meta == {"year": 2024}
    assert "line 4: a row is an object or a text; line 5: not JSON" in problems[0]


def test_what_no_database_keeps_is_replaced(tmp_path: Path) -> None:
    ((block,), _) = read(tmp_path, "a.jsonl", '{"text": "a\\u0000b\\ud800", "x": "\\ud800"}')
    assert block.text == "a\ufffdb\ufffd"
    assert block.meta == {"x": "\ufffd"}


def test_json(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "a.json", '[{"text": "one"},\n\n "two"]')
    assert [(block.text, block.line) for block in found] == [("one", 1), ("two", 3)]
    ((block,), _) = read(tmp_path, "a.json", '\n{"text": "one"}')
    assert (block.text, block.line) == ("one", 2)
    assert "not JSON" in left_out(tmp_path, "a.json", '[{"a": 1} {"b": 2}]')
    assert "nested too deep" in left_out(tmp_path, "a.json", "[" * 100_000)
    assert read(tmp_path, "a.json", "[]")[0] == []


def test_rows_are_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": "word " * 200}) + "\n"
    with path.open("w") as file:
        for _ in range(20):
            file.write(line * 1000)
    tracemalloc.start()
    with Reading(path, "a.jsonl") as reading:
        assert sum(1 for _ in blocks(reading)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak < 4_000_000


# --- what is not read


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.json", "a.unknown"])
def test_a_gigabyte_is_refused_unless_it_is_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with Reading(path, name) as reading, pytest.raises(LeftOut, match=r"1,024\.0 MiB, more than the"):
        list(blocks(reading))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_line_without_an_end_takes_no_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    with Reading(path, name) as reading:
        try:
            assert list(blocks(reading)) == []
            said = reading.problems[0]
        except LeftOut as exc:
            said = str(exc)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "16,777,216" in said
    assert peak < 150_000_000


def test_a_file_over_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)
    with Reading(path, "a.jsonl") as reading, pytest.raises(LeftOut, match="more than the 2 GiB"):
        list(blocks(reading))


def test_what_is_no_text_is_left_out(tmp_path: Path) -> None:
    assert left_out(tmp_path, "a.bin", b"a\0b") == "is not a text"
    assert (
        left_out(tmp_path, "a.txt", b"a\nb\xffc")
        == "is not UTF-8 (byte 0xff in line 2): it is left out; save it as UTF-8, say with iconv -f latin1 -t utf-8"
    )
    ((block,), _) = read(tmp_path, "a.txt", b"a" * 9000 + b"\0")
    assert block.text.endswith("a\ufffd")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.md")
    with pytest.raises(LeftOut):
        Reading(tmp_path / "a.md", "a.md")


# --- PDF


def pdf(*texts: str, title: str = "", password: str = "") -> bytes:
    """A small PDF with a text on each page."""
    import io

    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject(key): NameObject(value)
            for key, value in {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}.items()
        }
    )
    for text in texts:
        page = writer.add_blank_page(200, 200)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_pdf(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "a.pdf", pdf("Five days", "", "Two days", title="Help"))
    assert [(block.text, block.title, block.line, block.meta["page"]) for block in found] == [
        ("Five days", "Help", 1, 1),
        ("Two days", "Help", 3, 3),
    ]


def test_a_pdf_that_cannot_be_read(tmp_path: Path) -> None:
    whole = pdf("Five days")
    assert "no PDF that can be read" in left_out(tmp_path, "a.pdf", b"%PDF-1.4 nonsense")
    assert "no PDF that can be read" in left_out(tmp_path, "a.pdf", b"")
    assert "scanned" in left_out(tmp_path, "a.pdf", pdf("", ""))
    assert "password" in left_out(tmp_path, "a.pdf", pdf("Five days", password="x"))
    with suppress(LeftOut):  # pypdf mends some
        read(tmp_path, "a.pdf", whole[: len(whole) // 2])


def test_a_pdf_needs_pypdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(PromptChainError) as caught:
        read(tmp_path, "a.pdf", b"%PDF-1.4")
    assert caught.value.hint == "pip install 'promptchain[rag]'"
