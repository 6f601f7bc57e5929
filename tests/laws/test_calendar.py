"""Laws of the calendar: one text form of an instant; windows and cycles tile time."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import instant
from pipeline.core.calendar import (
    DAY,
    EARLIEST,
    LATEST,
    SECOND,
    Duration,
    Instant,
    cycle_at,
    cycle_edge,
    cycle_index,
    from_datetime,
    instant_text,
    localised,
    parse_instant,
    snap_up,
    to_datetime,
    window_start,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",  # half hours
    "Australia/Lord_Howe",  # half an hour of summer
    "Asia/Kathmandu",
    "Africa/Cairo",  # skips midnight itself
    "America/Havana",  # repeats midnight
    "Africa/Casablanca",  # summer but for Ramadan
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Kiritimati",
    "Antarctica/Troll",  # two hours of summer
]

instants = st.integers(EARLIEST, LATEST - 1)
anchors = st.one_of(
    instants,
    st.sampled_from(
        [
            instant(f"20{year}-{md}T{t}Z")
            for year in (11, 24, 25, 26)
            for md in ("01-31", "10-25", "10-26", "11-02", "12-30", "03-29", "03-31")
            for t in ("00:30:00", "01:30:00", "05:30:00", "23:59:59.999999")
        ]
    ),
)
zones = st.sampled_from(ZONES)
few = settings(max_examples=60)
calendar_cycles = st.builds(Duration, st.integers(1, 14), st.just(0), st.just(0)) | st.builds(
    Duration, st.just(0), st.integers(1, 40), st.just(0)
)
clock_cycles = st.builds(Duration, st.just(0), st.just(0), st.integers(1, 10**7))
cycles = st.one_of(
    calendar_cycles,
    clock_cycles,
    st.builds(Duration, st.integers(1, 3), st.integers(0, 9), st.integers(0, 90_000)),
)
counts = st.integers(-40, 120)


@few
@given(instants)
def test_an_instant_has_one_text(moment: Instant) -> None:
    text = instant_text(moment)

    assert parse_instant(text) == moment
    assert from_datetime(to_datetime(moment)) == moment
    assert text.endswith("Z")


@few
@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_any_offset_is_understood(wall: datetime, offset_min: int) -> None:
    sign, ahead = ("-" if offset_min < 0 else "+"), abs(offset_min)
    stamp = f"{wall.isoformat()}{sign}{ahead // 60:02}:{ahead % 60:02}"
    theirs = datetime.fromisoformat(stamp) - datetime(1970, 1, 1, tzinfo=UTC)

    assert parse_instant(stamp) == theirs // timedelta(microseconds=1)


@few
@given(st.integers(-(2**62), 2**62), st.integers(1, 10**13))
def test_windows_tile_time(moment: Instant, window_us: int) -> None:
    start = window_start(moment, window_us)

    assert start <= moment < start + window_us
    assert window_start(start, window_us) == start == snap_up(start, window_us)
    assert snap_up(moment, window_us) in (moment, start + window_us)
    assert snap_up(moment, window_us) % window_us == 0


@few
@given(anchors, cycles, counts, zones)
def test_cycles_tile_time(anchor: Instant, cycle: Duration, count: int, zone: str) -> None:
    here = cycle_at(anchor, cycle, count, zone)

    assert here.start <= here.end == cycle_at(anchor, cycle, count + 1, zone).start
    assert here.start < here.end or zone == "Pacific/Apia"


@few
@given(anchors, cycles, zones)
@example(instant("2026-10-25T01:30:00Z"), Duration(1, 0, 0), "Europe/Berlin")
def test_the_anchor_is_edge_0(anchor: Instant, cycle: Duration, zone: str) -> None:
    assert cycle_edge(anchor, cycle, 0, zone) == anchor


@few
@given(anchors, cycles, st.integers(-(10**15), 10**16), zones)
def test_every_instant_lies_in_the_cycle_of_its_index(
    anchor: Instant, cycle: Duration, ahead: int, zone: str
) -> None:
    moment = min(max(anchor + ahead % (150 * cycle.nominal_us), EARLIEST), LATEST)
    found = cycle_at(anchor, cycle, cycle_index(moment, anchor, cycle, zone), zone)

    assert found.start <= moment < found.end


@few
@given(anchors, cycles, counts, zones)
@example(instant("2026-10-24T00:30:00Z"), Duration(0, 1, 0), 1, "Europe/Berlin")
def test_an_edge_opens_its_cycle(anchor: Instant, cycle: Duration, count: int, zone: str) -> None:
    edge = cycle_edge(anchor, cycle, count, zone)
    found = cycle_index(edge, anchor, cycle, zone)

    assert cycle_edge(anchor, cycle, found, zone) == edge
    assert found == count or zone == "Pacific/Apia"


@few
@given(anchors, clock_cycles, counts, zones)
def test_seconds_elapse_whatever_the_clock_shows(
    anchor: Instant, cycle: Duration, count: int, zone: str
) -> None:
    assert cycle_edge(anchor, cycle, count, zone) == anchor + count * cycle.seconds * SECOND


@few
@given(anchors, st.integers(1, 14), st.integers(1, 120), zones)
@example(instant("2026-01-29T01:30:00Z"), 1, 2, "Europe/Berlin")  # 02:30 that is skipped
@example(instant("2026-08-25T00:30:00Z"), 1, 2, "Europe/Berlin")  # 02:30 that comes twice
def test_months_keep_their_day_without_drift(
    anchor: Instant, months: int, count: int, zone: str
) -> None:
    local = to_datetime(anchor).astimezone(ZoneInfo(zone))
    year, month = local.year, local.month
    for _ in range(months * count):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    day = min(local.day, monthrange(year, month)[1])
    wall = local.replace(year=year, month=month, day=day, tzinfo=None)

    edge = cycle_edge(anchor, Duration(months, 0, 0), count, zone)

    assert_on_the_clock(edge, wall, zone)


@few
@given(anchors, st.integers(1, 40), st.integers(1, 120), zones)
@example(instant("2026-03-27T01:30:00Z"), 1, 2, "Europe/Berlin")
@example(instant("2026-10-23T00:30:00Z"), 1, 2, "Europe/Berlin")
@example(instant("2026-04-21T22:00:00Z"), 1, 2, "Africa/Cairo")
@example(instant("2026-10-31T04:00:00Z"), 1, 1, "America/Havana")
def test_days_keep_their_hour(anchor: Instant, days: int, count: int, zone: str) -> None:
    local = to_datetime(anchor).astimezone(ZoneInfo(zone)).replace(tzinfo=None)

    edge = cycle_edge(anchor, Duration(0, days, 0), count, zone)

    assert_on_the_clock(edge, local + timedelta(days=days * count), zone)


def assert_on_the_clock(edge: Instant, wall: datetime, zone: str) -> None:
    """The clock shows `wall` at the edge, for the first time; or it never shows it."""
    shown = to_datetime(edge).astimezone(ZoneInfo(zone))
    if shown.replace(tzinfo=None, fold=0) == wall.replace(fold=0):
        assert shown.fold == 0
        return
    for fold in (0, 1):  # no instant shows it: a clock that goes forward skipped it
        moment = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
        assert moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall
    before = (to_datetime(edge) - timedelta(days=2)).astimezone(ZoneInfo(zone)).utcoffset()
    assert before is not None
    assert to_datetime(edge).replace(tzinfo=None) == wall - before


@few
@given(instants, zones)
def test_the_clock_finds_back(moment: Instant, zone: str) -> None:
    """Up to the hours that a clock shows twice."""
    shown = to_datetime(moment).astimezone(ZoneInfo(zone))
    back = localised(shown.replace(tzinfo=None), ZoneInfo(zone))

    assert back == moment if shown.fold == 0 else moment - DAY < back < moment


near = st.from_regex(
    r"(1999|2026|0001|9999)-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?Z",
    fullmatch=True,
)


@few
@given(
    near,
    st.lists(
        st.tuples(st.integers(0, 27), st.integers(0, 1), st.sampled_from("0٣WTt:-,.+ Zz")),
        max_size=1,
    ),
)
def test_the_commonest_form_is_read_as_any_other(
    text: str, edits: list[tuple[int, int, str]]
) -> None:
    """`Z` is read at sight, `+00:00` by the rules."""
    for at, dropped, piece in edits:
        text = text[:at] + piece + text[at + dropped :]
    by_rules = text.removesuffix("Z") + "+00:00" * text.endswith("Z")

    assert instant_or_none(text) == instant_or_none(by_rules)


def instant_or_none(text: str) -> Instant | None:
    try:
        return parse_instant(text)
    except ValueError:
        return None
