"""A store behind a cache is an object store: the shipped suite, with write-back and without, and without room."""

import secrets
from collections.abc import Iterator

import pytest

from tests.objects.servers import S3Server
from tidemill.stores.cache import CachedStore, NodeCache
from tidemill.stores.objects import SMALL, ObjectStore, open_objects
from tidemill.testing.objects import ObjectStoreSuite


class Suite(ObjectStoreSuite):
    """Any store behind a cache."""

    write_back = False
    limit: int | None = None

    @pytest.fixture
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
        cache = NodeCache(tmp_path_factory.mktemp("cache"), open_objects(url), self.limit)
        store = CachedStore(cache, self.write_back)
        yield store
        store.close()
        assert cache.shutdown()


class TestMemory(Suite):
    @pytest.fixture
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return f"memory://{secrets.token_hex(8)}"


class TestMemoryWriteBack(TestMemory):
    write_back = True


class TestTooLittleRoom(TestMemory):
    write_back = True
    limit = 3 * SMALL


class TestNoRoomAtAll(TestMemory):
    write_back = True
    limit = 0


class TestBesideALocalStore(Suite):
    write_back = True

    @pytest.fixture
    def url(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("objects") / "not yet there")


class TestS3(Suite):
    write_back = True

    @pytest.fixture
    def url(self, moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:
        return moto.fresh_url()
