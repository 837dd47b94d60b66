"""Fixtures every room may use."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tidemill.testing

# Failed assertions of the conformance suites show their values. That must be said before any test imports one.
FOLDER = Path(tidemill.testing.__file__).parent
pytest.register_assert_rewrite(*[f"tidemill.testing.{path.stem}" for path in FOLDER.glob("state*.py")])

from tidemill.testing.postgres import PrivatePostgres, drop_database, fresh_database  # noqa: E402

# Who starts the tests in the background may have them ignore Ctrl-C, and all that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast this machine is, is no property of the code.
settings.register_profile("tidemill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidemill")


@pytest.fixture(scope="session")
def session_directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this test session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(scope="session")
def postgres_url(session_directory: Path) -> Iterator[str]:
    """URL of a private PostgreSQL server, one for the whole session."""
    meeting = session_directory / "postgres"
    meeting.mkdir(exist_ok=True)
    with PrivatePostgres(meeting) as server:
        yield server.url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database that is this test's own."""
    url = fresh_database(postgres_url)
    yield url
    drop_database(url)
