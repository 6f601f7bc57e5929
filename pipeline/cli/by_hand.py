"""`talea hold` and `talea invoices add-line, edit, approve, retry`: decisions on what is to come.

Each is a fact with author and reason; the finalizer obeys it, also after the cut.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from pipeline.catalog.by_hand import HandLine, LineType
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import NewFact
from pipeline.catalog.fields import parse_id
from pipeline.catalog.hand_rules import (
    adding,
    approving,
    holding,
    listed_price,
    own_price,
    retrying,
    waiving,
)
from pipeline.cli.deciding import decided, decided_with, tell
from pipeline.cli.editing import DraftId, edit
from pipeline.cli.options import Actor, AsJson, Reason, number_of, text_of
from pipeline.core.errors import BadInput
from pipeline.invoice.by_hand import takes_lines
from pipeline.invoice.issues import WAIVABLE
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.drafts import Draft, faulty_drafts, find_draft, read_drafts
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.workers.deciding import open_draft


def hold(
    actor: Actor,
    reason: Reason,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    price: Annotated[str | None, typer.Option(help="PRICE, or PLAN/PRICE.")] = None,
    customer: Annotated[str | None, typer.Option(help="One customer.")] = None,
    release: Annotated[bool, typer.Option("--release", help="Let it go on.")] = False,
    json: AsJson = False,
) -> None:
    """Stop finalizing, of everything, a price or a customer, until it is released."""
    named = [("price", price), ("customer", customer)]
    told = [each for each in named if each[1] is not None]
    scopes: list[tuple[str, str | None]] = [("all", None)] if everything else []
    scopes += told
    if len(scopes) != 1:
        raise BadInput("what? say one of --all, --price, --customer")
    scope, name = scopes[0]
    written = decided(
        lambda known: holding(known, scope, name, on=not release), Author(actor, reason)
    )
    tell(written, json=json, state="released" if release else "in force")


def approve(draft: DraftId, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Approve a document whose period is cut: it is issued as it stands."""

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        _, cut = open_draft(connection, known, draft)
        if not cut:
            raise ValueError("its period goes on and it may change: approve it once that is over")
        return approving(known, draft)

    tell(decided_with(decide, Author(actor, reason)), json=json)


def retry(draft: DraftId, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Compose a document once more that could not be issued."""

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        _, cut = open_draft(connection, known, draft)
        if not cut:
            raise ValueError("its period goes on: it is rated again by itself")
        return retrying(draft)

    tell(decided_with(decide, Author(actor, reason)), json=json)


def waive(
    issue: Annotated[str, typer.Argument(metavar="ISSUE-ID", help="As its draft tells it.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Accept what is said of a document as it is: missing or refused events, missing data."""

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        faulty = (draft for draft, _ in faulty_drafts(connection))
        of = next((d for d in faulty if issue in {each["id"] for each in d.issues}), None)
        if of is None:
            raise ValueError(f"no draft has an issue {issue}: `talea doctor` lists them")
        told = next(each for each in of.issues if each["id"] == issue)
        if told["code"] not in WAIVABLE:
            raise ValueError(f"{told['message']}: that is not to be waived; {told['mend']}")
        open_draft(connection, known, of.id)
        return waiving(known, issue)

    tell(decided_with(decide, Author(actor, reason)), json=json)


def add_line(
    target: Annotated[str, typer.Argument(metavar="CUSTOMER|DRAFT-ID", help="Onto whose draft.")],
    actor: Actor,
    reason: Reason,
    name: Annotated[str | None, typer.Option(help="What people read.")] = None,
    unit_amount: Annotated[
        str | None, typer.Option(help="Of one, like 25.00; below zero takes off.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="PLAN/PRICE of the catalog instead.")] = None,
    quantity: Annotated[str, typer.Option(help="How many.")] = "1",
    kind: Annotated[LineType, typer.Option("--type", help="What it is.")] = LineType.CHARGE,
    currency: Annotated[str | None, typer.Option(help="Where drafts are in several.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Where drafts are of several.")] = None,
    line_id: Annotated[str | None, typer.Option("--id", help="Its id; twice is once.")] = None,
    reference: Annotated[str | None, typer.Option(help="What it is known by outside.")] = None,
    json: AsJson = False,
) -> None:
    """Add a line by hand: to one draft, or to the next document of a customer."""
    if (price is None) == (unit_amount is None):
        raise BadInput("what does it cost? say --unit-amount or --price PLAN/PRICE")
    if price is None and name is None:
        raise BadInput("what is it? say --name")
    many = number_of("--quantity", quantity)

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        draft, document = _onto(connection, known, target, currency, issuer)
        own = parse_id(line_id or f"line-{known.position + 1}")
        if price is None:
            label = text_of("--name", name or "")
            unit = number_of("--unit-amount", unit_amount or "")
            card = own_price(own, label, unit, many)
        else:
            card = listed_price(known, price, draft.currency, many)
        return adding(
            known,
            HandLine(
                id=own,
                customer=draft.payer,
                issuer=str(draft.content["issuer"]),
                currency=draft.currency,
                at=min(now(connection), draft.instant),
                type=kind,
                card=card,
                quantity=many,
                plan=None if price is None else price.partition("/")[0],
                document=document,
                external_reference=reference,
            ),
        )

    tell(decided_with(decide, Author(actor, reason)), json=json)


def _onto(
    connection: Session, known: Catalog, target: str, currency: str | None, issuer: str | None
) -> tuple[Draft, str | None]:
    """Return the draft that a line is for, and its id where it was named."""
    if find_draft(connection, target) is not None:
        draft, _ = open_draft(connection, known, target)
        if not takes_lines(draft.content):
            why = "it takes no line: it replaces or corrects a document, or bills early"
            raise ValueError(f"{why}; add the line to {draft.payer}, for the next invoice")
        return draft, target
    if target not in known.customers:
        raise ValueError(f"no customer or draft {target}: `talea draft CUSTOMER` shows both")
    found = [
        draft
        for draft in read_drafts(connection, target)
        if currency in (None, draft.currency) and issuer in (None, draft.content["issuer"])
    ]
    owners = sorted({(draft.currency, str(draft.content["issuer"])) for draft in found})
    if not owners:
        raise ValueError(f"{target} has no draft to add it to: order it in the catalog (orders)")
    if len(owners) > 1:
        told = "; ".join(f"--currency {each[0]} --issuer {each[1]}" for each in owners)
        raise ValueError(f"to which of its drafts? say {told}")
    return found[-1], None


COMMANDS: dict[str, Callable[..., None]] = {
    "add-line": add_line,
    "hold": hold,
    "edit": edit,
    "approve": approve,
    "retry": retry,
    "waive": waive,
}
