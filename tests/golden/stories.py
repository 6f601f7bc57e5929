"""Invoices as stories: a catalog, what was used, when the period was cut.

Told in the domain's words and carried through the pure rooms: events -> batches -> slices ->
usage rows -> document. The figures in the comments were worked out by hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from builders import (
    Books,
    Decision,
    Line,
    billed_in,
    customer_of,
    fact_log,
    flat,
    graduated,
    hand_line_of,
    instant,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rate_of,
    redemption_of,
    rules_of,
    sub_account_of,
    subscription_of,
    tax_terms_of,
    taxed_in,
    usage,
)
from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.corrections import Decision as Told
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.facts import FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import Carried, planned_lines, requests_of, with_documents
from pipeline.meter.ticks import Tick

HALF_A_DAY = 12 * 3600 * SECOND


@dataclass(frozen=True)
class Story:
    """Facts, events (each with its id and time), and the tick that closes the period.

    `later`: facts that are told on the way, each with its time.
    """

    facts: Sequence[Decision]
    events: Sequence[UsageEvent]
    closed_at: str
    later: Sequence[tuple[str, Decision]] = ()

    def told(self) -> dict[str, Json]:
        """The content of the one document that the closing tick cuts."""
        told_later = [decision for _, decision in self.later]
        facts = fact_log(log_of(), rules_of(), issuer_of(), *self.facts, *told_later)
        line, books = Line(facts), Books(facts)
        end = instant(self.closed_at)
        start = min([event.time for event in self.events], default=end - HALF_A_DAY)
        edges = range(start - start % HALF_A_DAY, end, HALF_A_DAY)
        ticks = [Tick(n, at, self._position(facts, at)) for n, at in enumerate([*edges, end], 1)]
        line.commit(*ticks)
        for tick, time in zip(ticks, edges, strict=False):
            line.tick(tick)
            now = [e for e in self.events if time <= min(e.time, end - 1) < time + HALF_A_DAY]
            if now:
                line.send(keyed(*now))
        line.tick(ticks[-1])
        books.book(line.slices)
        *before, cut = books.cuts
        carried: Carried = {}
        for each in before:
            catalog = facts.at(ticks[each.serial - 1].fact_position)
            carried = with_documents(carried, _documents(catalog, each, books, carried))
        (content,) = _documents(facts.at(facts.head), cut, books, carried)
        return content

    def _position(self, facts: FactLog, time: int) -> int:
        """Return the facts known at a tick."""
        return facts.head - sum(instant(told) > time for told, _ in self.later)


def _documents(catalog: Catalog, cut: Cut, books: Books, carried: Carried) -> list[dict[str, Json]]:
    """What a cut makes: of what fell due, or of what is billed early."""
    told = catalog.deals.decisions.by_serial.get(cut.fact)
    early, cause = (told.early, told.fact) if told else (None, None)
    closing = cut.payer, cut.currency, cut.instant
    lines = planned_lines(catalog, *closing, carried, early)
    used = books.used(requests_of(lines), cut.serial)
    return [each.content for each in compose(catalog, *closing, lines, used, cause)]


def at(day: str, clock: str = "12:00:00") -> int:
    """An instant of March 2026."""
    return instant(f"2026-03-{day}T{clock}Z")


early_april = at("31", "23:59:59.999999") + 1

UNIT_AND_FLAT = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "starter",
            price_of("api-calls", per_unit("0.0035"), "api-calls"),
            price_of("platform-fee", flat("49.90")),
            currency="USD",
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="1200", meter="api-calls", id="e1", time=at("02")),
        usage(value="34.5", meter="api-calls", id="e2", time=at("14")),
        usage(value="0.25", meter="api-calls", id="e3", time=at("31", "23:59:59.999999")),
        usage(value="1200", meter="api-calls", id="e1", time=at("02")),  # sent twice, counts once
        usage(value="99", meter="api-calls", id="e4", time=early_april),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# api-calls: 1200 + 34.5 + 0.25 = 1234.75; x 0.0035 = 4.321625 -> 4.32
# platform fee: one whole month                               -> 49.90
# total                                                          54.22 USD

GRADUATED = Story(
    facts=[
        meter_of("storage", unit="GB", dimensions=["region", "tier"]),
        plan_of(
            "archive",
            price_of(
                "storage",
                graduated(
                    ("1000", "0.10", "0"),
                    ("1000000", "0.05", "2.50"),
                    (None, "0.000000000001", "0"),
                ),
                "storage",
            ),
        ),
        customer_of("globex", "Europe/Berlin"),
        subscription_of("sub-globex", "globex", "archive", "2026-03-01T00:00:00Z"),
    ],
    events=[
        # one customer, four series: two dimensions, scales 0, 3 and 18
        usage("globex", "999", meter="storage", id="s1", time=at("03"), region="eu", tier="cold"),
        usage("globex", "0.501", meter="storage", id="s2", time=at("04"), region="us", tier="hot"),
        usage(
            "globex",
            "12345678901234567890.123456789012345678",  # wide: more than an int64 holds
            meter="storage",
            id="s3",
            time=at("05"),
            region="eu",
            tier="hot",
        ),
        usage("globex", "1", meter="storage", id="s4", time=at("06"), region="eu", tier="hot"),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# quantity: 999 + 0.501 + 12345678901234567890.123456789012345678 + 1
#         = 12345678901234568890.624456789012345678
# tier 1:      1 000 x 0.10                                  =       100.00
# tier 2:    999 000 x 0.05                                  =    49 950.00
#            entering it                                     =         2.50
# tier 3: 12345678901233568890.624456789012345678 x 1e-12    = 12345678.901233568... -> 12345678.90
# total                                                        12395731.40 EUR

PRORATED = Story(
    facts=[
        plan_of("seat", price_of("seat", flat("10000")), currency="JPY"),
        customer_of("initech", "America/New_York"),
        # March in New York: from midnight EST (05:00Z) to midnight EDT (04:00Z): one hour short
        subscription_of(
            "sub-initech", "initech", "seat", "2026-03-01T05:00:00Z", "2026-03-16T04:00:00Z"
        ),
    ],
    events=[],
    closed_at="2026-03-16T04:00:00Z",
)
# the month: 31 days less the hour that spring takes = 743 h
# served: 1 to 15 March, 15 days less that hour      = 359 h
# 10000 x 359 / 743 = 4831.7631... yen -> 4832; a naive 15/31 of days would give 4839

TERMS = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        meter_of("exports", unit="exports"),
        plan_of(
            "scale",
            price_of(
                "api-calls",
                graduated(("1000", "0.01", "0"), (None, "0.005", "2.50")),
                "api-calls",
                usage_discount="500",
                discounts=[
                    {"type": "fixed", "amount": "1.50", "reason": "slow week"},
                    {"type": "percentage", "percent": "15", "reason": "partner"},
                ],
            ),
            price_of("exports", per_unit("0.25"), "exports", minimum="10.00"),
            price_of("seats", flat("12.00"), quantity="3", payment_term="in_advance"),
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "scale", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="2000.5", meter="api-calls", id="c1", time=at("02")),
        usage(value="300", meter="api-calls", id="c2", time=at("21")),
        usage(value="17", meter="exports", id="x1", time=at("09")),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# api-calls: 2300.5 less 500 free = 1800.5
# tier 1: 1000  x 0.01   = 10.00; less 15 % 1.50
# tier 2:  800.5 x 0.005 =  4.0025 -> 4.00; less 15 % 0.60
#         entering it    =  2.50; less 15 % 0.375
# 15 % of 16.50 = 2.475 -> 2.48, by largest remainder 1.50 + 0.60 + 0.38
# 1.50 by what is left, 8.50 + 3.40 + 2.12 of 14.02: 0.9094, 0.3638, 0.2268 -> 0.91 + 0.36 + 0.23
# exports: 17 x 0.25 = 4.25, topped up by 5.75 to 10.00
# seats, April's, since March's were due on March 1: 3 x 12.00 = 36.00
# amount 16.50 + 4.25 + 36.00 = 56.75; charges 5.75; discounts 3.98; total 58.52

PERCENTAGE = Story(
    facts=[
        meter_of("payments", unit="EUR", points=True),
        meter_of("compute", unit="EUR"),
        plan_of(
            "pay",
            price_of(
                "payments",
                {
                    "type": "percentage",
                    "rate_percent": "1.5",
                    "fixed_per_event": "0.25",
                    "free_events": "2",
                    "per_event_minimum": "0.40",
                    "per_event_maximum": "9",
                },
                "payments",
            ),
            price_of("compute", {"type": "dynamic", "multiplier": "1.2"}, "compute"),
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "pay", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="1000", meter="payments", id="p4", time=at("20")),
        usage(value="80", meter="payments", id="p2", time=at("05")),  # the second: free
        usage(value="5000", meter="payments", id="p1", time=at("04")),  # the first: free
        usage(value="5", meter="payments", id="p3", time=at("06")),
        usage(value="100", meter="payments", id="p5", time=at("20", "12:00:01")),
        usage(value="-30", meter="payments", id="p6", time=at("21")),  # pays nothing
        usage(value="12.345", meter="compute", id="c1", time=at("08")),
        usage(value="0.0005", meter="compute", id="c2", time=at("09")),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# payments in the order of time: 5000 and 80 are free
#    5 x 1.5 % + 0.25 = 0.325 -> at least 0.40
# 1000 x 1.5 % + 0.25 = 15.25 -> at most 9.00
#  100 x 1.5 % + 0.25 = 1.75
# one line: 11.15
# compute: (12.345 + 0.0005) x 1.2 = 14.8146 -> 14.81
# total 25.96

MATRIX = Story(
    facts=[
        meter_of("egress", unit="GB", dimensions=["region", "tier"]),
        plan_of(
            "cdn",
            price_of(
                "egress",
                {
                    "type": "matrix",
                    "dimensions": ["region", "tier"],
                    "cells": [
                        {"values": ["eu", "edge"], "unit_amount": "0.05"},
                        {"values": ["us", "edge"], "unit_amount": "0.04"},
                    ],
                    "default_unit_amount": "0.125",
                },
                "egress",
                group_by=["region", "tier"],
                discounts=[{"type": "percentage", "percent": "20"}],
            ),
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "cdn", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="100.5", meter="egress", id="e1", time=at("02"), region="eu", tier="edge"),
        usage(value="10", meter="egress", id="e2", time=at("03"), region="us", tier="edge"),
        usage(value="7", meter="egress", id="e3", time=at("04"), region="eu", tier="core"),
        usage(value="3.25", meter="egress", id="e4", time=at("05"), region="eu"),
        usage(value="0.5", meter="egress", id="e5", time=at("06"), region="eu", tier="edge"),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# eu, edge: 101 x 0.05 = 5.05 less 1.01; us, edge: 10 x 0.04 = 0.40 less 0.08
# eu, core: 7 x 0.125 = 0.875 -> 0.88 less 0.18; eu alone: 3.25 x 0.125 = 0.40625 -> 0.41 less 0.08
# total 4.04 + 0.32 + 0.70 + 0.33 = 5.39

PRICE_CHANGE = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "starter",
            price_of(
                "api-calls", graduated(("1000", "0.01", "0"), (None, "0.005", "0")), "api-calls"
            ),
            price_of("platform-fee", flat("31.00")),
            price_of("support", flat("5.00")),
        ),
        plan_of(
            "starter",
            price_of(
                "api-calls", graduated(("1000", "0.02", "0"), (None, "0.01", "0")), "api-calls"
            ),
            price_of("platform-fee", flat("62.00")),
            price_of("support", flat("5.00")),
            effective="2026-03-16T12:00:00Z",
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="800", meter="api-calls", id="p1", time=at("02")),
        usage(value="700", meter="api-calls", id="p2", time=at("20")),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# api-calls until the 16th, noon: 800 x 0.01                        =  8.00
# after it, 700 on top of 800: 200 left of tier 1 x 0.02            =  4.00
#                              500 in tier 2 x 0.01                 =  5.00
# platform fee: half a month of 31.00, half a month of 62.00        = 15.50 + 31.00
# support did not change, so it is one line                         =  5.00
# total                                                               68.50 EUR

_MARCH = "2026-03-01T00:00:00Z"
_PRO = plan_of(
    "pro",
    price_of("seats", flat("24.80"), quantity="3", payment_term="in_advance"),
    price_of("api-calls", per_unit("0.10"), "api-calls"),
)

SEATS = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        _PRO,
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "pro", _MARCH),
    ],
    later=[
        (
            "2026-03-12T00:00:00Z",
            subscription_of(
                "sub-acme",
                "acme",
                "pro",
                _MARCH,
                changes=[
                    {"at": "2026-03-11T00:00:00Z", "quantities": {"seats": "5"}},
                    {"at": "2026-03-21T12:00:00Z", "quantities": {"seats": "4"}},
                ],
            ),
        ),
    ],
    events=[usage(value="12", meter="api-calls", id="e1", time=at("02"))],
    closed_at="2026-04-01T00:00:00Z",
)
# March, billed on March 1: 3 x 24.80 = 74.40 for 31 days
# unused of it, 21 days: what is left is 74.40 x 10 / 31 = 24.00, so 50.40 comes back
# 5 seats for 10.5 days: 124.00 x 21 / 62 = 42.00
# 4 seats for 10.5 days:  99.20 x 21 / 62 = 33.60
# April's 4 seats                         = 99.20
# api-calls: 12 x 0.10                    =  1.20
# total -50.40 + 42.00 + 33.60 + 99.20 + 1.20 = 125.60

PLAN_CHANGE = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        _PRO,
        plan_of(
            "scale",
            price_of("seats", flat("49.60"), quantity="3", payment_term="in_advance"),
            price_of("api-calls", per_unit("0.05"), "api-calls"),
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "pro", _MARCH),
    ],
    later=[
        (
            "2026-03-12T00:00:00Z",
            subscription_of(
                "sub-acme",
                "acme",
                "pro",
                _MARCH,
                changes=[{"at": "2026-03-21T00:00:00Z", "plan": "scale"}],
            ),
        ),
    ],
    events=[
        usage(value="2", meter="api-calls", id="e0", time=at("02")),
        usage(value="10", meter="api-calls", id="e1", time=at("20", "23:59:59")),
        usage(value="30", meter="api-calls", id="e2", time=at("21", "00:00:00")),
    ],
    closed_at="2026-03-21T00:00:00Z",
)
# usage up to the change, by the plan it was used under: 12 x 0.10 = 1.20
# pro, unused for 11 of 31 days: 74.40 - 74.40 x 20 / 31 = 74.40 - 48.00 = 26.40 comes back
# scale for 11 days: 148.80 x 11 / 31 = 52.80
# total 1.20 - 26.40 + 52.80 = 27.60

CANCELLED = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        _PRO,
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "pro", _MARCH),
    ],
    later=[
        (
            "2026-03-25T12:00:00Z",
            subscription_of("sub-acme", "acme", "pro", _MARCH, "2026-03-25T12:00:00Z"),
        ),
    ],
    events=[
        usage(value="2", meter="api-calls", id="e0", time=at("02")),
        usage(value="10", meter="api-calls", id="e1", time=at("25", "11:59:59")),
        usage(value="99", meter="api-calls", id="e2", time=at("25", "12:00:00")),
    ],
    closed_at="2026-03-25T12:00:00Z",
)
# usage up to the end: 12 x 0.10 = 1.20
# seats, unused for 6.5 of 31 days: 74.40 x 6.5 / 31 = 15.60 comes back
# total -14.40: what was paid ahead is worth more than what was used

AGREED = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "pro",
            price_of("seats", flat("24.80")),
            price_of("api-calls", per_unit("0.10"), "api-calls"),
            trial="P10D",
            phases=[{"id": "welcome", "length": "P5D", "percent_off": "50"}],
        ),
        plan_of("support", price_of("hours", flat("31"))),
        customer_of("acme"),
        subscription_of(
            "sub-acme",
            "acme",
            "pro",
            _MARCH,
            anchor="calendar",
            quantities={"seats": "2"},
            prices=[price_of("api-calls", per_unit("0.08"), "api-calls")],
            pauses=[{"start": "2026-03-26T00:00:00Z", "end": "2026-03-28T00:00:00Z"}],
            add_ons=[
                {
                    "id": "helpdesk",
                    "plan": "support",
                    "start": "2026-03-30T00:00:00Z",
                    "end": None,
                }
            ],
        ),
    ],
    events=[
        usage(value="1000", meter="api-calls", id="e1", time=at("05")),  # in the trial
        usage(value="10", meter="api-calls", id="e2", time=at("12")),  # at half price
        usage(value="20", meter="api-calls", id="e3", time=at("17")),
        usage(value="40", meter="api-calls", id="e4", time=at("27")),  # in the pause
        usage(value="80", meter="api-calls", id="e5", time=at("29")),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# the last of the month's documents, of the stretch from the pause to the month's end:
# seats 2 x 24.80 x 4 / 31 = 6.40; api-calls 80 x 0.08, the customer's own price, = 6.40
# helpdesk from March 30: 31.00 x 2 / 31 = 2.00; total 14.80

EXCHANGED = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "scale",
            price_of(
                "api-calls",
                graduated(("1000", "0.01", "0"), (None, "0.005", "2.50")),
                "api-calls",
            ),
            price_of("platform-fee", flat("49.90")),
            price_of("support", flat("20"), currencies={"EUR": {"price": flat("19")}}),
            currency="USD",
        ),
        customer_of("acme"),
        billed_in(subscription_of("sub-acme", "acme", "scale", "2026-03-01T00:00:00Z"), "EUR"),
        rate_of("USD", "EUR", "2026-03-01", "0.8"),
        rate_of("USD", "EUR", "2026-03-31", "0.9"),
        rate_of("USD", "EUR", "2026-04-01", "1"),
        redemption_of(
            "WELCOME",
            "sub-acme",
            "2026-03-05T00:00:00Z",
            {"type": "percentage", "percent": "50", "duration": "once"},
            prices=["platform-fee"],
        ),
    ],
    events=[usage(value="1800.5", meter="api-calls", id="c1", time=at("02"))],
    closed_at="2026-04-01T00:00:00Z",
)
# at the rate of March 31, the last day served
# api-calls: 1000  x 0.01 x 0.9   = 9.00
#            800.5 x 0.005 x 0.9  = 3.60225 -> 3.60
#            entering it 2.50     = 2.25; in dollars 10.00 + 4.00 + 2.50 = 16.50
# platform fee: 49.90 x 0.9 = 44.91; less 50 % = 22.455 -> 22.46
# support is listed in euros: 19.00
# amount 14.85 + 44.91 + 19.00 = 78.76; less 22.46 = 56.30

ORDER = Story(
    facts=[
        customer_of("acme"),
        (
            FactKind.ORDER,
            "checkout-7",
            {
                "id": "checkout-7",
                "customer": "acme",
                "issuer": "talea",
                "currency": "EUR",
                "at": "2026-03-16T10:00:00Z",
                "payment_days": 0,
                "lines": [
                    price_of("set-up", flat("250")),
                    price_of(
                        "consulting",
                        flat("119.99"),
                        quantity="2.5",
                        discounts=[{"type": "percentage", "percent": "10", "reason": "partner"}],
                    ),
                ],
            },
        ),
    ],
    events=[],
    closed_at="2026-03-16T10:00:00Z",
)
# consulting: 2.5 x 119.99 = 299.975 -> 299.98; less 10 % = 29.998 -> 30.00
# total 250.00 + 299.98 - 30.00 = 519.98

_API_CALLS = graduated(("1000", "0.01", "0"), (None, "0.005", "2.50"))

TWO_RATES = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976"),
        meter_of("api-calls", unit="calls"),
        plan_of(
            "scale",
            price_of("api-calls", _API_CALLS, "api-calls"),
            price_of("handbook", flat("12.33"), tax=tax_terms_of("reduced")),
            price_of("platform-fee", flat("49.99")),
        ),
        taxed_in(customer_of("acme", "Europe/Berlin"), "DE"),
        subscription_of("sub-acme", "acme", "scale", "2026-02-28T23:00:00Z"),
    ],
    events=[usage(value="1800.5", meter="api-calls", id="c1", time=at("02"))],
    closed_at="2026-03-31T22:00:00Z",
)
# api-calls 10.00 + 4.00 + 2.50 = 16.50, with the platform fee 66.49
# 19 % of it 12.6331 -> 12.63: 3.135 and 9.4981, so the odd cent is the fee's: 3.13 and 9.50
# its tiers 1.90 + 0.76 + 0.475, together 3.13: 1.90, 0.76, 0.47
# 7 % of 12.33 = 0.8631 -> 0.86; total 66.49 + 12.33 + 12.63 + 0.86 = 92.31

COMMITMENT = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976"),
        meter_of("calls", unit="calls"),
        meter_of("exports", unit="exports"),
        plan_of(
            "team",
            price_of(
                "calls",
                per_unit("0.01"),
                "calls",
                discounts=[{"type": "percentage", "percent": "10", "reason": "partner"}],
            ),
            price_of("exports", per_unit("0.25"), "exports", minimum="5.00"),
            price_of("handbook", flat("12.33"), tax=tax_terms_of("reduced")),
            price_of("seats", flat("12.00"), quantity="3", payment_term="in_advance"),
            price_of("spend", flat("150.00"), covers="all"),
        ),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of("sub-acme", "acme", "team", "2026-03-01T00:00:00Z", "2026-03-16T00:00:00Z"),
    ],
    events=[
        usage(value="1500", meter="calls", id="c1", time=at("02")),
        usage(value="8", meter="exports", id="x1", time=at("09")),
    ],
    closed_at="2026-03-16T00:00:00Z",
)
# 15 of 31 days: the least is 150.00 x 15 / 31 = 72.5806... -> 72.58
# calls 15.00 - 10 %                                  = 13.50
# exports 2.00, to their own minimum                  =  5.00
# handbook 12.33 x 15 / 31 = 5.9661...                =  5.97
# seats 36.00 x 15 / 31 = 17.4193..., billed on 1 March, count all the same: 17.42
# together 41.89, so 30.69 lacks, taxed as its card says: standard
# 19 % of 13.50 + 5.00 + 30.69 = 49.19 is 9.3461 -> 9.35; 7 % of 5.97 is 0.4179 -> 0.42
# total 49.19 + 5.97 + 9.35 + 0.42 = 64.93

REVERSE_CHARGE = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976"),
        *UNIT_AND_FLAT.facts[:1],
        plan_of(
            "starter",
            price_of("api-calls", per_unit("0.0035"), "api-calls"),
            price_of("platform-fee", flat("49.90")),
        ),
        taxed_in(customer_of("acme", vat_id="c0ffee"), "FR", vat="FR"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
    ],
    events=UNIT_AND_FLAT.events,
    closed_at="2026-04-01T00:00:00Z",
)
# 54.22 as without tax: the customer declares it in France

INCLUSIVE = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976", oss=True),
        meter_of("api-calls", unit="calls"),
        plan_of(
            "home",
            price_of(
                "api-calls",
                per_unit("0.10"),
                "api-calls",
                discounts=[{"type": "percentage", "percent": "10"}],
                tax=tax_terms_of("digital", inclusive=True),
            ),
            price_of(
                "seats",
                flat("9.99"),
                quantity="3",
                tax=tax_terms_of("digital", inclusive=True),
            ),
        ),
        taxed_in(customer_of("acme"), "FR"),
        subscription_of("sub-acme", "acme", "home", "2026-03-01T00:00:00Z"),
    ],
    events=[usage(value="45", meter="api-calls", id="c1", time=at("02"))],
    closed_at="2026-04-01T00:00:00Z",
)
# api-calls 4.50 - 0.45 = 4.05, seats 29.97: 34.02, of which French VAT 34.02 x 20 / 120 = 5.67
# 0.675 and 4.995: the odd cent goes to the first of two equal rests, 0.68 and 4.99

EXEMPT = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976"),
        plan_of(
            "school",
            price_of("seats", flat("100")),
            price_of("training", flat("50"), tax=tax_terms_of("exempt", reason="UStG, § 4 no. 21")),
        ),
        taxed_in(
            customer_of("acme", exemption="c0ffee"),
            "DE",
            exempt="NATO SOFA, art. 67 (3)",
        ),
        subscription_of("sub-acme", "acme", "school", "2026-03-01T00:00:00Z"),
    ],
    events=[],
    closed_at="2026-04-01T00:00:00Z",
)
# 100.00 for who owes no tax, 50.00 of what nobody owes tax on: one category, two reasons

MOVED = Story(
    facts=[
        taxed_in(issuer_of(), "DE", vat_id="DE136695976"),
        *CANCELLED.facts[:2],
        taxed_in(customer_of("acme"), "DE"),
        *CANCELLED.facts[3:],
    ],
    later=[
        (
            "2026-03-15T12:00:00Z",
            taxed_in(customer_of("acme"), "FR", vat="FR", since="2026-03-10"),
        ),
        *CANCELLED.later,
    ],
    events=CANCELLED.events,
    closed_at="2026-03-25T12:00:00Z",
)
# as it was cancelled, 1.20 - 15.60; seats were paid for at home, and come back with what was paid:
# 19 % of -15.60 = -2.964 -> -2.96; usage ends when the customer is a business in France
# total -14.40 - 2.96 = -17.36

BY_HAND = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "starter",
            price_of(
                "api-calls", graduated(("1000", "0.01", "0"), (None, "0.005", "2.5")), "api-calls"
            ),
            price_of("platform-fee", flat("49.90")),
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
        hand_line_of("consulting", "acme", "2026-03-12T09:30:00Z", flat("120"), quantity="2.25"),
        hand_line_of("goodwill", "acme", "2026-03-14T00:00:00Z", flat("-5"), type="credit"),
        hand_line_of(
            "api-calls",
            "acme",
            "2026-03-20T00:00:00Z",
            graduated(("1000", "0.01", "0"), (None, "0.005", "2.5")),
            quantity="1200",
            plan="starter",
            meter="api-calls",
        ),
        hand_line_of("in-april", "acme", "2026-04-01T00:00:01Z", flat("9")),
    ],
    events=[usage(value="300", meter="api-calls", id="c1", time=at("02"))],
    closed_at="2026-04-01T00:00:00Z",
)
# consulting 2.25 x 120 = 270.00; goodwill -5.00
# 1200 calls as listed: 1000 x 0.01 = 10.00, 200 x 0.005 = 1.00, entering it 2.50: 13.50
# usage of its own: 300 x 0.01 = 3.00; platform fee 49.90
# 270.00 - 5.00 + 13.50 + 3.00 + 49.90 = 331.40

REACHED = Told(
    FactKind.THRESHOLD_REACHED,
    "acme",
    "USD",
    at("15", "00:00:00"),
    early=EarlyUsage("sub-acme", at("01", "00:00:00"), "", 1, "12"),
).told()

THRESHOLD = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "starter",
            price_of(
                "api-calls", graduated(("1000", "0.01", "0"), (None, "0.005", "0")), "api-calls"
            ),
            price_of("platform-fee", flat("20")),
            currency="USD",
        ),
        customer_of("acme"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
    ],
    events=[
        usage(value="800", meter="api-calls", id="e1", time=at("02")),
        usage(value="700", meter="api-calls", id="e2", time=at("14")),
        usage(value="500", meter="api-calls", id="e3", time=at("20")),
    ],
    closed_at="2026-03-15T00:00:00Z",
    later=[("2026-03-15T00:00:00Z", (REACHED.kind, REACHED.subject, {**REACHED.body}))],
)
# the 15th: 800 + 700 = 1500 came to the threshold of 12; the fee waits for the period's end
# tier 1: 1000 x 0.01                                         -> 10.00
# tier 2:  500 x 0.005                                        ->  2.50
# total                                                          12.50 USD

THRESHOLD_REST = replace(THRESHOLD, closed_at="2026-04-01T00:00:00Z")
# the rest of March: 500 more, all in tier 2
# tier 2:  500 x 0.005                                        ->  2.50
# platform fee: one whole month                               -> 20.00
# total                                                          22.50 USD

SUB_ACCOUNTS = Story(
    facts=[
        meter_of("api-calls", unit="calls"),
        plan_of(
            "starter",
            price_of(
                "api-calls", graduated(("1000", "0.01", "0"), (None, "0.005", "0")), "api-calls"
            ),
            price_of("platform-fee", flat("20")),
        ),
        customer_of("acme"),
        sub_account_of("acme-labs", "acme"),
        sub_account_of("acme-shop", "acme"),
        subscription_of("sub-acme", "acme", "starter", "2026-03-01T00:00:00Z"),
        subscription_of("sub-shop", "acme-shop", "starter", "2026-03-01T00:00:00Z"),
        subscription_of(
            "a-sub-labs",
            "acme-labs",
            "starter",
            "2026-03-16T00:00:00Z",
            anchor="2026-03-01T00:00:00Z",
        ),
    ],
    events=[
        usage("acme", "300", meter="api-calls", id="e1", time=at("02")),
        usage("acme-shop", "1500", meter="api-calls", id="e2", time=at("14")),
        usage("acme-labs", "700", meter="api-calls", id="e3", time=at("20")),
    ],
    closed_at="2026-04-01T00:00:00Z",
)
# acme itself: 300 x 0.01 = 3.00, platform fee 20.00
# acme-labs: 700 x 0.01 = 7.00, platform fee of 16 days of 31: 20 x 16 / 31 = 10.32...
# acme-shop: 1000 x 0.01 = 10.00 and 500 x 0.005 = 2.50, platform fee 20.00
# total 23.00 + 17.32 + 32.50 = 72.82

APPS: Json = {"id": "apps-ltd", "commission_percent": "12.5"}
MARKETPLACE = Story(
    facts=[
        taxed_in(issuer_of(), "DE"),
        meter_of("storage", unit="GB"),
        plan_of(
            "suite",
            price_of("chat", flat("0.99"), None, seller=APPS),
            price_of("mail", flat("7.03"), None, seller=APPS),
            price_of("maps", flat("10.05"), None, seller=APPS),
            price_of("platform-fee", flat("49.90")),
            price_of(
                "storage",
                per_unit("0.10"),
                "storage",
                discounts=[{"type": "percentage", "percent": "10", "reason": "partner"}],
                seller={"id": "disks-inc", "commission_percent": "15"},
            ),
        ),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of("sub-acme", "acme", "suite", "2026-03-01T00:00:00Z"),
    ],
    events=[usage("acme", "21", meter="storage", id="e1", time=at("02"))],
    closed_at="2026-04-01T00:00:00Z",
)
# apps-ltd: 0.99 + 7.03 + 10.05 = 18.07, of which 12.5 % are 2.25875 -> 2.26
#   shares 0.12375, 0.87875, 1.25625: two cents left go to mail and maps: 0.12, 0.88, 1.26
# disks-inc: 21 x 0.10 = 2.10 less 10 % = 1.89, of which 15 % are 0.2835 -> 0.28
# in all 18.07 + 49.90 + 1.89 = 69.86; 19 % of it 13.2734 -> 13.27; total 83.13

EMPTY = Story(
    facts=[
        plan_of("tried", price_of("platform-fee", flat("49.90")), trial="P1M"),
        (FactKind.CUSTOMER, "acme", {**customer_of("acme")[2], "empty_invoices": True}),
        subscription_of("sub-acme", "acme", "tried", "2026-03-01T00:00:00Z"),
    ],
    events=[],
    closed_at="2026-04-01T00:00:00Z",
)
# a month of trial: nothing is charged, and acme wants to have that in writing
