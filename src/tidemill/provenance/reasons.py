"""Reasons by the hundred thousand: for each task of a workflow, how many runs would execute and what for.

The same comparison as in `why`, with the runs of the last workflow of the same name read side by side.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tidemill.engine import flags
from tidemill.engine.keyindex import KeyIndex
from tidemill.engine.keys import base_key
from tidemill.model.delta import RunFlag
from tidemill.model.spec import TaskSpec
from tidemill.model.states import DatumState, RunState
from tidemill.provenance.difference import own_changes
from tidemill.provenance.likeness import Likenesses
from tidemill.provenance.meaning import Meaning, Specs
from tidemill.provenance.ports import arguments, input_names
from tidemill.stores.state import data, gathers, history, lineage, runs
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database
from tidemill.stores.state.history import Earlier
from tidemill.stores.state.lineage import Link

SLICE = 20_000
"""Runs read at a time."""

VERSIONS = 4
"""Other versions of a task looked up for runs whose like is not in the last workflow."""

_STATES = {RunState.ERROR: "failed before", RunState.SKIPPED: "skipped before", RunState.CANCELLED: "cancelled before"}
_GONE = {DatumState.EXPIRED: "expired", DatumState.LOST: "lost", DatumState.DELETED: "deleted"}


@dataclass
class Tally:
    """What would become of the runs of one task.

    Attributes:
        total: runs; those that a run would call are not known before.
        reused: known already.
        done: executed before in this same workflow, which was interrupted.
        run: ready: they would execute.
        waiting: their inputs would be computed first.
        shared: equal to another run of the plan, whose result they would take.
        ended: failed, skipped or cancelled.
        reasons: of the runs that would execute or wait.
    """

    total: int = 0
    reused: int = 0
    done: int = 0
    run: int = 0
    waiting: int = 0
    shared: int = 0
    ended: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def tally(db: Database, root: int, specs: Specs, index: KeyIndex | None = None) -> dict[str, Tally]:
    """By task, in the order of their first runs: what would become of the runs of a workflow and why.

    Args:
        db: the store, in which the workflow has been submitted and settled.
        root: its block.
        specs: the tasks.
        index: the keys of the store's runs.
    """
    found: dict[str, Tally] = {}
    likenesses = Likenesses(db, specs, index)
    for block in history.deltas(db, root):
        _Delta(db, block, specs, likenesses).count(found)
    return found


class _Delta:
    """The runs of one block's delta, beside those of the block it is compared with."""

    def __init__(self, db: Database, block: Block, specs: Specs, likenesses: Likenesses) -> None:
        self._db = db
        self._block = block
        self._specs = specs
        self._likenesses = likenesses
        self._outs: array[int] = array("q")
        self._tasks: array[int] = array("q")
        self._before: dict[str, _Side] | None = None
        self._parts: dict[tuple[int, int], list[str]] = {}

    def count(self, found: dict[str, Tally]) -> None:
        low, high = self._block.run_lo, self._block.run_lo + self._block.run_n
        following = history.following(self._db, low, high)
        numbers: Counter[str] = Counter()
        for part in _slices(self._db, low, high):
            for row in part:
                self._outs.append(row.out)
                self._tasks.append(row.task)
            asked: list[tuple[Earlier, str, int]] = []
            for row in part:
                name = self._specs.of(row.task).name
                one = found.setdefault(name, Tally())
                if _note(one, row, following):
                    asked.append((row, name, numbers[name]))
                numbers[name] += 1
            self._explain(asked, found)

    def _read_twin(self) -> "dict[str, _Side]":
        found: dict[str, _Side] = {}
        twin = self._likenesses.twin(self._block)
        if twin is not None:
            for part in _slices(self._db, twin.run_lo, twin.run_lo + twin.run_n):
                for row in part:
                    found.setdefault(self._specs.of(row.task).name, _Side()).add(row)
        return found

    # ---------------------------------------------------------------------------------------------------- explaining

    def _explain(self, asked: Sequence[tuple[Earlier, str, int]], found: dict[str, Tally]) -> None:
        if not asked:
            return
        if self._before is None:
            self._before = self._read_twin()
        likes = {row.id: self._like(row, name, number) for row, name, number in asked}
        self._look_up(asked, likes)
        texts: dict[int, list[str]] = {}
        for row, _, _ in asked:
            texts[row.id] = self._own(row, likes[row.id])
        silent = [(row, like) for row, _, _ in asked if not texts[row.id] and (like := likes[row.id]) is not None]
        self._inputs(silent, texts)
        self._unusable([(r, k) for r, k in silent if not texts[r.id]], texts)
        for row, name, _ in asked:
            found[name].reasons["; ".join(texts[row.id]) or "its earlier result is not there"] += 1

    def _like(self, row: Earlier, name: str, number: int) -> Earlier | None:
        side = self._before.get(name) if self._before is not None else None
        if side is None:
            return None
        place = side.rows[number] if number < len(side.rows) else None
        if place is not None and place.args == row.args:
            return place
        if not row.flags & flags.HAS_INPUTS and (same := side.by_args().get(row.args)) is not None:
            return same
        return place

    def _look_up(self, asked: Sequence[tuple[Earlier, str, int]], likes: dict[int, Earlier | None]) -> None:
        """Runs without inputs whose like is not in the last workflow: by key, under other versions of the task, too."""
        lost = [(row, name) for row, name, _ in asked if not _settled(row, likes[row.id])]
        for version in range(VERSIONS):
            keys: dict[bytes, int] = {}
            for row, name in lost:
                versions = self._specs.versions(name)
                if version < len(versions):
                    keys[base_key(self._specs.of(versions[version]).digest, row.args)] = row.id
            found = self._likenesses.with_keys(list(keys), self._block.run_lo)
            others = history.pick(self._db, list(found.values()))
            likes.update({keys[key]: others[run] for key, run in found.items()})
            lost = [(row, name) for row, name in lost if not _settled(row, likes[row.id])]

    def _own(self, row: Earlier, like: Earlier | None) -> list[str]:
        if row.flags & RunFlag.NO_CACHE:
            return ["not reused (cache=False)"]
        if row.flags & flags.FORCED:
            return ["asked to execute again"]
        if like is None:
            return ["new"]
        found: list[str] = []
        if row.task != like.task:
            found += self._part_texts(row, like)
        if row.args != like.args:
            changes = own_changes(self._meaning(row), self._meaning(like))
            found += [f"{c.kind} {c.name}".strip() for c in changes if c.kind in {"argument", "repetition"}]
        return found

    def _part_texts(self, row: Earlier, like: Earlier) -> list[str]:
        pair = (row.task, like.task)
        if pair not in self._parts:
            changes = own_changes(self._meaning(row), self._meaning(like))
            self._parts[pair] = [c.text for c in changes if c.kind not in {"argument", "repetition"}]
        return self._parts[pair]

    def _meaning(self, row: Earlier) -> Meaning:
        """A run taken apart without its inputs."""
        spec = self._specs.of(row.task)
        pieces, replica = arguments(spec, row.args)
        whole = runs.Run(
            row.id, row.task, 0, 0, row.state, row.pending, row.attempt, 0, 0, row.flags, None, row.out, b"", row.args
        )
        return Meaning(whole, spec, {a.port: a.encoded for a in pieces}, replica, {}, {})

    # ---------------------------------------------------------------------------------------------------- inputs

    def _inputs(self, silent: Sequence[tuple[Earlier, Earlier]], texts: dict[int, list[str]]) -> None:
        """Runs that differ in nothing of their own: which of their inputs will be, or are, others."""
        fed = [(row, like) for row, like in silent if row.flags & flags.HAS_INPUTS]
        if not fed:
            return
        links = _by_run(lineage.inputs(self._db, [row.id for row, _ in fed]))
        told = {run for run, found in links.items() if any(link.state is not None for link in found)}
        known = _by_run(lineage.inputs(self._db, [like.id for row, like in fed if row.id in told]))
        makers = _Makers(self._db, self._specs, self._outs, self._tasks)
        for row, like in fed:
            then = {k.port: k for k in known.get(like.id, ())}
            spec = self._specs.of(row.task)
            for link in links.get(row.id, ()):
                text = makers.pending(link) if link.state is None else _changed(link, then.get(link.port))
                if text:
                    name = input_names(spec, row.args).get(link.port, "") if link.port >= 0 else ""
                    label = f"input {name}" if name else "order"
                    texts[row.id].append(f"{label} {text}")

    def _unusable(self, rest: Sequence[tuple[Earlier, Earlier]], texts: dict[int, list[str]]) -> None:
        """Equal runs whose results cannot be taken."""
        heads = data.get(self._db, [like.out for _, like in rest], values=False)
        sources = data.get(self._db, [h.src for h in heads.values() if h.src], values=False)
        for row, like in rest:
            state = _STATES.get(RunState(like.state))
            head = heads.get(like.out)
            source = sources.get(head.src, head) if head is not None and head.src else head
            gone = _GONE.get(DatumState(source.state)) if source is not None else None
            if state is None and gone is not None:
                state = f"its earlier result is {gone}"
            texts[row.id].append(state or "its earlier result is not there")


class _Makers:
    """Which tasks make data that are pending."""

    def __init__(self, db: Database, specs: Specs, outs: "array[int]", tasks: "array[int]") -> None:
        self._db = db
        self._specs = specs
        self._outs = outs
        self._tasks = tasks
        self._lists: dict[int, str] = {}

    def pending(self, link: Link) -> str:
        """What a pending input waits for."""
        return f"({self._maker(link.datum)} would run first)"

    def _maker(self, datum: int) -> str:
        if datum in self._lists:
            return self._lists[datum]
        spec = self._task_of(datum)
        if spec is not None:
            return spec.name
        stretches = gathers.stretches(self._db, datum)
        waiting = next((s for s in stretches if s.pending), None)
        found = self._task_of(waiting.lo) if waiting is not None else None
        self._lists[datum] = found.name if found is not None else "something"
        return self._lists[datum]

    def _task_of(self, datum: int) -> TaskSpec | None:
        at = bisect_right(self._outs, datum) - 1
        if at < 0:
            return None
        spec = self._specs.of(self._tasks[at])
        return spec if datum < self._outs[at] + len(spec.outputs) else None


class _Side:
    """The runs of one task in the earlier workflow."""

    def __init__(self) -> None:
        self.rows: list[Earlier] = []
        self._by_args: dict[bytes, Earlier] | None = None

    def add(self, row: Earlier) -> None:
        self.rows.append(row)

    def by_args(self) -> dict[bytes, Earlier]:
        if self._by_args is None:
            self._by_args = {row.args: row for row in self.rows}
        return self._by_args


def _slices(db: Database, low: int, high: int) -> Iterator[list[Earlier]]:
    while low < high and (part := history.between(db, low, high, SLICE)):
        yield part
        low = part[-1].id + 1


def _note(one: Tally, row: Earlier, following: set[int]) -> bool:
    """Count a run; whether it would execute and needs a reason."""
    one.total += 1
    if row.state == RunState.COMPLETE:
        if row.attempt:
            one.done += 1
        else:
            one.reused += 1
        return False
    if row.state not in {RunState.LIVE, RunState.HELD}:
        one.ended += 1
        return False
    if row.id in following:
        one.shared += 1
        return False
    if row.pending > 0:
        one.waiting += 1
    else:
        one.run += 1
    return True


def _settled(row: Earlier, like: Earlier | None) -> bool:
    """Whether there is nothing better to find."""
    return bool(row.flags & flags.HAS_INPUTS) or (like is not None and like.args == row.args)


def _by_run(links: Iterable[Link]) -> dict[int, list[Link]]:
    found: dict[int, list[Link]] = {}
    for link in links:
        found.setdefault(link.run, []).append(link)
    return found


def _changed(now: Link, then: Link | None) -> str:
    if now.port < 0 or (then is not None and now.digest is not None and now.digest == then.digest):
        return ""
    return "changed"
