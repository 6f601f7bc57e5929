"""Workflow: what may not be issued yet, as the auditor reads facts.

Owns: that nothing is issued while it is held, nor without an approval that its customer asks for.
Does not own: what documents say (billing.py), who decides (hands.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing
from pipeline.simulate.database import MemoryDatabase
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""


def workflow_faults(database: MemoryDatabase, billing: Billing) -> Iterator[Fault]:
    """Yield every document that was issued, or prepared, though it had to wait."""
    approvals = {
        fact.subject: fact.serial for fact in billing.facts if fact.kind is FactKind.APPROVAL
    }
    holds = [fact for fact in billing.facts if fact.kind is FactKind.HOLD]
    for document in database.tables.documents.values():
        name, number = document.id, document.sealed.number
        prepared, issued = database.prepared_at[name], database.issued_at[name]
        if document.payer in _held(holds, "customer", issued) or _held(holds, "all", issued):
            yield "held", f"{number} was issued at fact {issued}, and held"
        if _held(holds, "price", prepared) & _prices(document):
            yield "held", f"{number} was prepared at fact {prepared}, and a price of it held"
        tick = billing.witness.ticks[document.cut_serial]
        customer = billing.book(tick.fact_position).latest["customer", document.payer]
        asked = document.kind == "invoice" and customer.get("approval") is True
        if asked and approvals.get(name, prepared + 1) > prepared:
            yield "held", f"{number} was prepared at fact {prepared}, and nobody had approved it"


def _held(holds: Sequence[Fact], scope: str, position: int) -> set[Json]:
    """Return the names that are held of a scope, as of a position."""
    last: dict[Json, Mapping[str, Json]] = {}
    for fact in holds:
        if fact.serial <= position and fact.body["scope"] == scope:
            last[fact.body["name"]] = fact.body
    return {name for name, body in last.items() if body["on"]}


def _prices(document: Document) -> set[Json]:
    cards = (each["rate_card"] for each in cast(list[Body], document.content["lines"]))
    known = (cast(Body, card) for card in cards if card is not None)
    return {f"{card.get('plan')}/{card.get('id')}" for card in known}
