"""A plan of every price, over any usage, held against an oracle that shares no step with rating."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from textwrap import indent
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders import catalog_of, instant, issuer_of, log_of, rules_of, usage
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.collect.event import UsageEvent
from pipeline.core.quantity import mantissa_scale
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.usage import UsagePart, Used
from pipeline.meter.points import UsagePoint
from price_oracle import CATALOG, PRICES, topped_up

JAN, FEB = instant("2026-01-01T00:00:00Z"), instant("2026-02-01T00:00:00Z")
SHEET = f"""
meters:
  - {{id: calls, aggregation: sum, unit: call, dimensions: [region]}}
  - {{id: money, aggregation: sum, unit: EUR, points: true}}
plans:
  - id: all
    name: All
    issuer: talea
    currency: EUR
    cycle: P1M
    prices:{indent(CATALOG, "    ")}
customers: [{{id: acme}}]
subscriptions: [{{id: s, customer: acme, plan: all, start: 2026-01-01T00:00:00Z}}]
"""


@cache
def books() -> Catalog:
    """The shop's catalog, through the facts it makes."""
    begun = (log_of(), rules_of(), issuer_of())
    sheet = parse_sheet(SHEET)
    assert isinstance(sheet, Sheet), sheet
    found = changes(sheet, catalog_of(*begun), {}, lambda: bytes(16), "2026.6")
    assert isinstance(found, Changes), found
    return catalog_of(*begun, *((fact.kind, fact.subject, dict(fact.body)) for fact in found.facts))


def used(event: UsageEvent, number: int) -> Used:
    """An event as the books hold it."""
    mantissa, scale = mantissa_scale(event.value)
    if event.meter == "money":
        return UsagePoint(event.time, number.to_bytes(16, "big"), scale, mantissa)
    pairs = tuple(event.dimensions.items())
    return UsagePart(scale, 1, mantissa, mantissa, mantissa, 0, pairs)


@st.composite
def events(draw: st.DrawFn) -> list[UsageEvent]:
    """Usage from 0 on, no two events at one time."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        value = draw(st.decimals(0, draw(st.sampled_from([1, 60, 600])), places=3))
        region = draw(st.sampled_from(["eu", "us", "asia", ""]))
        meter = draw(st.sampled_from(["calls", "money"]))
        named = {"region": region} if region and meter == "calls" else {}
        found.append(usage(value=str(value), meter=meter, time=JAN + number, **named))
    return draw(st.permutations(found))


def billed(told: Sequence[UsageEvent], until: int) -> dict[str, int]:
    """What the document at an instant comes to, by price; nothing was carried before."""
    lines = planned_lines(books(), "acme", "EUR", until)
    usage = {
        line.request: [
            used(event, number)
            for number, event in enumerate(told)
            if event.meter == line.request.meter
        ]
        for line in lines
        if line.request
    }
    (document,) = compose(books(), "acme", "EUR", until, lines, usage)
    content: Any = document.content
    found: dict[str, int] = defaultdict(int)
    for line in content["lines"]:
        if line["payment_term"] == "in_arrears" or line["period_start"] == content["period_start"]:
            found[line["rate_card"]["id"]] += line["total_minor"]
    return dict(found)


@given(events())
def test_every_price_comes_to_what_the_oracle_works_out(told: list[UsageEvent]) -> None:
    by_meter: dict[str | None, list[UsageEvent]] = defaultdict(list)
    for event in told:
        by_meter[event.meter].append(event)

    worth = {name: priced(by_meter[meter], 0) for name, (meter, priced) in PRICES.items()}
    assert billed(told, FEB) == worth | topped_up(worth)


def test_the_oracle_s_own_numbers() -> None:
    """Worked out by hand, so that the oracle and the room are not wrong together."""
    calls = [usage(value="620.5", region="eu"), usage(value="79.5")]
    money = [
        usage(value=value, time=JAN + n) for n, value in enumerate(map(str, (10, 20, 30, 40, 5)))
    ]
    worth = {
        # 700 calls: 59 dozens begun, 54 priced: 19.98 - 1.05 = 18.93, topped up
        "unit": 2000,
        # 10.10 + 15.00 + 2.50 + 9.09 = 36.69; 15 % of it is 5.50
        "graduated": 3119,
        "volume": 10500,
        "package": 7 * 499,
        # 124.10 - 6.21 (6.205); 39.75 - 1.99 (1.9875)
        "matrix": 12410 - 621 + 3975 - 199,
    }
    assert {name: PRICES[name][1](calls, 0) for name in worth} == worth
    paid = {
        "percentage": 160,  # 55 x 2.9 % = 1.595
        "fee": 147 + 125,
        "single": 85 + 40,  # 40 x 1.5 % + 0.25 = 0.85; 0.325 -> 0.40
        "steps": 315,
        "dynamic": 12075,
    }
    assert {name: PRICES[name][1](money, 0) for name in paid} == paid
    assert PRICES["seats"][1]([], 0) == 2265 - 227
    assert PRICES["seats"][1]([], 1) == 2265
