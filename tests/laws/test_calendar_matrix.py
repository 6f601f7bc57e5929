"""The calendar, zone by zone: three years of billing periods have no gap and no overlap.

Every zone of the package; a slice of them here, all with CALENDAR=all. Each edge is looked up on
the wall clock of its zone.
"""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from laws.test_calendar import ZONES, assert_on_the_clock
from pipeline.catalog.documents import Customer, Plan
from pipeline.catalog.fields import parse_zone
from pipeline.catalog.legs import Leg
from pipeline.catalog.periods import leg_periods
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import (
    DAY,
    SECOND,
    Duration,
    Instant,
    aligned,
    localised,
    to_datetime,
)

YEARS = 3
STARTS = ("2024-01-31T00:00:00", "2024-02-29T02:30:00", "2025-08-30T23:45:00")
CYCLES = ("P1D", "P1W", "P1M", "P3M", "P6M", "P1Y", "P10D", "P1M15D", "PT36H")
KNOWN = sorted(name for name in available_timezones() if name[0].isupper() and name != "Factory")
SLICE = sorted({*KNOWN[::12], *ZONES})
CHOSEN = KNOWN if os.environ.get("CALENDAR") == "all" else SLICE


BEGINS: dict[str, Callable[[datetime], bool]] = {
    "P1D": lambda shown: True,
    "P1W": lambda shown: shown.weekday() == 0,
    "P1M": lambda shown: shown.day == 1,
    "P3M": lambda shown: shown.day == 1 and shown.month in (1, 4, 7, 10),
    "P6M": lambda shown: shown.day == 1 and shown.month in (1, 7),
    "P1Y": lambda shown: (shown.day, shown.month) == (1, 1),
}


def served(start: Instant, anchor: Instant, cycle: Duration, zone: str) -> list[tuple[int, int]]:
    """The periods of three years from a start, each from and to."""
    sold = Subscription("s", "acme", "p", start, None)
    plan = Plan("p", "P", "talea", "EUR", cycle, 14, ())
    leg = Leg(sold, Customer("acme", zone, {}), plan, start, None, anchor, start)
    until = start + YEARS * 366 * DAY
    return [(each.period.start, each.period.end) for each in leg_periods(leg, 0, until)]


def walls(start: datetime, cycle: Duration) -> Iterator[datetime]:
    """What the clock shows at each edge behind the start."""
    for number in range(1, 100_000):
        months = start.year * 12 + start.month - 1 + cycle.months * number
        year, month0 = divmod(months, 12)
        day = start.day
        while True:  # a day the month lacks is its last one
            try:
                first = start.replace(year=year, month=month0 + 1, day=day)
                break
            except ValueError:
                day -= 1
        yield first + timedelta(days=cycle.days * number)


@pytest.mark.parametrize("zone", CHOSEN)
def test_three_years_of_every_cycle_tile_and_keep_the_wall_clock(zone: str) -> None:
    assert parse_zone(zone) == zone
    looked = 0
    for text in STARTS:
        wall = datetime.fromisoformat(text)
        start = localised(wall, ZoneInfo(zone))
        for name in CYCLES:
            cycle = Duration.parse(name)
            found = served(start, start, cycle, zone)
            assert found[0][0] == start
            assert all(one[1] == other[0] for one, other in pairwise(found)), name
            assert all(begun < over for begun, over in found), name
            assert found[-1][1] >= start + YEARS * 366 * DAY
            looked += len(found)
            if cycle.seconds:
                widths = {over - begun for begun, over in found}
                assert widths == {cycle.seconds * SECOND}
                continue
            for (_, over), shown in zip(found, walls(wall, cycle), strict=False):
                assert_on_the_clock(over, shown, zone)
    assert looked > 3 * 1095


@pytest.mark.parametrize("zone", CHOSEN)
def test_cycles_of_the_calendar_begin_where_it_says(zone: str) -> None:
    for text in STARTS:
        start = localised(datetime.fromisoformat(text), ZoneInfo(zone))
        for name, begins in BEGINS.items():
            cycle = Duration.parse(name)
            anchor = aligned(start, cycle, zone)
            found = served(start, anchor, cycle, zone)
            assert anchor <= start < found[0][1] <= anchor + cycle.nominal_us * 11 // 10 + 2 * DAY
            assert all(one[1] == other[0] for one, other in pairwise(found)), name
            for _, over in found:
                shown = to_datetime(over).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
                assert begins(shown), (name, shown)
                midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0)
                assert_on_the_clock(over, midnight, zone)


def test_all_zones_are_there() -> None:
    assert len(KNOWN) > 480
    offsets = {to_datetime(0).astimezone(ZoneInfo(zone)).utcoffset() for zone in SLICE}
    assert len(offsets) > 20
