"""Figures: the int64 columns of a slice's rows in as few bytes as their values need.

Owns: their layout in `MeteredSlices.v4`.  Does not own: what they mean (meter/slices.py).
Law: read(pack(columns)) gives back every column, bit for bit; the bytes follow from the values.

    widths: 1, 2, 4 or 8, a byte a column        figures: the columns, little-endian, one by one
"""

from collections.abc import Sequence

import numpy as np

from pipeline.collect.columns import Longs

_WIDTHS = (1, 2, 4, 8)
_LIMITS = tuple((width, 1 << 8 * width - 1) for width in _WIDTHS)


def pack_figures(columns: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return (widths, figures) of int64 columns of at least one row."""
    widths, packed = [], []
    for column in columns:
        longs = np.frombuffer(column, "<i8")
        width = _width(longs)
        widths.append(width)
        packed.append(longs.astype(f"<i{width}").tobytes())
    return bytes(widths), b"".join(packed)


def _width(column: Longs) -> int:
    """Return how many bytes every value of a column fits into."""
    low, high = int(column.min()), int(column.max())
    return next(width for width, limit in _LIMITS if -limit <= low and high < limit)


def read_figures(widths: bytes, figures: bytes, rows: int) -> list[bytes]:
    """Return the int64 columns of so many rows.

    Raises:
        ValueError: a width that there is not, or bytes too few or too many.

    """
    if not rows or not set(widths) <= {*_WIDTHS} or sum(widths) * rows != len(figures):
        raise ValueError(f"{len(figures)} bytes of figures for {rows} rows of {widths.hex()}")
    columns, at = [], 0
    for width in widths:
        narrow = np.frombuffer(figures, f"<i{width}", rows, at)
        columns.append(narrow.astype("<i8").tobytes())
        at += width * rows
    return columns
