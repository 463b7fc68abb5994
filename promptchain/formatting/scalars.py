"""Scalars as canonical YAML: plain where every reader takes them for the same text, else in quotes; blocks stay."""

from __future__ import annotations

from promptchain.formatting.nodes import Node
from promptchain.formatting.tree import block_rows
from promptchain.yaml_text import is_plain, quoted

_BREAKS = set("\x85\u2028\u2029\ufeff")
"""Characters that some reader takes for a line break, or for nothing."""


def inline(node: Node, *, flow: bool = False) -> str:
    """A scalar in one line, with its anchor and tag. flow: within brackets."""
    if node.style or "\n" in node.source or (not node.source and "!" in node.properties):
        text = _text(node.value, flow=flow)
    else:
        text = node.source or ("null" if flow else "")
    return f"{node.properties} {text}".strip()


def _text(value: str, *, flow: bool) -> str:
    """A text, by what it says alone: in single quotes only where that saves escapes."""
    if is_plain(value) and not (flow and set(value) & set(",[]{}?")):
        return value
    if value.isprintable() and set(value) & set('"\\') and "'" not in value:
        return f"'{value}'"
    return quoted(value)


def lines(node: Node, pad: str) -> tuple[str, list[str]]:
    """A scalar of a block collection: what stands behind the key, and the lines below, indented by `pad`."""
    if node.style in ("|", ">"):
        content = _block(node)
        if content is None:
            return inline(node), []
        head, rows = content
        return f"{node.properties} {head}".strip(), [pad + row if row else "" for row in rows]
    if "\n" in node.source:  # it goes on in the next line, wherever that begins
        first, *rest = node.source.split("\n")
        rows = [row.lstrip(" \t") for row in rest]
        return f"{node.properties} {first}".strip(), [pad + row if row else "" for row in rows]
    return inline(node), []


def keeps_breaks(head: str) -> bool:
    """Whether empty lines behind a block with this head are part of it."""
    return head.rpartition(" ")[2] in ("|+", "|2+", ">+", ">2+")


def _block(node: Node) -> tuple[str, list[str]] | None:
    """The head and the lines of a block; None for one that holds nothing but white space, or what none can hold."""
    value = node.value
    if not value.strip() or _BREAKS & set(value):
        return None
    breaks = len(value) - len(value.rstrip("\n"))
    rows = value.rstrip("\n").split("\n") if node.style == "|" else block_rows(node.source, value)
    start = next(number for number, row in enumerate(rows) if row.strip(" \t"))
    digit = "2" if any(row[:1] in (" ", "\t") for row in rows[: start + 1]) else ""
    kept = "-" if not breaks else "+" if breaks > 1 else ""
    return f"{node.style}{digit}{kept}", rows + [""] * (breaks - 1)
