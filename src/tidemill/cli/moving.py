"""Commands for files elsewhere, and between a store and elsewhere: `fetch`, `send`, `ls`, `url`."""

import sys
from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.options import Json, Objects, StorePath, open_store, seconds
from tidemill.client import transfer
from tidemill.model.errors import UsageError

_KINDS = "https://…, s3://bucket/path, gs://…, az://…, file://…"
Url = Annotated[str, Parameter(help=f"An address: {_KINDS}.")]
Sendable = Annotated[str, Parameter(help="A run (3.117), a block (3), a datum (datum:45) or the id of a file.")]


def fetch(*urls: Url, store: StorePath = None, objects: Objects = "", json: Json = False) -> None:
    """Get files or directories from elsewhere into the store, and print by which paths to call them.

    With several addresses --json prints a list.
    """
    with open_store(store, objects) as found:
        if not urls:
            raise UsageError("there is no address", hint=f"Give one or more: {_KINDS}.")
        records = [transfer.fetched(url, found.fetch(url)) for url in urls]
        if len(records) == 1:
            output.emit(records[0], as_json=json)
        else:
            output.emit(transfer.FetchedList(records), as_json=json)


def send(id: Sendable, url: Url, /, *, store: StorePath = None, objects: Objects = "", json: Json = False) -> None:
    """Write a result that is a file or directory to somewhere else. A file that is there is replaced.

    Where the address ends with a slash, a file gets its own name there.
    """
    with open_store(store, objects) as found:
        output.emit(found.send(id, url), as_json=json)


def list_(url: Url, /, *, json: Json = False) -> None:
    """What is at an address: the names and sizes in a directory or bucket, or the size of a file."""
    output.emit(transfer.listing(url), as_json=json)


def url(
    id: Sendable,
    /,
    *,
    expires: Annotated[
        str, Parameter(help="For how long it is valid, where it is signed or served: 90s, 10m, 12h, 7d.")
    ] = "1h",
    serve: Annotated[
        bool, Parameter(help="Serve the file over HTTP, until Ctrl-C or until the address has expired.")
    ] = False,
    host: Annotated[str, Parameter(help="Where to listen; 0.0.0.0 can be reached from other machines.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="On which port; 0 takes one that is free.")] = 0,
    store: StorePath = None,
    objects: Objects = "",
) -> None:
    """Print an address at which a result that is a file can be read without the store.

    Where objects are on S3 it is signed, and anybody who has it can read the file; else it is a file: URL on this
    machine. With --serve it is an http: address wherever the objects are, in plain also where they are sealed, and
    anybody who has it can read the file as long as the command goes on.
    """
    valid = seconds(expires)
    with open_store(store, objects) as found:
        if not serve:
            output.emit(found.url_of(id, valid), as_json=False)
            return
        with found.serve_files(host, port) as served, suppress(KeyboardInterrupt):
            output.emit(served.url_of(id, valid), as_json=False)
            sys.stdout.flush()
            served.wait(valid)
