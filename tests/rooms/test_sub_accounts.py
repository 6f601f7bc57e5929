"""Sub-accounts: who pays, whose lines stand where, which parents are refused."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from builders import (
    HOUR,
    Books,
    Decision,
    Line,
    catalog_of,
    credit_of,
    customer_of,
    fact_log,
    flat,
    instant,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sub_account_of,
    subscription_of,
    taxed_in,
    usage,
)
from json_schema import faults
from pipeline.catalog import shape
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.changes import changes
from pipeline.catalog.checking import check
from pipeline.catalog.credits import grant
from pipeline.catalog.cuts import CutSchedule
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.granting import granting
from pipeline.catalog.hand_rules import holding
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.yaml import as_json
from pipeline.catalog.yaml import compose as read_yaml
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.asking import billing_now
from pipeline.invoice.compose import compose
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.planned import planned_lines, requests_of
from pipeline.invoice.revenue import By, revenue
from pipeline.invoice.usage import UsagePart
from pipeline.meter.ticks import Tick

MARCH, APRIL = "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"
SOLD: list[Decision] = [
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("basic", price_of("fee", flat("20")), price_of("calls", per_unit("1"), "calls")),
    customer_of("acme"),
]
BOTH = [
    subscription_of("s-lab", "lab", "basic", MARCH),
    subscription_of("s-shop", "shop", "basic", "2026-03-11T00:00:00Z", "2026-03-21T00:00:00Z"),
]


def books(*decisions: Decision) -> Catalog:
    return catalog_of(*SOLD, *decisions)


def content_of(catalog: Catalog, payer: str, until: str = APRIL) -> Mapping[str, Any] | None:
    """The document of a payer; lab used 5."""
    lines = planned_lines(catalog, payer, "EUR", instant(until))
    five = [UsagePart(0, 1, 5, 5, 5)]
    used = {each: five for each in requests_of(lines) if each.customer == "lab"}
    made = compose(catalog, payer, "EUR", instant(until), lines, used)
    return made[0].content if made else None


def accounts_on(content: Mapping[str, Any] | None) -> list[tuple[str | None, str]]:
    """Whose lines stand on a document, and of which source."""
    lines = content["lines"] if content else []
    return [(line.get("sub_account"), line["source_id"]) for line in lines]


def test_a_parent_pays_for_the_lines_of_its_sub_accounts_behind_its_own() -> None:
    own = subscription_of("z-own", "acme", "basic", MARCH)
    catalog = books(sub_account_of("lab", "acme"), sub_account_of("shop", "acme"), *BOTH, own)

    content = content_of(catalog, "acme")

    assert accounts_on(content) == [
        (None, "z-own/calls"),
        (None, "z-own/fee"),
        ("lab", "s-lab/calls"),
        ("lab", "s-lab/fee"),
        ("shop", "s-shop/calls"),
        ("shop", "s-shop/fee"),
    ]
    assert content is not None
    assert {
        child["sub_account"] for line in content["lines"][2:4] for child in line["children"]
    } == {"lab"}
    assert content_of(catalog, "lab") is None


def test_who_has_invoices_of_its_own_is_on_no_other() -> None:
    catalog = books(sub_account_of("lab", "acme", "own"), sub_account_of("shop", "acme"), *BOTH)

    assert {account for account, _ in accounts_on(content_of(catalog, "acme"))} == {"shop"}
    assert {account for account, _ in accounts_on(content_of(catalog, "lab"))} == {None}


def test_usage_is_asked_for_of_the_sub_account() -> None:
    catalog = books(sub_account_of("lab", "acme"), BOTH[0])

    (request,) = requests_of(planned_lines(catalog, "acme", "EUR", instant(APRIL)))
    assert request.customer == "lab"


def test_revenue_by_customer_is_the_sub_account_s() -> None:
    own = subscription_of("own", "acme", "basic", MARCH)
    content = content_of(books(sub_account_of("lab", "acme"), BOTH[0], own), "acme")

    assert content is not None
    assert {row.group: row.total_minor for row in revenue([content], By.CUSTOMER)} == {
        "acme": 2000,
        "lab": 2500,
    }


def test_the_payer_is_taxed_and_says_who_it_is() -> None:
    at_home = [taxed_in(issuer_of(), "DE"), taxed_in(customer_of("acme", name="c0"), "DE")]
    content = content_of(books(*at_home, sub_account_of("lab", "acme"), BOTH[0]), "acme")

    assert content is not None
    assert [row["tax_code"] for row in content["taxes"]] == ["S-19"]
    assert content["billing_profile"] == {"name": "c0"}


def booked(*decisions: Decision, at: Sequence[str], restarting: bool = False) -> Books:
    """Books after ticks; before the last comes usage of lab: of an hour ago, and of now."""
    log = fact_log(*SOLD, *decisions)
    line, opened = Line(log), Books(log)
    *before, last = [Tick(n, instant(time), log.head) for n, time in enumerate(at, 1)]
    for tick in before:
        line.tick(tick)
    now = before[-1].time
    line.send(keyed(*(usage("lab", id=f"e{time}", time=time) for time in (now - HOUR, now))))
    line.tick(last)
    for piece in line.slices if restarting else ():
        opened.book([piece])
        opened.restart()
    if not restarting:
        opened.book(line.slices)
    return opened


def test_the_periods_of_a_sub_account_cut_its_payer_and_its_usage_lies_under_those_cuts() -> None:
    """At the tick of April the fee of shop, of ten days in March, is long cut: lab's is due."""
    opened = booked(
        sub_account_of("lab", "acme"),
        sub_account_of("shop", "acme"),
        *BOTH,
        at=[MARCH, "2026-03-21T00:00:00Z", APRIL, "2026-04-01T06:00:00Z"],
    )

    assert [(cut.payer, cut.instant, cut.serial) for cut in opened.cuts] == [
        ("acme", instant("2026-03-21T00:00:00Z"), 2),
        ("acme", instant(APRIL), 3),
    ]
    rows = {window: cut for (series, window, cut) in opened.store if series.customer == "lab"}
    assert rows == {instant(APRIL) - HOUR: 3, instant(APRIL): 3}
    (flush,) = opened.booked
    assert "acme" in flush.dirty
    assert not flush.dirty & {"lab", "shop"}
    assert {key: late.window_start for key, late in flush.late.items()} == {
        ("acme", 3): instant(APRIL) - HOUR
    }


def test_books_that_are_opened_anew_go_on_alike() -> None:
    facts, ticks = [sub_account_of("lab", "acme"), BOTH[0]], [MARCH, APRIL, "2026-04-01T06:00:00Z"]
    whole, again = (booked(*facts, at=ticks, restarting=each) for each in (False, True))

    assert again.store == whole.store
    assert [cut.payer for cut in again.cuts] == ["acme"]


def test_what_touches_a_sub_account_or_its_payer_touches_the_payer_s_drafts() -> None:
    log = fact_log(
        *SOLD, sub_account_of("lab", "acme"), BOTH[0], subscription_of("t", "lab", "basic", MARCH)
    )
    schedule = CutSchedule(0, log.at(log.head - 1), Tick(1, instant(MARCH), log.head - 1))

    schedule.pass_tick(Tick(2, instant(MARCH) + 1, log.head), log.at(log.head))

    assert schedule.started() == ["acme"]
    assert log.at(log.head).touched.at("acme") == log.head


def test_a_running_period_of_a_sub_account_is_a_draft_of_its_payer_and_billed_early_to_it() -> None:
    catalog = books(sub_account_of("lab", "acme"), BOTH[0])
    now = instant("2026-03-10T00:00:00Z")

    assert open_closings(catalog, "acme", instant(MARCH), now, ()) == [("EUR", instant(APRIL))]
    assert open_closings(catalog, "lab", instant(MARCH), now, ()) == []
    decision = billing_now(catalog, "s-lab", now)
    assert (decision.payer, decision.early) == ("acme", EarlyUsage("s-lab", now))


def test_a_credit_is_its_payer_s() -> None:
    catalog = books(sub_account_of("lab", "acme"), BOTH[0])

    with pytest.raises(ValueError, match="grant it to acme"):
        granting(catalog, grant(0, credit_of("c", "lab", "5")[2]))


def test_a_hold_is_its_payer_s() -> None:
    catalog = books(sub_account_of("lab", "acme"), sub_account_of("own", "acme", "own"))

    with pytest.raises(ValueError, match="hold acme"):
        holding(catalog, "customer", "lab", on=True)
    assert len(holding(catalog, "customer", "own", on=True)) == 1
    assert len(holding(catalog, "customer", "acme", on=True)) == 1


CHECKS = """
* {id: acme}, {id: lab, parent: acme, payer: parent} => (nothing)
* {id: acme}, {id: lab, parent: acme} => (nothing)
* {id: lab, parent: nobody} => customers[0].parent: no customer nobody, in this file or in force
* {id: lab, parent: lab} => customers[0].parent: lab is no sub-account of itself
* {id: a, parent: b}, {id: b, parent: a} => customers[0].parent: b is a sub-account of a itself
* {id: acme}, {id: lab, parent: acme}, {id: x, parent: lab} => customers[2].parent: lab is a sub
* {id: acme, currency: USD}, {id: lab, parent: acme, payer: parent} => customers[1].payer: lab is b
* {id: acme, currency: USD}, {id: lab, parent: acme} => (nothing)
* {id: lab, payer: parent} => customers[0].parent: required, but absent or empty
* {id: lab, parent: acme, payer: me}, {id: acme} => customers[0].payer: 'me': use one of own, parent
* {id: lab, parent: acme, payer: parent, approval: true}, {id: acme} =>
  customers[0].approval: lab has no documents of its own, acme pays: this does nothing; say it
* {id: lab, parent: acme, payer: parent, empty_invoices: true}, {id: acme} =>
  customers[0].empty_invoices: lab has no documents of its own, acme pays
* {id: lab, parent: acme, approval: true, empty_invoices: true}, {id: acme, approval: true} =>
  (nothing)
"""


@pytest.mark.parametrize(
    ("customers", "told"),
    [tuple(case.split(" => ")) for case in CHECKS.replace("\n  ", " ").strip()[2:].split("\n* ")],
)
def test_a_parent_is_checked(customers: str, told: str) -> None:
    text = f"customers: [{customers}]"
    _, problems = check(text, None)

    if told == "(nothing)":
        assert problems == []
        assert [*faults(shape.sheet_schema(), as_json(read_yaml(text)[0]))] == []
    else:
        assert any(f"{each.path}: {each.message}".startswith(told) for each in problems), problems


def refusals(text: str, *in_force: Decision) -> list[str]:
    _, problems = check(text, catalog_of(*in_force))
    return [f"{problem.path}: {problem.message}" for problem in problems]


def test_a_sub_account_that_its_parent_pays_has_its_usage_in_the_same_partition() -> None:
    far = next(
        f"lab{n}" for n in range(99) if partition_of(f"lab{n}", 8) != partition_of("acme", 8)
    )
    text = f"customers: [{{id: {far}, parent: acme, payer: parent}}]"

    (told,) = refusals(text, log_of(8), customer_of("acme"))
    offered = told.partition("an id such as ")[2].split()[0]
    assert told.startswith("customers[0].id: usage of ")
    assert partition_of(offered, 8) == partition_of("acme", 8)
    assert refusals(text.replace(far, offered), log_of(8), customer_of("acme")) == []
    assert refusals(text.replace(", payer: parent", ""), log_of(8), customer_of("acme")) == []


def test_who_pays_never_changes_once_something_is_sold() -> None:
    text = "customers: [{id: lab, parent: acme, payer: parent}]"
    known = [*SOLD, customer_of("lab")]

    assert refusals(text, *known) == []
    (told,) = refusals(text, *known, BOTH[0])
    assert told.startswith("customers[0].payer: who pays for lab cannot change from lab to acme")


def test_a_parent_cannot_leave_the_currency_of_what_it_pays() -> None:
    known = [*SOLD, sub_account_of("lab", "acme"), BOTH[0]]

    (told,) = refusals("customers: [{id: acme, currency: USD}]", *known)
    assert told.startswith("customers[0]: lab is billed in that of its plans and acme in USD")


def test_it_is_told_once() -> None:
    sheet = parse_sheet("customers: [{id: acme}, {id: lab, parent: acme, payer: parent}]")
    assert isinstance(sheet, Sheet)
    new: Any = changes(sheet, books(), {}, lambda: bytes(16), "2026.6")
    told = cast(Sequence[Any], new.facts)

    bodies: list[Mapping[str, Json]] = [each.body for each in told]
    assert [(body["id"], body.get("parent"), body.get("payer")) for body in bodies] == [
        ("lab", "acme", "parent")
    ]
    after = books(*((each.kind, each.subject, each.body) for each in told))
    assert after.accounts.of("acme") == ("acme", "lab")
    assert after.accounts.of("lab") == ()
    again: Any = changes(sheet, after, {}, lambda: bytes(16), "2026.6")
    assert again.facts == ()


def test_whose_documents_are_another_s_is_told_where_that_one_is_not_named() -> None:
    """Nothing is compared of a sub-account alone: its lines are on its payer's documents."""
    accounts = books(sub_account_of("lab", "acme"), customer_of("shop")).accounts
    assert accounts.without_payer(["lab", "shop"]) == {"lab": "acme"}
    assert accounts.without_payer(["acme", "lab", "shop"]) == {}
