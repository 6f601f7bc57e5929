"""Drafts: the documents of a payer whose cut is still ahead.

Owns: which cut instants are open at a log time.
Law: a draft is the document that would be issued if the log ended here and the period closed
at the next tick (compose.py makes both).
"""

from collections.abc import Container, Iterable

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.periods import closings, currency_of, sold_to
from pipeline.core.calendar import Instant

Closing = tuple[str, Instant]
"""(currency, cut instant) of a payer."""


def open_closings(
    catalog: Catalog,
    payer: str,
    passed: Instant,
    log_time: Instant,
    cut: Container[Closing],
    more: Iterable[Closing] = (),
) -> list[Closing]:
    """Return the closings of a payer that began by `log_time` and were not cut yet.

    Every period that ended by `passed` was cut (catalog/cuts.py); `cut` knows of those after it.
    `more` are closings where no period may end.
    """
    found = set(more)
    for sold in sold_to(catalog, payer):
        currency = currency_of(catalog, sold)
        for instant in closings(catalog, sold, passed, log_time + 1):
            if (currency, instant) not in cut:
                found.add((currency, instant))
    return sorted(found, key=lambda closing: (closing[1], closing[0]))
