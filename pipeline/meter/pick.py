"""Pick: the events that are kept one by one, beside the rows they are folded into.

Owns: which events of a batch become points, and under which keys.
Does not own: the rows (fold.py), what points come to (latest.py, percentile.py, ...).
Law: exact; points depend on the batch and its partition alone. A batch without a meter that
needs points pays one look at its meters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.collect.batch import UsageBatch, WideValue
from pipeline.collect.columns import Columns, Longs
from pipeline.collect.keyed import keys_at
from pipeline.core.identity import KEY_BYTES, value_key
from pipeline.meter.meters import Meter
from pipeline.meter.slices import Points


@dataclass(frozen=True, slots=True)
class Picking:
    """A batch, read, with the meters of its dictionary and the partition it lies in."""

    batch: UsageBatch
    columns: Columns
    meters: Sequence[Meter | None]
    partition: int


def pick_points(picking: Picking, events: Longs, rows: Longs, windows: Longs) -> Points:
    """Return the points among fresh events.

    Event `events[i]` is folded into row `rows[i]`, ascending; `windows` are the rows' starts.
    """
    meter = picking.columns.meter[events]
    singly, found = [], []
    for entry, each in enumerate(picking.meters):
        if each is None or not each.keeps_points:
            continue
        if each.of is None:
            singly.append(entry)
        else:
            mask = meter == entry
            found.append(_distinct(picking, each.of, events[mask], rows[mask], windows))
    if singly:
        mask = np.isin(meter, singly)
        found.append(_single(picking, events[mask], rows[mask]))
    return _joined(found)


def _single(picking: Picking, events: Longs, rows: Longs) -> Points:
    """Return a point an event."""
    columns = picking.columns
    wide = []
    if columns.wide:
        places = enumerate(events.tolist())
        wide = [WideValue(i, str(columns.wide[e])) for i, e in places if e in columns.wide]
    return Points(
        row=rows.astype("<u2").tobytes(),
        key=_event_keys(picking, events),
        time=columns.time[events].tobytes(),
        mantissa=columns.mantissa[events].tobytes(),
        multiplicity=np.ones(len(events), "<i4").tobytes(),
        wide=wide,
    )


def _event_keys(picking: Picking, events: Longs) -> bytes:
    batch = picking.batch
    if batch.key:
        return np.frombuffer(batch.key, f"V{KEY_BYTES}")[events].tobytes()
    return keys_at(batch, events.tolist(), picking.partition)


def _distinct(picking: Picking, of: str, events: Longs, rows: Longs, windows: Longs) -> Points:
    """Return a point a row and value of the dimension counted; events that lack it have none."""
    values: dict[str, int] = {}
    entries = [
        values.setdefault(given[of], len(values)) if of in given else -1
        for given in picking.batch.dimensions
    ]
    value = np.array(entries, dtype=np.int64)[picking.columns.dimensions[events]]
    told = value >= 0
    width = max(len(values), 1)
    met, counts = np.unique(rows[told] * width + value[told], return_counts=True)
    keys = [value_key(text) for text in values]
    row = met // width
    return Points(
        row=row.astype("<u2").tobytes(),
        key=b"".join(keys[at] for at in (met % width).tolist()),
        time=windows[row].tobytes(),  # where in its window a value was told makes no difference
        mantissa=bytes(8 * len(met)),
        multiplicity=counts.astype("<i4").tobytes(),
    )


def _joined(found: Sequence[Points]) -> Points:
    """Return points of several meters as one."""
    wide, at = [], 0
    for points in found:
        wide += [WideValue(at + value.index, value.mantissa) for value in points.wide]
        at += len(points.row) // 2
    return Points(
        row=b"".join(points.row for points in found),
        key=b"".join(points.key for points in found),
        time=b"".join(points.time for points in found),
        mantissa=b"".join(points.mantissa for points in found),
        multiplicity=b"".join(points.multiplicity for points in found),
        wide=wide,
    )
