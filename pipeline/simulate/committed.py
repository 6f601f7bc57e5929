"""Committed: what a customer is to spend at least in a period, as the auditor reads facts.

Owns: the least of a period, and which parts of which prices count for it.
Does not own: what they come to (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipeline.core.calendar import Instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.deals import dealt
from pipeline.simulate.quantities import Stretch
from pipeline.simulate.sold import Book, Period, Spans, agreed, cards, parts


@dataclass(frozen=True, slots=True)
class Committed:
    """The parts of what is to be spent, and of what counts for it, each with its card.

    All of them whole, whichever documents have them.
    """

    least: Sequence[tuple[Body, Spans]]
    counted: Sequence[tuple[Body, Spans]]
    before: "Committed | None" = None
    """What was topped up already, of the start of the period."""


def committed(
    book: Book, item: str, period: Period, until: Instant
) -> Iterator[tuple[Body, Spans, Committed]]:
    """Yield the one line of a commitment for a period, but for what is billed up to `until`."""
    whole = _within(book, item, period, period.served)
    if whole is None:
        return
    (start, end), told = (whole.least[0][1].left[0], whole.least[-1][1].left[1]), whole
    if end <= until:
        return
    if start < until:
        before = _within(book, item, period, (period.served[0], until))
        told = Committed(whole.least, whole.counted, before)
    stretch = start, end
    spans = Spans(
        period.cycle, stretch, stretch, (max(start, until), end), stretch, period.served[1]
    )
    yield whole.least[-1][0], spans, told


def _within(book: Book, item: str, period: Period, served: Stretch) -> Committed | None:
    """Return what is committed to in a stretch of a period: by the last card that says what counts.

    Only prices that stand while it does count, and none that is a commitment itself.
    """
    revisions, due = agreed(book, period.stay), period.served[1]
    own = parts(revisions, item, served)
    if not own:
        return None
    stretch = own[0][0][0], own[-1][0][1]
    covers = own[-1][1]["covers"]
    others = {str(card["id"]): card for _, plan in revisions for card in cards(plan)}
    counted = [
        each
        for other, card in sorted(others.items())
        if "covers" not in card
        if covers == "all" or card["listed"] in cast(list[str], covers)
        for each in _spans_of(book, replace(period, served=stretch), other, due)
    ]
    return Committed([*_spans_of(book, replace(period, served=served), item, due)], counted)


def _spans_of(book: Book, period: Period, item: str, due: Instant) -> Iterator[tuple[Body, Spans]]:
    """Yield the parts of a price, each with its card; tiers carry over from the first on."""
    sold = parts(agreed(book, period.stay), item, period.served)
    for part, body in sold:
        spans = Spans(period.cycle, (sold[0][0][0], part[1]), part, part, part, due)
        yield dealt(book, period, body, due), spans
