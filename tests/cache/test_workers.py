"""Workers of a store whose objects are on S3 go through the cache of their machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.objects.servers import S3Server
from tidemill.model.protocol import Setup
from tidemill.stores.cache import CachedStore, open_cached
from tidemill.stores.objects import open_objects
from tidemill.workers.objects import Objects

FLOW = Path(__file__).parent / "programs" / "flow.py"


@pytest.mark.parametrize("place", ["", "own", "off"])
def test_workers_use_the_cache_of_their_machine(moto: S3Server, tmp_path: Path, place: str) -> None:
    url = moto.fresh_url()
    own = str(tmp_path / "own") if place == "own" else place
    environment = {**os.environ, "TIDEMILL_CACHE": own, "TIDEMILL_CACHE_LIMIT": "50M"}
    command = [sys.executable, str(FLOW), str(tmp_path / "store"), url]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # A run is complete when what it returned is where everybody finds it.
    assert sorted(one.size for one in open_objects(url).list() if one.size > 1000) == [300_000, 300_000]
    directory = tmp_path / ("own" if place == "own" else "store/cache")
    assert directory.exists() is (place != "off")
    if place != "off":
        store = open_cached(url, str(directory))
        assert isinstance(store, CachedStore)
        store.cache.reap()
        assert store.cache.figures()[:2] == (50_000_000, 600_000)
        assert store.cache.shutdown()


def test_an_attempt_reserves_the_disk_that_it_declared(moto: S3Server, tmp_path: Path) -> None:
    objects = Objects(Setup(1, moto.fresh_url(), str(tmp_path), "", cache=str(tmp_path / "cache")))
    store = objects()
    assert isinstance(store, CachedStore)
    store.cache.adjust(10_000)
    objects.reserve(4_000)
    assert store.cache.figures().reserved == 4_000
    objects.free()
    assert store.cache.figures().reserved == 0
    objects.reserve(20_000)  # more than there is: it goes on without
    assert store.cache.figures().reserved == 0
    objects.free()
    store.close()


def test_without_a_cache_nothing_is_reserved(tmp_path: Path) -> None:
    objects = Objects(Setup(1, str(tmp_path / "objects"), str(tmp_path), "", cache=str(tmp_path / "cache")))
    objects.reserve(4_000)
    objects.free()
    assert objects.cached is None
    assert not (tmp_path / "cache").exists()
