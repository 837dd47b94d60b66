"""Commands that move files between a store and elsewhere: `fetch`, `send`."""

from typing import Annotated

from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.options import AnyId, Json, Objects, StorePath, open_store
from tidemill.client import transfer

Url = Annotated[str, Parameter(help="An address: https://…, s3://bucket/path, file://….")]


def fetch(url: Url, /, *, store: StorePath = None, objects: Objects = "", json: Json = False) -> None:
    """Get a file from elsewhere into the store, and print by which path to call it."""
    with open_store(store, objects) as found:
        output.emit(transfer.fetched(url, found.fetch(url)), as_json=json)


def send(id: AnyId, url: Url, /, *, store: StorePath = None, objects: Objects = "", json: Json = False) -> None:
    """Write a result that is a file or directory to somewhere else. A file that is there is replaced."""
    with open_store(store, objects) as found:
        output.emit(found.send(id, url), as_json=json)
