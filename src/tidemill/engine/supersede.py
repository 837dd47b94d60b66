"""A new generation: the runs of a cone get new runs and new data, in a new child block of each block that they lie in.

Nothing old is rewound: complete runs and data stay what they are; old runs that had not succeeded no longer count in
their blocks. Old edges lead to new ones where their data are made anew, and the key of each new run decides whether it
executes.
"""

from typing import NamedTuple

from tidemill.engine import cone as cones
from tidemill.engine import flags, forget, gathers, hubs, keys, reopen, serve, spread, stand, submit, wait
from tidemill.engine.cone import Cone
from tidemill.engine.submit import Layout
from tidemill.engine.turn import CANCELLED, FAILED, OPEN, SKIPPED, Turn
from tidemill.engine.void import void
from tidemill.model.delta import Chunk, GatherSpec, Members, RunFlag
from tidemill.model.events import Kind
from tidemill.model.states import BlockState, DatumState, RunState
from tidemill.stores.state import blocks, classes, data, edges, leases, memo, queues, runs, serves, supersedes
from tidemill.stores.state import gathers as gather_rows
from tidemill.stores.state.runs import Run

CHUNK = 1000
_HANDED_ON = RunFlag.NO_CACHE | RunFlag.SERVICE | RunFlag.EXTERNAL | RunFlag.PARTIAL | flags.SEVERAL_HUBS
_COUNTER: dict[int, int] = {RunState.ERROR: FAILED, RunState.SKIPPED: SKIPPED, RunState.CANCELLED: CANCELLED}
_COUNTER_OF: dict[int, int] = {
    DatumState.ERROR: FAILED, DatumState.SKIPPED: SKIPPED, DatumState.CANCELLED: CANCELLED,
}  # fmt: skip
"""Where runs count by their states, and invalid ones by those of their outputs."""


def supersede(turn: Turn, cone: Cone, *, data_map: dict[int, int] | None = None) -> dict[int, int]:
    """Give a cone its new generation; the new run of each old one.

    Args:
        data_map: new data for old ones, made otherwise.
    """
    if not (cone.runs or cone.gathers or cone.outs or cone.grown or data_map):
        return {}
    homes = {r.block for r in (*cone.runs.values(), *cone.grown.values())}
    homes |= {g.block for g, _ in cone.gathers.values()}
    reopened = reopen.reopen(turn, homes | set(cone.outs.values()))
    places = _open_places(turn, cone)
    numbers = _number(turn, cone, places, data_map or {})
    retire(turn, cone, numbers.runs)
    _insert(turn, cone, places, numbers)
    supersedes.add(turn.db, list(numbers.runs), list(numbers.runs.values()), supersedes.RUN)
    services = [i for i, r in cone.runs.items() if r.flags & RunFlag.SERVICE]
    if services:
        moved = [numbers.runs[i] for i in services]
        serves.move(turn.db, services, moved)
        serve.release(turn, moved)
    supersedes.add(turn.db, list(numbers.data), list(numbers.data.values()))
    for block in homes:
        turn.change(block, OPEN, 0)
    for hub in {turn.engine.facts(turn.db, b).hub for b in homes}:
        hubs.set_active(turn, hub, active=True)
    outdated = forget.Outdated()
    outdated.outs.update((d, b) for d, b in reopened.complete.items() if d not in cone.outs)
    forget.reset(turn, reopened.dead, outdated)
    renew(turn, outdated)
    return numbers.runs


def renew(turn: Turn, outdated: forget.Outdated) -> None:
    """Give what had consumed an end that no longer holds, and what followed from it, a new generation."""
    if not (outdated.runs or outdated.gathers or outdated.outs):
        return
    followed = supersedes.successors(turn.db, [*outdated.gathers, *outdated.outs])
    collected = [g for g in outdated.gathers if g not in followed]
    outs = {d: b for d, b in outdated.outs.items() if d not in followed}
    supersede(turn, cones.find(turn, list(outdated.runs.values()), collected, outs))


class Numbers(NamedTuple):
    """New ids for old ones: of runs, of runs' first outputs (by old run), and of data."""

    runs: dict[int, int]
    outs: dict[int, int]
    data: dict[int, int]


def _open_places(turn: Turn, cone: Cone) -> dict[int, Layout]:
    """A new child block for each block that has runs or collections of the cone."""
    engine = turn.engine
    runs_of: dict[int, list[Run]] = {}
    for r in cone.runs.values():
        runs_of.setdefault(r.block, []).append(r)
    outs_of: dict[int, int] = {}
    for g, _ in cone.gathers.values():
        outs_of[g.block] = outs_of.get(g.block, 0) + 1
    places: dict[int, Layout] = {}
    for home in sorted(runs_of.keys() | outs_of.keys()):
        mine = runs_of.get(home, [])
        row = blocks.get(turn.db, home)
        assert row is not None
        above = engine.facts(turn.db, home)
        n_out = sum(engine.ports(r.task) for r in mine) + outs_of.get(home, 0)
        block, run_lo = engine.reserve("block", 1), engine.reserve("run", len(mine))
        out_lo = engine.reserve("datum", n_out)
        generation = max(row.generation, blocks.last_generation(turn.db, home)) + 1
        head = (block, home, above.root, above.scope, above.hub, 0, generation, home, None, row.name, None)
        span = (run_lo, len(mine), out_lo, n_out, 0, 0, above.options, turn.now)
        blocks.add(turn.db, *[[v] for v in (*head, 0, 0, 0, 0, 0, 0, 0, *span)])
        turn.change(home, OPEN, +1)
        if row.state == BlockState.CLOSING:
            turn.stop.append((block, None))
        tasks = sorted({r.task for r in mine})
        cls = sorted({r.cls for r in mine})
        ports = [engine.ports(t) for t in tasks]
        places[home] = Layout(block, run_lo, out_lo, 0, above, tasks, ports, cls)
    return places


def _number(turn: Turn, cone: Cone, places: dict[int, Layout], given: dict[int, int]) -> Numbers:
    """New ids for the runs and the data of a cone."""
    numbers = Numbers({}, {}, dict(given))
    mapped = numbers.data
    next_run = {home: p.run_lo for home, p in places.items()}
    next_out = {home: p.out_lo for home, p in places.items()}
    for old in sorted(cone.runs):
        r = cone.runs[old]
        numbers.runs[old] = next_run[r.block]
        next_run[r.block] += 1
        numbers.outs[old] = next_out[r.block]
        for port in range(turn.engine.ports(r.task)):
            mapped[r.out + port] = next_out[r.block]
            next_out[r.block] += 1
    for g in sorted(cone.gathers):
        home = cone.gathers[g][0].block
        mapped[g] = next_out[home]
        next_out[home] += 1
    for out, block in cone.outs.items():
        if out not in given:  # else the next generation of the block has it
            mapped[out] = turn.engine.reserve("datum", 1)
        blocks.set_out(turn.db, block, None if out in given else mapped[out])
    for x in cone.promised:
        at, seen = x, set()
        while at not in mapped and at in cone.promised and at not in seen:
            seen.add(at)
            at = cone.promised[at]
        if at in mapped:
            mapped.setdefault(x, mapped[at])
    for old, new in cone.stale.items():
        mapped.setdefault(old, mapped.get(new, new))
    return numbers


# ---------------------------------------------------------------------------------------------- what was


def retire(turn: Turn, cone: Cone, run_map: dict[int, int]) -> None:
    """Old runs that have not ended are cancelled, those that had not succeeded no longer count; all are marked."""
    rows = [*cone.runs.values(), *cone.grown.values()]
    if rows:
        rows = list(runs.get(turn.db, [r.id for r in rows]).values())
        live = [r for r in rows if r.state in (runs.LIVE, runs.HELD)]
        if live:
            _end(turn, live)
        ends = data.states(turn.db, [r.out for r in rows if r.state == RunState.INVALID and r.cause is not None])
        for r in rows:
            what = _COUNTER.get(r.state, _COUNTER_OF.get(ends.get(r.out, 0)))
            if what is not None:
                turn.change(r.block, what, -1)
                turn.note_progress(what, [(r.block, r.task)], -1)
        armed = [r for r in rows if r.id in set(turn.arming)]
        _bury_quietly(turn, [(r.out + p, r.id, p, r.id) for r in armed for p in range(turn.engine.ports(r.task))])
        runs.set_flags(turn.db, [r.id for r in rows], [r.flags | flags.SUPERSEDED for r in rows])
        ids = [r.id for r in rows]
        turn.event(Kind.SUPERSEDED, ids, note=[run_map.get(i, 0) for i in ids])
        pending = [r for r in (*live, *armed) if r.id in cone.grown]
        followed = [(r.out + p, r.id, p) for r in pending for p in range(turn.engine.ports(r.task))]
        spread.bury(turn, [(d, run, p, int(DatumState.CANCELLED), run) for d, run, p in followed])
    for g, state in cone.gathers.values():
        if state == gather_rows.OPEN and gather_rows.end(turn.db, g.id, gather_rows.DEAD):
            _bury_quietly(turn, [(g.id, None, 0, 0)])
    grew = [r.out + p for r in rows if r.flags & flags.GREW for p in range(turn.engine.ports(r.task))]
    _break_promises(turn, sorted({*cone.promised, *grew}))


def _break_promises(turn: Turn, ids: list[int]) -> None:
    """Data that wait for what they were promised as wait no more; neither does who follows their runs."""
    links = data.promises(turn.db, ids)
    ended = data.states(turn.db, [f.datum for f in links])
    pending = [f for f in links if f.datum not in ended]
    if pending:
        data.set_open(turn.db, pending, is_open=False)
        turn.engine.forwards -= len(pending)
        spread.bury(turn, [(f.datum, f.run, f.port, int(DatumState.CANCELLED), f.run) for f in pending])
        owners = {f.run for f in pending}
        turn.ended += owners - data.runs_with_promises(turn.db, sorted(owners))


def _end(turn: Turn, live: list[Run]) -> None:
    """WAITING, READY, RUNNING, HELD -> CANCELLED, without telling anybody who is superseded too."""
    ids = [r.id for r in live]
    wanted = set(ids)
    wait.wait_again(turn, [r for r in wait.users(turn, live) if r.id not in wanted])
    held = leases.current(turn.db, ids)
    stand.drop(turn, [r for r in live if r.pending <= 0 and r.id not in held])
    turn.fresh = [r for r in turn.fresh if r.id not in wanted]
    now = void(turn, live, held)
    n = len(ids)
    runs.end(turn.db, ids, [int(RunState.CANCELLED)] * n, [r.attempt for r in now], ids)
    for kind in (queues.BACKOFF, queues.RESTORE):
        queues.cancel(turn.db, kind, ids)
    memo.leave(turn.db, ids)
    turn.engine.index.forget(ids)
    for r in live:
        turn.change(r.block, OPEN, -1)
        _bury_quietly(turn, [(r.out + p, r.id, p, r.id) for p in range(turn.engine.ports(r.task))])
    turn.ended += ids


def _bury_quietly(turn: Turn, rows: list[tuple[int, int | None, int, int]]) -> None:
    """(datum, run, port, cause) of data that nobody waits for any more."""
    n = len(rows)
    if n:
        datum, run, port, cause = zip(*rows, strict=True)
        state = [int(DatumState.CANCELLED)] * n
        data.bury(turn.db, datum, run, port, state, [data.VALUE] * n, [0] * n, [c or None for c in cause])


# ---------------------------------------------------------------------------------------------- what is to be


def _insert(turn: Turn, cone: Cone, places: dict[int, Layout], numbers: Numbers) -> None:
    for home, place in places.items():
        mine = [cone.runs[old] for old in sorted(cone.runs) if cone.runs[old].block == home]
        for at in range(0, len(mine), CHUNK):
            submit.expand(turn, place, _chunk(turn, cone, place, mine[at : at + CHUNK], numbers))
        several = [r.id for r in mine if r.flags & flags.SEVERAL_HUBS]
        pairs = [(numbers.runs[run], cls) for run, cls in classes.actions(turn.db, several)] if several else []
        if pairs:
            classes.act(turn.db, *zip(*pairs, strict=True))
    for home, place in places.items():
        specs = [
            GatherSpec(
                numbers.data[g.id] - place.out_lo,
                _members(turn, g.id, numbers.data),
                0,
                g.tolerate,
                g.need,
                bool(g.one),
            )
            for g, _ in (cone.gathers[i] for i in sorted(cone.gathers))
            if g.block == home
        ]
        if specs:
            submit.expand(turn, place, Chunk(0, 0, 0, [], b"", gathers=specs))
        turn.change(place.block, OPEN, 0)


def _chunk(turn: Turn, cone: Cone, place: Layout, mine: list[Run], numbers: Numbers) -> Chunk:
    """The new runs for some old ones of one block, in order."""
    task_of = {t: i for i, t in enumerate(place.tasks)}
    cls_of = {c: i for i, c in enumerate(place.classes)}
    inputs: dict[int, list[tuple[int, int, int | None]]] = {}
    for run, port, datum, state in edges.inputs(turn.db, [r.id for r in mine]):
        inputs.setdefault(run, []).append((port, datum, state))
    base, doubtful = _base_keys(turn, mine)
    bits = [
        (r.flags & _HANDED_ON)
        | (flags.FORCED if r.id in cone.forced else 0)
        | (RunFlag.NO_CACHE if r.id in doubtful else 0)
        for r in mine
    ]
    aside = turn.untold([datum for found in inputs.values() for _, datum, state in found if state is not None])
    edge_run, edge_port, edge_ref, pending = [], [], [], []
    for i, r in enumerate(mine):
        found = sorted(inputs.get(r.id, []))
        arrived = sum(1 for _, d, s in found if (s == data.COMPLETE or s in data.GONE) and d not in aside)
        pending.append(r.pending + arrived if r.flags & RunFlag.PARTIAL else len(found))
        edge_run += [i] * len(found)
        edge_port += [port for port, _, _ in found]
        edge_ref += [numbers.data.get(datum, datum) for _, datum, _ in found]
    return Chunk(
        first=numbers.runs[mine[0].id] - place.run_lo,
        first_output=numbers.outs[mine[0].id] - place.out_lo,
        task=[task_of[r.task] for r in mine],
        args=[bytes(r.args) for r in mine],
        keys=b"".join(base),
        pending=pending,
        cls=[cls_of[r.cls] for r in mine],
        flags=bits,
        edge_run=edge_run,
        edge_port=edge_port,
        edge_ref=edge_ref,
    )


def _base_keys(turn: Turn, mine: list[Run]) -> tuple[list[bytes], set[int]]:
    """Base keys, and runs whose recorded key does not agree with theirs: made otherwise, they are not looked up."""
    fed = {r.id for r in mine if r.flags & flags.HAS_INPUTS and not r.flags & RunFlag.PARTIAL}
    found: dict[int, list[data.InputRow]] = {}
    for row in data.inputs(turn.db, sorted(fed)):
        found.setdefault(row.run, []).append(row)
    number = dict.fromkeys(fed, 0)
    for run, port, _ in edges.of_runs(turn.db, sorted(fed)):
        number[run] += port >= 0
    base: list[bytes] = []
    doubtful: set[int] = set()
    for r in mine:
        final = r.state in (RunState.COMPLETE, RunState.INVALID) and r.flags & flags.HAS_INPUTS
        made = keys.base_key(turn.engine.spec(turn.db, r.task).digest, r.args) if final else bytes(r.key)
        base.append(made)
        inputs = found.get(r.id, [])
        # an input without a row had ended without a value, and is pending again
        whole = final and inputs and len(inputs) == number[r.id]
        if whole and keys.final_key(made, r.flags, inputs) != bytes(r.key):
            doubtful.add(r.id)
    return base, doubtful


def _members(turn: Turn, gather: int, mapped: dict[int, int]) -> tuple[Members, ...]:
    """The members of a collection in their newest generation."""
    ids = [
        mapped.get(i, i)
        for s in gather_rows.stretches(turn.db, gather)
        for i in range(s.lo, s.lo + s.n * s.step, s.step)
    ]
    return tuple(Members(*p) for p in gathers.progressions(ids))
