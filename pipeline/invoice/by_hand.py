"""By hand, on the document: the lines that people add, and what they say of others and of it.

Owns: which lines by hand a document has, their fields, what an edit makes of a line, of a document.
Does not own: the decisions (catalog/by_hand.py), prices (rate), taxes (taxed.py).
Law: a line by hand is on one document; an edited line says what its edit says, whatever its usage
becomes; children of a line whose amount is edited explain nothing any more and are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from pipeline.catalog.by_hand import HandLine, LineEdit
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer
from pipeline.catalog.orders import Order
from pipeline.catalog.periods import ServicePeriod, ordered
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.money import Money, minor_digits
from pipeline.core.quantity import exact, quantity_text
from pipeline.invoice.lines import Line, LineKey, document_id_of, money_fields
from pipeline.invoice.totals import Totals


def hand_lines(catalog: Catalog, payer: str, currency: str, instant: Instant) -> Iterator[HandLine]:
    """Yield the lines by hand that a document of a cut may have, if none before had them.

    After the cut, at whose facts the catalog is, only a line that names the document is added.
    """
    for line in catalog.by_hand.lines.get(payer, {}).values():
        if line.currency != currency:
            continue
        if line.document is not None:
            if line.document == document_id_of(payer, currency, instant_text(instant), line.issuer):
                yield line
        elif line.at <= instant and line.position <= catalog.position:
            yield line


def takes_lines(content: Mapping[str, Json]) -> bool:
    """Whether a line by hand that names a document is on it: it bills what fell due at a cut.

    No other one asks for them: one that stands for a void one, bills early or corrects another.
    """
    whose = (str(content[name]) for name in ("customer", "currency", "cut_instant", "issuer"))
    return content["id"] == document_id_of(*whose)


def key_of(line: HandLine) -> LineKey:
    """Return what a line by hand is billed as."""
    return LineKey("", line.id, line.at)


def served_by_hand(catalog: Catalog, line: HandLine) -> ServicePeriod:
    """Return when a line by hand is served: at its instant."""
    order = Order(line.id, line.customer, line.issuer, line.currency, line.at, 0, (line.card,))
    return ordered(order, catalog.customers[line.customer])


def card_by_hand(line: HandLine) -> dict[str, Json]:
    """Return the rate card of a line by hand as the line tells it."""
    card = line.card
    return {
        "by_hand": line.id,
        **({} if line.plan is None else {"plan": line.plan}),
        "id": card.id,
        "meter": card.meter,
        "price": dict(card.configured),
        **card.terms_json(),
        **({} if card.tax is None else {"tax": card.tax.body()}),
        **({} if card.seller is None else {"seller": card.seller.body()}),
    }


def told_by_hand(line: HandLine, built: Line) -> Line:
    """Return a built line, and its children, as one by hand."""
    own: Line = {
        "type": line.type.value,
        "managed_by": "manual",
        "source_type": "adjustment" if line.plan is None else "price",
        "source_id": line.id if line.plan is None else f"{line.plan}/{line.card.id}",
        "external_reference": line.external_reference,
        "metered_quantity": None,
        "pre_line_quantity": None,
        "rate_card": card_by_hand(line),
    }
    children: list[Json] = [
        {**child, **own}  # type: ignore[dict-item]
        for child in built["children"]  # type: ignore[union-attr]
    ]
    return {**built, **own, "children": children}


def customer_on(catalog: Catalog, documents: Sequence[str], payer: str) -> Customer:
    """Return the customer of a document, the last of these, as it and those before it tell it."""
    known, told = catalog.customers[payer], catalog.by_hand.documents
    profile = dict(known.profile)
    for each in documents:
        profile |= told[each].profile if each in told else {}
    return replace(known, profile=profile)


def told_of_itself(catalog: Catalog, documents: Sequence[str]) -> dict[str, Json]:
    """Return what a document, or those it stands for, say of their order, terms and the like."""
    told = catalog.by_hand.documents
    return {
        name: value
        for each in documents
        if each in told
        for name, value in told[each].own().items()
    }


def edited(line: Line, totals: Totals, edit: LineEdit) -> tuple[Line, Totals]:
    """Return a line as its edit says it is."""
    own: Line = {"managed_by": "manual"}
    if edit.name is not None:
        own["name"] = edit.name
    if edit.description is not None:
        own["description"] = edit.description
    if edit.external_reference is not None:
        own["external_reference"] = edit.external_reference
    if not edit.prices:
        children: list[Json] = [
            {**child, "managed_by": "manual"}  # type: ignore[dict-item]
            for child in line["children"]  # type: ignore[union-attr]
        ]
        return {**line, **own, "children": children}, totals
    quantity, unit, minor = _priced(line, edit)
    totals = Totals.of(amount=minor)
    own |= {"quantity": quantity_text(quantity), "discounts": [], "children": [], "fx": None}
    return {**line, **own, **money_fields(unit, str(line["currency"]), totals)}, totals


def _priced(line: Mapping[str, Json], edit: LineEdit) -> tuple[Fraction, Fraction, int]:
    """Return quantity, unit amount and amount of an edited line."""
    currency = str(line["currency"])
    quantity = exact(str(line["quantity"])) if edit.quantity is None else edit.quantity
    if edit.amount_minor is not None:
        scale: int = 10 ** minor_digits(currency)
        whole = Fraction(edit.amount_minor, scale)
        unit = whole / quantity if quantity else Fraction(0)
        return quantity, unit if edit.unit_amount is None else edit.unit_amount, edit.amount_minor
    unit = exact(str(line["unit_amount"])) if edit.unit_amount is None else edit.unit_amount
    return quantity, unit, Money.rounded(quantity * unit, currency).minor
