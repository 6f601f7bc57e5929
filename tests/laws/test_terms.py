"""Laws of what is booked: documents over any prices, terms, usage and order of events."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from builders import catalog_of, customer_of, instant, issuer_of, log_of, meter_of, rules_of
from laws.test_rate_laws import all_prices, decimals, rated, requests
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Plan
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import Duration
from pipeline.core.identity import Json, canonical
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.usage import Usage
from pipeline.meter.points import UsagePoint
from pipeline.meter.scope import Scope
from pipeline.rate import (
    FlatPrice,
    MatrixPrice,
    Price,
    RatingInput,
    Terms,
    looks_at_events,
    parse_terms,
    quantity_max,
)

JAN, FEB = instant("2026-01-01T00:00:00Z"), instant("2026-02-01T00:00:00Z")
Node = Mapping[str, Json]


lasting: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    st.just({"duration": "once"}),
    st.builds(lambda cycles: {"duration": "repeating", "cycles": str(cycles)}, st.integers(1, 3)),
)
reductions = st.lists(
    st.one_of(
        st.builds(
            lambda percent, more: {"type": "percentage", "percent": str(percent), **more},
            st.integers(0, 99),
            lasting,
        ),
        st.builds(
            lambda cents, more: {"type": "fixed", "amount": f"{cents}.05", **more},
            st.integers(0, 90),
            lasting,
        ),
    ),
    max_size=4,
)


@st.composite
def terms(draw: st.DrawFn, price: Price) -> Terms:
    """Terms that may stand beside a price."""
    given: dict[str, object] = {"discounts": draw(reductions)}
    if isinstance(price, FlatPrice):
        given["quantity"] = str(draw(st.integers(1, 9)))
    elif not isinstance(price, MatrixPrice):
        low, high = sorted(draw(st.tuples(st.integers(0, 300), st.integers(0, 300))))
        given |= draw(st.sampled_from([{}, {"minimum": f"{low}.5"}, {"maximum": f"{high}.5"}]))
        if not looks_at_events(price):
            given |= draw(st.sampled_from([{}, {"usage_discount": "3.5"}]))
            conversion = {"operation": "divide", "factor": "3", "rounding": "ceiling"}
            given |= draw(st.sampled_from([{}, {"unit_conversion": conversion}]))
    found = parse_terms(given, price, "")
    assert isinstance(found, Terms), found
    return found


@st.composite
def cards(draw: st.DrawFn) -> PlanPrice:
    price = draw(all_prices.filter(lambda price: quantity_max(price) is None))
    scope = Scope()
    if isinstance(price, MatrixPrice):
        scope = Scope((), tuple(sorted(price.dimensions)))
    meter = None if isinstance(price, FlatPrice) else "calls"
    return PlanPrice("p", "Price", meter, price, {}, scope, draw(terms(price)))


def points(values: list[tuple[int, Fraction, str]]) -> list[UsagePoint]:
    return [
        UsagePoint(
            JAN + second,
            number.to_bytes(16, "big"),
            3,
            int(value * 1000),
            1,
            (("region", region),) if region else (),
        )
        for number, (second, value, region) in enumerate(values)
    ]


told = st.lists(
    st.tuples(st.integers(0, 9), decimals("-20", "60"), st.sampled_from(["", "eu", "us"])),
    max_size=8,
).map(points)


def catalog(card: PlanPrice) -> Catalog:
    bare = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", points=True, dimensions=["region", "tier"]),
        customer_of("acme"),
    )
    plan = Plan("pro", "Pro", "talea", "EUR", Duration(1, 0, 0), 14, (card,))
    sold = Subscription("s", "acme", "pro", JAN, None)
    return replace(bare, plans={"pro": plan}, subscriptions={"s": sold}, _owned={"acme": (sold,)})


def content(card: PlanPrice, used: list[UsagePoint]) -> Node:
    books = catalog(card)
    lines = planned_lines(books, "acme", "EUR", FEB)
    usage: Usage = {line.request: used for line in lines if line.request}
    (document,) = compose(books, "acme", "EUR", FEB, lines, usage)
    return document.content


@given(cards(), told)
def test_whatever_is_sold_and_used_is_billed_and_children_sum_to_parents(
    card: PlanPrice, used: list[UsagePoint]
) -> None:
    document = content(card, used)
    families = [(document, cast(list[Node], document["lines"]))]
    families += [(line, cast(list[Node], line["children"])) for line in families[0][1]]
    looked = 0
    for parent, children in families:
        for name, total in cast(Mapping[str, int], parent["totals"]).items():
            if children or parent is document:
                assert total == sum(cast(Mapping[str, int], c["totals"])[name] for c in children)
                looked += 1
    assert looked >= 7


@given(cards(), told)
def test_discounts_of_a_line_sum_to_its_total_of_them(
    card: PlanPrice, used: list[UsagePoint]
) -> None:
    for line in cast(list[Node], content(card, used)["lines"]):
        for node in cast(list[Node], line["children"]) or [line]:
            taken = [
                cast(int, each["amount_minor"]) for each in cast(list[Node], node["discounts"])
            ]
            totals = cast(Mapping[str, int], node["totals"])
            assert sum(taken) == totals["discounts_total_minor"]


@given(cards(), told, st.randoms(use_true_random=False))
def test_the_order_that_events_came_in_makes_no_difference(
    card: PlanPrice, used: list[UsagePoint], chance: Random
) -> None:
    shuffled = [*used]
    chance.shuffle(shuffled)

    one, other = content(card, used), content(card, shuffled)
    assert canonical(cast(Json, one)) == canonical(cast(Json, other))


@given(requests(all_prices.filter(lambda price: not looks_at_events(price))))
def test_what_took_a_discount_sums_to_it(request: RatingInput) -> None:
    for line in rated(request).lines:
        assert sum(line.shares) == line.discount_minor


@given(requests(), st.lists(decimals("-30", "30", 2), min_size=1, max_size=6))
def test_a_credit_is_never_above_what_was_billed(
    request: RatingInput, pieces: list[Fraction]
) -> None:
    request = replace(request, minimum=None)
    billed, total = 0, Fraction(0)
    for piece in pieces:
        before, total = max(Fraction(0), total), total + piece
        asked = replace(request, quantity=total - before, pre_line_quantity=before)
        billed += rated(asked).amount_minor
        assert billed >= 0
