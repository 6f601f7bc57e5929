"""Fold: the fresh events of one batch into rows, in columns.

Owns: grouping by (customer, meter, declared dimensions, window) and the additive aggregates.
Does not own: which events are fresh (dedupe), what the rows are worth (rate).
Law: exact; the row order depends on the batch alone. int64 sums cannot overflow: a batch has
at most BATCH_EVENTS_MAX mantissas below 2^52; wider ones are added as Python integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np

from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, Indexes, Longs, Mask
from pipeline.meter.meters import Meter
from pipeline.meter.pick import Picking, pick_points
from pipeline.meter.slices import NO_POINTS, Rows, WideRow

_SHORTS = 1 << 16


@dataclass(frozen=True, slots=True)
class _Groups:
    """Events sorted by row: `order` sorts them, `starts` are the rows' first places."""

    order: Longs
    starts: Longs


def fold(
    batch: UsageBatch,
    columns: Columns,
    fresh: Mask,
    meters: Sequence[Meter | None],
    partition: int,
) -> Rows:
    """Return the rows of the fresh events; `meters[i]` is the meter of dictionary entry i."""
    chosen = np.flatnonzero(fresh)
    if not len(chosen):
        return Rows()
    kept = slice(None) if len(chosen) == len(columns) else chosen  # nearly always all of them
    customer, meter = columns.customer[kept], columns.meter[kept]
    dimensions, place = _projected(batch, meter, columns.dimensions[kept], meters)
    time, widths = columns.time[kept], [each.window_us if each else 1 for each in meters]
    windows = _windows(time, widths, meter)
    entries = (len(batch.customers), len(meters), len(dimensions))
    groups = _group((customer, meter, place), entries, windows, gcd(*widths))
    first = groups.order[groups.starts]
    mantissa = columns.mantissa[kept][groups.order]
    counts = np.diff(np.append(groups.starts, len(chosen)))
    windows = windows[first]
    wide = _wide_rows(columns, chosen, groups, mantissa)
    sums = np.add.reduceat(mantissa, groups.starts)
    minima = np.minimum.reduceat(mantissa, groups.starts)
    maxima = np.maximum.reduceat(mantissa, groups.starts)
    for row in wide:
        sums[row.row] = minima[row.row] = maxima[row.row] = 0
    points = NO_POINTS
    if any(each is not None and each.keeps_points for each in meters):
        rows = np.repeat(np.arange(len(counts)), counts)
        picking = Picking(batch, columns, meters, partition)
        points = pick_points(picking, chosen[groups.order], rows, windows)
    return Rows(
        customers=batch.customers,
        meters=batch.meters,
        dimensions=dimensions,
        customer_index=customer[first].tobytes(),
        meter_index=meter[first].tobytes(),
        dimensions_index=place[first].tobytes(),
        window_start=windows.tobytes(),
        count=counts.astype("<i8").tobytes(),
        sum=sums.tobytes(),
        minimum=minima.tobytes(),
        maximum=maxima.tobytes(),
        wide=wide,
        points=points,
    )


def _windows(time: Longs, widths: Sequence[int], meter: Indexes) -> Longs:
    """Return the start of each event's window."""
    width = np.int64(widths[0])
    if len({*widths}) == 1:  # nearly every batch: one number divides sooner than many
        return time // width * width
    return time - time % np.array(widths, np.int64)[meter]


def _projected(
    batch: UsageBatch, meter: Indexes, place: Indexes, meters: Sequence[Meter | None]
) -> tuple[list[dict[str, str]], Indexes]:
    """Keep only the dimensions that each meter declares: (dictionary, index column)."""
    if not any(batch.dimensions):
        return [{}], np.zeros(len(place), dtype="<u2")
    width = len(batch.dimensions)
    pairs, inverse = np.unique(meter.astype(np.int64) * width + place, return_inverse=True)
    kept: dict[tuple[tuple[str, str], ...], int] = {}
    slots = []
    for pair in pairs.tolist():
        declared = meters[pair // width]
        given = batch.dimensions[pair % width]
        names = declared.dimensions if declared else ()
        projected = tuple((name, given[name]) for name in names if name in given)
        slots.append(kept.setdefault(projected, len(kept)))
    return [dict(pairs) for pairs in kept], np.array(slots, dtype="<u2")[inverse]


def _group(
    columns: Sequence[Indexes], entries: Sequence[int], windows: Longs, step: int
) -> _Groups:
    """Sort events by columns of indexes into so many `entries`, then by window.

    Every window starts some whole `step`s after another.
    """
    told = [at for at, size in enumerate(entries) if size > 1]
    numbers: list[Indexes | Longs] = [columns[at] for at in told]
    sizes = [entries[at] for at in told]
    first, last = int(windows.min()), int(windows.max())
    if first < last:
        numbers.append((windows - first) // step)
        sizes.append((last - first) // step + 1)
    if not numbers:
        return _Groups(np.arange(len(windows)), np.zeros(1, np.int64))
    if prod(sizes) <= _SHORTS:  # nearly every batch: 16 bits are sorted in no time
        row = numbers[0].astype("<u2")
        for number, size in zip(numbers[1:], sizes[1:], strict=True):
            row *= np.uint16(size)
            row += number.astype("<u2")
        order = np.argsort(row, kind="stable")
        keys = [row[order]]
    else:
        order = np.lexsort(numbers[::-1])
        keys = [number[order] for number in numbers]
    edges = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    starts = np.concatenate(([0], np.flatnonzero(edges) + 1))
    return _Groups(order, starts)


def _wide_rows(columns: Columns, chosen: Longs, groups: _Groups, mantissa: Longs) -> list[WideRow]:
    """Return the rows that hold a wide value, added as Python integers."""
    if not columns.wide:
        return []
    events = chosen[groups.order].tolist()
    values = [
        columns.wide.get(event, int(value)) for event, value in zip(events, mantissa, strict=True)
    ]
    ends = [*groups.starts.tolist()[1:], len(events)]
    rows = []
    for row, (start, end) in enumerate(zip(groups.starts.tolist(), ends, strict=True)):
        if any(event in columns.wide for event in events[start:end]):
            part = values[start:end]
            rows.append(WideRow(row, str(sum(part)), str(min(part)), str(max(part))))
    return rows
