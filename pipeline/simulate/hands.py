"""Hands: what people draw up to say of single documents, in the story of one seed.

Owns: which line of a draft is edited to what, what is held; whether a draft is still open to it.
Does not own: when, and by which process (operators.py), what documents make of it (edited.py).
"""

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import cast

from pipeline.catalog.by_hand import LineEdit
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import horizon_at
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.hand_rules import approving, editing, holding, retrying
from pipeline.core.identity import Json
from pipeline.simulate.database import Tables
from pipeline.simulate.folding import catalog_of
from pipeline.stores.postgres.drafts import Draft


def is_open(tables: Tables, catalog: Catalog, draft: Draft) -> bool:
    """Return whether a draft's document is neither prepared nor about to be cut."""
    place = draft.payer, draft.currency, draft.instant
    last, _ = tables.ticks[len(tables.ticks)]
    if place in tables.cuts:
        return place in tables.unprepared
    return horizon_at(catalog, last) < draft.instant


def drawn_edit(random: Random, draft: Draft) -> LineEdit | None:
    """Return what some line of a draft is to say; now and then only what it is called."""
    lines = cast(list[dict[str, Json]], draft.content["lines"])
    if not lines:
        return None
    line = str(random.choice(lines)["id"])
    name = random.choice([None, None, "as agreed"])
    quantity, unit, amount = None, None, None
    match random.choice(["amount", "amount", "price", "quantity", "name"]):
        case "amount":
            amount = random.choice([0, random.randint(1, 99_999), -random.randint(1, 99)])
        case "price":
            unit = Fraction(random.randint(0, 9_999), 1_000)
            quantity = Fraction(random.randint(0, 40), 4)
        case "quantity":
            quantity, amount = Fraction(random.randint(1, 40), 4), random.randint(1, 99_999)
        case _:
            name = "as agreed"
    return LineEdit(
        document=draft.id,
        customer=draft.payer,
        line=line,
        name=name,
        quantity=quantity,
        unit_amount=unit,
        amount_minor=amount,
    )


def edited_by_hand(
    tables: Tables, draft: Draft, wanted: LineEdit, known: Sequence[Fact]
) -> list[NewFact]:
    """Return the edit of a draft's line, unless its document is closed to it."""
    catalog = catalog_of(known)
    return editing(catalog, wanted) if is_open(tables, catalog, draft) else []


def approved(tables: Tables, draft: Draft, known: Sequence[Fact]) -> list[NewFact]:
    """Return that a draft's document may be issued, unless that is decided."""
    catalog = catalog_of(known)
    return approving(catalog, draft.id) if is_open(tables, catalog, draft) else []


def retried(draft: Draft, _known: Sequence[Fact]) -> list[NewFact]:
    """Return that a draft's document is to be composed once more."""
    return retrying(draft.id)


def held(random: Random, known: Sequence[Fact]) -> list[NewFact]:
    """Return that something is held: everything, a customer, or a price; nothing where it is."""
    catalog = catalog_of(known)
    payers = [name for name in sorted(catalog.customers) if catalog.accounts.payer(name) == name]
    prices = [f"{plan.id}/{each.id}" for plan in catalog.plans.values() for each in plan.prices]
    scope = random.choice(["all", "customer", "customer", "price", "price"])
    names = {"all": None, "customer": random.choice(payers), "price": random.choice(prices)}
    return holding(catalog, scope, names[scope], on=True)


def released(known: Sequence[Fact]) -> list[NewFact]:
    """Return that nothing is held any more."""
    last = {fact.subject: fact for fact in known if fact.kind is FactKind.HOLD}
    return [
        NewFact(FactKind.HOLD, name, {**fact.body, "on": False})
        for name, fact in last.items()
        if fact.body["on"]
    ]
