"""COPY: columns in binary, without a Python loop over rows; or rows as they come.

Owns: the binary format's bytes.  Source: PostgreSQL manual, COPY, "Binary Format".
"""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from pipeline.stores.postgres.connection import Connection

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"
_ROWS_AT_ONCE = 1 << 14
"""A row takes twice as much on its way as in its columns."""

Column = NDArray[Any]
"""int64 for a bigint, fixed bytes (V16) for a bytea."""


def copy_columns(connection: Connection, table: LiteralString, columns: Sequence[Column]) -> None:
    """Append rows to a table, whose columns these are in its order."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(_HEAD)
        for first in range(0, len(columns[0]), _ROWS_AT_ONCE):
            copy.write(_rows([column[first : first + _ROWS_AT_ONCE] for column in columns]))
        copy.write(_TAIL)


def copy_rows(
    connection: Connection, statement: LiteralString, rows: Iterable[Sequence[object]]
) -> None:
    """Append rows by a COPY statement in text."""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _rows(columns: Sequence[Column]) -> bytes:
    layout = [("fields", ">i2")]
    for at, column in enumerate(columns):
        layout += [(f"length{at}", ">i4"), (f"column{at}", column.dtype.newbyteorder(">").str)]
    out = np.empty(len(columns[0]), dtype=layout)
    out["fields"] = len(columns)
    for at, column in enumerate(columns):
        out[f"length{at}"] = column.dtype.itemsize
        out[f"column{at}"] = column
    return out.tobytes()
