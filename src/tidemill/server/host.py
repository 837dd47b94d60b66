"""The loop of the process that serves a store: messages in, one transaction, messages out.

Within a transaction completions come first, then claims, then a slice of submissions: an engine that let submissions queue
ahead of completions would have recorded nothing when it was killed.
"""

import contextlib
import math
import selectors
import socket
import time
from collections import deque
from pathlib import Path

from tidemill.engine import claim, complete, gathers_read, hubs, reclaim, retry
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.launchers.local import LocalPool, LocalWorker
from tidemill.model import protocol, session
from tidemill.model.errors import EngineLostError, TidemillError
from tidemill.model.protocol import Answer, Claimed, Done, Failure, Hello, Outcome, Read, Setup, Work
from tidemill.model.states import BlockState, Reason
from tidemill.server import commands, takeover
from tidemill.server.progress import Board
from tidemill.server.sessions import Session
from tidemill.server.slots import Slot, Slots, pool_directory
from tidemill.stores.state import blocks
from tidemill.stores.state.postgres import PostgresDatabase
from tidemill.stores.state.workers import Worker
from tidemill.workers.wire import Channel

BEAT_SECONDS = 5.0
SHARED_BEAT_SECONDS = 1.0
"""Where several engines serve the store, a beat also looks what the others closed."""
PROGRESS_SECONDS = 0.1
MEMORY_SECONDS = 0.5
IDLE_PARTS = 8
"""Chunks taken in one transaction while the workers have nothing to do."""


class Host:
    """Serves one store until nobody needs it.

    Args:
        engine: registered and ready.
        me: the engine's registration.
        store: directory for workers' files and the socket.
        objects: URL of the object store, for workers.
        slots: the local workers, none yet.
        linger: seconds to stay after the last client left.
    """

    def __init__(
        self, engine: Engine, me: Worker, store: Path, objects: str, slots: Slots, linger: float = 0.0
    ) -> None:
        self.engine = engine
        self.me = me
        self.store = store
        self.objects = objects
        self.slots = slots
        self.board = Board(engine)
        self.sessions: list[Session] = []
        self.path: list[str] = []
        self._linger = linger
        self._selector = selectors.DefaultSelector()
        self._inbox: list[tuple[Slot, list[Outcome]]] = []
        self._hellos: list[Slot] = []
        self._reads: list[tuple[Slot, Read]] = []
        self._dead: list[Slot] = []
        self._requests: deque[tuple[Session, session.ToServer]] = deque()
        self._pools: list[LocalPool] = []
        self._registrations: list[dict[int, int]] = []
        self.unreaped = 0
        self.wanted: list[tuple[int, list[str]]] = []
        self.leaving: list[tuple[Session, bool]] = []
        self._listener: socket.socket | None = None
        self._next_beat = self._next_progress = self._next_memory = 0.0
        self._stopping = False
        self._empty_since: float | None = None

    # ------------------------------------------------------------------------------------------------- clients

    def hear(self) -> None:
        """Several engines: wake up when another one makes runs ready."""
        db = self.engine.db
        assert isinstance(db, PostgresDatabase)
        db.listen()
        self._selector.register(db, selectors.EVENT_READ, db.heard)

    def listen(self, path: str) -> None:
        """Accept clients on a Unix socket."""
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        self._listener.bind(path)
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def add_client(self, sock: socket.socket) -> None:
        """A connected client."""
        found = Session(Channel(sock))
        self.sessions.append(found)
        self._selector.register(found.channel, selectors.EVENT_READ, found)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError):
            self.add_client(self._listener.accept()[0])

    # ------------------------------------------------------------------------------------------------- workers

    def want_workers(self, count: int, path: list[str]) -> None:
        """Start local workers until there are `count`; all learn the import paths."""
        fresh = [p for p in path if p not in self.path]
        if fresh:
            self.path += fresh
            for slot in self.slots.all:
                slot.worker.channel.send(protocol.encode(self._setup(slot.pool, slot.worker, slot.id)))
        missing = count - len(self.slots.all)
        if missing <= 0:
            return
        number = len(self._pools)
        registrations: dict[int, int] = {}
        directory = pool_directory(self.store, self.engine.id, number)
        with self.engine.turn() as turn:
            for i in range(missing):
                registrations[i] = reclaim.register_worker(turn, f"local-{number}-{i}", self.me)
        pool = LocalPool(missing, lambda w: self._setup(pool, w, registrations[w.number]), directory)
        self._pools.append(pool)
        self._registrations.append(registrations)
        self.slots.cpus = max(self.slots.cpus, float(count))
        pool.start()
        for worker in pool.workers:
            self._add_slot(Slot(pool, worker, registrations[worker.number]))
        with self.engine.turn() as turn:
            for slot in self.slots.all[-missing:]:
                reclaim.name_process(turn, slot.id, slot.worker.pid, slot.worker.start)

    def _setup(self, pool: LocalPool, worker: LocalWorker, registration: int) -> Setup:
        return Setup(registration, self.objects, str(pool.run_dir), worker.index, self.path)

    def _add_slot(self, slot: Slot) -> None:
        self.slots.all.append(slot)
        self._selector.register(slot.worker.channel, selectors.EVENT_READ, slot)

    def _replace(self, turn: Turn, slot: Slot) -> None:
        """A worker's process is gone: say why, free what it held, start another in its place."""
        reason, text = slot.worker.exit_reason()
        started = slot.worker.started()
        message = "the worker's process ended while it executed this run"
        if slot.ending is not None:
            reason, text = slot.ending
            message = text
        scratch = slot.worker.salvage(started[0], started[1]) if started else ""
        charge = reason is not Reason.WORKER_DIED
        failure = Failure(int(reason), text, message, "", scratch)
        tail = slot.worker.log_tail(65536) if started else b""
        retry.worker_died(turn, slot.id, started, failure, tail, charge=charge)
        reclaim.worker_left(turn, slot.id)
        self.slots.all.remove(slot)
        if self._stopping:
            return
        registration = reclaim.register_worker(turn, f"local-{slot.worker.number}", self.me)
        self._registrations[self._pools.index(slot.pool)][slot.worker.number] = registration
        worker = slot.pool.respawn(slot.worker)
        reclaim.name_process(turn, registration, worker.pid, worker.start)
        self._add_slot(Slot(slot.pool, worker, registration))

    def end_worker(self, slot: Slot, reason: Reason, text: str) -> None:
        """Kill a worker's process tree; its end is dealt with when its channel ends."""
        if slot.ending is None:
            slot.ending = (reason, text)
            slot.worker.kill()

    # ------------------------------------------------------------------------------------------------- the loop

    def serve(self) -> None:
        """Run until nobody needs this process any more."""
        while not self._finished():
            self._poll(self._patience())
            if self._has_work():
                self._turn()
            self._every_now_and_then()
        self._leave()

    def _finished(self) -> bool:
        if self.sessions or any(h.active for h in self.engine.hubs.values()) or any(s.held for s in self.slots.all):
            self._empty_since = None
            return False
        now = time.monotonic()
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= self._linger

    def _patience(self) -> float:
        """Seconds the loop may sleep."""
        if self._inbox or self._dead or self._hellos or self._requests or self.engine.busy:
            return 0.0
        now = time.monotonic()
        until = [self._next_beat - now, self.engine.next_timer - self.engine.clock.monotonic(), 1.0]
        if self.board.changed:
            until.append(self._next_progress - now)
        if any(s.held for s in self.slots.all):
            until.append(MEMORY_SECONDS)
        return max(0.0, min(until))

    def _poll(self, patience: float) -> None:
        for key, _ in self._selector.select(patience if math.isfinite(patience) else 1.0):
            target = key.data
            if isinstance(target, Slot):
                self._from_worker(target)
            elif isinstance(target, Session):
                self._from_client(target)
            else:
                target()

    def _from_worker(self, slot: Slot) -> None:
        slot.worker.channel.flush()
        frames = slot.worker.channel.receive()
        if frames is None:
            self._selector.unregister(slot.worker.channel)
            self._dead.append(slot)
            return
        for frame in frames:
            message = protocol.decode_to_engine(frame)
            if isinstance(message, Done):
                self._inbox.append((slot, message.outcomes))
            elif isinstance(message, Hello):
                slot.ready = True
                self._hellos.append(slot)
            else:
                self._reads.append((slot, message))
        self._watch_writes(slot.worker.channel, slot)

    def _from_client(self, client: Session) -> None:
        client.channel.flush()
        frames = client.channel.receive()
        if frames is None:
            self._lost(client)
            return
        for frame in frames:
            self._requests.append((client, session.decode_to_server(frame)))
        self._watch_writes(client.channel, client)

    def _watch_writes(self, channel: Channel, data: object) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
        with contextlib.suppress(KeyError):
            if self._selector.get_key(channel).events != wanted:
                self._selector.modify(channel, wanted, data)

    def _has_work(self) -> bool:
        return bool(
            self._inbox or self._dead or self._hellos or self._requests or self._reads or self.engine.busy
            or self._hungry()
        )  # fmt: skip

    def _hungry(self) -> bool:
        return not self.engine.alone and any(s.ready and not s.held for s in self.slots.all)

    def _turn(self) -> None:
        """One transaction, and what it tells workers and clients."""
        inbox, self._inbox = self._inbox, []
        dead, self._dead = self._dead, []
        reads, self._reads = self._reads, []
        self._hellos.clear()
        grants: list[tuple[Slot, list[Claimed]]] = []
        after: list[tuple[Session, session.ToClient]] = []
        with self.engine.turn() as turn:
            if self._hungry():
                self.engine.refresh_ready()
            for slot, outcomes in inbox:
                complete.complete(turn, slot.id, outcomes)
                self.slots.learn(slot, outcomes)
                slot.answered(outcomes)
            for slot in dead:
                self._replace(turn, slot)
            self.engine.settle(turn)
            if self.engine.busy:
                self.engine.upkeep(turn)
                self.engine.settle(turn)
            self._claim_all(turn, grants)
            self._take_requests(turn, after)
            self._claim_all(turn, grants)
            answers = [(slot, self._answer(turn, read)) for slot, read in reads]
        self._send(grants, answers)
        self._report(turn, after)
        for count, path in self.wanted:
            self.want_workers(count, path)
        for client, now in self.leaving:
            self.detach(client, now=now)
        self.wanted.clear()
        self.leaving.clear()

    def _claim_all(self, turn: Turn, grants: list[tuple[Slot, list[Claimed]]]) -> None:
        for slot in sorted(self.slots.all, key=lambda s: len(s.held)):
            if slot.ready and slot.ending is None:
                found = claim.claim(turn, slot.id, lambda c, n, slot=slot: self.slots.room(slot, c, n))  # type: ignore[misc]
                if found:
                    slot.given(found, self.engine)
                    grants.append((slot, found))

    def _answer(self, turn: Turn, read: Read) -> Answer:
        try:
            return Answer(read.number, gathers_read.members(turn.db, read.gather, read.first, read.count))
        except TidemillError as error:
            return Answer(read.number, [], str(error))

    def _send(self, grants: list[tuple[Slot, list[Claimed]]], answers: list[tuple[Slot, Answer]]) -> None:
        for slot, claimed in grants:
            fresh = sorted({c.task for c in claimed} - slot.known)
            slot.known.update(fresh)
            specs = [(t, self.engine.encoded_spec(t)) for t in fresh]
            seconds = max(self.slots.estimate(slot.held[c.run][0]) for c in claimed if c.run in slot.held)
            slot.worker.channel.send(protocol.encode(Work(claimed, specs, seconds)))
            self._watch_writes(slot.worker.channel, slot)
        for slot, answer in answers:
            slot.worker.channel.send(protocol.encode(answer))
            self._watch_writes(slot.worker.channel, slot)

    # ------------------------------------------------------------------------------------------------- requests

    def _take_requests(self, turn: Turn, after: list[tuple[Session, session.ToClient]]) -> None:
        """Client messages: a slice of submissions while workers are busy, more while they are not."""
        parts = 0
        while self._requests:
            client, message = self._requests[0]
            if isinstance(message, session.Part):
                busy = any(s.held for s in self.slots.all)
                if parts >= (1 if busy else IDLE_PARTS):
                    break
                parts += 1
            self._requests.popleft()
            if client.gone:
                continue
            try:
                commands.take(self, turn, client, message, after)
            except TidemillError as error:
                after.append((client, commands.refusal(message, error)))
            if isinstance(message, session.Part):
                self.engine.settle(turn)

    def _lost(self, client: Session) -> None:
        """A client's connection ended: its attached work is suspended."""
        self._selector.unregister(client.channel)
        client.gone = True
        client.channel.close()
        if client in self.sessions:
            self.sessions.remove(client)
        self._suspend(client)

    def _suspend(self, client: Session) -> None:
        """Close the hubs of blocks that only this client had asked for."""
        wanted = {b for s in self.sessions for b in s.blocks}
        mine = [b for b in client.blocks if b not in wanted and not client.blocks[b].detached]
        if not mine:
            return
        with self.engine.turn() as turn:
            for block in mine:
                hubs.set_active(turn, client.blocks[block].hub, active=False)

    def detach(self, client: Session, *, now: bool) -> None:
        """A client says goodbye. `now`: whatever runs of its work is stopped and released, nothing is marked."""
        self._suspend(client)
        client.leaving = True
        if now:
            mine = {b.hub for b in client.blocks.values() if not b.detached}
            for slot in self.slots.all:
                if any(self.engine.classes[cls].hub in mine for cls, _ in slot.held.values()):
                    self.end_worker(slot, Reason.WORKER_DIED, "stopped by hand")

    # ------------------------------------------------------------------------------------------------- after a turn

    def _report(self, turn: Turn, after: list[tuple[Session, session.ToClient]]) -> None:
        self.board.take(turn)
        for run, worker in turn.stopped:
            self._stop_run(run, worker)
        for client, message in after:
            client.channel.send(session.encode(message))
        for closed in turn.closed:
            for client in self.sessions:
                if closed.block in client.blocks:
                    self._show(client, closed.block)
                    client.channel.send(session.encode(session.Closed(closed.block, int(closed.state))))
            self._close_hub(closed.block)
        for run, block, task, failure in turn.failures:
            root = self.engine.facts(self.engine.db, block).root
            for client in self.sessions:
                if root in client.blocks:
                    name = self.engine.spec(self.engine.db, task).name
                    told = session.Failed(root, run, name, failure.kind, failure.message)
                    client.channel.send(session.encode(told))
        for client in self.sessions:
            self._watch_writes(client.channel, client)

    def _stop_run(self, run: int, worker: int) -> None:
        """A lease was voided under a worker: drop the run there, or end the process if it has started."""
        for slot in self.slots.all:
            if slot.id != worker or run not in slot.held:
                continue
            started = slot.worker.started()
            if started is not None and started[0] == run:
                self.end_worker(slot, Reason.CANCELLED, "cancelled")
            else:
                slot.worker.channel.send(protocol.encode(protocol.Forget([run])))
                slot.held.pop(run)

    def _close_hub(self, block: int) -> None:
        facts = self.engine.facts(self.engine.db, block)
        if facts.root == block and self.engine.hubs[facts.hub].active:
            with self.engine.turn() as turn:
                hubs.set_active(turn, facts.hub, active=False)

    def _show(self, client: Session, block: int) -> None:
        running = self.slots.running()
        client.channel.send(session.encode(self.board.show(block, client.blocks[block].stored, running)))

    def _every_now_and_then(self) -> None:
        now = time.monotonic()
        if now >= self._next_progress and self.board.changed:
            self._next_progress = now + PROGRESS_SECONDS
            for client in self.sessions:
                for block in client.blocks:
                    if block in self.board.changed:
                        self._show(client, block)
            self.board.changed.clear()
        if now >= self._next_memory:
            self._next_memory = now + MEMORY_SECONDS
            self._check_limits()
        if now >= self._next_beat:
            self._next_beat = now + (BEAT_SECONDS if self.engine.alone else SHARED_BEAT_SECONDS)
            self._beat()
        self._let_go()

    def _beat(self) -> None:
        """Extend the registration; with several engines, take over from those that are gone and see what they closed."""
        with self.engine.turn() as turn:
            kept = reclaim.beat(turn)
        if not kept:
            raise EngineLostError("this engine was given up for lost by the others and must end")
        if self.unreaped or not self.engine.alone:
            self.unreaped = takeover.take_over(self.engine, self.store)
        if not self.engine.alone:
            for client in self.sessions:
                for block in list(client.blocks):
                    row = blocks.get(self.engine.db, block)
                    if row is not None and row.state not in (BlockState.OPEN, BlockState.CLOSING):
                        client.channel.send(session.encode(session.Closed(block, row.state)))
                        del client.blocks[block]

    def _let_go(self) -> None:
        """Clients that are leaving go once nothing of theirs runs."""
        for client in [s for s in self.sessions if s.leaving]:
            mine = {b.hub for b in client.blocks.values() if not b.detached}
            if not any(self.engine.classes[c].hub in mine for s in self.slots.all for c, _ in s.held.values()):
                client.channel.send(session.encode(session.Gone(len(mine))))
                client.channel.flush()
                self._lost(client)

    def _check_limits(self) -> None:
        """End what takes longer or more memory than it declared."""
        now = time.time()
        for slot in self.slots.all:
            started = slot.worker.started()
            if started is None or started[0] not in slot.held:
                continue
            cls, task = slot.held[started[0]]
            limit = self.engine.spec(self.engine.db, task).timeout
            if 0 < limit < now - started[2]:
                self.end_worker(slot, Reason.TIMEOUT, f"it took longer than its timeout of {limit:g} s")
        self._check_memory()

    def _check_memory(self) -> None:
        for pool in self._pools:
            limited = {
                s.worker.number: (s, self.engine.classes[s.held[r[0]][0]].memory)
                for s in self.slots.all
                if s.pool is pool and (r := s.worker.started()) is not None and r[0] in s.held
            }
            if not any(limit for _, limit in limited.values()):
                continue
            used = pool.sample_memory()
            for number, (slot, limit) in limited.items():
                if 0 < limit < used.get(number, 0):
                    text = f"it used {used[number] / 2**20:.0f} MiB of the {limit / 2**20:.0f} MiB it declared"
                    self.end_worker(slot, Reason.OUT_OF_MEMORY, text)

    def _leave(self) -> None:
        """The end: workers finish, leases are released, the registration ends."""
        self._stopping = True
        for pool in self._pools:
            pool.stop(grace=1.0)
        with self.engine.turn() as turn:
            self.engine.index.merge(turn.db, everything=True)
            reclaim.leave(turn)
