"""Which datum a reference means: one that has no value, and has a newer generation, stands for the newest."""

from tidemill.model.states import DatumState
from tidemill.stores.state import data, supersedes
from tidemill.stores.state.database import Database

_KEPT = (data.COMPLETE, data.PUBLISHED, int(DatumState.WRITING))


def stand_ins(db: Database, states: dict[int, int]) -> dict[int, int]:
    """The newest generations of those of these data (with their states) that will never have a value themselves."""
    lacking = [d for d, state in states.items() if state not in _KEPT]
    return supersedes.latest(db, sorted(lacking)) if lacking else {}
