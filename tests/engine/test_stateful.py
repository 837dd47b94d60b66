"""The engine against a model, by random histories on both databases: submissions in pieces, claims by two workers, ends
of every kind in any order, cancelling, retrying, suspending, and crashes at any point."""

import shutil
import tempfile
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engine.model import Block, Call, Datum, Model, Plan, Run
from tidemill.engine import claim, complete, control, hubs, reclaim, retry, revive, submit
from tidemill.engine.complete import Answer
from tidemill.engine.turn import Turn
from tidemill.model import delta
from tidemill.model.digest import digest
from tidemill.model.errors import ResumeError
from tidemill.model.protocol import Claimed, Failure, Out, Outcome, Started
from tidemill.model.states import AttemptState, BlockState, DatumState, OnInput, Reason, RunView
from tidemill.stores.state import blocks, data, runs
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Task, arguments
from tidemill.testing.invariants import check_invariants
from tidemill.testing.postgres import drop_database, fresh_database

V = RunView
FAILED = (DatumState.ERROR, DatumState.SKIPPED, DatumState.CANCELLED)
MANY = 500
PACK = msgspec.msgpack.Encoder().encode


def total(value: Any) -> int:
    """The sum over nested lists; what is missing counts nothing."""
    return sum(map(total, value)) if isinstance(value, list) else int(value or 0)


def add(*args: Any) -> int:
    return total(list(args)) % 7


def grow(x: Any) -> Any:
    """A number, or a graph with itself in it."""
    n = total(x) % 4
    if n == 0:
        return 0
    made = Plan(TASKS)
    made.call(Call("add", [n, 1]))
    inner = made.block(0, contained=n > 2) if n > 1 else 0
    made.call(Call("grow", [n - 1], block=inner))
    made.collect([made.slots[0], made.slots[1]], 0)
    made.call(Call("add", [made.slots[2]], [made.end(inner)] if inner else []))
    made.graph.forwards = [made.slots[3 if n > 1 else 1]]
    return made


def policies(policy: OnInput) -> dict[str, OnInput]:
    return {"on_error": policy, "on_skipped": policy, "on_cancelled": policy}


TASKS = {
    t.name: t
    for t in (
        Task("add", add),
        Task("pair", lambda *args: [add(*args), 1 + add(*args)], outputs=2),
        Task("grow", grow),
        Task("frail", add, options={"retries": 2}),
        Task("patient", add, options={"retries": 1, "backoff": 5.0}),
        Task("strict", add, options=policies(OnInput.FAIL)),
        Task("picky", add, options={"on_error": OnInput.FAIL}),
        Task("anyway", add, options=policies(OnInput.RUN)),
    )
}


class Pending:
    """A plan that is handed in piece by piece."""

    def __init__(self, plan: Plan, key: bytes, size: int) -> None:
        self.plan = plan
        self.key = key
        self.header = delta.encode(plan.graph.header())
        self.size = size
        self.chunks = plan.graph.chunks(size)
        self.next = 0


class EngineMachine(RuleBasedStateMachine):
    """Two workers, any number of workflows, one engine after the other. `url` names an empty store."""

    def __init__(self) -> None:
        super().__init__()
        self.url, self.give_back = self.empty_store()
        self.driver = EngineDriver(self.url, TASKS.values())
        self.model = Model(TASKS)
        self.pending: dict[int, Pending] = {}
        self.held: list[list[Claimed]] = [[], []]
        self.sent: list[tuple[int, Outcome]] = []
        self.lost: list[tuple[int, Claimed]] = []
        self.number = 0
        self.verified: set[int] = set()
        self.sound = True
        self.fresh = True
        self.second_worker()

    def do(self, command: Any, *args: Any, **options: Any) -> Any:
        """A turn of the engine. Until rows and model have been compared after it, nothing is known to be right."""
        self.sound = self.fresh = False
        return self.driver.control(command, *args, **options)

    @staticmethod
    def empty_store() -> tuple[str, Any]:
        raise NotImplementedError

    def second_worker(self) -> None:
        self.driver.engine.random.seed(self.number)  # the same history again makes the same choices
        me = Worker(0, None, 0, "engine", "here", "boot", "space", 1, "start", 0.0, 0.0)
        second = self.do(reclaim.register_worker, "second", me)
        self.workers = [self.driver.worker, second]
        self.fresh = True

    # ------------------------------------------------------------------------------------------------- submitting

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """There is something to do from the beginning."""
        self.begin(data, 6, 6)

    @rule(data=st.data(), size=st.integers(1, 4), parts=st.sampled_from([0, 1, 2, 6, 6]))
    def begin(self, data: st.DataObject, size: int, parts: int) -> None:
        """A new workflow, of which some pieces are handed in."""
        plan = self.draw_plan(data)
        self.number += 1
        made = Pending(plan, digest(str(self.number).encode()), size)
        begun = self.do(submit.begin, made.key, "flow", made.header)
        assert (begun.chunks, begun.sealed, begun.resumed) == (0, False, False)
        self.model.blocks[begun.block] = Block(begun.block)
        self.pending[begun.block] = made
        for _ in range(parts):
            self.hand_in(begun.block)

    def draw_plan(self, data: st.DataObject) -> Plan:
        plan = Plan(TASKS)
        known = [Datum(d) for d in (*self.model.producers, *self.model.collections, *self.model.ends)]
        inner = [0]
        for _ in range(data.draw(st.integers(0, 2), "blocks")):
            inner.append(plan.block(data.draw(st.sampled_from(inner), "parent"), contained=data.draw(st.booleans())))
        for _ in range(data.draw(st.integers(1, 6), "calls")):
            if len(inner) > 1 and data.draw(st.integers(0, 3), "end") == 0:
                chosen = data.draw(st.sampled_from(inner[1:]), "ended")
                inner = [b for b in inner if b != chosen and (not b or plan.nests[b - 1].parent != chosen)]
                plan.slots.append(plan.end(chosen))
            name = data.draw(st.sampled_from(sorted(TASKS)), "task")
            refs = [*plan.slots, *known[-6:]]
            argument = st.integers(0, 2) | st.sampled_from(refs) if refs else st.integers(0, 2)
            args = data.draw(st.lists(argument, min_size=1, max_size=1 if name == "grow" else 3), "arguments")
            after = data.draw(st.lists(st.sampled_from(refs), max_size=1), "after") if refs else []
            block = data.draw(st.sampled_from(inner), "block")
            plan.call(Call(name, args, after, data.draw(st.sampled_from([0, 0, 0, 1]), "flags"), block))
            if data.draw(st.integers(0, 3), "collect") == 0:
                members = data.draw(st.lists(st.sampled_from(plan.slots), max_size=4), "members")
                plan.collect(members, data.draw(st.integers(0, 1), "tolerate"))
        return plan

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        """The same command again: what is stored is found, and the next piece is handed in."""
        block = data.draw(st.sampled_from(sorted(self.pending)), "block")
        made = self.pending[block]
        begun = self.do(submit.begin, made.key, "flow", made.header)
        assert (begun.block, begun.chunks, begun.sealed, begun.resumed) == (block, made.next, False, True)
        if made.next:
            with pytest.raises(ResumeError):
                self.do(submit.chunk, block, made.next - 1, digest(b"other"), made.chunks[made.next - 1])
            self.driver.part(block, made.next - 1, made.chunks[made.next - 1])
        self.hand_in(block)

    def hand_in(self, block: int) -> None:
        """The next piece of a workflow; after the last one it is sealed."""
        made = self.pending.get(block)
        if made is None:
            return
        row = self.driver.block(block)
        low, high = made.next * made.size, min(len(made.plan.calls), (made.next + 1) * made.size)
        self.sound = False
        self.driver.part(block, made.next, made.chunks[made.next])
        self.model.add(made.plan, block, block, row.run_lo, row.out_lo, low, high)
        made.next += 1
        if made.next == len(made.chunks):
            self.do(submit.seal, block)
            self.model.blocks[block].sealed = True
            del self.pending[block]

    # ------------------------------------------------------------------------------------------------- working

    @precondition(lambda self: self.under_way())
    @rule(worker=st.integers(0, 1), most=st.integers(1, 5))
    def claim(self, worker: int, most: int) -> None:
        """A worker gets runs; each stood ready, and comes with its inputs."""
        engine = self.driver.engine
        if not engine.alone:
            with engine.db.transaction(write=False):
                engine.refresh_ready()
        found = self.do(claim.claim, self.workers[worker], lambda _, waiting: min(waiting, most))
        if any(self.model.views(self.model.runs[c.run]) != [V.READY] for c in found):
            self.adopt()  # on its way it found results of what stood ready, and that made more ready
        for c in found:
            row = self.model.runs[c.run]
            assert self.model.views(row) == [V.READY], f"run {c.run} was claimed"
            given = arguments(c.args, [self.driver._input(i) for i in c.inputs])
            assert given == self.model.values(row)
            row.lease = (worker, c.fence)
            self.held[worker].append(c)
        self.model.touch()

    @precondition(lambda self: self.under_way())
    @rule(turns=st.integers(1, 4))
    def work(self, turns: int) -> None:
        """Both workers execute what they get, and all goes well."""
        for _ in range(turns):
            for worker in (0, 1):
                self.hand_back(worker)
                self.claim(worker, 3)

    def under_way(self) -> bool:
        """Whether anything can be executed."""
        return any(self.held) or any(self.model.views(r) == [V.READY] for r in self.model.runs.values())

    def hand_back(self, worker: int) -> None:
        """A worker completes all it holds."""
        held, self.held[worker] = self.held[worker], []
        answers = self.do(complete.complete, self.workers[worker], [self.driver_outcome(c) for c in held])
        for c, answer in zip(held, answers, strict=True):
            if answer is Answer.ACCEPTED:
                self.ended(self.model.runs[c.run], well=True)
        self.learn()

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), worker=st.integers(0, 1))
    def finish(self, data: st.DataObject, worker: int) -> None:
        """Some of what a worker holds has ended, in any order; in one message."""
        holds = len(self.held[worker])
        chosen = data.draw(st.lists(st.integers(0, holds - 1), unique=True), "which") if holds else []
        batch = [self.held[worker][i] for i in chosen]
        self.held[worker] = [c for i, c in enumerate(self.held[worker]) if i not in chosen]
        ends = [data.draw(st.sampled_from(["well", "well", "well", "badly"]), "end") for _ in batch]
        outcomes = [self.outcome(c, end == "well") for c, end in zip(batch, ends, strict=True)]
        answers = self.do(complete.complete, self.workers[worker], outcomes)
        for c, o, answer in zip(batch, outcomes, answers, strict=True):
            row = self.model.runs[c.run]
            current = row.lease == (worker, c.fence)
            assert answer == (Answer.ACCEPTED if current else Answer.REFUSED)
            if current:
                self.ended(row, well=o.failure is None)
            self.sent.append((worker, o))

    def outcome(self, c: Claimed, well: bool) -> Outcome:
        now = self.driver.clock.now
        if not well:
            failure = Failure(int(Reason.EXCEPTION), "ValueError", "drawn")
            return Outcome(c.run, c.fence, int(AttemptState.ERROR), [], now, now, failure=failure)
        return self.driver_outcome(c)

    def driver_outcome(self, c: Claimed) -> Outcome:
        """What the run's function gives, as a message."""
        row = self.model.runs[c.run]
        value = row.task.function(*arguments(c.args, [self.driver._input(i) for i in c.inputs]))
        now, state = self.driver.clock.now, int(AttemptState.COMPLETE)
        if isinstance(value, Plan):
            return Outcome(c.run, c.fence, state, [], now, now, growth=delta.encode(value.graph.growth(2)))
        bodies = [PACK(v) for v in (value if row.task.outputs > 1 else [value])]
        return Outcome(c.run, c.fence, state, [Out(b, digest(b), len(b)) for b in bodies], now, now)

    def ended(self, row: Run, *, well: bool) -> None:
        """The model learns how an attempt ended."""
        row.lease = None
        if well:
            row.own = V.COMPLETE
        elif row.tries >= row.retries:
            row.own = V.ERROR
        else:
            row.tries += 1
        self.model.touch()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """A message that comes twice changes nothing."""
        worker, o = data.draw(st.sampled_from(self.sent[-5:]), "message")
        (answer,) = self.do(complete.complete, self.workers[worker], [o])
        assert answer in (Answer.ALREADY, Answer.REFUSED)
        if answer is Answer.ALREADY:
            assert self.model.runs[o.run].own is V.COMPLETE

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def speak_from_the_grave(self, data: st.DataObject) -> None:
        """A worker that was given up hands something in after all: it is refused, whoever has the run now."""
        worker, c = data.draw(st.sampled_from(self.lost[-5:]), "message")
        (answer,) = self.do(complete.complete, worker, [self.driver_outcome(c)])
        assert answer is Answer.REFUSED

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), worker=st.integers(0, 1), charge=st.booleans())
    def lose(self, data: st.DataObject, worker: int, charge: bool) -> None:
        """A worker dies; what it had started is charged, as a loss or (its own doing) as a failed try."""
        held, self.held[worker] = self.held[worker], []
        self.lost += [(self.workers[worker], c) for c in held]
        started = data.draw(st.sampled_from([None, *held]), "started") if held else None
        failure = Failure(int(Reason.WORKER_DIED), "signal", "drawn")
        now = self.driver.clock.now
        what = Started(started.run, started.fence, now, now) if started else None
        self.do(retry.worker_died, self.workers[worker], what, failure, b"", charge=charge)
        for c in held:
            row = self.model.runs[c.run]
            if row.lease != (worker, c.fence):
                continue
            if started is c and charge:
                self.ended(row, well=False)
            elif started is c:
                row.lease = None
                row.losses += 1
                if row.losses > retry.MAX_LOSSES:
                    row.own = V.ERROR
            else:
                row.lease = None
        self.model.touch()

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.driver.clock.now += seconds

    # ------------------------------------------------------------------------------------------------- commands

    @precondition(lambda self: self.model.blocks)
    @rule(data=st.data(), upkeep=st.booleans())
    def cancel(self, data: st.DataObject, upkeep: bool) -> None:
        """A workflow is cancelled; the engine may crash before it has swept it."""
        block = data.draw(st.sampled_from(sorted(self.model.blocks)), "block")
        found = self.model.blocks[block]
        was_open = not found.sealed or self.model.block(block) == 0
        self.do(control.cancel_block, block)
        if was_open:
            found.abandoned |= not found.sealed
            found.sealed = True
            self.pending.pop(block, None)
            for row in self.model.runs.values():
                if self.model.roots[row.block] == block and self.model.views(row)[0] in (V.WAITING, V.READY, V.RUNNING):
                    row.swept, row.lease = True, None
        self.model.touch()
        if not upkeep:
            self.crash()

    def ended_runs(self) -> list[int]:
        """Runs that may be told to run again: their ends have not been consumed by anybody who goes on all the same."""
        for row in self.model.runs.values():
            states = [self.model.datum(d)[0] for d in self.model.inputs(row)]
            if any(state in FAILED and row.policy(state) is None for state in states):
                return []
        for members, tolerate in self.model.collections.values():
            if tolerate and any(self.model.datum(m)[0] in FAILED for m in members):
                return []
        ended = (V.ERROR, V.SKIPPED, V.CANCELLED)
        for end, block in self.model.ends.items():
            whole = self.model.datum(end)[0] is DatumState.COMPLETE
            if whole and any(self.model.views(r)[0] in ended for r in self.model.inside(block)):
                return []
        return [r.id for r in self.model.runs.values() if self.model.views(r)[0] in ended]

    @precondition(lambda self: self.ended_runs())
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """A run that ended badly lives again, and so does all that ended because of it."""
        chosen = data.draw(st.sampled_from(self.ended_runs()), "run")
        again = self.do(revive.retry, [chosen])
        assert again
        for run in again:
            row = self.model.runs[run]
            row.own, row.tries, row.retried, row.swept = None, 0, True, False
        for row in self.model.runs.values():
            row.chosen = None
        self.model.touch()
        for block in {self.model.roots[self.model.runs[r].block] for r in again}:
            self.set_active(block, active=True)

    def set_active(self, block: int, *, active: bool) -> None:
        self.do(hubs.set_active, self.driver.block(block).hub, active=active)

    @precondition(lambda self: self.model.blocks)
    @rule(data=st.data(), active=st.booleans())
    def suspend_or_go_on(self, data: st.DataObject, active: bool) -> None:
        """Nobody is attached to a workflow any more, or somebody is again."""
        self.set_active(data.draw(st.sampled_from(sorted(self.model.blocks)), "block"), active=active)

    @precondition(lambda self: not self.fresh)
    @rule()
    def crash(self) -> None:
        """Everything dies; another engine takes over."""
        self.sound = False
        self.lost += [(self.workers[worker], c) for worker in (0, 1) for c in self.held[worker]]
        self.driver.crash()
        self.second_worker()
        self.held = [[], []]
        self.sent = []
        for row in self.model.runs.values():
            row.lease = None
        self.model.touch()

    # ------------------------------------------------------------------------------------------------- comparing

    def learn(self) -> None:
        """Let the engine do what it owes itself, and take over what it was free to choose."""
        self.work_off()
        self.adopt()
        self.model.check(self.seen())

    def adopt(self) -> None:
        changed = True
        while changed:
            changed = any([self.find_growth(row) for row in list(self.model.runs.values())])  # noqa: C419 (all of them)
            changed |= self.model.adopt(self.seen())

    def work_off(self) -> None:
        """Turns until the engine has nothing to do by itself."""
        engine = self.driver.engine
        for _ in range(MANY):
            if not engine.busy:
                return
            self.do(self.upkeep)
        raise AssertionError("the engine is never done")

    def upkeep(self, turn: Turn) -> None:
        self.driver.engine.upkeep(turn)
        self.driver.engine.settle(turn)

    def seen(self) -> dict[int, RunView]:
        with self.driver.engine.db.transaction(write=False):
            return runs.views(self.driver.engine.db, list(self.model.runs))

    def find_growth(self, row: Run) -> bool:
        """If a complete run grew, its graph is in a block of its own."""
        if row.own is not V.COMPLETE or row.grew or row.task.name != "grow":
            return False
        plan = self.model.outcome(row)
        if not isinstance(plan, Plan):
            return False
        with self.driver.engine.db.transaction(write=False):
            block = blocks.owned_by(self.driver.engine.db, row.id)
        assert block is not None, f"run {row.id} grew, but has no block"
        root = self.model.roots[row.block]
        self.model.parents[block.id] = row.block
        self.model.growths.add(block.id)
        self.model.add(plan, block.id, root, block.run_lo, block.out_lo, 0, len(plan.calls))
        row.grew = True
        for p, slot in enumerate(plan.graph.forwards):
            self.model.aliases[row.out + p] = block.out_lo + plan.graph.number(slot)
        self.model.touch()
        return True

    @invariant()
    def agrees(self) -> None:
        """Rows and model say the same."""
        self.learn()
        db = self.driver.engine.db
        check_invariants(db)
        ids = [*self.model.producers, *self.model.collections, *self.model.ends]
        with db.transaction(write=False):
            states = data.states(db, ids)
        for d in ids:
            state, value = self.model.datum(d)
            assert states.get(d, 0) == state, f"datum {d} is {states.get(d, 0)}, not {state.name}"
            if state is DatumState.COMPLETE and d not in self.verified:
                assert self.driver.value(d) == value
                self.verified.add(d)
        for block in self.model.blocks:
            found = self.driver.block(block)
            assert found.state == self.model.block(block), f"block {block}: {found}"
        self.sound = True

    def teardown(self) -> None:
        """In the end everything is handed in and worked on until nothing is left to do."""
        try:
            if not self.sound:
                return
            for block in list(self.pending):
                while block in self.pending:
                    self.hand_in(block)
            for block in self.model.blocks:
                self.set_active(block, active=False)
            for block in self.model.blocks:
                self.alone(block)
            self.to_the_end()
            self.agrees()
            assert not any(self.model.block(b) == 0 for b in self.model.blocks), "a workflow has not ended"
            check_invariants(self.driver.engine.db, quiet=True)
        finally:
            self.driver.close()
            self.give_back()

    def alone(self, block: int) -> None:
        """A workflow ends when nobody works for others than those whose data it uses, whatever it shares with them."""
        wanted = self.used_by(block)
        for one in wanted:
            self.set_active(one, active=True)
        for _ in range(MANY):
            self.learn()
            if self.driver.block(block).state not in (BlockState.OPEN, BlockState.CLOSING):
                break
            self.driver.clock.now += 10.0
            for worker in (0, 1):
                self.hand_back(worker)
                self.claim(worker, 3)
        else:
            raise AssertionError(f"workflow {block} does not end alone")
        for one in wanted:
            self.set_active(one, active=False)

    def used_by(self, block: int) -> list[int]:
        """A workflow, and those from which it uses data, and these in turn."""
        rows = self.driver.rows
        homes = [(low, low + n, root) for low, n, root in rows("select out_lo, out_n, root from block")]
        uses: dict[int, set[int]] = {}
        edges = rows("select b.root, e.datum from edge e join run r on r.id = e.run join block b on b.id = r.block")
        stretches = rows(
            "select b.root, m.lo, m.n, m.step from gather g join block b on b.id = g.block "
            "join member m on m.gather = g.id"
        )
        members = [(root, datum) for root, low, n, step in stretches for datum in range(low, low + n * step, step)]
        for root, datum in edges + members:
            uses.setdefault(root, set()).update(r for low, high, r in homes if low <= datum < high)
        found, waiting = {block}, [block]
        while waiting:
            new = uses.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return sorted(found)

    def to_the_end(self) -> None:
        for _ in range(MANY):
            self.learn()
            views = {self.model.views(row)[0] for row in self.model.runs.values()}
            if not any(self.held) and not views & {V.READY, V.RUNNING}:
                return
            self.driver.clock.now += 10.0
            for worker in (0, 1):
                self.hand_back(worker)
                self.claim(worker, 3)
        raise AssertionError("there is no end of it")


class OnSqlite(EngineMachine):
    @staticmethod
    def empty_store() -> tuple[str, Any]:
        directory = tempfile.mkdtemp()
        return directory, lambda: shutil.rmtree(directory)


def on_postgres(server: str) -> type[EngineMachine]:
    """The machine on databases of a server, copied from one that has its tables already."""
    template = fresh_database(server)
    open_database(template).close()

    class OnPostgres(EngineMachine):
        @staticmethod
        def empty_store() -> tuple[str, Any]:
            url = fresh_database(server, template.rpartition("/")[2])
            return url, lambda: drop_database(url)

    return OnPostgres


def play(machine: type[EngineMachine], examples: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=profile)


def test_on_sqlite() -> None:
    play(OnSqlite, 30, 30)


def test_on_postgres(postgres_url: str) -> None:
    play(on_postgres(postgres_url), 8, 25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_on_sqlite_for_long() -> None:
    play(OnSqlite, 2000, 60)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_on_postgres_for_long(postgres_url: str) -> None:
    play(on_postgres(postgres_url), 300, 50)
