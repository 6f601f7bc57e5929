"""Aggregations by table: what a meter makes of a few points or windows, by hand."""

from fractions import Fraction

import pytest

from builders import HOUR, T0, fact_log, keyed, log_of, meter_of, sequenced, usage
from builders import Line as Story
from pipeline.core.calendar import Instant, Period
from pipeline.core.identity import event_key, sequenced_key, value_key
from pipeline.meter.latest import latest
from pipeline.meter.percentile import percentile
from pipeline.meter.points import UsagePoint, in_order
from pipeline.meter.scope import Pairs, Scope
from pipeline.meter.slices import NO_POINTS, Points
from pipeline.meter.ticks import Tick
from pipeline.meter.time_weighted import time_weighted
from pipeline.meter.unique_count import unique_count
from pipeline.meter.window_percentile import window_percentile

DAY_OF_HOURS = Period(T0, T0 + 24 * HOUR)
A: Pairs = (("disk", "a"),)
B: Pairs = (("disk", "b"),)


def at(
    hour: int | Fraction, value: int, key: bytes = b"k", *, times: int = 1, of: Pairs = ()
) -> UsagePoint:
    """A value told so many hours into the day."""
    return UsagePoint(T0 + int(hour * HOUR), key, 0, value, times, of)


@pytest.mark.parametrize(
    ("points", "value"),
    [
        ([], 0),
        ([at(1, 5)], 5),
        ([at(2, 7), at(1, 5)], 7),
        ([at(2, -7), at(1, 5)], -7),
        # two at one time: the higher key was told last, whatever came first
        ([at(1, 5, b"b"), at(1, 9, b"a")], 5),
        # what was taken back was never told
        ([at(1, 5), at(2, 7), at(2, 7, times=-1)], 5),
        ([at(1, 5, times=-1)], 0),
    ],
)
def test_latest(points: list[UsagePoint], value: int) -> None:
    assert latest(points) == latest(reversed(points)) == value


@pytest.mark.parametrize(
    ("points", "count"),
    [
        ([], 0),
        ([at(1, 0, b"ann"), at(2, 0, b"ann"), at(2, 0, b"ben", of=A)], 2),
        ([at(1, 0, b"ann", of=A), at(1, 0, b"ann", of=B)], 1),
        # ann was taken back in one window, not in the other
        ([at(1, 0, b"ann"), at(1, 0, b"ann", times=-1), at(2, 0, b"ann")], 1),
        ([at(1, 0, b"ann", times=2), at(1, 0, b"ann", times=-2)], 0),
    ],
)
def test_unique_count(points: list[UsagePoint], count: int) -> None:
    assert unique_count(points) == count


@pytest.mark.parametrize(
    ("percent", "value"),
    # of 15 20 35 40 50: the ranks of the textbook
    [
        *(("5", 15), ("20", 15), ("20.1", 20), ("30", 20)),
        *(("40", 20), ("50", 35), ("95", 50), ("100", 50)),
    ],
)
def test_percentile_is_the_nearest_rank(percent: str, value: int) -> None:
    points = [at(n, v, bytes([n])) for n, v in enumerate([35, 20, 15, 50, 40])]

    assert percentile(points, Fraction(percent)) == value


def test_a_value_told_often_weighs_often() -> None:
    points = [at(1, 1, times=99), at(2, 1000)]

    assert percentile(points, Fraction(99)) == 1
    assert percentile(points, Fraction("99.01")) == 1000
    assert percentile([], Fraction(50)) == 0


@pytest.mark.parametrize(
    ("used", "percent", "value"),
    [
        ({}, 95, 0),
        # 23 of 24 hours are silent: the 95th of 24 is the 23rd, and that is one of them
        ({3: 100}, 95, 0),
        ({3: 100}, 96, 100),
        ({3: 100, 4: 50, 5: 70}, 95, 70),
        ({hour: hour for hour in range(24)}, 50, 11),
        ({3: -5}, 1, -5),
    ],
)
def test_window_percentile_counts_silent_windows(
    used: dict[int, int], percent: int, value: int
) -> None:
    parts = [(T0 + hour * HOUR, Fraction(total)) for hour, total in used.items()]

    assert window_percentile(parts, DAY_OF_HOURS, HOUR, Fraction(percent)) == value


def test_parts_of_one_window_add_up() -> None:
    parts = [(T0, Fraction(1, 2)), (T0, Fraction(1, 3))]

    assert window_percentile(parts, DAY_OF_HOURS, HOUR, Fraction(100)) == Fraction(5, 6)
    assert window_percentile([], Period(T0, T0), HOUR, Fraction(100)) == 0


@pytest.mark.parametrize(
    ("points", "hours"),
    [
        ([], 0),
        ([at(0, 10)], 240),
        ([at(20, 10)], 40),
        ([at(0, 10), at(6, 0)], 60),
        # two at one time: the last one holds
        ([at(0, 10, b"a"), at(0, 1, b"b")], 24),
        # what was told before the period holds at its start, however long ago
        ([at(-9000, 3)], 72),
        ([at(-9000, 3), at(-1, 5), at(12, 1)], 72),
        # and nothing at or after its end counts
        ([at(12, 1), at(24, 99), at(30, 99)], 12),
        # levels of different dimensions add up
        ([at(0, 10, of=A), at(12, 5, of=B)], 300),
        ([at(0, 10, of=A), at(12, 0, of=A), at(12, 5, of=B)], 180),
        # what was taken back did not hold
        ([at(0, 10), at(12, 99, b"z"), at(12, 99, b"z", times=-1)], 240),
        ([at(0, -10)], -240),
    ],
)
def test_time_weighted(points: list[UsagePoint], hours: int) -> None:
    assert time_weighted(points, DAY_OF_HOURS, HOUR) == hours
    assert time_weighted(reversed(points), DAY_OF_HOURS, None) == Fraction(hours, 24)


def test_a_period_of_no_time_has_no_level() -> None:
    assert time_weighted([at(-1, 5)], Period(T0, T0), None) == 0


def test_points_of_one_place_are_one() -> None:
    twice = [at(1, 5), at(2, 7), at(1, 5)]

    assert in_order(twice) == [at(1, 5, times=2), at(2, 7)]


@pytest.mark.parametrize(
    ("scope", "held", "group"),
    [
        (Scope(), [A, B, ()], A),
        (Scope(where=(("disk", ("a",)),)), [A], ()),
        (Scope(where=(("disk", ("a", "b")),)), [A, B], ()),
        (Scope(where=(("disk", ("a",)), ("zone", ("x",)))), [], ()),
        (Scope(group_by=("disk",)), [A, B, ()], A),
        (Scope(group_by=("zone",)), [A, B, ()], ()),
    ],
)
def test_a_scope(scope: Scope, held: list[Pairs], group: Pairs) -> None:
    assert [each for each in (A, B, ()) if scope.holds(each)] == held
    assert scope.group(A) == (group if scope.group_by else ())


METERS = fact_log(
    log_of(),
    meter_of("calls"),
    meter_of("level", "latest", dimensions=["disk"]),
    meter_of("users", "unique_count", of="user", window_s=3600),
)


def points_of(*sent: tuple[str, str, Instant, str]) -> Points:
    """The points of one keyed batch; (id, meter, time, user)."""
    line = Story(METERS)
    line.tick(Tick(1, T0 + HOUR, METERS.head))
    events = [
        usage(meter=meter, id=name, time=time, **({"user": user} if user else {}))
        for name, meter, time, user in sent
    ]
    return line.send(keyed(*events)).rows.points


def keys(points: Points) -> list[bytes]:
    return [points.key[at : at + 16] for at in range(0, len(points.key), 16)]


def test_an_event_is_a_point_under_its_own_key_where_its_meter_needs_points() -> None:
    points = points_of(("1", "calls", T0, ""), ("2", "level", T0 + 5, ""))

    assert keys(points) == [event_key("acme", "shop", "2")]
    assert int.from_bytes(points.time, "little") == T0 + 5
    assert points_of(("1", "calls", T0, "")) is NO_POINTS


def test_a_sequenced_event_s_key_is_that_of_its_place() -> None:
    line = Story(METERS, partition=0)
    line.tick(Tick(1, T0, METERS.head))
    sent = line.send(sequenced(40, usage(), usage(meter="level", time=T0 - 1)))

    assert keys(sent.rows.points) == [sequenced_key("host-1", "e1", 0, 41)]


def test_a_value_is_a_point_a_window() -> None:
    points = points_of(
        ("1", "users", T0 + 5, "ann"),
        ("2", "users", T0 + 9, "ann"),
        ("3", "users", T0 + 9, ""),
        ("4", "users", T0 - 1, "ann"),
        ("5", "users", T0, "ben"),
    )

    assert sorted(keys(points)) == sorted([value_key("ann"), value_key("ann"), value_key("ben")])
    times = [points.time[at : at + 8] for at in range(0, len(points.time), 8)]
    assert {int.from_bytes(time, "little") for time in times} == {T0, T0 - HOUR}
    assert sum(points.multiplicity[::4]) == 4
