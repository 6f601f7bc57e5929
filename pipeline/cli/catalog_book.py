"""`talea catalog book`: price books, on for some customers, and off again."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.catalog.books import Switch, switch_body
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.cli.deciding import decided, in_force
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.quantity import parse_decimal, quantity_text
from pipeline.stores.postgres.facts import Author

app = typer.Typer(help="Price books: on, off, list.", no_args_is_help=True)

_NOBODY = Fraction(0)

Book = Annotated[str, typer.Argument(help="The price book.")]


@app.command("on")
def switch_on(
    book: Book,
    actor: Actor,
    message: Reason,
    share: Annotated[str, typer.Option(help="Percent of all customers; a larger one adds.")] = "0",
    customer: Annotated[list[str] | None, typer.Option(help="Whoever else; may repeat.")] = None,
    json: AsJson = False,
) -> None:
    """Put a price book in force for some customers; every open draft of theirs is rated anew."""
    try:
        percent = Fraction(parse_decimal(share))
    except ValueError as error:
        raise BadInput(f"--share: {error}") from None
    if not 0 <= percent <= 100 or not (percent or customer):
        raise BadInput("for whom? say --share above 0, up to 100, or --customer")
    named = customer or []

    def decide(catalog: Catalog) -> Sequence[NewFact]:
        for name in named:
            if name not in catalog.customers:
                raise BadInput(f"no customer {name}: `talea catalog show customer` lists all")
        now = catalog.deals.switches.get(book)
        if now is not None and (now.share, now.customers) == (percent, frozenset(named)):
            return []
        body = switch_body(book, percent, named, on=True)
        return [NewFact(FactKind.BOOK_SWITCH, book, body)]

    _switch(book, decide, Author(actor, message), json)


@app.command("off")
def switch_off(book: Book, actor: Actor, message: Reason, json: AsJson = False) -> None:
    """Take a price book out of force for everybody; every open draft of theirs is rated anew."""

    def decide(catalog: Catalog) -> Sequence[NewFact]:
        if book not in catalog.deals.switches:
            return []
        return [NewFact(FactKind.BOOK_SWITCH, book, switch_body(book, _NOBODY, (), on=False))]

    _switch(book, decide, Author(actor, message), json)


@app.command("list")
def list_books(json: AsJson = False) -> None:
    """Show every price book, and for whom it is on."""
    with any_stack() as around, around.database.session("price books") as connection:
        catalog = in_force(connection)
    found = [
        {"id": book, "name": known.name, **_told(catalog, book)}
        for book, known in sorted(catalog.deals.books.items())
    ]
    if json:
        print_json([*found])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("book", "share", "named", "customers"):
        table.add_column(name, no_wrap=True)
    for each in found:
        cells = (each["id"], each["share"] or "off", each["named"], each["customers"])
        table.add_row(*(Text(str(cell)) for cell in cells))
    out.print(table if found else "no price books yet")


def _switch(
    book: str, decide: Callable[[Catalog], Sequence[NewFact]], author: Author, json: bool
) -> None:
    """Switch a book, and tell for whom it is on then."""

    def checked(catalog: Catalog) -> Sequence[NewFact]:
        if book not in catalog.deals.books:
            raise BadInput(f"no price book {book} is in force: `talea catalog book list` shows all")
        return decide(catalog)

    written = decided(checked, author)
    with any_stack() as around, around.database.session("price books") as connection:
        catalog = in_force(connection)
    told: dict[str, Json] = {"book": book, "changed": bool(written), **_told(catalog, book)}
    if json:
        print_json(told)
    elif told["share"] is None:
        out.print(f"{book} is off", markup=False)
    else:
        out.print(f"{book} is on for {told['customers']} customers", markup=False)


def _told(catalog: Catalog, book: str) -> dict[str, Json]:
    on: Switch | None = catalog.deals.switches.get(book)
    if on is None:
        return {"share": None, "named": 0, "customers": 0}
    taken = sum(on.takes_in(book, customer) for customer in catalog.customers)
    return {"share": quantity_text(on.share), "named": len(on.customers), "customers": taken}
