"""Compose: the would-be document of a payer at a cut, from catalog and usage.

Owns: the documents of a cut, the ids, order and figures of their lines.
Does not own: which lines fall due (planned.py), what was used (stores), prices (rate), numbers
and seals (ledger).
Law: same facts, same usage, same cut: same content, byte for byte. A draft is this very
document with the cut still ahead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.rate_cards import Exchange
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, derived_id
from pipeline.core.money import minor_digits
from pipeline.invoice.fees import Fee
from pipeline.invoice.issues import ValidationIssue, unrated
from pipeline.invoice.lines import Line, flat_line, usage_line
from pipeline.invoice.planned import PlannedLine
from pipeline.invoice.taxed import taxed
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage, events_for, groups, quantity
from pipeline.meter.scope import Pairs
from pipeline.rate import ZERO, Events, Fault, MatrixPrice, Rated, RatingInput, rate

FORMAT = "talea.invoice.1"


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
        tax = catalog.issuers[issuer].tax
        told: Mapping[str, Json] = {}
        if tax is not None:
            found = taxed(document_id, tax, catalog.customers[payer], built)
            built, told = [*found.lines], found.told
            issues += found.issues
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
            **told,
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
    match line.fee:
        case Fee():
            return [flat_line(document_id, line.key, served, card, line.fee, line.reason)]
        case Fault():
            raise _Unrated(line.fee)
        case None:
            pass
    if line.request is None or card.meter is None:
        raise BrokenInvariant(f"{line.key} bills neither a fee nor usage")
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
        foreign = None if card.fx is None else _foreign_minor(card.fx, asked)
        made.append(usage_line(document_id, key, served, card, meter, quantities, rated, foreign))
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


def _foreign_minor(exchange: Exchange, asked: RatingInput) -> int:
    """Return what usage comes to, before charges and discounts, where the price is from."""
    terms = exchange.before.terms
    plain = replace(
        asked,
        currency=exchange.rate.base,
        price=exchange.before.price,
        unit_conversion=terms.unit_conversion,
        usage_discount=terms.usage_discount,
        previously_billed_amount=None,
    )
    rated = rate(plain)
    if isinstance(rated, Fault):
        raise _Unrated(rated)
    return sum(each.amount_minor for each in rated.lines)


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
