"""Hubs, classes and the ready runs that stand in them.

A claim looks at classes (hub, priority, weight, resources), of which there are few, and takes ready runs of a class in
the order of their ids. Changing a weight touches no run.
"""

from typing import NamedTuple

from tidemill.model.delta import ClassSpec
from tidemill.model.spec import Resources
from tidemill.stores.state.database import Column, Database, Row, Statement, delete, insert

_ADD_HUB = Statement("insert into hub(id, name, weight, active, block) values (?, ?, ?, ?, ?)")
_HUBS = Statement("select id, name, weight, active, block from hub order by id")
_SET_ACTIVE = Statement("update hub set active = ? where id = ?")
_SET_WEIGHT = Statement("update hub set weight = ? where id = ?")
_FIND = Statement(
    "select id from class where hub = ? and priority = ? and weight = ? and cpus = ? and memory = ? and disk = ? "
    "and walltime = ? and accelerators = ? and preemptible = ? and local = ? and service = ? order by id limit 1"
)
_ADD = Statement(
    "insert into class(id, hub, priority, weight, cpus, memory, disk, walltime, accelerators, preemptible, local, "
    "service) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CHANGE = Statement("update class set priority = ?, weight = ? where id = ?")
_CLASSES = Statement(
    "select id, hub, priority, weight, cpus, memory, disk, walltime, accelerators, preemptible, local, service "
    "from class order by id"
)
_GET = Statement(
    "select id, hub, priority, weight, cpus, memory, disk, walltime, accelerators, preemptible, local, service "
    "from class where id = ?"
)
_READY = insert("ready", "class:i run:i", ignore=True)
_COUNTS = Statement("select class, count(*) from ready group by class")
_STANDING = Statement("select c.id from class c where exists (select 1 from ready r where r.class = c.id)")
_FIRST = Statement("select run from ready where class = ? order by run limit ?")
_TAKE_PREFIX = Statement("delete from ready where class = ? and run <= ?")
_TAKE = Statement(
    "select run from ready where class = ? order by run limit ?",
    # materialized: the inner side of a join would be evaluated again for each row, and take others each time
    "with x as materialized (select class, run from ready where class = ? order by run limit ? {skip_locked}) "
    "delete from ready r using x where r.class = x.class and r.run = x.run returning r.run",
)
_DROP = delete("ready", "class = {class} and run = {run}", "class:i run:i")
_ACTION = insert("action", "run:i class:i", ignore=True)
_WITHDRAW = delete("action", "run = {run} and class = {class}", "run:i class:i")
_ACTIONS = Statement("select a.run, a.class from {ids} {join} action a on a.run = j.value")
_STANDS = Statement("select r.class, r.run from {ids} {join} ready r on r.class = ? and r.run = j.value")
_NOTIFY = Statement("select 1", "select pg_notify('tidemill_ready', '')")


class Class(NamedTuple):
    """A class: what ready runs in it have in common. See `model.spec.Resources`."""

    id: int
    hub: int
    priority: int
    weight: float
    cpus: float
    memory: int
    disk: int = 0
    walltime: float = 0.0
    accelerators: str = ""
    preemptible: int = 0
    local: int = 0
    service: int = 0

    @property
    def spec(self) -> ClassSpec:
        """The class without its id and hub."""
        return ClassSpec(
            self.priority,
            self.weight,
            Resources(
                self.cpus, self.memory, self.disk, self.accelerators, bool(self.preemptible), self.walltime,
                bool(self.local), service=bool(self.service),
            ),
        )  # fmt: skip


def made_of(cls: int, hub: int, spec: ClassSpec) -> Class:
    """A class of a hub."""
    r = spec.resources
    return Class(
        cls, hub, spec.priority, spec.weight, r.cpus, r.memory, r.disk, r.walltime, r.accelerators, int(r.preemptible),
        int(r.local), int(r.service),
    )  # fmt: skip


class Hub(NamedTuple):
    """A share of the workers' attention. An inactive hub keeps its ready runs and gives none out."""

    id: int
    name: str
    weight: float
    active: int
    block: int | None


def add_hub(db: Database, hub: int, name: str, weight: float, active: bool, block: int | None) -> None:
    db.run(_ADD_HUB, hub, name, weight, int(active), block)


def hubs(db: Database) -> list[Hub]:
    return [Hub._make(r) for r in db.rows(_HUBS)]


def set_active(db: Database, hub: int, active: bool) -> None:
    db.run(_SET_ACTIVE, int(active), hub)


def set_weight(db: Database, hub: int, weight: float) -> None:
    db.run(_SET_WEIGHT, weight, hub)


def find(db: Database, *what: object) -> int | None:
    """The id of the class with these columns, those of `Class` after its id, if it exists. Two engines may each add the
    same one; that does no harm.
    """
    row = db.one(_FIND, *what)
    return int(row[0]) if row else None


def get(db: Database, cls: int) -> Class | None:
    row = db.one(_GET, cls)
    return Class._make(row) if row else None


def add(db: Database, new: Class) -> None:
    db.run(_ADD, *new)


def change(db: Database, cls: int, priority: int, weight: float) -> None:
    """Another priority and weight for all runs of a class, none of which is touched."""
    db.run(_CHANGE, priority, weight, cls)


def every(db: Database) -> list[Class]:
    return [Class._make(r) for r in db.rows(_CLASSES)]


def stand(db: Database, classes: Column, runs: Column) -> None:
    """Put ready runs where claims find them."""
    db.many(_READY, classes, runs)


def counts(db: Database) -> dict[int, int]:
    """Ready runs per class."""
    return dict(db.rows(_COUNTS))


def standing(db: Database) -> list[int]:
    """Classes with at least one ready run."""
    return [r[0] for r in db.rows(_STANDING)]


def first(db: Database, cls: int, limit: int) -> list[int]:
    """The oldest ready runs of a class, at most `limit`; they stay where they are."""
    return [r[0] for r in db.rows(_FIRST, cls, limit)]


def take(db: Database, cls: int, limit: int) -> list[int]:
    """Take at most `limit` ready runs of a class, the oldest first. On PostgreSQL runs that another engine is taking
    are passed over.
    """
    if db.dialect == "postgres":
        return sorted(r[0] for r in db.rows(_TAKE, cls, limit))
    runs = [r[0] for r in db.rows(_TAKE, cls, limit)]
    if runs:
        db.run(_TAKE_PREFIX, cls, runs[-1])
    return runs


def drop(db: Database, classes: Column, runs: Column) -> int:
    """Take these runs off these classes, if they stand there."""
    return db.many(_DROP, classes, runs)


def act(db: Database, runs: Column, classes: Column) -> None:
    """Let runs stand in further classes, on other hubs."""
    db.many(_ACTION, runs, classes)


def withdraw(db: Database, runs: Column, classes: Column) -> None:
    db.many(_WITHDRAW, runs, classes)


def actions(db: Database, runs: list[int]) -> list[Row]:
    """(run, class) of the further classes of runs."""
    return db.rows(_ACTIONS, db.ids(runs))


def stand_in(db: Database, cls: int, runs: list[int]) -> list[int]:
    """Which of these runs stand ready in a class."""
    return [r[1] for r in db.rows(_STANDS, db.ids(runs), cls)]


def notify(db: Database) -> None:
    """Wake other engines; a hint, sent with the commit."""
    if db.dialect == "postgres":
        db.rows(_NOTIFY)


_SHARED = Statement("select 1", "select pg_advisory_xact_lock_shared(7413)")
_EXCLUSIVE = Statement("select 1", "select pg_advisory_xact_lock(7413)")


def lock_graph(db: Database, *, exclusive: bool) -> None:
    """Keep submission and completion of several engines apart until the transaction ends.

    A chunk whose edges name data of other transactions takes the lock alone; completions share it. So a datum is
    either seen as complete by the chunk that names it, or its completion sees the chunk's edges.
    """
    db.rows(_EXCLUSIVE if exclusive else _SHARED)
