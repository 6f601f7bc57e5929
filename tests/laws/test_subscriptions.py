"""Laws of subscriptions: whatever is agreed, whenever it is told, the fees come to the same.

The oracle shares no step with the pipeline: it goes hour by hour through what was agreed in the
end, and rounds what each run of alike hours within a cycle comes to.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from builders import (
    HOUR,
    Decision,
    catalog_of,
    customer_of,
    flat,
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
from pipeline.catalog.edits import refused_edits
from pipeline.catalog.periods import closings, periods
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.subscriptions import subscription, subscription_body
from pipeline.catalog.yaml import empty
from pipeline.core.calendar import DAY, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.invoice.compose import compose
from pipeline.invoice.fees import Reach
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, with_lines
from pipeline.replay.coverage import covered_stretches
from pipeline.replay.recount_paid import prices_paid

START = instant("2026-01-31T08:00:00Z")
DAYS = 40
END = START + DAYS * DAY
PRICES = {
    "basic": Fraction(10),
    "pro": Fraction("33.33"),
    "slow": Fraction(71),
    "more": Fraction(7),
}
CYCLE_HOURS = {"basic": 120, "pro": 120, "slow": 300, "more": 120}
TERMS = ("in_advance", "in_arrears")


@dataclass(frozen=True)
class World:
    """When each plan's fee is due, and what was agreed: each told at an instant."""

    due: Mapping[str, str]
    told: Sequence[tuple[Instant, Mapping[str, Json]]]

    def catalog(self, agreed: Mapping[str, Json]) -> Catalog:
        """What is in force once this is agreed."""
        plans: list[Decision] = [
            plan_of(
                name,
                price_of("fee", flat(quantity_text(price)), payment_term=self.due[name]),
                price_of("calls", per_unit("0"), "calls"),
                cycle=f"PT{CYCLE_HOURS[name]}H",
            )
            for name, price in PRICES.items()
        ]
        start, more = instant_text(START), {**agreed}
        end: Any = more.pop("end", None)
        sold = subscription_of("s", "acme", "basic", start, end, **more)
        known = [log_of(), rules_of(), issuer_of(), meter_of("calls", window_s=3600), *plans]
        return catalog_of(*known, customer_of("acme"), sold)


few = settings(max_examples=int(os.environ.get("WORLDS", "30")))
hours = st.integers(0, 24 * DAYS).map(lambda number: START + number * HOUR)
later = st.integers(1, 24 * DAYS).map(lambda number: START + number * HOUR)
acts: st.SearchStrategy[dict[str, Json]] = st.sampled_from(
    [
        {"quantities": {"fee": "3"}},
        {"quantities": {"fee": "0.5", "extra/fee": "2"}},
        {"quantities": {"fee": "1"}},
        {"plan": "pro"},
        {"plan": "slow"},
        {"plan": "basic", "quantities": {"fee": "2"}},
    ]
)


@st.composite
def agreements(draw: st.DrawFn) -> dict[str, Json]:
    """What may be agreed beside a start and a plan."""
    agreed: dict[str, Json] = {"end": instant_text(draw(st.just(END) | hours))}
    dates = sorted(draw(st.sets(later, max_size=3)))
    agreed["changes"] = [{"at": instant_text(at), **draw(acts)} for at in dates]
    edges = [instant_text(edge) for edge in sorted(draw(st.sets(hours, max_size=4)))]
    pauses = zip(edges[::2], [*edges[1::2], None], strict=False)
    agreed["pauses"] = [{"start": start, "end": end} for start, end in pauses]
    if draw(st.booleans()):
        agreed["trial_end"] = instant_text(START + draw(st.integers(0, 12)) * DAY)
    if draw(st.booleans()):
        start, end = draw(hours), draw(st.just(END) | hours)
        span = {"start": instant_text(start), "end": instant_text(max(start, end))}
        agreed["add_ons"] = [{"id": "extra", "plan": "more", **span}]
    return agreed


@st.composite
def worlds(draw: st.DrawFn) -> World:
    anchor = draw(st.sampled_from([{}, {"anchor": "2026-02-03T05:00:00Z"}]))
    times = sorted(draw(st.sets(hours, min_size=1, max_size=5)))
    due = {name: draw(st.sampled_from(TERMS)) for name in PRICES}
    return World(due, [(time, {**anchor, **draw(agreements())}) for time in times])


@dataclass
class Till:
    """The documents of a world, each by what was known at its cut; refused edits are left out."""

    world: World
    agreed: Mapping[str, Json] = field(default_factory=dict)
    contents: list[Any] = field(default_factory=list)
    carried: Carried = field(default_factory=dict)
    _cut: set[Instant] = field(default_factory=set)
    _known: Catalog | None = None
    """What was in force as periods were cut last."""

    def run(self) -> None:
        self.agreed = self.world.told[0][1]
        ends = [*(time for time, _ in self.world.told[1:]), END]
        for (time, agreed), until in zip(self.world.told, ends, strict=True):
            if self._lets_in(agreed, time):
                self.agreed = agreed
            if until > time or time == END:
                self._cut_up_to(until, time)

    def _lets_in(self, agreed: Mapping[str, Json], passed: Instant) -> bool:
        sold = self.world.catalog(agreed).subscriptions["s"]
        places = {"subscriptions": {"s": "subscriptions[0]"}, "plans": {}, "meters": {}}
        sheet = Sheet(None, (), (), (), (), (sold,), empty(1), places)
        return not [*refused_edits(sheet, self.world.catalog(self.agreed), passed)]

    def _cut_up_to(self, until: Instant, passed: Instant) -> None:
        catalog = self.world.catalog(self.agreed)
        known = closings(catalog, catalog.subscriptions["s"], 0, until + 1)
        due = {each for each in known if each <= until}
        if self._known and ahead(self._known, passed) and not ahead(catalog, passed):
            last = max((each for each in due if each <= passed), default=START)
            while last in self._cut:
                last += 1
            due.add(last)
        self._known = catalog
        for each in sorted(due - self._cut):
            lines = planned_lines(catalog, "acme", "EUR", each, self.carried)
            made = compose(catalog, "acme", "EUR", each, lines, {})
            self.contents += [document.content for document in made]
            self.carried = with_lines(self.carried, lines)
        self._cut |= due

    @property
    def lines(self) -> list[Any]:
        """Every line of every document, in order."""
        return [line for content in self.contents for line in content["lines"]]

    def fees(self) -> dict[str, int]:
        """What each fee came to in all, charges less credits."""
        found = {"s/fee": 0, "s/extra/fee": 0}
        for line in self.lines:
            if line["meter"] is None:
                found[line["source_id"]] += line["total_minor"]
        return found


def ahead(catalog: Catalog, passed: Instant) -> bool:
    """Whether periods are still to be cut."""
    return any(closings(catalog, catalog.subscriptions["s"], passed, END))


def moment(told: Any, otherwise: Instant = END) -> Instant:
    return otherwise if told is None else instant(told)


def owed(agreed: Mapping[str, Any]) -> dict[str, int]:
    """What each fee comes to, hour by hour."""
    end, trial = moment(agreed.get("end")), moment(agreed.get("trial_end"), START)
    away = [(moment(p["start"]), moment(p["end"])) for p in agreed["pauses"]]
    served = [
        hour
        for hour in range(max(START, trial), min(end, END), HOUR)
        if not any(start <= hour < over for start, over in away)
    ]
    own = [(hour, *_state(agreed, hour, trial)) for hour in served]
    found = {"s/fee": _money(own), "s/extra/fee": 0}
    for extra in agreed.get("add_ons", []):
        inside = [hour for hour in served if moment(extra["start"]) <= hour < moment(extra["end"])]
        anchor = moment(agreed.get("anchor"), max(START, trial))
        states = [
            (hour, 0, "more", _quantity(agreed, "extra/fee", hour), anchor) for hour in inside
        ]
        found["s/extra/fee"] = _money(states)
    return found


State = tuple[Instant, int, str, Fraction, Instant]
"""(hour, stay, plan, quantity, anchor)."""


def _state(
    agreed: Mapping[str, Any], hour: Instant, trial: Instant
) -> tuple[int, str, Fraction, Instant]:
    stay, plan, anchor = 0, "basic", max(START, trial)
    for change in agreed["changes"]:
        if "plan" in change and moment(change["at"]) <= hour:
            if CYCLE_HOURS[change["plan"]] != CYCLE_HOURS[plan]:
                anchor = max(moment(change["at"]), trial)
            stay, plan = stay + 1, change["plan"]
    return stay, plan, _quantity(agreed, "fee", hour), moment(agreed.get("anchor"), anchor)


def _quantity(agreed: Mapping[str, Any], item: str, hour: Instant) -> Fraction:
    quantity = Fraction(1)
    for change in agreed["changes"]:
        if moment(change["at"]) <= hour:
            quantity = Fraction(change.get("quantities", {}).get(item, quantity))
    return quantity


def _money(states: Sequence[State]) -> int:
    runs: dict[Any, int] = {}
    run, last = 0, None
    for hour, stay, plan, quantity, anchor in states:
        cycle = (hour - anchor) // (CYCLE_HOURS[plan] * HOUR)
        here = (stay, plan, quantity, cycle)
        run += last != (hour - HOUR, here)
        last = (hour, here)
        runs[run, plan, quantity] = runs.get((run, plan, quantity), 0) + 1
    shares = (
        PRICES[plan] * quantity * Fraction(count, CYCLE_HOURS[plan])
        for (_, plan, quantity), count in runs.items()
    )
    return sum(int(share * 100 + Fraction(1, 2)) for share in shares)


@few
@given(worlds())
def test_charges_less_credits_are_what_was_served(world: World) -> None:
    till = Till(world)
    till.run()

    assert till.fees() == owed(till.agreed)


@few
@given(worlds())
def test_no_credit_is_above_what_was_billed(world: World) -> None:
    till = Till(world)
    till.run()
    billed: dict[str, int] = {}
    for line in till.lines:
        source = line["source_id"]
        billed[source] = billed.get(source, 0) + line["total_minor"]
        assert (line["type"] == "credit") == (line["reason_code"] == "unused")
        assert line["total_minor"] <= 0 if line["type"] == "credit" else line["total_minor"] >= 0
    assert all(total >= 0 for total in billed.values())


@few
@given(worlds())
def test_what_documents_carry_is_read_back_from_them(world: World) -> None:
    till = Till(world)
    till.run()

    assert carried_by_all(till.contents) == till.carried
    for reach in till.carried.values():
        assert Reach.of_json(reach.until, reach.json()) == reach


@few
@given(worlds(), agreements())
def test_a_change_and_its_undoing_cost_nothing(world: World, passing: Mapping[str, Json]) -> None:
    """Told and taken back at one instant it leaves no trace on any document."""
    once, (last, agreed) = Till(world), world.told[-1]
    once.run()
    anchor = {"anchor": agreed["anchor"]} if "anchor" in agreed else {}
    thought_over = [(last, {**passing, **anchor}), (last, once.agreed)]
    undone = Till(World(world.due, [*world.told, *thought_over]))
    undone.run()

    assume(undone.agreed == once.agreed)  # else it would change what was cut: it is refused
    assert undone.contents == once.contents


@few
@given(agreements(), st.sets(st.integers(1, 119), min_size=2, max_size=2), st.booleans())
def test_what_is_taken_back_as_a_whole_is_given_back(
    agreed: Mapping[str, Json], hours: set[int], in_two_steps: bool
) -> None:
    """Within its first period, perhaps once more is free than the period, so that none is ahead."""
    first, second = (START + hour * HOUR for hour in sorted(hours))
    whole = {**agreed, "end": instant_text(END)}
    free = {**whole, "trial_end": instant_text(START + 12 * DAY)}
    void = {**(free if in_two_steps else whole), "end": instant_text(START)}
    told = [(START, whole), *([(first, free)] if in_two_steps else []), (second, void)]
    till = Till(World(dict.fromkeys(PRICES, "in_advance"), told))
    till.run()

    assume(till.agreed == void)  # else a period ended before, and stays as it was cut
    assert set(till.fees().values()) == {0}
    assert not any(reach.ahead for reach in till.carried.values())


@given(agreements())
def test_periods_tile_what_is_served(agreed: Mapping[str, Any]) -> None:
    catalog = World(dict.fromkeys(PRICES, TERMS[1]), []).catalog(agreed)
    found: dict[str, list[tuple[Instant, Instant]]] = {"": [], "extra": []}
    for each in periods(catalog, catalog.subscriptions["s"], 0, END):
        found[each.leg.add_on].append((each.period.start, each.period.end))
    away = [(moment(p["start"]), moment(p["end"])) for p in agreed["pauses"]]
    for name, own in found.items():
        hours_billed = [hour for start, end in own for hour in range(start, end, HOUR)]
        first, last = START, moment(agreed["end"])
        if name:
            (extra,) = agreed.get("add_ons", [{"start": agreed["end"], "end": agreed["end"]}])
            first, last = moment(extra["start"]), min(last, moment(extra["end"]))
        served = [
            hour
            for hour in range(first, last, HOUR)
            if not any(start <= hour < over for start, over in away)
        ]
        assert hours_billed == served


@given(agreements())
def test_both_accounts_agree_on_what_is_paid_for(agreed: Mapping[str, Any]) -> None:
    catalog = World(dict.fromkeys(PRICES, TERMS[0]), []).catalog(agreed)
    sold = subscription_body(catalog.subscriptions["s"])
    assert subscription(sold) == catalog.subscriptions["s"]
    plans: dict[str, Any] = {
        name: {"prices": [{"id": "calls", "meter": "calls"}]} for name in PRICES
    }
    told = {
        hour
        for start, end, _ in prices_paid(sold, plans, "UTC")
        for hour in range(start, min(end, END), HOUR)
    }
    known = {
        hour
        for stretch in covered_stretches(catalog)
        for hour in range(stretch.start, min(stretch.end, END), HOUR)
    }
    assert told == known
