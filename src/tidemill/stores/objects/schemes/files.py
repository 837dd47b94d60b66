"""Files on this machine: `file:` URLs and plain paths."""

import os
import stat
from collections.abc import Callable, Iterator

from tidemill.model.errors import NotFoundError, StoreError, UsageError
from tidemill.model.filename import base_name
from tidemill.stores.objects.files import new_file, open_regular, write_all
from tidemill.stores.objects.interface import CHUNK
from tidemill.stores.objects.schemes.base import Found, Member, Opened, range_end
from tidemill.stores.objects.urls import local_path


class Files:
    """See `Scheme`."""

    def look(self, url: str) -> Found | None:
        path = local_path(url)
        try:
            info = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(path, error) from error
        return Found("dir") if stat.S_ISDIR(info.st_mode) else _found(info)

    def list(self, url: str) -> Iterator[Member]:
        with _scan(local_path(url)) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
        for entry in inside:
            try:
                if entry.is_dir():
                    yield Member(entry.name + "/", None)
                    continue
                size = entry.stat().st_size
            except OSError:  # a link that leads nowhere, or to itself
                size = os.lstat(entry.path).st_size
            yield Member(entry.name, size)

    def open(self, url: str, start: int = 0, length: int | None = None) -> Opened:
        path = local_path(url)
        fd = open_regular(path)
        found = _found(os.fstat(fd))
        file = open(fd, "rb", buffering=0)  # noqa: SIM115 - closed by whoever reads it
        left = range_end(found.size or 0, start, length) - start
        file.seek(start)

        def chunks() -> Iterator[bytes]:
            nonlocal left
            try:
                while left > 0 and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk
            except OSError as error:
                raise _unreadable(path, error) from error

        return Opened(base_name(path), found, chunks(), file.close)

    def write(self, url: str, chunks: Callable[[], Iterator[bytes]], size: int, mode: int) -> None:
        del size
        source = chunks()
        with new_file(local_path(url), mode, durable=True) as target:
            for chunk in source:
                write_all(target, chunk)


def _found(info: os.stat_result) -> Found:
    # The time of the last change of the inode cannot be set by programs.
    tag = f"{info.st_dev}.{info.st_ino}.{info.st_size}.{info.st_mtime_ns}.{info.st_ctime_ns}"
    return Found("file", info.st_size, 0o755 if info.st_mode & 0o100 else 0o644, tag)


def _scan(path: str) -> "os._ScandirIterator[str]":
    try:
        return os.scandir(path)
    except FileNotFoundError:
        raise NotFoundError(f"there is no directory {path}") from None
    except NotADirectoryError:
        raise UsageError(f"{path} is not a directory") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be read: {os.strerror(error.errno or 0)}")
