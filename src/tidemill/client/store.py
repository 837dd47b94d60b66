"""A store as its users hold it: `tm.open(path_or_url)`."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tidemill.client import following
from tidemill.client.connection import connect
from tidemill.client.elsewhere import Elsewhere
from tidemill.client.keeping import Keeping
from tidemill.client.later import Later
from tidemill.client.naming import DEFAULT, store_option
from tidemill.client.results import Reader
from tidemill.model import ids
from tidemill.model.errors import NotFoundError, RunCancelledError, RunFailedError, StoreError, without_our_frames
from tidemill.model.states import BlockState
from tidemill.provenance import find
from tidemill.server import settling
from tidemill.server.addresses import STORE, Place, place_of
from tidemill.stores.objects import ObjectStore, open_objects
from tidemill.stores.state import blocks as block_rows
from tidemill.stores.state import place as places
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import open_database, shown
from tidemill.stores.state.schema import require_current

if TYPE_CHECKING:
    from tidemill.client import details, failures, garbage, handle, handled, logs, planning, queries, transfer
    from tidemill.provenance import lineage, picture, why
else:
    details, failures, garbage, handle, handled, logs, planning, queries, transfer = (
        Later(f"tidemill.client.{name}")
        for name in ("details", "failures", "garbage", "handle", "handled", "logs", "planning", "queries", "transfer")
    )
    lineage, why = Later("tidemill.provenance.lineage"), Later("tidemill.provenance.why")


class Store(Keeping, Elsewhere, AbstractContextManager["Store"]):
    """A store: its state, its objects, and the way to have work done in it.

    Opening one starts nothing and writes nothing.

    Args:
        url: a directory or `postgresql://…`; default: the environment's TIDEMILL_STORE, else `.tidemill` here.
        objects: where large values and files go: a directory or `s3://bucket/prefix`; default: `objects` inside the
            store. It is needed once: the store remembers it.

    Attributes:
        url: the address as it is shown, without a password.

    Raises:
        ConfigError: one of the addresses is none that is known.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None, *, objects: str | os.PathLike[str] = "") -> None:
        address = os.fspath(url) if url is not None else os.environ.get(STORE) or DEFAULT
        self.url = shown(address)
        self.place: Place = place_of(address, os.fspath(objects))

    def __repr__(self) -> str:
        return f"<store {self.url}>"

    def _repr_html_(self) -> str:
        try:
            return self.status()._repr_html_()
        except NotFoundError as error:
            return f"<p>{html.escape(str(error))}</p>"

    @cached_property
    def db(self) -> Database:
        """The state, for reading.

        Raises:
            NotFoundError: nothing has been run in this store yet.
            StoreError: an older version of Tidemill has written it, and nothing has been run in it since.
        """
        db = open_database(self.place.state, read_only=True)
        try:
            require_current(db)
        except StoreError:
            db.close()
            raise
        return db

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store: where the store knows that its objects are.

        Raises:
            ConfigError: that is not where they were said to be when the store was opened.
        """
        try:
            where = settling.known(self.db, self.place)
        except NotFoundError:
            where = self.place.objects or self.place.inside
        return open_objects(where)

    @cached_property
    def reader(self) -> Reader:
        """Turns data into values."""
        return Reader(self.db, lambda: self.objects, self.place.directory / "files", store_option(self.url))

    @without_our_frames
    def run(self, call: Any, *, workers: int | None = None, progress: bool | None = None, stop: bool = False) -> Any:
        """Execute a call durably and return its result.

        Args:
            call: a workflow or task with its arguments.
            workers: worker processes; default: one per CPU.
            progress: True, False, or None for what fits the terminal.
            stop: start nothing more after the first failure, instead of finishing what does not depend on it.

        Raises:
            WiringError: the workflow does not fit together; nothing was stored.
            RunFailedError: something failed; the report says what, where and how to run it alone.
            KeyboardInterrupt: Ctrl-C; everything finished so far is stored.
        """
        ended = following.execute(self, call, workers=workers, progress=progress, stop=stop)
        return self.result(ended.block)

    @without_our_frames
    def submit(self, call: Any, *, workers: int | None = None, stop: bool = False) -> handle.Handle:
        """Start executing a call and return a handle to wait on; it goes on when this program has ended.

        Raises:
            WiringError: the workflow does not fit together; nothing was stored.
        """
        return handle.submit(self, call, workers=workers, stop=stop)

    @without_our_frames
    def plan(self, call: Any) -> planning.PlanReport:
        """What running a call would do, task by task, and why. The store is only read.

        Raises:
            WiringError: the workflow does not fit together.
        """
        return planning.plan(self, call)

    # ------------------------------------------------------------------------------------------------- questions

    def status(self, block: int = 0, *, limit: int = 20) -> queries.Status:
        """How far the newest workflows are, or one of them; see `queries.status`."""
        return queries.status(self.db, self.place, self.url, block=block, limit=limit)

    def runs(self, **filters: Any) -> queries.RunList:
        """A page of runs by state, task, block or workflow; see `queries.list_runs`."""
        return queries.list_runs(self.db, **filters)

    def show(self, id: str | int) -> details.RunInfo | details.BlockInfo | details.DatumInfo:
        """Everything about a run (`"3.117"`), a block (`3`) or a datum (`"datum:45"`)."""
        what = ids.parse(id)
        return details.show(self.db, self.place, what)

    @without_our_frames
    def result(self, id: str | int) -> Any:
        """What a workflow (`3`) or a run (`"3.117"`) returned, or the value of a datum (`"datum:45"`). Files come as
        paths below the store, to be read only. Failures that a workflow has dealt with (`on_error="run"`) do not count.

        Raises:
            NotFoundError: there is no such thing.
            RunFailedError, RunCancelledError: it has no value, or none yet.
        """
        return read(self, id, self.reader)

    def handle(self, block: int) -> handle.Handle:
        """A handle on a workflow that was submitted before, to wait on.

        Raises:
            NotFoundError: there is no such workflow.
        """
        return handle.Handle(self, block, block_rows.find(self.db, block).name, None)

    def why(self, run: str | int) -> why.Why:
        """Why a run executed, did not, waits, or ended as it did."""
        what = ids.parse_as(run, "run")
        return why.why(self.db, what)

    def lineage(self, id: str | int, *, up: bool = True, depth: int | None = None) -> picture.Lineage:
        """What a run, datum or workflow's result came from, or (not `up`) what came from it."""
        what = ids.parse(id)
        return lineage.trace(self.db, what, up=up, depth=depth)

    def logs(self, run: str | int) -> list[logs.Log]:
        """What a run printed, attempt by attempt."""
        what = ids.parse_as(run, "run")
        return logs.logs(self.db, self.place, what)

    def failures(self, block: int) -> list[failures.FailureReport]:
        """The first failures of a workflow."""
        return failures.failures(self.db, self.url, block)

    def gc(self, *, grace: float = 24 * 3600.0, dry_run: bool = False) -> garbage.Collected:
        """Delete stored bytes and directories that nothing needs and that are older than `grace` seconds. What was
        stored since the oldest attempt under way began stays.

        Raises:
            ConfigError: another store keeps objects in the same place.
        """
        garbage.refuse_shared(self.objects, places.read(self.db).store, self.place.directory)
        served = queries.served(self.place, self.db)
        directory = self.place.directory
        return garbage.collect_garbage(self.db, self.objects, directory, grace=grace, dry_run=dry_run, served=served)

    # ------------------------------------------------------------------------------------------------- commands

    def cancel(self, block: int) -> None:
        """End everything in a block that has not ended; what is running is stopped."""
        following.cancel(self, [block], [])

    def command(self, name: str, **args: object) -> object:
        """A control command and its answer.

        Raises:
            NotFoundError: there is no store, or nothing that the command names.
        """
        _ = self.db
        connection = connect(self.place)
        try:
            connection.welcome()
            return connection.ask(name, **args)
        finally:
            connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if "db" in self.__dict__:
            self.db.close()
            del self.__dict__["db"]
        self.__dict__.pop("reader", None)


def read(store: Store, id: str | int, reader: Reader) -> Any:
    """What `Store.result` gives, read by this reader."""
    what = ids.parse(id)
    if what.kind == "run":
        return reader.outputs(find.find_run(store.db, what).id)
    if what.kind == "datum":
        return reader.datum(what.number)
    block = what.number
    state = block_rows.find(store.db, block).state
    if state in (BlockState.OPEN, BlockState.CLOSING):
        raise RunFailedError(f"block {block} has not ended", hint=f"tidemill resume {block}")
    if state == BlockState.CANCELLED:
        raise RunCancelledError(f"block {block} was cancelled", hint=f"tidemill retry {block} runs it again")
    if state == BlockState.ERROR and not handled.all_handled(store.db, block):
        raise failures.error_of(store.db, store.url, block)
    try:
        return reader.result(block)
    except RunFailedError as error:
        if not error.run.isdecimal():
            raise
        raise failures.without_result(store.db, store.url, block, int(error.run)) from None


def options_of(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those that open a store and the rest."""
    opening = {"store": "url", "objects": "objects"}
    first = {opening[k]: v for k, v in options.items() if k in opening}
    return first, {k: v for k, v in options.items() if k not in opening}
