"""Compose: the would-be document of a payer at a cut, from catalog and usage.

Owns: which lines a document has, their ids, order and figures.
Does not own: what was used (stores), prices (rate), numbers and seals (ledger).
Law: same facts, same usage, same cut: same content, byte for byte. A draft is this very
document with the cut still ahead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import PlanPrice
from pipeline.catalog.periods import ServicePeriod, parties, periods
from pipeline.core.calendar import Instant, instant_text, parse_instant, snap_up
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, derived_id
from pipeline.invoice.lines import Line, LineKey, flat_line, usage_line
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage, UsageRequest, groups, quantity
from pipeline.rate import Fault, Position, Rated, RatingInput, rate

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


@dataclass(frozen=True, slots=True)
class Composed:
    """A document without number and seal. `ordinal` tells apart those of one cut."""

    issuer: str
    kind: str
    ordinal: int
    content: dict[str, Json]


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
        for price in {card.id: None for _, _, revision in plan.spans() for card in revision.prices}:
            until = (carried or {}).get((subscription.id, price), subscription.start)
            for served in periods(catalog, subscription, until, instant):
                if served.period.end > instant:
                    break
                found += _lines_of_price(catalog, served.since(until), price)
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
        start, end = served.period.start, part.period.end
        request = _request(catalog, served.part(start, end), card)
        past = None
        position = Position.SINGLE
        if request is not None and len(parts) > 1:
            last = place == len(parts) - 1
            position = Position.LAST if last else Position.MID if place else Position.FIRST
            past = _request(catalog, served.part(start, part.period.start), card) if place else None
        found.append(PlannedLine(key, part, card, request, past, position))
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
        meter.aggregation.grain,
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
        document_id = derived_id("inv", payer, currency, cut, issuer)
        built = [
            made for line in own for made in _lines(catalog, document_id, line, currency, usage)
        ]
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
            "period_start": instant_text(min(line.served.period.start for line in own)),
            "period_end": instant_text(max(line.served.period.end for line in own)),
            "totals": totals.json(),
            "lines": [line for line, _ in built],
        }
        documents.append(Composed(issuer, "invoice", ordinal, content))
    return documents


def _lines(
    catalog: Catalog, document_id: str, line: PlannedLine, currency: str, usage: Usage
) -> list[tuple[Line, Totals]]:
    """Return the lines that a planned one becomes: one for each group of its usage."""
    if line.request is None or line.card.meter is None:
        cycle, period = line.served.cycle, line.served.period
        factor = Fraction(period.end - period.start, cycle.end - cycle.start)
        proration = None if factor == 1 else factor
        rated = _rated(
            line, RatingInput(currency, line.card.price, Fraction(1), proration=proration)
        )
        return [flat_line(document_id, line.key, line.served, line.card, rated)]
    meter, made = catalog.meters[line.card.meter], []
    past = dict(groups(line.past, usage.get(line.past, ()))) if line.past else {}
    for group, rows in groups(line.request, usage.get(line.request, ())):
        key, total = replace(line.key, group=group), quantity(meter, line.request, rows)
        before = quantity(meter, line.past, past.get(group, ())) if line.past else Fraction(0)
        billed = max(Fraction(0), before)  # a total below zero was rated as zero (rule 9)
        asked = RatingInput(
            currency,
            line.card.price,
            total - billed,
            pre_line_quantity=billed,
            line_position=line.position,
        )
        quantities = (total - before, before)
        rated = _rated(line, asked)
        made.append(usage_line(document_id, key, line.served, line.card, meter, quantities, rated))
    return made


def _rated(line: PlannedLine, asked: RatingInput) -> Rated:
    rated = rate(asked)
    if isinstance(rated, Fault):
        raise RatingFailed(line.key, rated)
    return rated


class RatingFailed(BrokenInvariant):
    """A line cannot be rated: a critical issue of its document, never of the partition."""

    def __init__(self, key: LineKey, fault: Fault) -> None:
        """Name line and fault."""
        super().__init__(f"{key.subscription}/{key.price}: {fault}")


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
