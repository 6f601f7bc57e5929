"""A connection, and what every query module asks of one."""

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


def lead(connection: Connection, lock: str) -> bool:
    """Return whether this connection leads under a lock of its schema, from now on until it ends.

    Connect with `idle_s`, or a worker that is stopped keeps the lead.
    """
    (leads,) = one(
        connection, "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(current_schema()))", lock
    )
    return bool(leads)
