"""Merging: the rows of a flush by (series, window, cut), before the database sees them.

Owns: adding in columns, without losing a carry.  Does not own: rows that are wide to begin with.
Law: any order and split of the same rows merges to the same rows, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from pipeline.collect.columns import Longs, Mask

_LOW = np.int64((1 << 32) - 1)
_HALF = 32
_FITS = 1 << 31
_ONE_NUMBER = 1 << 62


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows sorted by (series, window, cut), each once; `wide` are whole rows beyond int64."""

    columns: Sequence[Longs]
    wide: Sequence[tuple[int, ...]]


def merge(columns: Sequence[Longs]) -> Merged:
    """Merge rows given as columns: series, window, cut, count, sum, minimum, maximum."""
    series, window, cut, count, total, low, high = columns
    if not len(series):
        return Merged(columns, ())
    order, new = _sorted((series, window, cut))
    starts = np.flatnonzero(new)
    first = [key[order[starts]] for key in (series, window, cut)]
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


def _sorted(keys: Sequence[Longs]) -> tuple[Longs, Mask]:
    """Return what sorts rows by their keys, the first before the others, and where a key is new."""
    lows = [int(key.min()) for key in keys]
    spans = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if prod(spans) < _ONE_NUMBER:  # as nearly always: one number is sorted sooner than three
        code = np.zeros(len(keys[0]), np.int64)
        for key, low, span in zip(keys, lows, spans, strict=True):
            code = code * span + (key - low)
        codes, order = [code], np.argsort(code)
    else:
        codes, order = list(keys), np.lexsort(tuple(reversed(keys)))
    new = np.ones(len(order), np.bool_)
    ordered = [each[order] for each in codes]
    new[1:] = np.logical_or.reduce([each[1:] != each[:-1] for each in ordered])
    return order, new
