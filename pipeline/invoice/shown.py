"""Shown: an issued document with all that is known of it, as its readers rely on it.

Owns: which fields an issued document and its lines have, and what each line goes back to.
Does not own: content, issue record, events (their modules), printing (cli).
Law: a field that is absent is null, never missing; the provenance of a line names the fact that
sold it, also where it counts no usage.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.invoice.lifecycle import InvoiceEvent, Standing, stands
from pipeline.invoice.marketplace import statements
from pipeline.invoice.totals import Totals

Record = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued document: what is sealed, what happened to it, and the facts it goes back to."""

    number: str
    content: Record
    record: Record
    seal: str
    before_issue: Standing
    events: tuple[InvoiceEvent, ...]
    facts: tuple[Fact, ...]
    """Those of `subjects`, in their order, up to the last that entered it; and its cause."""
    issues: tuple[Record, ...] = ()
    """What was said of it as it was prepared."""


_SELLING = (FactKind.SUBSCRIPTION, FactKind.ORDER, FactKind.HAND_LINE, FactKind.LINE_EDIT)


def subjects(content: Record) -> list[str]:
    """Return what the facts are about that a document goes back to."""
    lines = cast(list[Record], content["lines"])
    return sorted({name for line in lines for name in (_sold_by(line), str(line["id"]))})


def shown(issued: Issued, now: Instant) -> dict[str, Json]:
    """Return a document with every field that is told of one."""
    content, record = issued.content, issued.record
    standing = stands(issued.before_issue, issued.events)
    about = {fact.subject: fact for fact in issued.facts if fact.kind in _SELLING}
    cause = next((fact for fact in issued.facts if fact.id == content.get("cause")), None)
    lines = [_line(line, record, about, cause) for line in cast(list[Record], content["lines"])]
    return {
        **_UNTOLD,
        **content,
        "number": issued.number,
        **standing.json(),
        "events": [event.json() for event in issued.events],
        "issued_at": record["issued_at"],
        "due_at": record["due_at"],
        "overdue": standing.overdue(parse_instant(record["due_at"]), now),
        "catalog_revision": record["fact_position_cut"],
        "validation_issues": [{**issue} for issue in issued.issues],
        "lines": [*lines],
        "marketplace": [each.json() for each in statements(content)],
        "settlement": record["settlement"],
        "issue_record": {**record},
        "seal": issued.seal,
    }


_UNTOLD: Record = {"purchase_order": None, "memo": None, "payment_days": None}
"""What content has only where it was told on the draft."""


def _line(
    line: Record, record: Record, about: Mapping[str, Fact], cause: Fact | None
) -> dict[str, Json]:
    """Return a line and its children, each with what it goes back to."""
    fact, edit = about.get(_sold_by(line)) or cause, about.get(str(line["id"]))
    provenance: dict[str, Json] = {
        **cast(Record, record["evidence"]),
        "fact": None if fact is None else _told(fact),
        "edited_by": None if edit is None else _told(edit),
    }
    children = cast(list[Record], line["children"])
    kept: list[Json] = [
        {"sub_account": None, **child, "provenance": {**provenance}} for child in children
    ]
    return {"sub_account": None, **line, "provenance": provenance, "children": kept}


def _sold_by(line: Record) -> str:
    """Return the line by hand, the order or the subscription that a line is of."""
    card = cast("Record | None", line["rate_card"]) or {}
    return str(card.get("by_hand") or card.get("order") or line["subscription"])


def _told(fact: Fact) -> dict[str, Json]:
    return {
        "serial": fact.serial,
        "id": fact.id,
        "kind": fact.kind.value,
        "subject": fact.subject,
        "actor": fact.actor,
        "reason": fact.reason,
    }


DOCUMENT_FIELDS = (
    "number",
    "state",
    "customer",
    "billing_profile",
    "currency",
    "issued_at",
    "due_at",
    "period_start",
    "period_end",
    "catalog_revision",
    "totals",
    "validation_issues",
    "seal",
    "lines",
)
"""What every issued document says."""
LINE_FIELDS = (
    "id",
    "type",
    "line_kind",
    "category",
    "name",
    "description",
    "status",
    "managed_by",
    "source_type",
    "source_id",
    "subscription",
    "meter",
    "sku",
    "quantity",
    "unit_amount",
    "amount_minor",
    "subtotal_minor",
    "total_minor",
    "currency",
    "payment_term",
    "invoice_at",
    "tax_amount_minor",
    "tax_code",
    "tax_jurisdiction",
    "period_start",
    "period_end",
    "metered_quantity",
    "pre_line_quantity",
    "discounts",
    "resource_ids",
    "metadata",
    "external_reference",
    "reason_code",
    "fx",
    "rate_card",
    "provenance",
    "totals",
    "children",
)
"""What every line says, null where there is nothing to say."""
NEVER_NULL = (
    "id",
    "type",
    "line_kind",
    "status",
    "source_type",
    "description",
    "quantity",
    "unit_amount",
    "total_minor",
    "currency",
    "period_start",
    "period_end",
    "rate_card",
    "provenance",
    "totals",
)
"""What no line leaves open."""


def contract_faults(told: Record) -> Iterator[str]:
    """Yield where a document that is shown breaks what its readers rely on."""
    yield from [*_lost_fields(told)] or _wrong_figures(told)


def _lost_fields(told: Record) -> Iterator[str]:
    """Yield which fields are missing, or null where that is not allowed."""
    yield from (f"no {name}" for name in DOCUMENT_FIELDS if name not in told)
    yield from _lost_totals("document", told)
    for line in cast(list[Record], told.get("lines") or []):
        for each in (line, *cast(list[Record], line.get("children") or [])):
            at = each.get("id")
            yield from (f"{at}: no {name}" for name in LINE_FIELDS if name not in each)
            yield from (f"{at}: null {name}" for name in NEVER_NULL if each.get(name) is None)
            yield from _lost_totals(str(at), each)


def _lost_totals(name: str, told: Record) -> Iterator[str]:
    known = cast(Record, told.get("totals") or {})
    yield from (f"{name}: no totals.{each}" for each in Totals().json() if each not in known)


def _wrong_figures(told: Record) -> Iterator[str]:
    """Yield which figures do not come to each other, and what goes back to no fact."""
    lines = cast(list[Record], told["lines"])
    yield from _total_faults("document", told)
    yield from sum_faults("document", told, lines)
    for line in lines:
        children = cast(list[Record], line["children"])
        if children:
            yield from sum_faults(str(line["id"]), line, children)
        for each in (line, *children):
            yield from _line_faults(each)


def _line_faults(line: Record) -> Iterator[str]:
    if not line["meter"] and not cast(Record, line["provenance"]).get("fact"):
        yield f"{line['id']}: nobody knows which fact it goes back to"
    yield from _total_faults(str(line["id"]), line)
    totals = Totals.of_json(line["totals"])
    if line["total_minor"] != totals.total:
        yield f"{line['id']}: total_minor is not that of its totals"
    if line["subtotal_minor"] != totals.amount + totals.charges_total:
        yield f"{line['id']}: subtotal_minor is not amount and charges"


def _total_faults(name: str, told: Record) -> Iterator[str]:
    """Yield where the seven totals do not come to each other."""
    totals = Totals.of_json(told["totals"])
    came = totals.amount + totals.charges_total - totals.discounts_total
    if totals.total != came + totals.taxes_exclusive_total:
        yield f"{name}: its total is not amount + charges - discounts + exclusive taxes"
    if totals.taxes_total != totals.taxes_inclusive_total + totals.taxes_exclusive_total:
        yield f"{name}: its taxes are not the inclusive and the exclusive ones"


def sum_faults(name: str, parent: Record, children: Iterable[Record]) -> Iterator[str]:
    """Yield which of the seven totals of a parent are not the sums of its children's."""
    parts = [cast(Mapping[str, int], child["totals"]) for child in children]
    for key, total in cast(Mapping[str, int], parent["totals"]).items():
        if total != sum(part[key] for part in parts):
            yield f"{name}: {key} is not the sum of its parts"
