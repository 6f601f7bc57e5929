"""`talea subscription`: one thing agreed anew with a customer, without a file."""

import json as text
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from pipeline.catalog.agreeing import changed, ended, paused, period_end, resumed
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import NewFact
from pipeline.catalog.fields import parse_amount, parse_item
from pipeline.catalog.legs import Leg, legs
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.subscriptions import Subscription, subscription_body
from pipeline.cli.catalog import apply_made, refused
from pipeline.cli.deciding import decided_with, in_force, moment, tell
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.asking import billing_now
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session

app = typer.Typer(help="Change, pause, resume, cancel, bill now, show.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="Which.")]
At = Annotated[str | None, typer.Option(help="From when on; now if left out.")]


@app.command("change")
def change(
    name: Name,
    actor: Actor,
    reason: Reason,
    plan: Annotated[str | None, typer.Option(help="The plan it is on then.")] = None,
    quantity: Annotated[
        list[str] | None, typer.Option(help="Of a flat fee: seats=5, or add-on/seats=5.")
    ] = None,
    at: At = None,
    json: AsJson = False,
) -> None:
    """Put it on another plan, or change quantities; what was paid ahead and unused comes back."""
    quantities = dict(map(_quantity, quantity or ()))

    def edit(_: Catalog, sold: Subscription, since: Instant) -> Subscription:
        return changed(sold, since, plan, quantities)

    _agree(name, at, edit, Author(actor, reason), json)


@app.command("pause")
def pause(
    name: Name,
    actor: Actor,
    reason: Reason,
    at: At = None,
    until: Annotated[str | None, typer.Option(help="Until when; else until resumed.")] = None,
    json: AsJson = False,
) -> None:
    """Serve and bill nothing for a while; usage meanwhile is kept, and nobody pays for it."""
    end = moment("--until", until)

    def edit(_: Catalog, sold: Subscription, since: Instant) -> Subscription:
        return paused(sold, since, end)

    _agree(name, at, edit, Author(actor, reason), json)


@app.command("resume")
def resume(name: Name, actor: Actor, reason: Reason, at: At = None, json: AsJson = False) -> None:
    """End a pause."""
    _agree(name, at, lambda _, sold, since: resumed(sold, since), Author(actor, reason), json)


@app.command("cancel")
def cancel(
    name: Name,
    actor: Actor,
    reason: Reason,
    at: At = None,
    at_period_end: Annotated[
        bool, typer.Option("--at-period-end", help="At the end of the period that holds --at.")
    ] = False,
    json: AsJson = False,
) -> None:
    """End it: now, at an instant, or with its period; what was paid ahead and unused comes back."""

    def edit(catalog: Catalog, sold: Subscription, since: Instant) -> Subscription:
        return ended(sold, period_end(catalog, sold, since) if at_period_end else since)

    _agree(name, at, edit, Author(actor, reason), json)


@app.command("bill-now")
def bill_at_once(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Bill what was used so far, before its period ends; the rest is billed then."""

    def decide(connection: Session, catalog: Catalog) -> list[NewFact]:
        return [billing_now(catalog, name, now(connection)).told()]

    tell(decided_with(decide, Author(actor, reason)), json=json)


@app.command("show")
def show(name: Name, json: AsJson = False) -> None:
    """Show what is agreed, and the stretches that makes: each is billed by itself."""
    with any_stack() as around, around.database.session("subscription") as connection:
        catalog = in_force(connection)
    sold = _sold(catalog, name)
    found = legs(catalog, sold)
    if json:
        print_json({**subscription_body(sold), "legs": [_leg_json(leg) for leg in found]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("start", "end", "plan", "phase", "add_on"):
        table.add_column(column, no_wrap=True)
    for leg in found:
        table.add_row(*(str(told or "-") for told in _leg_json(leg).values()))
    out.print(table)
    print_json(subscription_body(sold))


def _agree(
    name: str,
    at: str | None,
    edit: Callable[[Catalog, Subscription, Instant], Subscription],
    author: Author,
    json: bool,
) -> None:
    """Write what is agreed anew from an instant on, checked as a catalog is.

    Raises:
        BadInput: there is no such subscription, or it cannot be agreed.

    """
    asked = moment("--at", at)

    def make(catalog: Catalog, since: Instant) -> Sheet:
        try:
            after = edit(catalog, _sold(catalog, name), since)
        except ValueError as error:
            raise BadInput(str(error)) from None
        found = parse_sheet(text.dumps({"subscriptions": [subscription_body(after)]}))
        if isinstance(found, Sheet):
            return found
        raise refused(f"subscription {name}", found)

    with any_stack() as around:
        with around.database.session("subscription") as connection:
            since = now(connection) if asked is None else asked
        made = partial(make, since=since)
        written = apply_made(around, made, f"subscription {name}", author)
    tell(written, json=json)


def _sold(catalog: Catalog, name: str) -> Subscription:
    sold = catalog.subscriptions.get(name)
    if sold is None:
        raise BadInput(f"no subscription {name}: `talea catalog show subscription` lists them")
    return sold


def _quantity(told: str) -> tuple[str, Fraction]:
    item, sign, amount = told.partition("=")
    try:
        if not sign:
            raise ValueError(f"{told!r} is no quantity: write seats=5")
        return parse_item(item), parse_amount(amount)
    except ValueError as error:
        raise BadInput(f"--quantity: {error}") from None


def _leg_json(leg: Leg) -> dict[str, Json]:
    phase = "trial" if leg.free else None if leg.phase is None else leg.plan.phases[leg.phase].id
    return {
        "start": instant_text(leg.start),
        "end": None if leg.end is None else instant_text(leg.end),
        "plan": leg.plan.id,
        "phase": phase,
        "add_on": leg.add_on or None,
    }
