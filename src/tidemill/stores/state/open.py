"""Opening a state store by path or URL."""

from pathlib import Path

from tidemill.model.errors import ConfigError, NotFoundError
from tidemill.stores.state import schema
from tidemill.stores.state.database import Database
from tidemill.stores.state.postgres import PostgresDatabase, without_password
from tidemill.stores.state.sqlite import SqliteDatabase

FILE = "state.db"
_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(url: str) -> bool:
    """Whether `url` names a PostgreSQL database."""
    return url.startswith(_POSTGRES)


def shown(url: str) -> str:
    """The address of a store as it may be shown: without a password."""
    return without_password(url) if is_postgres(url) else url


def open_database(url: str, *, read_only: bool = False, durable: bool = True) -> Database:
    """Open the state store of `url`: a store directory (with or without `file://`) or `postgresql://…`.

    A new store gets its tables unless `read_only`.

    Raises:
        ConfigError: an address of another kind.
        NewerStoreError: the store was written by a newer Tidemill.
        NotFoundError: `read_only` and there is no store.
        StoreError: it cannot be opened.
    """
    if is_postgres(url):
        db: Database = PostgresDatabase(url, read_only=read_only)
    elif "://" in url and not url.startswith("file://"):
        raise ConfigError(f"not a store address: {url}", hint="use a directory or postgresql://user@host/database")
    else:
        db = SqliteDatabase(Path(url.removeprefix("file://")) / FILE, read_only=read_only, durable=durable)
    try:
        if not read_only:
            schema.migrate(db)
        found = schema.check(db)
    except BaseException:
        db.close()
        raise
    if not found:
        db.close()
        raise NotFoundError(f"there is no store in {db.url}", hint="run a workflow with this store first")
    return db
