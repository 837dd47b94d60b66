"""Services among what local workers run: told when nobody uses them any more, brought down in time, given up where they
leave no room for their users.

A service has a worker of its own beside the regular ones, which ends with it.
"""

import time
from collections.abc import Iterator

from tidemill.engine import retry, serve
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.model import protocol
from tidemill.model.protocol import Outcome
from tidemill.model.states import Reason
from tidemill.server import devices
from tidemill.server.slots import Ending, Slot, Slots, together
from tidemill.stores.state import runs, serves, workers

GRACE = 10.0
"""Seconds that a service has for coming down after it was cancelled or stopped."""
CROWDED = 1
"""Looks in a row that find nothing but services, and runs that do not fit beside them, before a service may take the
last processors.
"""
STUCK = 3
"""The same before a run is given up."""
STUCK_SHARED = 20
"""The same where other engines serve the store, too: they may have room, and look once a second."""
MIB = 1 << 20


class Hosting:
    """Looks after the services of one host.

    Args:
        engine: the host's.
        slots: its workers.
    """

    def __init__(self, engine: Engine, slots: Slots) -> None:
        self._engine = engine
        self._slots = slots
        self._deadlines: dict[Slot, float] = {}
        self._stuck = 0

    # ------------------------------------------------------------------------------------------------- ending

    def over(self, run: int, worker: int) -> None:
        """A service has no users any more."""
        for slot in self._slots.all:
            if slot.id == worker and slot.service == run and run in slot.held:
                self._tell(slot)

    def _tell(self, slot: Slot) -> None:
        slot.told = True
        slot.worker.channel.send(protocol.encode(protocol.Over([(slot.service, slot.fence)])))

    def bring_down(self, slot: Slot) -> None:
        """End a service before its time: gently, and after a while by force."""
        if slot not in self._deadlines:
            self._deadlines[slot] = time.monotonic() + GRACE
            self._tell(slot)

    def starts_again(self, run: int) -> bool:
        """Whether a service whose lease was voided is to have another attempt, so that this one must be gone."""
        rows = runs.get(self._engine.db, [run])
        return run in rows and rows[run].state in (runs.LIVE, runs.HELD)

    def held_back(self, turn: Turn, slot: Slot, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of a worker without that of a service which was stopped before its time: its lease goes back
        free.
        """
        if slot.ending is None or slot.ending.reason is not Reason.STOPPED or not slot.service:
            return outcomes
        needed = serves.still_needed(turn.db, [slot.service])
        early = [o for o in outcomes if o.run in needed]
        retry.release(turn, [(o.run, o.fence) for o in early if o.run in turn.engine.flight], worker=slot.id)
        return [o for o in outcomes if o.run not in needed]

    def dismiss(self, slots: list[Slot]) -> None:
        """Let the workers go whose services have ended."""
        for slot in slots:
            if slot.service and not slot.held and not slot.killed:
                self._deadlines.pop(slot, None)
                slot.ending = slot.ending or Ending(Reason.STOPPED, "its service has ended")
                slot.worker.channel.send(protocol.encode(protocol.Stop()))

    def check(self, slots: list[Slot]) -> Iterator[tuple[Slot, Ending]]:
        """Workers to be killed because their services do not come down; those asked to stop do so after all others."""
        for slot in slots:
            if slot.service and slot.held and slot.ending is not None and not slot.killed and not self._used(slot):
                self.bring_down(slot)
        now = time.monotonic()
        for slot, deadline in list(self._deadlines.items()):
            if slot not in slots:
                del self._deadlines[slot]
            elif now > deadline and not slot.killed and slot.ending is not None:
                yield slot, slot.ending

    def _used(self, slot: Slot) -> bool:
        """Whether a worker here still does something that may need a service: a run of the same workflow that is no
        service, or a service that came after it.
        """
        classes = self._engine.classes
        hub = slot.hosts.hub if slot.hosts is not None else 0
        others = (s for s in self._slots.all if (s is not slot and s.since > slot.since) or not s.service)
        return any(classes[cls].hub == hub for s in others for cls, _ in s.held.values())

    def look_around(self) -> None:
        """Several engines: another one may have closed the block of a service's users."""
        mine = {s.service: s for s in self._slots.all if s.service in s.held}
        if mine:
            needed = serves.still_needed(self._engine.db, list(mine))
            for run, slot in mine.items():
                if run not in needed:
                    self._tell(slot)

    # ------------------------------------------------------------------------------------------------- no room

    def relieve(self) -> tuple[bool, Turn | None]:
        """Where services hold all that there is, and nothing that is ready fits beside them, a further service may take
        the last processors; if there is none that could, and nothing would ever happen again, a run that waits ends
        with an error that says so. Whether workers may be given more, and the turn in which a run was looked for.
        """
        held = [s for s in self._slots.all if s.held and s.ending is None]
        up = [s for s in held if s.up and not s.told]
        idle = any(s.open and not s.held for s in self._slots.all)
        stuck = bool(up) and len(up) == len(held) and idle and bool(self._ready())
        self._stuck = self._stuck + 1 if stuck else 0
        self._slots.crowded = self._stuck >= CROWDED
        if self._stuck < STUCK:
            return self._slots.crowded, None
        alone = self._engine.alone or len(workers.engines(self._engine.db)) <= 1
        if not alone and self._stuck < STUCK_SHARED:
            return True, None
        self._stuck = 0
        return False, self._engine.transact(lambda turn: self._give_up(turn, up, alone=alone))

    def _give_up(self, turn: Turn, up: list[Slot], *, alone: bool) -> Turn:
        """End a run that will never fit: one that does not fit beside the very services that it uses, which last until
        it has ended; else, if nothing else goes on, one that does not fit beside all that are up. Of these, users of
        services come first: with them the services end, and the others may fit.
        """
        slots, known = self._slots, turn.engine.classes
        waiting = [(r, uses) for r, uses in serve.standing(turn, self._ready()) if slots.short(known[r.cls], slots.all)]
        own = [r for r, uses in waiting if slots.short(known[r.cls], [s for s in up if s.service in uses])]
        if own and alone:
            chosen = own[0]
        elif waiting and not serve.awaited(turn):
            services = {s.service for s in up}
            chosen = min(waiting, key=lambda found: not found[1] & services)[0]
        else:
            return turn
        serve.give_up(turn, chosen, self._why(up, slots.short(known[chosen.cls], slots.all)))
        return turn

    def _ready(self) -> list[int]:
        engine = self._engine
        return sorted(c for c, n in engine.ready.items() if n > 0 and engine.hubs[engine.classes[c].hub].active)

    def _why(self, up: list[Slot], lacking: frozenset[str]) -> str:
        """What to say of a run that lacks this, some of `slots.EVERYTHING`, beside these services."""
        slots = self._slots
        cpus, memory, disk = together(up)
        amounts = {
            "cpus": f"{cpus:g} of {slots.cpus:g} cpus",
            "memory": f"{memory / MIB:.0f} of {slots.memory / MIB:.0f} MiB of memory",
            "disk": f"{disk / MIB:.0f} MiB of disk",
            "accelerators": f"the accelerators {devices.show([d for s in up for d in s.devices]) or 'none'} "
            f"of {devices.show(slots.accelerators) or 'none'}",
        }
        held = " and ".join(amount for what, amount in amounts.items() if what in lacking)
        names = sorted({self._engine.spec(self._engine.db, task).name for s in up for _, task in s.held.values()})
        example = ", such as @service(cpus=0.1)" if "cpus" in lacking else ""
        return (
            f"it does not fit beside the services that are up ({', '.join(names)}), which hold {held} for as long as "
            f"they have users: ask for less where a run or a service needs less{example}"
        )
