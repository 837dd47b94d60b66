"""A store with its engine in this process: real plans, real rows, and runs executed one by one when a test says so."""

from collections.abc import Callable
from typing import Any

from tidemill.engine import claim, complete, gathers_read, hubs, reclaim, submit
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.graph import context
from tidemill.graph.growth import Growing, grow
from tidemill.graph.literals import PlanKeeper
from tidemill.graph.plan import Plan, build
from tidemill.model import delta
from tidemill.model.digest import digest
from tidemill.model.protocol import Claimed, Failure, Input, Out, Outcome
from tidemill.model.states import AttemptState, Reason
from tidemill.model.values import decode, encode
from tidemill.stores.state import blocks
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.workers.execute import spread
from tidemill.workers.loader import caller


class Lab:
    """An engine over the store at `url`, with one worker that is this very process."""

    def __init__(self, url: str) -> None:
        self.engine = Engine(open_database(url))
        self.db = self.engine.db
        self.plan: Plan | None = None
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._growing = Growing(PlanKeeper())
        me = Worker(0, None, 0, "engine", "here", "boot", "space", 1, "1", 0.0, 0.0)
        with self.engine.turn() as turn:
            reclaim.register(turn, me)
            self.worker = reclaim.register_worker(turn, "local-0", me)

    def close(self) -> None:
        with self.engine.turn() as turn:
            self.engine.index.merge(turn.db, everything=True)
        self.engine.db.close()

    def submit(self, call: Any, *, options: int = 0) -> int:
        """Store a call; its block."""
        plan = self.plan = build(call)
        self._functions.update(plan.functions)
        with self.engine.turn() as turn:
            block = submit.begin(turn, plan.key, plan.name, delta.encode(plan.header), options=options).block
        for seq, part in enumerate(plan.chunks()):
            with self.engine.turn() as turn:
                submit.chunk(turn, block, seq, digest(delta.encode(part)), part)
        with self.engine.turn() as turn:
            submit.seal(turn, block)
        self.settle()
        return block

    def run(self, call: Any) -> int:
        """Store a call and execute all of it; its block."""
        block = self.submit(call)
        self.work()
        return block

    def work(self, limit: int = 1 << 60) -> int:
        """Execute at most `limit` ready runs; how many there were."""
        count = 0
        while count < limit and (claimed := self.claim(limit - count)):
            count += len(claimed)
            self.finish(claimed)
        return count

    def claim(self, limit: int = 1) -> list[Claimed]:
        """Lease ready runs without executing them."""
        with self.engine.turn() as turn:
            return claim.claim(turn, self.worker, lambda _, waiting: min(waiting, limit, 500))

    def finish(self, claimed: list[Claimed]) -> None:
        """Execute what was leased, and hand in what came of it."""
        outcomes = [self._attempt(c) for c in claimed]
        with self.engine.turn() as turn:
            complete.complete(turn, self.worker, outcomes)
        self.settle()

    def settle(self) -> None:
        while self.engine.busy:
            with self.engine.turn() as turn:
                self.engine.upkeep(turn)

    def turn(self, act: Callable[[Turn], Any]) -> Any:
        """One transaction."""
        with self.engine.turn() as turn:
            found = act(turn)
        self.settle()
        return found

    def activate(self, block: int, *, active: bool) -> None:
        """Let a workflow's runs be claimed, or not."""
        row = blocks.get(self.db, block)
        assert row is not None
        self.turn(lambda turn: hubs.set_active(turn, row.hub, active=active))

    def result(self, block: int) -> Any:
        """What a workflow returned."""
        row, submitted = blocks.get(self.db, block), blocks.delta(self.db, block)
        assert row is not None and submitted is not None
        found = blocks.result_of(submitted, row.out_lo)
        assert found is not None
        template, refs = found
        return decode(template, [self._value(gathers_read._input(self._datum(r), {})) for r in refs])

    def _datum(self, datum: int) -> Any:
        with self.engine.turn() as turn:
            return gathers_read.data.get(turn.db, [datum])[datum]

    def _value(self, found: Input) -> Any:
        if found.gather:
            return [self._value(m) for m in gathers_read.members(self.db, found.gather, 0, 1 << 40)]
        return None if found.value is None else decode(found.value)

    def _attempt(self, claimed: Claimed) -> Outcome:
        spec = self.engine.spec(self.db, claimed.task)
        args = decode(claimed.args, [self._value(i) for i in claimed.inputs])
        try:
            if spec.kind == "builtin":
                return self._good(claimed, [args[0]], b"")
            self._growing.install()
            value = caller(self._functions[spec.digest], spec)(args)
            grown = grow(value, self._growing, spec)
        except Exception as error:  # noqa: BLE001 — whatever a test's function raises
            self._growing.reset()
            failure = Failure(int(Reason.EXCEPTION), type(error).__name__, str(error), "Traceback: …\n")
            return Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], 10.0, 10.5, failure=failure)
        finally:
            context.install(None)
        if grown is not None:
            return self._good(claimed, [], delta.encode(grown))
        values = spread(spec, value) if len(spec.outputs) != 1 else [value]
        return self._good(claimed, values, b"")

    def _good(self, claimed: Claimed, values: list[Any], growth: bytes) -> Outcome:
        outs = [Out(e, digest(e), len(e)) for e in map(encode, values)]
        state = int(AttemptState.COMPLETE)
        return Outcome(claimed.run, claimed.fence, state, outs, 10.0, 10.5, 0.4, 1 << 20, growth=growth)
