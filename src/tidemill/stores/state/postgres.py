"""The state store on PostgreSQL through psycopg 3: several engines may serve one store."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tidemill.model.errors import (
    ConfigError,
    MissingExtraError,
    StoreError,
    StoreFullError,
    TidemillError,
    UsageError,
)
from tidemill.stores.state.database import Column, ContentionError, Database, Many, Row, Statement

if TYPE_CHECKING:
    import psycopg

CHANNEL = "tidemill_ready"
IDLE_MS = 30_000
"""An engine that is stopped inside a transaction holds up all others; after so long the server ends its session."""
_CONTENTION = ("40001", "40P01", "55P03")
"""SQL states of transactions that met another one and may simply be tried again."""
_SECRET = ("password", "sslpassword")
"""What may also stand behind the question mark of an address."""
_UNFIT = ("", "22003", "22021", "22P05")
"""SQL states of values that a column cannot hold; without one where psycopg itself sees it."""


class PostgresDatabase(Database):
    """One connection to a PostgreSQL database. Tables live in the connection's first schema (`search_path`).

    Args:
        url: `postgresql://user:password@host:port/database`, anything libpq accepts.

    Raises:
        MissingExtraError: psycopg is not installed.
        StoreError: the server does not answer.
    """

    dialect = "postgres"

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("a PostgreSQL store", "postgres") from error
        self._psycopg = psycopg
        self.url = without_password(url)
        try:
            self._connection: psycopg.Connection[Row] = psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError as error:
            raise StoreError(f"the PostgreSQL store {self.url} cannot be reached: {str(error).strip()}") from error
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"not a PostgreSQL address: {self.url} ({str(error).strip()})") from error
        if read_only:
            self._connection.execute("set default_transaction_read_only = on")
        else:
            self._connection.execute(f"set idle_in_transaction_session_timeout = {IDLE_MS}")
        # compiling costs the small recursive queries ten times what they take
        self._connection.execute("set jit = off")
        self._connection.prepare_threshold = 2
        self._cursor = self._connection.cursor(binary=True)

    def rows(self, statement: Statement, *params: object) -> list[Row]:
        cursor = self._execute(statement.postgres, params)
        return cursor.fetchall() if cursor.description is not None else []

    def run(self, statement: Statement, *params: object) -> int:
        return self._execute(statement.postgres, params).rowcount

    def many(self, statement: Many, *columns: Column) -> int:
        if len({len(c) for c in columns}) > 1:  # the server would fill the shorter ones up with nulls
            raise UsageError(f"columns of unequal lengths: {[len(c) for c in columns]}")
        if not columns or not columns[0]:
            return 0
        arrays = [c if isinstance(c, list) else list(c) for c in columns]
        for position in statement.reals:  # an array is of one type, so no integers among the floats
            arrays[position] = [None if v is None else float(v) for v in arrays[position]]
        return self._execute(statement.postgres, arrays).rowcount

    def ids(self, values: Iterable[int]) -> object:
        return values if isinstance(values, list) else list(values)

    def begin(self, *, write: bool = True) -> None:
        if self._connection.pgconn.transaction_status == self._psycopg.pq.TransactionStatus.INTRANS:
            # the server would only warn, and the inner commit would be that of the outer one
            raise StoreError(f"a transaction is open already in the store {self.url}")
        self._execute("begin", ())

    def commit(self) -> None:
        if self._execute("commit", ()).statusmessage == "ROLLBACK":
            raise StoreError(f"a statement of the transaction had failed, so nothing of it is in the store {self.url}")

    def rollback(self) -> None:
        if not self._connection.closed:
            self._execute("rollback", ())

    def script(self, text: str) -> None:
        for part in text.split(";"):
            if part.strip():
                self.run(Statement(part))

    def listen(self) -> None:
        """Ask to be told when another engine makes runs ready (a hint, never the truth)."""
        self._execute(f"listen {CHANNEL}", ())

    def heard(self) -> bool:
        """Whether a notification has come since the last call; does not wait."""
        return any(True for _ in self._connection.notifies(timeout=0))

    def fileno(self) -> int:
        """The connection's socket, to wait on for notifications."""
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def _execute(self, text: str, params: Any) -> "psycopg.Cursor[Row]":
        try:
            return self._cursor.execute(text, params)
        except (self._psycopg.Error, UnicodeEncodeError) as error:
            raise self._explain(error) from error

    def _explain(self, error: "psycopg.Error | UnicodeEncodeError") -> TidemillError:
        state = getattr(error, "sqlstate", None) or ""
        text = str(error).strip()
        if state in _UNFIT and isinstance(error, (UnicodeEncodeError, self._psycopg.DataError)):
            return StoreError(f"the store {self.url} cannot hold a value: {text}")
        if state in _CONTENTION:
            return ContentionError(
                f"another engine was at the same rows of {self.url}: {text}; try the transaction again"
            )
        if state.startswith("53"):
            return StoreFullError(f"the PostgreSQL store {self.url} is out of resources: {text}")
        if state in ("25006", "42501"):
            return StoreFullError(f"the PostgreSQL store {self.url} cannot be written: {text}")
        if state.startswith(("08", "57P")) or (not state and isinstance(error, self._psycopg.OperationalError)):
            return StoreError(f"the connection to {self.url} was lost: {text}; run the same command again to continue")
        return StoreError(f"{text} ({state or type(error).__name__}) in the store {self.url}")


def without_password(url: str) -> str:
    """The address as it may be shown and printed."""
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    user, at, host = rest.rpartition("@")
    kept = "&".join(part for part in query.split("&") if part.partition("=")[0] not in _SECRET)
    return f"{scheme}://{user.split(':')[0]}{at}{host}{mark * bool(kept)}{kept}"
