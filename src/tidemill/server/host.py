"""The loop of the process that serves a store: messages in, one transaction, messages out.

Within a transaction completions come first, then claims, then a slice of submissions: an engine that let submissions
queue ahead of completions would have recorded nothing when it was killed.
"""

import contextlib
import select
import selectors
import time

from tidemill.engine import claim, complete, control, gathers_read, hubs, reclaim
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.model import protocol, session
from tidemill.model.errors import EngineLostError, TidemillError
from tidemill.model.protocol import Answer, Ask, Done, Hello, Note, Outcome, Published, Read, Work
from tidemill.model.states import BlockState
from tidemill.server import addresses, commands, halting, inquiries, takeover
from tidemill.server.addresses import Place
from tidemill.server.crew import Crew
from tidemill.server.deletions import Deletions
from tidemill.server.desk import Desk
from tidemill.server.equipping import equip
from tidemill.server.inquiries import Inquiries
from tidemill.server.rounds import Round
from tidemill.server.sessions import Session
from tidemill.server.slots import LARGEST, SUBMITTING, Slot, Slots
from tidemill.stores.state import blocks, leases, workers
from tidemill.stores.state.postgres import PostgresDatabase
from tidemill.stores.state.workers import Worker

BEAT_SECONDS = 5.0
SHARED_BEAT_SECONDS = 1.0
"""Where several engines serve the store, a beat also looks what the others did."""
PROGRESS_SECONDS = 0.1
LIMITS_SECONDS = 0.5
GRACE_SECONDS = 1.0
"""For idle workers to end, and for last messages to be taken."""
SUBMITTING_DONE = 300
"""Outcomes taken in one transaction while submissions wait: its length is what everybody waits for."""
_LIVE = (BlockState.OPEN, BlockState.CLOSING)


class Host:
    """Serves one store until nobody needs it.

    Args:
        engine: registered and ready.
        me: the engine's registration.
        place: the store.
        objects: address of the place of its objects.
        slots: the local workers, none yet.
        lease: seconds for which the engine's registration holds without a beat.
    """

    def __init__(
        self, engine: Engine, me: Worker, place: Place, objects: str, slots: Slots, lease: float = reclaim.LEASE_SECONDS
    ) -> None:
        self.engine = engine
        self.place = place
        self.objects = objects
        self.slots = slots
        slots.sole = engine.alone
        engine.memory = slots.memory
        self.crew = Crew(engine, me, place.directory, objects, slots, self._watch_slot)
        self.unreaped = 0
        self._lease = lease
        self._selector = selectors.DefaultSelector()
        self.desk = Desk(engine, self.crew, slots, self._selector)
        self._deletions = Deletions(engine, objects, self._selector)
        self._inbox: list[tuple[Slot, list[Outcome]]] = []
        self._reads: list[tuple[Slot, Read]] = []
        self._inquiries = Inquiries()
        self._dead: list[Slot] = []
        self._claims = False
        self._next_beat = self._next_progress = self._next_limits = 0.0

    # ------------------------------------------------------------------------------------------------- clients

    def hear(self) -> None:
        """Several engines: wake up when another one makes runs ready."""
        db = self.engine.db
        assert isinstance(db, PostgresDatabase)
        db.listen()
        self._selector.register(db, selectors.EVENT_READ, db.heard)

    def _watch_slot(self, slot: Slot) -> None:
        """A worker's end is told by its channel, and by its sentinel where what it forked holds on to the channel."""
        self._selector.register(slot.worker.channel, selectors.EVENT_READ, slot)
        if slot.worker.sentinel >= 0:
            self._selector.register(slot.worker.sentinel, selectors.EVENT_READ, slot)

    # ------------------------------------------------------------------------------------------------- the loop

    def serve(self) -> None:
        """Run until nobody needs this process any more.

        Raises:
            TidemillError: the store cannot be served any longer; clients have been told.
        """
        try:
            while not self._finished():
                self._poll(self._patience())
                if self._pressing() or self._hungry():
                    self._turn()
                self._every_now_and_then()
            self._leave()
        except TidemillError as error:
            self._give_up(error)
            raise
        except Exception as error:
            log = self.place.directory / addresses.LOG
            self._give_up(
                EngineLostError(
                    f"the engine of this store failed ({type(error).__qualname__}: {error}); details are in {log}",
                    hint="run the same command again: it carries on where it was",
                )
            )
            raise

    def _finished(self) -> bool:
        if self.desk.sessions or any(s.held for s in self.slots.all) or self.engine.owes:
            return False
        return not self.desk.goes_alone()

    def _patience(self) -> float:
        """Seconds the loop may sleep."""
        if self._pressing():
            return 0.0
        now = time.monotonic()
        until = [self._next_beat - now, self.engine.next_timer - self.engine.clock.monotonic(), 1.0]
        if self.desk.board.changed:
            until.append(self._next_progress - now)
        if any(s.held for s in self.slots.all):
            until.append(self._next_limits - now)
        return max(0.0, min(until))

    def _poll(self, patience: float) -> None:
        for key, _ in self._selector.select(patience):
            target = key.data
            if isinstance(target, Slot):
                self._from_worker(target, ended=key.fd == target.worker.sentinel)
            elif isinstance(target, Session):
                self.desk.receive(target)
            else:
                target()

    def _from_worker(self, slot: Slot, *, ended: bool) -> None:
        """Take in what a worker has sent. If its process has `ended`, it is dead once there is no more of that."""
        if slot in self._dead:
            return  # channel and sentinel told it together
        worker = slot.worker
        worker.channel.flush()
        frames = worker.channel.receive()
        if frames is None or (ended and not frames):
            self._selector.unregister(worker.channel)
            if worker.sentinel >= 0:
                self._selector.unregister(worker.sentinel)
            self._dead.append(slot)
            return
        for frame in frames:
            message = protocol.decode_to_engine(frame)
            if isinstance(message, Done):
                self._inbox.append((slot, message.outcomes))
            elif isinstance(message, Hello):
                self.crew.came_up(slot)
                self._claims = True
            elif isinstance(message, (Note, Ask, Published)):
                self._inquiries.take(slot, message)
            elif isinstance(message, Read):
                self._reads.append((slot, message))
        self.desk.watch_writes(worker.channel, slot)

    # ------------------------------------------------------------------------------------------------- a turn

    def _pressing(self) -> bool:
        """Whether there is something to do that nobody need say again."""
        return bool(
            self._inbox or self._dead or self._claims or self.desk.requests or self._reads or self._inquiries
            # what became ready after the last claims: as their turn was finished, or in one that claims nothing
            or self.engine.busy or (self.engine.spilled and self.slots.idle())
        )  # fmt: skip

    def _hungry(self) -> bool:
        if self.engine.alone:
            return False
        return self.slots.idle() or not self.slots.all

    def _turn(self) -> None:
        """One transaction, and what it tells workers and clients."""
        if self.desk.requests and isinstance(self.desk.requests[0][1], session.Command):
            self._obey()
            return
        taken = self._take_outcomes()
        dead, self._dead = self._dead, []
        found = Round(
            taken,
            [self.crew.ended(slot) for slot in dead],
            self._reads,
            self.desk.take_requests(),
            self._inquiries,
        )
        self._reads, self._inquiries, self._claims, self.engine.spilled = [], Inquiries(), False, False
        for slot, outcomes in found.outcomes:
            self.slots.learn(slot, outcomes)
            self.crew.sampler.complement(slot, outcomes)
            slot.over([o.run for o in outcomes])
        turn = self._transact(found)
        self.crew.hosting.dismiss([slot for slot, _ in found.outcomes])
        self._send(found)
        self._report(turn, found)
        for path in found.paths:
            self.crew.learn_path(path)
        self.crew.replace(dead, self.desk.workers_wanted())
        if self.slots.needed(self.engine):
            self.crew.start(self.desk.workers_wanted())
        for client, now in found.leaving:
            self.desk.detach(client, now=now)
        for client, message in found.halting:
            halting.halt(self.desk, client, message)

    def _transact(self, found: Round) -> Turn:
        """One transaction for all; a request that cannot be done has no part in it."""
        while True:
            try:
                return self.engine.transact(lambda turn: self._decide(turn, found), shared=not found.requests)
            except commands.RefusedError as refused:
                found.refuse(refused.client, refused.message, refused.reply)

    def _obey(self) -> None:
        """One command of a client."""
        client, message = self.desk.requests.popleft()
        assert isinstance(message, session.Command)
        if client.gone:
            return
        reply, turn = commands.obey(self.engine, message)
        if turn is not None:
            self._report(turn, Round([], [], [], [], after=[(client, reply)]))
            self._claims = True
        else:
            client.tell(reply)
            self.desk.watch_writes(client.channel, client)

    def _take_outcomes(self) -> list[tuple[Slot, list[Outcome]]]:
        """What workers finished; not all at once while somebody else waits, but all of those that are to be buried."""
        taken, self._inbox = self._inbox, []
        if self.desk.requests:
            count = 0
            for i, (_, outcomes) in enumerate(taken):
                count += len(outcomes)
                if i and count > SUBMITTING_DONE:
                    self._inbox = [m for m in taken[i:] if m[0] not in self._dead]
                    taken = taken[:i] + [m for m in taken[i:] if m[0] in self._dead]
                    break
        return _by_worker(taken)

    def _decide(self, turn: Turn, found: Round) -> Turn:
        found.begin()
        if not self.engine.alone and not reclaim.registered(turn):
            raise _given_up(self._lease)
        if self._hungry():
            self.engine.refresh_ready()
        if found.inquiries:
            dealt = inquiries.deal(turn, found.inquiries)
            found.answers += dealt.told
            found.said = inquiries.loud(turn, dealt.said)
        for slot, outcomes in found.outcomes:
            complete.complete(turn, slot.id, self.crew.hosting.held_back(turn, slot, outcomes))
        for death in found.deaths:
            self.crew.bury(turn, death)
        self.engine.settle(turn)
        if self.engine.busy:
            self.engine.upkeep(turn)
            self.engine.settle(turn)
        self.slots.largest = SUBMITTING if found.requests else LARGEST
        self._claim_all(turn, found)
        if found.requests:
            commands.take_all(self, turn, found)
            self._claim_all(turn, found)
        found.answers += [(slot, _answer(turn, read)) for slot, read in found.reads]
        return turn

    def _claim_all(self, turn: Turn, found: Round) -> None:
        engine, slots = self.engine, self.slots
        slots.forget_waits(lambda c: engine.hubs[engine.classes[c].hub].active > 0 and _stands(turn, c))
        served = [slot for slot, _ in found.grants]
        for slot in sorted(slots.all, key=lambda s: len(s.held)):
            if slot.open and slot not in served:
                taken = claim.claim(turn, slot.id, lambda c, n, slot=slot: slots.room(slot, c, n))  # type: ignore[misc]
                if taken:
                    slot.given(taken, engine)
                    got = {slot.held[c.run][0] for c in taken}
                    for cls in got:
                        slots.granted(cls)
                    if any(engine.classes[cls].accelerators for cls in got):
                        left = equip(turn, slots, slot, taken)
                        self._claims |= len(left) < len(taken)
                        taken = left
                if taken:
                    found.grants.append((slot, taken))
        if slots.stale:
            stale, slots.stale = slots.stale, []
            self.crew.renew(stale)

    def _send(self, found: Round) -> None:
        for slot, claimed in found.grants:
            fresh = sorted({c.task for c in claimed} - slot.known)
            slot.known.update(fresh)
            specs = [(t, self.engine.encoded_spec(t)) for t in fresh]
            seconds = max(self.slots.estimate(slot.held[c.run][0]) for c in claimed)
            slot.hosted = slot.service != 0
            slot.worker.channel.send(protocol.encode(Work(claimed, specs, seconds)))
            self.desk.watch_writes(slot.worker.channel, slot)
        for slot, answer in found.answers:
            slot.worker.channel.send(protocol.encode(answer))
            self.desk.watch_writes(slot.worker.channel, slot)

    # ------------------------------------------------------------------------------------------------- after a turn

    def _report(self, turn: Turn, found: Round) -> None:
        for client, block, followed, own in found.followers:
            client.blocks[block] = followed
            if own:
                client.begun.add(block)
        for block in found.begun:
            self.desk.board.open(block, fresh=True)
        self.desk.board.take(turn)
        for block in found.joined:
            self.desk.board.open(block, fresh=False)
        for run, worker in turn.stopped:
            self.crew.void(run, worker)
        for run, _, worker in turn.over:
            self.crew.hosting.over(run, worker)
        for client, message in found.after:
            client.tell(message)
        for run, block, task, failure in turn.failures:
            root = self.engine.facts(self.engine.db, block).root
            name = self.engine.spec(self.engine.db, task).name
            for client in self.desk.sessions:
                if root in client.blocks:
                    client.tell(session.Failed(root, run, name, failure.kind, failure.message, block))
        for said in found.said:
            for client in self.desk.sessions:
                if said.block in client.blocks:
                    client.tell(said)
        for closed in turn.closed:
            self.desk.closed(closed.block, int(closed.state))
        for client in self.desk.sessions:
            self.desk.watch_writes(client.channel, client)

    def _every_now_and_then(self) -> None:
        now = time.monotonic()
        if now >= self._next_progress and self.desk.board.changed:
            self._next_progress = now + PROGRESS_SECONDS
            for client in self.desk.sessions:
                for block in client.blocks:
                    if block in self.desk.board.changed and not client.channel.wants_write:
                        self.desk.show(client, block)
                self.desk.watch_writes(client.channel, client)
            self.desk.board.changed.clear()
        if now >= self._next_limits:
            self._next_limits = now + LIMITS_SECONDS
            self._claims |= self.crew.check_limits()
            room, relieved = self.crew.hosting.relieve()
            self._claims |= room
            if relieved is not None:
                self._report(relieved, Round([], [], [], []))
        if now >= self._next_beat:
            often = BEAT_SECONDS if self.engine.alone else SHARED_BEAT_SECONDS
            self._next_beat = now + min(often, self._lease / 4)
            self._beat()
        self._deletions.look(min((s.since for s in self.desk.sessions), default=time.time()))
        self.desk.let_go()

    def _beat(self) -> None:
        """Extend the registration; with several engines, take over from those that are gone and see what they did."""
        if not self.engine.transact(lambda turn: reclaim.beat(turn, self._lease)):
            raise _given_up(self._lease)
        if self.unreaped or not self.engine.alone:
            self.unreaped = takeover.take_over(self.engine, self.place.directory)
            self._claims = True
        if not self.engine.alone:
            self.engine.journaled = True  # another engine may have given bytes up
            halting.hear(self.desk)
            self.engine.transact(control.stop_strays)
            self.slots.sole = len({w.host for w in workers.engines(self.engine.db)}) <= 1
            self._look_around()

    def _look_around(self) -> None:
        """What other engines did: blocks that they closed or suspended, leases that they voided."""
        db = self.engine.db
        for block in {b for s in self.desk.sessions if not s.leaving for b in s.blocks}:
            row = blocks.get(db, block)
            if row is not None and row.state not in _LIVE:
                self.desk.closed(block, row.state)
            elif row is not None and row.state == BlockState.OPEN:
                self.engine.transact(lambda turn: hubs.set_active(turn, row.hub, active=True))  # noqa: B023
        for slot in self.slots.all:
            current = leases.current(db, list(slot.held))
            for run in [r for r in slot.held if current.get(r, (0, 0))[1] != slot.id]:
                self.crew.void(run, slot.id)
        self.crew.hosting.look_around()

    # ------------------------------------------------------------------------------------------------- the end

    def close(self) -> None:
        """After `serve`: let go of the store and of who might still come."""
        self.desk.close()
        self._deletions.close()
        self._selector.close()
        self.engine.db.close()

    def _leave(self) -> None:
        """The end: workers end, leases are released, the registration ends."""
        self.crew.leave(GRACE_SECONDS)
        self._deletions.last(GRACE_SECONDS)
        self.engine.transact(self._sign_off)

    def _sign_off(self, turn: Turn) -> None:
        self.engine.index.merge(turn.db, everything=True)
        reclaim.leave(turn)

    def _give_up(self, error: TidemillError) -> None:
        """The store cannot be served: end the workers, and tell the clients why."""
        self.crew.leave(0.0)
        with contextlib.suppress(TidemillError):  # if not now, the next engine does it
            self.engine.transact(self._sign_off)
        message = session.Reply(0, None, error.code, str(Exception.__str__(error)), error.hint)
        for client in self.desk.sessions:
            client.tell(message)
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            waiting = [s.channel for s in self.desk.sessions if not s.channel.flush()]
            if not waiting:
                return
            select.select([], waiting, [], left)


def _stands(turn: Turn, cls: int) -> bool:
    """Whether runs of a class stand ready."""
    return turn.engine.ready.get(cls, 0) > 0 or bool(turn.hot.get(cls))


def _given_up(lease: float) -> EngineLostError:
    return EngineLostError(
        f"this engine was not heard of for {lease:g} s, so another one took over its work",
        hint="run the same command again: it carries on where it was",
    )


def _by_worker(taken: list[tuple[Slot, list[Outcome]]]) -> list[tuple[Slot, list[Outcome]]]:
    """All that each worker finished as one message: what is taken in together costs a statement each only once."""
    found: dict[Slot, list[Outcome]] = {}
    for slot, outcomes in taken:
        found.setdefault(slot, []).extend(outcomes)
    return list(found.items())


def _answer(turn: Turn, read: Read) -> Answer:
    try:
        return Answer(read.number, gathers_read.members(turn.db, read.gather, read.first, read.count))
    except TidemillError as error:
        return Answer(read.number, [], str(error))
