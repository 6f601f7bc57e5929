"""Series: every (customer, meter, scale, dimensions) a partition's books met, by number.

Owns: the numbers, which last as long as their index.
Does not own: ids in the database (stores), when an index is given up for a new one (workers).
Law: one series, one number; a slice's rows find theirs without a Python object a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern

import numpy as np

from pipeline.collect.columns import Indexes, Longs
from pipeline.meter.slices import Rows

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What usage is kept apart by: customer, meter, the scale of its values, dimensions."""

    customer: str
    meter: str
    scale: int
    dimensions: Pairs


@dataclass(frozen=True, slots=True)
class _Kind:
    """Series that differ by customer alone, by its name."""

    meter: str
    scale: int
    dimensions: Pairs
    numbers: dict[str, int] = field(default_factory=dict)


class SeriesIndex:
    """Numbers from 0 on: `index[number]` is the series, `customers[number]` whose it is."""

    __slots__ = ("__weakref__", "_kind_of", "_kinds", "customers")

    def __init__(self) -> None:
        """Start with no series."""
        self.customers: list[str] = []
        self._kind_of: list[_Kind] = []
        self._kinds: dict[tuple[str, int, Pairs], _Kind] = {}

    def __len__(self) -> int:
        """Return how many series were met."""
        return len(self.customers)

    def __getitem__(self, number: int) -> SeriesKey:
        """Return the series of a number, made anew: there are very many, and few are looked at."""
        kind = self._kind_of[number]
        return SeriesKey(self.customers[number], kind.meter, kind.scale, kind.dimensions)

    def measured(self, number: int) -> tuple[str, int]:
        """Return the meter and the scale of a series."""
        kind = self._kind_of[number]
        return kind.meter, kind.scale

    def numbers(self, rows: Rows) -> Longs:
        """Return the number of each row's series."""
        customer = np.frombuffer(rows.customer_index, "<u2")
        width = len(rows.dimensions)
        if len(rows.meters) * width == 1:  # nearly every slice of one producer
            return self._of_one_kind(rows, customer)
        meter = np.frombuffer(rows.meter_index, "<u2")
        place = np.frombuffer(rows.dimensions_index, "<u2")
        pairs, inverse = np.unique(meter.astype(np.int64) * width + place, return_inverse=True)
        kinds = [self._kind(rows, pair // width, pair % width) for pair in pairs.tolist()]
        met = (
            self._number(kinds[kind], rows.customers[entry])
            for kind, entry in zip(inverse.tolist(), customer.tolist(), strict=True)
        )
        return np.fromiter(met, np.int64, len(customer))

    def _of_one_kind(self, rows: Rows, customer: Indexes) -> Longs:
        kind = self._kind(rows, 0, 0)
        found = _looked_up(kind.numbers, rows.customers)
        if found is None:  # only customers with rows are met: strangers' names are not kept
            found = np.zeros(len(rows.customers), np.int64)
            for entry in np.unique(customer).tolist():
                found[entry] = self._number(kind, rows.customers[entry])
        return found[customer]

    def _number(self, kind: _Kind, customer: str) -> int:
        number = kind.numbers.get(customer)
        if number is None:
            name = intern(customer)  # the one text that the catalog has of it
            kind.numbers[name] = number = len(self.customers)
            self.customers.append(name)
            self._kind_of.append(kind)
        return number

    def _kind(self, rows: Rows, meter: int, place: int) -> _Kind:
        entry = rows.meters[meter]
        dimensions = tuple(sorted(rows.dimensions[place].items()))
        known = self._kinds.get((entry.meter, entry.scale, dimensions))
        if known is None:
            known = _Kind(entry.meter, entry.scale, dimensions)
            self._kinds[entry.meter, entry.scale, dimensions] = known
        return known


def _looked_up(known: Mapping[str, int], names: Sequence[str]) -> Longs | None:
    """Return the numbers of names, None where one is not known."""
    try:
        return np.fromiter(map(known.__getitem__, names), np.int64, len(names))
    except KeyError:
        return None
