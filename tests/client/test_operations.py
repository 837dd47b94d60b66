"""Operating stores of both kinds from Python."""

import subprocess
import sys
from pathlib import Path

import pytest

import tidemill as tm
from tests.client.worked import _RUN
from tidemill.client.store import Store
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.stores.state import drop, schema, settings, statistics
from tidemill.stores.state.database import Statement
from tidemill.stores.state.open import open_database
from tidemill.stores.state.postgres import PostgresDatabase


def work(toy: Path, url: str, call: str) -> None:
    """Execute a call of the module `toy` in a program of its own."""
    subprocess.run([sys.executable, "-B", "-c", _RUN.format(call=call, store=url)], cwd=toy, check=True, timeout=60)


def blocks(store: Store) -> list[int]:
    """The workflows, the oldest first."""
    return sorted(b.id for b in store.status().blocks)


def test_statistics_settings_and_starts(toy: Path, url: str) -> None:
    work(toy, url, "sums(4)")
    work(toy, url, "sums(5, fail=True)")
    with Store(url) as store:
        found = {t.task: t for t in tm.operations.stats(store).tasks}
        assert {n: (t.runs, t.attempts, t.failed) for n, t in found.items()} == {
            "number": (5, 5, 0), "picky": (9, 9, 5), "total": (1, 1, 0),
        }  # fmt: skip
        first, last = blocks(store)
        second = tm.operations.stats(store, last, per_run=True, sort="failed")
        assert [t.task for t in second.tasks] == ["picky", "number"]
        assert [r.state for r in second.runs] == ["complete"] + ["error"] * 5
        started = tm.operations.started(store, first)
        assert started is not None
        assert (started.workers, started.cwd, tm.operations.started(store, 9999)) == (2, str(toy), None)
        tm.operations.configure(store, "workers", "1")
        with pytest.raises(UsageError, match="must be a positive integer"):
            tm.operations.configure(store, "workers", "0")
    with Store(url) as store:
        assert tm.operations.config(store) == {"workers": "1", "gc-grace": ""}
        assert tm.operations.clean(store, [first]).runs == 9
        with pytest.raises(NotFoundError):
            tm.operations.stats(store, 9999)


def test_a_store_is_destroyed_and_what_is_beside_it_stays(toy: Path, url: str) -> None:
    if "://" in url:
        db = PostgresDatabase(url)
        db.script("create table mine (id int); insert into mine values (7);")
    else:
        Path(url).mkdir()
        (Path(url) / "mine").write_text("7")
    work(toy, url, "sums(2)")
    with Store(url) as store:
        waited = tm.operations.kill(store)  # the engine may still be there
        assert not tm.operations.serving(store)
        assert waited.ended
    assert tm.operations.destroy(url).found
    assert not tm.operations.destroy(url).found
    if "://" in url:
        assert [tuple(row) for row in db.rows(Statement("select id from mine"))] == [(7,)]
        tables = db.rows(Statement("select table_name from information_schema.tables where table_schema = 'public'"))
        assert [row[0] for row in tables] == ["mine"]
        db.close()
    else:
        assert [p.name for p in Path(url).iterdir()] == ["mine"]
    with pytest.raises(NotFoundError), Store(url) as store:
        store.status()
    work(toy, url, "sums(2)")  # it can be used again


def test_every_table_of_the_schema_is_dropped(url: str) -> None:
    if "://" not in url:
        Path(url).mkdir()
    db = open_database(url)
    drop.drop(db)
    assert schema.version(db) == 0
    drop.drop(db)
    db.close()
    open_database(url).close()


def test_settings_are_texts_by_name(url: str) -> None:
    if "://" not in url:
        Path(url).mkdir()
    db = open_database(url)
    assert (settings.get(db, "a"), settings.every(db)) == ("", {})
    with db.transaction():
        settings.put(db, "b", "2")
        settings.put(db, "a", "1")
        settings.put(db, "b", "three ü")
    other = open_database(url, read_only=True)
    assert (settings.get(other, "b"), settings.every(other)) == ("three ü", {"a": "1", "b": "three ü"})
    other.close()
    db.close()


def test_attempts_are_read_page_by_page(toy: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work(toy, url, "sums(4)")
    work(toy, url, "sums(5)")
    with Store(url) as store:
        chosen = [0, *blocks(store)]
        whole = [tm.operations.stats(store, block, per_run=True) for block in chosen]
        monkeypatch.setattr(statistics, "PAGE", 2)
        assert [tm.operations.stats(store, block, per_run=True) for block in chosen] == whole
        assert [sum(t.runs for t in found.tasks) for found in whole] == [12, 9, 3]
