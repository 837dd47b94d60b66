"""Looking into the store that a driven engine works on."""

from typing import Any

import msgspec

from tidemill.engine import gathers_read
from tidemill.engine.engine import Engine
from tidemill.model.errors import NotFoundError
from tidemill.model.protocol import Input
from tidemill.model.states import DatumState, RunView
from tidemill.stores.state import blocks, data, runs, supersedes
from tidemill.stores.state.database import Row, Statement
from tidemill.testing.graphs import Graph, Slot

_unpack = msgspec.msgpack.Decoder().decode


class EngineRows:
    """The questions that tests ask of an engine's store, each in a transaction of its own.

    Attributes:
        engine: whose store it is.
    """

    engine: Engine

    def rows(self, query: str, *params: object) -> list[Row]:
        """The rows of a query, for tests that look inside."""
        with self.engine.db.transaction(write=False):
            return self.engine.db.rows(Statement(query), *params)

    def datum(self, block: int, graph: Graph, slot: Slot) -> int:
        """The id of a graph's output in the block it was submitted as."""
        return self.block(block).out_lo + graph.number(slot)

    def run_id(self, block: int, slot: Slot) -> int:
        """The id of the run that a slot was got from."""
        return self.block(block).run_lo + slot.run

    def block(self, block: int) -> blocks.Block:
        with self.engine.db.transaction(write=False):
            row = blocks.get(self.engine.db, block)
        assert row is not None
        return row

    def run(self, run: int) -> runs.Run:
        with self.engine.db.transaction(write=False):
            return runs.get(self.engine.db, [run])[run]

    def view(self, run: int) -> RunView:
        with self.engine.db.transaction(write=False):
            return runs.views(self.engine.db, [run])[run]

    def newest_run(self, run: int) -> int:
        with self.engine.db.transaction(write=False):
            return supersedes.newest(self.engine.db, run, supersedes.RUN)

    def state(self, datum: int) -> DatumState:
        """The state of a datum in its newest generation."""
        with self.engine.db.transaction(write=False):
            newest = supersedes.newest(self.engine.db, datum)
            return DatumState(data.states(self.engine.db, [newest]).get(newest, 0))

    def value(self, datum: int) -> Any:
        """The value of a complete datum in its newest generation.

        Raises:
            NotFoundError: it was there once.
        """
        with self.engine.db.transaction(write=False):
            newest = supersedes.newest(self.engine.db, datum)
            row = data.get(self.engine.db, [newest])[newest]
            source = data.get(self.engine.db, [row.src])[row.src] if row.src else row
        if row.state in data.GONE or source.state in data.GONE:
            raise NotFoundError(f"datum {datum} has no value any more")
        assert row.state == DatumState.COMPLETE, f"datum {datum} is {DatumState(row.state).name}"
        if row.kind == data.GATHER:
            return self._input(Input(None, row.digest or b"", row.size, row.src or row.id))
        return self._input(Input(source.value, row.digest or b"", row.size))

    def _input(self, given: Input) -> Any:
        if not given.digest:
            return None
        if given.gather:
            with self.engine.db.transaction(write=False):
                members = gathers_read.members(self.engine.db, given.gather, 0, given.size)
            return [self._input(m) for m in members]
        assert given.value is not None
        return _unpack(given.value)

    def results(self, block: int) -> list[Any]:
        """The values of a root block's result."""
        with self.engine.db.transaction(write=False):
            submitted = blocks.delta(self.engine.db, block)
        assert submitted is not None
        found = blocks.result_of(submitted, self.block(block).out_lo)
        return [self.value(d) for d in found[1]] if found else []
