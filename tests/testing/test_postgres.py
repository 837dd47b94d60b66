import os
import select
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tidemill.model.errors import ConfigError
from tidemill.testing import postgres
from tidemill.testing.postgres import PrivatePostgres, drop_database, fresh_database

JOIN = """
import sys
from pathlib import Path
from tidemill.testing.postgres import PrivatePostgres
server = PrivatePostgres(Path(sys.argv[1])).start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def joiner(meeting: Path) -> subprocess.Popen[str]:
    """Another process that uses the server until its standard input is closed."""
    command = [sys.executable, "-c", JOIN, str(meeting)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ended(handle: int, within: float) -> bool:
    """Whether the process behind this pidfd ends within so many seconds."""
    return bool(select.select([handle], [], [], within)[0])


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def test_a_database_is_empty_and_ones_own(postgres_url: str) -> None:
    one, other = fresh_database(postgres_url), fresh_database(postgres_url)
    with psycopg.connect(one) as connection:
        connection.execute("create table t (i int)")
    assert value(one, "select count(*) from pg_tables where schemaname = 'public'") == 1
    assert value(other, "select count(*) from pg_tables where schemaname = 'public'") == 0
    drop_database(one)
    drop_database(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(one)


def test_a_database_copies_its_template(postgres_url: str) -> None:
    template = fresh_database(postgres_url)
    with psycopg.connect(template) as connection:
        connection.execute("create table t as select 7 as i")
    copy = fresh_database(postgres_url, template.rpartition("/")[2])
    assert value(copy, "select i from t") == 7
    drop_database(copy)
    drop_database(template)


def test_a_database_in_use_can_be_dropped(postgres_url: str) -> None:
    url = fresh_database(postgres_url)
    with psycopg.connect(url) as connection:
        drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")


def test_text_is_unicode_in_byte_order(postgres_database: str) -> None:
    assert value(postgres_database, "show server_encoding") == "UTF8"
    assert value(postgres_database, "select 'Z' < 'a' and 'z' < 'é'") is True


def test_a_wrong_password_is_refused(postgres_url: str) -> None:
    user, at, rest = postgres_url.rpartition("@")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"{user}x{at}{rest}")


def test_processes_share_one_server_and_the_last_one_ends_it(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with joiner(meeting) as one, joiner(meeting) as other:
        pid = int(first_line(one))
        assert int(first_line(other)) == pid
        server = os.pidfd_open(pid)
        try:
            one.communicate()
            assert not ended(server, within=0)
            with PrivatePostgres(meeting) as third:
                assert value(third.url, "select 1") == 1
            other.kill()
            other.wait()
            assert ended(server, within=30)
        finally:
            os.close(server)


def test_a_server_can_be_started_again_where_one_has_ended(tmp_path: Path) -> None:
    # Whether it is joined before the guard has looked or started anew is left to chance, and both must work.
    for _ in range(3):
        with PrivatePostgres(tmp_path) as server:
            assert value(server.url, "select 1") == 1


def test_settings(postgres_url: str) -> None:
    assert value(postgres_url, "show fsync") == "off"
    with PrivatePostgres(durable=True) as server:
        assert value(server.url, "show fsync") == "on"
        assert value(server.url, "show listen_addresses") == "127.0.0.1"


def test_missing_programs_are_explained_to_whom_may_not_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "DEBIAN_LAYOUT", tmp_path)
    assert postgres.find_programs() is None
    with pytest.raises(ConfigError, match="apt-get install"):
        postgres.install_programs()


def test_the_newest_of_debians_versions_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, programs in (("9.6", postgres.PROGRAMS), ("15", postgres.PROGRAMS), ("16", ["psql"]), ("x", ["psql"])):
        directory = tmp_path / version / "bin"
        directory.mkdir(parents=True)
        for name in programs:
            (directory / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "DEBIAN_LAYOUT", tmp_path)
    assert postgres.find_programs() == tmp_path / "15" / "bin"
