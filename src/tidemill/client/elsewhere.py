"""What a store does with files from elsewhere and to elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tidemill.client.later import Later
from tidemill.model.errors import without_our_frames
from tidemill.model.file import File

if TYPE_CHECKING:
    from tidemill.client import serving, transfer
    from tidemill.client.store import Store
else:
    serving, transfer = Later("tidemill.client.serving"), Later("tidemill.client.transfer")


class Elsewhere:
    """A part of `Store`."""

    @without_our_frames
    def fetch(self, url: str, *, move: bool = False, in_place: bool = False) -> File:
        """Get a file or directory from elsewhere into the store: a `tidemill.File`, to be given to workflows and read.

        It stays as long as a workflow of this store was called with it; before, as long as the grace time of `gc`, if
        no file of the store with the same content is deleted meanwhile.

        Args:
            url: `https://…`, `http://…`, `s3://bucket/path`, `gs://bucket/path`, `az://container/path` or `file://…`.
            move: a file on this machine may become the store's own, without a copy; it is gone from its place.
            in_place: the bytes stay where they are. They are read for their digest, and compared with it again whenever
                they are used: content that was changed is an error.

        Raises:
            NotFoundError: there is no such file.
            StoreError: the server cannot be reached, or refuses.
            UsageError: another kind of URL, or what cannot be moved or left in place.
        """
        return transfer.fetch(cast("Store", self), url, move=move, in_place=in_place)

    @without_our_frames
    def send(self, what: transfer.Sendable, url: str) -> transfer.Sent:
        """Write a file or directory of the store to a URL.

        Args:
            what: a run (`"3.117"`), a workflow (`3`) or a datum (`"datum:45"`) whose value is a file or directory; the
                id of a file; what a name stands for (`store.names.get("report")`); or a file.
            url: as for `fetch`; over `https://…` it is sent with PUT, as servers of presigned URLs expect it. A
                directory is sent file by file, except to this machine. A file that is there is replaced. If the address
                of a directory is meant, with a slash at its end, a file gets its own name there.

        Raises:
            NotFoundError: there is no such thing, or no place to write to.
            StoreError: the server cannot be reached, or refuses.
            UsageError: the value is no file or directory, or another kind of URL.
        """
        return transfer.send(cast("Store", self), what, url)

    @without_our_frames
    def url_of(self, what: transfer.Sendable, expires: float = 3600.0) -> str:
        """An address at which a file of the store can be read without the store.

        Where objects are on S3, anybody who has it can read the file, for `expires` seconds. Else, and for directories,
        it is a `file:` URL: of a read-only copy on this machine. `serve_files` has addresses for others there, too.

        Args:
            what: as for `send`.
            expires: seconds, at most a week.

        Raises:
            NotFoundError: there is no such thing.
            UsageError: the value is no file or directory; `expires` is too long.
        """
        return transfer.url_of(cast("Store", self), what, expires)

    @without_our_frames
    def serve_files(self, host: str = "127.0.0.1", port: int = 0) -> serving.Served:
        """Serve files of the store over HTTP, wherever its objects are: `with store.serve_files() as served`, and then
        `served.url_of(what, expires=3600)` for each file that somebody may read.

        Only who has such an address can read, and only that file, until it expires or the server is closed. Files of
        sealed places are sent in plain. It is `http`: between machines, use it where you trust the network.

        Args:
            host: where to listen; the default can be reached from this machine only, `0.0.0.0` from everywhere.
            port: on which port; 0 takes one that is free.

        Raises:
            UsageError: nobody can listen there.
        """
        return serving.Served(cast("Store", self), host, port)
