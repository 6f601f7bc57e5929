"""`talea invoices`: what was issued."""

from typing import Annotated, cast

import typer
from rich.table import Table

from pipeline.cli import by_hand, correcting, paying
from pipeline.cli.disputing import dispute
from pipeline.cli.exporting import export
from pipeline.cli.options import AsJson
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.shown import Issued, shown, subjects
from pipeline.invoice.text import invoice_text
from pipeline.stores.postgres import documents
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import facts_about
from pipeline.stores.postgres.figures import months_of_issue
from pipeline.stores.postgres.life import read_events, states
from pipeline.stores.postgres.validation import issues_of

app = typer.Typer(help="Issued invoices, and what corrects them.", no_args_is_help=True)
_OTHERS = by_hand.COMMANDS | paying.COMMANDS | correcting.COMMANDS
for _name, _command in {**_OTHERS, "dispute": dispute}.items():
    app.command(_name)(_command)
app.command("export")(export)


def summary(document: Document, state: str) -> dict[str, Json]:
    """Return one invoice in a line of a list."""
    content = document.content
    totals, lines = content["totals"], content["lines"]
    return {
        "number": document.sealed.number,
        "kind": document.kind,
        "state": state,
        "customer": document.payer,
        "currency": document.currency,
        "total_minor": totals["total_minor"],  # type: ignore[index,call-overload]
        "lines": len(lines),  # type: ignore[arg-type]
        "seal": document.sealed.seal.hex(),
    }


def whole(connection: Connection, document: Document) -> dict[str, Json]:
    """Return an invoice as issued: content, issue record, seal, state."""
    content, record = document.content, document.record
    last, cause = cast(int, record["fact_position_last"]), content.get("cause")
    found = Issued(
        document.sealed.number,
        content,
        record,
        document.sealed.seal.hex(),
        document.before_issue,
        tuple(read_events(connection, document.id)),
        tuple(facts_about(connection, subjects(content), last, cast("str | None", cause))),
        tuple(issues_of(connection, document.id)),
    )
    return shown(found, now(connection))


@app.command("list")
def list_invoices(
    customer: Annotated[str | None, typer.Option(help="Only this customer's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List issued invoices."""
    with any_stack() as around, around.database.session("invoices") as connection:
        known = states(connection, customer)
        found = documents.read_documents(connection, customer)
        rows = [summary(document, known[document.id]) for document in found]
    if json:
        print_json(rows)
        return
    out.print(invoice_table(rows) if rows else "no invoices yet")


@app.command("figures")
def figures(json: AsJson = False) -> None:
    """Show how much was corrected and contested, month by month."""
    with any_stack() as around, around.database.session("figures") as connection:
        found = months_of_issue(connection)
    if json:
        print_json([each.json() for each in found])
        return
    table = Table(box=None, pad_edge=False)
    heads = ("month", "invoices", "usage notes", "manual", "disputes", "a 1000 invoices")
    for name in heads:
        table.add_column(name, justify="left" if name == "month" else "right")
    for each in found:
        table.add_row(*map(str, each.json().values()))
    out.print(table if found else "no invoices yet")


def invoice_table(rows: list[dict[str, Json]]) -> Table:
    """Return invoices as a table for a person."""
    table = Table(box=None, pad_edge=False)
    for name in ("number", "state", "customer"):
        table.add_column(name, no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("lines", justify="right")
    table.add_column("seal", no_wrap=True)
    for row in rows:
        money = Money(int(str(row["total_minor"])), str(row["currency"]))
        table.add_row(
            str(row["number"]),
            str(row["state"]),
            str(row["customer"]),
            f"{money.text} {money.currency}",
            str(row["lines"]),
            str(row["seal"])[:16] + "…",
        )
    return table


@app.command("show")
def show(
    number: Annotated[str, typer.Argument(help="Invoice number.")],
    json: Annotated[bool, typer.Option("--json", help="Print the invoice as JSON.")] = False,
) -> None:
    """Show one invoice with its lines, evidence and seal."""
    with any_stack() as around, around.database.session("invoices") as connection:
        document = documents.find_document(connection, number)
        if document is None:
            raise BadInput(f"no invoice {number}: `talea invoices list` shows all")
        found = whole(connection, document)
    if json:
        print_json(found)
    else:
        out.print(invoice_text(found), markup=False, soft_wrap=True)
