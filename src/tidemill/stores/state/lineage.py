"""Lineage: what came before runs and data, and what came after them; one recursive query either way.

A *node* is one integer: a run by its id, a datum by its id with a minus sign. Plain data are no nodes of their own: a
step leads from a run to the run that made what it used, through aliases to the one that really executed. Lists, and
data that have not ended, stand for themselves on the way.

A step is written once, as (expression, tables, condition) over the nodes `a(n)`, and used in the recursive query and
for a single hop. SQLite takes several recursive terms, PostgreSQL one with a lateral join.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tidemill.stores.state import files
from tidemill.stores.state.database import Database, Row, Statement

Term = tuple[str, str, str]

_WIDTHS = 4096
_LEVELS = 64

_MADE_BY = "case when d.src is not null then coalesce(s.run, -s.id) else coalesce(d.run, -{datum}) end"
_OWNER = (
    "(with recursive up(parent, owner) as (select b.parent, b.owner from block b where b.id = r.block union all "
    "select p.parent, p.owner from up {join} block p on p.id = up.parent where up.owner is null) "
    "select owner from up where owner is not null limit 1)"
)
"""The run that grew the block of `r`, or the next one around it that was grown."""

_UP_INPUTS: Term = (
    _MADE_BY.format(datum="e.datum"),
    "edge e left join datum d on d.id = e.datum left join datum s on s.id = d.src",
    "a.n > 0 and e.run = a.n",
)
_UP_DATUM: Term = (
    _MADE_BY.format(datum="d.id"),
    "datum d left join datum s on s.id = d.src",
    "a.n < 0 and d.id = -a.n and d.kind = 1",
)
_UP_ALIAS: Term = ("-d.src", "datum d", "a.n < 0 and d.id = -a.n and d.kind <> 1 and d.src is not null")
_UP_MEMBERS: Term = (
    _MADE_BY.format(datum="d.id"),
    "member m cross join datum d left join datum s on s.id = d.src",
    "a.n < 0 and m.gather = -a.n and d.id >= m.lo and d.id <= m.lo + (m.n - 1) * m.step and (d.id - m.lo) % m.step = 0",
)
_UP_FORWARD: Term = ("-f.target", "forward f", "a.n < 0 and f.datum = -a.n")
_UP_GROWER: Term = (_OWNER, "run r", f"a.n > 0 and r.id = a.n and {_OWNER} is not null")

_OUTPUT = "p.k < coalesce((select w.n from wide w where w.task = r.task), 1)"
_HOLDS = (
    "m.level = v.level and m.lo <= {x} and m.lo > {x} - v.reach and {x} <= m.lo + (m.n - 1) * m.step "
    "and ({x} - m.lo) % m.step = 0"
)
_DOWN_RUN: Term = (
    "e.run",
    "run r cross join port p cross join edge e",
    f"a.n > 0 and r.id = a.n and {_OUTPUT} and e.datum = r.out + p.k",
)
_DOWN_DATUM: Term = ("e.run", "edge e", "a.n < 0 and e.datum = -a.n")
_DOWN_RUN_LISTS: Term = (
    "-m.gather",
    "run r cross join port p cross join level v cross join member m",
    f"a.n > 0 and r.id = a.n and {_OUTPUT} and " + _HOLDS.format(x="(r.out + p.k)"),
)
_DOWN_LISTS: Term = ("-m.gather", "level v cross join member m", "a.n < 0 and " + _HOLDS.format(x="(-a.n)"))
_DOWN_RUN_FORWARDS: Term = (
    "-f.datum",
    "run r cross join port p cross join forward f",
    f"a.n > 0 and r.id = a.n and {_OUTPUT} and f.target = r.out + p.k",
)
_DOWN_FORWARDS: Term = ("-f.datum", "forward f", "a.n < 0 and f.target = -a.n")
_DOWN_GROWN: Term = (
    "g.id",
    "block b cross join run g",
    "a.n > 0 and b.owner = a.n and g.id >= b.run_lo and g.id < b.run_lo + b.run_n",
)

_ITS_USES = "u.fence = (select r.attempt from run r where r.id = u.run) and u.source > 0 and u.source <> u.run"
"""What the last attempt of a run read beside its inputs, and another run wrote."""
_UP_USED: Term = ("u.source", "used u", f"a.n > 0 and u.run = a.n and {_ITS_USES}")
_DOWN_USED: Term = ("u.run", "used u", f"a.n > 0 and u.source = a.n and {_ITS_USES}")

_PARAMETERS = {
    True: "",
    False: f"wide(task, n) as (select value / {_WIDTHS}, value % {_WIDTHS} from {{ids}}), "
    "port(k) as (select value from {ids}), "
    f"level(level, reach) as (select value % {_LEVELS}, value / {_LEVELS} from {{ids}}), ",
}


class Shape(NamedTuple):
    """What a store holds that lineage has to look at.

    Attributes:
        wide: tasks with other than one output, as (task, number of outputs).
        levels: see `stores.state.gathers`.
        grown: whether any run grew.
        aliased: whether any datum may be an alias.
        used: whether any run read files that others wrote beside their results.
    """

    wide: tuple[tuple[int, int], ...]
    levels: tuple[int, ...]
    grown: bool
    aliased: bool
    used: bool = False


def _terms(up: bool, order: bool, grown: bool, used: bool) -> list[Term]:
    if up:
        found = [_UP_INPUTS, _UP_DATUM, _UP_ALIAS, _UP_MEMBERS, _UP_FORWARD, *[_UP_GROWER] * grown, *[_UP_USED] * used]
    else:
        found = [_DOWN_RUN, _DOWN_DATUM, _DOWN_RUN_LISTS, _DOWN_LISTS, _DOWN_RUN_FORWARDS, _DOWN_FORWARDS]
        found += [_DOWN_GROWN] * grown + [_DOWN_USED] * used
    return found if order else [(e, t, f"{w} and e.port >= 0" if "edge e" in t else w) for e, t, w in found]


@functools.cache
def _everything(up: bool, order: bool, grown: bool, used: bool) -> Statement:
    """All nodes from some on, the nearest first."""
    terms = _terms(up, order, grown, used)
    head = f"with recursive {_PARAMETERS[up]}a(n) as (select value from {{ids}} union "
    sqlite = " union ".join(f"select {e} from a cross join {t} where {w}" for e, t, w in terms)
    lateral = " union all ".join(f"select {e} as n from {t} where {w}" for e, t, w in terms)
    tail = ") select n from a"
    return Statement(f"{head}{sqlite}{tail}", f"{head}select x.n from a cross join lateral ({lateral}) x{tail}")


@functools.cache
def _hop(up: bool, order: bool, grown: bool, used: bool) -> Statement:
    """The nodes one step from some."""
    steps = " union ".join(f"select {e} from a cross join {t} where {w}" for e, t, w in _terms(up, order, grown, used))
    return Statement(f"with {_PARAMETERS[up]}a(n) as (select value from {{ids}}) {steps}")


_GROWN = Statement("select 1 from block where owner is not null limit 1")
_ANY_USED = Statement("select exists (select 1 from used)")
_USES = Statement(
    "select distinct u.run, u.source from {ids} {join} used u on u.run = j.value "
    f"where {_ITS_USES} order by u.run, u.source"
)
_REUSED = Statement("select 1 from block where reused > 0 limit 1")
_ALL_LEVELS = Statement("select distinct level from member")
_ALIASES = Statement("select id, src from datum where src is not null and src in (select value from {ids})")
_SPANS = Statement("select id, run_lo, run_n, out_lo, out_n from block where run_n > 0 order by out_lo")
_OUT = Statement("select out from run where id = ?")
_INPUTS = Statement(
    "select e.run, e.port, e.datum, d.state, d.kind, d.size, d.src, d.digest, d.run, s.run "
    "from {ids} {join} edge e on e.run = j.value left join datum d on d.id = e.datum left join datum s on s.id = d.src "
    "order by e.run, e.port"
)
_MEMBERS = Statement(
    f"select m.gather, d.id, {_MADE_BY.format(datum='d.id')} from {{ids}} {{join}} member m on m.gather = j.value "
    "{join} datum d on d.id >= m.lo and d.id <= m.lo + (m.n - 1) * m.step and (d.id - m.lo) % m.step = 0 "
    "left join datum s on s.id = d.src order by m.gather, m.seq, d.id limit ?"
)
_HEADS = Statement(
    "select r.id, r.task, r.block, r.state, r.pending, r.flags, r.out, r.attempt, r.cause "
    "from {ids} {join} run r on r.id = j.value"
)
_OWNERS = Statement("select r.id, " + _OWNER + " from {ids} {join} run r on r.id = j.value")
_LISTS = Statement(
    "select g.id, g.block, g.state, g.members, g.pending, g.failed from {ids} {join} gather g on g.id = j.value"
)
_FORWARDS = Statement("select f.datum, f.target, f.run, f.port from {ids} {join} forward f on f.datum = j.value")


class Link(NamedTuple):
    """One input of a run, and what it leads to.

    Attributes:
        port: the input's number, negative if it only orders.
        state: of the datum; None while it is pending.
        src: the datum whose value it shares.
        made_by: the run whose output it is; None for lists and while it is pending.
        source: the run that made the value it shares.
    """

    run: int
    port: int
    datum: int
    state: int | None
    kind: int | None
    size: int | None
    src: int | None
    digest: bytes | None
    made_by: int | None
    source: int | None


class Span(NamedTuple):
    """Which runs and data belong to a block's delta."""

    block: int
    run_lo: int
    run_n: int
    out_lo: int
    out_n: int


class Head(NamedTuple):
    """A run without its arguments."""

    id: int
    task: int
    block: int
    state: int
    pending: int
    flags: int
    out: int
    attempt: int
    cause: int | None


class List(NamedTuple):
    """A collection's head."""

    id: int
    block: int
    state: int
    members: int
    pending: int
    failed: int


def shape(db: Database, widths: Iterable[tuple[int, int]]) -> Shape:
    """What to look at on the way down; `widths` are (task, number of outputs)."""
    grown = db.one(_GROWN) is not None
    levels = tuple(r[0] for r in db.rows(_ALL_LEVELS))
    aliased = grown or db.one(_REUSED) is not None
    return Shape(tuple(w for w in widths if w[1] != 1), levels, grown, aliased, _any_used(db))


def _any_used(db: Database) -> bool:
    row = db.one(_ANY_USED) if files.known(db) else None
    return bool(row and row[0])


def _parameters(db: Database, found: Shape) -> list[object]:
    widest = max((n for _, n in found.wide), default=1)
    reach = [((1 << level) + 1) * _LEVELS + level for level in found.levels]
    return [
        db.ids([task * _WIDTHS + n for task, n in found.wide]),
        db.ids(range(max(1, widest))),
        db.ids(reach),
    ]


def before(db: Database, nodes: Sequence[int], *, order: bool = False) -> list[int]:
    """These nodes and all that they come from, the nearest first.

    What leads to a datum that has not ended stops there, unless it is a list or was promised.
    """
    grown = db.one(_GROWN) is not None
    return [r[0] for r in db.rows(_everything(True, order, grown, _any_used(db)), db.ids(nodes))]


def after(db: Database, nodes: Sequence[int], found: Shape, *, order: bool = False) -> list[int]:
    """These nodes and all that come from them, the nearest first; aliases are left to `aliases`."""
    return [
        r[0]
        for r in db.rows(_everything(False, order, found.grown, found.used), *_parameters(db, found), db.ids(nodes))
    ]


def hop_before(db: Database, nodes: Sequence[int], *, order: bool = False) -> list[int]:
    """The nodes from which these come directly."""
    grown = db.one(_GROWN) is not None
    return [r[0] for r in db.rows(_hop(True, order, grown, _any_used(db)), db.ids(nodes))]


def hop_after(db: Database, nodes: Sequence[int], found: Shape, *, order: bool = False) -> list[int]:
    """The nodes that come directly from these, but for aliases."""
    return [r[0] for r in db.rows(_hop(False, order, found.grown, found.used), *_parameters(db, found), db.ids(nodes))]


def aliases(db: Database, data: Sequence[int]) -> list[Row]:
    """(datum, the one of these data whose value it shares)."""
    return db.rows(_ALIASES, db.ids(data))


def spans(db: Database) -> list[Span]:
    """Which runs and data belong to which delta, by `out_lo`."""
    return [Span._make(r) for r in db.rows(_SPANS)]


def first_output(db: Database, run: int) -> int | None:
    """The first output of a run, or None if there is no such run."""
    row = db.one(_OUT, run)
    return int(row[0]) if row else None


def inputs(db: Database, runs: Sequence[int]) -> list[Link]:
    """All inputs of runs, pending ones too, by run and port."""
    return [Link._make(r) for r in db.rows(_INPUTS, db.ids(runs))]


def heads(db: Database, runs: Sequence[int]) -> dict[int, Head]:
    """Runs without their arguments, by id."""
    return {r[0]: Head._make(r) for r in db.rows(_HEADS, db.ids(runs))}


def members(db: Database, lists: Sequence[int], limit: int) -> list[Row]:
    """(collection, member, node the member leads to) of the members that have ended, in order, at most `limit`."""
    return db.rows(_MEMBERS, db.ids(lists), limit)


def growers(db: Database, runs: Sequence[int]) -> dict[int, int]:
    """The run that grew each of these runs; those of a workflow itself are missing."""
    return {r: owner for r, owner in db.rows(_OWNERS, db.ids(runs)) if owner is not None}


def uses(db: Database, runs: Sequence[int]) -> list[Row]:
    """(run, the run that wrote a file which it read beside its inputs)."""
    return db.rows(_USES, db.ids(runs)) if _any_used(db) else []


def lists(db: Database, data: Sequence[int]) -> dict[int, List]:
    """Those of these data that are collections."""
    return {r[0]: List._make(r) for r in db.rows(_LISTS, db.ids(data))}


def forwards(db: Database, data: Sequence[int]) -> dict[int, int]:
    """What those of these data that were promised will be: target by datum."""
    return {r[0]: r[1] for r in db.rows(_FORWARDS, db.ids(data))}
