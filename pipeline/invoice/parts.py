"""Parts: the lines of one price for one period, before any usage is known.

Owns: where a period falls apart, because its price changes or a document ended within it.
Does not own: which periods fall due (planned.py), what they come to (fees.py, compose.py).
Law: wherever documents cut a period, its lines come to what one document would bill.

What is left of a part once a document ended within it is the whole part less what that document
billed, both by what is known now: what has changed of it since is a matter of its notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.catalog.by_hand import HandLine
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.currencies import rate_at, tax_point
from pipeline.catalog.legs import DatedCard
from pipeline.catalog.periods import ServicePeriod
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.redeeming import promoted
from pipeline.core.calendar import Instant, Period, snap_up
from pipeline.invoice.details import Early
from pipeline.invoice.fees import NOWHERE, Fee, Reach, Reason, due_fee
from pipeline.invoice.lines import LineKey, card_told
from pipeline.invoice.usage import UsageRequest
from pipeline.rate import Fault, FaultCode, Position, Reduction, looks_at_events


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """A line that a document will have: what it bills, and the usage it asks for.

    Where a price changed within the period, `request` runs from the period's start to the end of
    this line and `past` to its start: tiers carry over.
    """

    key: LineKey
    served: ServicePeriod
    card: PlanPrice
    request: UsageRequest | None
    past: UsageRequest | None = None
    position: Position = Position.SINGLE
    opens: bool = True
    """Whether no earlier line is of the same price and period."""
    fee: Fee | Fault | None = None
    """What a flat price comes to, or why it cannot be rated."""
    reason: Reason | None = None
    """Why it is billed beside its period's own line."""
    billed: "PlannedLine | None" = None
    """What an earlier document billed of it: it bills the rest."""
    earlier: "tuple[PlannedLine, ...]" = ()
    """The lines of the period's earlier parts, where an earlier document has them."""
    hand: HandLine | None = None
    """The decision, where it is a line by hand."""
    runs: bool = False
    """Whether its period goes on behind the document: that bills what was used so far."""
    early: tuple[Early, ...] = ()
    """What early documents billed of it: it bills the rest."""
    covered: "tuple[PlannedLine, ...] | None" = None
    """Of a commitment, whose `fee` is its least: the whole lines that count for it."""

    @property
    def fee_ahead(self) -> Fee | None:
        """The fee it bills in advance, if it does."""
        return self.fee if self.card.in_advance and isinstance(self.fee, Fee) else None

    @property
    def sub_account(self) -> str | None:
        """The sub-account that it is of, where another customer pays."""
        customer = self.served.customer
        return None if customer.payer == customer.id else customer.id

    @property
    def is_credit(self) -> bool:
        """Whether it gives back what was billed."""
        return self.reason is Reason.UNUSED

    @property
    def credited_from(self) -> Instant | None:
        """Of a credit: from when on what it gives back was billed."""
        return self.fee.billed_from if isinstance(self.fee, Fee) else None

    def requests(self) -> list[UsageRequest]:
        """Return the usage it asks for."""
        own = [request for request in (self.request, self.past) if request is not None]
        billed = [] if self.billed is None else [self.billed]
        others = (*self.earlier, *billed, *(self.covered or ()))
        return own + [asked for line in others for asked in line.requests()]


def lines_of_price(
    catalog: Catalog,
    served: ServicePeriod,
    price: str,
    cards: Sequence[DatedCard],
    reach: Reach = NOWHERE,
) -> list[PlannedLine]:
    """Return the lines of a price for a period: one for each of its cards in force there.

    What `reach` says is billed.
    """
    until = reach.until
    parts = _parts(served, cards)
    if not parts:
        return []
    maker = _Maker(catalog, served, price, parts[0][0].period.start, {})
    found: list[PlannedLine] = []
    earlier: list[PlannedLine] = []
    for place, (part, card) in enumerate(parts):
        closes = place == len(parts) - 1
        start, end = part.period.start, part.period.end
        if end <= until:
            if not card.in_advance:
                earlier.append(maker.line(part, card, place, closes=end == until))
        elif until <= start or card.in_advance:
            found.append(maker.line(part.since(until), card, place, closes=closes))
        else:
            taken = dict(maker.taken)
            billed = maker.line(part.part(start, until), card, place, closes=True)
            maker.taken = taken
            found.append(_rest(maker.line(part, card, place, closes=closes), billed, until))
    if earlier and found:
        found[0] = replace(found[0], earlier=tuple(earlier))
    return _after_early(found, served.period, reach.early) if reach.early else found


def _after_early(
    lines: list[PlannedLine], period: Period, early: Sequence[Early]
) -> list[PlannedLine]:
    """Return the lines of a period, each with what early documents billed of it.

    What was billed of a part that is none any more is the first's.
    """
    usage = [place for place, line in enumerate(lines) if line.request is not None]
    own: dict[int, list[Early]] = {}
    for each in early:
        if usage and period.start <= each.start < period.end:
            begun = [place for place in usage if lines[place].key.start <= each.start]
            own.setdefault(max(begun, default=usage[0]), []).append(each)
    return [
        replace(line, early=tuple(own[place])) if place in own else line
        for place, line in enumerate(lines)
    ]


def so_far(lines: Sequence[PlannedLine]) -> list[PlannedLine]:
    """Return the lines of a period that has usage billed while it runs: no minimum is due yet."""
    return [
        replace(line, runs=True, position=_RUNNING.get(line.position, line.position))
        for line in lines
        if line.request is not None
    ]


_RUNNING = {Position.SINGLE: Position.FIRST, Position.LAST: Position.MID}


def _rest(whole: PlannedLine, billed: PlannedLine, until: Instant) -> PlannedLine:
    """Return what is left of a line that was billed up to an instant."""
    fee = whole.fee
    if isinstance(fee, Fee) and isinstance(billed.fee, Fee):
        fee = replace(fee.plus(billed.fee, -1), start=until)
    key, served = replace(whole.key, start=until), whole.served.since(until)
    return replace(whole, key=key, served=served, fee=fee, billed=billed)


@dataclass(slots=True)
class _Maker:
    """Makes the lines of one price and period, in order; the price is there from `begun` on.

    `taken`: what fixed discounts took so far, for they count once a period.
    """

    catalog: Catalog
    served: ServicePeriod
    price: str
    begun: Instant
    taken: dict[Reduction, int]

    def line(
        self, part: ServicePeriod, listed: PlanPrice, place: int, *, closes: bool
    ) -> PlannedLine:
        """Return the line of a part, the `place`th; `closes`: no later one is known with it."""
        served, start, opens = self.served, part.period.start, not place
        key = LineKey(served.subscription.id, served.leg.item(self.price), start)
        own = replace(part, due=served.period.start) if listed.in_advance else part
        converted = _in_currency_billed(self.catalog, own, listed)
        if isinstance(converted, Fault):
            return PlannedLine(key, own, listed, None, opens=opens, fee=converted)
        card = promoted(self.catalog, served, converted)
        if card.meter is None:
            told = card_told(key, part, card)
            fee = due_fee(part, card, told, part.plan.currency, self.taken)
            return PlannedLine(key, own, card, None, opens=opens, fee=fee)
        begun, past, position = self.begun, None, _position(place, closes=closes)
        if looks_at_events(card.price):
            begun = start  # events have no past (rule 25): a new price counts anew
            position = Position.SINGLE if closes else Position.FIRST
        elif place:
            past = _request(self.catalog, served.part(begun, start), card)
        request = _request(self.catalog, served.part(begun, part.period.end), card)
        return PlannedLine(key, part, card, request, past, position, opens)


def _position(place: int, *, closes: bool) -> Position:
    if closes:
        return Position.LAST if place else Position.SINGLE
    return Position.MID if place else Position.FIRST


def _in_currency_billed(catalog: Catalog, own: ServicePeriod, card: PlanPrice) -> PlanPrice | Fault:
    """Return a rate card in the currency that is billed, by the rate at the line's tax point."""
    if card.currency is None:
        return card
    instant = tax_point(own.due, in_advance=card.in_advance)
    rate = rate_at(catalog.deals.rates, card.currency, own.plan.currency, instant)
    if isinstance(rate, str):
        return Fault(FaultCode.MISSING_RATE, "fx_rates", rate)
    return card.exchanged(rate)


def _parts(
    served: ServicePeriod, cards: Sequence[DatedCard]
) -> list[tuple[ServicePeriod, PlanPrice]]:
    """Return the parts of a period that a price is the same in, and what it is there."""
    period, found = served.period, list[tuple[ServicePeriod, PlanPrice]]()
    for since, until, card in cards:
        start, end = max(period.start, since), min(period.end, until or period.end)
        if start >= end:
            continue
        if found and found[-1][0].period.end == start and card.bills_like(found[-1][1]):
            start = found.pop()[0].period.start
        found.append((served.part(start, end), card))
    return found


def _request(catalog: Catalog, served: ServicePeriod, card: PlanPrice) -> UsageRequest | None:
    """Return the usage of a line: edges snap up to the meter's windows."""
    if card.meter is None:
        return None
    meter = catalog.meters[card.meter]
    return UsageRequest(
        served.customer.id,
        card.meter,
        snap_up(served.period.start, meter.window_us),
        snap_up(served.period.end, meter.window_us),
        meter.grain,
        card.scope,
    )
