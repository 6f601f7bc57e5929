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
from pipeline.cli.deciding import decided_with, tell
from pipeline.cli.options import Actor, AsJson, Reason, minor_of, number_of
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.money import Money
from pipeline.invoice.marketplace import payouts
from pipeline.invoice.revenue import By, revenue
from pipeline.invoice.text import payouts_text
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.documents import Document, find_document, read_documents
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.workers.paying import Moved, happened, recording, writing_off

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
    author = Author(actor, reason)
    tell(_record(number, FactKind.PAYMENT, amount, reference, author), json=json)


def pay_back(
    number: Number,
    amount: Amount,
    reference: Reference,
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Record that money of an invoice went back: no more than was paid."""
    author = Author(actor, reason)
    tell(_record(number, FactKind.PAID_BACK, amount, reference, author), json=json)


def write_off(number: Number, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Say that what is left of an invoice will not be paid; a payment may still come."""
    author = Author(actor, reason)

    def decide(connection: Session, _: Catalog) -> Sequence[NewFact]:
        return writing_off(connection, _found(connection, number), author, now(connection))

    tell(decided_with(decide, author, happened), json=json)


def _record(number: str, kind: FactKind, amount: str, reference: str, author: Author) -> list[Fact]:
    def decide(connection: Session, _: Catalog) -> Sequence[NewFact]:
        document = _found(connection, number)
        minor = minor_of("--amount", number_of("--amount", amount), document.currency)
        moved = Moved(kind, minor, reference)
        return recording(connection, document, moved, author, now(connection))

    return decided_with(decide, author, happened)


def _found(connection: Session, number: str) -> Document:
    document = find_document(connection, number)
    if document is None:
        raise ValueError(f"no invoice {number}: `talea invoices list` shows all")
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
