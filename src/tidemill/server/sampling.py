"""What runs use while they execute: looked at now and then, held against what they declared, kept for the record."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from tidemill.engine.engine import Engine
from tidemill.launchers import processes
from tidemill.model.preview import size_text
from tidemill.model.protocol import Outcome, Started
from tidemill.model.states import Reason
from tidemill.server.slots import Ending, Slot
from tidemill.workers.diskuse import DiskUse

LONG = 1.0
"""Seconds after which a run is looked at though it declared nothing."""
IDLY = 2.0
"""Seconds between two looks at the memory of runs that declared none."""
SLICE = 0.01
"""Seconds given to one look at a directory; a large one takes several."""
_REST = 20
"""A directory is looked at again after so many times what that took."""


class Used(NamedTuple):
    """Peaks in bytes."""

    memory: int = 0
    disk: int = 0


class Sample:
    """What is known of one attempt under way."""

    def __init__(self, started: Started) -> None:
        self.id = started[:2]
        self.memory = 0
        self.disk = 0
        self.walk: DiskUse | None = None
        self.spent = 0.0
        self.next_walk = 0.0


class Sampler:
    """Looks at what all workers of a host execute.

    Args:
        engine: knows what runs declared.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._samples: dict[int, Sample] = {}
        self._next_idle = 0.0

    def check(self, slots: Iterable[Slot]) -> list[tuple[Slot, Ending]]:
        """Workers to be ended because what they execute exceeded its limits."""
        now = time.monotonic()
        busy = [(slot, started) for slot in slots if (started := slot.started()) is not None]
        found = {slot.id: ending for slot, started in busy if (ending := self._time(slot, started, now)) is not None}
        looked_at = [(slot, started) for slot, started in busy if slot.id not in found and self._sampled(slot, started)]
        self._samples = {slot.id: self._sample(slot, started) for slot, started in busy if self._sampled(slot, started)}
        idle = now >= self._next_idle
        if idle:
            self._next_idle = now + IDLY
        watched = [(slot, started) for slot, started in looked_at if idle or self._declared(slot, started)[0]]
        trees = processes.trees([slot.worker.pid for slot, _ in watched], processes.table()) if watched else {}
        for slot, started in looked_at:
            ending = self._memory(slot, started, trees.get(slot.worker.pid)) or self._disk(slot, started)
            if ending is not None:
                found[slot.id] = ending
        return [(slot, found[slot.id]) for slot, _ in busy if slot.id in found]

    def used(self, slot: Slot, run: int, fence: int) -> Used:
        """What has been seen of an attempt."""
        sample = self._samples.get(slot.id)
        return Used(sample.memory, sample.disk) if sample is not None and sample.id == (run, fence) else Used()

    def complement(self, slot: Slot, outcomes: Iterable[Outcome]) -> None:
        """Attempts have ended: what was seen meanwhile may be more than the worker knows of."""
        sample = self._samples.get(slot.id)
        for o in outcomes if sample is not None else ():
            if sample is not None and sample.id == (o.run, o.fence):
                o.rss, o.disk = max(o.rss, sample.memory), max(o.disk, sample.disk)
                del self._samples[slot.id]
                return

    # ------------------------------------------------------------------------------------------------------- one run

    def _declared(self, slot: Slot, started: Started) -> tuple[int, int]:
        """Limits of memory and disk, 0 for none."""
        cls = self._engine.classes[slot.held[started.run][0]]
        return cls.memory, cls.disk

    def _sampled(self, slot: Slot, started: Started) -> bool:
        return any(self._declared(slot, started)) or time.monotonic() - started.since > LONG

    def _sample(self, slot: Slot, started: Started) -> Sample:
        sample = self._samples.get(slot.id)
        return sample if sample is not None and sample.id == started[:2] else Sample(started)

    def _time(self, slot: Slot, started: Started, now: float) -> Ending | None:
        if slot.up:
            return None  # it had that time for coming up
        cls, task = slot.held[started.run]
        limit = self._engine.classes[cls].walltime or self._engine.spec(self._engine.db, task).timeout
        if 0 < limit < now - started.since:
            return Ending(Reason.TIMEOUT, f"it took longer than its timeout of {limit:g} s", started.run)
        return None

    def _memory(self, slot: Slot, started: Started, tree: list[processes.Process] | None) -> Ending | None:
        if tree is None:
            return None
        limit = self._declared(slot, started)[0]
        inherited = started.resident  # what earlier runs have left in the worker's process is not this one's
        held = sum(one.rss for one in tree)
        if 0 < limit < held - inherited:
            held = processes.proportional(tree)  # only now: it takes time
        sample = self._samples[slot.id]
        sample.memory = max(sample.memory, held)
        used = held - inherited
        if not 0 < limit < used:
            return None
        message = f"it used {used / 2**20:.0f} MiB of the {limit / 2**20:.0f} MiB it declared"
        return Ending(Reason.OUT_OF_MEMORY, message, started.run)

    def _disk(self, slot: Slot, started: Started) -> Ending | None:
        sample = self._samples[slot.id]
        now = time.monotonic()
        if now < sample.next_walk:
            return None
        if sample.walk is None:
            sample.walk, sample.spent = DiskUse(slot.worker.directory), 0.0
        done = sample.walk.step(SLICE)
        used = sample.walk.total
        sample.spent += time.monotonic() - now
        sample.disk = max(sample.disk, used)
        slot.disk_used = sample.disk
        if done:
            sample.walk = None
            sample.next_walk = time.monotonic() + _REST * sample.spent
        limit = self._declared(slot, started)[1]
        if not 0 < limit < used:
            return None
        message = f"it used {size_text(used)} of the {size_text(limit)} of disk it declared"
        return Ending(Reason.DISK_FULL, message, started.run)
