"""The local workers as the engine sees them: what each holds, how much more it may get, and what ended it."""

import os
import time
from pathlib import Path

from tidemill.engine.engine import Engine
from tidemill.launchers.local import LocalPool, LocalWorker
from tidemill.model.protocol import Claimed, Outcome
from tidemill.model.states import Reason
from tidemill.stores.state.classes import Class

AHEAD_SECONDS = 0.1
"""Work that a worker is given in advance."""
LARGEST = 500
"""Runs in one message to a worker."""
RESERVE_AFTER = 2.0
"""Seconds after which a request that does not fit beside others gets the machine reserved."""
_OVERHEAD = 1e-5


class Slot:
    """One local worker.

    Attributes:
        id: its registration in the store.
        ready: it has said hello.
        held: run -> (class, task) of what it was given and has not answered.
        known: tasks whose specification it has.
        ending: why the host is ending it, if it is.
    """

    def __init__(self, pool: LocalPool, worker: LocalWorker, registration: int) -> None:
        self.pool = pool
        self.worker = worker
        self.id = registration
        self.ready = False
        self.held: dict[int, tuple[int, int]] = {}
        self.known: set[int] = set()
        self.ending: tuple[Reason, str] | None = None
        self.cpus = 0.0
        self.memory = 0

    def given(self, claimed: list[Claimed], engine: Engine) -> None:
        """The worker was sent these runs."""
        for c in claimed:
            cls = engine.flight[c.run].cls
            self.held[c.run] = (cls, c.task)
            found = engine.classes[cls]
            self.cpus = max(self.cpus, found.cpus)
            self.memory = max(self.memory, found.memory)

    def answered(self, outcomes: list[Outcome]) -> None:
        """These runs are over for the worker."""
        for o in outcomes:
            self.held.pop(o.run, None)
        if not self.held:
            self.cpus, self.memory = 0.0, 0


class Slots:
    """All local workers, and the machine that they share.

    Args:
        cpus: what runs may occupy together.
        memory: bytes that runs may ask for together.
    """

    def __init__(self, cpus: float, memory: int) -> None:
        self.cpus = cpus
        self.memory = memory
        self.all: list[Slot] = []
        self._seconds: dict[int, float] = {}
        self._waiting_since: dict[int, float] = {}
        self._reserved: int | None = None

    def learn(self, slot: Slot, outcomes: list[Outcome]) -> None:
        """Estimate the time per run of each class from what has finished."""
        first: dict[int, tuple[float, int]] = {}
        for o in outcomes:
            held = slot.held.get(o.run)
            if held is not None:
                total, n = first.get(held[0], (0.0, 0))
                first[held[0]] = (total + o.t1 - o.t0, n + 1)
        for cls, (total, n) in first.items():
            mean = max(0.0, total / n) + _OVERHEAD
            old = self._seconds.get(cls)
            self._seconds[cls] = mean if old is None else old + 0.5 * (mean - old)

    def estimate(self, cls: int) -> float:
        """Seconds per run of a class; 0 where nothing is known."""
        return self._seconds.get(cls, 0.0)

    def room(self, slot: Slot, cls: Class, waiting: int) -> int:
        """How many runs of a class a worker may be given now."""
        if slot.ending is not None or not slot.ready or not self._fits(slot, cls):
            return 0
        seconds = self._seconds.get(cls.id)
        if seconds is None:
            return 0 if slot.held else 1
        ahead = sum(self._seconds.get(c, AHEAD_SECONDS) for c, _ in slot.held.values())
        if ahead >= AHEAD_SECONDS:
            return 0
        if slot.held and seconds >= AHEAD_SECONDS:
            return 0
        share = -(-waiting // max(1, len(self.all)))
        return max(1, min(LARGEST, int((AHEAD_SECONDS - ahead) / seconds), share))

    def _fits(self, slot: Slot, cls: Class) -> bool:
        cpus = sum(s.cpus for s in self.all if s is not slot)
        memory = sum(s.memory for s in self.all if s is not slot)
        fits = (
            cpus + max(slot.cpus, cls.cpus) <= self.cpus + 1e-9 and memory + max(slot.memory, cls.memory) <= self.memory
        )
        # a request larger than the machine gets all of it, when nothing else runs
        fits = fits or (cpus == 0 and memory == 0 and not slot.held)
        if self._reserved is not None and self._reserved != cls.id:
            return False
        if fits:
            self._waiting_since.pop(cls.id, None)
            self._reserved = None
            return True
        since = self._waiting_since.setdefault(cls.id, time.monotonic())
        if time.monotonic() - since > RESERVE_AFTER:
            self._reserved = cls.id
        return False

    def forget_wait(self, cls: int) -> None:
        """A class has nothing ready any more."""
        self._waiting_since.pop(cls, None)
        if self._reserved == cls:
            self._reserved = None

    def running(self) -> dict[int, int]:
        """Leased runs per task."""
        counts: dict[int, int] = {}
        for slot in self.all:
            for _, task in slot.held.values():
                counts[task] = counts.get(task, 0) + 1
        return counts


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 1 << 40


def pool_directory(store: Path, engine: int, number: int) -> Path:
    """Where a pool keeps its shared memory, logs and scratch."""
    return store / "work" / f"engine-{engine}-{number}"
