"""What is agreed with a customer, as it is billed: seats, trials, phases, add-ons, pauses, ends.

Each scene is a subscription as it was known at each cut; its documents follow one another, each
by what was known then.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
    graduated,
    instant,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import FOR_EVER
from pipeline.catalog.periods import closings
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import carried_by_all, planned_lines, requests_of
from pipeline.invoice.usage import UsagePart
from pipeline.replay.applying import families, repricings, total_minor
from pipeline.replay.coverage import covered_stretches
from pipeline.replay.diff import Pair, Selection
from pipeline.replay.next_invoice import given_back_by_next

APR, MAY, JUN, JUL = (f"2026-0{month}-01T00:00:00Z" for month in (4, 5, 6, 7))
SEATS = price_of("seats", flat("30"), quantity="2", payment_term="in_advance")
FEE = price_of("fee", flat("60"))
CALLS = price_of("calls", per_unit("1"), "calls")

STARTER = plan_of("starter", SEATS, FEE, CALLS)
PRO = plan_of("pro", price_of("seats", flat("90"), payment_term="in_advance"), CALLS)
YEARLY = plan_of("yearly", price_of("base", flat("365"), payment_term="in_advance"), cycle="P1Y")
SUPPORT = plan_of("support", price_of("fee", flat("15"), payment_term="in_advance"))


ONE = UsagePart(0, 1, 1, 1, 1)


def april(day: int, clock: str = "00:00:00") -> str:
    return f"2026-04-{day:02}T{clock}Z"


def books(*plans: Decision, end: str | None = None, start: str = APR, **agreed: Json) -> Catalog:
    """acme on `starter`, or on the first plan given."""
    known = [*plans, *(plan for plan in (STARTER, PRO, YEARLY, SUPPORT))]
    first = (plans or (STARTER,))[0][1]
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        *reversed(known),
        customer_of("acme"),
        subscription_of("s", "acme", first, start, end, **agreed),
    )


def issued(known: Sequence[tuple[str, Catalog]], used: Sequence[str] = ()) -> list[Any]:
    """The lines of acme's documents, cut by cut, each by what was known then."""
    return [[line for each in cut for line in _lines(each)] for cut in documents(known, used)]


def documents(known: Sequence[tuple[str, Catalog]], used: Sequence[str] = ()) -> list[list[Any]]:
    """acme's documents, cut by cut, each by what was known then."""
    contents: list[Any] = []
    found: list[list[Any]] = []
    for until, catalog in known:
        lines = planned_lines(catalog, "acme", "EUR", instant(until), carried_by_all(contents))
        answers = {
            asked: [ONE for at in used if asked.start <= instant(at) < asked.end]
            for asked in requests_of(lines)
        }
        made = compose(catalog, "acme", "EUR", instant(until), lines, answers)
        found.append([document.content for document in made])
        contents += found[-1]
    return found


def _lines(content: Any) -> list[Any]:
    return list(content["lines"])


def told(lines: Sequence[Any]) -> list[tuple[str, str, str, str, int]]:
    """Of each line: item, from, to, quantity, total."""
    return [
        (
            line["source_id"].removeprefix("s/"),
            line["period_start"][5:10],
            line["period_end"][5:10],
            line["quantity"],
            line["total_minor"],
        )
        for line in lines
    ]


def cuts(catalog: Catalog, until: str = JUL) -> list[str]:
    found = closings(catalog, catalog.subscriptions["s"], 0, instant(until))
    return [instant_text(each)[5:10] for each in found if each <= instant(until)]


def seats(at: str, quantity: str) -> dict[str, Json]:
    return {"at": at, "quantities": {"seats": quantity}}


def test_more_seats_in_mid_cycle_credit_the_unused_and_charge_the_new() -> None:
    first, second = issued([(APR, books()), (MAY, books(changes=[seats(april(16), "5")]))])

    assert told(first) == [("seats", "04-01", "05-01", "2", 6000)]
    assert told(second) == [
        ("calls", "04-01", "05-01", "0", 0),
        ("fee", "04-01", "05-01", "1", 6000),
        ("seats", "04-16", "05-01", "-2", -3000),  # two seats of half a month come back
        ("seats", "04-16", "05-01", "5", 7500),  # five are charged
        ("seats", "05-01", "06-01", "5", 15000),
    ]
    credit = second[2]
    assert (credit["type"], credit["reason_code"]) == ("credit", "unused")
    assert (credit["description"], credit["invoice_at"]) == ("Seats, unused", april(16))
    assert (credit["source_type"], credit["unit_amount"]) == ("subscription_item", "30")


def test_fewer_seats_than_were_billed_come_back() -> None:
    fewer = books(changes=[seats(april(11), "1"), seats(april(21), "0")])
    _, second = issued([(APR, books()), (MAY, fewer)])

    assert told(second)[2:] == [
        ("seats", "04-11", "05-01", "-2", -4000),
        ("seats", "04-11", "04-21", "1", 1000),
        ("seats", "04-21", "05-01", "0", 0),
        ("seats", "05-01", "06-01", "0", 0),
    ]


def test_seats_known_before_the_period_are_billed_as_they_will_be() -> None:
    (first,) = issued([(APR, books(changes=[seats(april(16), "5")]))])

    assert told(first) == [
        ("seats", "04-01", "04-16", "2", 3000),
        ("seats", "04-16", "05-01", "5", 7500),
    ]


def test_a_change_and_its_undoing_at_the_same_instant_cost_nothing() -> None:
    more, undone = books(changes=[seats(april(16), "5")]), books()
    thought_over = issued([(APR, books()), (MAY, undone)])
    billed = issued([(APR, books()), (MAY, more), (JUN, undone)])

    assert told(thought_over[1])[2:] == [("seats", "05-01", "06-01", "2", 6000)]
    # what the change billed of April and May goes back whole
    assert sum(line["total_minor"] for lines in billed for line in lines if is_seats(line)) == 18000


def test_a_plan_that_was_billed_and_taken_back_costs_nothing_when_later_periods_open() -> None:
    other, undone = books(changes=[{"at": april(16), "plan": "pro"}]), books()
    lines = issued(
        [(APR, other), (april(16), other), *((each, undone) for each in (MAY, JUN, JUL))]
    )

    assert [told([one for one in each if is_seats(one)]) for each in lines[2:]] == [
        [
            ("seats", "04-16", "05-01", "-1", -4500),
            ("seats", "04-16", "05-01", "2", 3000),
            ("seats", "05-01", "06-01", "2", 6000),
        ],
        [("seats", "06-01", "07-01", "2", 6000)],
        [("seats", "07-01", "08-01", "2", 6000)],
    ]


def is_seats(line: Any) -> bool:
    return bool(line["source_id"] == "s/seats")


def test_what_was_billed_for_nothing_is_settled_too() -> None:
    """Terms that no rate card could begin with: no seats, and 100 percent before a discount."""
    none = books(quantities={"seats": "0"})
    some = books(quantities={"seats": "0"}, changes=[seats(april(16), "5")])
    off: Json = {"type": "fixed", "amount": "5"}
    fee = price_of("seats", flat("30"), payment_term="in_advance", discounts=[off])
    free: Json = {"id": "free", "length": "P1M", "percent_off": "100"}
    gift = plan_of("gift", fee, phases=[free])
    _, more = issued([(APR, none), (MAY, some)])
    _, given = issued([(APR, books(gift)), (MAY, books(gift, changes=[seats(april(16), "5")]))])

    assert told(more)[2:4] == [
        ("seats", "04-16", "05-01", "0", 0),
        ("seats", "04-16", "05-01", "5", 7500),
    ]
    assert told(given) == [
        ("seats", "04-16", "05-01", "-1", 0),
        ("seats", "04-16", "05-01", "5", 0),
        ("seats", "05-01", "06-01", "5", 14500),
    ]


def test_what_is_to_come_is_credited_when_it_comes() -> None:
    """A change of the 16th is not billed by a document of the 11th: it may be thought over."""
    ahead = books(
        changes=[seats(april(16), "5")],
        add_ons=[{"id": "sup", "plan": "support", "start": april(11), "end": None}],
    )
    _, second, third = issued([(APR, books()), (april(11), ahead), (MAY, ahead)])

    assert told(second) == [("sup/fee", "04-11", "05-01", "1", 1000)]
    assert [line for line in told(third) if line[4] < 0] == [
        ("seats", "04-16", "05-01", "-2", -3000)
    ]


def test_seats_in_arrears_are_split_where_they_change() -> None:
    plan = plan_of("late", price_of("seats", flat("30"), quantity="2"))
    (only,) = issued([(MAY, books(plan, changes=[seats(april(16), "5")]))])

    assert told(only) == [
        ("seats", "04-01", "04-16", "2", 3000),
        ("seats", "04-16", "05-01", "5", 7500),
    ]


def test_a_fee_ahead_that_was_edited_by_hand_stays_as_it_was_edited() -> None:
    lines = planned_lines(books(), "acme", "EUR", instant(APR))
    (made,) = compose(books(), "acme", "EUR", instant(APR), lines, {})
    (seat,) = _lines(made.content)
    edited = {**seat, "quantity": "3", "unit_amount": "10", "subtotal_minor": 3000}
    carried = carried_by_all([{**made.content, "lines": [edited]}])

    later = planned_lines(books(), "acme", "EUR", instant(MAY), carried)

    assert [line.key.price for line in later] == ["calls", "fee", "seats"]
    assert not any(line.is_credit for line in later)


OFF: dict[str, Json] = {"type": "percentage", "percent": "10"}


@pytest.mark.parametrize("term", ["in_advance", "in_arrears"])
@pytest.mark.parametrize(
    ("said", "said_then"),
    [
        ({}, {"quantity": "1"}),
        ({"quantity": "2"}, {"quantity": "2.0"}),
        ({}, {"price": flat("0.050")}),
        ({}, {"tax": {"code": "standard", "inclusive": False}}),
        ({}, {"currencies": {"USD": {"price": flat("0.06")}}}),
        ({"discounts": [OFF]}, {"discounts": [{**OFF, "percent": "10.0", "duration": "forever"}]}),
        ({}, {"discounts": []}),
    ],
)
def test_the_same_said_in_another_way_splits_no_line_and_gives_nothing_back(
    said: dict[str, Json], said_then: dict[str, Json], term: str
) -> None:
    """Of 0.05 each half would be 0.03: a line that is split for nothing costs a cent."""
    seat = price_of("seats", flat("0.05"), payment_term=term)
    before = plan_of("late", {**seat, **said})
    after = plan_of("late", {**seat, **said_then}, effective=april(16))
    found = issued([(APR, books(before)), (MAY, books(after, before))])

    quantity = str(said.get("quantity", "1"))
    minor = {"1": 5, "2": 10}[quantity] - (1 if "discounts" in said else 0)
    ends = [("04-01", "05-01"), ("05-01", "06-01")][: 2 if term == "in_advance" else 1]
    assert told([line for lines in found for line in lines]) == [
        ("seats", *period, quantity, minor) for period in ends
    ]


def test_a_fixed_discount_counts_once_a_period_however_often_it_is_split() -> None:
    off: Json = {"type": "fixed", "amount": "40"}
    plan = plan_of("late", price_of("seats", flat("30"), quantity="2", discounts=[off]))
    (only,) = issued([(MAY, books(plan, changes=[seats(april(16), "5")]))])

    assert [(line["subtotal_minor"], line["total_minor"]) for line in only] == [
        (3000, 0),
        (7500, 6500),
    ]


def test_tiers_and_fixed_discounts_go_on_where_an_end_is_moved_later() -> None:
    """Two calls at 5.00, the rest at 1.00, and 4.00 off a month, however many documents bill it."""
    off: Json = {"type": "fixed", "amount": "4"}
    tiers = price_of(
        "calls", graduated(("2", "5", "1"), (None, "1", "0")), "calls", discounts=[off]
    )
    plan = plan_of("tiered", tiers, price_of("fee", flat("33.33"), discounts=[off]))
    used = [april(day) for day in (2, 3, 4, 17)]
    cut_short = [books(plan, end=april(16)), books(plan, end=april(26)), books(plan)]
    known = list(zip((april(16), april(26), MAY), cut_short, strict=True))
    first, second, third = issued(known, used)

    assert told(first) == [
        ("calls", "04-01", "04-16", "3", 800),
        ("fee", "04-01", "04-16", "1", 1267),  # 16.665 less 4.00
    ]
    assert told(second) == [
        ("calls", "04-16", "04-26", "1", 100),
        ("fee", "04-16", "04-26", "1", 1111),  # 27.775 less 16.67
    ]
    assert told(third) == [
        ("calls", "04-26", "05-01", "0", 0),
        ("fee", "04-26", "05-01", "1", 555),  # 33.33 less 27.78
    ]
    assert [line["pre_line_quantity"] for line in (first[0], second[0], third[0])] == [
        "0",
        "3",
        "4",
    ]


def test_a_minimum_is_topped_up_once_where_an_end_is_moved_later() -> None:
    plan = plan_of("least", price_of("calls", per_unit("1"), "calls", minimum="10"))
    known = [(april(16), books(plan, end=april(16))), (MAY, books(plan))]
    first, second = issued(known, [april(2), april(3), april(17)])

    assert told(first) == [("calls", "04-01", "04-16", "2", 1000)]
    assert told(second) == [("calls", "04-16", "05-01", "1", 0)]
    assert [(child["name"], child["total_minor"]) for child in second[0]["children"]] == [
        ("Calls: usage", 100),
        ("Calls: minimum", 700),
        ("Calls: minimum", -800),
    ]
    assert len({child["id"] for child in second[0]["children"]}) == 3


def test_a_minimum_is_topped_up_once_where_a_price_changed_at_the_end_that_was_moved() -> None:
    least = price_of("calls", per_unit("1"), "calls", minimum="10")
    dearer = price_of("calls", per_unit("2"), "calls", minimum="10")
    ended = books(plan_of("least", least), end=april(16))
    after = books(plan_of("least", least), changes=[{"at": april(16), "prices": [dearer]}])
    first, second = issued([(april(16), ended), (MAY, after)], [april(2), april(3), april(17)])

    assert [line["total_minor"] for line in first + second] == [1000, 0]


def test_another_plan_in_mid_cycle_settles_the_one_and_begins_the_other() -> None:
    before, after = books(), books(changes=[{"at": april(16), "plan": "pro"}])
    used = [april(3), april(15, "23:59:59"), april(16), april(20)]
    _, second, third = issued([(APR, before), (april(16), after), (MAY, after)], used)

    assert cuts(after) == ["04-01", "04-16", "05-01", "06-01", "07-01"]
    assert told(second) == [
        ("calls", "04-01", "04-16", "2", 200),
        ("fee", "04-01", "04-16", "1", 3000),
        ("seats", "04-16", "05-01", "-2", -3000),
        ("seats", "04-16", "05-01", "1", 4500),
    ]
    assert [line["rate_card"]["plan"] for line in second] == ["starter"] * 3 + ["pro"]
    assert told(third) == [
        ("calls", "04-16", "05-01", "2", 200),
        ("seats", "05-01", "06-01", "1", 9000),
    ]


def test_tiers_begin_anew_with_another_plan() -> None:
    one = plan_of("one", price_of("calls", graduated(("2", "5", "0"), (None, "1", "0")), "calls"))
    two = plan_of("two", price_of("calls", graduated(("2", "4", "0"), (None, "1", "0")), "calls"))
    moved = books(one, two, changes=[{"at": april(16), "plan": "two"}])
    used = [april(day) for day in (2, 3, 4, 17, 18, 19)]

    assert [line["total_minor"] for lines in issued([(MAY, moved)], used) for line in lines] == [
        1100,
        900,
    ]


def test_a_plan_of_another_cycle_begins_its_own_rhythm() -> None:
    after = books(changes=[{"at": april(16), "plan": "yearly"}])
    _, second = issued([(APR, books()), (april(16), after)])

    assert cuts(after, "2028-05-01T00:00:00Z") == ["04-01", "04-16", "04-16", "04-16"]
    assert told(second)[0] == ("base", "04-16", "04-16", "1", 36500)
    assert told(second)[-1] == ("seats", "04-16", "05-01", "-2", -3000)


@pytest.mark.parametrize("until", [april(21), None])
def test_nothing_is_billed_of_a_pause(until: str | None) -> None:
    paused = books(pauses=[{"start": april(11), "end": until}])
    used = [april(3), april(15), april(25)]
    known = [(APR, books()), (april(11), books(pauses=[{"start": april(11), "end": None}]))]
    known += [(april(21), paused), (MAY, paused)]
    _, second, third, fourth = issued(known, used)

    assert told(second) == [
        ("calls", "04-01", "04-11", "1", 100),
        ("fee", "04-01", "04-11", "1", 2000),
        ("seats", "04-11", "05-01", "-2", -4000),
    ]
    if until is None:
        assert cuts(paused) == ["04-01", "04-11"]
        assert [third, fourth] == [[], []]
    else:
        assert cuts(paused) == ["04-01", "04-11", "04-21", "05-01", "06-01", "07-01"]
        assert told(third) == [("seats", "04-21", "05-01", "2", 2000)]
        assert told(fourth) == [
            ("calls", "04-21", "05-01", "1", 100),
            ("fee", "04-21", "05-01", "1", 2000),
            ("seats", "05-01", "06-01", "2", 6000),
        ]


def test_usage_of_a_pause_is_kept_and_nobody_pays_for_it() -> None:
    paused = books(pauses=[{"start": april(11), "end": april(21)}])

    assert [(instant_text(s.start)[5:10], s.end) for s in covered_stretches(paused)] == [
        ("04-01", instant(april(11))),
        ("04-21", FOR_EVER),
    ]


def test_a_pause_taken_back_in_time_costs_what_no_pause_costs() -> None:
    paused = books(pauses=[{"start": april(11), "end": None}])
    lines = issued([(APR, books()), (april(11), paused), (MAY, books())], [april(15)])

    assert sum(line["total_minor"] for line in lines[1] + lines[2]) == 100 + 6000 + 6000


def test_a_trial_charges_nothing_and_cycles_begin_behind_it() -> None:
    trial = books(plan_of("try", SEATS, FEE, CALLS, trial="P14D"))
    used = [april(3), april(16)]
    first, second = issued([(april(15), trial), ("2026-05-15T00:00:00Z", trial)], used)

    assert cuts(trial) == ["04-15", "05-15", "06-15"]
    assert told(first) == [("seats", "04-15", "05-15", "2", 6000)]
    assert told(second)[:2] == [
        ("calls", "04-15", "05-15", "1", 100),
        ("fee", "04-15", "05-15", "1", 6000),
    ]
    assert [instant_text(s.start) for s in covered_stretches(trial)] == [APR]  # billed: for nothing


@pytest.mark.parametrize(
    ("trial_end", "changes", "ends"),
    [
        (APR, [], ["04-01", "05-01", "06-01", "07-01"]),  # none, whatever the plan says
        (april(8), [], ["04-08", "05-08", "06-08"]),
        # another plan within it: the trial goes on
        (april(8), [{"at": april(4), "plan": "pro"}], ["04-04", "04-08", "05-08", "06-08"]),
        (april(8), [{"at": april(20), "plan": "pro"}], ["04-08", "04-20", "05-08", "06-08"]),
    ],
)
def test_a_trial_ends_when_a_subscription_says(
    trial_end: str, changes: list[Json], ends: list[str]
) -> None:
    trial = plan_of("try", SEATS, FEE, CALLS, trial="P14D")

    assert cuts(books(trial, trial_end=trial_end, changes=changes)) == ends


def test_phases_follow_one_another_each_at_its_prices() -> None:
    phases: Json = [
        {"id": "intro", "length": "P1M", "percent_off": "50"},
        {"id": "cheap", "length": "P15D", "prices": [price_of("seats", flat("31"))]},
    ]
    plan = books(plan_of("steps", SEATS, CALLS, phases=phases))
    mid = "2026-05-16T00:00:00Z"
    first, second, third, fourth = issued([(each, plan) for each in (APR, MAY, mid, JUN)])

    assert cuts(plan) == ["04-01", "05-01", "05-16", "06-01", "07-01"]
    assert told(first) == [("seats", "04-01", "05-01", "2", 3000)]
    assert first[0]["discounts"] == [
        {"type": "percentage", "percent": "50", "reason": "intro", "amount_minor": 3000}
    ]
    assert told(second) == [("calls", "04-01", "05-01", "0", 0)]
    assert told(third) == [
        ("seats", "05-01", "05-16", "1", 1500),  # 31.00 x 15 / 31
        ("seats", "05-16", "06-01", "2", 3097),  # 60.00 x 16 / 31 = 30.9677
    ]
    assert told(fourth)[1:] == [("seats", "06-01", "07-01", "2", 6000)]


def test_a_phase_takes_off_a_customer_s_own_price_too() -> None:
    intro: Json = {"id": "intro", "length": "P1M", "percent_off": "50"}
    own = price_of("seats", flat("20"), payment_term="in_advance")
    plan = books(plan_of("steps", SEATS, phases=[intro]), prices=[own])
    first, second = issued([(APR, plan), (MAY, plan)])

    assert told(first) == [("seats", "04-01", "05-01", "1", 1000)]
    assert told(second) == [("seats", "05-01", "06-01", "1", 2000)]


def test_an_add_on_is_billed_beside_the_plan_in_its_rhythm() -> None:
    added = books(add_ons=[{"id": "sup", "plan": "support", "start": april(16), "end": None}])
    gone = books(add_ons=[{"id": "sup", "plan": "support", "start": april(16), "end": april(26)}])
    _, second, third = issued([(APR, books()), (april(16), added), (april(26), gone)])

    assert cuts(added) == ["04-01", "04-16", "05-01", "06-01", "07-01"]
    assert told(second) == [("sup/fee", "04-16", "05-01", "1", 750)]
    assert second[0]["source_id"] == "s/sup/fee"
    assert told(third) == [("sup/fee", "04-26", "05-01", "-1", -250)]


def test_add_ons_have_quantities_of_their_own() -> None:
    agreed = books(
        add_ons=[{"id": "sup", "plan": "support", "start": APR, "end": None}],
        quantities={"sup/fee": "3"},
        changes=[{"at": april(16), "quantities": {"sup/fee": "4"}}],
    )
    (first,) = issued([(APR, agreed)])

    assert told(first)[1:] == [
        ("sup/fee", "04-01", "04-16", "3", 2250),
        ("sup/fee", "04-16", "05-01", "4", 3000),
    ]


def test_an_end_now_settles_what_was_paid_ahead_and_what_was_used() -> None:
    ended = books(end=april(21))
    _, last = issued([(APR, books()), (april(21), ended)], [april(3), april(22)])

    assert cuts(ended) == ["04-01", "04-21"]
    assert told(last) == [
        ("calls", "04-01", "04-21", "1", 100),
        ("fee", "04-01", "04-21", "1", 4000),
        ("seats", "04-21", "05-01", "-2", -2000),
    ]


@pytest.mark.parametrize(
    "over",
    [{"end": april(11)}, {"pauses": [{"start": april(11), "end": None}]}],
    ids=["ended", "paused"],
)
def test_the_last_document_gives_back_what_was_to_come(over: dict[str, Any]) -> None:
    """More seats of the 16th were billed ahead, and no document follows that of the 11th."""
    more: Json = [seats(april(16), "5")]
    _, last = issued([(APR, books(changes=more)), (april(11), books(changes=more, **over))])

    assert [line for line in told(last) if line[4] < 0] == [
        ("seats", "04-11", "04-16", "-2", -1000),
        ("seats", "04-16", "05-01", "-5", -7500),
    ]
    assert {line["invoice_at"] for line in last if is_seats(line)} == {april(11)}


def test_an_end_with_the_period_gives_nothing_back() -> None:
    ended = books(end=MAY)
    _, last = issued([(APR, books()), (MAY, ended)])

    assert told(last) == [
        ("calls", "04-01", "05-01", "0", 0),
        ("fee", "04-01", "05-01", "1", 6000),
    ]


def test_a_start_in_the_past_bills_all_that_was_metered_since() -> None:
    backdated = books(start="2026-02-15T00:00:00Z", anchor="calendar")
    (only,) = issued([(APR, backdated)], ["2026-02-20T00:00:00Z", "2026-03-20T00:00:00Z"])

    assert cuts(backdated)[:3] == ["02-15", "03-01", "04-01"]
    assert told(only) == [
        ("calls", "02-15", "03-01", "1", 100),
        ("calls", "03-01", "04-01", "1", 100),
        ("fee", "02-15", "03-01", "1", 3000),
        ("fee", "03-01", "04-01", "1", 6000),
        ("seats", "02-15", "03-01", "2", 3000),
        ("seats", "03-01", "04-01", "2", 6000),
        ("seats", "04-01", "05-01", "2", 6000),
    ]


def test_a_customer_s_own_prices_stand_instead_of_the_plan_s() -> None:
    cheap = price_of("seats", flat("20"), payment_term="in_advance")
    own = books(
        prices=[cheap, price_of("calls", per_unit("0.5"), "calls")],
        quantities={"seats": "3"},
        changes=[{"at": MAY, "prices": [price_of("calls", per_unit("0.25"), "calls")]}],
    )
    first, second, third = issued([(each, own) for each in (APR, MAY, JUN)], [april(3), MAY])

    assert told(first) == [("seats", "04-01", "05-01", "3", 6000)]
    assert told(second)[:2] == [
        ("calls", "04-01", "05-01", "1", 50),
        ("fee", "04-01", "05-01", "1", 6000),
    ]
    assert told(third)[0] == ("calls", "05-01", "06-01", "1", 25)


def test_a_price_agreed_after_the_fee_was_billed_takes_its_place() -> None:
    own = books(prices=[price_of("seats", flat("20"), quantity="2", payment_term="in_advance")])
    _, second = issued([(APR, books()), (MAY, own)])

    assert told(second)[2:] == [
        ("seats", "04-01", "05-01", "-2", -6000),
        ("seats", "04-01", "05-01", "2", 4000),
        ("seats", "05-01", "06-01", "2", 4000),
    ]


@pytest.mark.parametrize(
    ("start", "cycle", "anchor", "ends"),
    [
        (april(16), "P1M", "calendar", ["05-01", "06-01", "07-01"]),
        (april(16), "P1M", "2026-01-31T00:00:00Z", ["04-30", "05-31", "06-30"]),
        (april(16), "P1M", "2027-01-05T00:00:00Z", ["05-05", "06-05", "07-05"]),
        (april(16), "P3M", "calendar", ["07-01", "10-01"]),
        (april(16), "P6M", "calendar", ["07-01", "01-01"]),
        (april(16), "P1Y", "calendar", ["01-01", "01-01"]),
        (april(16), "P1W", "calendar", ["04-20", "04-27", "05-04"]),  # a Thursday
        (april(16, "09:30:00"), "P1D", "calendar", ["04-17", "04-18"]),
        (april(16, "09:30:00"), "PT6H", "calendar", ["04-16", "04-16", "04-17"]),
        (APR, "P1M", "calendar", ["05-01", "06-01"]),
    ],
)
def test_cycles_are_counted_from_their_anchor(
    start: str, cycle: str, anchor: str, ends: list[str]
) -> None:
    plan = plan_of("own", price_of("fee", flat("1")), cycle=cycle)

    assert cuts(books(plan, start=start, anchor=anchor), "2028-01-01T00:00:00Z")[: len(ends)] == (
        ends
    )


WRONG, RIGHT = (
    books(plan_of("p", price_of("fee", flat(each), payment_term="in_advance")))
    for each in ("10", "1")
)


@pytest.mark.parametrize(
    ("now", "since", "waits", "noted"),
    [
        pytest.param(RIGHT, [], True, -900, id="the next invoice gives it back: a note waits"),
        pytest.param(RIGHT, [MAY], False, 0, id="it gave that back: notes come to nothing"),
        pytest.param(WRONG, [], False, -900, id="the price is in force: only a note gives it back"),
    ],
)
def test_a_wrong_fee_in_advance_is_not_given_back_twice(
    now: Catalog, since: list[str], waits: bool, noted: int
) -> None:
    before, after = (
        [each for cut in documents([(APR, first), *((at, RIGHT) for at in since)]) for each in cut]
        for first in (WRONG, RIGHT)
    )
    pairs = [
        Pair(str(at), "acme", instant(one["cut_instant"]), at, False, one, other)
        for at, (one, other) in enumerate(zip(before, after, strict=True))
    ]
    at = instant("2026-05-20T00:00:00Z")
    wanted = repricings(families(pairs, Selection()), Selection(), "diff_1", at)
    found = given_back_by_next(wanted, now, {("acme", "EUR"): carried_by_all(before)})
    assert found == (before[0]["id"] if waits else None)
    assert sum(total_minor(each.told().body for each in wanted).values()) == noted
