"""COPY in binary: columns into a table without a Python loop over rows.

Owns: the format's bytes.  Source: PostgreSQL manual, COPY, "Binary Format".
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from pipeline.stores.postgres.connection import Connection

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"

Column = NDArray[Any]
"""int64 for a bigint, fixed bytes (V16) for a bytea."""


def copy_columns(connection: Connection, table: LiteralString, columns: Sequence[Column]) -> None:
    """Append rows to a table, whose columns these are in its order."""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(_HEAD + _rows(columns) + _TAIL)


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
