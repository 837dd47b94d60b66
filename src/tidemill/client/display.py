"""Showing progress: a live table in a terminal or a notebook, plain lines elsewhere."""

import os
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from tidemill.model.ids import run_id
from tidemill.model.session import Failed, Progress, TaskProgress

if TYPE_CHECKING:
    from rich.table import Table

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""
SHOWN_FAILURES = 10
"""Failures shown while a workflow runs; all are listed afterwards."""
MANY_TASKS = 20


class Quiet:
    """Shows nothing."""

    def progress(self, message: Progress) -> None: ...

    def failed(self, message: Failed) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self, summary: str = "") -> None: ...


class _Rates:
    """Runs per second, smoothed over a few seconds, and the time left."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._start = self._at
        self._done = 0
        self._rate = 0.0

    def update(self, done: int) -> None:
        now = time.monotonic()
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

        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        table.add_column(self._name, no_wrap=True, min_width=12, header_style="bold")
        table.add_column("", width=24)
        columns = ("ended", "of", "reused", "running", "failed", "skipped", "rate", "left")
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        shown = message.tasks[:MANY_TASKS]
        for row in shown:
            table.add_row(*self._row(row, self._rates[row.task]))
        if len(message.tasks) > 1:
            table.add_row(*self._row(_sum(message.tasks), self._all, name="all"), style="bold")
        return table

    def _row(self, row: TaskProgress, rates: _Rates, name: str = "") -> list[Any]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        done = ended(row)
        bar = ProgressBar(max(1, row.total), done, width=24, finished_style="green" if not row.failed else "red")
        failed = Text(f"{row.failed:,}", style="bold red") if row.failed else ""
        over = done >= row.total
        return [
            name or row.name,
            bar,
            f"{done:,}",
            f"{row.total:,}",
            _number(row.reused),
            _number(row.running),
            failed,
            _number(row.skipped + row.cancelled),
            "" if over else rates.rate(),
            duration(rates.elapsed) if over and name else rates.left(row.total - done),
        ]


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
