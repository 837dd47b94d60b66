"""The node cache: four processes that want one slow download at once, and small files that are cached already."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from measure import Row, Watch, flush_ms, fresh, main

from tidemill.model.digest import Digest
from tidemill.stores.cache import NodeCache
from tidemill.stores.objects import LocalStore

DOWNLOAD_S = 2.0
READERS = 4
SMALL_FILES = 2_000
SIZE = 4096


class Slow(LocalStore):
    """A store whose downloads last as long as they would over a slow line."""

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        with open(os.path.join(self.root, "downloads"), "a") as log:
            log.write(f"{digest.hex()}\n")
        time.sleep(DOWNLOAD_S)
        return super().open(digest, verify)


def rows(directory: Path) -> Iterator[Row]:
    with fresh(directory) as place, Watch() as watch:
        slow = Slow(place / "objects")
        digest = slow.put(os.urandom(10 << 20))
        start = time.perf_counter()
        b"".join(slow.open(digest))
        bare = time.perf_counter() - start
        (place / "objects" / "downloads").unlink()
        times = _together(place, digest)
        downloads = len((place / "objects" / "downloads").read_text().splitlines())
        slow.close()
    more = {"first_s": min(times), "downloads": float(downloads)}
    yield Row("contended", max(times), bare, "s bare download", watch.others, flush_ms(directory), more)
    yield _small(directory)


def _together(place: Path, digest: Digest) -> list[float]:
    """Seconds until each of the readers, which begin together, has the file."""
    command = [sys.executable, __file__, "reader", str(place), digest.hex()]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(READERS)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.close()
    times = []
    for reader in readers:
        assert reader.stdout is not None
        times.append(float(reader.stdout.readline()))
        reader.wait()
        reader.stdout.close()
    return times


def _read(place: Path, digest: Digest) -> None:
    """What a reader does."""
    cache = NodeCache(place / "cache", Slow(place / "objects"), free=False)
    cache.figures()
    print("ready", flush=True)
    sys.stdin.read()
    start = time.perf_counter()
    cache.get_file(digest, place / f"given-{os.getpid()}")
    print(time.perf_counter() - start, flush=True)
    cache.close()


def _small(directory: Path) -> Row:
    with fresh(directory) as place, Watch() as watch:
        store = LocalStore(place / "objects")
        digests = store.put_many([os.urandom(SIZE) for _ in range(SMALL_FILES)])
        with closing(NodeCache(place / "cache", store, free=False)) as cache:
            start = time.perf_counter()
            for digest in digests:
                os.close(cache.open(digest))
            miss = (time.perf_counter() - start) / SMALL_FILES
            cached, copied = [], []
            for number in range(3):
                out, bare = place / f"cached{number}", place / f"copied{number}"
                out.mkdir()
                bare.mkdir()
                start = time.perf_counter()
                for digest in digests:
                    cache.get_file(digest, out / digest.hex())
                cached.append((time.perf_counter() - start) / SMALL_FILES)
                start = time.perf_counter()
                for digest in digests:
                    shutil.copyfile(out / digest.hex(), bare / digest.hex())
                copied.append((time.perf_counter() - start) / SMALL_FILES)
        store.close()
    limit = statistics.median(copied) * 1e3
    more = {"miss_ms": miss * 1e3}
    flush = flush_ms(directory)
    return Row("cached_small", statistics.median(cached) * 1e3, limit, "ms copyfile", watch.others, flush, more)


if __name__ == "__main__":
    if sys.argv[1:2] == ["reader"]:
        _read(Path(sys.argv[2]), bytes.fromhex(sys.argv[3]))
    else:
        main(rows)
