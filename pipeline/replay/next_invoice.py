"""Next invoice: what a payer's next invoice bills, or gives back, by itself.

Owns: which note of a diff would do the same once more.
Does not own: the notes (applying.py), what falls due (invoice/planned.py), refusing (workers).
Law: what a note of a diff bills, or gives back, no other document does.
"""

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.legs import FOR_EVER
from pipeline.catalog.periods import closings, currency_of, sold_to
from pipeline.core.calendar import Instant, parse_instant
from pipeline.invoice.fees import NOWHERE, Reason
from pipeline.invoice.lines import Line, LineKey
from pipeline.invoice.notes import lines_of
from pipeline.invoice.planned import (
    Carried,
    billed_farther,
    carried_by_all,
    is_ahead,
    planned_lines,
    until_of,
)
from pipeline.replay.applying import invoices_of
from pipeline.replay.diff import Pair

Place = tuple[str, str]
"""(payer, currency)."""


def given_back_by_next(
    decisions: Iterable[Decision], catalog: Catalog, carried: Mapping[Place, Carried]
) -> str | None:
    """Return the first invoice with a fee in advance that its payer's next one gives back itself.

    That is so where its price is another by now: a note of it would give the difference twice.
    """
    for each in decisions:
        own = carried.get((each.payer, each.currency), {})
        lines = planned_lines(catalog, each.payer, each.currency, each.at, own)
        given = {line.key for line in lines if line.reason is Reason.UNUSED and line.fee}
        changed = cast(list[Line], (each.change or {})["lines"])
        if any(is_ahead(line) and LineKey.of_line(line) in given for line in changed):
            return each.document
    return None


def billed_by_next(
    decisions: Iterable[Decision],
    pairs: Iterable[Pair],
    catalog: Catalog,
    carried: Mapping[Place, Carried],
    done: Mapping[Place, Collection[Instant]],
) -> str | None:
    """Return the first invoice whose note bills what a later invoice bills, or is about to.

    Behind that a diff is of both. `done`: the closings of payers whose documents are made.
    """
    pairs = sorted(pairs, key=attrgetter("order"))
    issued = invoices_of(pair.before for pair in pairs)
    wanted = {e.after["id"]: lines_of(e.after) for e in pairs if e.after is not None}
    for each in decisions:
        change, place = each.change or {}, (each.payer, each.currency)
        told = until_of(change)
        own, known = carried.get(place, {}), issued.get(place, [])
        before = carried_by_all(e for e in known if e.get("replaces") is None)
        for other in catalog.deals.decisions.known:
            if (other.payer, other.currency) == place and other.change is not None:
                before = billed_farther(before, until_of(other.change))
        begun: dict[tuple[str, str], Instant] = {}
        for key in map(LineKey.of_line, wanted.get(each.document, ())):
            source = (key.subscription, key.price)
            begun[source] = min(key.start, begun.get(source, key.start))
        ends = {(subscription, price): parse_instant(end) for subscription, price, end in told}
        for source in ends:
            until = max(before.get(source, NOWHERE).until, begun.get(source, FOR_EVER))
            if own.get(source, NOWHERE).until > until:
                return each.document
        last = max((parse_instant(e["cut_instant"]) for e in known), default=0)
        for subscription, price, *_ in cast(list[list[str]], change.get("ahead", [])):
            ends[subscription, price] = FOR_EVER  # where that is told nobody bills it meanwhile
        lines = planned_lines(catalog, *place, each.at, own) if ends else ()
        again = any(e.key.start < ends.get((e.key.subscription, e.key.price), 0) for e in lines)
        if again and _is_to_come(catalog, place, last, each.at, done.get(place, ())):
            return each.document
    return None


def _is_to_come(
    catalog: Catalog, place: Place, after: Instant, until: Instant, done: Collection[Instant]
) -> bool:
    """Whether a period of a payer ended, behind an instant, whose documents are not made yet.

    Whatever falls due by then goes on them, though they may have nothing of their own.
    """
    payer, currency = place
    return any(
        instant <= until and instant not in done
        for sold in sold_to(catalog, payer)
        if currency_of(catalog, sold) == currency
        for instant in closings(catalog, sold, after, until + 1)
    )
