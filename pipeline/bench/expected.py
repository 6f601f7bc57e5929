"""What the books must hold, counted beside the load as it is made.

Owns: count and sum by series and window, outcomes, comparing them with Postgres.
Does not own: the load (load.py).
Law: it shares no step with the pipeline: arrays in, integers out, queries of its own.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.shop import METER, WINDOW_US, cost_minor
from pipeline.core.calendar import Instant
from pipeline.core.errors import CheckFailed
from pipeline.stores.postgres.database import Connection

Longs = NDArray[np.int64]

_USAGE: LiteralString = (
    "SELECT s.customer, s.meter, s.scale, u.window_us, sum(u.count)::bigint, sum(u.sum)"
    " FROM usage u JOIN series s ON s.id = u.series_id GROUP BY 1, 2, 3, 4"
)
_OUTCOMES: LiteralString = (
    "SELECT coalesce(sum(offered), 0)::bigint, coalesce(sum(fresh), 0)::bigint,"
    " coalesce(sum(duplicate), 0)::bigint, coalesce(sum(conflict + late + rejected), 0)::bigint"
    " FROM cursor"
)
_DRAFTS: LiteralString = (
    "SELECT payer, (content::json #>> '{lines,0,metered_quantity}')::numeric,"
    " (content::json #>> '{totals,total_minor}')::bigint FROM told_draft"
)


class Expected:
    """The oracle: `count` and `total` by (series, window)."""

    def __init__(self, customers: Sequence[str], start: Instant, windows: int) -> None:
        """Start with nothing; `start` is the first window's."""
        self.customers = customers
        self._numbers = {name: number for number, name in enumerate(customers)}
        self._start = start
        self._count = np.zeros((len(customers), windows), np.int64)
        self._total = np.zeros((len(customers), windows), np.int64)
        self.unit_prices = 1
        """By how much the price is above the shop's, as a factor."""
        self.offered = 0
        self.duplicate = 0

    def hears(self, series: Longs, times: Longs, values: Longs, repeats: int) -> None:
        """A batch was delivered: these events are new, `repeats` more are not."""
        place = (series, (times - self._start) // WINDOW_US)
        np.add.at(self._count, place, 1)
        np.add.at(self._total, place, values)
        self.offered += len(series) + repeats
        self.duplicate += repeats

    def quantity(self, series: int) -> int:
        """Return what a series used so far."""
        return int(self._total[series].sum())

    def check(self, connection: Connection) -> None:
        """Hold outcomes, usage and drafts against the books.

        Raises:
            CheckFailed: the first difference.

        """
        found = connection.execute(_OUTCOMES).fetchone()
        fresh = self.offered - self.duplicate
        _same("offered, fresh, duplicate, other", (self.offered, fresh, self.duplicate, 0), found)
        self._check_usage(connection)
        self._check_drafts(connection)

    def _check_usage(self, connection: Connection) -> None:
        seen = np.zeros_like(self._count, dtype=np.bool_)
        for customer, meter, scale, window, count, total in connection.execute(_USAGE):
            where = f"usage of {customer}, {meter}, scale {scale}, window {window}"
            number = self._numbers.get(customer)
            place = (window - self._start) // WINDOW_US
            known = (meter, scale) == (METER, 0) and 0 <= place < self._count.shape[1]
            if number is None or not known:
                raise CheckFailed(f"{where}: nothing of the kind was sent")
            sent = (int(self._count[number, place]), int(self._total[number, place]))
            _same(where, sent, (count, int(total)))
            seen[number, place] = True
        missing = np.argwhere(~seen & (self._count > 0))
        if len(missing):
            name = self.customers[missing[0][0]]
            raise CheckFailed(f"{len(missing)} windows are not in the books, one of {name}")

    def _check_drafts(self, connection: Connection) -> None:
        drafted: dict[str, tuple[int, int]] = {}
        for payer, quantity, total_minor in connection.execute(_DRAFTS):
            if payer in drafted:
                raise CheckFailed(f"{payer} has two drafts")
            drafted[payer] = (int(quantity), total_minor)
        for name, number in self._numbers.items():
            used = self.quantity(number)
            cost = cost_minor(used * self.unit_prices)
            _same(f"draft of {name}", (used, cost), drafted.get(name))


def _same(what: str, expected: object, found: Any) -> None:
    if expected != found:
        raise CheckFailed(f"{what}: {expected} was sent, {found} is in the books")
