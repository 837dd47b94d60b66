"""Edges from data to the runs that wait for them. Port 0… is an input number; negative ports only order."""

from tidemill.stores.state.database import Column, Database, Row, Statement, insert
from tidemill.stores.state.runs import SUPERSEDED

_INSERT = insert("edge", "run:i port:i datum:i")
_CONSUMERS = Statement(
    "select e.datum, e.run, e.port from {ids} cross join edge e on e.datum = j.value limit ?",
    "select e.datum, e.run, e.port from {ids} join edge e on e.datum = j.value order by e.run limit ?",
)
_OF_RUNS = Statement("select e.run, e.port, e.datum from {ids} {join} edge e on e.run = j.value")
_LIVE_CONSUMER = Statement(
    "select e.datum, e.run from {ids} {join} edge e on e.datum = j.value {join} run r on r.id = e.run "
    "where r.state in (0, 9) limit 1"
)
_UNFINISHED_CONSUMER = Statement(
    "select e.datum, e.run from {ids} {join} edge e on e.datum = j.value {join} run r on r.id = e.run "
    f"where r.state in (0, 4, 5, 6, 9) and r.flags & {SUPERSEDED} = 0 limit 1"
)
_INTO = Statement("select distinct datum from edge where datum >= ? and datum < ?")
_ENDED_OF = Statement(
    "select e.run, e.port, e.datum, d.state from {ids} {join} edge e on e.run = j.value "
    "left join datum d on d.id = e.datum"
)
_PENDING_OF = Statement(
    "select e.run, count(*) from {ids} {join} edge e on e.run = j.value left join datum d on d.id = e.datum "
    "where d.state is null or d.state = 1 group by 1"
)


def add(db: Database, runs: Column, ports: Column, data: Column) -> None:
    """Insert edges; `runs` ascending."""
    db.many(_INSERT, runs, ports, data)


def consumers(db: Database, data: list[int], limit: int = -1) -> list[Row]:
    """(datum, run, port) of who waits for these data."""
    return db.rows(_CONSUMERS, db.ids(data), limit if limit >= 0 else 1 << 60)


def of_runs(db: Database, runs: list[int]) -> list[Row]:
    """(run, port, datum) of the inputs of runs."""
    return db.rows(_OF_RUNS, db.ids(runs))


def data_between(db: Database, low: int, high: int) -> list[int]:
    """Data with `low <= id < high` that some run names."""
    return [r[0] for r in db.rows(_INTO, low, high)]


def live_consumer(db: Database, data: list[int]) -> Row | None:
    """(datum, run) of a run that has not ended and that one of these data goes into, or None."""
    return db.one(_LIVE_CONSUMER, db.ids(data))


def unfinished_consumer(db: Database, data: list[int]) -> Row | None:
    """(datum, run) of a run that has not ended, or could be retried, and that one of these data goes into, or None."""
    return db.one(_UNFINISHED_CONSUMER, db.ids(data))


def inputs(db: Database, runs: list[int]) -> list[Row]:
    """(run, port, datum, state or None where it is pending) of all inputs of runs."""
    return db.rows(_ENDED_OF, db.ids(runs))


def pending(db: Database, runs: list[int]) -> dict[int, int]:
    """How many inputs of each run have not ended."""
    return dict(db.rows(_PENDING_OF, db.ids(runs)))
