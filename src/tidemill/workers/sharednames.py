"""Shared names as a running task sees them: asked of the engine, which moves them by compare-and-swap."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

from tidemill.graph.inside import PathLike
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.filename import base_name
from tidemill.workers.filestore import Asker, FileStore
from tidemill.workers.intake import Intake

_NAME = re.compile(r"[A-Za-z0-9._-]+")


class SharedNames:
    """The part of `tidemill.graph.files` that is about names, for one attempt.

    Args:
        store: of the attempt.
        intake: of the attempt.
        ask: asks the engine.
    """

    def __init__(self, store: FileStore, intake: Intake, ask: Asker) -> None:
        self._store = store
        self._intake = intake
        self._ask = ask
        self._versions: dict[tuple[str, str], int] = {}

    def get(self, name: str) -> FileId:
        told = self._ask("name.get", {"name": _checked(name)})
        if told.get("kind", "file") != "file":
            raise UsageError(f"the shared name {name} stands for a directory", hint="A workflow can be given it.")
        found = _named(told["version"], told["digest"], told["size"], told["mode"], told["base"] or name)
        self._versions[name, found] = told["version"]
        return found

    def version(self, name: str) -> int:
        try:
            return int(self._ask("name.get", {"name": _checked(name)})["version"])
        except NotFoundError:
            return 0

    def put(self, name: str, path_or_id: PathLike, expect: int | str | None) -> int:
        _checked(name)
        if isinstance(path_or_id, str) and path_or_id.startswith("file:"):
            file = self._store.present(path_or_id)
            if not self._store.wrote(file):
                return self._ask_put(name, {"id": str(file)}, expect)
            return self._move(name, file.digest, file.size, file.mode, file.name, expect)
        digest, size, mode = self._intake.take(path_or_id)
        base = base_name(os.fsdecode(path_or_id))
        return self._move(name, digest, size, mode, base, expect)

    @contextmanager
    def shared(
        self,
        name: str,
        mode: Literal["rb", "wb"],
        *,
        encoding: str | None,
        errors: str | None,
        expect: int | str | None,
    ) -> Iterator[IO[Any]]:
        _checked(name)
        if mode == "rb":
            with self._store.open(self.get(name), encoding, errors) as stream:
                yield stream
        elif mode == "wb":
            with self._intake.stream(encoding, errors) as (written, spool):
                yield written
                digest, size = self._intake.finish(written, spool)
                version = self._move(name, digest, size, 0o644, name, expect)
                written.complete(_named(version, digest, size, 0o644, name))
        else:
            raise UsageError(f"{mode!r} is no mode of a shared file", hint='It is "rb" or "wb"; text has an encoding.')

    def _move(self, name: str, digest: bytes, size: int, mode: int, base: str, expect: int | str | None) -> int:
        """Let a name stand for a file of this attempt, which is durable before anybody is told of it."""
        self._intake.make_durable()
        return self._ask_put(name, {"digest": digest, "size": size, "mode": mode, "base": base}, expect)

    def _ask_put(self, name: str, what: dict[str, object], expect: int | str | None) -> int:
        if isinstance(expect, str):
            known = self._versions.get((name, expect))
            if known is None:
                raise UsageError(
                    f"this task has not read {name} as {FileId(expect).name}", hint="Give what tm.files.get returned."
                )
            expect = known
        return int(self._ask("name.put", {"name": name, **what, "expect": expect}))


def _named(version: int, digest: bytes, size: int, mode: int, base: str) -> FileId:
    """The id of what a name stands for. It was written by no attempt, and says so; its version is its number."""
    return FileId.of(Origin(0, 0, version), digest, size, base, executable=bool(mode & 0o100))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no shared name", hint="Letters, digits, `.`, `_` and `-`.")
    return name
