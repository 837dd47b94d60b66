"""Commands about what tasks leave beside their results: `messages`, `names`."""

from typing import Annotated

from cyclopts import Parameter

from tidemill.cli import output
from tidemill.cli.options import BlockId, Json, StorePath, open_store
from tidemill.client.names import NameList
from tidemill.model.ids import parse_as


def messages(
    block: BlockId | None = None,
    /,
    *,
    all: Annotated[bool, Parameter(name="--all", negative="", help="Also those that have been shown before.")] = False,
    reader: Annotated[str, Parameter(help="Who reads: each reader is shown each message once.")] = "me",
    store: StorePath = None,
    json: Json = False,
) -> None:
    """What tasks told their workflows since the last time: each message is shown once, or all of them again."""
    with open_store(store) as found:
        record = found.messages(parse_as(block, "block").number if block else None, reader=reader, all=all)
    if json:
        output.emit(record, as_json=True)
        return
    for one in record:
        output.emit(one, as_json=False)


def names(
    name: Annotated[str | None, Parameter(help="Only this one, with all its versions.")] = None,
    /,
    *,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Named files that tasks and programs share, or the versions of one of them."""
    with open_store(store) as found:
        record = NameList(names=found.names.history(name) if name else found.names.list())
    output.emit(record, as_json=json)
