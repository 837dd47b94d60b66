"""Two engines on one PostgreSQL database: each client has its own, with one worker; the server is private and durable.

As a command with `--client URL FIRST N` it is one of the two clients; with `--bare URL` one process of the bare loop.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row, Watch, flush_ms, main
from work import sweep

import tidemill as tm
from tidemill.testing.postgres import PrivatePostgres, drop_database, fresh_database

N = 100_000
BATCH = 100
_TABLE = """
create table task (id bigint primary key, state smallint not null, args bytea, result bytea, t float8)
  with (fillfactor = 80);
create index ready on task(id) where state = 0;
"""
_CLAIM = (
    "with c as (select id from task where state = 0 order by id limit %s for update skip locked) "
    "update task t set state = 1 from c where t.id = c.id returning t.id, t.args"
)
_DONE = (
    "update task t set state = 2, t = %s, result = u.r from unnest(%s::bigint[], %s::bytea[]) u(i, r) where t.id = u.i"
)


def rows(directory: Path) -> Iterator[Row]:
    with PrivatePostgres(durable=True) as server:
        bare, _ = _together(server, "--bare", _filled(server.url), N)
        url = fresh_database(server.url)
        with tm.open(url) as store:
            store.run(sweep(10, -10), workers=1, progress=False)
        rate, watch = _together(server, "--client", url, N)
        drop_database(url)
    yield Row("postgres", rate, bare, "/s bare, two processes", watch.others, flush_ms(directory))


def _together(server: PrivatePostgres, role: str, url: str, n: int) -> tuple[float, Watch]:
    """Runs per second of two processes that start at the same time."""
    with Watch(server.pid) as watch:
        start = time.monotonic()
        commands = [[sys.executable, __file__, role, url, str(i * n // 2), str(n // 2)] for i in range(2)]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
        ends = [float(process.communicate()[0]) for process in both]
    return n / (max(ends) - start), watch


def _filled(server: str) -> str:
    import psycopg

    url = fresh_database(server)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_TABLE)
        db.execute("insert into task(id, state, args) select i, 0, '\\x01' from generate_series(1, %s) i", (N,))
        db.execute("vacuum analyze task")
    return url


def _client(url: str, first: str, n: str) -> None:
    tm.open(url).run(sweep(int(n), int(first)), workers=1, progress=False)


def _bare(url: str, *_: str) -> None:
    """Claim and complete in one transaction until nothing is left."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        found: list[tuple[int, bytes]] = []
        while True:
            with db.transaction():
                if found:
                    done = ([i for i, _ in found], [value for _, value in found])
                    db.execute(_DONE, (time.time(), *done), prepare=True)
                found = db.execute(_CLAIM, (BATCH,), prepare=True).fetchall()
            if not found:
                return


if __name__ == "__main__":
    if sys.argv[1:2] in (["--client"], ["--bare"]):
        (_client if sys.argv[1] == "--client" else _bare)(*sys.argv[2:5])
        print(time.monotonic())
    else:
        main(rows)
