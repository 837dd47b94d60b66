"""Files of a running task: written to the store, read from it, and private ones that are gone when it ends.

What a task writes belongs to its attempt: it may use it at once, others may when the attempt has been accepted. A
failed attempt leaves nothing. Every function but `size` raises `UsageError` where no task is running.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from tidemill.graph.inside import BinaryWritten, Files, Names, PathLike, TextWritten, inside
from tidemill.model.fileid import FileId

_READ = "Outside, `store.result` gives what a workflow returned, and `store.send` writes files of it elsewhere."
_WRITE = "Outside, give a workflow files as arguments: a path, or tm.File(address)."
_HERE = "Outside, use the module tempfile."


def _files(what: str, instead: str) -> Files:
    return inside(f"files.{what}", instead).files


def _names(what: str, instead: str) -> Names:
    return inside(f"files.{what}", instead).names


def write(path: PathLike, *, name: str | None = None, temporary: bool = False) -> FileId:
    """Store a file as it is now. It stays yours: what happens to it afterwards changes nothing in the store.

    Args:
        path: a regular file, or a link to one; whether its owner may execute it is kept.
        name: what it is called; as in `path` if not given.
        temporary: it is gone when the block of this task has ended well and no run follows from the task any more.

    Returns:
        Its id, a text that can be returned, put into other files and given to other tasks.

    Raises:
        NotFoundError: if there is no such file.
        UsageError: if it is not a regular file, cannot be read, or the name is none.
        StoreFullError: if there is no room; nothing of it is stored then.
    """
    return _files("write", _WRITE).write(path, name, temporary=temporary)


@overload
def writing(
    name: str = ..., *, temporary: bool = ..., encoding: None = ..., errors: None = ..., executable: bool = ...
) -> AbstractContextManager[BinaryWritten]: ...


@overload
def writing(
    name: str = ..., *, temporary: bool = ..., encoding: str, errors: str | None = ..., executable: bool = ...
) -> AbstractContextManager[TextWritten]: ...


def writing(
    name: str = "stream",
    *,
    temporary: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    executable: bool = False,
) -> AbstractContextManager[Any]:
    """A stream to write a file of the store with, for a `with` block; afterwards its `id` is the file's.

    An exception in the block passes through, and leaves nothing in the store.

    Args:
        name: what the file is called.
        temporary: as for `write`.
        encoding: of text; without it the stream takes bytes. Line ends are written as they are.
        errors: what to do about text that cannot be encoded, as for `open`.
        executable: whether the file is.

    Raises:
        UsageError: if the name is none.
        StoreFullError: if there is no room.
    """
    return _files("writing", _WRITE).writing(
        name, temporary=temporary, encoding=encoding, errors=errors, executable=executable
    )


def read(id: str, path: PathLike | None = None, *, mutable: bool = False, link: bool = True) -> Path:
    """Lay a stored file out as a file of this task.

    Args:
        id: what writing it returned, also as plain text.
        path: where to; nothing may be there. Without it a new place in the task's directory, under the file's name.
        mutable: a private copy that may be changed.
        link: a link to the stored file will do. It is given only where this user can neither write to that file nor
            make it writable; elsewhere there is a copy, which shares its blocks where the file system can do that.

    Returns:
        Where it is. Whatever you do to it, the stored file stays as it is.

    Raises:
        NotFoundError: if there is no such file in the store, as `exists` says, or no directory to put it into.
        UsageError: if something is at `path`, or the text is no id.
    """
    return _files("read", _READ).read(id, path, mutable=mutable, link=link)


@overload
def open(id: str, encoding: None = ..., errors: None = ...) -> BinaryIO: ...  # noqa: A001


@overload
def open(id: str, encoding: str, errors: str | None = ...) -> TextIO: ...  # noqa: A001


def open(id: str, encoding: str | None = None, errors: str | None = None) -> IO[Any]:  # noqa: A001
    """A stream to read a stored file with, for a `with` block. It can be left before its end, and may not seek.

    Args:
        id: what writing it returned.
        encoding: of text; without it the stream gives bytes. Line ends are given as they are.
        errors: what to do about bytes that are no text, as for Python's `open`.

    Raises:
        NotFoundError: if there is no such file in the store, as `exists` says.
        UsageError: if the text is no id.
    """
    return _files("open", _READ).open(id, encoding, errors)


def size(id: str) -> int:
    """Bytes of a file, as its id says.

    Raises:
        UsageError: if the text is no id.
    """
    return FileId(id).size


def exists(id: str) -> bool:
    """Whether a file is there: written by this task or by one that was accepted, and not deleted.

    Raises:
        UsageError: if the text is no id.
    """
    return _files("exists", _READ).exists(id)


def forget(id: str) -> None:
    """Remove the copies of a file that this task has: what `read` laid out, and what it was written from if that is in
    the task's own directories. The stored file stays, and can be read again.

    Raises:
        NoCopyError: if there is none; it is a `FileNotFoundError`, too.
        UsageError: if the text is no id.
    """
    _files("forget", _READ).forget(id)


def delete(id: str) -> None:
    """Delete a file from the store when this attempt is accepted, never before; for this task it is gone at once, with
    the copies that it has. A failed attempt deletes nothing. To delete a file twice is no error.

    Raises:
        UsageError: if the text is no id, or one that `get` gave: that file is there while the name stands for it.
    """
    _files("delete", _READ).delete(id)


def directory() -> Path:
    """A new private directory, gone with all that is in it when this attempt ends, however it ends."""
    return _files("directory", _HERE).directory()


def temporary(suffix: str = "", prefix: str = "") -> Path:
    """A new empty private file, gone when this attempt ends, however it ends."""
    return _files("temporary", _HERE).temporary(suffix, prefix)


def usage() -> int:
    """Bytes that this attempt occupies on disk now: its working directory and its temporary files."""
    return _files("usage", _HERE).usage()


def get(name: str) -> FileId:
    """The file that a shared name stands for now.

    Args:
        name: letters, digits, `.`, `_` and `-`.

    Raises:
        NotFoundError: if there is no such name.
        UsageError: if this is no name.
    """
    return _names("get", _READ).get(name)


def version(name: str) -> int:
    """How often a shared name has been moved; 0 if there is no such name.

    Raises:
        UsageError: if this is no name.
    """
    return _names("version", _READ).version(name)


def put(name: str, path_or_id: PathLike, expect: int | str | None = None) -> int:
    """Let a shared name stand for another file, at once: others see it before this attempt ends.

    Args:
        name: letters, digits, `.`, `_` and `-`; made if there is no such name.
        path_or_id: a file of this task, or the id of a stored one.
        expect: what the name must stand for still: the id that `get` gave, or a version; 0 if it must be new. Without
            it, who comes last wins.

    Returns:
        The new version.

    Raises:
        ChangedError: if it stands for something else by now; nothing was changed.
        NotFoundError: if there is no such file, or it has been deleted.
        UsageError: if this is no name.
    """
    return _names("put", _WRITE).put(name, path_or_id, expect)


@overload
def shared(
    name: str, mode: Literal["rb"] = ..., *, encoding: None = ..., errors: None = ...
) -> AbstractContextManager[BinaryIO]: ...


@overload
def shared(
    name: str, mode: Literal["rb"] = ..., *, encoding: str, errors: str | None = ...
) -> AbstractContextManager[TextIO]: ...


@overload
def shared(
    name: str, mode: Literal["wb"], *, encoding: None = ..., errors: None = ..., expect: int | str | None = ...
) -> AbstractContextManager[BinaryWritten]: ...


@overload
def shared(
    name: str, mode: Literal["wb"], *, encoding: str, errors: str | None = ..., expect: int | str | None = ...
) -> AbstractContextManager[TextWritten]: ...


def shared(
    name: str,
    mode: Literal["rb", "wb"] = "rb",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    expect: int | str | None = None,
) -> AbstractContextManager[Any]:
    """A stream of the file that a shared name stands for: `get` and `open`, or `writing` and `put`, in one.

    Args:
        name: letters, digits, `.`, `_` and `-`.
        mode: to read it, or to write another; the name moves at the end of the block.
        encoding: of text; without it the stream is of bytes.
        errors: as for Python's `open`.
        expect: as for `put`.

    Raises:
        ChangedError: when the block ends, if the name stands for something else by now.
        NotFoundError: if there is no such name to read.
        UsageError: if this is no name.
    """
    return _names("shared", _READ).shared(name, mode, encoding=encoding, errors=errors, expect=expect)
