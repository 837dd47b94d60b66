"""Random workflows and random commands, and what must come out once everything has been mended."""

import random
from typing import Any, NamedTuple

import msgspec

from tests.engine.tasks import total
from tidemill.engine import control, expire, external, hold, hubs, remove, rerun, revive, shares
from tidemill.engine.flags import SUPERSEDED
from tidemill.model.delta import RunFlag
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.protocol import Failure
from tidemill.model.states import BlockState, RunState
from tidemill.stores.state import blocks
from tidemill.stores.state.data import GATHER, GONE, VALUE
from tidemill.stores.state.database import Row
from tidemill.testing.engine import Crash, EngineDriver
from tidemill.testing.graphs import Graph, Slot, Task, stored

_BADLY = (RunState.ERROR, RunState.SKIPPED, RunState.CANCELLED)
decode = msgspec.msgpack.Decoder(Failure).decode
_ALL = {"on_error": "run", "on_skipped": "run", "on_cancelled": "run"}
_NONE = {"on_error": "fail", "on_skipped": "fail", "on_cancelled": "fail"}
LIMIT = 1000


class World:
    """Tasks, some of which fail until it is mended.

    Args:
        draw: decides who fails, and how long retries wait.
    """

    def __init__(self, draw: random.Random) -> None:
        self.broken = True
        self.draw = draw
        backoff = draw.choice([0.0, 1.0])
        self.tasks = [
            Task("number", lambda x: x),
            Task("pair", lambda x: [x, x + 1], outputs=2),
            Task("add", self.add),
            Task("anyway", self.add, options=dict(_ALL)),
            Task("strict", self.add, options=dict(_NONE)),
            Task("shaky", self.shaky, options={"retries": 1, "backoff": backoff}),
            Task("crashing", self.crashing),
            Task("grow", self.grow),
            Task("serve", self.serve, options={"retries": draw.choice([0, 2]), "backoff": backoff}),
        ]
        self._by_name = {t.name: t for t in self.tasks}

    def add(self, *args: Any) -> int:
        return total(list(args)) % LIMIT

    def shaky(self, *args: Any) -> int:
        if self.broken and (total(list(args)) * 7 + 3) % 5 < 2:
            raise ValueError("broken")
        return (total(list(args)) + 1) % LIMIT

    def crashing(self, *args: Any) -> int:
        if self.broken and self.draw.random() < 0.2:
            raise Crash("the worker dies")
        return self.add(*args)

    def serve(self, *args: Any) -> int:
        """What a service publishes, if it comes up."""
        if self.broken and self.draw.random() < 0.2:
            raise Crash("it does not come up") if self.draw.random() < 0.5 else ValueError("it does not come up")
        return self.add(*args)

    def grow(self, n: int) -> Graph:
        g = Graph(self._by_name)
        if n == 0:
            g.forwards = [g.run("number", 7)]
            return g
        legs = [g.run("number", n * 10 + i) for i in range(3)]
        inner = g.block("contained", contained=True) if n == 2 else g.block("around") if n == 3 else 0
        legs += [g.run("grow", n - 1, block=inner), g.run("shaky", legs[0], n, block=inner)]
        if n == 1:
            service = g.service("serve", legs[0])
            served = g.block("served", serves=service)
            legs.append(g.run("add", service, block=served, flags=RunFlag.NO_CACHE))
        if inner:
            legs.append(g.run("anyway" if n == 2 else "add", g.end(inner), n))
        g.forwards = [g.run("add", g.gather(legs, tolerate=n % 2))]
        return g

    def grown(self, n: int) -> int:
        """What `grow` comes to when nothing fails."""
        if n == 0:
            return 7
        rest = 1 + n if n > 1 else 10
        return (sum(n * 10 + i for i in range(3)) + self.grown(n - 1) + (n * 10 + n + 1) + rest) % LIMIT


class Drawn(NamedTuple):
    """A random graph, and the values of its results when nothing fails."""

    graph: Graph
    values: list[Any]


def draw_loose(world: World, graph: Graph, made: list[Slot]) -> None:
    """Runs and collections whose values depend on what comes first; nothing that is compared follows from them."""
    draw = world.draw
    loose: list[Slot] = []
    for _ in range(draw.randint(0, 4)):
        chosen = [draw.choice([*made, *loose]) for _ in range(draw.randint(2, 5))]
        kind = draw.random()
        if kind < 0.3:
            loose.append(graph.run("anyway", *chosen, need=draw.randint(1, len(chosen))))
        elif kind < 0.5:
            loose.append(graph.gather(chosen, one=True))
        elif kind < 0.7:
            loose.append(graph.gather(chosen, need=draw.randint(1, len(chosen))))
        elif kind < 0.85:
            loose.append(graph.run("add", *chosen, flags=RunFlag.NO_CACHE))
        else:
            loose.append(graph.run(draw.choice(["anyway", "strict"]), *chosen))


class Nest:
    """Blocks in blocks, some of them contained.

    Attributes:
        open: those that may get further runs; what waits for the end of a block must not be in it, nor before it.
    """

    def __init__(self, draw: random.Random, graph: Graph) -> None:
        self._draw = draw
        self._graph = graph
        self._parent: dict[int, int] = {}
        self._served: dict[int, tuple[Slot, int]] = {}
        self.open = [0]
        for _ in range(draw.randint(0, 4)):
            parent = draw.choice(self.open)
            made = graph.block("inner", parent, contained=draw.random() < 0.4)
            self._parent[made] = parent
            self.open.append(made)

    def serve(self, inputs: list[Slot], value: int) -> None:
        """A service for a block of its own."""
        parent = self._draw.choice(self.open)
        after = [slot for slot, _ in self.services(parent)]
        service = self._graph.service("serve", *inputs, block=parent, after=after)
        made = self._graph.block("served", parent, serves=service)
        self._parent[made] = parent
        self._served[made] = (service, value)
        self.open.append(made)

    def services(self, block: int) -> list[tuple[Slot, int]]:
        """Those that are up for what is in a block, with what they publish."""
        return [self._served[b] for b in self._around(block) if b in self._served]

    def end(self) -> Slot | None:
        """The end of some block, which with all blocks in it gets nothing more."""
        if not self._parent:
            return None
        chosen = self._draw.choice(sorted(self._parent))
        self.open = [b for b in self.open if chosen not in self._around(b)]
        return self._graph.end(chosen)

    def _around(self, block: int) -> list[int]:
        found = [block]
        while found[-1]:
            found.append(self._parent[found[-1]])
        return found


def draw_graph(world: World, graph: Graph) -> Drawn:
    draw = world.draw
    made: list[Slot] = []
    values: list[Any] = []
    nest = Nest(draw, graph)
    for _ in range(draw.randint(3, 25)):
        end = nest.end() if draw.random() < 0.2 else None
        options: dict[str, Any] = {
            "block": draw.choice(nest.open), "priority": draw.choice([0, 0, 1]), "weight": draw.choice([1.0, 2.0]),
        }  # fmt: skip
        if draw.random() < 0.15:
            chosen = [draw.randrange(len(made)) for _ in range(draw.randint(0, 2) if made else 0)]
            nest.serve([made[i] for i in chosen], total([values[i] for i in chosen]) % LIMIT)
        services = nest.services(options["block"])
        options["after"] = [slot for slot, _ in services]
        if services:
            options["flags"] = RunFlag.NO_CACHE
        if made and draw.random() < 0.1:
            options["after"].append(draw.choice(made))
        if end is not None and draw.random() < 0.5:
            options["after"].append(end)
        elif end is not None:
            made.append(end)
            values.append(True)
        kind = draw.random()
        if len(made) > 2 and kind < 0.6:
            chosen = [draw.randrange(len(made)) for _ in range(draw.randint(1, 3))]
            name, more = draw.choice(["add", "anyway", "strict", "shaky", "crashing"]), draw.randint(0, 5)
            used = services[: draw.randint(0, 2)]
            made.append(graph.run(name, *(made[i] for i in chosen), *(slot for slot, _ in used), more, **options))
            found = [*(values[i] for i in chosen), *(value for _, value in used)]
            values.append((total(found) + more + (name == "shaky")) % LIMIT)
        elif len(made) > 2 and kind < 0.75:
            chosen = [draw.randrange(len(made)) for _ in range(draw.randint(1, 6))]
            tolerate = draw.choice([0, 0, 1, 6])
            made.append(graph.gather([made[i] for i in chosen], tolerate=tolerate, block=options["block"]))
            values.append([values[i] for i in chosen])
        elif kind < 0.85:
            n = draw.randint(0, 3)
            made.append(graph.run("grow", n, **options))
            values.append(world.grown(n))
        elif kind < 0.9:
            x = draw.randint(0, 9)
            pair = graph.run("pair", x, **options)
            made += [pair, pair[1]]
            values += [x, x + 1]
        else:
            x = draw.randint(0, 9)
            made.append(graph.run("number", x, **options))
            values.append(x)
    graph.result = made
    draw_loose(world, graph, made)
    return Drawn(graph, values)


class Commander:
    """Somebody who asks for anything at any time."""

    def __init__(self, driver: EngineDriver, world: World) -> None:
        self.d = driver
        self.world = world
        self.draw = world.draw
        self.hub = self.more = 0
        self.commands = [
            self.retry, self.retry, self.rerun, self.rerun, self.rerun_block, self.hold, self.unhold, self.cancel,
            self.cancel_block, self.lose, self.expire, self.invalidate, self.share, self.actions, self.suspend,
            self.limit_lifetimes, self.submit_more, self.submit_more,
        ]  # fmt: skip

    def runs(self, *states: RunState) -> list[int]:
        """Some runs in these states."""
        rows = [r for r in self.d.rows("select id, state from run order by id") if r[1] in states]
        return self.some(rows)

    def some(self, rows: list[Row], most: int = 3) -> list[int]:
        return [r[0] for r in self.draw.sample(rows, min(len(rows), self.draw.randint(1, most)))] if rows else []

    def do(self) -> None:
        """A random command; one that comes at a bad moment is refused and changes nothing."""
        try:
            self.draw.choice(self.commands)()
        except ConflictError as refused:
            if type(refused) is not ConflictError:
                raise

    def retry(self) -> None:
        self.d.control(revive.retry, self.runs(*_BADLY))

    def rerun(self) -> None:
        ended = [s for s in RunState if s not in (RunState.LIVE, RunState.HELD, RunState.DELETED)]
        self.d.control(rerun.rerun, self.runs(*ended))

    def rerun_block(self) -> None:
        rows = [r for r in self.d.rows("select id, state from block order by id") if r[1] >= BlockState.COMPLETE]
        for block in self.some(rows, 1):
            self.d.control(rerun.rerun_block, block)

    def hold(self) -> None:
        self.d.control(hold.hold, self.runs(RunState.LIVE))

    def unhold(self) -> None:
        self.d.control(hold.unhold, self.runs(RunState.HELD))

    def cancel(self) -> None:
        self.d.control(control.cancel_runs, self.runs(RunState.LIVE, RunState.HELD), 0, running=True)

    def cancel_block(self) -> None:
        rows = [r for r in self.d.rows("select id, state from block order by id") if r[1] < BlockState.COMPLETE]
        for block in self.some(rows, 1):
            self.d.control(control.cancel_block, block)

    def data(self, *kinds: int) -> list[int]:
        return self.some(
            [r for r in self.d.rows("select id, kind from datum where state = 2 order by id") if r[1] in kinds]
        )

    def lose(self) -> None:
        self.d.control(expire.lose, self.data(VALUE, GATHER))

    def expire(self) -> None:
        self.d.control(expire.expire, self.data(VALUE))

    def invalidate(self) -> None:
        self.d.control(remove.invalidate, self.runs(RunState.COMPLETE, RunState.ERROR, RunState.SKIPPED))

    def share(self) -> None:
        ids = self.runs(RunState.LIVE, RunState.COMPLETE)
        self.d.control(shares.change_runs, ids, priority=self.draw.randint(0, 3), weight=self.draw.random())

    def actions(self) -> None:
        self.hub = self.hub or self.d.control(hubs.create, "further", 2.0)
        command = self.draw.choice([hubs.action, hubs.withdraw])
        self.d.control(command, self.runs(RunState.LIVE), self.hub)

    def limit_lifetimes(self) -> None:
        low, n, block = self.draw.choice(self.d.rows("select out_lo, out_n, id from block order by id"))
        ids = {low + self.draw.randrange(n) for _ in range(3)} if n else set()
        self.d.control(expire.set_lifetime, sorted(ids), block, after_use=self.draw.random() < 0.7)

    def submit_more(self) -> None:
        """Another workflow, which names data and ends of blocks that are there already, in whatever state."""
        g = self.d.graph()
        found = [r[0] for r in self.d.rows("select id from block order by id")]
        after = [stored(self.d.control(external.end_of, b)) for b in self.draw.sample(found, min(2, len(found)))]
        # ends of blocks have no value: they only order
        ends = {r[0] for r in self.d.rows("select out from block union select id from datum where kind = 3")}
        named = [r[0] for r in self.d.rows("select datum from edge union select id from datum order by 1")]
        named = [d for d in named if d not in ends]
        used = [stored(d) for d in self.draw.sample(named, min(3, len(named)))]
        one = g.run("anyway", *used, after=after)
        two = g.run("add", *used, 1)
        g.run("strict", g.gather([one, two, *used], tolerate=self.draw.randint(0, 2)))
        self.more += 1
        self.d.submit(g, key=f"more {self.more}")

    def interrupt(self) -> None:
        """A service that is up dies, by its own doing or not, or ends by itself, as it may."""
        run = self.draw.choice(sorted(self.d.up))
        if self.draw.random() < 0.3:
            self.d.hand_in(self.d.up.pop(run))
        else:
            self.d.falls(run, charge=self.draw.random() < 0.5)

    def suspend(self) -> None:
        hub = self.draw.choice(
            [r[0] for r in self.d.rows("select id from hub where name <> ? order by id", hubs.NOWHERE)]
        )
        self.d.control(hubs.set_active, hub, active=self.draw.random() < 0.7)

    # ------------------------------------------------------------------------------------------------- in the end

    def needs(self, run: int) -> set[int]:
        """The runs that made what a run needs and is gone: its inputs, and what is collected in them."""
        data = {r[0]: r[1:] for r in self.d.rows("select id, run, state, src from datum")}
        members = self.d.rows("select gather, lo, n, step from member")
        wanted = [r[0] for r in self.d.rows("select datum from edge where run = ?", run)]
        seen: set[int] = set()
        while wanted:
            datum = wanted.pop()
            if datum in seen or datum not in data:
                continue
            seen.add(datum)
            src = data[datum][2] or datum
            wanted += [i for g, lo, n, step in members if g == src for i in range(lo, lo + n * step, step)]
        gone = [d for d in seen if data[d][1] in GONE or (data[d][2] and data[data[d][2]][1] in GONE)]
        return {data[d][0] for d in gone}

    def bereft(self, never: set[int]) -> set[int]:
        """Runs that failed or were skipped, and name something for which one of `never` is needed."""
        ends = self.d.rows("select id, run from datum where run is not null and state in (5, 6, 7)")
        made: dict[int, int] = dict(tuple(end) for end in ends)
        members = self.d.rows("select gather, lo, n, step from member")
        inputs = self.d.rows("select e.run, e.datum from edge e join run r on r.id = e.run where r.state in (4, 5)")
        found: set[int] = set()
        while True:
            lost = {d for d, run in made.items() if run in never | found}
            for _ in members:
                further = {g for g, lo, n, step in members if lost & set(range(lo, lo + n * step, step))}
                if further <= lost:
                    break
                lost |= further
            more = {run for run, datum in inputs if datum in lost}
            if more <= found:
                return found
            found |= more

    def mend(self) -> bool:
        """Ask for whatever is still missing; False if nothing is."""
        for (hub,) in self.d.rows("select id from hub where active = 0 and name <> ? order by id", hubs.NOWHERE):
            self.d.control(hubs.set_active, hub, active=True)
            return True
        rows = self.d.rows("select id, state, flags, cause from run order by id")
        # what a run grew is superseded with it and has no newer generation: who named that ended for good
        newer = {r[0] for r in self.d.rows("select old from supersede where kind = 2")}
        never = {r[0] for r in rows if r[2] & SUPERSEDED} - newer
        # a service that nobody needs is skipped each time
        idle = {r[0] for r in rows if r[1] == RunState.SKIPPED and r[2] & RunFlag.SERVICE and r[3] == r[0]}
        rows = [r for r in rows if r[0] not in idle and r[3] not in idle]
        for_good = never | {r for r in lost_inputs(self.d) if self.needs(r) & never} | self.bereft(never)
        rows = [r for r in rows if not r[2] & SUPERSEDED and r[0] not in for_good - never]
        rows = [r for r in rows if r[1] == RunState.CANCELLED or r[3] not in for_good]
        for states, command in (
            ((RunState.HELD,), hold.unhold),
            ((RunState.INVALID,), rerun.rerun),
            (_BADLY, revive.retry),
        ):
            found = [r[0] for r in rows if r[1] in states]
            if found:
                self.d.control(command, found)
                return True
        return False


def lost_inputs(d: EngineDriver) -> set[int]:
    """Runs that failed because nobody can make what they need."""
    rows = d.rows("select run, body from failure order by run, n")
    last = {run: decode(bytes(body)) for run, body in rows}
    return {run for run, failure in last.items() if failure.kind == "lost input"}


def check_results(d: EngineDriver, block: int, drawn: Drawn) -> None:
    """All results are there and right, except where the value is gone and nobody has asked for it since."""
    row = d.block(block)
    if row.flags & blocks.ABANDONED:
        return
    assert row.state == BlockState.COMPLETE
    for slot, value in zip(drawn.graph.result, drawn.values, strict=True):
        try:
            found = d.value(d.datum(block, drawn.graph, slot))
        except NotFoundError:
            continue
        assert found == value
