"""Connections and migrations.

Owns: how we connect (schema, role, timeouts), which migrations ran, that none was edited since.
Does not own: any table's meaning.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql

from pipeline.core.errors import ServerFailed
from pipeline.stores.postgres.connection import Connection as Connection
from pipeline.stores.postgres.connection import Overtaken as Overtaken
from pipeline.stores.postgres.connection import one as one
from pipeline.stores.postgres.session import Session
from pipeline.stores.schemas import schema_folder

APPLICATION_ROLE = "talea_app"
_MIGRATION_LOCK = 7_311_001
_TIMEOUTS = (
    "-c lock_timeout=10s -c statement_timeout=120s"
    " -c idle_in_transaction_session_timeout=15s -c timezone=UTC"
)
_PLANS = "-c plan_cache_mode=force_custom_plan"
"""A plan is of what is there when it is asked: one of an empty table would be kept for ever."""


@dataclass(frozen=True, slots=True)
class Database:
    """One tenant's schema in one database."""

    dsn: str
    schema: str

    def connect(
        self, *, name: str, owner: bool = False, autocommit: bool = False, idle_s: float = 0
    ) -> Session:
        """Open a connection as the application role, or as the owner of the schema.

        `idle_s`: after so long in silence Postgres ends it, locks and all (0: never).

        Raises:
            ServerFailed: Postgres does not answer, or the schema was never set up.

        """
        try:
            connection = Session.connect(
                self.dsn,
                options=f"-c search_path={self.schema} {_TIMEOUTS} {_PLANS}"
                f" -c idle_session_timeout={idle_s:.0f}s",
                application_name=f"talea {name}",
                autocommit=True,
                connect_timeout=10,
            )
        except psycopg.OperationalError as error:
            raise ServerFailed(
                f"Postgres does not answer ({_first_line(error)}): is the stack up? (talea up)"
            ) from None
        if not owner:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(APPLICATION_ROLE)))
        connection.autocommit = autocommit
        return connection

    @contextmanager
    def session(self, name: str, *, owner: bool = False, idle_s: float = 0) -> Iterator[Session]:
        """Connect for one piece of work, in autocommit; close it after."""
        connection = self.connect(name=name, owner=owner, autocommit=True, idle_s=idle_s)
        try:
            yield connection
        finally:
            connection.close()

    def migrate(self) -> list[str]:
        """Bring the schema up to date; return the migrations that ran.

        A new one is there whole or not at all, for whoever looks meanwhile.

        Raises:
            ServerFailed: an applied migration was edited, or one fails its own after-test.

        """
        with self.session("migrate", owner=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
            is_new = connection.execute(
                "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = %s"
                " AND tablename = 'migration')",
                [self.schema],
            ).fetchone() == (True,)
            files = sorted((schema_folder() / "sql").glob("*.sql"))
            with connection.transaction() if is_new else nullcontext():
                if is_new:
                    self._plant(connection)
                ran: dict[str, str] = dict(
                    connection.execute("SELECT name, sha256 FROM migration").fetchall()
                )
                return [path.name for path in files if self._apply(connection, path, ran)]

    def _plant(self, connection: Connection) -> None:
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema))
        )
        connection.execute(
            "CREATE TABLE migration (name text PRIMARY KEY, sha256 text NOT NULL,"
            " at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )

    def _apply(self, connection: Connection, path: Path, ran: dict[str, str]) -> bool:
        text = path.read_text("utf-8")
        checksum = sha256(text.encode()).hexdigest()
        if path.name in ran:
            if ran[path.name] != checksum:
                raise ServerFailed(
                    f"migration {path.name} was edited after it ran:"
                    " restore the file and write a new migration instead"
                )
            return False
        after = next(line for line in text.splitlines() if line.startswith("-- after: "))
        with connection.transaction():
            connection.execute(text.replace("{schema}", self.schema).encode())
            holds = connection.execute(after.removeprefix("-- after: ").encode())
            if holds.fetchone() != (True,):
                raise ServerFailed(f"migration {path.name} fails its own after-test: {after}")
            connection.execute(
                "INSERT INTO migration (name, sha256) VALUES (%s, %s)", [path.name, checksum]
            )
        return True


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
