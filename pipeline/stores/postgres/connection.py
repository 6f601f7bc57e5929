"""A connection, and the two things every query module asks of one."""

from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
Unreachable = (psycopg.OperationalError, psycopg.InterfaceError)
"""Postgres is away, or has closed the connection."""
Overtaken = psycopg.errors.SerializationFailure
"""Another transaction changed what this one had read: do it again."""


def one(connection: Connection, query: LiteralString, *parameters: object) -> tuple[Any, ...]:
    """Return the only row of a query."""
    row = connection.execute(query, parameters).fetchone()
    if row is None:
        raise LookupError(f"no row: {query}")
    return row
