"""What is shown while a workflow runs."""

import io
import re

import pytest
from rich.console import Console

from tidemill.client.display import MANY_TASKS, Live, Plain
from tidemill.model.session import Failed, Progress, Said, TaskProgress


def task(number: int, total: int, done: int = 0, failed: int = 0, name: str = "") -> TaskProgress:
    return TaskProgress(number, name or f"task{number}", total, done, 0, 0, failed, 0, 0)


def drawn(live: Live, width: int, *tasks: TaskProgress) -> list[str]:
    """The lines of the table in a terminal of this width."""
    live._console = Console(file=io.StringIO(), width=width, height=30)
    for row in tasks:
        live._rates.setdefault(row.task, live._all)
    out = Console(file=io.StringIO(), width=width)
    out.print(live._table(Progress(1, 0, list(tasks))))
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.fixture
def live() -> Live:
    found = Live(io.StringIO(), "campaign")
    found._live.stop()
    return found


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_numbers_are_whole_whatever_the_width(live: Live, width: int) -> None:
    lines = drawn(live, width, task(1, 1_000_000, 999_999), task(2, 1_000_000, 123_456, 77_777))
    assert not any("…" in line for line in lines)
    assert all(len(line) < width for line in lines), "room for what the terminal echoes"
    rate = ["rate", "left"] * (width > 60)
    assert lines[0].split() == ["campaign", "ended", "of", "running", "failed", *rate]
    assert re.fullmatch(r"all [ ━╸╺]* 1,201,232 +2,000,000 +77,777", lines[-1])
    assert ("━" in lines[1]) == (width > 60)


def test_columns_appear_when_there_is_something_in_them(live: Live) -> None:
    assert drawn(live, 100, task(1, 5, 1))[0].split() == ["campaign", "ended", "of", "running", "rate", "left"]
    assert "failed" in drawn(live, 100, task(1, 5, 1, 1))[0]


def test_nothing_is_submitted_yet(live: Live) -> None:
    assert len(drawn(live, 100)) == 1


def test_of_many_tasks_those_are_shown_that_have_something_left(live: Live) -> None:
    tasks = [task(i, 10, 10 if i < 30 else 0) for i in range(40)]
    lines = drawn(live, 100, *tasks)
    assert len(lines) == 1 + MANY_TASKS + 2
    assert [line.split()[0] for line in lines[11:21]] == [f"task{i}" for i in range(30, 40)]
    assert lines[-2].split()[:3] == ["…", "20", "more"]
    assert lines[-1].split()[0] == "all"


def test_plain_lines_say_what_ended_and_what_failed() -> None:
    stream = io.StringIO()
    plain = Plain(stream, "campaign")
    plain.failed(Failed(1, 7, "task1", "ValueError", "no", 3))
    plain.progress(Progress(1, 0, [task(1, 10, 8, 1), task(2, 5)]))
    plain.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "tidemill: failed: task1 (run 3.7): ValueError: no"
    assert lines[1].startswith("tidemill: campaign: 9 of 15 runs ended, 1 failed, ")


def test_what_tasks_say_stands_above_the_counters() -> None:
    stream = io.StringIO()
    shown = Plain(stream, "flow")
    shown.said(Said(1, 5, 2, 0.0, 30, "it is [hot]"))
    assert stream.getvalue() == "tidemill: warning: it is [hot] (run 2.5)\n"
