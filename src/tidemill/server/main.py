"""The process that serves a store, started by whoever comes first and apart from the user's interpreter, so that a busy
program never stalls it."""

import contextlib
import faulthandler
import os
import socket
from pathlib import Path

from tidemill.engine import hubs, reclaim
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.launchers import nursery
from tidemill.model import session
from tidemill.model.errors import ConfigError, TidemillError
from tidemill.server import devices, settling, takeover, trace
from tidemill.server.addresses import LOG, STORE, Place, place_of
from tidemill.server.host import Host
from tidemill.server.lock import StoreLock
from tidemill.server.slots import Slots, free_disk, machine_cpus, machine_memory
from tidemill.stores.state import workers
from tidemill.stores.state.open import open_database, shown
from tidemill.stores.state.workers import Worker
from tidemill.workers import lifeline
from tidemill.workers.identity import identity
from tidemill.workers.wire import Channel

LEASE = "TIDEMILL_LEASE_SECONDS"
"""Environment variable: how long an engine that is not heard of keeps its leases, where several serve a store."""
_LOG_BYTES = 1 << 20
"""A longer log is begun anew."""


def main(argv: list[str]) -> int:
    """Arguments: the store's address as it may be shown, that of its objects if one was asked for, and the descriptor
    of the first client's socket. The store's whole address comes through standard input: anybody can read arguments.
    """
    try:
        return _serve(*argv[2:4])
    finally:
        nursery.dismiss()


def _serve(objects: str, descriptor: str) -> int:
    lifeline.call_it("tidemill-engine")
    first = socket.socket(fileno=int(descriptor))
    first.set_inheritable(False)
    try:
        place = place_of(_address(), objects)
        lock = StoreLock(place.directory) if place.alone else None
        if lock is not None and not lock.take():
            with contextlib.suppress(OSError):
                Channel(first).send_all(session.encode(session.Busy(place.socket)))
            return 0
        host = _open(place)
    except TidemillError as error:
        with contextlib.suppress(OSError):
            message = session.Reply(0, None, error.code, str(Exception.__str__(error)), error.hint)
            Channel(first).send_all(session.encode(message))
        return 1
    host.desk.add_client(first)
    try:
        host.serve()
    finally:
        if place.socket:
            with contextlib.suppress(OSError):
                Path(place.socket).unlink()
        host.close()
    return 0


def _address() -> str:
    """The store's address. If there is a password in it, nobody who is started from here finds it."""
    with open(0, "rb", closefd=False) as standard:
        found = os.fsdecode(standard.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if STORE in os.environ:
        os.environ[STORE] = shown(os.environ[STORE])
    return found


def _open(place: Place) -> Host:
    """Open the store, take over from engines that are gone, and be ready for clients.

    Raises:
        TidemillError: it cannot be served.
    """
    lease = _lease()
    place.directory.mkdir(parents=True, exist_ok=True)
    db = open_database(place.state)
    trace.attach(db)
    engine = Engine(db)
    who = identity()
    me = Worker(0, None, 0, "engine", who.host, who.boot, who.namespace, who.pid, who.start, 0.0, 0.0)
    settling.announce(db, place)
    objects = engine.transact(lambda turn: _join(turn, me, lease, place))
    left = takeover.take_over(engine, place.directory)
    engine.transact(_suspend)
    slots = Slots(
        machine_cpus(), machine_memory(), free=lambda: free_disk(str(place.directory)), accelerators=devices.detect()
    )
    host = Host(engine, me, place, objects, slots, lease)
    host.unreaped = left
    if place.alone:
        host.desk.listen(place.socket)
    else:
        host.hear()
    _redirect(place.directory / LOG)
    return host


def _join(turn: Turn, me: Worker, lease: float, place: Place) -> str:
    """Register, and know where the store's objects are."""
    reclaim.register(turn, me, lease)
    return settling.settle(turn.db, place)


def _suspend(turn: Turn) -> None:
    """Who was attached to the store's work is gone if nobody else serves it."""
    if len(workers.engines(turn.db)) == 1:
        hubs.suspend_attached(turn)


def _lease() -> float:
    text = os.environ.get(LEASE, "")
    try:
        found = float(text) if text else reclaim.LEASE_SECONDS
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ConfigError(f"{LEASE} must be a positive number of seconds, not {text!r}")
    return found


def _redirect(log: Path) -> None:
    """From here on this process outlives its client's terminal: what it has to say goes to a file."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(log, flags, 0o644)
        if os.fstat(descriptor).st_size > _LOG_BYTES:
            os.ftruncate(descriptor, 0)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    faulthandler.enable(2)
