"""Fixtures for the object store."""

from collections.abc import Iterator

import pytest

from tests.objects.clouds import Clouds, clouds
from tests.objects.elsewhere import Elsewhere
from tests.objects.servers import KEY, SECRET, S3Server, ceph_server, moto_server
from tests.objects.web import Web, serving

pytest.register_assert_rewrite("tidemill.testing.objects")


@pytest.fixture(scope="session")
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield


@pytest.fixture(scope="session")
def moto(_credentials: None) -> Iterator[S3Server]:
    """A simulated S3 server."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def ceph(_credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server: Ceph's radosgw, started for this session."""
    with ceph_server(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clouds]:
    """A server for `gs:` and `az:` addresses."""
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    with clouds() as server:
        yield server


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    with serving() as server:
        yield server


@pytest.fixture
def elsewhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, moto: S3Server, cloud: Clouds, web: Web
) -> Elsewhere:
    """An empty place of the kind that the test is parametrized with."""
    return Elsewhere(request.param, tmp_path_factory.mktemp("elsewhere"), moto, cloud, web)
