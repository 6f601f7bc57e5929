"""Laws of cuts: which tick cuts which period end follows from ticks and facts alone.

The model enumerates every period end of every subscription from its start, at every tick, and
cuts what is due and was not cut. It keeps no heap, no horizon passed, no catalog before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    HOUR,
    T0,
    Books,
    Decision,
    catalog_of,
    customer_of,
    fact_log,
    flat,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.cuts import CutSchedule
from pipeline.catalog.periods import periods
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import DAY, SECOND, Instant, cycle_edge, instant_text
from pipeline.meter.slices import Counts, Slice
from pipeline.meter.ticks import Tick

CUSTOMERS = ["acme", "globex"]
PLANS = {"daily": ("EUR", "P1D"), "weekly": ("USD", "P7D"), "shift": ("EUR", "PT8H")}
ZONES = ["UTC", "Europe/Berlin", "America/New_York"]


def on_plan(plan: str, amount: str = "1") -> Decision:
    currency, cycle = PLANS[plan]
    return plan_of(plan, price_of("fee", flat(amount)), currency=currency, cycle=cycle)


BASE = [
    log_of(),
    rules_of(grace_s=3600),
    *(on_plan(plan) for plan in PLANS),
    customer_of("acme", "Europe/Berlin"),
    customer_of("globex"),
]


@dataclass
class Timeline:
    """Ticks in order, and the decisions made before each."""

    ticks: list[Tick] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=lambda: list(BASE))

    @property
    def facts(self) -> FactLog:
        return fact_log(*self.decisions)


def hours(low: int, high: int) -> st.SearchStrategy[Instant]:
    return st.integers(low, high).map(lambda h: T0 + h * HOUR)


@st.composite
def subscriptions(draw: st.DrawFn) -> Decision:
    """Begun up to ten days ago or ahead; ending soon, or not yet."""
    number = draw(st.integers(0, 2))
    start = draw(hours(-240, 240))
    end = draw(st.none() | st.integers(1, 300).map(lambda h: start + h * HOUR))
    return subscription_of(
        f"sub-{number}",
        CUSTOMERS[number % 2],
        draw(st.sampled_from([*PLANS])),
        instant_text(start),
        None if end is None else instant_text(end),
    )


few = settings(max_examples=40)
steady = st.one_of(
    subscriptions(), st.sampled_from([*PLANS]).map(lambda plan: on_plan(plan, amount="2"))
)
changes = st.one_of(
    steady,
    st.integers(0, 100).map(lambda h: rules_of(grace_s=h * 3600)),
    st.sampled_from(ZONES).map(lambda zone: customer_of("acme", zone)),
)


@st.composite
def timelines(draw: st.DrawFn, decisions: st.SearchStrategy[Decision] = changes) -> Timeline:
    """Ticks hours to days apart, each after some decisions."""
    story, time = Timeline(), T0
    for serial in range(1, draw(st.integers(2, 12))):
        story.decisions += draw(st.lists(decisions, max_size=2))
        story.ticks.append(Tick(serial, time, len(story.decisions)))
        time += draw(st.integers(1, 72)) * HOUR + draw(st.integers(-1, 1)) * SECOND
    return story


def ends(catalog: Catalog, subscription: Subscription, until: Instant) -> Iterator[Instant]:
    """Every period end up to an instant, counted from the start."""
    cycle = catalog.plans[subscription.plan].cycle
    zone = catalog.customers[subscription.customer].time_zone
    for index in range(10_000):
        start = cycle_edge(subscription.start, cycle, index, zone)
        end = cycle_edge(subscription.start, cycle, index + 1, zone)
        if subscription.end is not None:
            if start >= subscription.end:
                return
            end = min(end, subscription.end)
        if end > until:
            return
        yield end


def modelled(story: Timeline) -> list[Cut]:
    """Every cut, by the definition."""
    facts, cuts = story.facts, list[Cut]()
    known: set[tuple[Instant, str, str]] = set()
    for tick in story.ticks:
        catalog = facts.at(tick.fact_position)
        until = tick.time - catalog.rules_in_force.grace_us
        due = {
            (end, each.customer, catalog.plans[each.plan].currency)
            for each in catalog.subscriptions.values()
            for end in ends(catalog, each, until)
        }
        cuts += [Cut(who, currency, end, tick.serial) for end, who, currency in sorted(due - known)]
        known |= due
    return cuts


def told(tick: Tick, offset: int) -> Slice:
    return Slice(offset, tick.time, tick, Counts())


def booked(story: Timeline, restarts: Sequence[int] = ()) -> list[Cut]:
    """Every cut of one worker after another; each restart forgets all but the books."""
    books = Books(story.facts)
    for offset, tick in enumerate(story.ticks):
        if offset in restarts:
            books.restart()
        books.book([told(tick, offset)])
    return books.cuts


@few
@given(timelines())
def test_cuts_follow_the_definition(story: Timeline) -> None:
    assert booked(story) == modelled(story)


@few
@given(timelines(), st.lists(st.integers(0, 11), max_size=5))
def test_a_worker_that_starts_anywhere_finds_the_same_cuts(
    story: Timeline, restarts: list[int]
) -> None:
    assert booked(story, restarts) == booked(story)


@few
@given(timelines())
def test_no_period_end_is_cut_twice_and_none_too_early(story: Timeline) -> None:
    cuts = booked(story)
    times = {tick.serial: tick.time for tick in story.ticks}

    assert len({(cut.payer, cut.currency, cut.instant) for cut in cuts}) == len(cuts)
    assert all(cut.instant <= times[cut.serial] for cut in cuts)


@few
@given(timelines(steady))
def test_a_cut_is_the_first_tick_after_grace_that_knows_the_period(story: Timeline) -> None:
    """With one grace throughout: the tick before was too early, or did not know of it."""
    grace, facts = HOUR, story.facts
    before = {tick.serial: earlier for earlier, tick in pairwise([None, *story.ticks]) if tick}
    times = {tick.serial: tick.time for tick in story.ticks}
    for cut in booked(story):
        assert times[cut.serial] >= cut.instant + grace
        earlier = before[cut.serial]
        if earlier is not None and earlier.time >= cut.instant + grace:
            catalog = facts.at(earlier.fact_position)
            known = {
                end
                for each in catalog.subscriptions_of(cut.payer)
                if catalog.plans[each.plan].currency == cut.currency
                for end in ends(catalog, each, cut.instant)
            }
            assert cut.instant not in known


@few
@given(timelines(steady), st.integers(0, 11))
def test_a_schedule_made_anew_at_a_tick_goes_on_alike(story: Timeline, where: int) -> None:
    """Without the books' memory of what was cut, while grace stays as it is."""
    facts, at = story.facts, where % len(story.ticks)
    first = story.ticks[0]
    running = CutSchedule(0, facts.at(first.fact_position), first)
    anew = running
    for tick in story.ticks[1:]:
        catalog = facts.at(tick.fact_position)
        if tick.serial == at + 1:
            last = story.ticks[at - 1]
            anew = CutSchedule(0, facts.at(last.fact_position), last)
        if anew is not running:
            assert anew.pass_tick(tick, catalog) == (due := running.pass_tick(tick, catalog))
        else:
            due = running.pass_tick(tick, catalog)
        assert due == sorted(set(due))


@few
@given(timelines(steady))
def test_without_new_facts_a_schedule_never_repeats_itself(story: Timeline) -> None:
    facts = story.facts
    catalog = facts.at(facts.head)
    schedule = CutSchedule(0, catalog, story.ticks[0])
    due = [each for tick in story.ticks[1:] for each in schedule.pass_tick(tick, catalog)]

    assert len(set(due)) == len(due)
    assert due == sorted(due)


@few
@given(timelines(), st.integers(2, 5))
def test_every_customer_is_cut_in_its_own_partition_alone(story: Timeline, partitions: int) -> None:
    facts = fact_log(log_of(partitions), *story.decisions[1:])
    found = []
    for partition in range(partitions):
        books = Books(facts, partition)
        books.book(told(tick, offset) for offset, tick in enumerate(story.ticks))
        found += books.cuts

    assert sorted(found, key=repr) == sorted(modelled(story), key=repr)


@few
@given(
    st.sampled_from(["P1D", "P1M", "P1W", "PT6H", "P1DT1H", "P1Y"]),
    hours(-24 * 400, 24 * 400),
    st.none() | st.integers(1, 24 * 800),
    st.sampled_from(ZONES),
)
def test_the_periods_of_a_subscription_tile_its_life(
    cycle: str, start: Instant, hours_served: int | None, zone: str
) -> None:
    end = None if hours_served is None else start + hours_served * HOUR
    catalog = catalog_of(
        log_of(),
        plan_of("p", price_of("fee", flat("1")), cycle=cycle),
        customer_of("acme", zone),
        subscription_of(
            "s", "acme", "p", instant_text(start), None if end is None else instant_text(end)
        ),
    )
    until = start + 200 * DAY
    found = [p.period for p in periods(catalog, catalog.subscriptions["s"], 0, until)]

    assert found[0].start == start
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(one.start < one.end for one in found)
    assert found[-1].end == end or found[-1].end >= until


@few
@given(timelines(steady), st.integers(0, 10))
def test_whoever_asks_later_sees_the_tail_of_the_same_periods(story: Timeline, day: int) -> None:
    catalog = story.facts.at(story.facts.head)
    after, until = T0 + (day - 5) * DAY, T0 + 20 * DAY
    for subscription in catalog.subscriptions.values():
        every = list(periods(catalog, subscription, 0, until))
        later = list(periods(catalog, subscription, after, until))
        assert later == [served for served in every if served.period.end > after]
