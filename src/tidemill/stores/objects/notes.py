"""Small texts beside the objects of a store, that are no objects: each under a name, with the time it was written."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from tidemill.model.errors import NotFoundError
from tidemill.stores.objects.failures import talking, writing
from tidemill.stores.objects.files import make_dirs, new_file, write_all

if TYPE_CHECKING:
    from tidemill.stores.objects.buckets import Backend


class Notes(Protocol):
    """Notes of one kind. A note is written whole or not at all."""

    def write(self, name: str, text: bytes) -> None:
        """Write a note, in place of one of that name."""

    def read(self, name: str) -> bytes | None:
        """A note, None if there is none."""

    def list(self) -> Iterator[tuple[str, float]]:
        """All names, and when they were last written: seconds since the epoch."""

    def remove(self, name: str) -> None:
        """Remove a note; one that is not there is no error."""


class FileNotes:
    """Notes in a directory, which the first of them makes."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def write(self, name: str, text: bytes) -> None:
        with writing(self._directory):
            make_dirs(self._directory)
        with new_file(os.path.join(self._directory, name), durable=True) as target:
            write_all(target, text)

    def read(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self) -> Iterator[tuple[str, float]]:
        try:
            entries = list(os.scandir(self._directory))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            try:
                yield entry.name, entry.stat().st_mtime
            except FileNotFoundError:
                continue

    def remove(self, name: str) -> None:
        with writing(self._directory):
            try:
                os.unlink(os.path.join(self._directory, name))
            except (FileNotFoundError, NotADirectoryError):
                return


class BucketNotes:
    """Notes below a prefix of a bucket.

    Args:
        backend: the connection; keys are relative to it.
        prefix: without slashes at its ends.
        place: the address, as shown to people.
    """

    def __init__(self, backend: "Backend", prefix: str, place: str) -> None:
        self._backend = backend
        self._prefix = prefix
        self._place = place

    def write(self, name: str, text: bytes) -> None:
        import obstore

        with talking(self._place, write=True):
            obstore.put(self._backend, f"{self._prefix}/{name}", text)

    def read(self, name: str) -> bytes | None:
        import obstore

        try:
            with talking(self._place):
                return obstore.get(self._backend, f"{self._prefix}/{name}").bytes().to_bytes()
        except NotFoundError:
            return None

    def list(self) -> Iterator[tuple[str, float]]:
        import obstore

        with talking(self._place):
            pages = list(obstore.list(self._backend, prefix=self._prefix))
        for page in pages:
            for one in page:
                yield one["path"].rpartition("/")[2], one["last_modified"].timestamp()

    def remove(self, name: str) -> None:
        import obstore

        try:
            with talking(self._place, write=True):
                obstore.delete(self._backend, f"{self._prefix}/{name}")
        except NotFoundError:
            return
