"""A tree of YAML → its canonical text: indented by two spaces, short collections in brackets where they were so."""

from __future__ import annotations

from promptchain.formatting import scalars
from promptchain.formatting.nodes import Comment, Entry, Kind, Node, Tree

WIDTH = 120
"""Columns that a collection in brackets may take; a longer one is written with an entry to a line."""

_LONGEST_KEY = 900
"""Characters of a key that its colon may follow; YAML allows 1024."""


def write(tree: Tree) -> str:
    """The text, with a final line break."""
    writer = _Writer()
    writer.comments(tree.head, "")
    root = tree.root
    _unfold(root, 0, 0)
    if root.flow:
        writer.rows.append(_brackets(root))
    else:
        if root.properties:
            writer.rows.append(f"--- {root.properties}")
        writer.entries(root, "", "")
    return "".join(f"{row}\n" for row in writer.rows)


class _Writer:
    """Collects the lines. closed: whether an empty line may follow; not at the beginning of something, nor behind a
    block in which empty lines count."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.closed = False

    def comments(self, lines: list[str], pad: str) -> None:
        """Comments and empty lines, of which one is kept."""
        for line in lines:
            if line:
                self.rows.append(pad + line)
            elif self.closed:
                self.rows.append("")
            self.closed = bool(line)

    def entries(self, node: Node, pad: str, lead: str) -> None:
        """A collection in block style. lead: what begins its first line in place of `pad`: dashes."""
        if lead == pad:  # else the entry that it is in has told what stands above the first
            self.closed = self.closed and not self.rows
        for number, entry in enumerate(node.entries):
            if number or lead == pad:
                self.comments(_over(entry), pad)
            self.entry(entry, pad, pad if number else lead)
        self.comments(node.tail, pad)

    def entry(self, entry: Entry, pad: str, lead: str) -> None:
        """An entry without what stands above it."""
        head = self._head(entry, pad, lead)
        value = entry.value
        beside = entry.beside[-1] if entry.beside else None
        if _is_compact(entry):
            self.entries(value, pad + "  ", head + " ")
        elif _is_long(entry):
            self.rows.append(_with(f"{head} {value.properties}".rstrip(), beside))
            self.closed = False
            self.entries(value, pad + "  ", pad + "  ")
        else:
            text, below = _value(value, pad + "  ")
            rows = [f"{head} {text}".rstrip() if not below else f"{head} {text}", *below]
            end = 0 if value.style in ("|", ">") else -1  # a block has its comment behind its head
            rows[end] = _with(rows[end], beside)
            self.rows += rows
            self.closed = not (below and scalars.keeps_breaks(text))

    def _head(self, entry: Entry, pad: str, lead: str) -> str:
        if entry.key is None:
            return f"{lead}-"
        key = scalars.inline(entry.key, flow=True)
        if len(key) <= _LONGEST_KEY:
            return f"{lead}{key}:"
        self.rows.append(f"{lead}? {key}")
        return f"{pad}:"


def _value(node: Node, pad: str) -> tuple[str, list[str]]:
    """What stands behind the key or the dash, and the lines below it."""
    return scalars.lines(node, pad) if node.kind is Kind.SCALAR else (_brackets(node), [])


def _over(entry: Entry) -> list[str]:
    """What stands above an entry: its comments, and those of its own that have no other place."""
    empty = [""] if entry.above and not entry.above[-1] else []
    own = entry.above[: len(entry.above) - len(empty)]
    compact = _is_compact(entry)
    own += [comment.text for comment in (entry.beside if compact else entry.beside[:-1])]
    if compact:
        own += [line for line in _over(entry.value.entries[0]) if line]
    return own + empty


def _unfold(node: Node, column: int, indent: int) -> None:
    """Have collections in block style that have comments in them, or are too long for the rest of a line.

    column: where the node begins; indent: of its entries, written in block style."""
    if node.flow and (_is_commented(node) or column + len(_brackets(node)) > WIDTH):
        node.flow = not node.entries
    for entry in () if node.flow else node.entries:
        key = 1 if entry.key is None else len(scalars.inline(entry.key, flow=True)) + 1
        _unfold(entry.value, indent + key + 1, indent + 2)


def _is_commented(node: Node) -> bool:
    if any(node.tail):
        return True
    return any(any(entry.above) or entry.beside or _is_commented(entry.value) for entry in node.entries)


def _brackets(node: Node) -> str:
    """A value in one line."""
    if node.kind is Kind.ALIAS:
        return f"*{node.value}"
    if node.kind is Kind.SCALAR:
        return scalars.inline(node, flow=True)
    parts = [
        (f"{scalars.inline(entry.key, flow=True)}: " if entry.key else "") + _brackets(entry.value)
        for entry in node.entries
    ]
    begin, end = "{}" if node.kind is Kind.MAPPING else "[]"
    return f"{node.properties} {begin}{', '.join(parts)}{end}".strip()


def _is_long(entry: Entry) -> bool:
    """Whether an entry's value is written in block style, below it."""
    value = entry.value
    return value.kind in (Kind.LIST, Kind.MAPPING) and bool(value.entries) and not value.flow


def _is_compact(entry: Entry) -> bool:
    """Whether the first entry of an entry's value stands on its line: `- type: equals`."""
    return entry.key is None and _is_long(entry) and not entry.value.properties


def _with(row: str, comment: Comment | None) -> str:
    """A line and the comment that ends it, in its old column where it was set apart from the text by more than two
    spaces, as those that stand below each other are."""
    if comment is None:
        return row
    column = comment.column if comment.gap > 2 else 0
    return row.ljust(max(len(row) + 2, column)) + comment.text
