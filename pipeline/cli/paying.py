"""`talea invoices pay, pay-back, write-off, revenue`: money at the edge, recorded and never moved.

A payment is a fact and an event of its invoice, known by the reference it has outside: twice is
once. No card data has a place in it.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.fields import parse_id
from pipeline.cli.deciding import decided_with, tell
from pipeline.cli.options import Actor, AsJson, Reason, minor_of, number_of
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, State, stands, told_twice
from pipeline.invoice.marketplace import payouts
from pipeline.invoice.revenue import By, revenue
from pipeline.invoice.text import payouts_text
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.documents import Document, find_document, read_documents
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.life import read_events, record_event
from pipeline.stores.postgres.session import Session

Number = Annotated[str, typer.Argument(help="Invoice number.")]
Amount = Annotated[str, typer.Option(help="How much, like 25.00.")]
Reference = Annotated[str, typer.Option(help="What it is known by outside; twice is once.")]


def pay(
    number: Number,
    amount: Amount,
    reference: Reference,
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Record a payment of an invoice: all that is left of it, or a part."""
    kinds = FactKind.PAYMENT, EventKind.PAID
    tell(_record(number, amount, reference, kinds, Author(actor, reason)), json=json)


def pay_back(
    number: Number,
    amount: Amount,
    reference: Reference,
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Record that money of an invoice went back: no more than was paid."""
    kinds = FactKind.PAID_BACK, EventKind.REFUNDED
    tell(_record(number, amount, reference, kinds, Author(actor, reason)), json=json)


def write_off(number: Number, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Say that what is left of an invoice will not be paid; a payment may still come."""
    author = Author(actor, reason)

    def event(connection: Session) -> InvoiceEvent:
        return InvoiceEvent(EventKind.WRITTEN_OFF, actor, reason, now(connection))

    def decide(connection: Session, _: Catalog) -> Sequence[NewFact]:
        document = _found(connection, number)
        standing = stands(document.before_issue, read_events(connection, document.id))
        if standing.state is State.UNCOLLECTIBLE:
            return []
        standing.after(event(connection))
        body: dict[str, Json] = {"document": document.id, "number": number}
        return [NewFact(FactKind.WRITE_OFF, document.id, body)]

    def then(connection: Session, written: Sequence[Fact]) -> None:
        if written:
            document = _found(connection, number)
            record_event(connection, document.id, document.before_issue, event(connection))

    tell(decided_with(decide, author, then), json=json)


def _record(
    number: str, amount: str, reference: str, kinds: tuple[FactKind, EventKind], author: Author
) -> list[Fact]:
    """Write a fact and its event at once."""
    kind, happened = kinds

    def event(connection: Session, document: Document) -> InvoiceEvent:
        minor = minor_of("--amount", number_of("--amount", amount), document.currency)
        known_by = parse_id(reference)
        return InvoiceEvent(happened, author.actor, author.reason, now(connection), minor, known_by)

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        document = _found(connection, number)
        new, events = event(connection, document), read_events(connection, document.id)
        if any(told_twice(each, new) for each in events):
            return []
        stands(document.before_issue, events).after(new)
        body: dict[str, Json] = {
            "document": document.id,
            "number": number,
            "currency": document.currency,
            "amount_minor": new.amount_minor,
            "reference": reference,
        }
        return [NewFact(kind, f"{document.id}/{reference}", body)]

    def then(connection: Session, written: Sequence[Fact]) -> None:
        if written:
            document = _found(connection, number)
            new = event(connection, document)
            record_event(connection, document.id, document.before_issue, new)

    return decided_with(decide, author, then)


def _found(connection: Session, number: str) -> Document:
    document = find_document(connection, number)
    if document is None:
        raise ValueError(f"no invoice {number}: `talea invoices list` shows all")
    if document.kind != "invoice":
        raise ValueError(f"{number} is a note: record what is paid against its invoice")
    return document


def show_revenue(
    by: Annotated[By, typer.Option(help="What to group by.")] = By.PRODUCT,
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    json: AsJson = False,
) -> None:
    """Show what issued documents billed, by where it came from; notes are in it."""
    with any_stack() as around, around.database.session("revenue") as connection:
        found = revenue((each.content for each in read_documents(connection, customer)), by)
    if json:
        print_json([each.json() for each in found])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(by.value)
    for name in ("lines", "net", "tax", "total"):
        table.add_column(name, justify="right")
    for each in found:
        amounts = (each.net_minor, each.tax_minor, each.total_minor)
        net, tax, total = (Money(amount, each.currency).text for amount in amounts)
        row = (each.group, str(each.lines), net, tax, f"{total} {each.currency}")
        table.add_row(*map(Text, row))
    out.print(table if found else "no invoices yet")


def show_payouts(
    number: Annotated[str | None, typer.Argument(help="Only of this document.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only of this seller.")] = None,
    json: AsJson = False,
) -> None:
    """Show what sellers are paid out of issued documents, and what is kept; notes take off."""
    with any_stack() as around, around.database.session("payouts") as connection:
        known = read_documents(connection)
    documents = [each for each in known if number in (None, each.sealed.number)]
    if number is not None and not documents:
        raise BadInput(f"no document {number}: `talea invoices list` shows all")
    if json:
        told = ((each.sealed.number, each.content) for each in documents)
        print_json([*payouts(told, seller)])
        return
    pages = [
        f"{each.sealed.number}  {text}"
        for each in documents
        if (text := payouts_text(each.content, seller))
    ]
    out.print("\n".join(pages) or "nothing is sold for others", markup=False, soft_wrap=True)


COMMANDS: dict[str, Callable[..., None]] = {
    "pay": pay,
    "pay-back": pay_back,
    "write-off": write_off,
    "revenue": show_revenue,
    "payouts": show_payouts,
}
