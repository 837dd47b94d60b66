"""Requests that are taken from what earlier attempts of a task used."""

from typing import TYPE_CHECKING

from msgspec import structs

from tidemill.model.amounts import spare_bytes
from tidemill.model.delta import ClassSpec
from tidemill.model.spec import AUTO
from tidemill.stores.state import usage
from tidemill.stores.state.database import Database

if TYPE_CHECKING:
    from tidemill.engine.engine import Engine

RUNS = 100_000
"""Of the store's newest runs, so many are looked at."""
ATTEMPTS = 1000
"""Of the attempts found there, so many count."""
REST = 20
"""An answer holds for so many times what it took to find it: work that grows many blocks does not have a large store
read for each.
"""


def settled(engine: "Engine", db: Database, spec: ClassSpec) -> ClassSpec:
    """The class with amounts in place of `AUTO`; nothing is asked for where nothing is known."""
    asked = spec.resources
    now = engine.clock.monotonic()
    until, found = engine.peaks.get(asked.like, (now, (0, 0)))
    if until <= now:
        memory, disk = usage.peaks(db, asked.like, RUNS, ATTEMPTS)
        found = spare_bytes(memory), spare_bytes(disk)
        after = engine.clock.monotonic()
        engine.peaks[asked.like] = (after + REST * (after - now), found)
    memory = found[0] if asked.memory == AUTO else asked.memory
    disk = found[1] if asked.disk == AUTO else asked.disk
    return structs.replace(spec, resources=structs.replace(asked, memory=memory, disk=disk, like=""))
