"""A private PostgreSQL server: started in a second, shared by the processes of a test session, gone with the last one.

Processes meet in a directory with three files. `mutex` is held while somebody starts the server, `users` is held shared
by everybody who uses it, and `server.json` says where it is. A guard process waits to hold `users` alone: it gets it
when the last user has ended, in whatever way, and then stops the server and removes its data. No process has to clean
up after itself, so none can forget to.

As a command, `python -m tidemill.testing.postgres` makes sure that the server's programs are there and says where.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit

from tidemill.model.errors import ConfigError, MissingExtraError

PROGRAMS = ("initdb", "pg_ctl", "postgres")
DEBIAN_LAYOUT = Path("/usr/lib/postgresql")
APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300")
HINT = "install it: sudo apt-get install --no-install-recommends postgresql"
USER = "tidemill"
STARTS = 5
"""How often to try another port when somebody took the one just found free."""

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
max_connections = 200
"""
FORGETFUL = """
fsync = off
full_page_writes = off
"""


class PrivatePostgres:
    """A server of one's own, on a free port of 127.0.0.1 and on a Unix socket, with a password nobody else knows.

    Use it as a context manager, or call `start` and `stop`.

    Args:
        meeting: an existing directory; processes that name the same one share one server. A new one if not given.
        durable: keep `fsync` on. Tests of anything but durability itself are faster without.
    """

    def __init__(self, meeting: Path | None = None, *, durable: bool = False) -> None:
        self.meeting = meeting or Path(tempfile.mkdtemp(prefix="tidemill-meeting-"))
        self.durable = durable
        self._own = meeting is None
        self._share: IO[bytes] | None = None
        self._server: dict[str, Any] = {}

    def start(self) -> Self:
        """Start the server, or join the one that is there.

        Raises:
            ConfigError: if PostgreSQL is not installed and cannot be installed, or does not start.
        """
        with (self.meeting / "mutex").open("ab") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            share = (self.meeting / "users").open("ab")
            try:
                # Waits while a guard that found no users is clearing away.
                fcntl.flock(share, fcntl.LOCK_SH)
                self._server = self._join() or self._launch()
            except BaseException:
                share.close()
                raise
            self._share = share
        return self

    def stop(self) -> None:
        """Leave the server; the last to leave ends it. Calling it again does nothing."""
        if self._share is not None:
            self._share.close()
            self._share = None
        if self._own:
            shutil.rmtree(self.meeting, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`postgresql://…` of the server's own database; see `fresh_database` for one to work in."""
        return "postgresql://{user}:{password}@127.0.0.1:{port}/postgres".format(**self._server)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return int(self._server["pid"])

    def _join(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.meeting / "server.json").read_bytes())
        except FileNotFoundError:
            return None
        return found

    def _launch(self) -> dict[str, Any]:
        programs = find_programs() or install_programs()
        directory = Path(tempfile.mkdtemp(prefix="tidemill-postgres-", dir=_reachable_parent()))
        # The guard comes first: whatever happens from here on, it clears up.
        _start_guard(self.meeting, programs, directory)
        server = _start_server(programs, directory, durable=self.durable)
        (self.meeting / "server.json").write_text(json.dumps(server))
        return server


def fresh_database(server: str, template: str = "template1") -> str:
    """Create an empty database with a new name and return its URL; takes some 50 ms.

    Args:
        server: URL of any database on the server.
        template: the database to copy. One with a schema in it saves making the schema again.

    Raises:
        MissingExtraError: if psycopg is not installed.
    """
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, "create database {} template {}", name, template)
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def fresh_schema(url: str) -> str:
    """Create an empty schema in a database and return a URL whose connections work in it; takes some 2 ms.

    Raises:
        MissingExtraError: if psycopg is not installed.
    """
    name = f"test_{secrets.token_hex(6)}"
    _execute(url, "create schema {}", name)
    return urlsplit(url)._replace(query=f"options=-csearch_path%3D{name}").geturl()


def drop_database(url: str) -> None:
    """Remove the database at `url`, closing whatever connections it has."""
    parts = urlsplit(url)
    _execute(parts._replace(path="/postgres").geturl(), "drop database if exists {} with (force)", parts.path[1:])


def find_programs() -> Path | None:
    """The directory with the server's programs: the one in PATH, else the newest of Debian's; None if there is none."""
    places = []
    in_path = shutil.which("pg_ctl")
    if in_path:
        places.append(Path(in_path).resolve().parent)
    versions = [p for p in DEBIAN_LAYOUT.glob("*/bin") if re.fullmatch(r"[\d.]+", p.parent.name)]
    places += sorted(versions, key=lambda p: [int(n) for n in p.parent.name.split(".")], reverse=True)
    return next((p for p in places if all(os.access(p / name, os.X_OK) for name in PROGRAMS)), None)


def install_programs() -> Path:
    """Install Debian's package and return the directory with its programs.

    Raises:
        ConfigError: if we are not root, or this is not Debian, or apt fails.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ConfigError("no PostgreSQL server programs (initdb, pg_ctl) in PATH or /usr/lib/postgresql", hint=HINT)
    install = [*APT, "install", "-y", "--no-install-recommends", "postgresql"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The package lists of a fresh machine may be missing or old; asking first saves fetching good ones again.
    for command in (install, [*APT, "update"], install):
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        programs = find_programs()
        if programs is not None:
            return programs
    raise ConfigError(f"{' '.join(install)} failed:\n{_tail(done.stdout + done.stderr)}", hint=HINT)


def _start_server(programs: Path, directory: Path, *, durable: bool) -> dict[str, Any]:
    data = directory / "data"
    password = secrets.token_urlsafe(16)
    (directory / "password").write_text(password)
    for path in (directory, directory / "password"):
        _give(path)
    _run(
        *(programs / "initdb", "-D", data, "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        *("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={directory / 'password'}"),
    )
    for attempt in range(STARTS):
        port = _free_port()
        _configure(directory, port, durable=durable)
        try:
            _run(programs / "pg_ctl", "start", "-D", data, "-w", "-t", "60", "-l", directory / "log")
        except ConfigError as problem:
            log = (directory / "log").read_text(errors="replace") if (directory / "log").exists() else ""
            if "in use" in log and attempt + 1 < STARTS:
                (directory / "log").unlink()
                continue
            raise ConfigError(f"the private PostgreSQL server did not start:\n{_tail(log)}") from problem
        break
    pid = int((data / "postmaster.pid").read_text().split()[0])
    return {"user": USER, "password": password, "port": port, "pid": pid}


def _configure(directory: Path, port: int, *, durable: bool) -> None:
    text = SETTINGS.format(port=port, directory=directory) + ("" if durable else FORGETFUL)
    (directory / "data" / "postgresql.auto.conf").write_text(text)


def _start_guard(meeting: Path, programs: Path, directory: Path) -> None:
    quiet = subprocess.DEVNULL
    # Opened here, so that nobody can remove the file before the guard has looked; a lock belongs to its own opening.
    with (meeting / "users").open("ab") as users:
        fd = users.fileno()
        guard = [sys.executable, "-m", "tidemill.testing.postgres", "guard", str(fd), *map(str, (programs, directory))]
        # The shell lets go of the guard at once, so it is no child of ours: nothing to wait for, no signal reaches it.
        command = ["/bin/sh", "-c", '"$@" &', "sh", *guard, str(meeting / "server.json")]
        subprocess.run(
            command, check=True, pass_fds=[fd], start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet
        )


def _guard(users: int, programs: Path, directory: Path, state: Path) -> None:
    fcntl.flock(users, fcntl.LOCK_EX)
    with contextlib.suppress(ConfigError):  # it may never have started
        _run(programs / "pg_ctl", "stop", "-D", directory / "data", "-m", "immediate", "-w")
    state.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _run(*command: str | Path) -> None:
    """Run a program of the server as the server's user, in its directory's root."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
    with tempfile.TemporaryFile() as output:
        # A file and no pipe: the server inherits it and would keep a pipe open for ever.
        done = subprocess.run(
            [os.fspath(part) for part in command],
            **_server_user(),
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
        if done.returncode != 0:
            output.seek(0)
            raise ConfigError(f"{command[0]} failed:\n{_tail(output.read().decode(errors='replace'))}")


def _server_user() -> Mapping[str, Any]:
    """Whom to be: PostgreSQL refuses to run as root, so there it is the package's user, else nobody."""
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _account().pw_uid, _account().pw_gid)


def _reachable_parent() -> Path:
    """Where temporary files go, unless the server's user cannot get there."""
    parent = Path(tempfile.gettempdir()).resolve()
    closed = [p for p in (parent, *parent.parents) if not p.stat().st_mode & stat.S_IXOTH]
    return Path("/tmp") if os.geteuid() == 0 and closed else parent  # noqa: S108  mkdtemp makes it private


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _execute(url: str, statement: str, *names: str) -> None:
    try:
        import psycopg
        from psycopg import sql
    except ImportError as problem:
        raise MissingExtraError("PostgreSQL", "postgres") from problem
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _tail(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-12:])


def main(arguments: list[str]) -> int:
    """The command; returns the exit code."""
    if arguments[:1] == ["guard"]:
        _guard(int(arguments[1]), *map(Path, arguments[2:]))
        return 0
    try:
        programs = find_programs() or install_programs()
    except ConfigError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(f"PostgreSQL for the tests: {programs}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
