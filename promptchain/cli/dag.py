"""Draws a plan as text: one line to a step, with lines from each step to those that wait for it."""

from __future__ import annotations

from collections.abc import Iterator

from promptchain.plan import Plan


def draw(plan: Plan) -> Iterator[tuple[str, str]]:
    """For each step, in an order in which it could run: the lines before its name, and the name.

    A step has a column of its own until the last step that waits for it is drawn; the line of a step runs from the
    columns of those it needs to its own, which is right of them.
    """
    waiting = {name: {other.id for other in plan.nodes.values() if name in other.after} for name in plan.nodes}
    columns: list[str | None] = []
    for name, node in plan.nodes.items():
        parents = sorted(columns.index(other) for other in node.after)
        for other in node.after:
            waiting[other].discard(name)
        closing = {index for index in parents if not waiting[columns[index] or ""]}
        own = _free_column(columns, after=parents[-1] if parents else -1)
        yield _line(columns, parents, closing, own), name
        for index in closing:
            columns[index] = None
        columns += [None] * (own + 1 - len(columns))
        columns[own] = name if waiting[name] else None
        while columns and columns[-1] is None:
            columns.pop()


def _free_column(columns: list[str | None], after: int) -> int:
    """The first column right of `after` with none in use from there on: no line is crossed by a name."""
    used = [index for index, name in enumerate(columns) if name is not None]
    return max([after, *used], default=-1) + 1


def _line(columns: list[str | None], parents: list[int], closing: set[int], own: int) -> str:
    """Two characters for each column before the step's own, and its mark."""
    drawn = ""
    first = parents[0] if parents else own
    for index in range(own):
        used = index < len(columns) and columns[index] is not None
        if index in parents:
            left = index > first
            mark = ("┴" if left else "╰") if index in closing else ("┼" if left else "├")
        elif index > first:
            mark = "│" if used else "─"
        else:
            mark = "│" if used else " "
        drawn += mark + ("─" if index >= first else " ")
    return drawn + "●"
