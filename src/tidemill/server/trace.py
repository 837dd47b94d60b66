"""Where the engine's time goes: every transaction and its statements, as JSON lines, when TIDEMILL_TRACE names a file.

A line with `statement` gives a statement's number; a line with `transaction` says how long one took, when it began
(monotonic seconds), how long after the one before, and per statement [number, calls, rows, seconds]. `begin` and
`commit` count as statements. Without the variable nothing of this is in place.
"""

import atexit
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tidemill.stores.state.database import Database, Many, Statement

VARIABLE = "TIDEMILL_TRACE"

_encode = msgspec.json.Encoder().encode


def attach(db: Database) -> None:
    """Time a database's transactions and statements if the environment asks for it."""
    path = os.environ.get(VARIABLE)
    if path:
        Trace(db, path)


class Trace:
    """Puts timed calls in place of a database's own.

    Args:
        db: from now on timed.
        path: the file; lines are appended, so several engines may share one.
    """

    def __init__(self, db: Database, path: str) -> None:
        self._file = open(path, "ab", buffering=1 << 16)  # noqa: SIM115 (open until the process ends)
        atexit.register(self._file.close)
        self._numbers: dict[str, int] = {}
        self._spent: dict[int, list[float]] = {}
        self._began = self._ended = time.monotonic()
        for name in ("rows", "run", "many"):
            setattr(db, name, self._statement(getattr(db, name)))
        for name in ("begin", "commit", "rollback"):
            setattr(db, name, self._border(getattr(db, name), name))

    def _statement(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(statement: Statement | Many, *values: Any) -> Any:
            start = time.monotonic()
            found = call(statement, *values)
            self._add(statement.sqlite, len(found) if isinstance(found, list) else found, time.monotonic() - start)
            return found

        return timed

    def _border(self, call: Callable[..., None], name: str) -> Callable[..., None]:
        def timed(**options: bool) -> None:
            start = time.monotonic()
            call(**options)
            end = time.monotonic()
            self._add(name, 0, end - start)
            if name == "begin":
                self._began = start
            else:
                self._write(end)

        return timed

    def _add(self, text: str, rows: int, seconds: float) -> None:
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._numbers)
            self._line({"statement": number, "text": text, "pid": os.getpid()})
        spent = self._spent.setdefault(number, [0, 0, 0.0])
        spent[0] += 1
        spent[1] += rows
        spent[2] += seconds

    def _write(self, end: float) -> None:
        spent = [[number, *values] for number, values in self._spent.items()]
        times = {"transaction": end - self._began, "at": self._began, "after": self._began - self._ended}
        self._line({**times, "pid": os.getpid(), "spent": spent})
        self._spent.clear()
        self._ended = end

    def _line(self, told: dict[str, Any]) -> None:
        self._file.write(_encode(told) + b"\n")
