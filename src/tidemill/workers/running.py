"""What the task under way may ask for: files, messages, things to do afterwards. See `tidemill.graph.inside`."""

import functools
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from tidemill.graph import inside
from tidemill.model.errors import UsageError
from tidemill.model.protocol import Claimed, Note, Published
from tidemill.stores.objects.interface import ObjectStore
from tidemill.workers.deferred import Deferred
from tidemill.workers.filestore import Ended, FileStore
from tidemill.workers.sharednames import SharedNames

LONGEST = 4 << 20
"""Characters of a message at most; of longer ones the beginning and the end."""


class Post(Protocol):
    """The way to the engine. Both may be called from any thread."""

    def note(self, note: Note) -> None:
        """Send a message, without waiting for anything."""
        ...

    def publish(self, published: Published) -> None:
        """Tell that a service is up."""
        ...

    def over(self, run: int, fence: int, seconds: float) -> bool:
        """Wait, at most so long, until a service has no users any more; whether that is so."""
        ...

    def ask(self, run: int, fence: int, name: str, args: dict[str, object]) -> object:
        """Ask something and wait for the answer.

        Raises:
            TidemillError: what the engine answered.
        """
        ...


class Running:
    """Installed by an executor. It costs a run nothing that does not use it.

    Args:
        objects: where the bytes of files are.
        scratch: working directory of the attempts.
        temp: directory for what is temporary.
        deferred: directory for what is to be done afterwards.
        prefix: of names in it: what tells this executor from others.
        post: the way to the engine.

    Attributes:
        claim: the run under way while its code is executing.
        used: it has asked for something: `end` must be called.
    """

    def __init__(
        self, objects: Callable[[], ObjectStore], scratch: Path, temp: Path, deferred: Path, prefix: str, post: Post
    ) -> None:
        self.claim: Claimed | None = None
        self.used = False
        self._objects = objects
        self._scratch = scratch
        self._temp = temp
        self._deferred = Deferred(deferred)
        self._prefix = prefix
        self._post = post
        self._store: FileStore | None = None
        self._names: SharedNames | None = None
        self._lock = threading.Lock()

    def install(self) -> None:
        """What tasks ask for in this process comes here."""
        inside.install(self)

    def _now(self) -> Claimed:
        # Said before it is asked: either `end` sees that there is something to end, or this sees that it has ended.
        self.used = True
        if self.claim is None:
            raise UsageError("no task is running", hint="Join the threads of a task before it returns.")
        return self.claim

    # ----------------------------------------------------------------------------------------------------- for the task

    @property
    def files(self) -> FileStore:
        claim = self._now()
        with self._lock:
            if self._store is None:
                origin = (claim.run, claim.fence)
                ask = functools.partial(self._post.ask, *origin)
                self._store = FileStore(origin, self._objects, self._scratch, self._temp, ask)
                self._names = SharedNames(self._store, self._store.intake, ask)
            return self._store

    @property
    def names(self) -> SharedNames:
        self.files  # noqa: B018 (makes both)
        assert self._names is not None
        return self._names

    def log(self, text: str, level: int) -> None:
        claim, text = self._now(), _clean(text)
        if not isinstance(level, int):
            raise UsageError(f"{level!r} is no level of a message", hint="Use one of the module logging's.")
        sys.stderr.write(f"{text}\n")
        self._post.note(Note(claim.run, claim.fence, time.time(), int(level), "", text))

    def log_stream(self, name: str, text: str | bytes | IO[Any]) -> None:
        claim = self._now()
        content: str | bytes = text if isinstance(text, (str, bytes)) else text.read()
        if isinstance(content, bytes):
            content = content.decode("utf-8", "backslashreplace")
        told = _clean(content)
        end = "" if told.endswith("\n") or not told else "\n"
        sys.stderr.write(f"--- {name}\n{told}{end}---\n")
        self._post.note(Note(claim.run, claim.fence, time.time(), inside.INFO, _clean(name), told))

    def defer(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        claim = self._now()
        with self._lock:
            self._deferred.add(f"{self._prefix}{claim.run}.{claim.fence}", function, args, kwargs)

    # ------------------------------------------------------------------------------------------------- for the executor

    def commit(self, *, last: bool) -> None:
        """Make durable what the run under way wrote, see `FileStore.commit`."""
        if self._store is not None:
            self._store.commit(last=last)

    def end(self, *, accepted: bool) -> Ended | None:
        """The code of the run has ended: do what it deferred, remove what is temporary.

        Args:
            accepted: it has succeeded.

        Returns:
            What to tell of its files, None if it had to do with none.
        """
        self.used = False
        self._deferred.run()
        store, self._store, self._names = self._store, None, None
        return None if store is None else store.end(accepted=accepted)

    def disown(self) -> None:
        """In a forked child: the run belongs to the parent."""
        self.claim = self._store = self._names = None
        self.used = False
        self._deferred.disown()
        inside.install(None)


def _clean(said: object) -> str:
    """Text that can be sent: without lone surrogates, and not too long."""
    text = str(said)
    if len(text) > LONGEST:
        left = len(text) - LONGEST
        text = f"{text[: LONGEST // 4]}\n[... {left} characters left out ...]\n{text[left + LONGEST // 4 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
