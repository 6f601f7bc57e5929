"""`talea invoices dispute`: a customer contests an invoice; accepted it makes a note."""

from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.cli.correcting import (
    Amount,
    Lines,
    Number,
    Quantity,
    about,
    await_documents,
    issued,
    of_parts,
    tell,
    write,
)
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.invoice.disputing import Ruling
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.workers.announcing import await_named
from pipeline.workers.contesting import contesting
from pipeline.workers.paying import happened


def dispute(
    number: Number,
    actor: Actor,
    reason: Reason,
    accept: Annotated[bool, typer.Option("--accept", help="Credit what is disputed.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Leave the invoice as it is.")] = False,
    line: Lines = None,
    quantity: Quantity = None,
    amount: Amount = None,
    json: AsJson = False,
) -> None:
    """Open the dispute of an invoice, with what its lines rest on; or end it.

    An accepted one makes a credit note: of the lines that are disputed, or of what --line,
    --quantity and --amount say.
    """
    if accept and reject:
        raise BadInput("--accept or --reject: say one of them")
    ruling = Ruling.ACCEPTED if accept else Ruling.REJECTED if reject else Ruling.OPEN
    if ruling is not Ruling.ACCEPTED and (quantity or amount):
        raise BadInput("--quantity and --amount say what an accepted dispute credits: --accept it")
    author = Author(actor, reason)
    with any_stack() as around, around.database.session("disputing") as connection:
        document = issued(connection, number)
        at = now(connection)
        wanted = about(document, at, FactKind.CREDIT_NOTE, "dispute", None)
        wanted = of_parts(wanted, line, quantity, amount)

        def decide(session: Session, log: FactLog, known: Sequence[Fact]) -> list[NewFact]:
            return contesting(session, log, known, document, wanted, ruling, author)

        try:
            with connection.transaction():
                written = write(connection, decide, author)
                happened(connection, written)
        except ValueError as error:  # its events are not those of a moment ago
            raise BadInput(str(error)) from None
        await_named(around, written[-1].serial)
        notes = [fact for fact in written if fact.kind is FactKind.CREDIT_NOTE]
        made = await_documents(connection, document.payer, notes)
    tell(written, made, json=json)
