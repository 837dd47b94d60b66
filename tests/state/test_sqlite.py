"""What only a SQLite store has to cope with."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

from tidemill.stores.state import meta, schema
from tidemill.stores.state.open import FILE, open_database


def test_a_new_file_that_somebody_is_writing_is_waited_for(tmp_path: Path) -> None:
    """Turning a file to WAL, SQLite itself does not wait."""
    maker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    with closing(maker), ThreadPoolExecutor(1) as threads:
        maker.execute("begin immediate")
        maker.execute("create table other (n integer)")
        opened = threads.submit(open_database, str(tmp_path))
        too_early, _ = wait([opened], timeout=0.3)  # it cannot be done before the commit, however long that takes
        maker.execute("commit")
        assert not too_early
        with closing(opened.result()) as db:
            assert meta.read(db)["schema"] == schema.VERSION
