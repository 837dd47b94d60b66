"""The local workers as the engine sees them: what each holds, how much more it may get, and what ended it."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from tidemill.engine.engine import Engine
from tidemill.launchers.local import LocalPool, LocalWorker
from tidemill.model.protocol import Claimed, Outcome, Started
from tidemill.model.states import Reason
from tidemill.server import devices
from tidemill.server.devices import Device
from tidemill.stores.state.classes import Class

AHEAD_SECONDS = 0.1
"""Work that a worker is given in advance."""
LARGEST = 500
"""Runs in one message to a worker."""
SUBMITTING = 150
"""The same while submissions wait: short messages make short transactions."""
RESERVE_AFTER = 2.0
"""Seconds after which a request that does not fit beside others gets the machine reserved."""
MEASURED = 2.0
"""Seconds for which a measurement of the free disk holds."""
EVERYTHING = frozenset({"workers", "cpus", "memory", "disk", "accelerators"})
"""What a class may have to wait for."""
_OVERHEAD = 1e-5
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Ending(NamedTuple):
    """Why the host ends a worker, and the run it does so for (0: for none, so that nothing is charged)."""

    reason: Reason
    message: str
    run: int = 0


class Slot:
    """One local worker.

    Attributes:
        id: its registration in the store.
        ready: it has said hello.
        held: run -> (class, task) of what it was given and has not answered.
        known: tasks whose specification it has.
        ending: why the host is ending it, if it is; it gets nothing more.
        draining: when it was asked to end, and what it was doing.
        killed: it was not asked to end but killed.
        cpus, memory, disk: what is set aside for it.
        disk_used: what of that is known to be on the disk already.
        devices: accelerators that the runs it holds may use; `wanted` is what these asked for.
        seen: accelerators that its process has been told to use; its libraries may hold on to them.
        service: the run, a service, that it was given; 0 for none. It gets nothing else any more.
        fence: under which it was given that, `since` when; `hosts` is its class.
        hosted: that was sent to its process, which ends with it.
        up: that has published, and `told` that it has no users any more.
    """

    def __init__(self, pool: LocalPool, worker: LocalWorker, registration: int) -> None:
        self.pool = pool
        self.worker = worker
        self.id = registration
        self.ready = False
        self.held: dict[int, tuple[int, int]] = {}
        self.known: set[int] = set()
        self.ending: Ending | None = None
        self.draining: tuple[float, Started | None] | None = None
        self.killed = False
        self.cpus = 0.0
        self.memory = self.disk = self.disk_used = 0
        self.wanted = ""
        self.devices: list[Device] = []
        self.seen: list[Device] = []
        self.service = self.fence = 0
        self.hosts: Class | None = None
        self.since = 0.0
        self.hosted = self.up = self.told = False

    @property
    def open(self) -> bool:
        """Whether it may be given work."""
        return self.ready and self.ending is None and not self.service

    def given(self, claimed: list[Claimed], engine: Engine) -> None:
        """The worker gets these runs."""
        for c in claimed:
            cls = engine.flight[c.run].cls
            self.held[c.run] = (cls, c.task)
            found = engine.classes[cls]
            if found.service:
                self.service, self.fence, self.hosts, self.since = c.run, c.fence, found, time.monotonic()
            self.cpus = max(self.cpus, _cpus(found))
            self.memory = max(self.memory, found.memory)
            self.disk = max(self.disk, found.disk)

    def over(self, runs: list[int]) -> None:
        """These runs are over for the worker, or were never sent to it."""
        for run in runs:
            self.held.pop(run, None)
        if not self.held:
            if not self.hosted:
                self.service, self.hosts = 0, None
            self.cpus, self.memory, self.disk, self.disk_used = 0.0, 0, 0, 0
            self.wanted, self.devices = "", []

    def started(self) -> Started | None:
        """The run under way, if it is one of those it holds."""
        found = self.worker.started()
        return found if found is not None and found.run in self.held else None


class Slots:
    """All local workers, and the machine that they share.

    Args:
        cpus: what runs may occupy together.
        memory: bytes that runs may ask for together.
        clock: monotonic seconds.
        free: measures the free bytes of the file system on which runs have their directories.
        accelerators: what runs may be given of them.

    Attributes:
        largest: runs in one message to a worker.
        sole: no other machine serves the store: what does not exist here exists nowhere.
        stale: idle workers that have been told to use other accelerators than those that are free.
        crowded: one more service may take the last processors, because nothing else can go on.
    """

    def __init__(
        self,
        cpus: float,
        memory: int,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[], int] = lambda: 1 << 62,
        accelerators: Sequence[Device] = (),
    ) -> None:
        self.cpus = cpus
        self.memory = memory
        self.accelerators = list(accelerators)
        self.sole = True
        self.stale: list[Slot] = []
        self.crowded = False
        self._free = free
        self._measured = (-MEASURED, 0)
        self.all: list[Slot] = []
        self._clock = clock
        self._seconds: dict[int, float] = {}
        self._waiting_since: dict[int, float] = {}
        self._reserved: dict[int, tuple[Class, set[str]]] = {}
        self.largest = LARGEST

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

    @staticmethod
    def needed(engine: Engine) -> bool:
        """Whether workers have or will soon have something to do: runs stand ready, or there was never any run whose
        result could be reused.
        """
        hubs, classes = engine.hubs, engine.classes
        return engine.ids.untouched("run") or any(
            n > 0 and hubs[classes[c].hub].active for c, n in engine.ready.items()
        )

    # ------------------------------------------------------------------------------------------------- sharing

    def room(self, slot: Slot, cls: Class, waiting: int) -> int:
        """How many runs of a class a worker may be given now."""
        if not slot.open or self._reserved_for_others(cls):
            return 0
        if cls.service and not self._leaves_room(cls):
            return 0
        if cls.accelerators and not self._has(cls.accelerators):
            return self.largest if self.sole else 0  # they are refused, not executed
        fits = self._fits(slot, cls)
        amount = self._amount(slot, cls, waiting)
        if fits and amount:
            return amount
        if not fits or _cpus(cls) > slot.cpus or cls.memory > slot.memory or cls.disk > slot.disk:
            self._wait(cls)
        return 0

    def _amount(self, slot: Slot, found: Class, waiting: int) -> int:
        """How many runs of a class are work enough for a worker, given what it holds."""
        cls = found.id
        if found.service:
            return 0 if slot.held else 1
        seconds = self._seconds.get(cls)
        if seconds is None:
            return 0 if slot.held else 1
        ahead = sum(self._seconds.get(c, AHEAD_SECONDS) for c, _ in slot.held.values())
        if ahead >= AHEAD_SECONDS or (slot.held and seconds >= AHEAD_SECONDS):
            return 0
        share = -(-waiting // max(1, len(self.all)))
        return max(1, min(self.largest, int((AHEAD_SECONDS - ahead) / seconds), share))

    def _fits(self, slot: Slot, cls: Class) -> bool:
        """Whether the worker may run this class beside what the others do."""
        if cls.accelerators and self._devices(slot, cls.accelerators) is None:
            return False
        return not self.short(cls, [s for s in self.all if s is not slot], slot)

    def short(self, cls: Class, others: Sequence[Slot], slot: Slot | None = None) -> frozenset[str]:
        """What a class lacks, some of `EVERYTHING`, beside what these workers hold.

        Args:
            others: the workers; what all the rest hold is taken to be free.
            slot: the worker that would run it; one that holds nothing if None.
        """
        found: set[str] = set()
        if cls.accelerators:
            taken = {d for s in others for d in s.devices}
            if devices.choose(cls.accelerators, [d for d in self.accelerators if d not in taken]) is None:
                found.add("accelerators")
        cpus, memory, disk = together(others)
        if not (cpus or memory or disk or (slot is not None and slot.held)):
            return frozenset(found)  # a request larger than the machine gets all of it, when nothing else runs
        own_cpus, own_memory, own_disk = (0.0, 0, 0) if slot is None else (slot.cpus, slot.memory, slot.disk)
        if not cls.local and cpus + max(own_cpus, cls.cpus) > self.cpus + 1e-9:
            found.add("cpus")
        if (cls.memory or not cls.local) and memory + max(own_memory, cls.memory) > self.memory:
            found.add("memory")
        if cls.disk and self._disk_left(others) < max(own_disk, cls.disk):
            found.add("disk")
        return frozenset(found)

    def _leaves_room(self, cls: Class) -> bool:
        """Whether another service leaves a processor for users of those that are there. If none would, the users of
        these come first: each that ends makes room.
        """
        cpus = [_cpus(found) for found in self._services()]
        return not cpus or self.crowded or sum(cpus) + _cpus(cls) + 1 <= self.cpus + 1e-9

    def _disk_left(self, others: Sequence[Slot]) -> int:
        """Free bytes that these have not set aside, once all the rest have let go of theirs."""
        now = self._clock()
        if now - self._measured[0] >= MEASURED:
            self._measured = (now, self._free())
        back = sum(s.disk_used for s in self.all) - sum(s.disk_used for s in others)
        return self._measured[1] + back - sum(max(0, s.disk - s.disk_used) for s in others)

    # ---------------------------------------------------------------------------------------------- accelerators

    def _has(self, text: str) -> bool:
        """Whether this machine has these accelerators at all."""
        return devices.choose(text, self.accelerators) is not None

    def _devices(self, slot: Slot, text: str) -> list[Device] | None:
        """The accelerators that a worker would get; None if it cannot have them now.

        What its process has been told to use it keeps, for a library that has opened a device does not let go of it: an
        idle worker that would get others is to be replaced.
        """
        if slot.held:
            return slot.devices if slot.wanted == text else None
        taken = {d for s in self.all for d in s.devices}
        found = devices.choose(text, [d for d in self.accelerators if d not in taken], slot.seen)
        if found is not None and slot.seen and found != slot.seen:
            self.stale.append(slot)
            return None
        return found

    def equip(self, slot: Slot, claimed: list[Claimed], known: dict[int, Class]) -> tuple[list[Claimed], list[Claimed]]:
        """Give the runs that a worker got the accelerators that they asked for.

        Args:
            claimed: what it has been given.
            known: classes by id.

        Returns:
            Runs that ask for what does not exist, and those that must go back.
        """
        refused: list[Claimed] = []
        back: list[Claimed] = []
        for c in claimed:
            text = known[slot.held[c.run][0]].accelerators
            if not text:
                continue
            if not self._has(text):
                refused.append(c)
                continue
            if not slot.wanted:
                taken = {d for s in self.all for d in s.devices}
                free = [d for d in self.accelerators if d not in taken]
                slot.devices = slot.seen = devices.choose(text, free, slot.seen) or []
                slot.wanted = text
            if slot.wanted == text:
                c.environment = devices.environment(slot.devices)
            else:
                back.append(c)
        slot.over([c.run for c in (*refused, *back)])
        return refused, back

    def lacking(self, text: str) -> str:
        """What to say of a run that asks for accelerators that do not exist."""
        there = devices.show(self.accelerators) or "none"
        return (
            f"it asks for the accelerators {text}, and this machine has {there} ({devices.VARIABLE} says what it has)"
        )

    # ------------------------------------------------------------------------------------------------- waiting

    def _reserved_for_others(self, cls: Class) -> bool:
        """Whether a class must stand back for one that has waited longer: it would take some of what that lacks.

        Earlier reservations bind later ones only, so that they never wait for each other in a circle.
        """
        for other, lacking in self._reserved.values():
            if other.id == cls.id:
                return False
            if cls.priority <= other.priority and lacking & _takes(cls) and not self._beside_services(other):
                return True
        return False

    def _beside_services(self, cls: Class) -> frozenset[str]:
        """What a class will lack when everything has ended but the services, which go on for as long as others want."""
        return self.short(cls, [s for s in self.all if s.held and s.hosts is not None])

    def _wait(self, cls: Class) -> None:
        """A class does not get in for what it asks for; after a while nothing of its priority or below takes what it
        lacks. Users of a service must pass: it does not end before them.
        """
        if cls.service or self._beside_services(cls):
            return
        now = self._clock()
        if now - self._waiting_since.setdefault(cls.id, now) > RESERVE_AFTER:
            # what it lacked before it needs still, also where it lacks something else now
            self._reserved.setdefault(cls.id, (cls, set()))[1].update(self._lacking(cls))

    def _lacking(self, cls: Class) -> frozenset[str]:
        """What a class waits for, some of `EVERYTHING`: all of it if it asks for more than there is of anything, for
        then it runs alone.
        """
        if _cpus(cls) > self.cpus + 1e-9 or cls.memory > self.memory or (cls.disk and cls.disk > self._disk_left([])):
            return EVERYTHING
        return self.short(cls, self.all) or frozenset({"workers"})

    def granted(self, cls: int) -> None:
        """A class got in."""
        self.crowded = False
        self._forget(cls)

    def _forget(self, cls: int) -> None:
        self._waiting_since.pop(cls, None)
        self._reserved.pop(cls, None)

    def forget_waits(self, stands: Callable[[int], bool]) -> None:
        """Drop the claims of classes of which nothing stands ready any more."""
        for cls in [c for c in self._waiting_since if not stands(c)]:
            self._forget(cls)

    def idle(self) -> bool:
        """Whether a worker may be given work and has none."""
        return any(s.open and not s.held for s in self.all)

    def regular(self) -> int:
        """How many workers there are for what is no service, those that are ending not counted."""
        return sum(s.ending is None and not s.service for s in self.all)

    def _services(self) -> list[Class]:
        """The classes of the services that workers hold."""
        return [s.hosts for s in self.all if s.held and s.hosts is not None]

    def running(self) -> dict[int, int]:
        """Leased runs per task."""
        counts: dict[int, int] = {}
        for slot in self.all:
            for _, task in slot.held.values():
                counts[task] = counts.get(task, 0) + 1
        return counts


def _cpus(cls: Class) -> float:
    """Processors that a run of a class occupies."""
    return 0.0 if cls.local else cls.cpus


def _takes(cls: Class) -> set[str]:
    """What a run of a class takes, some of `EVERYTHING`."""
    amounts = {"cpus": _cpus(cls), "memory": cls.memory, "disk": cls.disk, "accelerators": cls.accelerators}
    return {"workers", *(name for name, amount in amounts.items() if amount)}


def together(slots: Sequence[Slot]) -> tuple[float, int, int]:
    """Processors, memory and disk that workers have set aside."""
    return sum(s.cpus for s in slots), sum(s.memory for s in slots), sum(s.disk for s in slots)


def machine_cpus() -> float:
    """Processors that this process may use."""
    try:
        return float(len(os.sched_getaffinity(0)))
    except AttributeError:
        return float(os.cpu_count() or 1)


def free_disk(path: str) -> int:
    """Free bytes of the file system that a directory is on."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 1 << 62


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the control group that this process is confined to."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        found = 1 << 40
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found = min(found, int(file.read()))
    return found
