"""A backup of a tenant's tables, and taking them back: rows and counters, by any Postgres."""

from dataclasses import dataclass
from typing import Self

from psycopg import sql

from pipeline.stores.postgres.session import Session
from pipeline.workers.surroundings import Surroundings

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()"


@dataclass(frozen=True, slots=True)
class Backup:
    """Every row of a schema, as it stood at one moment."""

    rows: dict[str, bytes]
    counters: dict[str, int | None]

    @classmethod
    def of(cls, around: Surroundings) -> Self:
        """Take one, while workers may run."""
        with around.database.session("backup", owner=True) as connection, connection.snapshot():
            tables = [name for (name,) in connection.execute(_TABLES).fetchall()]
            rows = {name: _copied(connection, name) for name in tables}
            return cls(rows, dict(connection.execute(_SEQUENCES).fetchall()))

    def restore(self, around: Surroundings) -> None:
        """Put every row back, and lose all that came since."""
        with around.database.session("restore", owner=True) as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            names = [*map(sql.Identifier, self.rows)]
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))
            for name, rows in self.rows.items():
                statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)")
                with (
                    connection.cursor() as cursor,
                    cursor.copy(statement.format(sql.Identifier(name))) as copy,
                ):
                    copy.write(rows)
            for name, value in self.counters.items():
                connection.execute(
                    "SELECT setval(quote_ident(%s)::regclass, %s, %s)",
                    [name, value or 1, value is not None],
                )


def _copied(connection: Session, name: str) -> bytes:
    statement = sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(sql.Identifier(name))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return b"".join(map(bytes, copy))
