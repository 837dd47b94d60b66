"""Showing progress: a live table in a terminal or a notebook, plain lines elsewhere."""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TextIO

from tidemill.model.ids import run_id
from tidemill.model.session import Failed, Progress, Said, TaskProgress

if TYPE_CHECKING:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""
SHOWN_FAILURES = 10
"""Failures shown while a workflow runs; all are listed afterwards."""
MANY_TASKS = 20


class Quiet:
    """Shows nothing."""

    def progress(self, message: Progress) -> None: ...

    def failed(self, message: Failed) -> None: ...

    def said(self, message: Said) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self, summary: str = "") -> None: ...


class _Rates:
    """Runs per second, smoothed over a few seconds, and the time left."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._start = self._at
        self._done: int | None = None
        self._rate = 0.0

    def update(self, done: int) -> None:
        now = time.monotonic()
        if self._done is None:  # what had ended before is no speed
            self._at, self._done = now, done
        if now - self._at < 0.2:
            return
        fresh = (done - self._done) / (now - self._at)
        weight = min(1.0, (now - self._at) / 3.0) if self._rate else 1.0
        self._rate += weight * (fresh - self._rate)
        self._at, self._done = now, done

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def rate(self) -> str:
        if self._rate <= 0:
            return ""
        return f"{self._rate:,.0f}/s" if self._rate >= 10 else f"{self._rate:.1f}/s"

    def left(self, remaining: int) -> str:
        return duration(remaining / self._rate) if self._rate > 0 and remaining else ""


def duration(seconds: float) -> str:
    """`7 s`, `3:05`, `2:04:09`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def spoken(message: Said) -> str:
    """What a task said, in a line."""
    return f"{logging.getLevelName(message.level).lower()}: {message.text} (run {run_id(message.home, message.run)})"


def ended(row: TaskProgress) -> int:
    """Runs of a task that have ended, however. Those reused are among those done."""
    return row.done + row.failed + row.skipped + row.cancelled


class Plain:
    """Lines of text: the state every few seconds, failures at once."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._rates = _Rates()
        self._next = time.monotonic() + PLAIN_SECONDS
        self._last: Progress | None = None
        self._failures = 0

    def progress(self, message: Progress) -> None:
        self._last = message
        self._rates.update(sum(map(ended, message.tasks)))
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            self.note(self._line(message))

    def failed(self, message: Failed) -> None:
        self._failures += 1
        if self._failures <= SHOWN_FAILURES:
            self.note(
                f"failed: {message.task} (run {run_id(message.home, message.run)}): {message.kind}: {message.message}"
            )
        elif self._failures == SHOWN_FAILURES + 1:
            self.note("more runs failed; the report at the end counts them")

    def said(self, message: Said) -> None:
        self.note(spoken(message))

    def note(self, text: str) -> None:
        print(f"tidemill: {text}", file=self._stream, flush=True)

    def close(self, summary: str = "") -> None:
        if self._last is not None:
            self.note(f"{self._line(self._last, rate=False)}, {duration(self._rates.elapsed)}{summary}")

    def _line(self, message: Progress, *, rate: bool = True) -> str:
        total = sum(r.total for r in message.tasks)
        done = sum(map(ended, message.tasks))
        words = [f"{self._name}: {done:,} of {total:,} runs ended"]
        for word in ("reused", "failed", "skipped", "cancelled"):
            if n := sum(getattr(r, word) for r in message.tasks):
                words.append(f"{n:,} {word}")
        if rate and (speed := self._rates.rate()):
            words.append(speed)
        return ", ".join(words)


class Live:
    """A table that is redrawn in place, one line per task."""

    def __init__(self, stream: TextIO, name: str) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(file=stream, highlight=False)
        self._name = name
        self._rates: dict[int, _Rates] = {}
        self._all = _Rates()
        self._last: Progress | None = None
        self._failures = 0
        self._live = RichLive(console=self._console, refresh_per_second=8, transient=False)
        self._live.start()

    def progress(self, message: Progress) -> None:
        self._last = message
        self._all.update(sum(map(ended, message.tasks)))
        for row in message.tasks:
            self._rates.setdefault(row.task, _Rates()).update(ended(row))
        self._live.update(self._table(message))

    def failed(self, message: Failed) -> None:
        from rich.text import Text

        self._failures += 1
        if self._failures > SHOWN_FAILURES:
            return
        line = Text("✗ ", style="bold red")
        line.append(f"{message.task} ", style="bold")
        line.append(f"run {run_id(message.home, message.run)}: {message.kind}: {message.message}")
        self._console.print(line)

    def said(self, message: Said) -> None:
        self.note(spoken(message))

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def close(self, summary: str = "") -> None:
        if self._last is not None:
            self._live.update(self._table(self._last))
        self._live.stop()
        if summary:
            self._console.print(summary, markup=False)

    def _table(self, message: Progress) -> "Table":
        from rich.table import Table

        shown = _most_telling(message.tasks, max(1, min(MANY_TASKS, self._console.height - 5)))
        rows = [_Line(row.name, row, _cells(row, self._rates[row.task])) for row in shown]
        if len(message.tasks) > len(shown):
            rows.append(_Line(f"… {len(message.tasks) - len(shown)} more", None, [""] * len(_COLUMNS)))
        if len(message.tasks) > 1:
            total = _sum(message.tasks)
            rows.append(_Line("all", total, _cells(total, self._all, total=True)))
        names = max([12, len(self._name), *(len(r.name) for r in rows)])
        # what a terminal echoes for Ctrl-C must not wrap
        columns, bar = _fitting(rows, self._console.width - 4 - names)
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        table.add_column(self._name, no_wrap=True, min_width=12, header_style="bold")
        if bar >= _LEAST_BAR:
            table.add_column("", width=bar)
        for i, width in columns.items():
            table.add_column(_COLUMNS[i], justify="right", no_wrap=True, min_width=width)
        for row in rows:
            cells = [_styled(_COLUMNS[i], row.cells[i]) for i in columns]
            drawn = [_bar(row.counts, bar)] if bar >= _LEAST_BAR else []
            table.add_row(row.name, *drawn, *cells, style="bold" if row.name == "all" else None)
        return table


_COLUMNS = ("ended", "of", "reused", "running", "failed", "skipped", "rate", "left")
_RARE = ("reused", "failed", "skipped")
"""Columns that are shown once there is something in them."""
_SPARED = ("rate", "left", "running")
"""Columns that are left out, in this order, where there is no room for them."""
_BAR, _LEAST_BAR = 24, 6


class _Line(NamedTuple):
    name: str
    counts: TaskProgress | None
    cells: list[str]


def _fitting(rows: list[_Line], room: int) -> tuple[dict[int, int], int]:
    """The widths of the columns (by number) that are shown beside the names, and what is left for a bar."""
    found = {
        i: max([len(name), *(len(r.cells[i]) for r in rows)])
        for i, name in enumerate(_COLUMNS)
        if name not in _RARE or any(r.cells[i] for r in rows)
    }
    for name in _SPARED:
        if sum(found.values()) + 2 * len(found) > room:
            del found[_COLUMNS.index(name)]
    return found, min(_BAR, room - sum(found.values()) - 2 * len(found) - 2)


def _most_telling(rows: list[TaskProgress], most: int) -> list[TaskProgress]:
    """At most so many, in order: rather those of which something is left to do."""
    if len(rows) <= most:
        return rows
    order = sorted(range(len(rows)), key=lambda i: ended(rows[i]) >= rows[i].total)
    return [rows[i] for i in sorted(order[:most])]


def _cells(row: TaskProgress, rates: _Rates, *, total: bool = False) -> list[str]:
    """What stands in the columns; behind a total that is over, how long it took."""
    done = ended(row)
    over = done >= row.total
    return [
        f"{done:,}",
        f"{row.total:,}",
        _number(row.reused),
        _number(row.running),
        _number(row.failed),
        _number(row.skipped + row.cancelled),
        "" if over else rates.rate(),
        duration(rates.elapsed) if over and total else rates.left(row.total - done),
    ]


def _bar(row: TaskProgress | None, width: int) -> "ProgressBar | str":
    from rich.progress_bar import ProgressBar

    if row is None:
        return ""
    style = "green" if not row.failed else "red"
    return ProgressBar(max(1, row.total), ended(row), width=width, finished_style=style)


def _styled(column: str, cell: str) -> "Text":
    from rich.text import Text

    return Text(cell, style="bold red" if column == "failed" else "")


def _number(n: int) -> str:
    return f"{n:,}" if n else ""


def _sum(rows: list[TaskProgress]) -> TaskProgress:
    names = ("total", "done", "reused", "running", "failed", "skipped", "cancelled")
    return TaskProgress(0, "all", *[sum(getattr(r, n) for r in rows) for n in names])


Display = Quiet | Plain | Live


def display(name: str, progress: bool | None) -> Display:
    """The display that fits: nothing if `progress` is False, a live table on a terminal, plain lines elsewhere."""
    if progress is False:
        return Quiet()
    stream = sys.stderr
    smart = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI")
    return Live(stream, name) if smart else Plain(stream, name)
