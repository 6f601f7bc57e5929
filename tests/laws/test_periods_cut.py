"""Laws of a period that several documents bill: they come to what one document would bill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from builders import graduated, instant, per_unit
from laws.test_terms import cards, catalog, told
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.core.calendar import DAY, Instant
from pipeline.core.identity import canonical
from pipeline.invoice.compose import compose
from pipeline.invoice.fees import Reach
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, requests_of
from pipeline.meter.points import UsagePoint
from pipeline.meter.scope import Scope
from pipeline.rate import parse_price

JAN, FEB = instant("2026-01-01T00:00:00Z"), instant("2026-02-01T00:00:00Z")


def ended(card: PlanPrice, end: Instant | None) -> Catalog:
    """acme on one price, until `end`."""
    books = catalog(card)
    sold = replace(books.subscriptions["s"], end=end)
    return replace(books, subscriptions={"s": sold}, _owned={"acme": (sold,)})


@dataclass(frozen=True)
class Cut:
    """When, by what is known then, how much of the usage is booked; whether it is early."""

    at: Instant
    books: Catalog
    booked: int | None = None
    is_early: bool = False


def documents(cuts: Sequence[Cut], used: Sequence[UsagePoint]) -> list[list[dict[str, Any]]]:
    """The lines of the document of each cut."""
    carried: Carried = {}
    contents: list[Any] = []
    found: list[list[dict[str, Any]]] = []
    for cut in cuts:
        early = EarlyUsage("s", cut.at) if cut.is_early else None
        lines = planned_lines(cut.books, "acme", "EUR", cut.at, carried, early)
        usage = {
            asked: [point for point in used[: cut.booked] if asked.start <= point.time < asked.end]
            for asked in requests_of(lines)
        }
        made = compose(
            cut.books, "acme", "EUR", cut.at, lines, usage, f"fact {cut.at}" if early else None
        )
        contents += [document.content for document in made]
        carried = carried_by_all(contents)
        for reach in carried.values():
            assert Reach.of_json(reach.until, reach.json()) == reach
        told: list[Any] = [document.content for document in made]
        found.append([line for content in told for line in content["lines"]])
    return found


def sums(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], int]:
    """What the lines come to by group, component and what took a discount."""
    found: dict[tuple[str, ...], int] = {}
    for line in lines:
        group = str(sorted(line["rate_card"].get("group", {}).items()))
        for node in line["children"] or [line]:
            name = str(node["name"]).rpartition(": ")[2] if line["children"] else "flat"
            amounts: dict[tuple[str, ...], int] = {}
            amounts[group, name, str(node["unit_amount"])] = node["subtotal_minor"]
            for each in node["discounts"]:
                taker = canonical({**each, "amount_minor": 0}).decode()
                amounts[group, name, "discount", taker] = each["amount_minor"]
            for key, minor in amounts.items():
                found[key] = found.get(key, 0) + minor
    return {key: minor for key, minor in found.items() if minor}


few = settings(max_examples=40)
days = st.integers(1, 31).map(lambda number: JAN + number * DAY)
spread = st.tuples(told, st.lists(st.integers(0, 30), min_size=8, max_size=8)).map(
    lambda drawn: [
        replace(point, time=point.time + day * DAY)
        for point, day in zip(drawn[0], drawn[1], strict=False)
    ]
)


@few
@given(cards(), spread, st.lists(days, min_size=1, max_size=3, unique=True))
def test_an_end_moved_later_costs_what_it_would_have_cost_at_once(
    card: PlanPrice, used: list[UsagePoint], ends: list[Instant]
) -> None:
    assume(not card.in_advance)
    known = [Cut(end, ended(card, end)) for end in sorted(ends)]
    lines = [line for each in documents(known, used) for line in each]
    (at_once,) = documents(known[-1:], used)

    assert sums(lines) == sums(at_once)
    assert sum(line["total_minor"] for line in lines) == sum(
        line["total_minor"] for line in at_once
    )
    quantities = [sum(map(float, [line["quantity"] for line in each])) for each in (lines, at_once)]
    assert card.meter is None or abs(quantities[0] - quantities[1]) < 1e-6


@pytest.mark.parametrize(
    ("price", "totals"),
    [
        (per_unit("2"), [[("", 0)], [("eu", 600)]]),
        # the fee of nobody's usage comes back once there is somebody
        (graduated((None, "2", "1")), [[("", 100)], [("", -100), ("eu", 700)]]),
    ],
)
def test_usage_of_a_group_that_a_document_ended_before(
    price: dict[str, Any], totals: list[list[tuple[str, int]]]
) -> None:
    """Nothing was used when the first document ended; then 3 were, in eu."""
    read = parse_price(price)
    assert not isinstance(read, tuple)
    card = PlanPrice("p", "Price", "calls", read, {}, Scope((), ("region",)))
    used = [UsagePoint(JAN + DAY, bytes(16), 0, 3, 1, (("region", "eu"),))]
    known = [Cut(end, ended(card, end)) for end in (JAN + DAY, JAN + 2 * DAY)]

    assert [
        [(line["rate_card"]["group"].get("region", ""), line["total_minor"]) for line in lines]
        for lines in documents(known, used)
    ] == totals


@few
@given(cards(), spread, days, st.booleans())
def test_a_price_that_changed_where_a_document_ended_goes_on_in_its_tiers(
    card: PlanPrice, used: list[UsagePoint], end: Instant, named: bool
) -> None:
    """The first document ends where another price begins, or none does: the sum is the same."""
    assume(end < FEB and not card.in_advance)
    plan = ended(card, None).plans["pro"]
    second = replace(card, name="Second" if named else card.name)
    dated = replace(plan, prices=(second,), effective=end, earlier=plan)
    known = [Cut(until, replace(ended(card, until), plans={"pro": dated})) for until in (end, FEB)]
    lines = [line for each in documents(known, used) for line in each]
    (at_once,) = documents(known[-1:], used)

    assert sums(lines) == sums(at_once)


@st.composite
def early_cuts(draw: st.DrawFn) -> list[tuple[Instant, int]]:
    """When usage is billed early, and how much of it is booked then."""
    times = sorted(draw(st.lists(days.filter(lambda at: at < FEB), min_size=1, max_size=4)))
    counts = sorted(draw(st.lists(st.integers(0, 8), min_size=len(times), max_size=len(times))))
    return list(zip(times, counts, strict=True))


@few
@given(cards(), spread, early_cuts())
def test_usage_billed_early_in_any_cuts_comes_to_one_line(
    card: PlanPrice, used: list[UsagePoint], early: list[tuple[Instant, int]]
) -> None:
    books = ended(card, None)
    cuts = [Cut(at, books, booked, is_early=True) for at, booked in early]
    *firsts, last = documents([*cuts, Cut(FEB, books)], used)
    (at_once,) = documents([Cut(FEB, books)], used)

    lines = [line for each in [*firsts, last] for line in each]
    assert sums(lines) == sums(at_once)
    if any(firsts):
        told = [line["line_position"] for each in firsts for line in each]
        assert told[0] == "first"
        assert {line["line_position"] for line in last if "line_position" in line} == {"last"}


def test_a_price_that_changes_and_comes_to_the_same_is_no_early_document() -> None:
    """Both fees of the tier are 1.00: the last document tells them apart, no early one does."""
    books = []
    for fee in ("1.001", "1.004"):
        read = parse_price(graduated((None, "2", fee)))
        assert not isinstance(read, tuple)
        books.append(ended(PlanPrice("p", "Price", "calls", read, {}), None))
    old, new = books
    days = [JAN + number * DAY for number in (1, 2)]
    cuts = [Cut(days[0], old, is_early=True), Cut(days[1], new, is_early=True), Cut(FEB, new)]

    first, second, (last,) = documents(cuts, [])
    assert [line["total_minor"] for line in first] == [100]
    assert second == []
    assert sums([last]) == {
        ("[]", "tier 1 flat", "1.004"): 100,
        ("[]", "tier 1 flat", "1.001"): -100,
    }


@few
@given(cards(), cards(), spread, early_cuts())
def test_a_price_that_changes_for_all_of_a_period_leaves_what_it_comes_to(
    before: PlanPrice, after: PlanPrice, used: list[UsagePoint], early: list[tuple[Instant, int]]
) -> None:
    """What was billed early by another price is taken off, whatever it was."""
    assume(before.meter is not None and after.meter is not None)
    old, new = ended(before, None), ended(after, None)
    cuts = [Cut(at, old, booked, is_early=True) for at, booked in early]
    lines = [line for each in documents([*cuts, Cut(FEB, new)], used) for line in each]
    (at_once,) = documents([Cut(FEB, new)], used)

    assert sum(line["total_minor"] for line in lines) == sum(
        line["total_minor"] for line in at_once
    )
