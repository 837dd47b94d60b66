"""Finding the earlier run that a run is best compared with.

In this order: one with the same key; one with the same arguments in the same place of the last workflow of the same
name; one with the same arguments and inputs under another version of the task; one with the same arguments anywhere;
the one in the same place; the newest of the task.
"""

from typing import NamedTuple

from tidemill.engine.keyindex import KeyIndex
from tidemill.model.states import RunState
from tidemill.provenance.meaning import Meaning, Specs, meanings
from tidemill.stores.state import blocks, history, memo, runs
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import Run

VERSIONS = 8
"""Other versions of a task that are looked up."""

BLOCKS = 3
"""Earlier workflows of the same name that are looked at."""

SAME_KEY = "with the same key"
SAME_ARGUMENTS = "with the same arguments"
SAME_PLACE = "in the same place"
NEWEST = "the newest of this task"


class Likeness(NamedTuple):
    """An earlier run, and what it has in common."""

    run: int
    how: str


class Likenesses:
    """Looks for earlier runs in one store.

    Args:
        db: the store.
        specs: its tasks.
        index: the keys of its runs, if somebody has it; else it is loaded at first use.
    """

    def __init__(self, db: Database, specs: Specs, index: KeyIndex | None = None) -> None:
        self._db = db
        self._specs = specs
        self._index = index
        self._twins: dict[int, Block | None] = {}

    def of(self, meaning: Meaning) -> Likeness | None:
        """The earlier run to compare a run with; None if the task never ran before."""
        if meaning.arrived and (same := self.with_key(meaning.key(), meaning.run.id)) is not None:
            return Likeness(same, SAME_KEY)
        places = self._places(meaning)
        equal = [p for p in places if p.run.args == meaning.run.args]
        if equal:
            return Likeness(equal[0].run.id, SAME_ARGUMENTS)
        other = self._other_version(meaning) or self._with_arguments(meaning)
        if other is not None:
            return Likeness(other, SAME_ARGUMENTS)
        if places:
            return Likeness(places[0].run.id, SAME_PLACE)
        newest = history.latest(self._db, self._first(meaning.run), self._specs.versions(meaning.spec.name))
        return Likeness(newest, NEWEST) if newest is not None else None

    # --------------------------------------------------------------------------------------------------------- by key

    def with_key(self, key: bytes, but: int) -> int | None:
        """An earlier run that completed under this key, whatever became of its result since."""
        return self.with_keys([key], but).get(key)

    def with_keys(self, keys: list[bytes], before: int) -> dict[bytes, int]:
        """Runs with ids below `before` that completed under these keys, the newest of each."""
        if self._index is None:
            self._index = KeyIndex(self._ports, shared=self._db.dialect == "postgres")
            self._index.load(self._db)
        wanted = {memo.short(k): k for k in keys}
        candidates = [run for k in keys if (run := self._index.known(k)) is not None]
        candidates += [run for _, run in memo.find(self._db, list(wanted))] if wanted else []
        found: dict[bytes, int] = {}
        for run, key, *_ in memo.keys(self._db, [r for r in candidates if r < before]):
            known = bytes(key)
            if wanted.get(memo.short(known)) == known:
                found[known] = max(run, found.get(known, 0))
        return found

    def _ports(self, task: int) -> int:
        return len(self._specs.of(task).outputs)

    def _other_version(self, meaning: Meaning) -> int | None:
        if not meaning.arrived:
            return None
        for task in self._specs.versions(meaning.spec.name)[:VERSIONS]:
            if task != meaning.run.task:
                found = self.with_key(meaning.key(self._specs.of(task)), meaning.run.id)
                if found is not None:
                    return found
        return None

    # ------------------------------------------------------------------------------------------- by arguments, by place

    def _with_arguments(self, meaning: Meaning) -> int | None:
        """Runs with inputs are all alike in their arguments, so these say nothing about them."""
        if meaning.inputs:
            return None
        versions = self._specs.versions(meaning.spec.name)
        return history.with_args(self._db, 0, self._first(meaning.run), meaning.run.args, versions)

    def _first(self, row: Run) -> int:
        """The first run of the workflow that a run belongs to."""
        block = blocks.get(self._db, row.block)
        root = blocks.get(self._db, block.root) if block is not None else None
        return root.run_lo if root is not None and root.run_n else row.id

    def _places(self, meaning: Meaning) -> list[Meaning]:
        """The runs in the same place of earlier workflows of the same name, the most similar first."""
        row = meaning.run
        own = history.delta_block(self._db, row.block)
        if own is None:
            return []
        if own.previous is not None and (old := history.older(self._db, row.id)) is not None:
            found = [old]
        else:
            twins = self._twins_of(own)
            found = [p for t in twins if (p := self._in_place(row, meaning.spec.name, own, t)) is not None]
        known = meanings(self._db, self._specs, found)
        return sorted((known[p] for p in found), key=lambda then: _distance(meaning, then))

    def _in_place(self, row: Run, name: str, own: Block, twin: Block) -> int | None:
        """The run of the same number among those of its task in the block to compare with."""
        versions = self._specs.versions(name)
        number = history.number_of(self._db, own.run_lo, row.id, versions)
        return history.nth(self._db, twin.run_lo, twin.run_lo + twin.run_n, versions, number)

    def twin(self, own: Block) -> Block | None:
        """The block to compare a delta's block with."""
        if own.id not in self._twins:
            self._twins[own.id] = next(iter(self._twins_of(own)), None)
        return self._twins[own.id]

    def _twins_of(self, own: Block) -> list[Block]:
        """Blocks to compare a delta's block with, the newest first, those in which nothing was done last."""
        if own.owner is None:
            found = history.earlier_blocks(self._db, own.name, own.id, BLOCKS)
            return sorted(found, key=lambda b: not b.done)
        owner = runs.get(self._db, [own.owner]).get(own.owner)
        if owner is None:
            return []
        like = self._grown_before(owner)
        grown = blocks.owned_by(self._db, like) if like is not None else None
        return [grown] if grown is not None else []

    def _grown_before(self, owner: Run) -> int | None:
        """The earlier run that grew what this one grew: of the same key if there is one, else in the same place."""
        same = self.with_key(bytes(owner.key), owner.id) if owner.state == RunState.COMPLETE else None
        own = history.delta_block(self._db, owner.block) if same is None else None
        twin = self.twin(own) if own is not None else None
        if own is None or twin is None:
            return same
        return self._in_place(owner, self._specs.of(owner.task).name, own, twin)


def _distance(now: Meaning, then: Meaning) -> int:
    """How much differs."""
    parts = now.spec.digest != then.spec.digest
    ports = sum(then.arguments.get(p) != piece for p, piece in now.arguments.items())
    inputs = sum(
        k.digest is not None and (n not in then.inputs or then.inputs[n].digest != k.digest)
        for n, k in now.inputs.items()
    )
    return parts + ports + inputs
