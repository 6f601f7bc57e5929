"""Hand rules: what may be decided of single documents by hand.

Owns: the facts of holds, approvals, lines and edits, and why one is refused.
Does not own: their records (by_hand.py), whether a document is still open (workers/deciding.py).
Law: the same decision twice is one fact.
"""

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction

from pipeline.catalog.by_hand import DocumentEdit, HandLine, LineEdit
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.meter.scope import EVERYTHING
from pipeline.rate import NO_TERMS, FlatPrice


def holding(catalog: Catalog, scope: str, name: str | None, *, on: bool) -> list[NewFact]:
    """Return the fact that holds something, or releases it; none where that is so.

    Raises:
        ValueError: there is no such customer or price.

    """
    holds = catalog.by_hand.holds
    if scope == "customer" and name not in catalog.customers:
        raise ValueError(f"no customer {name}: `talea catalog show customer` lists all")
    payer = catalog.accounts.payer(name or "")
    if scope == "customer" and on and payer != name:
        raise ValueError(f"{name} is invoiced to its parent: hold {payer}")
    if scope == "price" and on and name not in _price_names(catalog):
        raise ValueError(f"no plan has a price {name}: write PRICE or PLAN/PRICE")
    held = {
        "all": holds.everything,
        "customer": name in holds.customers,
        "price": name in holds.prices,
    }
    if held[scope] == on:
        return []
    subject = scope if name is None else f"{scope}/{name}"
    return [NewFact(FactKind.HOLD, subject, {"scope": scope, "name": name, "on": on})]


def _price_names(catalog: Catalog) -> set[str]:
    plans = catalog.plans.values()
    return {n for plan in plans for p in plan.prices for n in (p.id, f"{plan.id}/{p.id}")}


def approving(catalog: Catalog, document: str) -> list[NewFact]:
    """Return the fact that a document may be issued; none where it stands."""
    if document in catalog.by_hand.approvals:
        return []
    return [NewFact(FactKind.APPROVAL, document, {"document": document})]


def retrying(document: str) -> list[NewFact]:
    """Return the fact that a document is to be composed once more."""
    return [NewFact(FactKind.RETRY, document, {"document": document})]


def waiving(catalog: Catalog, issue: str) -> list[NewFact]:
    """Return the fact that a validation issue is accepted as it is; none where it stands."""
    if issue in catalog.by_hand.waivers:
        return []
    return [NewFact(FactKind.ISSUE_WAIVER, issue, {"issue": issue})]


def own_price(name: str, label: str, unit_amount: Fraction, quantity: Fraction) -> PlanPrice:
    """Return a price that is told with its line."""
    configured: dict[str, Json] = {"type": "flat", "amount": quantity_text(unit_amount)}
    terms = NO_TERMS.of_quantity(quantity)
    return PlanPrice(name, label, None, FlatPrice(unit_amount), configured, terms=terms)


def listed_price(catalog: Catalog, named: str, currency: str, quantity: Fraction) -> PlanPrice:
    """Return a plan's price as it is listed, for so many: without the plan's discounts.

    Raises:
        ValueError: there is none, or none in the currency.

    """
    plan_id, _, price_id = named.partition("/")
    plan = catalog.plans.get(plan_id)
    found = next((p for p in plan.prices if p.id == price_id), None) if plan else None
    if plan is None or found is None:
        raise ValueError(f"no price {named} is in force: write PLAN/PRICE")
    card = found.in_currency(plan.currency, currency)
    if card.currency is not None:
        raise ValueError(f"price {named} has no {currency}: use --unit-amount")
    terms = NO_TERMS if card.meter else NO_TERMS.of_quantity(quantity)
    return replace(card, terms=terms, scope=EVERYTHING, currencies={})


def adding(catalog: Catalog, wanted: HandLine) -> list[NewFact]:
    """Return the fact that adds a line; none where this very one stands.

    Raises:
        ValueError: it is of nothing, its sign is not that of its type, or its id is taken.

    """
    price = wanted.card.price
    if wanted.quantity <= 0:
        raise ValueError("--quantity is above zero: write --type credit to take something off")
    if (
        isinstance(price, FlatPrice)
        and price.amount * wanted.quantity > 0
        and wanted.type.gives_back
    ):
        raise ValueError(f"a {wanted.type} is below zero: write --unit-amount=-5.00")
    if isinstance(price, FlatPrice) and price.amount < 0 and wanted.type in ("charge", "fee"):
        raise ValueError(f"a {wanted.type} is not below zero: use --type credit or adjustment")
    owned = catalog.by_hand.lines
    before = next((own[wanted.id] for own in owned.values() if wanted.id in own), None)
    if before is None:
        return [NewFact(FactKind.HAND_LINE, wanted.id, wanted.body())]
    if replace(wanted, at=before.at).body() != before.body():
        raise ValueError(f"line {wanted.id} stands already, otherwise: choose another --id")
    return []


def editing(catalog: Catalog, wanted: LineEdit) -> list[NewFact]:
    """Return the fact that edits a line, on top of what was edited of it; none where that is so."""
    before = catalog.by_hand.edits.get(wanted.document, {}).get(wanted.line)
    if before is not None:
        names = ("name", "description", "quantity", "unit_amount", "amount_minor")
        kept = {n: getattr(before, n) for n in names if getattr(wanted, n) is None}
        if wanted.prices:  # a price that is told anew is told whole
            kept = {n: kept[n] for n in kept if n in ("name", "description")}
        reference = wanted.external_reference or before.external_reference
        wanted = replace(wanted, external_reference=reference, **kept)
        if wanted.body() == before.body():
            return []
    return [NewFact(FactKind.LINE_EDIT, wanted.line, wanted.body())]


WORKFLOW = ("purchase_order", "memo", "payment_days")
"""What a document may be told of itself, besides values of its customer's profile."""


def telling(catalog: Catalog, wanted: DocumentEdit, gone: Collection[str]) -> list[NewFact]:
    """Return the fact that edits a document, on top of what was edited; none where that is so.

    Edits of what is `gone` are taken back: of that it says what it would.
    """
    nothing = DocumentEdit(wanted.document, wanted.customer)
    before = catalog.by_hand.documents.get(wanted.document, nothing)
    body, told = before.body(), wanted.body()
    body |= {name: told[name] for name in WORKFLOW if told[name] is not None}
    body |= {name: None for name in WORKFLOW if name in gone}
    profile = {**before.profile, **wanted.profile}
    body["profile"] = {name: value for name, value in profile.items() if name not in gone}
    if body == before.body():
        return []
    return [NewFact(FactKind.DOCUMENT_EDIT, wanted.document, body)]
