"""Granting: which prepaid credits may be given, and taken back.

Owns: the facts of both, and why one is refused.  Does not own: what credits pay (invoice).
Law: the same decision twice is one fact.
"""

from collections.abc import Mapping
from fractions import Fraction

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.credits import Grant
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.core.identity import Json
from pipeline.core.money import whole_minor


def amount_minor(amount: Fraction, currency: str) -> int:
    """Return an amount that is granted, in minor units.

    Raises:
        ValueError: not above zero, or finer than the currency.

    """
    if amount <= 0:
        raise ValueError("a credit is above zero: use `talea credit void` to take one back")
    return whole_minor(amount, currency)


def granting(catalog: Catalog, wanted: Grant) -> list[NewFact]:
    """Return the fact that grants a credit; none where this very one is granted already.

    Raises:
        ValueError: it names what is not in force, or its id is taken.

    """
    known: dict[str, Mapping[str, object]] = {
        "customer": catalog.customers,
        "issuer": catalog.issuers,
        "meter": catalog.meters,
        "plan": catalog.plans,
    }
    named = [("customer", wanted.customer), ("issuer", wanted.issuer)]
    named += [("meter", meter) for meter in wanted.meters]
    named += [("plan", plan) for plan in wanted.plans]
    for kind, name in named:
        if name not in known[kind]:
            raise ValueError(f"no {kind} {name} is in force: `talea catalog show {kind}` lists all")
    payer = catalog.accounts.payer(wanted.customer)
    if payer != wanted.customer:
        raise ValueError(f"{wanted.customer} is invoiced to its parent: grant it to {payer}")
    if wanted.expires is not None and wanted.expires <= wanted.starts:
        raise ValueError("it expires before it starts: choose a later --expires")
    before = find(catalog, wanted.id)
    if before is None:
        return [NewFact(FactKind.CREDIT, wanted.id, wanted.body())]
    if before.body() != wanted.body() or before.voided:
        raise ValueError(f"credit {wanted.id} stands already, with other terms: choose another id")
    return []


def voiding(catalog: Catalog, grant_id: str) -> list[NewFact]:
    """Return the fact that takes back what is left of a credit; none where that was done.

    Raises:
        ValueError: there is no such credit.

    """
    found = find(catalog, grant_id)
    if found is None:
        raise ValueError(f"no credit {grant_id}: `talea credit list` shows all")
    if found.voided:
        return []
    body: dict[str, Json] = {"id": grant_id, "customer": found.customer}
    return [NewFact(FactKind.CREDIT_VOID, grant_id, body)]


def find(catalog: Catalog, grant_id: str) -> Grant | None:
    """Return the credit of an id."""
    return next((own[grant_id] for own in catalog.deals.credits.values() if grant_id in own), None)
