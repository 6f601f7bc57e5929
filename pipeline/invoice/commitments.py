"""Commitments: the line that tops up what several prices of a period come to.

Owns: which lines count for a commitment, its least in a short period, what they lack of it.
Does not own: which prices it covers (catalog/commitments.py), what a line of usage comes to
(worked.py), the fields of a line (lines.py).
Law: whatever documents have the lines of a period, its prices and its top-up come to the least at
least, and to no more where the prices alone do; cut anywhere, the top-ups are that of the whole.

What counts is what the prices come to in the period as it is known now, whole: discounts off, with
what their own minima top up, before tax, before anything is edited or credited by hand; fees that
are billed in advance in the period that they are for. So nothing depends on which document bills
what, and late usage makes a note of the top-up too. No commitment counts for another.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import DatedCard
from pipeline.catalog.periods import ServicePeriod
from pipeline.core.errors import BrokenInvariant
from pipeline.invoice.fees import NOWHERE, Fee, Reach
from pipeline.invoice.lines import TopUp
from pipeline.invoice.parts import PlannedLine, lines_of_price
from pipeline.invoice.usage import Usage
from pipeline.invoice.worked import Known, Period, Unrated, worked
from pipeline.rate import Fault


def lines_due(
    catalog: Catalog,
    served: ServicePeriod,
    price: str,
    cards: Sequence[DatedCard],
    reach: Reach = NOWHERE,
) -> list[PlannedLine]:
    """Return the lines of a price for a period, of a commitment the one that tops it up.

    What `reach` says is billed.
    """
    if all(card.covers is None for _, _, card in cards):
        return lines_of_price(catalog, served, price, cards, reach)
    whole, until = _top_up(catalog, served, price, cards), reach.until
    if whole is None or whole.served.period.end <= until:
        return []
    if whole.served.period.start >= until:
        return [whole]
    billed = _top_up(catalog, served.part(served.period.start, until), price, cards)
    left = whole.served.since(until)
    return [replace(whole, key=replace(whole.key, start=until), served=left, billed=billed)]


def _top_up(
    catalog: Catalog, served: ServicePeriod, price: str, cards: Sequence[DatedCard]
) -> PlannedLine | None:
    """Return the one line of a commitment for a period; None where it is not in force.

    Where it changes within, its least is that of both parts, and what it covers is as in the last.
    """
    parts = lines_of_price(catalog, served, price, cards)
    if not parts:
        return None
    stretch = served.part(parts[0].served.period.start, parts[-1].served.period.end)
    fees = [part.fee for part in parts]
    faults = [fee for fee in fees if isinstance(fee, Fault)]
    least = faults[0] if faults else reduce(Fee.plus, (f for f in fees if isinstance(f, Fee)))
    covers = parts[-1].card.covers
    counted = [
        line
        for other in served.leg.prices
        if other != price and (not covers or other in covers)
        for line in _counted(catalog, stretch, other)
    ]
    return replace(
        parts[-1], key=parts[0].key, served=stretch, fee=least, covered=tuple(counted), opens=True
    )


def _counted(catalog: Catalog, stretch: ServicePeriod, price: str) -> list[PlannedLine]:
    """Return the lines of a price that count for a commitment, whatever documents have them."""
    cards = [*stretch.leg.cards(price)]
    if any(card.covers is not None for _, _, card in cards):
        return []
    return lines_of_price(catalog, stretch, price, cards)


def topped_up(
    catalog: Catalog, line: PlannedLine, currency: str, usage: Usage, known: Known
) -> TopUp:
    """Return what the line of a commitment bills.

    Raises:
        Unrated: it has no amount, or what it covers has none.

    """
    fee = _fee(line)
    least, spent = fee.net_minor, _spent(catalog, line, currency, usage, known)
    lacks = max(0, least - spent)
    if line.billed is not None:
        lacks -= topped_up(catalog, line.billed, currency, usage, known).lacks_minor
    return TopUp(lacks, least, spent, fee.fx)


def _fee(line: PlannedLine) -> Fee:
    match line.fee:
        case Fee():
            return line.fee
        case Fault():
            raise Unrated(line.fee)
        case None:
            raise BrokenInvariant(f"{line.key} is of no amount")


def _spent(catalog: Catalog, line: PlannedLine, currency: str, usage: Usage, known: Known) -> int:
    """Return what the prices come to that a commitment covers."""
    periods: dict[str, Period] = {}
    total = 0
    for each in line.covered or ():
        if each.card.meter is None:
            total += _fee(each).net_minor
            continue
        period = periods.setdefault(each.key.price, Period())
        for group in worked(catalog, each, currency, usage, period, known).values():
            total += sum(detail.totals.total for detail in group.details)
    return total
