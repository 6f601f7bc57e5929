"""Minus: what reversals take off, one by one, and as the rows that do it.

Owns: which window, series and point a reversal's original was folded into.
Does not own: whether it is matched (replay/matching.py), when it is booked (book/reversing.py).
Law: the rows of a minus are those of its original with the signs turned, so that both are nothing.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.collect.batch import MeterScale, UsageBatch, WideValue
from pipeline.collect.columns import Columns, Longs, Mask
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.collect.limits import MANTISSA_MAX
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import value_key
from pipeline.meter.meters import Meter
from pipeline.meter.slices import NO_POINTS, Minus, Points, Rows, WideRow


def parted(columns: Columns, fresh: Mask) -> tuple[Mask, Longs]:
    """Return the fresh usage of a batch, and the places of its fresh reversals."""
    back = np.zeros(len(columns), dtype=np.bool_)
    back[list(columns.reversed_at)] = True
    return fresh & ~back, np.flatnonzero(fresh & back)


def pick_minuses(
    batch: UsageBatch,
    columns: Columns,
    places: Longs,
    meters: Sequence[Meter | None],
    partition: int,
) -> list[Minus]:
    """Return what the reversals at these places of a batch take off."""
    indexes = places.tolist()
    found = []
    for index, event in zip(indexes, events_at(batch, columns, indexes, partition), strict=True):
        meter = meters[int(columns.meter[index])]
        if meter is None:
            raise BrokenInvariant(f"event {index} is fresh, but of no meter")
        found.append(_minus(index, event, meter))
    return found


def _minus(index: int, event: KeyedEvent, meter: Meter) -> Minus:
    given = dict(event.dimensions)
    window = event.time - event.time % meter.window_us
    point_key, point_time = b"", 0
    if meter.keeps_points and meter.of is None:
        point_key, point_time = event.key, event.time
    elif meter.keeps_points and meter.of in given:
        point_key, point_time = value_key(given[meter.of]), window
    return Minus(
        index=index,
        key=event.key,
        payload_print=event.payload_print,
        customer=event.customer,
        meter=event.meter,
        scale=event.scale,
        dimensions=tuple(sorted((n, given[n]) for n in meter.dimensions if n in given)),
        window_start=window,
        time=event.time,
        mantissa=event.mantissa,
        point_key=point_key,
        point_time=point_time,
    )


def rows_of(minuses: Sequence[Minus]) -> Rows:
    """Return the rows that take these off: one each, in their order."""
    customers, meters, dimensions = _entries(minuses)
    fits = [abs(minus.mantissa) < MANTISSA_MAX for minus in minuses]
    values = np.array([m.mantissa if ok else 0 for m, ok in zip(minuses, fits, strict=True)], "<i8")
    wide = [
        WideRow(row, str(-minus.mantissa), str(minus.mantissa), str(minus.mantissa))
        for row, minus in enumerate(minuses)
        if not fits[row]
    ]
    return Rows(
        customers=list(customers),
        meters=[MeterScale(*entry) for entry in meters],
        dimensions=[dict(pairs) for pairs in dimensions],
        customer_index=_places([customers[m.customer] for m in minuses]),
        meter_index=_places([meters[m.meter, m.scale] for m in minuses]),
        dimensions_index=_places([dimensions[m.dimensions] for m in minuses]),
        window_start=np.array([m.window_start for m in minuses], "<i8").tobytes(),
        count=np.full(len(minuses), -1, "<i8").tobytes(),
        sum=(-values).tobytes(),
        minimum=values.tobytes(),  # its original's: what is least or greatest stays as it is
        maximum=values.tobytes(),
        wide=wide,
        points=_points_of(minuses),
    )


def _entries(
    minuses: Sequence[Minus],
) -> tuple[dict[str, int], dict[tuple[str, int], int], dict[tuple[tuple[str, str], ...], int]]:
    customers: dict[str, int] = {}
    meters: dict[tuple[str, int], int] = {}
    dimensions: dict[tuple[tuple[str, str], ...], int] = {}
    for minus in minuses:
        customers.setdefault(minus.customer, len(customers))
        meters.setdefault((minus.meter, minus.scale), len(meters))
        dimensions.setdefault(minus.dimensions, len(dimensions))
    return customers, meters, dimensions


def _places(entries: Sequence[int]) -> bytes:
    return np.array(entries, "<u2").tobytes()


def _points_of(minuses: Sequence[Minus]) -> Points:
    pointed = [(row, minus) for row, minus in enumerate(minuses) if minus.point_key]
    if not pointed:
        return NO_POINTS
    wide, values = [], []
    for at, (_, minus) in enumerate(pointed):
        counted = minus.point_time != minus.time or minus.point_key != minus.key
        value = 0 if counted else minus.mantissa  # of a distinct value only that it was told
        if abs(value) >= MANTISSA_MAX:
            wide.append(WideValue(at, str(value)))
            value = 0
        values.append(value)
    return Points(
        row=_places([row for row, _ in pointed]),
        key=b"".join(minus.point_key for _, minus in pointed),
        time=np.array([minus.point_time for _, minus in pointed], "<i8").tobytes(),
        mantissa=np.array(values, "<i8").tobytes(),
        multiplicity=np.full(len(pointed), -1, "<i4").tobytes(),
        wide=wide,
    )
