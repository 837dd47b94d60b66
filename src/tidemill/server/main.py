"""`python -m tidemill.server.main`: the process that serves a store, started by whoever comes first and apart from the user's
interpreter, so that a busy program never stalls it."""

import contextlib
import os
import socket
import sys
from pathlib import Path

from tidemill.engine import hubs, reclaim
from tidemill.engine.engine import Engine
from tidemill.model import session
from tidemill.model.errors import TidemillError
from tidemill.server import takeover
from tidemill.server.addresses import Place, place_of
from tidemill.server.host import Host
from tidemill.server.lock import StoreLock
from tidemill.server.slots import Slots, machine_memory
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker
from tidemill.workers.identity import identity
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
    left = takeover.take_over(engine, place.directory)
    if place.alone:
        with engine.turn() as turn:
            hubs.suspend_attached(turn)
    host = Host(engine, me, place.directory, place.objects, Slots(float(os.cpu_count() or 1), machine_memory()))
    host.unreaped = left
    if place.alone:
        host.listen(place.socket)
    else:
        host.hear()
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


if __name__ == "__main__":
    sys.exit(main())
