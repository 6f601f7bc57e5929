"""Merging: the rows of a flush by (series, window, cut), before the database sees them.

Owns: adding in columns, without losing a carry.  Does not own: rows that are wide to begin with.
Law: any order and split of the same rows merges to the same rows, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.collect.columns import Longs

_LOW = np.int64((1 << 32) - 1)
_HALF = 32
_FITS = 1 << 31


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows sorted by (series, window, cut), each once; `wide` are whole rows beyond int64."""

    columns: Sequence[Longs]
    wide: Sequence[tuple[int, ...]]


def merge(columns: Sequence[Longs]) -> Merged:
    """Merge rows given as columns: series, window, cut, count, sum, minimum, maximum."""
    series, window, cut, count, total, low, high = columns
    order = np.lexsort((cut, window, series))
    keys = [column[order] for column in (series, window, cut)]
    new = np.ones(len(order), dtype=np.bool_)
    if len(order):
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    starts = np.flatnonzero(new)
    if not len(starts):
        return Merged(columns, ())
    first = [key[starts] for key in keys]
    # Two halves of 32 bits cannot overflow while fewer than 2^31 rows are added.
    total = total[order]
    carry = np.add.reduceat(total >> _HALF, starts)
    lower = np.add.reduceat(total & _LOW, starts)
    carry, lower = carry + (lower >> _HALF), lower & _LOW
    merged = [
        *first,
        np.add.reduceat(count[order], starts),
        (carry << _HALF) | lower,
        np.minimum.reduceat(low[order], starts),
        np.maximum.reduceat(high[order], starts),
    ]
    beyond = (carry >= _FITS) | (carry < -_FITS)
    wide: list[tuple[int, ...]] = []
    for row in np.flatnonzero(beyond).tolist():
        exact = (int(carry[row]) << _HALF) + int(lower[row])
        figures = [int(column[row]) for column in merged]
        wide.append((*figures[:4], exact, *figures[5:]))
    if wide:
        merged = [column[~beyond] for column in merged]
    return Merged(merged, wide)
