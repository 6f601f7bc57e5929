"""Compose: the would-be document of a payer at a cut, from catalog and usage.

Owns: which lines a document has, their ids, order and figures.
Does not own: what was used (stores), prices (rate), numbers and seals (ledger).
Law: same facts, same usage, same cut: same content, byte for byte. A draft is this very
document with the cut still ahead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import PlanPrice
from pipeline.catalog.periods import ServicePeriod, parties, periods
from pipeline.core.calendar import Instant, instant_text, parse_instant, snap_up
from pipeline.core.identity import Json, derived_id
from pipeline.core.money import minor_digits
from pipeline.invoice.issues import ValidationIssue, unrated
from pipeline.invoice.lines import Line, LineKey, flat_line, usage_line
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage, UsageRequest, events_for, groups, quantity
from pipeline.meter.scope import Pairs
from pipeline.rate import (
    ZERO,
    Events,
    Fault,
    MatrixPrice,
    Position,
    Rated,
    RatingInput,
    looks_at_events,
    rate,
)

FORMAT = "talea.invoice.1"


Carried = Mapping[tuple[str, str], Instant]
"""Up to where (subscription, price) was billed: a subscription's periods are cut in order."""


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


@dataclass(frozen=True, slots=True)
class Composed:
    """A document without number and seal. `ordinal` tells apart those of one cut.

    Lines that cannot be rated are not in the content; each has its issue.
    """

    issuer: str
    kind: str
    ordinal: int
    content: dict[str, Json]
    issues: tuple[ValidationIssue, ...] = ()


def planned_lines(
    catalog: Catalog,
    payer: str,
    currency: str,
    instant: Instant,
    carried: Carried | None = None,
) -> list[PlannedLine]:
    """Return the lines of a payer that fall due at or before `instant` and nobody carries.

    Where an end was moved after its period was billed, the rest of the period is a line.
    """
    found = []
    for subscription in catalog.subscriptions_of(payer):
        plan, _ = parties(catalog, subscription)
        if plan.currency != currency:
            continue
        for price, card in {c.id: c for _, _, each in plan.spans() for c in each.prices}.items():
            until = (carried or {}).get((subscription.id, price), subscription.start)
            for served in periods(catalog, subscription, until, instant + 1):
                due = served.in_advance() if card.in_advance else served
                if due.due > instant:
                    break
                found += _lines_of_price(catalog, due.since(until), price)
    return sorted(found, key=lambda line: (line.served.plan.issuer, line.key))


def requests_of(lines: Iterable[PlannedLine]) -> list[UsageRequest]:
    """Return the usage that lines ask for."""
    asked = (request for line in lines for request in (line.request, line.past))
    return [request for request in asked if request is not None]


def _lines_of_price(catalog: Catalog, served: ServicePeriod, price: str) -> list[PlannedLine]:
    """Return the lines of a price for one period: one for each of its revisions in force there."""
    parts = _parts(served, price)
    found = []
    for place, (part, card) in enumerate(parts):
        key = LineKey(served.subscription.id, price, part.period.start)
        start, end = parts[0][0].period.start, part.period.end
        last = place == len(parts) - 1
        past, position = None, Position.SINGLE
        if card.meter is not None and looks_at_events(card.price):
            start = part.period.start  # events have no past (rule 25): a new price counts anew
            position = Position.SINGLE if last else Position.FIRST
        elif card.meter is not None and len(parts) > 1:
            position = Position.LAST if last else Position.MID if place else Position.FIRST
            past = _request(catalog, served.part(start, part.period.start), card) if place else None
        request = _request(catalog, served.part(start, end), card)
        found.append(PlannedLine(key, part, card, request, past, position, opens=not place))
    return found


def _parts(served: ServicePeriod, price: str) -> list[tuple[ServicePeriod, PlanPrice]]:
    """Return the parts of a period that a price is the same in, and what it is there."""
    period, found = served.period, list[tuple[ServicePeriod, PlanPrice]]()
    for since, until, revision in reversed([*served.plan.spans()]):
        start = period.start if since is None else max(period.start, since)
        end = period.end if until is None else min(period.end, until)
        card = revision.price(price)
        if start >= end or card is None:
            continue
        if found and found[-1][1] == card and found[-1][0].period.end == start:
            start = found.pop()[0].period.start
        found.append((served.part(start, end), card))
    return found


def with_lines(carried: Carried, lines: Iterable[PlannedLine]) -> Carried:
    """Return what is carried once a document has these lines."""
    return _furthest(carried, ((line.key, line.served.period.end) for line in lines))


def _furthest(carried: Carried, more: Iterable[tuple[LineKey, Instant]]) -> Carried:
    reached = dict(carried)
    for key, end in more:
        source = (key.subscription, key.price)
        reached[source] = max(end, reached.get(source, end))
    return reached


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


def compose(
    catalog: Catalog,
    payer: str,
    currency: str,
    instant: Instant,
    lines: Sequence[PlannedLine],
    usage: Usage,
) -> list[Composed]:
    """Return the documents of a cut, one an issuer; `usage` answers the lines' requests."""
    documents = []
    for ordinal, issuer in enumerate(sorted({line.served.plan.issuer for line in lines})):
        own = [line for line in lines if line.served.plan.issuer == issuer]
        cut = instant_text(instant)
        document_id = _document_id(payer, currency, cut, issuer)
        billed: dict[tuple[str, str], int] = {}
        built, issues = list[tuple[Line, Totals]](), list[ValidationIssue]()
        for line in own:
            try:
                built += _lines(catalog, document_id, line, currency, usage, billed)
            except _Unrated as failed:
                plan = line.served.plan.id
                issues.append(unrated(document_id, line.key, plan, failed.fault))
        totals = Totals.sum(line_totals for _, line_totals in built)
        content: dict[str, Json] = {
            "format": FORMAT,
            "id": document_id,
            "kind": "invoice",
            "issuer": issuer,
            "customer": payer,
            "currency": currency,
            "billing_profile": dict(catalog.customers[payer].profile),
            "cut_instant": cut,
            **_service_period(own),
            "totals": totals.json(),
            "lines": [line for line, _ in built],
        }
        documents.append(Composed(issuer, "invoice", ordinal, content, tuple(issues)))
    return documents


@lru_cache(maxsize=1 << 16)  # a draft is made again and again
def _document_id(payer: str, currency: str, cut: str, issuer: str) -> str:
    return derived_id("inv", payer, currency, cut, issuer)


def _lines(
    catalog: Catalog,
    document_id: str,
    line: PlannedLine,
    currency: str,
    usage: Usage,
    billed: dict[tuple[str, str], int],
) -> list[tuple[Line, Totals]]:
    """Return the lines that a planned one becomes: one for each group of its usage.

    `billed` is what earlier lines of the period came to: bounds look at all of it (rule 30).
    """
    card, served = line.card, line.served
    if line.request is None or card.meter is None:
        whole = served.cycle.end - served.cycle.start
        share = Fraction(served.period.end - served.period.start, whole)
        proration = None if share == 1 else share
        asked = RatingInput(currency, card.price, card.terms.quantity, proration=proration)
        return [flat_line(document_id, line.key, served, card, _rated(line, asked))]
    meter, made = catalog.meters[card.meter], []
    past = dict(groups(line.past, usage.get(line.past, ()))) if line.past else {}
    for group, rows in groups(line.request, usage.get(line.request, ())):
        key, total = replace(line.key, group=group), quantity(meter, line.request, rows)
        before = quantity(meter, line.past, past.get(group, ())) if line.past else ZERO
        asked = _asked(line, currency, group, (total, before), events_for(card.price, rows))
        source = (line.key.subscription, line.key.price)
        if not line.opens and card.terms.bounded:
            earlier = Fraction(billed.get(source, 0), 10 ** minor_digits(currency))
            asked = replace(asked, previously_billed_amount=earlier)
        rated = _rated(line, asked)
        billed[source] = rated.amount_minor + (0 if line.opens else billed.get(source, 0))
        quantities = (total - before if before else total, before)
        made.append(usage_line(document_id, key, served, card, meter, quantities, rated))
    return made


def _asked(
    line: PlannedLine,
    currency: str,
    group: Pairs,
    totals: tuple[Fraction, Fraction],
    events: Events,
) -> RatingInput:
    """Return what is asked of rating for a total, less what was rated of it before.

    A total below zero was rated as zero (rule 9).
    """
    total, before = totals
    position = line.position
    if events.known:
        quantity = None if events.amounts is not None else max(ZERO, total)
        return RatingInput(
            currency,
            line.card.price,
            quantity,
            line_position=position,
            event_count=events.count,
            per_event_amounts=events.amounts,
        )
    rest = max(ZERO, before)
    return RatingInput(
        currency,
        line.card.price,
        total - rest if rest else total,
        pre_line_quantity=rest,
        line_position=position,
        dimensions=dict(group) if isinstance(line.card.price, MatrixPrice) else {},
    )


def _rated(line: PlannedLine, asked: RatingInput) -> Rated:
    rated = rate(line.card.terms.added(asked, line.served.index))
    if isinstance(rated, Fault):
        raise _Unrated(rated)
    return rated


def _service_period(lines: Sequence[PlannedLine]) -> dict[str, Json]:
    """Return what a document is about: what was served, or only what is paid in advance."""
    periods = [line.served.period for line in lines if not line.card.in_advance]
    periods = periods or [line.served.period for line in lines]
    return {
        "period_start": instant_text(min(period.start for period in periods)),
        "period_end": instant_text(max(period.end for period in periods)),
    }


class _Unrated(Exception):
    """A line cannot be rated: an issue of its document."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def carried_by_all(contents: Iterable[Mapping[str, Json]]) -> Carried:
    """Return what issued documents carry."""
    return _furthest(
        {},
        (
            (LineKey.of_line(line), parse_instant(line["period_end"]))
            for content in contents
            for line in cast(list[dict[str, Json]], content["lines"])
        ),
    )
