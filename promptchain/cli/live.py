"""Live progress on a terminal: a run as a table of its steps, a batch as a bar."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from promptchain import told
from promptchain.batch import Tally
from promptchain.cli.dag import draw
from promptchain.cli.output import console, dollars, next_try, plural, printable, seconds, takes_unicode
from promptchain.events import (
    Event,
    ItemEnded,
    StepEnded,
    StepRetried,
    StepStarted,
    StepText,
    ToolEnded,
    ToolStarted,
)
from promptchain.lm.secrets import redact, settled
from promptchain.plan import Plan
from promptchain.records import Status

_MARKS = {
    Status.DONE: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.SKIPPED: ("-", "dim"),
    Status.BLOCKED: ("-", "red"),
    Status.INTERRUPTED: ("!", "yellow"),
}
_TAIL_LINES = 6
_LONGEST = 4000
"""Characters of a text that are looked at for a refresh."""
_MARK, _TIME, _LEAST = 2, 9, 6
"""Columns: of the mark with its space, of the time, and the fewest in which it is worth saying something."""


class _Row:
    """What is known of one step so far."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: float | None = None
        self.status: Status | None = None
        self.text = ""
        self.pieces = 0
        self.note = ""
        self.doing = ""
        self.items: int | None = None
        self.items_done = 0


class LiveSteps:
    """A context manager whose `observe` takes the events of one run and draws them on stderr."""

    def __init__(self, plan: Plan) -> None:
        self._lines = {name: lines for lines, name in draw(plan)}
        self._rows = {name: _Row() for name in self._lines}
        self._current: str | None = None
        self._spinner = _spinner()
        self._console = console(stderr=True)
        self._live = self._new()

    def _new(self) -> Live:
        return Live(console=self._console, refresh_per_second=12, get_renderable=self._draw)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the table away while somebody else has the terminal. Nothing happens where it is not shown."""
        if not self._live.is_started:
            yield
            return
        self._live.transient = True
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._new()
            self._live.start()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            for row in self._rows.values():
                row.status = row.status or (Status.INTERRUPTED if row.began is not None else None)
                row.ended = row.ended or perf_counter()
        self._current = None
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Take one event; drawing is left to the next refresh."""
        row = self._rows.get(event.step)
        if row is None:
            self._observe_inner(event)
        elif isinstance(event, StepStarted):
            row.began, row.items = perf_counter(), event.items
        elif isinstance(event, StepText):
            row.pieces, row.doing = row.pieces + 1, ""
            if event.item is None:
                row.text, row.note = row.text + event.text, ""
                self._current = event.step
        elif isinstance(event, StepRetried):
            row.text, row.pieces = "", 0
            row.note = next_try(event.reason, event.wait)
        elif isinstance(event, ToolStarted | ToolEnded):  # the reply that was streamed asks for it, and is no answer
            row.text, row.pieces, row.note, row.doing = "", 0, "", _tool(event)
        elif isinstance(event, ItemEnded):
            row.items_done += 1
        elif isinstance(event, StepEnded):
            row.status, row.ended = event.result.status, perf_counter()
            row.note = event.result.error or ""
            value = "" if event.result.value is None else told.brief(event.result.value)
            row.text = printable(_line(value))
            if self._current == event.step:
                self._current = None

    def _observe_inner(self, event: Event) -> None:
        """What happens in a chain that a step runs, `step.inner`, is told in the row of the step."""
        name, _, inner = event.step.partition(".")
        row = self._rows.get(re.sub(r"[\[#].*", "", name))
        if row is None:
            return
        if isinstance(event, StepRetried):
            row.doing = f"{inner}: {next_try(event.reason, event.wait)}"
        elif isinstance(event, ToolStarted | ToolEnded):
            row.doing = f"{inner}: {_tool(event)}"
        elif isinstance(event, StepStarted | StepEnded):
            row.doing = inner

    def _draw(self) -> RenderableType:
        """A line for each step. What a terminal is too narrow for goes in this order: what the step says, the lines
        of the graph, the time; the names stay."""
        width = self._console.width
        labels = {name: f"{lines} {name}" for name, lines in self._lines.items()}
        if max(map(cell_len, labels.values())) + _MARK + _TIME > width:
            labels = {name: name for name in labels}
        widest = max(map(cell_len, labels.values()))
        time = _MARK + widest + _TIME <= width
        room = width - _MARK - widest - _TIME - 2
        rows: list[RenderableType] = []
        for name, row in self._rows.items():
            lines = labels[name].removesuffix(name)
            line = Text.assemble(
                self._mark(row), " ", (lines, "cyan"), (name, "bold"), no_wrap=True, overflow="ellipsis"
            )
            line.append(" " * (widest - cell_len(labels[name])))
            if time:
                line.append(self._time(row).rjust(_TIME), style="dim")
            if room >= _LEAST:
                says = self._says(row)
                says.truncate(room, overflow="ellipsis")
                line.append("  ").append_text(says)
            rows.append(line)
        if self._current is not None and self._rows[self._current].status is None:
            tail = _whole(self._rows[self._current].text)[-_LONGEST:].strip().splitlines()[-_TAIL_LINES:]
            rows.append(Text(printable("\n".join(tail)), style="dim"))
        return Group(*rows)

    def _mark(self, row: _Row) -> Text:
        if row.status is not None:
            return Text(*_MARKS[row.status])
        if row.began is None:
            return Text("·", style="dim")
        frame = self._spinner.render(perf_counter())
        return frame if isinstance(frame, Text) else Text("·")

    def _time(self, row: _Row) -> str:
        if row.began is None:
            return ""
        return seconds((row.ended or perf_counter()) - row.began)

    def _says(self, row: _Row) -> Text:
        if row.status is None and row.items is not None:
            return Text(printable(f"{row.items_done} of {row.items}  {_line(row.doing)}".rstrip()), style="dim")
        if row.status is None and row.doing and not row.note:
            return Text(printable(_line(row.doing)), style="dim")
        if row.note:
            style = "yellow" if row.status is None else "red" if row.status is Status.FAILED else "dim"
            return Text(printable(_line(row.note)), style=style)
        if row.status is None:
            return Text(plural(row.pieces, "token") if row.pieces else "", style="dim")
        return Text(row.text)


def _tool(event: ToolStarted | ToolEnded) -> str:
    tool = event.tool
    return told.tool_run(tool) if isinstance(event, ToolEnded) else told.call(tool.name, tool.arguments) + " …"


def _line(text: str) -> str:
    """On one line and without secrets, as far as it can be of interest."""
    return " ".join(redact(text[: 2 * _LONGEST])[:_LONGEST].split())


def _whole(text: str) -> str:
    """The end of a text that is still coming, without secrets, nor what one may have begun with."""
    text = text[-2 * _LONGEST :]
    return redact(text[: settled(text)])


def _spinner() -> Spinner:
    return Spinner("dots" if takes_unicode(sys.stderr) else "line", style="cyan")


class LiveBatch:
    """A context manager whose `update` shows how far a batch is: rows done, failed, their rate and cost."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._began = perf_counter()
        self._spinner = _spinner()
        self._live = Live(console=console(stderr=True), refresh_per_second=8, transient=True, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._live.stop()

    def update(self, tally: Tally) -> None:
        self._tally = tally

    def _draw(self) -> RenderableType:
        tally = self._tally
        rate = tally.rows / max(0.001, perf_counter() - self._began)
        failed = f", {tally.failed} failed" if tally.failed else ""
        self._spinner.update(text=f"{tally.done} rows done{failed}, {rate:.1f} a second, {dollars(tally.cost)}")
        return self._spinner
