"""One attempt from message to outcome: decode, stage, run, capture, encode, measure."""

import math
import mmap
import os
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tidemill.graph import context, inside
from tidemill.graph.growth import Growing
from tidemill.model import protocol
from tidemill.model.delta import encode as encode_delta
from tidemill.model.digest import digest, show
from tidemill.model.errors import TidemillError
from tidemill.model.protocol import Claimed, Failure, Out, Outcome, Setup
from tidemill.model.states import AttemptState, Reason
from tidemill.model.values import decode, encode
from tidemill.workers import staging
from tidemill.workers.capture import Capture
from tidemill.workers.deferred import FOLDER
from tidemill.workers.execute import Keeper, execute
from tidemill.workers.failure import describe
from tidemill.workers.filestore import Ended
from tidemill.workers.inputs import Inputs, Read
from tidemill.workers.loader import Loaded, Loader
from tidemill.workers.objects import Objects
from tidemill.workers.running import Post, Running
from tidemill.workers.serving import Attached
from tidemill.workers.surroundings import Surroundings
from tidemill.workers.usage import Meter

_COMPLETE = int(AttemptState.COMPLETE)
_ERROR = int(AttemptState.ERROR)
Variables = Mapping[str, str | None]
"""Of the environment; None for one that is not set."""
_INDEX = struct.Struct(protocol.INDEX)
_ALL = 1 << 62
"""More bytes than a process can hold."""


class Attempts:
    """Everything one executor needs to run attempts, one at a time.

    Args:
        setup: the engine's first message.
        read: asks the engine for members of a collection.
        post: the way of a running task to the engine.
    """

    def __init__(self, setup: Setup, read: Read, post: Post) -> None:
        self._setup = setup
        self._post = post
        self._inline = setup.inline
        self._objects = Objects(setup)
        self._scratch = staging.Scratch(staging.now_directory(setup.scratch, setup.worker), self._objects)
        log = staging.log_file(setup.scratch, setup.worker)
        self._capture = Capture(str(log), setup.inline, self._keep_log)
        self._inputs = Inputs(self._scratch.get, self._scratch.stage, read)
        self.loader = Loader(setup.path)
        self._index = _index(setup.index)
        self._meter = Meter()
        self._surroundings = Surroundings()
        self._growing = Growing(Keeper(self._scratch))
        self._growing.install()
        self._running = self._prepare(setup, post)
        self._forked = False

    def _prepare(self, setup: Setup, post: Post) -> Running:
        """What tasks ask for while they run."""
        temp = staging.temp_directory(setup.scratch, setup.worker)
        staging.remove(temp)
        deferred = Path(setup.scratch) / FOLDER
        running = Running(self._objects, self._scratch.path, temp, deferred, f"{setup.worker}-", post)
        running.install()
        return running

    def run(self, claim: Claimed) -> Outcome:
        """Make one attempt. Whatever the user's code raises becomes part of the outcome."""
        began, start = time.time(), time.monotonic()
        _INDEX.pack_into(self._index, 0, claim.run, claim.fence, began, start, self._meter.resident())
        task = self.loader.known(claim.task)
        outs: list[Out] = []
        growth = b""
        failure: Failure | None = None
        peak = disk = 0
        reason = Reason.BAD_INPUT
        before = None if claim.environment is None else self._set_variables(claim.environment)
        try:
            if task is None:
                task = self._load(claim.task, before, claim.environment)
                began, start = time.time(), time.monotonic()
                self._meter.start()
            if claim.disk:
                self._objects.reserve(claim.disk)
            inputs = self._inputs.values(claim.inputs) if claim.inputs else ()
            args = decode(claim.args, inputs, self._scratch.stage)
            reason = Reason.EXCEPTION
            self._running.claim = claim
            values, grown, peak = execute(task, args, self._scratch, self._growing, self._link(claim, task))
            reason = Reason.BAD_OUTPUT
            if grown is not None:
                growth = encode_delta(grown)
                self._scratch.stored()
            outs = [self._out(value) for value in values]
            self._make_durable(last=True)
        except BaseException as error:  # noqa: BLE001 (SystemExit and the like are the user's, too)
            outs = []
            failure = self._failed(claim, error, reason)
        running = self._running
        running.claim = None
        if claim.disk:
            self._objects.free()
        if self._forked:
            leave_child()
        wall = time.monotonic() - start
        cpu, rss = self._meter.take(wall)
        if running.used:  # what is deferred has no limits any more: the attempt has ended
            _INDEX.pack_into(self._index, 0, claim.run, claim.fence, began, math.inf, _ALL)
        ended = self._end(accepted=failure is None) if running.used else None
        if before is not None:
            self._set_variables(before)
        self._surroundings.restore(wall)
        log = self._capture.take()
        if not self._scratch.settle(wall):
            disk = self._scratch.used()
            self._leave(claim, failure)
        if task is not None:
            task.seconds = wall
        state = _COMPLETE if failure is None else _ERROR
        outcome = Outcome(
            claim.run, claim.fence, state, outs, began, began + wall, cpu, peak or rss, log, failure, growth, disk
        )
        if ended is not None:
            outcome.files, outcome.deleted, outcome.used, used = ended
            outcome.disk = max(outcome.disk, used)
        return outcome

    def _failed(self, claim: Claimed, error: BaseException, reason: Reason) -> Failure:
        """What went wrong, and nothing of the attempt is kept."""
        if self._objects.cached is not None:
            self._objects.cached.abandon()
        failure = describe(error, reason)
        if failure.lost:
            failure.lost = self._lacking(claim, failure.lost)
        self._growing.reset()
        self._scratch.stored()
        return failure

    def _link(self, claim: Claimed, task: Loaded) -> Attached | None:
        return Attached(claim, self._durable_out, self._post) if task.spec.service else None

    def _end(self, *, accepted: bool) -> Ended | None:
        """What to tell of an attempt that has asked for something; what it has deferred is done, and may call tasks in
        vain.
        """
        try:
            return self._running.end(accepted=accepted)
        finally:
            self._growing.reset()

    def _make_durable(self, *, last: bool) -> None:
        """All that the attempt has put is durable when this returns, so that what names it may be sent.

        Args:
            last: that is its outcome: its code has ended well.

        Raises:
            StoreError: some of it cannot be kept.
        """
        if self._running.used:
            self._running.commit(last=last)
        if self._objects.cached is not None:
            self._objects.cached.flush()

    def forked(self) -> None:
        """This is a child that user code has forked: the attempt and its outcome are the parent's."""
        self._forked = True
        self._running.disown()

    def expected(self, task: int) -> float:
        """Seconds that a run of this task will probably take; infinite if nobody knows."""
        found = self.loader.known(task)
        return found.seconds if found is not None else float("inf")

    def idle(self) -> None:
        """Nothing has started."""
        _INDEX.pack_into(self._index, 0, 0, 0, 0.0, 0.0, 0)

    def resume(self) -> None:
        """Count CPU from here: the time since the last attempt was nobody's."""
        self._meter.start()

    @staticmethod
    def _set_variables(wanted: Variables) -> dict[str, str | None]:
        """Set environment variables (None: remove them); what they were."""
        before = {name: os.environ.get(name) for name in wanted}
        for name, text in wanted.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        return before

    def _load(self, task: int, before: Variables | None = None, given: Variables | None = None) -> Loaded:
        """Load a task for the first time. Calls that stand at the top level of its module are nobody's growth.

        Args:
            before, given: variables as they were, and as they are for this attempt alone.
        """
        context.install(None)
        inside.install(None)
        try:
            return self.loader.load(task)
        finally:
            self._set_variables(before or {})
            self._surroundings.keep()
            self._set_variables(given or {})
            self._growing.install()
            self._running.install()

    def _lacking(self, claim: Claimed, found: list[bytes]) -> list[bytes]:
        """All that is missing where something is, so that it is made again at once and not piece by piece."""
        with suppress(TidemillError):
            found = [*found, *self._scratch.lacking(self._inputs.objects(claim.inputs))]
        return list(dict.fromkeys(found))

    def _out(self, value: object) -> Out:
        data = encode(value, self._scratch.put)
        size = len(data)
        stored = self._scratch.stored()
        if size > self._inline:
            return Out(None, self._scratch.put_bytes(data), size, stored)
        return Out(data, digest(data), size, stored)

    def _durable_out(self, value: object) -> Out:
        """What is sent of a value while the run goes on: all that it names is durable."""
        found = self._out(value)
        self._make_durable(last=False)
        return found

    def _leave(self, claim: Claimed, failure: Failure | None) -> None:
        """Make the scratch directory new; what a failed attempt has left in it is kept."""
        kept: Path | None = None
        if failure is not None and self._setup.keep:
            kept = staging.kept_directory(self._setup.scratch, claim.run, claim.fence)
        place = self._scratch.leave(kept)
        if self._objects.cached is not None:
            self._objects.cached.release()
        if failure is not None:
            failure.scratch = place

    def _keep_log(self, path: str) -> str:
        stored, _ = self._objects().put_file(path)
        if self._objects.cached is not None:
            self._objects.cached.flush()
        return show(stored)


def leave_child() -> NoReturn:
    """End a forked child that came back from user code: its parent sends the outcome and clears up."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _index(path: str) -> mmap.mmap:
    """Map the index file. Where the path is one of our own descriptors, that has then done its service."""
    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), _INDEX.size)
    folder, _, name = path.rpartition("/")
    if folder in {"/proc/self/fd", "/dev/fd"}:
        os.close(int(name))
    return shared
