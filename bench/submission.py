"""Submitting: a million runs by one sweep and by single calls; how long transactions take while workers are busy."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import limits
from measure import Row, Watch, flush_ms, fresh, main, p99
from statements import transactions
from stores import ask, execute
from work import grid, many, sweep

import tidemill as tm
from tidemill.client.connection import connect
from tidemill.client.display import Quiet
from tidemill.client.submission import Submission
from tidemill.graph import build

N = 1_000_000
WHILE = 100_000


def rows(directory: Path) -> Iterator[Row]:
    for name, call, edges in (("submit_sweep", many(N), 0), ("submit_calls", grid(N), 2)):
        bare = limits.submission(directory, N, edges)
        with fresh(directory) as place:
            watch = _submit(place, call)
        more = {"client_cpu_s": watch.client, "engine_cpu_s": watch.engine}
        yield Row(name, watch.seconds, bare, "s bare inserts", watch.others, flush_ms(directory), more)
    yield _tail(directory)


def _submit(place: Path, call: Any) -> Watch:
    """As `Store.submit` does it, but with no workers: until all of it is durable."""
    with Watch() as watch, tm.open(place) as store:
        plan = build(call)
        connection = connect(store.place, 0)
        try:
            submission = Submission(connection, Quiet())
            connection.welcome()
            submission.begin(plan, 0)
            submission.send(plan, lambda: store.objects)
            connection.ask("sync")
        finally:
            connection.close()
    assert ask(place, "select sealed from delta") == [(1,)], "not everything was stored"
    return watch


def _tail(directory: Path) -> Row:
    """The 99th percentile of the engine's transactions until the last chunk was stored, workers at work meanwhile."""
    bare = p99(limits.independent(directory, WHILE).transactions) * 1e3
    with fresh(directory) as place:
        trace = place / "trace"
        os.environ["TIDEMILL_TRACE"] = str(trace)
        try:
            watch = execute(place / "store", sweep(WHILE))
        finally:
            del os.environ["TIDEMILL_TRACE"]
        times = _while_submitting(trace)
    more = {"transactions": float(len(times)), "median_ms": sorted(times)[len(times) // 2] * 1e3}
    return Row("tail", p99(times) * 1e3, bare, "ms bare loop", watch.others, flush_ms(directory), more)


def _while_submitting(trace: Path) -> list[float]:
    found = list(transactions(trace))
    stored = [i for i, one in enumerate(found) if any(text.startswith("insert into run") for text in one.spent)]
    return [one.seconds for one in found[stored[0] : stored[-1] + 1]]


if __name__ == "__main__":
    main(rows)
