"""Compose: the would-be document of a payer at a cut, from catalog and usage.

Owns: the documents of a cut, the ids, order and figures of their lines.
Does not own: which lines fall due (planned.py, parts.py), what they come to (worked.py), what was
used (stores), numbers and seals (ledger).
Law: same facts, same usage, same cut: same content, byte for byte. A draft is this very
document with the cut still ahead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json, derived_id
from pipeline.invoice.fees import Fee
from pipeline.invoice.issues import ValidationIssue, unrated
from pipeline.invoice.lines import Line, flat_line, usage_line
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.taxed import taxed
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage
from pipeline.invoice.worked import Period, Unrated, meter_of, worked
from pipeline.rate import Fault

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
    cause: str | None = None,
) -> list[Composed]:
    """Return the documents of a cut, one an issuer; `usage` answers the lines' requests.

    `cause` is the id of the fact that caused the cut, where that is no period's end.
    """
    documents = []
    for ordinal, issuer in enumerate(sorted({line.served.plan.issuer for line in lines})):
        own = [line for line in lines if line.served.plan.issuer == issuer]
        cut = instant_text(instant)
        document_id = _document_id(payer, currency, cause or cut, issuer)
        periods: dict[tuple[str, str], Period] = {}
        built, issues = list[tuple[Line, Totals]](), list[ValidationIssue]()
        credited: dict[int, Instant] = {}
        for line in own:
            if line.credited_from is not None:
                credited[len(built)] = line.credited_from
            try:
                built += _lines(catalog, document_id, line, currency, usage, periods)
            except Unrated as failed:
                plan = line.served.plan.id
                issues.append(unrated(document_id, line.key, plan, failed.fault))
        told = _taxed(catalog, document_id, issuer, payer, built, credited, issues)
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
            **({} if cause is None else {"cause": cause}),
            **_service_period(own),
            "totals": totals.json(),
            "lines": [line for line, _ in built],
            **told,
        }
        documents.append(Composed(issuer, "invoice", ordinal, content, tuple(issues)))
    return documents


def _taxed(
    catalog: Catalog,
    document_id: str,
    issuer: str,
    payer: str,
    built: list[tuple[Line, Totals]],
    credited: Mapping[int, Instant],
    issues: list[ValidationIssue],
) -> Mapping[str, Json]:
    """Give lines their tax, and return what content says of it: nothing where none applies."""
    told = catalog.issuers[issuer]
    if told.tax is None:
        return {}
    customer, answers = catalog.customers[payer], catalog.deals.tax_answers.get(payer, {})
    found = taxed(document_id, told, customer, built, credited, answers)
    built[:] = found.lines
    issues += found.issues
    return found.told


@lru_cache(maxsize=1 << 16)  # a draft is made again and again
def _document_id(payer: str, currency: str, cut: str, issuer: str) -> str:
    return derived_id("inv", payer, currency, cut, issuer)


def _lines(
    catalog: Catalog,
    document_id: str,
    line: PlannedLine,
    currency: str,
    usage: Usage,
    periods: dict[tuple[str, str], Period],
) -> list[tuple[Line, Totals]]:
    """Return the lines that a planned one becomes: one for each group of its usage.

    `periods` is what earlier lines of each price came to.
    """
    card, served = line.card, line.served
    match line.fee:
        case Fee():
            return [flat_line(document_id, line.key, served, card, line.fee, line.reason)]
        case Fault():
            raise Unrated(line.fee)
        case None:
            pass
    source, meter, made = (line.key.subscription, line.key.price), meter_of(catalog, line), []
    if line.opens or source not in periods:
        periods[source] = Period()
    for group, left in worked(catalog, line, currency, usage, periods[source]).items():
        key, quantities = replace(line.key, group=group), (left.quantity, left.before)
        made.append(
            usage_line(
                document_id, key, served, card, meter, quantities, left.details, left.foreign
            )
        )
    return made


def _service_period(lines: Sequence[PlannedLine]) -> dict[str, Json]:
    """Return what a document is about: what was served, or only what is paid in advance."""
    periods = [line.served.period for line in lines if not line.card.in_advance]
    periods = periods or [line.served.period for line in lines]
    return {
        "period_start": instant_text(min(period.start for period in periods)),
        "period_end": instant_text(max(period.end for period in periods)),
    }
