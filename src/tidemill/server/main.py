"""`python -m tidemill.server.main`: the process that serves a store, started by whoever comes first and apart from the user's
interpreter, so that a busy program never stalls it."""

import contextlib
import os
import socket
import sys
from pathlib import Path

from tidemill.engine import hubs, reclaim
from tidemill.engine.engine import Engine
from tidemill.launchers.reaping import reap_orphans
from tidemill.model import session
from tidemill.model.errors import TidemillError
from tidemill.server.addresses import Place, place_of
from tidemill.server.host import Host
from tidemill.server.lock import StoreLock
from tidemill.server.slots import Slots, machine_memory
from tidemill.stores.state import leases, workers
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.workers.identity import Identity, identity
from tidemill.workers.wire import Channel


def main(argv: list[str] | None = None) -> int:
    """Arguments: the store's URL, the object store's URL, and the descriptor of the first client's socket."""
    url, objects, descriptor = (argv or sys.argv)[1:4]
    first = socket.socket(fileno=int(descriptor))
    first.set_inheritable(False)
    try:
        return _serve(place_of(url, objects), first)
    except TidemillError as error:
        with contextlib.suppress(OSError):
            message = session.Reply(0, None, error.code, str(Exception.__str__(error)), error.hint)
            Channel(first).send_all(session.encode(message))
        return 1


def _serve(place: Place, first: socket.socket) -> int:
    lock = StoreLock(place.directory) if place.alone else None
    if lock is not None and not lock.take():
        Channel(first).send_all(session.encode(session.Busy(place.socket)))
        return 0
    engine = Engine(open_database(place.state))
    who = identity()
    me = Worker(0, None, 0, "engine", who.host, who.boot, who.namespace, who.pid, who.start, 0.0, 0.0)
    with engine.turn() as turn:
        reclaim.register(turn, me)
    take_over(engine, place)
    host = Host(engine, me, place.directory, place.objects, Slots(float(os.cpu_count() or 1), machine_memory()))
    if place.alone:
        host.listen(place.socket)
    host.add_client(first)
    try:
        host.serve()
    finally:
        engine.db.close()
        if place.alone:
            with contextlib.suppress(FileNotFoundError):
                Path(place.socket).unlink()
        if lock is not None:
            lock.release()
    return 0


def take_over(engine: Engine, place: Place) -> int:
    """Take back the leases of engines that are gone, once their processes are; how many there were."""
    with engine.turn() as turn:
        dead = reclaim.dead_engines(turn)
    gone: list[Worker] = []
    for one in dead:
        with engine.db.transaction(write=False):
            executors = workers.executors(engine.db, [one.id])
        records = [Identity(w.host, w.boot, w.space, w.pid, w.start) for w in executors]
        alive = [p / "alive" for p in sorted((place.directory / "work").glob(f"engine-{one.id}-*"))]
        if all([reap_orphans(records, path) for path in alive] or [True]):
            gone.append(one)
    with engine.turn() as turn:
        held = {w for _, _, w, _ in leases.every(turn.db)}
        voided = reclaim.reap(turn, gone, set()) if held or gone else 0
        if place.alone:
            hubs.suspend_attached(turn)
    return voided


if __name__ == "__main__":
    sys.exit(main())
