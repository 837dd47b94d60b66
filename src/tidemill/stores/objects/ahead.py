"""Reading ahead in a thread of its own."""

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self


class Ahead(Iterator[bytes]):
    """The chunks of a source, which a thread reads: a few of them ahead of whoever takes them.

    What obstore sends it asks for inside its event loop, where nothing may be read with obstore; a source that reads a
    bucket has to be read elsewhere. At the end of the `with` block the source is closed.

    Args:
        source: its exceptions come out where its chunks do.
        depth: how many chunks it may be ahead.

    Attributes:
        error: what the source has raised.
    """

    def __init__(self, source: Iterator[bytes], depth: int = 4) -> None:
        self.error: BaseException | None = None
        self._source = source
        self._room = threading.Semaphore(depth)
        self._ready: SimpleQueue[bytes | None] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="ahead", daemon=True)

    def _read(self) -> None:
        try:
            for chunk in self._source:
                self._room.acquire()
                if self._stopped:
                    return
                self._ready.put(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again by who takes the chunks
            self.error = error
        finally:
            if isinstance(self._source, Generator):
                self._source.close()
            self._ready.put(None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join()

    def __next__(self) -> bytes:
        chunk = self._ready.get()
        self._room.release()
        if chunk is not None:
            return chunk
        self._ready.put(None)
        if self.error is not None:
            raise self.error
        raise StopIteration
