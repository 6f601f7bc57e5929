"""`talea invoices void, credit, debit, refund, dispute, correct`: decisions about issued documents.

Each is a fact with author and reason; the finalizer makes the note, at the first tick naming it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from time import monotonic, sleep
from typing import Annotated, cast

import typer

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.corrections import CUTTING, Decision, Part
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.cli.options import Actor, AsJson, Reason, minor_of, number_of
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.asking import correcting
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.documents import Document, find_document
from pipeline.stores.postgres.facts import Author, append_facts
from pipeline.stores.postgres.session import Session
from pipeline.workers.announcing import await_named
from pipeline.workers.correcting import asking, history_of

_PATIENCE_S = 20.0
_POLL_S = 0.1

Number = Annotated[str, typer.Argument(help="Invoice number.")]
Lines = Annotated[
    list[str] | None, typer.Option("--line", help="Only this line (id); may be repeated.")
]
Quantity = Annotated[str | None, typer.Option(help="So much of the quantity of one line.")]
Amount = Annotated[
    str | None, typer.Option(help="So much, tax included, like 2.50: of one line, or of all.")
]
Code = Annotated[str, typer.Option(help="What for, in a word, as it stands on the note.")]
Reference = Annotated[
    str | None,
    typer.Option("--incident", "--reference", help="What it is known by; twice is once."),
]


def void(
    number: Number,
    actor: Actor,
    reason: Reason,
    reissue: Annotated[
        bool, typer.Option("--reissue", help="Issue it anew, by what is known by then.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop-edits", help="Without the lines and edits by hand it had.")
    ] = False,
    code: Code = "void",
    reference: Reference = None,
    json: AsJson = False,
) -> None:
    """Bring an invoice to zero, as if it had not been issued; --reissue makes another."""
    if drop and not reissue:
        raise BadInput("--drop-edits is of what is issued anew: say --reissue too")

    def wanted(of: Document, at: Instant) -> Decision:
        plain = about(of, at, FactKind.VOID, code, reference)
        return replace(plain, reissue=reissue, keeps_by_hand=not drop)

    _correct(number, wanted, Author(actor, reason), json=json)


def credit(
    number: Number,
    actor: Actor,
    reason: Reason,
    line: Lines = None,
    quantity: Quantity = None,
    amount: Amount = None,
    code: Code = "goodwill",
    incident: Reference = None,
    json: AsJson = False,
) -> None:
    """Take something off an invoice: all that is left, lines, or a part; never more than is left.

    A service level credit: --code sla --incident INC-7.
    """
    what = partial(about, kind=FactKind.CREDIT_NOTE, code=code, reference=incident)
    parts = partial(of_parts, lines=line, quantity=quantity, amount=amount)
    _correct(number, lambda of, at: parts(what(of, at)), Author(actor, reason), json=json)


def debit(
    number: Number,
    actor: Actor,
    reason: Reason,
    line: Lines = None,
    quantity: Quantity = None,
    amount: Amount = None,
    code: Code = "correction",
    reference: Reference = None,
    json: AsJson = False,
) -> None:
    """Add an amount to an invoice or a line; without one, put back what was credited."""
    what = partial(about, kind=FactKind.DEBIT_NOTE, code=code, reference=reference)
    parts = partial(of_parts, lines=line, quantity=quantity, amount=amount)
    _correct(number, lambda of, at: parts(what(of, at)), Author(actor, reason), json=json)


def refund(
    number: Number,
    actor: Actor,
    reason: Reason,
    line: Lines = None,
    quantity: Quantity = None,
    amount: Amount = None,
    code: Code = "refund",
    reference: Reference = None,
    json: AsJson = False,
) -> None:
    """Credit lines of an invoice and say that the money is due back to the customer."""
    if not line:
        raise BadInput("which lines? name each with --line ID: `talea invoices show NUMBER --json`")

    def wanted(of: Document, at: Instant) -> Decision:
        plain = about(of, at, FactKind.CREDIT_NOTE, code, reference)
        return replace(of_parts(plain, line, quantity, amount), refund=True)

    _correct(number, wanted, Author(actor, reason), json=json)


def correct(
    customer: Annotated[str, typer.Argument(help="Whose invoices.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Issue the notes for usage that came after its invoice now, not with the next invoice."""

    def decide(connection: Session, known: FactLog, _: Sequence[Fact]) -> list[NewFact]:
        catalog = known.at(known.head)
        payer = catalog.accounts.payer(customer)
        history = history_of(connection, known.at, payer)
        currencies = sorted({paper.currency for paper in history.papers})
        if not currencies:
            raise ValueError(f"{customer} has no invoice: `talea invoices list` shows all")
        return [correcting(catalog, payer, each, now(connection)).told() for each in currencies]

    with any_stack() as around:
        with around.database.session("correcting") as connection:
            written = write(connection, decide, Author(actor, reason))
        await_named(around, written[-1].serial)
    tell(written, [], json=json)


def _correct(
    number: str, wanted: Callable[[Document, Instant], Decision], author: Author, *, json: bool
) -> None:
    """Write a decision about an invoice, and return once its note is issued."""
    with any_stack() as around, around.database.session("correcting") as connection:
        document = issued(connection, number)
        decision = wanted(document, now(connection))

        def decide(session: Session, known: FactLog, _: Sequence[Fact]) -> list[NewFact]:
            return asking(session, known, decision, number)

        written = write(connection, decide, author)
        if written:
            await_named(around, written[-1].serial)
        made = await_documents(connection, document.payer, written)
    tell(written, made, json=json)


def issued(connection: Session, number: str) -> Document:
    """Return the document of a number.

    Raises:
        BadInput: there is none.

    """
    document = find_document(connection, number)
    if document is None:
        raise BadInput(f"no invoice {number}: `talea invoices list` shows all")
    return document


def write(
    connection: Session,
    decide: Callable[[Session, FactLog, Sequence[Fact]], Sequence[NewFact]],
    author: Author,
) -> list[Fact]:
    """Write what is decided by the facts so far and what is issued.

    Raises:
        BadInput: `decide` refuses (ValueError).

    """

    def new(known: Sequence[Fact]) -> Sequence[NewFact]:
        log = FactLog()
        log.append(known)
        try:
            return decide(connection, log, known)
        except ValueError as error:
            raise BadInput(str(error)) from None

    return append_facts(connection, new, author, now(connection))


def await_documents(connection: Session, payer: str, written: Sequence[Fact]) -> list[Document]:
    """Return the documents that decisions made, as soon as they are issued."""
    causes = {fact.id for fact in written}
    deadline = monotonic() + _PATIENCE_S
    while causes:
        known = connection.read_documents(payer)
        found = [each for each in known if each.content.get("cause") in causes]
        if found or monotonic() > deadline:
            return found
        sleep(_POLL_S)
    return []


def tell(written: Sequence[Fact], made: Sequence[Document], *, json: bool) -> None:
    """Print the facts of decisions, and the documents they made."""
    if json:
        told = [{"serial": f.serial, "kind": f.kind.value, "subject": f.subject} for f in written]
        print_json({"facts": [*told], "documents": [_told(each) for each in made]})
        return
    for fact in written:
        out.print(f"{fact.kind.value} {fact.subject} in force (fact {fact.serial})", markup=False)
    for each in made:
        told_one = _told(each)
        money = Money(cast(int, told_one["total_minor"]), each.currency)
        kind = each.kind.replace("_", " ")
        out.print(f"{each.sealed.number}: {kind}, {money.text} {money.currency}", markup=False)
    if not written:
        out.print("nothing to change: decided already")
    elif not made and any(fact.kind in CUTTING for fact in written):
        out.print("its documents are issued by the finalizer: `talea invoices list` shows them")


def _told(document: Document) -> dict[str, Json]:
    content = document.content
    totals = cast(dict[str, int], content["totals"])
    return {
        "number": document.sealed.number,
        "kind": document.kind,
        "corrects": content.get("corrects"),
        "total_minor": totals["total_minor"],
    }


def about(of: Document, at: Instant, kind: FactKind, code: str, reference: str | None) -> Decision:
    """Return a decision about all of a document."""
    return Decision(kind, of.payer, of.currency, at, of.id, code=code, reference=reference)


def of_parts(
    decision: Decision, lines: Sequence[str] | None, quantity: str | None, amount: str | None
) -> Decision:
    """Return a decision of lines, of a part of one line, or of an amount of everything."""
    named = [*(lines or ())]
    if quantity is not None and amount is not None:
        raise BadInput("--quantity or --amount: say one of them")
    if quantity is not None and len(named) != 1:
        raise BadInput("--quantity is of one line: name it with --line ID")
    if amount is not None and len(named) > 1:
        raise BadInput("--amount is of one line, or of all: name one --line, or none")
    minor = None
    if amount is not None:
        minor = minor_of("--amount", _positive("--amount", amount), decision.currency)
    if not named:
        return replace(decision, amount_minor=minor)
    counted = None if quantity is None else _positive("--quantity", quantity)
    return replace(decision, parts=tuple(Part(line, counted, minor) for line in named))


def _positive(option: str, text: str) -> Fraction:
    value = number_of(option, text)
    if value <= 0:
        raise BadInput(f"{option} is above zero: a debit note is what adds")
    return value


COMMANDS: dict[str, Callable[..., None]] = {
    "void": void,
    "credit": credit,
    "debit": debit,
    "refund": refund,
    "correct": correct,
}
