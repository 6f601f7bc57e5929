"""Laws of a commitment: what its prices and its top-up come to, however its period is billed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laws.test_periods_cut import FEB, JAN, Cut, days, documents, early_cuts, ended, spread
from laws.test_terms import cards
from oracle import minor
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.core.calendar import DAY, Instant
from pipeline.core.identity import canonical
from pipeline.meter.points import UsagePoint
from pipeline.rate import FlatPrice

Line = Mapping[str, Any]
MONTH = FEB - JAN
few = settings(max_examples=60)
least_of = st.integers(1, 400_000).map(lambda cents: Fraction(cents, 100))


def committed(
    card: PlanPrice,
    other: PlanPrice,
    least: Fraction,
    end: Instant | None = None,
    covers: tuple[str, ...] = (),
) -> Catalog:
    """acme on two prices, p and q, and a commitment that covers some of them, none named: both."""
    books = ended(card, end)
    spend = PlanPrice("spend", "Spend", None, FlatPrice(least), {"amount": "0"}, covers=covers)
    plan = books.plans["pro"]
    prices = (*plan.prices, replace(other, id="q"), spend)
    return replace(books, plans={"pro": replace(plan, prices=prices)})


def spent(lines: Sequence[Line], *prices: str) -> int:
    """What some prices come to."""
    return sum(line["total_minor"] for line in lines if line["rate_card"]["id"] in prices)


@few
@given(cards(), cards(), least_of, spread, st.sampled_from(["", "p", "q"]))
def test_a_period_comes_to_what_is_committed_at_least_and_to_no_more_for_it(
    card: PlanPrice, other: PlanPrice, least: Fraction, used: list[UsagePoint], only: str
) -> None:
    covers = (only,) if only else ()
    (lines,) = documents([Cut(FEB, committed(card, other, least, None, covers))], used)
    counts = spent(lines, *(covers or ("p", "q")))

    (top_up,) = (line for line in lines if line["rate_card"]["id"] == "spend")
    assert counts + top_up["total_minor"] == max(counts, minor(least))
    assert top_up["totals"]["charges_total_minor"] == top_up["total_minor"] >= 0


@few
@given(cards(), cards(), least_of, spread, st.lists(days, min_size=1, max_size=3, unique=True))
def test_an_end_moved_later_costs_what_it_would_have_cost_at_once(
    card: PlanPrice,
    other: PlanPrice,
    least: Fraction,
    used: list[UsagePoint],
    ends: list[Instant],
) -> None:
    cuts = [Cut(end, committed(card, other, least, end)) for end in sorted(ends)]
    lines = [line for each in documents(cuts, used) for line in each]
    (at_once,) = documents(cuts[-1:], used)

    for price in ("p", "q", "spend"):
        assert spent(lines, price) == spent(at_once, price)
    served = Fraction(min(max(ends), FEB) - JAN, MONTH)
    counts = spent(lines, "p", "q")
    assert spent(lines, "spend") == max(0, minor(least * served) - counts)


@few
@given(cards(), cards(), least_of, spread, early_cuts())
def test_usage_billed_early_in_any_cuts_is_topped_up_once_at_the_end(
    card: PlanPrice,
    other: PlanPrice,
    least: Fraction,
    used: list[UsagePoint],
    early: list[tuple[Instant, int]],
) -> None:
    books = committed(card, other, least)
    cuts = [Cut(at, books, booked, is_early=True) for at, booked in early]
    *firsts, last = documents([*cuts, Cut(FEB, books)], used)
    (at_once,) = documents([Cut(FEB, books)], used)

    assert not any(line["rate_card"]["id"] == "spend" for each in firsts for line in each)
    assert [line for line in last if line["rate_card"]["id"] == "spend"] == [
        line for line in at_once if line["rate_card"]["id"] == "spend"
    ]


@few
@given(cards(), cards(), st.tuples(least_of, least_of), spread, st.integers(1, 30))
def test_a_commitment_that_changes_within_a_period_is_that_of_both_its_parts(
    card: PlanPrice,
    other: PlanPrice,
    least: tuple[Fraction, Fraction],
    used: list[UsagePoint],
    day: int,
) -> None:
    before, after = (committed(card, other, each).plans["pro"] for each in least)
    assume(least[0] != least[1])
    dated = replace(after, effective=JAN + day * DAY, earlier=before)
    books = replace(committed(card, other, least[1]), plans={"pro": dated})
    (lines,) = documents([Cut(FEB, books)], used)

    share = Fraction(day * DAY, MONTH)
    whole = minor(least[0] * share) + minor(least[1] * (1 - share))
    (top_up,) = (line for line in lines if line["rate_card"]["id"] == "spend")
    assert top_up["total_minor"] == max(0, whole - spent(lines, "p", "q"))


@few
@given(cards(), cards(), least_of, spread, st.randoms(use_true_random=False))
def test_the_order_that_events_came_in_makes_no_difference(
    card: PlanPrice,
    other: PlanPrice,
    least: Fraction,
    used: list[UsagePoint],
    chance: Random,
) -> None:
    shuffled = [*used]
    chance.shuffle(shuffled)
    (one,), (another,) = (
        documents([Cut(FEB, committed(card, other, least))], each) for each in (used, shuffled)
    )

    assert canonical([*one]) == canonical([*another])
