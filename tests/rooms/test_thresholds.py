"""Thresholds of spending: which are reached, what is told of them, what the sheet may say."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    line_edit_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision as Told
from pipeline.catalog.early import EarlyUsage, Thresholds
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.sheet import parse_sheet
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.asking import billing_now
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, requests_of
from pipeline.invoice.thresholds import thresholds_reached
from pipeline.invoice.usage import UsagePart
from pipeline.stores.postgres.facts import Author
from pipeline.workers.telling import Reached, Teller

JAN, FEB, MID = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-01-16T00:00:00Z"
AT: Json = {"at": ["50", "200"], "every": "100"}


@pytest.mark.parametrize(
    ("at", "every", "spent", "reached", "amount"),
    [
        (["50", "200"], "100", "49.99", 0, None),
        (["50", "200"], "100", "50", 1, "50"),
        (["50", "200"], "100", "199.99", 1, "50"),
        (["50", "200"], "100", "200", 2, "200"),
        (["50", "200"], "100", "299.99", 2, "200"),
        (["50", "200"], "100", "1234.5", 12, "1200"),
        (["50", "200"], None, "1234.5", 2, "200"),
        ([], "30", "29", 0, None),
        ([], "30", "95", 3, "90"),
        ([], None, "95", 0, None),
        (["50"], "10", "-5", 0, None),
    ],
)
def test_how_many_thresholds_an_amount_has_come_to(
    at: list[str], every: str | None, spent: str, reached: int, amount: str | None
) -> None:
    told = Thresholds(tuple(map(Fraction, at)), None if every is None else Fraction(every))

    assert told.reached(Fraction(spent)) == reached
    assert amount is None or told.amount(reached) == Fraction(amount)


def decisions(plan: Json = None, own: Json = None, **terms: Json) -> list[Decision]:
    kind, name, body = plan_of(
        "p",
        price_of("calls", per_unit("1"), "calls", **terms),
        price_of("fee", flat("500")),
    )
    sold = subscription_of("s", "acme", "p", JAN)
    if own is not None:
        sold[2]["thresholds"] = own
    return [
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        (kind, name, body if plan is None else {**body, "thresholds": plan}),
        customer_of("acme"),
        sold,
    ]


def looked(
    catalog: Catalog, used: int, carried: Carried | None = None, known: int = 0
) -> list[Told]:
    """What is to be told of January's draft once so much is used."""
    lines = planned_lines(catalog, "acme", "EUR", instant(FEB), carried)
    usage = {asked: [UsagePart(0, 1, used, 0, 0)] for asked in requests_of(lines)}
    made = compose(catalog, "acme", "EUR", instant(FEB), lines, usage)
    reached = {("s", "", instant(JAN)): known} if known else {}
    return thresholds_reached(lines, [each.content for each in made], "EUR", reached)


def ordinals(told: Sequence[Told]) -> list[tuple[int, str | None]]:
    return [(each.early.ordinal, each.early.threshold) for each in told if each.early]


@pytest.mark.parametrize(
    ("plan", "own", "terms", "used", "told"),
    [
        (AT, None, {}, 49, []),  # fees do not count: they are due anyway
        (AT, None, {}, 50, [(1, "50")]),
        (AT, None, {}, 420, [(4, "400")]),  # the highest one alone
        (AT, {"at": ["10"]}, {}, 12, [(1, "10")]),
        (AT, {"at": []}, {}, 1000, []),
        (None, {"at": [], "every": "7"}, {}, 15, [(2, "14")]),
        (None, None, {}, 1000, []),
        (AT, None, {"minimum": "60"}, 20, []),  # nor what a minimum lacks
        (AT, None, {"discounts": [{"type": "percentage", "percent": "50"}]}, 99, []),
    ],
)
def test_what_is_told_of_a_draft(
    plan: Json, own: Json, terms: dict[str, Json], used: int, told: list[tuple[int, str]]
) -> None:
    assert ordinals(looked(catalog_of(*decisions(plan, own, **terms)), used)) == told


def test_what_is_told_once_is_not_told_again() -> None:
    catalog = catalog_of(*decisions(AT))

    assert looked(catalog, 60, known=1) == []
    assert ordinals(looked(catalog, 210, known=1)) == [(2, "200")]


def test_what_was_billed_early_counts_with_what_is_left() -> None:
    catalog = catalog_of(*decisions(AT))
    early = EarlyUsage("s", instant(JAN), "", 1, "50")
    lines = planned_lines(catalog, "acme", "EUR", instant(MID), {}, early)
    usage = {asked: [UsagePart(0, 1, 60, 0, 0)] for asked in requests_of(lines)}
    made = compose(catalog, "acme", "EUR", instant(MID), lines, usage, "fact")
    content: Any = made[0].content
    (line,) = content["lines"]
    carried = carried_by_all([content])

    assert (line["status"], line["line_position"], line["total_minor"]) == ("split", "first", 6000)
    assert (content["cause"], content["cut_instant"]) == ("fact", MID)
    assert looked(catalog, 199, carried, known=1) == []
    assert ordinals(looked(catalog, 200, carried, known=1)) == [(2, "200")]


class Log:
    """The fact log."""

    def __init__(self, known: list[Fact]) -> None:
        self.known = known

    def append_facts(self, decide: Any, author: Author, now: Instant) -> list[Fact]:
        new: Sequence[NewFact] = decide(self.known)
        head = len(self.known)
        self.known += [
            Fact(head + n, fact.id_after(1), fact.kind, fact.subject, fact.body, "", "", now)
            for n, fact in enumerate(new, start=1)
        ]
        return self.known[head:]


def test_a_threshold_is_one_fact_whoever_tells_it() -> None:
    log = Log(list(facts(*decisions(AT))))
    before = len(log.known)
    known = catalog_of(*decisions(AT))
    reached = looked(known, 60)
    for teller in (Teller(log, lambda: instant(MID)), Teller(log, lambda: instant(MID) + 9)):
        with pytest.raises(Reached):
            teller.look(reached)
        teller.tell(reached, known)
        teller.look(reached)

    (told,) = log.known[before:]
    assert (told.kind, told.subject) == (FactKind.THRESHOLD_REACHED, f"s//{JAN[:-1]}Z/1")
    assert told.body["at"] == MID


def test_what_is_billed_now_has_an_instant_of_its_own() -> None:
    catalog = catalog_of(*decisions())
    at_an_end = billing_now(catalog, "s", instant(FEB))

    assert at_an_end.at == instant(FEB) + 1
    assert billing_now(catalog, "s", instant(MID)).told().body["running_at"] == MID
    with pytest.raises(ValueError, match="no subscription t: `talea catalog show"):
        billing_now(catalog, "t", instant(MID))
    with pytest.raises(ValueError, match="s is not served now: what it owes is billed by itself"):
        billing_now(catalog, "s", instant(JAN) - 1)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ('{at: ["0"]}', "'0' is no threshold: write a decimal above 0"),
        ('{at: ["5", "5"]}', "not in ascending order, each once: sort them"),
        ('{every: "-1"}', "'-1' is no threshold: write a decimal above 0"),
        (
            f"{{at: [{', '.join(map(str, range(1, 34)))}]}}",
            "33 amounts: keep 32 at most, use every",
        ),
        ("{when: 5}", "nobody reads this key: remove it, or use at, every"),
    ],
)
def test_thresholds_that_are_none(thresholds: str, message: str) -> None:
    found = parse_sheet(
        "plans: [{id: p, name: P, issuer: i, currency: EUR, cycle: P1M,"
        f" thresholds: {thresholds}}}]"
    )

    assert isinstance(found, list)
    assert [problem.message for problem in found if message in problem.message], found


def test_what_was_billed_early_comes_back_with_a_subscription_that_is_taken_back() -> None:
    known, early = decisions(), EarlyUsage("s", instant(JAN))
    catalog = catalog_of(*known)
    lines = planned_lines(catalog, "acme", "EUR", instant(MID), {}, early)
    usage = {asked: [UsagePart(0, 1, 60, 0, 0)] for asked in requests_of(lines)}
    (first,) = compose(catalog, "acme", "EUR", instant(MID), lines, usage, "fact")
    carried = carried_by_all([first.content])
    void = catalog_of(*known, subscription_of("s", "acme", "p", JAN, JAN))
    back = planned_lines(void, "acme", "EUR", instant(JAN), carried)
    (second,) = compose(void, "acme", "EUR", instant(JAN), back, {})
    contents: Any = [first.content, second.content]

    assert [content["totals"]["total_minor"] for content in contents] == [6000, -6000]
    assert not any(reach.early for reach in carried_by_all(contents).values())


@pytest.mark.parametrize("said", [{"amount_minor": 4000}, {"quantity": "80", "unit_amount": "0.5"}])
def test_what_an_early_document_was_edited_to_is_billed_and_no_more(said: dict[str, Json]) -> None:
    known, early = decisions(), EarlyUsage("s", instant(JAN))

    def made(catalog: Catalog, at: str, used: int, carried: Carried, *of: EarlyUsage) -> Any:
        lines = planned_lines(catalog, "acme", "EUR", instant(at), carried, *of)
        usage = {asked: [UsagePart(0, 1, used, 0, 0)] for asked in requests_of(lines)}
        cause = "fact" if of else None
        (document,) = compose(catalog, "acme", "EUR", instant(at), lines, usage, cause)
        return document.content

    first = made(catalog_of(*known), MID, 60, {}, early)
    edit = line_edit_of(first["id"], "acme", first["lines"][0]["id"], **said)
    catalog = catalog_of(*known, edit)
    contents = [made(catalog, MID, 60, {}, early)]
    contents.append(made(catalog, FEB, 100, carried_by_all(contents)))

    calls = [content["lines"][0] for content in contents]
    assert [line["total_minor"] for line in calls] == [4000, 6000]
    assert sum(child["total_minor"] for child in calls[1]["children"]) == 6000
    assert sum(int(line["quantity"]) for line in calls) == 100
