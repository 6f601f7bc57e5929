"""Compose: the would-be document of a payer at a cut, from catalog and usage.

Owns: the documents of a cut, the ids, order and figures of their lines.
Does not own: which lines fall due (planned.py, parts.py), what they come to (worked.py), what was
used (stores), numbers and seals (ledger).
Law: same facts, same usage, same cut: same content, byte for byte. A draft is this very
document with the cut still ahead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import cast

from pipeline.catalog.by_hand import ByHand, HandLine, LineEdit
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer
from pipeline.core.calendar import Instant, Period, instant_text
from pipeline.core.identity import Json
from pipeline.invoice.by_hand import customer_on, edited, told_by_hand, told_of_itself
from pipeline.invoice.commitments import topped_up
from pipeline.invoice.details import details_of
from pipeline.invoice.fees import Fee
from pipeline.invoice.issues import Severity, ValidationIssue, unrated
from pipeline.invoice.lines import (
    Line,
    card_told,
    document_id_of,
    flat_line,
    line_id_in,
    top_up_line,
    usage_line,
)
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import periods_asked
from pipeline.invoice.taxed import taxed
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage
from pipeline.invoice.worked import Known, Unrated, meter_of, worked
from pipeline.invoice.worked import Period as PricePeriod
from pipeline.rate import ZERO, Fault, Position, RatingInput, rate

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

    @property
    def id(self) -> str:
        """The id that follows from what it bills."""
        return str(self.content["id"])

    @property
    def stopped(self) -> bool:
        """Whether it may not be issued as it is."""
        return any(issue.severity is Severity.CRITICAL for issue in self.issues)


def compose(
    catalog: Catalog,
    payer: str,
    currency: str,
    instant: Instant,
    lines: Sequence[PlannedLine],
    usage: Usage,
    cause: str | None = None,
    edited_as: Sequence[str] = (),
) -> list[Composed]:
    """Return the documents of a cut, one an issuer; `usage` answers the lines' requests.

    `cause` is the id of the fact that caused the cut, where that is no period's end. What is billed
    early is no document where it is nothing; nor is a period without a line, unless asked for.
    `edited_as` are documents in whose place it is issued: it keeps what was edited on them, the
    last one's before that of others.
    """
    documents = []
    asked = {} if cause else periods_asked(catalog, payer, currency, instant)
    issuers = asked.keys() | {line.served.plan.issuer for line in lines}
    for ordinal, issuer in enumerate(sorted(issuers)):
        own = [line for line in lines if line.served.plan.issuer == issuer]
        cut = instant_text(instant)
        name = document_id_of(payer, currency, cause or cut, issuer)
        edits = _Edits(catalog.by_hand, (*edited_as, name))
        built, credited, issues = _built(catalog, edits, own, currency, usage)
        if issuer not in asked and all(line.runs for line in own) and not built and not issues:
            continue
        customer = customer_on(catalog, edits.names, payer)
        told = _taxed(catalog, name, issuer, customer, built, credited, issues)
        totals = Totals.sum(line_totals for _, line_totals in built)
        content: dict[str, Json] = {
            "format": FORMAT,
            "id": name,
            "kind": "invoice",
            "issuer": issuer,
            "customer": payer,
            "currency": currency,
            "billing_profile": dict(customer.profile),
            **told_of_itself(catalog, edits.names),
            "cut_instant": cut,
            **({} if cause is None else {"cause": cause}),
            **service_period(own, asked.get(issuer)),
            "totals": totals.json(),
            "lines": [line for line, _ in built],
            **told,
        }
        documents.append(Composed(issuer, "invoice", ordinal, content, tuple(issues)))
    return documents


def _taxed(
    catalog: Catalog,
    name: str,
    issuer: str,
    customer: Customer,
    built: list[tuple[Line, Totals]],
    credited: Mapping[int, Instant],
    issues: list[ValidationIssue],
) -> Mapping[str, Json]:
    """Give lines their tax, and return what content says of it: nothing where none applies."""
    told = catalog.issuers[issuer]
    if told.tax is None:
        return {}
    answers = catalog.deals.tax_answers.of(customer.id)
    found = taxed(name, told, customer, built, credited, answers)
    built[:] = found.lines
    issues += found.issues
    return found.told


@dataclass(frozen=True, slots=True)
class _Edits:
    """What was edited by hand on a document, the last of `names`, and on those it stands for."""

    by_hand: ByHand
    names: Sequence[str]

    def of(self, line: Line) -> LineEdit | None:
        """Return what a line is to say instead; of several edits the last document's."""
        for name in reversed(self.names):
            edits = self.by_hand.edits.get(name)
            if edits and (found := edits.get(line_id_in(name, line))):
                return found
        return None


_Built = list[tuple[Line, Totals]]


def _built(
    catalog: Catalog, edits: _Edits, own: Sequence[PlannedLine], currency: str, usage: Usage
) -> tuple[_Built, Mapping[int, Instant], list[ValidationIssue]]:
    """Return the lines of a document as they are edited, before tax, and what is wrong with them.

    Between them stands which of them give back what was billed, and since when. A line that cannot
    be rated is one of nothing, if an edit says what it comes to.
    """
    name = edits.names[-1]
    periods: dict[tuple[str, str], PricePeriod] = {}
    known = Known()
    built, issues = _Built(), list[ValidationIssue]()
    credited: dict[int, Instant] = {}
    for line in own:
        if line.credited_from is not None:
            credited[len(built)] = line.credited_from
        try:
            made = _lines(catalog, name, line, currency, usage, periods, known)
        except Unrated as failed:
            unpriced = flat_line(name, line.key, line.served, line.card, _unpriced(line), None)
            edit = edits.of(unpriced[0])
            if edit is None or not edit.prices:
                plan, at = line.served.plan.id, str(unpriced[0]["id"])
                issues.append(unrated(name, line.key, plan, failed.fault, at))
                continue
            made = [unpriced]
        built += made if line.sub_account is None else map(_told_of, repeat(line.sub_account), made)
    if any(each in catalog.by_hand.edits for each in edits.names):
        told = ((line, totals, edits.of(line)) for line, totals in built)
        built = [(line, of) if edit is None else edited(line, of, edit) for line, of, edit in told]
    return built, credited, issues


def _told_of(sub_account: str, built: tuple[Line, Totals]) -> tuple[Line, Totals]:
    """Return a line, and its children, as one of a sub-account."""
    line, totals = built
    own: Line = {"sub_account": sub_account}
    children: list[Json] = [{**child, **own} for child in cast(list[Line], line["children"])]
    return {**line, **own, "children": children}, totals


def _unpriced(line: PlannedLine) -> Fee:
    """Return the fee of a line that cannot be rated, to be edited: one of nothing."""
    period, card = line.served.period, line.card
    told = card_told(line.key, line.served, card)
    return Fee(period.start, period.end, card.name, "1", "0", 0, (), told)


def _lines(
    catalog: Catalog,
    document_id: str,
    line: PlannedLine,
    currency: str,
    usage: Usage,
    periods: dict[tuple[str, str], PricePeriod],
    known: Known,
) -> list[tuple[Line, Totals]]:
    """Return the lines that a planned one becomes: one for each group of its usage.

    `periods` is what earlier lines of each price came to.
    """
    card, served = line.card, line.served
    if line.covered is not None:
        found = topped_up(catalog, line, currency, usage, known)
        return [top_up_line(document_id, line.key, served, card, found)]
    match line.fee:
        case Fee():
            flat = flat_line(document_id, line.key, served, card, line.fee, line.reason)
            return [flat if line.hand is None else (told_by_hand(line.hand, flat[0]), flat[1])]
        case Fault():
            raise Unrated(line.fee)
        case None:
            pass
    if line.hand is not None:
        return [_priced_by_hand(catalog, document_id, line, line.hand)]
    source, meter, made = (line.key.subscription, line.key.price), meter_of(catalog, line), []
    if line.opens or source not in periods:
        periods[source] = PricePeriod()
    period = periods[source]
    for group, left in worked(catalog, line, currency, usage, period, known).items():
        if line.runs and left.bills_nothing:
            continue
        key = replace(line.key, group=group)
        made.append(
            usage_line(
                document_id,
                key,
                served,
                card,
                meter,
                (left.quantity, left.before),
                left.details,
                left.foreign,
                _position(line),
                line.early[0] if line.is_credit else None,
            )
        )
    return made


def _priced_by_hand(
    catalog: Catalog, document_id: str, line: PlannedLine, hand: HandLine
) -> tuple[Line, Totals]:
    """Return a line of a catalog's price for a quantity that was told, not metered."""
    card, meter = line.card, catalog.meters[cast(str, line.card.meter)]
    reductions = card.terms.reductions(line.served.index)
    asked = RatingInput(hand.currency, card.price, hand.quantity)
    rated = rate(card.terms.added(asked, line.served.index))
    if isinstance(rated, Fault):
        raise Unrated(rated)
    details = details_of(rated, card, reductions)
    quantities = (hand.quantity, ZERO)
    built, totals = usage_line(document_id, line.key, line.served, card, meter, quantities, details)
    return told_by_hand(hand, built), totals


def _position(line: PlannedLine) -> Position | None:
    """Return where a line stands, where its period has lines on several documents."""
    if line.runs:
        return Position.MID if line.early else Position.FIRST
    return Position.LAST if line.early and not line.is_credit else None


def service_period(lines: Sequence[PlannedLine], empty: Period | None) -> dict[str, Json]:
    """Return what a document is about: what was served, or only what is paid in advance.

    Of one without a line the `empty` period.
    """
    billed = [line for line in lines if line.hand is None]
    periods = [line.served.period for line in billed if not line.card.in_advance]
    periods = periods or [line.served.period for line in billed]
    periods = periods or [line.served.period for line in lines]
    if not periods and empty is not None:
        periods = [empty]
    return {
        "period_start": instant_text(min(period.start for period in periods)),
        "period_end": instant_text(max(period.end for period in periods)),
    }
