"""How things look: tables as text, in a terminal and in a notebook; durations, times and sizes in words."""

import html
import os
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TextIO

from tidemill.model.preview import duration, size_text

_STYLES = {
    "complete": "green", "error": "bold red", "failed": "bold red", "running": "cyan", "ready": "cyan", "open": "cyan",
    "skipped": "yellow", "cancelled": "yellow", "interrupted": "bold yellow", "waiting": "dim", "held": "yellow",
}  # fmt: skip


class Table:
    """Rows under headings.

    Args:
        heads: of the columns.
        rows: one cell per column; None and "" are empty, a number 0 too.
        numbers: columns that are aligned to the right.
    """

    def __init__(self, heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[int] = ()) -> None:
        self.heads = list(heads)
        self.rows = [[cell(c) for c in row] for row in rows]
        self.numbers = frozenset(numbers)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.heads, *self.rows, strict=True)]
        return "\n".join(self._line(row, widths) for row in [self.heads, *self.rows])

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            c.rjust(w) if i in self.numbers else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    def html(self, caption: str = "") -> str:
        """For a notebook."""
        title = f"<caption style='text-align:left'>{html.escape(caption)}</caption>" if caption else ""
        head = "".join(f"<th>{html.escape(h)}</th>" for h in self.heads)
        body = "".join(f"<tr>{''.join(self._html_cell(i, c) for i, c in enumerate(row))}</tr>" for row in self.rows)
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_cell(self, column: int, text: str) -> str:
        align = "right" if column in self.numbers else "left"
        return f"<td style='text-align:{align}'>{html.escape(text)}</td>"

    def print(self, stream: TextIO) -> None:
        """In colour on a terminal, plain elsewhere."""
        if not smart(stream):
            print(self, file=stream)
            return
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for i, head in enumerate(self.heads):
            table.add_column(head, justify="right" if i in self.numbers else "left")
        for row in self.rows:
            table.add_row(*(Text(c, style=_STYLES.get(c, "")) for c in row))
        Console(file=stream, highlight=False).print(table)


def smart(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can show colours."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in os.environ


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """`name  value` lines; empty values are left out."""
    shown = [(name, text) for name, value in pairs if (text := cell(value))]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in shown)


def html_fields(pairs: Iterable[tuple[str, object]]) -> str:
    """The same for a notebook."""
    return Table(["", ""], [(n, t) for n, t in pairs if cell(t)]).html()


def cell(value: object) -> str:
    """A value as it stands in a table."""
    if value is None or value is False or value == 0:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def span(seconds: float | None) -> str:
    """A duration that may not be known."""
    return "" if seconds is None else duration(seconds)


def moment(t: float | None) -> str:
    """A time since the epoch as local date and time."""
    return "" if not t else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t))


def memory(size: int | None) -> str:
    """Bytes in words, nothing where they are not known."""
    return size_text(size) if size else ""
