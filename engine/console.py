"""How the command line looks: stage bars with time left, tables, errors in one sentence.

Titles, queries, names of files and judges' answers may hold what a terminal acts on: whatever is drawn here is `printable`.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from engine import progress as progress_module
from engine.errors import printable
from engine.runs import StageMark, Watcher


class _Disarmed(Console):
    """A console whose texts move no cursor, name no window and turn no direction; its own control codes stay."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Before widths are measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever came another way."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


out = _Disarmed(highlight=False, width=None if sys.stdout.isatty() else 132)  # A log is wide enough for tables.
err = _Disarmed(stderr=True, highlight=False)


class ConsoleWatcher(Watcher):
    """Draws a bar with time left for the stage at work, and leaves one line for each that ended."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<46}"), BarColumn(bar_width=28), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=out, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._title: dict[str, str] = {}
        self._said = 0.0

    def __enter__(self) -> ConsoleWatcher:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, stage: str, title: str) -> progress_module.Progress:
        """A bar for this stage; where the output is no terminal, a line now and every ten seconds."""
        self._title[stage] = title
        if not out.is_terminal:
            out.print(f"  … {escape(title)}")
        task = self._bars.add_task(escape(title), total=None)
        self._task = task
        began = self._said = time.monotonic()

        def report(done: int, total: int) -> None:
            self._bars.update(task, completed=done, total=total)
            now = time.monotonic()
            if not out.is_terminal and done and now - self._said > 10:
                self._said = now
                left = (now - began) / done * (total - done)
                out.print(f"    {escape(title)}: {done:,} of {total:,}, about {left:.0f} s left")

        return report

    def finish(self, mark: StageMark) -> None:
        """Replace the bar by one line."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        title = self._title.get(mark.stage)
        if title is not None and not mark.cached:  # a stage found finished is not worth a line
            out.print(f"  [green]✓[/] {escape(title):<46} {mark.seconds:6.1f} s   peak {mark.peak_mb:,.0f} MB")


@contextlib.contextmanager
def remark_bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar with time left and a remark that changes, called as `report(done, remark)`; else a line every ten seconds."""
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[remark]}"), console=out, transient=True,
    )  # fmt: skip
    task = bars.add_task(escape(title), total=total, remark="")
    began = said = time.monotonic()

    def report(done: int, remark: str) -> None:
        nonlocal said
        bars.update(task, completed=done, remark=escape(remark))
        now = time.monotonic()
        if not out.is_terminal and done and now - said > 10:
            said = now
            left = (now - began) / done * (total - done)
            out.print(f"    {escape(title)}: {done:,} of {total:,}, about {left:.0f} s left, {escape(remark)}")

    with bars:
        yield report


class Board:
    """Lines redrawn in place while work goes on elsewhere; where the output is no terminal, printed when the first one
    tells something new or a minute has passed."""

    def __init__(self) -> None:
        self._live = Live(console=out, transient=True, refresh_per_second=4)
        self._head, self._said = "", 0.0

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, lines: Sequence[str]) -> None:
        """The lines as they are now. What follows a ';' in the first one (a time that always changes) is no news."""
        self._live.update(Text("\n".join(lines)))
        head, now = lines[0].split(";")[0], time.monotonic()
        if not out.is_terminal and (head != self._head or now - self._said > 60):
            self._head, self._said = head, now
            out.print("\n".join(lines), markup=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print a table; text from data is shown as text, never as markup."""
    drawn = Table(
        title=escape(title), title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for name in columns:
        drawn.add_column(escape(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(_text(v)) for v in row))
    out.print(drawn)


def say(text: str) -> None:
    """One line of markup."""
    out.print(text)


def fail(message: str) -> None:
    """The error, in its sentence."""
    err.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True)


def machine_line(as_json: bool, **values: Any) -> None:
    """With --json, the last line of the output: one JSON object."""
    if as_json:
        out.print(json_line(values), markup=False, soft_wrap=True)


def data(text: str) -> None:
    """Rows as they are, for a program or a file; on a terminal as it may show them."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def json_line(values: dict[str, Any]) -> str:
    """One JSON object; what is missing is null."""
    return json.dumps(_plain(values), default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON can hold: lists for arrays, null for what is missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
