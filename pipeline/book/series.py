"""Series: every (customer, meter, scale, dimensions) a partition's books met, by number.

Owns: the numbers, which last as long as the process.  Does not own: ids in the database (stores).
Law: one series, one number; a slice's rows find theirs without a Python object a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.collect.columns import Indexes, Longs
from pipeline.meter.slices import Rows

Pairs = tuple[tuple[str, str], ...]
_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What usage is kept apart by: customer, meter, the scale of its values, dimensions."""

    customer: str
    meter: str
    scale: int
    dimensions: Pairs


class SeriesIndex:
    """Numbers from 0 on: `keys[number]` is the series."""

    __slots__ = ("__weakref__", "_customers", "_kinds", "_numbers", "keys")

    def __init__(self) -> None:
        """Start with no series."""
        self.keys: list[SeriesKey] = []
        self._customers: dict[str, int] = {}
        self._kinds: dict[tuple[str, int, Pairs], int] = {}
        self._numbers: dict[int, int] = {}

    def numbers(self, rows: Rows) -> Longs:
        """Return the number of each row's series."""
        customer = np.frombuffer(rows.customer_index, "<u2")
        meter = np.frombuffer(rows.meter_index, "<u2")
        place = np.frombuffer(rows.dimensions_index, "<u2")
        kinds = self._kinds_of(rows, meter, place)
        codes = (self._customers_of(rows, customer) << 32) | kinds
        found = _looked_up(self._numbers, codes.tolist())
        if found is None:
            met = (
                self._met(code, rows, customer, meter, place, row)
                for row, code in enumerate(codes.tolist())
            )
            found = np.fromiter(met, np.int64, len(codes))
        return found

    def _met(
        self, code: int, rows: Rows, customer: Indexes, meter: Indexes, place: Indexes, row: int
    ) -> int:
        number = self._numbers.get(code)
        if number is None:
            self._numbers[code] = number = len(self.keys)
            entry = rows.meters[meter[row]]
            pairs = tuple(sorted(rows.dimensions[place[row]].items()))
            key = SeriesKey(rows.customers[customer[row]], entry.meter, entry.scale, pairs)
            self.keys.append(key)
        return number

    def _customers_of(self, rows: Rows, customer: Indexes) -> Longs:
        """Return a code for each row's customer; only of rows: strangers' names are not kept."""
        codes = _looked_up(self._customers, rows.customers)
        if codes is None:
            known = self._customers
            codes = np.zeros(len(rows.customers), np.int64)
            for entry in np.unique(customer).tolist():
                codes[entry] = known.setdefault(rows.customers[entry], len(known))
        return codes[customer]

    def _kinds_of(self, rows: Rows, meter: Indexes, place: Indexes) -> Longs:
        """Return a code for each row's meter, scale and dimensions together."""
        width = len(rows.dimensions)
        if len(rows.meters) * width == 1:  # nearly every slice of one producer
            return np.full(len(meter), self._kind(rows, 0, 0))
        pairs, inverse = np.unique(meter.astype(np.int64) * width + place, return_inverse=True)
        codes = [self._kind(rows, pair // width, pair % width) for pair in pairs.tolist()]
        return np.array(codes, dtype=np.int64)[inverse]

    def _kind(self, rows: Rows, meter: int, place: int) -> int:
        entry = rows.meters[meter]
        dimensions = tuple(sorted(rows.dimensions[place].items()))
        return self._kinds.setdefault((entry.meter, entry.scale, dimensions), len(self._kinds))


def _looked_up(known: Mapping[_K, int], keys: Sequence[_K]) -> Longs | None:
    """Return the numbers of keys, None where one is not known."""
    try:
        return np.fromiter(map(known.__getitem__, keys), np.int64, len(keys))
    except KeyError:
        return None


def names_of(customers: Sequence[str], customer: Indexes) -> Sequence[str]:
    """Return the customers that rows are of."""
    met = np.bincount(customer, minlength=len(customers)) > 0
    if met.all():
        return customers
    return [customers[entry] for entry in np.flatnonzero(met).tolist()]
