"""`talea invoices dispute`: a customer contests an invoice; accepted it makes a note."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, cast

import typer

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.corrections import Decision, Part
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
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.asking import asked
from pipeline.invoice.disputing import Ruling, ending, lines_disputed, opening
from pipeline.invoice.history import History
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, stands
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.life import read_events, record_event
from pipeline.stores.postgres.session import Session
from pipeline.workers.announcing import await_named
from pipeline.workers.correcting import history_of


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
            standing = stands(document.before_issue, read_events(session, document.id))
            standing.after(_event(ruling, author, at, "to come"))
            history = history_of(session, log.at, document.payer)
            return _decided(log, known, history, document, wanted, ruling)

        with connection.transaction():
            written = write(connection, decide, author)
            event = _event(ruling, author, at, written[0].id)
            record_event(connection, document.id, document.before_issue, event)
        await_named(around, written[-1].serial)
        notes = [fact for fact in written if fact.kind is FactKind.CREDIT_NOTE]
        made = await_documents(connection, document.payer, notes)
    tell(written, made, json=json)


def _decided(
    log: FactLog,
    known: Sequence[Fact],
    history: History,
    document: Document,
    wanted: Decision,
    ruling: Ruling,
) -> list[NewFact]:
    number, paper = document.sealed.number, history.find(document.id)
    if paper is None or paper.is_note:
        raise ValueError(f"{number} is a note: dispute the invoice that it corrects")
    if ruling is Ruling.OPEN:
        lines = [part.line for part in wanted.parts]
        evidence = cast(dict[str, Json], document.record["evidence"])
        return [opening(known, paper, lines, evidence, number)]
    ended, opened = ending(known, paper, ruling, number)
    if ruling is Ruling.REJECTED:
        return [ended]
    if wanted.amount_minor is None and not wanted.parts:
        wanted = replace(wanted, parts=tuple(map(Part, lines_disputed(opened))))
    credit = asked(log.at(log.head), history, replace(wanted, reference=opened.id), number)
    return [ended, credit.told()]


def _event(ruling: Ruling, author: Author, at: Instant, reference: str) -> InvoiceEvent:
    """Return what a ruling makes happen to its document."""
    kind = EventKind.DISPUTED if ruling is Ruling.OPEN else EventKind.DISPUTE_CLOSED
    return InvoiceEvent(kind, author.actor, author.reason, at, 0, reference)
