"""Runs that ask for accelerators: they get them, end because there are none, or go back."""

from tidemill.engine import complete, retry
from tidemill.engine.turn import Turn
from tidemill.model.protocol import Claimed, Failure, Outcome
from tidemill.model.states import AttemptState, Reason
from tidemill.server.slots import Slot, Slots


def equip(turn: Turn, slots: Slots, slot: Slot, taken: list[Claimed]) -> list[Claimed]:
    """The runs that a worker gets of those that it was given, with their accelerators.

    What asks for some that do not exist ends at once; what does not fit beside the others goes back free.
    """
    known = turn.engine.classes
    asked = {c.run: known[slot.held[c.run][0]].accelerators for c in taken}
    refused, back = slots.equip(slot, taken, known)
    if refused:
        complete.complete(turn, slot.id, [_refusal(c, slots.lacking(asked[c.run]), turn.now) for c in refused])
    retry.release(turn, [(c.run, c.fence) for c in back], worker=slot.id)
    gone = {c.run for c in (*refused, *back)}
    return [c for c in taken if c.run not in gone]


def _refusal(claimed: Claimed, why: str, now: float) -> Outcome:
    failure = Failure(int(Reason.NO_RESOURCES), "no resources", why)
    return Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], now, now, failure=failure)
