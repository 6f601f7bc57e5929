"""`talea invoices edit`: what a draft, or a line of it, says instead of what it would.

Personal values stay out of the facts: those have commitments to them, as a customer's have.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar, cast

import typer

from pipeline.catalog.by_hand import DocumentEdit, LineEdit
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.fields import parse_id, parse_payment_days, parse_text
from pipeline.catalog.hand_rules import WORKFLOW, editing, telling
from pipeline.catalog.tax_entries import EXEMPTION, VAT_ID
from pipeline.cli.deciding import decided_with, tell
from pipeline.cli.options import Actor, AsJson, Reason, minor_of, number_of, text_of
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, commitment
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.facts import Author, personal_values, remember_personal
from pipeline.stores.postgres.session import Session
from pipeline.workers.deciding import open_draft

T = TypeVar("T")
DraftId = Annotated[str, typer.Argument(metavar="DRAFT-ID", help="As `talea draft` prints it.")]
_SALT_BYTES = 16


def edit(
    draft: DraftId,
    actor: Actor,
    reason: Reason,
    said: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Of all of it: name, purchase_order; =: undo."
        ),
    ] = None,
    line: Annotated[str | None, typer.Option(help="The line (id).")] = None,
    name: Annotated[str | None, typer.Option(help="What people read.")] = None,
    description: Annotated[str | None, typer.Option(help="And more of it.")] = None,
    quantity: Annotated[str | None, typer.Option(help="How many.")] = None,
    unit_amount: Annotated[str | None, typer.Option(help="Of one, like 0.25.")] = None,
    amount: Annotated[str | None, typer.Option(help="Of all, before tax, like 12.34.")] = None,
    reference: Annotated[str | None, typer.Option(help="What it is known by outside.")] = None,
    json: AsJson = False,
) -> None:
    """Edit a draft by hand, or a line of it: it says so whatever its usage becomes.

    --set takes purchase_order, memo, payment_days, and values of the billing profile.
    """
    given = (name, description, quantity, unit_amount, amount, reference)
    of_line = given != (None,) * len(given)
    if (line is not None) != of_line or of_line == bool(said):
        raise BadInput(
            "what of it? say --set KEY=VALUE, or --line and --amount, --name or the like"
        )
    author = Author(actor, reason)
    if line is None:
        tell(_told_of_itself(draft, said or [], author), json=json)
        return
    at = line

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        of, _ = open_draft(connection, known, draft)
        _check_line(of, at)
        wanted = LineEdit(
            document=draft,
            customer=of.payer,
            line=at,
            name=_of(lambda text: text_of("--name", text), name),
            description=_of(lambda text: text_of("--description", text), description),
            quantity=_of(lambda text: number_of("--quantity", text), quantity),
            unit_amount=_of(lambda text: number_of("--unit-amount", text), unit_amount),
            amount_minor=_of(lambda text: _minor(text, of.currency), amount),
            external_reference=_of(lambda text: text_of("--reference", text), reference),
        )
        return editing(known, wanted)

    tell(decided_with(decide, author), json=json)


def _check_line(draft: Draft, line: str) -> None:
    """Refuse a line that is not on a draft, and one that changes through its parent alone."""
    lines = cast(list[dict[str, Json]], draft.content["lines"])
    known = {str(each["id"]) for each in lines}
    if line in known or line in {issue.get("line") for issue in draft.issues}:
        return
    for parent in lines:
        if line in {child["id"] for child in cast(list[dict[str, Json]], parent["children"])}:
            raise ValueError(f"a detailed line changes through its parent: --line {parent['id']}")
    raise ValueError(f"draft {draft.id} has no line {line}: `talea draft CUSTOMER --json` has all")


def _of(parse: Callable[[str], T], text: str | None) -> T | None:
    return None if text is None else parse(text)


def _minor(text: str, currency: str) -> int:
    return minor_of("--amount", number_of("--amount", text), currency)


def _told_of_itself(draft: str, said: Sequence[str], author: Author) -> Sequence[Fact]:
    """Write what a document says of its customer and of itself; return the facts."""
    pairs = dict(map(_pair, said))
    gone = {name for name, value in pairs.items() if not value}
    told = {name: value for name, value in pairs.items() if value}

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        of, _ = open_draft(connection, known, draft)
        if of.content["kind"] != "invoice":
            raise ValueError("a note says of its customer what its invoice says")
        days = told.get("payment_days")
        before = known.by_hand.documents.get(draft)
        personal = {name: value for name, value in told.items() if name not in WORKFLOW}
        profile = {} if before is None else before.profile
        wanted = DocumentEdit(
            document=draft,
            customer=of.payer,
            profile=_committed(connection, of.payer, profile, personal),
            purchase_order=told.get("purchase_order"),
            memo=told.get("memo"),
            payment_days=_of(parse_payment_days, days),
        )
        return telling(known, wanted, gone)

    return decided_with(decide, author)


def _pair(text: str) -> tuple[str, str]:
    """Return key and value of a --set."""
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError("write KEY=VALUE")
        if parse_id(key) in (VAT_ID, EXEMPTION):
            raise ValueError("it stands under tax, where it is looked at: mend it in the catalog")
        return key, parse_text(value) if value else value
    except ValueError as error:
        raise BadInput(f"--set {key}: {error}") from None


def _committed(
    connection: Session, customer: str, before: Mapping[str, str], told: Mapping[str, str]
) -> dict[str, str]:
    """Return commitments to personal values; those that stand already stay as they are."""
    known = personal_values(connection, before.values())
    found = {}
    for name, value in told.items():
        kept = before.get(name)
        if kept is None or known.get(kept) != value:
            salt = secrets.token_bytes(_SALT_BYTES)
            kept = commitment(salt, value)
            remember_personal(connection, [(kept, customer, salt, value)])
        found[name] = kept
    return found
