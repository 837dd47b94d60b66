"""A store with its engine in this process: real plans, real rows, and runs executed one by one when a test says so."""

import importlib
import operator
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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
from tidemill.model.spec import TaskSpec
from tidemill.model.states import AttemptState, Reason
from tidemill.model.values import decode, encode
from tidemill.stores.state import blocks, data
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
        return decode(template, [self._value(self._datum(r)) for r in refs])

    def _datum(self, datum: int) -> Input:
        row = data.get(self.db, [datum])[datum]
        if row.kind == data.GATHER:
            return Input(None, row.digest or b"", row.size, row.src or row.id)
        source = data.get(self.db, [row.src])[row.src] if row.src else row
        return Input(source.value, source.digest or b"", source.size)

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
            value = caller(self._function(spec), spec)(args)
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

    def _function(self, spec: TaskSpec) -> Callable[..., Any]:
        """The function of a task of some plan, or one that a run called."""
        if spec.digest not in self._functions:
            assert spec.python is not None
            found = operator.attrgetter(spec.python.qualname)(sys.modules[spec.python.module])
            self._functions[spec.digest] = found.fn
        return self._functions[spec.digest]

    def _good(self, claimed: Claimed, values: list[Any], growth: bytes) -> Outcome:
        outs = [Out(e, digest(e), len(e)) for e in map(encode, values)]
        state = int(AttemptState.COMPLETE)
        return Outcome(claimed.run, claimed.fence, state, outs, 10.0, 10.5, 0.4, 1 << 20, growth=growth)


class Project:
    """A module that changes: each `load` is its next version, imported afresh under the same name.

    Args:
        folder: where it is; on `sys.path` as long as the test wants it.
        name: of the module; a test's own.
        source: its text, with `$name` for what the versions differ in.
        values: what stands for these at first.
    """

    def __init__(self, folder: Path, name: str, source: str, **values: object) -> None:
        self._folder = folder
        self._name = name
        self._source = source
        self._values = values

    def load(self, **values: object) -> ModuleType:
        """The version with these values in place of the first ones."""
        text = self._source
        for key, value in {**self._values, **values}.items():
            text = text.replace(f"${key}", str(value))
        (self._folder / f"{self._name}.py").write_text(text, encoding="utf-8")
        shutil.rmtree(self._folder / "__pycache__", ignore_errors=True)
        sys.modules.pop(self._name, None)
        importlib.invalidate_caches()
        return importlib.import_module(self._name)
