"""Streams of stored files: written into memory or, when they grow, a private file; read piece by piece."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any

from tidemill.model.errors import UsageError
from tidemill.model.fileid import FileId
from tidemill.stores.objects.interface import CHUNK, SMALL


class Spool(io.RawIOBase):
    """What is written to a stream: up to `SMALL` bytes in memory, more in a file.

    Args:
        directory: gives the directory for the file, when it is needed.

    Attributes:
        path: of the file with all of it, once that is no longer small; else "".
    """

    def __init__(self, directory: Callable[[], str]) -> None:
        super().__init__()
        self.path = ""
        self._directory = directory
        self._small = io.BytesIO()
        self._file: io.FileIO | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return (self._file or self._small).seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return (self._file or self._small).truncate(size)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self._file is None and self._small.tell() + len(view) <= SMALL:
            return self._small.write(view)
        return self._large().write(view)

    def _large(self) -> io.FileIO:
        """The file; made, with what there is so far, when it is first needed."""
        if self._file is None:
            import tempfile

            descriptor, self.path = tempfile.mkstemp(prefix="stream-", dir=self._directory())
            self._file = io.FileIO(descriptor, "w")
            rest = self._small.getbuffer()
            while rest:
                rest = rest[self._file.write(rest) :]
            self._file.seek(self._small.tell())
        return self._file

    def small(self) -> bytes:
        """All of it while there is no file."""
        return self._small.getvalue()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def drop(self) -> None:
        """Forget what was written."""
        self.close()
        if self.path:
            with suppress(FileNotFoundError):
                os.unlink(self.path)


class _Known:
    """What both kinds of stream say of the file that they have written."""

    _known: FileId | None = None

    @property
    def id(self) -> FileId:
        """Of the file. Raises `UsageError` before the end of the block."""
        if self._known is None:
            raise UsageError("a file has its id when it is complete", hint="Ask after the with block.")
        return self._known

    def complete(self, known: FileId) -> None:
        """The file is in the store."""
        self._known = known


class BinarySink(_Known, io.BufferedWriter):
    """A stream of bytes to a `Spool`."""


class TextSink(_Known, io.TextIOWrapper):
    """A stream of text to a `Spool`."""


def sink(spool: Spool, encoding: str | None, errors: str | None) -> BinarySink | TextSink:
    """A stream to write to, of text where there is an encoding.

    Raises:
        UsageError: if there is no such encoding.
    """
    if encoding is None:
        return BinarySink(spool, CHUNK)
    try:
        return TextSink(io.BufferedWriter(spool, CHUNK), encoding, errors, newline="")
    except LookupError as error:
        raise UsageError(str(error), hint='For text, encoding="utf-8".') from None


class _Pieces(io.RawIOBase):
    """A readable stream over an iterator of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()
        self._rest = memoryview(b"")
        super().close()


def source(content: bytes | Iterator[bytes], encoding: str | None, errors: str | None) -> IO[Any]:
    """A stream that gives this content, as text where there is an encoding.

    Raises:
        UsageError: if there is no such encoding.
    """
    if isinstance(content, bytes):
        stream: Any = io.BytesIO(content)
    else:
        stream = io.BufferedReader(_Pieces(content), CHUNK)
    if encoding is None:
        return stream  # type: ignore[no-any-return]
    try:
        return io.TextIOWrapper(stream, encoding, errors, newline="")
    except LookupError as error:
        stream.close()
        raise UsageError(str(error), hint='For text, encoding="utf-8".') from None
