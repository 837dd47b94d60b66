"""From data to values: what a run or a workflow gave, files included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.engine import gathers_read
from tidemill.model import values
from tidemill.model.digest import show
from tidemill.model.errors import NotFoundError, RunFailedError, StoreError
from tidemill.model.filename import given_name
from tidemill.model.ids import run_id
from tidemill.model.protocol import Input
from tidemill.model.spec import decode_spec
from tidemill.model.states import DatumState, RunView
from tidemill.model.values import Ref
from tidemill.stores.objects import ObjectStore, shown
from tidemill.stores.state import blocks, data, runs, supersedes, tasks
from tidemill.stores.state.database import Database

SLICE = 1024


class Reader:
    """Reads values out of a store.

    Args:
        db: the state store; only read.
        objects: where large values and files are.
        files: directory in which files are laid out under their names.
        option: what commands need to find the store.
    """

    def __init__(self, db: Database, objects: Callable[[], ObjectStore], files: Path, option: str = "") -> None:
        self._db = db
        self._open_objects = objects
        self._objects: ObjectStore | None = None
        self._files = files
        self._option = option

    @property
    def objects(self) -> ObjectStore:
        if self._objects is None:
            self._objects = self._open_objects()
        return self._objects

    def result(self, block: int) -> object:
        """What the workflow of a root block returned.

        Raises:
            NotFoundError: there is no such workflow block.
            RunFailedError: something of it has no value.
        """
        submitted = blocks.delta(self._db, block)
        row = blocks.get(self._db, block)
        if submitted is None or row is None:
            raise NotFoundError(f"there is no workflow block {block}")
        from_header = blocks.result_of(submitted, row.out_lo)
        if from_header is None:
            return None
        template, refs = from_header
        return values.decode(template, [self.datum(r) for r in refs], self.get)

    def outputs(self, run: int) -> object:
        """What a run gave: the value of its output, a tuple of several, None if it has none.

        Raises:
            NotFoundError: there is no such run.
            RunFailedError: it has not ended, or ended without a value.
        """
        row = runs.get(self._db, [run]).get(run)
        encoded = tasks.spec(self._db, row.task) if row is not None else None
        if row is None or encoded is None:
            raise NotFoundError(f"there is no run {run}")
        view = runs.views(self._db, [run])[run]
        if view is not RunView.COMPLETE:
            name = run_id(row.block, run)
            raise RunFailedError(f"run {name} has no result: it is {view}", run=name, hint=f"tidemill why {name}")
        found = tuple(self.datum(row.out + port) for port in range(len(decode_spec(encoded).outputs)))
        return found[0] if len(found) == 1 else found or None

    def datum(self, datum: int) -> object:
        """The value of a datum, in its newest generation.

        Raises:
            RunFailedError: it ended without a value, or has not ended.
        """
        newest = supersedes.newest(self._db, datum)
        row = data.get(self._db, [newest]).get(newest)
        # bytes that were lost may have been made again since
        if row is None or row.state not in {DatumState.COMPLETE, DatumState.LOST}:
            state = "is not there yet" if row is None else f"ended as {DatumState(row.state).name.lower()}"
            raise RunFailedError(f"the value of datum {datum} {state}", run=str(row.cause or "") if row else "")
        if row.kind == data.GATHER:
            return self.gather(row.src or row.id, row.size)
        if row.value is None and row.src is not None:
            row = data.get(self._db, [row.src])[row.src]
        return self.value(Input(row.value, row.digest or b"", row.size))

    def value(self, found: Input) -> object:
        """The value of an input."""
        if not found.digest:
            return None
        if found.gather:
            return self.gather(found.gather, found.size)
        encoded = found.value if found.value is not None else self._bytes(found.digest)
        return values.decode(encoded, (), self.get)

    def gather(self, gather: int, size: int) -> list[object]:
        """The members of a collection, in order."""
        result: list[object] = []
        for first in range(0, size, SLICE):
            result += [self.value(i) for i in gathers_read.members(self._db, gather, first, SLICE)]
        return result

    def get(self, ref: Ref) -> object:
        """What a reference into the object store stands for: a value, or a path under which the content can be read."""
        if ref.kind == "value":
            return values.decode(self._bytes(ref.digest), (), self.get)
        place = self._files / show(ref.digest).partition(":")[2][:16] / given_name(ref.name, "content")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._finding(ref.digest):
                    self._deliver(ref, place)
            except (OSError, StoreError) as error:
                if not place.exists():  # else another reader was faster, with the same content
                    text = f"the file {ref.name} cannot be laid out at {place}: {error}"
                    raise (error if isinstance(error, StoreError) else StoreError(text)) from error
        return place

    def _bytes(self, digest: bytes) -> bytes:
        with self._finding(digest):
            return self.objects.get(digest)

    @contextmanager
    def _finding(self, digest: bytes) -> Iterator[None]:
        """Say of an object that is gone who made it, and how it is made again."""
        try:
            yield
        except NotFoundError as error:
            made = [run_id(block, run) for run, block in data.makers(self._db, digest)]
            gone = f"the object {show(digest)} is gone from {shown(self.objects.url)}"
            if not made:
                hint = "it is no result but was given: run the workflow again, which stores what it is called with anew"
                raise NotFoundError(gone, hint=hint) from error
            runs = "runs" if len(made) > 1 else "run"
            raise NotFoundError(
                f"{gone}; {runs} {', '.join(made)} made it",
                hint=f"tidemill invalidate {' '.join(made)}{self._option}, and then run the workflow again",
            ) from error

    def _deliver(self, ref: Ref, place: Path) -> None:
        if ref.kind == "dir":
            self.objects.get_dir(ref.digest, place)
        else:
            self.objects.get_file(ref.digest, place)
            place.chmod(0o555 if ref.mode & 0o111 else 0o444)
