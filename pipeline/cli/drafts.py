"""`talea draft`: what a customer would be billed if the period closed now, notes included."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import typer
from rich.live import Live
from rich.text import Text

from pipeline.catalog.catalog import FactLog
from pipeline.cli.deciding import moment
from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.issues import issue_text
from pipeline.invoice.settling import Settlement, settle_all
from pipeline.invoice.text import invoice_text
from pipeline.replay.completeness import Incomplete, incomplete
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.drafts import Draft, read_drafts
from pipeline.workers.correcting import notes_ahead
from pipeline.workers.hindsight import drafts_at


def draft_json(
    draft: Draft, producers: Sequence[Incomplete] = (), settlement: Settlement | None = None
) -> dict[str, Json]:
    """Return a draft, the position it was rated at, and whose usage may be missing from it.

    `settlement` is what credits would pay of it, after the customer's drafts before it. A
    producer's sequence is known by partition, not by customer: more cannot be said.
    """
    missing = [one.json() for one in producers if one.partition == draft.position.partition]
    return {
        **draft.content,
        "state": "draft",
        "position": draft.position.json(),
        "validation_issues": [dict(issue) for issue in draft.issues],
        "incomplete": [*missing],
        "settlement": None if settlement is None else settlement.json(),
    }


def draft(
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it grow until Ctrl-C.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option(help="As they were at an offset of its partition, or at a time, RFC 3339."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a list of drafts.")] = False,
) -> None:
    """Show the drafts of a customer, and of the notes that late usage is about to make.

    With --as-of those that stood there, but for notes: the log is folded again up to there.
    """
    if watch and json:
        raise BadInput("--watch draws on a terminal: leave --json away")
    if watch and as_of is not None:
        raise BadInput("--watch shows what is: leave --as-of away")
    if as_of is not None:
        found = [draft_json(each) for each in _drafts_at(customer, as_of)]
        if json:
            print_json(found)
        else:
            out.print(_drawn(customer, found, []), soft_wrap=True)
        return
    with any_stack() as around, around.database.session("draft") as connection:
        partition, facts = partition_of(customer, around.partitions), FactLog()

        def read() -> tuple[list[dict[str, Json]], list[Incomplete]]:
            producers = [*incomplete(connection.load_incomplete(partition))]
            facts.append(connection.read_facts(facts.head))
            grants = facts.at(facts.head).deals.credits.get(customer, {}).values()
            drafts = read_drafts(connection, customer)
            drafts += notes_ahead(connection, facts.at, customer, partition)
            settled = settle_all(
                (draft.content for draft in drafts),
                grants,
                connection.credits_used([customer]).get(customer, {}),
            )
            pairs = zip(drafts, settled, strict=True)
            return [draft_json(draft, producers, paid) for draft, paid in pairs], producers

        def drawn() -> Text:
            drafts, producers = read()
            payer = facts.at(facts.head).accounts.payer(customer)
            if not drafts and payer != customer:
                return Text(f"no open draft for {customer}: its parent {payer} pays for it")
            return _drawn(customer, drafts, producers)

        facts.append(connection.read_facts(0))
        if customer not in facts.at(facts.head).customers:
            raise BadInput(f"no customer {customer}: `talea catalog show customer` lists all")
        if json:
            print_json([*read()[0]])
            return
        if not watch:
            out.print(drawn(), soft_wrap=True)
            return
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(drawn(), refresh=True)
                time.sleep(0.5)


def _drafts_at(customer: str, as_of: str) -> list[Draft]:
    offset = int(as_of) if as_of.isascii() and as_of.isdigit() else None
    time = moment("--as-of", as_of) if offset is None else None
    with (
        any_stack() as around,
        around.database.session("draft") as connection,
        counted("folding the log") as tell,
    ):
        log = KafkaLog(around.kafka)
        return drafts_at(around, log, connection, customer, offset, time, tell)


def _drawn(customer: str, drafts: list[dict[str, Json]], producers: list[Incomplete]) -> Text:
    if not drafts:
        return Text(f"no open draft for {customer}")
    warnings = [f"usage may be missing here: {one}" for one in producers]
    return Text("\n\n".join([*map(_draft_text, drafts), *warnings]))


def _draft_text(draft: Mapping[str, Json]) -> str:
    """Return a draft, given as JSON, as a person reads it, and what is left out of it and why."""
    issues = cast(list[Mapping[str, Json]], draft["validation_issues"])
    told = [f"{str(issue['severity']).upper()} {issue_text(issue)}\n" for issue in issues]
    return invoice_text(draft) + "".join(told)
