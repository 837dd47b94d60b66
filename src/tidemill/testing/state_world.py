"""A random store in Python: blocks that grew, runs in all states, lists, aliases, promises. It can be put into a state
store, and what is asked of that can be worked out here by looking at every row.
"""

from random import Random

from tidemill.stores.state import attempts, classes, data, edges, leases, memo, queues, supersedes, tasks
from tidemill.stores.state.attempts import Attempt
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.data import GATHER, VALUE, Datum, Forward
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import GREW, SUPERSEDED, Run
from tidemill.testing.state_rows import (
    Stretch,
    a_block,
    a_datum,
    a_run,
    a_worker,
    add_blocks,
    add_data,
    add_gather,
    add_runs,
    add_worker,
    columns,
)

WIDTHS = (1, 1, 2, 3)
"""Outputs of each of the tasks."""
NAMES = ("scan", "fit")
LIVE, COMPLETE, ERROR, SKIPPED, CANCELLED = 0, 3, 4, 5, 6
_STATES = (LIVE, LIVE, COMPLETE, COMPLETE, COMPLETE, COMPLETE, ERROR, SKIPPED, CANCELLED, 7, 8, 9)


class World:
    """A random store.

    Args:
        seed: of everything random.
        size: how many submissions; each has some runs.
        start: where ids begin.
    """

    def __init__(self, seed: int, size: int, start: int = 0) -> None:
        self.draw = Random(seed)
        self.next = {"run": start + 1, "datum": start + 1, "block": start + 1}
        self.blocks: dict[int, Block] = {}
        self.runs: dict[int, Run] = {}
        self.data: dict[int, Datum] = {}
        self.edges: list[tuple[int, int, int]] = []
        self.lists: dict[int, list[Stretch]] = {}
        self.forwards: dict[int, Forward] = {}
        self.leases: dict[int, tuple[int, int, float]] = {}
        self.attempts: list[Attempt] = []
        self.follows: dict[int, int] = {}
        self.older: dict[int, int] = {}
        self.timers: set[tuple[float, int]] = set()
        self.workers = [a_worker(start + 1), a_worker(start + 2, parent=start + 1, name="x", pid=7)]
        self.known: list[int] = []  # data that runs may use
        self.tasks: dict[int, int] = dict(enumerate(WIDTHS, 1))
        for _ in range(size):
            self._submit()

    def chance(self, probability: float) -> bool:
        """Whether it is so this time."""
        return self.draw.random() < probability

    def take(self, kind: str, count: int) -> int:
        """The first of so many fresh ids."""
        first = self.next[kind]
        self.next[kind] += count
        return first

    # ------------------------------------------------------------------------------------------------- making

    def _submit(self) -> None:
        """A workflow, or what a run grew."""
        growing = [r.id for r in self.runs.values() if r.state == COMPLETE]
        owner = self.runs[self.draw.choice(growing)] if growing and self.chance(0.5) else None
        inner, n = self.draw.randrange(3), self.draw.randrange(1, 8)
        block = self.take("block", 1 + inner)
        parts = [block, *range(block + 1, block + 1 + inner)]
        parent = owner.block if owner is not None else None
        root = self.blocks[owner.block].root if owner is not None else block
        run_lo, out_lo = self.next["run"], self.next["datum"]
        for _ in range(n):
            self._run(self.draw.choice(parts))
        lists = [self.take("datum", 1) for _ in range(self.draw.randrange(3))]
        name = self.draw.choice(NAMES)
        ranges = {"run_lo": run_lo, "run_n": n, "out_lo": out_lo, "out_n": self.next["datum"] - out_lo}
        self.blocks[block] = a_block(
            block, parent=parent, root=root, name=name, block_lo=block + 1, block_n=inner,
            owner=owner.id if owner is not None else None, reused=int(self.chance(0.5)), **ranges,
        )  # fmt: skip
        for number in parts[1:]:
            above = self.draw.choice(parts[: number - block])
            self.blocks[number] = a_block(number, parent=above, root=root, name=f"part {number}")
        for number in lists:
            self._list(number, block)
        if owner is not None:
            self._promise(owner, range(out_lo, self.next["datum"]))

    def _run(self, block: int) -> None:
        number = self.take("run", 1)
        task = self.draw.choice(list(self.tasks))
        out = self.take("datum", self.tasks[task])
        state = self.draw.choice(_STATES)
        inputs = self.draw.sample(self.known, min(len(self.known), self.draw.randrange(4)))
        inputs += [self.draw.choice([*inputs, out + 1_000_000])] * self.chance(0.2)  # twice the same, or unknown
        ports = [-1 - k if self.chance(0.2) else k for k in range(len(inputs))]
        self.edges += [(number, port, datum) for port, datum in zip(ports, inputs, strict=True)]
        pending = sum(datum not in self.data for datum in inputs) if state in (LIVE, 9) else self.draw.randrange(2)
        run = a_run(
            number, task=task, block=block, cls=self.draw.randrange(1, 3), state=state, pending=pending, out=out,
            attempt=self.draw.randrange(3), flags=SUPERSEDED * self.chance(0.2) | 1,
            args=self.draw.choice([b"0", b"1", b""]),
        )  # fmt: skip
        if state in (ERROR, SKIPPED, CANCELLED):
            run = run._replace(cause=self.draw.choice([number, number, max(1, number - 1)]))
        self.runs[number] = run
        for port in range(self.tasks[task]):
            self._output(run, port)
        self.known += range(out, out + self.tasks[task])
        self._beside(run)

    def _output(self, run: Run, port: int) -> None:
        number = run.out + port
        if run.state in (ERROR, SKIPPED, CANCELLED):
            state = {ERROR: 5, SKIPPED: 6, CANCELLED: 7}[run.state]
            self.data[number] = a_datum(
                number, run=run.id, port=port, state=state, size=0, cause=run.cause, digest=None, value=None
            )
        elif run.state == COMPLETE:
            sources = [d.id for d in self.data.values() if d.state == 2 and d.src is None and d.kind == VALUE]
            row = a_datum(number, run=run.id, port=port, state=self.draw.choice([2, 2, 2, 3, 8]))
            if sources and self.chance(0.3):
                row = row._replace(state=2, src=self.draw.choice(sources), value=None)
            self.data[number] = row

    def _beside(self, run: Run) -> None:
        """Who has it, what it waits for, what became of it before."""
        if run.state == LIVE and run.pending <= 0:
            others = [r.id for r in self.runs.values() if r.state == LIVE and r.id < run.id]
            if self.chance(0.6):
                self.leases[run.id] = (run.attempt + 1, self.draw.choice(self.workers).id, self.draw.randrange(9) / 4)
            elif others and self.chance(0.5):
                self.follows[run.id] = self.draw.choice(others)
            else:
                self.timers.add((self.draw.randrange(9) / 4, run.id))
        for n in range(1, run.attempt + 1):
            state, t0 = (3 if run.state == COMPLETE and n == run.attempt else 4), self.draw.randrange(9) / 4
            found = Attempt(run.id, n, 1, state, t0, t0 + self.draw.randrange(9) / 8, 0.5, 1, None, None)
            self.attempts.append(found)
        if run.id - 1 in self.runs and self.chance(0.2):
            self.older[run.id] = run.id - 1

    def _list(self, number: int, block: int) -> None:
        last = number - 1
        parts: list[Stretch] = []
        for _ in range(self.draw.randrange(3)):
            step, n = self.draw.choice([1, 1, 2, 5]), self.draw.randrange(1, 6)
            first = max(1, last - self.draw.randrange(30))
            n = min(n, (last - first) // step + 1)
            if first in self.known and n > 0:
                parts.append((first, n, step))
        self.lists[number] = parts
        if self.chance(0.6):
            self.data[number] = a_datum(number, run=None, kind=GATHER, value=None)
        self.known.append(number)

    def _promise(self, owner: Run, grown: range) -> None:
        self.runs[owner.id] = self.runs[owner.id]._replace(flags=owner.flags | GREW)
        for port in range(self.tasks[owner.task]):
            datum, target = owner.out + port, self.draw.choice(grown)
            if datum in self.forwards or self.chance(0.3):
                continue
            self.forwards[datum] = Forward(datum, target, owner.id, port)
            self.data.pop(datum, None)  # it ends as its target does
            made = self.data.get(target)
            if made is not None and made.state == 2 and made.src is None:
                row = a_datum(datum, run=owner.id, port=port, kind=made.kind, src=target, value=None)
                self.data[datum] = row
        # nobody may take the value of what has become a promise
        for d in list(self.data.values()):
            source = self.data.get(d.src) if d.src is not None else None
            if d.src is not None and (source is None or source.src is not None):
                self.data[d.id] = d._replace(src=None, value=b"v")

    # ------------------------------------------------------------------------------------------------- storing

    def store(self, db: Database) -> None:
        """Put everything into an empty store."""
        for task, width in self.tasks.items():
            assert tasks.put(db, bytes([width, task]) * 16, f"t{task}", b"") == task
        add_blocks(db, list(self.blocks.values()))
        add_runs(db, list(self.runs.values()))
        add_data(db, list(self.data.values()))
        if self.edges:
            edges.add(db, *columns(sorted(self.edges)))
        for number, parts in self.lists.items():
            add_gather(db, number, parts, block=min(self.blocks))
        promises = list(self.forwards.values())
        if promises:
            data.forward(db, *columns(promises))
        for worker in self.workers:
            add_worker(db, worker)
        if self.leases:
            leases.add(db, *columns((run, *held) for run, held in self.leases.items()))
        if self.attempts:
            attempts.add(db, *columns(a[:8] for a in self.attempts))
        memo.follow(db, list(self.follows), list(self.follows.values()))
        supersedes.add(db, list(self.older.values()), list(self.older), supersedes.RUN)
        for at, run in self.timers:
            queues.wake_at(db, [at], [queues.BACKOFF], [run])
        ready = [r for r in self.runs.values() if r.state == LIVE and r.pending <= 0 and r.id not in self.leases]
        classes.stand(db, [r.cls for r in ready], [r.id for r in ready])

    # ------------------------------------------------------------------------------------------------- looking

    def root_of(self, run: Run) -> int:
        """The workflow a run belongs to."""
        return self.blocks[run.block].root

    def below(self, block: int) -> set[int]:
        """A block and all below it."""
        found = {block} & self.blocks.keys()
        for b in sorted(self.blocks.values()):
            if b.parent in found:
                found.add(b.id)
        return found

    def parts(self, number: int) -> list[list[int]]:
        """The members of a list, stretch by stretch."""
        return [list(range(lo, lo + n * step, step)) for lo, n, step in self.lists.get(number, [])]

    def members(self, number: int) -> list[int]:
        """The members of a list in order."""
        return [d for part in self.parts(number) for d in part]


class Lineage:
    """The steps between nodes of a world: a run is its id, a datum its id with a minus sign.

    A step leads from a run to the run that made what it used, through aliases to the one that really executed. Lists,
    and data that have not ended or that nobody made, stand for themselves on the way. A grown run comes from the run
    that grew it.

    Args:
        world: what there is.
        order: follow inputs that only order, too.
    """

    def __init__(self, world: World, *, order: bool) -> None:
        self.world = world
        self.edges = [e for e in world.edges if order or e[1] >= 0]
        self.grown = any(b.owner is not None for b in world.blocks.values())

    def made(self, datum: int) -> int:
        """The node behind a datum that is used."""
        row = self.world.data.get(datum)
        if row is not None and row.src is not None:
            source = self.world.data.get(row.src)
            return source.run if source is not None and source.run is not None else -row.src
        return row.run if row is not None and row.run is not None else -datum

    def grower(self, run: int) -> int | None:
        """The run that grew the block of a run, or the next one around it that was grown."""
        at: int | None = self.world.runs[run].block
        while at is not None:
            block = self.world.blocks[at]
            if block.owner is not None:
                return block.owner
            at = block.parent
        return None

    def before(self, node: int) -> set[int]:
        """The nodes from which one comes directly."""
        if node > 0:
            grower = self.grower(node) if node in self.world.runs else None
            return {self.made(datum) for run, _, datum in self.edges if run == node} | ({grower} if grower else set())
        found = {self.made(d) for d in self.world.members(-node) if d in self.world.data}
        row = self.world.data.get(-node)
        if row is not None and row.kind == VALUE:
            found.add(self.made(-node))
        elif row is not None and row.src is not None:
            found.add(-row.src)
        if -node in self.world.forwards:
            found.add(-self.world.forwards[-node].target)
        return found

    def after(self, node: int) -> set[int]:
        """The nodes that come directly from one, but for aliases."""
        made = {-node}
        found: set[int] = set()
        if node > 0:
            run = self.world.runs.get(node)
            made = set(range(run.out, run.out + self.world.tasks[run.task])) if run is not None else set()
            for block in self.world.blocks.values():
                if block.owner == node:
                    found |= set(range(block.run_lo, block.run_lo + block.run_n))
        found |= {run for run, _, datum in self.edges if datum in made}
        found |= {-number for number in self.world.lists if made & set(self.world.members(number))}
        return found | {-f.datum for f in self.world.forwards.values() if f.target in made}
