"""The conformance suite on every implementation."""

import secrets
from collections.abc import Iterator

import pytest

from tests.objects.servers import S3Server
from tidemill.stores.objects import LocalStore, ObjectStore, SealedStore, open_objects
from tidemill.testing.objects import ObjectStoreSuite


class TestLocal(ObjectStoreSuite):
    @pytest.fixture
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
        store = open_objects(tmp_path_factory.mktemp("objects") / "not yet there")
        yield store
        store.close()


class TestSealed(ObjectStoreSuite):
    @pytest.fixture
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
        store = SealedStore(LocalStore(tmp_path_factory.mktemp("objects") / "not yet there"), "lab", bytes(32))
        yield store
        store.close()


class TestSealedMemory(ObjectStoreSuite):
    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        monkeypatch.setenv("TIDEMILL_SEAL_LAB", "0f" * 32)
        return open_objects(f"seal:lab:memory://{secrets.token_hex(8)}")


class TestMemory(ObjectStoreSuite):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return open_objects(f"memory://{secrets.token_hex(8)}")


class TestS3(ObjectStoreSuite):
    @pytest.fixture
    def store(self, moto: S3Server) -> Iterator[ObjectStore]:
        store = open_objects(moto.fresh_url())
        yield store
        store.close()


@pytest.mark.ceph
class TestCeph(ObjectStoreSuite):
    @pytest.fixture
    def store(self, ceph: S3Server) -> Iterator[ObjectStore]:
        store = open_objects(ceph.fresh_url())
        yield store
        store.close()
