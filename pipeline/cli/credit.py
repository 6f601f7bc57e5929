"""`talea credit`: what customers paid beforehand, and what is left of it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.credits import Grant
from pipeline.catalog.facts import NewFact
from pipeline.catalog.fields import parse_currency, parse_id
from pipeline.catalog.granting import amount_minor, find, granting, voiding
from pipeline.cli.deciding import decided, decided_with, in_force, moment, tell
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.money import Money
from pipeline.core.quantity import parse_decimal
from pipeline.invoice.settling import Balance, balances
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.documents import credits_used
from pipeline.stores.postgres.drafts import read_drafts
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session

app = typer.Typer(help="Prepaid credits: grant, void, balance.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Option(help="Pays only for this; may be repeated.")]


@app.command("grant")
def grant_credit(
    customer: Annotated[str, typer.Argument(help="Who paid beforehand.")],
    amount: Annotated[str, typer.Argument(help="How much, like 25.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217, like EUR.")],
    actor: Actor,
    reason: Reason,
    name: Annotated[str | None, typer.Option("--id", help="Its id; twice is once.")] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Whose; needed where there are several.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Lower pays first.")] = 0,
    starts: Annotated[
        str | None, typer.Option(help="From when on it pays; now if left out.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="From when on it pays no more.")] = None,
    meter: Names = None,
    plan: Names = None,
    json: AsJson = False,
) -> None:
    """Grant a credit: it pays what falls due from its start on."""
    since, until = moment("--starts", starts), moment("--expires", expires)

    def decide(connection: Session, catalog: Catalog) -> Sequence[NewFact]:
        known = parse_id(name or f"credit-{catalog.position + 1}")
        before = find(catalog, known)
        begins = now(connection) if before is None else before.starts
        wanted = Grant(
            id=known,
            customer=customer,
            issuer=issuer or _only_issuer(catalog),
            currency=parse_currency(currency),
            amount_minor=amount_minor(Fraction(parse_decimal(amount)), currency),
            starts=begins if since is None else since,
            expires=until,
            priority=priority,
            meters=tuple(sorted(meter or ())),
            plans=tuple(sorted(plan or ())),
        )
        return granting(catalog, wanted)

    tell(decided_with(decide, Author(actor, reason)), json=json)


@app.command("void")
def void_credit(
    name: Annotated[str, typer.Argument(metavar="ID", help="The credit.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Take back what is left of a credit; what it paid stays paid."""
    tell(decided(lambda known: voiding(known, name), Author(actor, reason)), json=json)


@app.command("balance")
def balance(
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    json: AsJson = False,
) -> None:
    """Show what each credit of a customer was, paid, is about to pay, and has left."""
    with any_stack() as around, around.database.session("credit") as connection:
        catalog = in_force(connection)
        if customer not in catalog.customers:
            raise BadInput(f"no customer {customer}: `talea catalog show customer` lists all")
        found = _balances(connection, catalog, customer, now(connection))
    if json:
        print_json([each.json() for each in found])
        return
    out.print(_table(found) if found else f"no credits of {customer}")


@app.command("list")
def list_credits(json: AsJson = False) -> None:
    """Show the credits of every customer."""
    with any_stack() as around, around.database.session("credit") as connection:
        catalog, at = in_force(connection), now(connection)
        found = [
            each
            for customer in sorted(catalog.deals.credits)
            for each in _balances(connection, catalog, customer, at)
        ]
    if json:
        print_json([each.json() for each in found])
        return
    out.print(_table(found) if found else "no credits yet")


def _balances(
    connection: Connection, catalog: Catalog, customer: str, now: Instant
) -> list[Balance]:
    grants = catalog.deals.credits.get(customer, {}).values()
    drafts = [draft.content for draft in read_drafts(connection, customer)]
    return balances(grants, credits_used(connection, [customer]).get(customer, {}), drafts, now)


def _only_issuer(catalog: Catalog) -> str:
    """Return the issuer where there is one.

    Raises:
        ValueError: there is none, or more.

    """
    known = sorted(catalog.issuers)
    if len(known) != 1:
        raise ValueError(
            f"whose credit? say --issuer: {', '.join(known) or 'none is in force yet'}"
        )
    return known[0]


def _table(found: Sequence[Balance]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "credit",
        "customer",
        "granted",
        "paid",
        "on drafts",
        "left",
        "",
        "state",
        "expires",
    ):
        amount = name in ("granted", "paid", "on drafts", "left")
        table.add_column(name, justify="right" if amount else "left", no_wrap=True)
    for each in found:
        told = each.json()
        amounts = (each.grant.amount_minor, each.used_minor, each.on_drafts_minor, each.left_minor)
        cells = [Money(amount, each.grant.currency).text for amount in amounts]
        names = (each.grant.id, each.grant.customer)
        rest = (each.grant.currency, each.state, str(told["expires"] or "never"))
        table.add_row(*map(Text, (*names, *cells, *rest)))
    return table
