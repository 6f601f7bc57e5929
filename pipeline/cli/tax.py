"""`talea tax`: taxes that the rules do not know: what is awaited, and an answer by hand."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import NewFact
from pipeline.catalog.tax_terms import NO_TAX_TERMS, tax_terms
from pipeline.cli.deciding import decided, tell
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.taxed import SHORT
from pipeline.stores.postgres.drafts import awaited_taxes
from pipeline.stores.postgres.facts import Author
from pipeline.tax.asking import Asked, answering

app = typer.Typer(help="Taxes that the rules do not know.", no_args_is_help=True)

_QUESTIONS = 10_000


def _awaited() -> Sequence[Asked]:
    with any_stack() as around, around.database.session("tax") as connection:
        found = [Asked(body) for body in awaited_taxes(connection, _QUESTIONS)]
    return sorted(found, key=lambda each: (str(each.body["customer"]), each.digest))


def _told(question: Asked) -> dict[str, Json]:
    return {"digest": question.digest, "question": dict(question.body)}


@app.command()
def awaited(json: AsJson = False) -> None:
    """List what documents await."""
    questions = _awaited()
    if json:
        print_json([_told(question) for question in questions])
        return
    if not questions:
        out.print("no document awaits a tax")
        return
    table = Table("question", "customer", "tax code", "day", box=None, pad_edge=False)
    for question in questions:
        code = (tax_terms(question.body["terms"]) or NO_TAX_TERMS).code
        customer, day = str(question.body["customer"]), str(question.body["day"])
        table.add_row(question.digest[:SHORT], customer, code.value, day)
    out.print(table)


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help="The question, as `awaited` lists it.")],
    category: Annotated[str, typer.Option(help="EN 16931: S, Z, E, AE, K, G or O.")],
    jurisdiction: Annotated[str, typer.Option(help="Who taxes it, like US-CA.")],
    actor: Actor,
    reason: Reason,
    rate: Annotated[str, typer.Option(help="In percent, of category S.")] = "0",
    why: Annotated[str | None, typer.Option(help="Why none is due; on the document.")] = None,
    json: AsJson = False,
) -> None:
    """Say how something is taxed that the rules do not know; documents that wait go on."""
    asked = _found(question, _awaited())
    told: Mapping[str, object] = {
        "category": category,
        "jurisdiction": jurisdiction,
        "rate_percent": rate,
        "reason": why,
    }

    def decide(known: Catalog) -> list[NewFact]:
        return answering(known, asked.body, told, actor)

    tell(decided(decide, Author(actor, reason)), json=json)


def _found(beginning: str, questions: Sequence[Asked]) -> Asked:
    found = [each for each in questions if each.digest.startswith(beginning)]
    if len(found) != 1:
        what = "several questions" if found else "no question that a document awaits"
        raise BadInput(f"{beginning!r} is {what}: see talea tax awaited, write more of it")
    return found[0]
