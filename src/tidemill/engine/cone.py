"""Cones: what follows from runs and data, and therefore needs a new generation when they get one."""

import msgspec

from tidemill.engine import flags, gathers, reopen
from tidemill.engine.turn import Turn
from tidemill.model.states import RunState
from tidemill.stores.state import blocks, data, edges, runs, supersedes
from tidemill.stores.state import gathers as gather_rows
from tidemill.stores.state.gathers import Gather
from tidemill.stores.state.runs import Run

_LEFT_ALONE = (RunState.DELETED,)


class Cone(msgspec.Struct, eq=False):
    """What is to be superseded.

    Attributes:
        runs: to be made again.
        forced: those of them that execute whatever is known.
        grown: what runs of the cone grew; made again by their own growth, if that comes to it.
        gathers: collections, with their states.
        promised: data that were promised as others of the cone.
        outs: data that stand for the ends of blocks, with their blocks.
        stale: data without a value that runs of the cone name, with their newest generation.
    """

    runs: dict[int, Run] = {}
    forced: set[int] = msgspec.field(default_factory=set)
    grown: dict[int, Run] = {}
    gathers: dict[int, tuple[Gather, int]] = {}
    promised: dict[int, int] = {}
    outs: dict[int, int] = {}
    stale: dict[int, int] = {}

    def data(self, turn: Turn) -> set[int]:
        """All data of the cone that get successors."""
        made = {r.out + p for r in self.runs.values() for p in range(turn.engine.ports(r.task))}
        return made | self.gathers.keys() | self.promised.keys() | self.outs.keys()


def find(
    turn: Turn,
    roots: list[Run],
    collected: list[int],
    outs: dict[int, int],
    *,
    forced: set[int] | None = None,
    aside: list[Run] | None = None,
    made: list[int] | None = None,
) -> Cone:
    """Everything that follows from runs, collections and ends of blocks, and what has to be made again for it.

    Args:
        forced: which of the roots execute whatever is known.
        aside: runs that are superseded in another way, and are not followed.
        made: data from which else to start.
    """
    search = _Search(turn, Cone(forced=set(forced or ())))
    search.drop(aside or [])
    search.add_runs(roots)
    search.add_gathers(collected)
    search.add_outs(outs)
    search.frontier += made or []
    search.close()
    return search.cone


class _Search:
    """Breadth first from a frontier of data."""

    def __init__(self, turn: Turn, cone: Cone) -> None:
        self.turn = turn
        self.cone = cone
        self.frontier: list[int] = []
        self._blocks: set[int] = set()

    def close(self) -> None:
        """Follow until nothing is added any more."""
        looked: set[int] = set()
        collected: set[int] = set()
        while True:
            self._follow()
            fresh = sorted(self.cone.runs.keys() - looked)
            gathers = sorted(self.cone.gathers.keys() - collected)
            if not fresh and not gathers:
                return
            looked.update(fresh)
            collected.update(gathers)
            wanted = {datum for _, _, datum, state in edges.inputs(self.turn.db, fresh) if state is not None}
            wanted.update(d for g in gathers for d in _members(self.turn, g))
            makers = unavailable(self.turn, sorted(wanted - self.cone.data(self.turn)))
            self.cone.stale.update(makers.stale)
            self.cone.forced |= {r.id for r in makers.runs}
            self.add_runs(makers.runs)
            self.add_gathers(makers.gathers)

    def _follow(self) -> None:
        db = self.turn.db
        while self.frontier:
            found, self.frontier = sorted(set(self.frontier)), []
            found += self._stand_ins(found)
            consumers = {run for _, run, _ in edges.consumers(db, found)}
            self.add_runs(list(runs.get(db, sorted(consumers - self.cone.runs.keys())).values()))
            self.add_gathers(sorted({g for g, _, _ in gather_rows.containing(db, found)}))
            for link in self._promised(found):
                if link.datum not in self.cone.promised and link.run not in self.cone.runs:
                    self.cone.promised[link.datum] = link.target
                    self.frontier.append(link.datum)

    def _promised(self, found: list[int]) -> list[data.Forward]:
        """Promises that hold: those of a run that was superseded have been made anew, by its next generation."""
        links = data.promised_as(self.turn.db, found)
        owners = runs.get(self.turn.db, sorted({link.run for link in links})) if links else {}
        return [link for link in links if not owners[link.run].flags & flags.SUPERSEDED]

    def _stand_ins(self, found: list[int]) -> list[int]:
        """Data that stand in for some of these already, because what they were promised as was superseded before."""
        newest: dict[int, int] = {}
        wanted = {d: d for d in found}
        while wanted:
            succeeded = supersedes.successors(self.turn.db, sorted(wanted))
            wanted = {new: wanted[old] for old, new in succeeded.items()}
            newest.update({first: new for new, first in wanted.items()})
        last = {new: first for first, new in newest.items() if new not in self.cone.promised}
        self.cone.promised.update(last)
        return sorted(last)

    def add_runs(self, rows: list[Run]) -> None:
        known = self.cone.runs
        new = [r for r in rows if _may_be_renewed(r) and r.id not in known and r.id not in self.cone.grown]
        for r in new:
            if r.id in self.cone.grown:
                continue  # by one before it
            known[r.id] = r
            self.frontier += range(r.out, r.out + self.turn.engine.ports(r.task))
            if r.flags & flags.GREW:
                self._drop_growth(r.id)
        self._add_blocks({r.block for r in new} - self._blocks)

    def _drop_growth(self, run: int) -> None:
        """What a run of the cone grew: superseded with it, and not followed apart from it."""
        self.drop(below(self.turn, run))

    def drop(self, rows: list[Run]) -> None:
        """Runs that are superseded in another way."""
        for row in rows:
            self.cone.grown[row.id] = row
            self.cone.runs.pop(row.id, None)
        self._add_blocks({r.block for r in rows} - self._blocks)

    def _add_blocks(self, ids: set[int]) -> None:
        """Blocks in which something is made again end again: who waited for their (complete) end follows."""
        if not ids:
            return
        rows = reopen.upwards(self.turn, ids)
        self._blocks |= rows.keys()
        ends = {row.out: row.id for row in rows.values() if row.out is not None}
        complete = {d for d, s in data.states(self.turn.db, sorted(ends)).items() if s == data.COMPLETE}
        self.add_outs({d: ends[d] for d in complete})

    def add_outs(self, outs: dict[int, int]) -> None:
        new = {d: b for d, b in outs.items() if d not in self.cone.outs}
        self.cone.outs.update(new)
        self.frontier += new

    def add_gathers(self, ids: list[int]) -> None:
        new = [g for g in ids if g not in self.cone.gathers]
        followed = supersedes.successors(self.turn.db, new) if new else {}
        for g in new:
            found = gather_rows.get(self.turn.db, g)
            if found is not None and g not in followed:
                self.cone.gathers[g] = found
                self.frontier.append(g)
                self._add_blocks({found[0].block} - self._blocks)


def below(turn: Turn, run: int) -> list[Run]:
    """All runs in the blocks that a run grew, those superseded before apart."""
    found: list[Run] = []
    for owned in blocks.all_owned_by(turn.db, run):
        found += inside(turn, owned)
    return found


def inside(turn: Turn, block: int) -> list[Run]:
    """All runs in a block and below it, those superseded before apart."""
    tree = {b.id: b for b in blocks.subtree(turn.db, block)}
    found: list[int] = []
    spans = {blocks.span(turn.db, b) for b in tree.values()}
    for low, n in sorted(spans):
        found += [run for run, b in runs.blocks_between(turn.db, low, low + n) if b in tree]
    rows = runs.get(turn.db, found)
    return [rows[i] for i in found if not rows[i].flags & flags.SUPERSEDED]


class Makers(msgspec.Struct, eq=False):
    """What has to be made again so that inputs have values.

    Attributes:
        runs: to be executed again.
        gathers: collections to be collected anew.
        stale: inputs whose newest generation is to be taken instead.
        nobody: whether some of it nobody can make: its run was deleted, or superseded with the run that grew it.
    """

    runs: list[Run] = []
    gathers: list[int] = []
    stale: dict[int, int] = {}
    nobody: bool = False


def unavailable(turn: Turn, ids: list[int]) -> Makers:
    """Who makes those of these data that were there once and have no value any more."""
    makers = Makers()
    gone = _gone(turn, ids)
    owners: set[int] = set()
    while gone:
        further: list[int] = []
        stale = supersedes.latest(turn.db, [r.id for r in gone])
        makers.stale.update(stale)
        gone = [r for r in gone if r.id not in stale] + _gone(turn, sorted(set(stale.values())))
        collections = gather_rows.states(turn.db, [r.id for r in gone])
        for row in gone:
            if row.id in collections:
                # one that took the value of a member names the run that made that, for somebody else perhaps
                makers.gathers.append(row.id)
                further += _members(turn, row.id)
            elif row.run is None:
                makers.nobody = True
            else:
                owners.add(row.run)
                further += _members(turn, row.src) if row.kind == data.GATHER and row.src else []
        gone = _gone(turn, further)
    makers.runs = [r for r in runs.get(turn.db, sorted(owners)).values() if _may_be_renewed(r)]
    makers.nobody |= len(makers.runs) < len(owners)
    return makers


def _may_be_renewed(row: Run) -> bool:
    return not row.flags & flags.SUPERSEDED and row.state not in _LEFT_ALONE


def gone_inputs(turn: Turn, ids: list[int]) -> list[data.Datum]:
    """Inputs of these runs that were there once and have no value any more."""
    return _gone(turn, sorted({datum for _, _, datum, state in edges.inputs(turn.db, ids) if state is not None}))


def _gone(turn: Turn, ids: list[int]) -> list[data.Datum]:
    rows = list(data.get(turn.db, ids, values=False).values()) if ids else []
    sources = data.states(turn.db, sorted({r.src for r in rows if r.src}))
    return [
        r for r in rows if r.state in data.GONE or (r.state == data.COMPLETE and sources.get(r.src or 0) in data.GONE)
    ]


def _members(turn: Turn, gather: int) -> list[int]:
    return [row[0] for s in gather_rows.stretches(turn.db, gather) for row in gathers.span(turn, s.lo, s.n, s.step)]


def hollow(turn: Turn, run: int) -> list[int]:
    """Complete collections among a run's inputs, and among their members at any depth, that have members without a
    value, or such collections in them.
    """
    wanted = [datum for _, port, datum, state in edges.inputs(turn.db, [run]) if state == data.COMPLETE and port >= 0]
    found: set[int] = set()
    _lacking(turn, wanted, found)
    return sorted(found)


def _lacking(turn: Turn, ids: list[int], found: set[int]) -> bool:
    """Whether any of these data is a complete collection that lacks a value; all those, at any depth, are `found`."""
    rows = data.get(turn.db, ids, values=False).values()
    any_lacks = False
    for collection in sorted({r.src or r.id for r in rows if r.kind == data.GATHER and r.state == data.COMPLETE}):
        members = _members(turn, collection)
        inner = _lacking(turn, members, found)
        if inner or _gone(turn, members):
            found.add(collection)
            any_lacks = True
    return any_lacks
