"""The calendar, row by row: instants, durations, edges of cycles on awkward days."""

import pytest

from builders import HOUR, instant
from pipeline.core.calendar import (
    Duration,
    aligned,
    cycle_at,
    cycle_edge,
    cycle_index,
    instant_text,
    parse_instant,
)

SPELLINGS = [
    ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    ("2026-03-01t00:00:00z", "2026-03-01T00:00:00Z"),
    ("2026-03-01T01:00:00+01:00", "2026-03-01T00:00:00Z"),
    ("2026-02-28T18:30:00-05:30", "2026-03-01T00:00:00Z"),
    ("2026-03-01T00:00:00.5Z", "2026-03-01T00:00:00.500000Z"),
    ("2026-03-01T00:00:00.000001Z", "2026-03-01T00:00:00.000001Z"),
    ("2026-03-01T00:00:00.123456000Z", "2026-03-01T00:00:00.123456Z"),
    ("2024-02-29T23:59:59-23:59", "2024-03-01T23:58:59Z"),
    ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
]


@pytest.mark.parametrize(("text", "written"), SPELLINGS)
def test_an_instant_is_read_in_any_spelling_and_written_in_one(text: str, written: str) -> None:
    assert instant_text(parse_instant(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01",
        "2026-03-01T00:00:00",  # no zone
        "2026-03-01 00:00:00Z",
        "2026-03-01T00:00Z",
        "2026-3-1T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T23:59:60Z",  # leap seconds do not exist here
        "2026-03-01T00:00:00.0000001Z",
        "2026-03-01T00:00:00.1234567891Z",
        "2026-03-01T00:00:00,5Z",
        "2026-03-01T00:00:00+24:00",
        "2026-03-01T00:00:00+01:60",
        "2026-03-01T00:00:00+0100",
        "2026-03-01T00:00:00Z\n",
        " 2026-03-01T00:00:00Z",
        "٢٠٢٦-03-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        1772323200,
        None,
        b"2026-03-01T00:00:00Z",
    ],
)
def test_what_is_no_instant(text: object) -> None:
    with pytest.raises(ValueError, match=r"instant|microsecond|offset"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("P1M", Duration(1, 0, 0)),
        ("P1Y2M3W4DT5H6M7S", Duration(14, 25, 5 * 3600 + 6 * 60 + 7)),
        ("PT1M", Duration(0, 0, 60)),
        ("P2W", Duration(0, 14, 0)),
        ("PT90S", Duration(0, 0, 90)),
        ("P0YT1S", Duration(0, 0, 1)),
        ("P100Y", Duration(1200, 0, 0)),
    ],
)
def test_durations(text: str, duration: Duration) -> None:
    assert Duration.parse(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1", "1M", "P1MT", "P-1M", "P1.5M", "P1S", "PT1D", "P0D", "PT0S", "p1m",
     "P1M ", "P1M1Y", "P¹M", "P101Y200D", "P9999Y", "P99999D", "PT876600H1S", "P99999Y"],
)  # fmt: skip
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an ISO|lasts"):
        Duration.parse(text)


MONTH, DAY = Duration(1, 0, 0), Duration(0, 1, 0)

EDGES = [
    # the 31st: the last day where there is none, and no drift after it
    ("2026-01-31T00:00:00Z", MONTH, "UTC", 1, "2026-02-28T00:00:00Z"),
    ("2026-01-31T00:00:00Z", MONTH, "UTC", 2, "2026-03-31T00:00:00Z"),
    ("2026-01-31T00:00:00Z", MONTH, "UTC", 3, "2026-04-30T00:00:00Z"),
    ("2026-01-31T00:00:00Z", MONTH, "UTC", 25, "2028-02-29T00:00:00Z"),
    ("2024-02-29T00:00:00Z", Duration(12, 0, 0), "UTC", 1, "2025-02-28T00:00:00Z"),
    ("2024-02-29T00:00:00Z", Duration(12, 0, 0), "UTC", 4, "2028-02-29T00:00:00Z"),
    # the last day by the customer's clock, not by UTC
    ("2026-01-30T23:00:00Z", MONTH, "Europe/Berlin", 1, "2026-02-27T23:00:00Z"),
    ("2026-01-30T23:00:00Z", MONTH, "Europe/Berlin", 2, "2026-03-30T22:00:00Z"),
    # midnight stays midnight when summer time comes and goes
    ("2026-03-01T05:00:00Z", MONTH, "America/New_York", 1, "2026-04-01T04:00:00Z"),
    ("2026-10-01T04:00:00Z", MONTH, "America/New_York", 2, "2026-12-01T05:00:00Z"),
    # 02:30 is skipped on 29 March: it takes the offset before the gap
    ("2026-03-28T01:30:00Z", DAY, "Europe/Berlin", 1, "2026-03-29T01:30:00Z"),
    ("2026-03-28T01:30:00Z", DAY, "Europe/Berlin", 2, "2026-03-30T00:30:00Z"),
    # 02:30 comes twice on 25 October: the first counts, unless the anchor is the second
    ("2026-10-24T00:30:00Z", DAY, "Europe/Berlin", 1, "2026-10-25T00:30:00Z"),
    ("2026-10-24T00:30:00Z", DAY, "Europe/Berlin", 2, "2026-10-26T01:30:00Z"),
    ("2026-10-25T01:30:00Z", DAY, "Europe/Berlin", 0, "2026-10-25T01:30:00Z"),
    ("2026-10-25T01:30:00Z", DAY, "Europe/Berlin", 1, "2026-10-26T01:30:00Z"),
    # Cairo skips midnight itself; Havana has it twice
    ("2026-04-22T22:00:00Z", DAY, "Africa/Cairo", 1, "2026-04-23T22:00:00Z"),
    ("2026-10-31T04:00:00Z", DAY, "America/Havana", 1, "2026-11-01T04:00:00Z"),
    # seconds elapse whatever the clock does
    ("2026-03-28T23:00:00Z", Duration(0, 0, 86_400), "Europe/Berlin", 1, "2026-03-29T23:00:00Z"),
    # a month and an hour: the month by the clock, then the hour
    ("2026-01-31T00:00:00Z", Duration(1, 0, 3600), "UTC", 2, "2026-03-31T02:00:00Z"),
    # backwards
    ("2026-03-31T00:00:00Z", MONTH, "UTC", -1, "2026-02-28T00:00:00Z"),
]


@pytest.mark.parametrize(("anchor", "cycle", "zone", "count", "edge"), EDGES)
def test_edges_of_cycles(anchor: str, cycle: Duration, zone: str, count: int, edge: str) -> None:
    assert instant_text(cycle_edge(instant(anchor), cycle, count, zone)) == edge


@pytest.mark.parametrize(
    ("at", "cycle", "zone", "edges"),
    [
        # on 24 April Cairo's clock goes from 00:00 to 01:00: that day begins at one, others do not
        ("2026-04-24T09:00:00Z", "P1D", "Africa/Cairo", ["23T22", "24T21", "25T21"]),
        # so did 1 October 2023 in Asuncion
        ("2023-10-05T12:00:00Z", "P1M", "America/Asuncion", ["01T04", "01T03", "01T03"]),
        ("2023-10-05T12:00:00Z", "P3M", "America/Asuncion", ["01T04", "01T03", "01T04"]),
        ("2026-09-06T15:00:00Z", "P1D", "America/Santiago", ["06T04", "07T03", "08T03"]),
        ("2026-04-30T09:00:00Z", "P1D", "Africa/Cairo", ["29T21", "30T21", "01T21"]),
        ("2026-04-30T09:00:00Z", "P1W", "Africa/Cairo", ["26T21", "03T21", "10T21"]),
    ],
)
def test_a_calendar_s_cycles_begin_at_midnight_whatever_day_they_are_counted_from(
    at: str, cycle: str, zone: str, edges: list[str]
) -> None:
    told, length = instant(at), Duration.parse(cycle)
    anchor = aligned(told, length, zone)
    first = cycle_index(told, anchor, length, zone)
    found = [cycle_edge(anchor, length, first + k, zone) for k in range(3)]

    assert [instant_text(edge)[8:13] for edge in found] == edges


@pytest.mark.parametrize(
    ("moment", "index"),
    [
        ("2026-01-30T23:59:59.999999Z", -1),
        ("2026-01-31T00:00:00Z", 0),
        ("2026-02-27T23:59:59.999999Z", 0),
        ("2026-02-28T00:00:00Z", 1),  # an edge belongs to the cycle it opens
        ("2026-03-31T00:00:00Z", 2),
        ("2027-01-31T00:00:00Z", 12),
    ],
)
def test_the_cycle_of_an_instant(moment: str, index: int) -> None:
    assert cycle_index(instant(moment), instant("2026-01-31T00:00:00Z"), MONTH, "UTC") == index


def test_a_day_that_summer_time_shortens_has_23_hours() -> None:
    spring = cycle_at(instant("2026-03-28T23:00:00Z"), DAY, 0, "Europe/Berlin")
    autumn = cycle_at(instant("2026-10-24T22:00:00Z"), DAY, 0, "Europe/Berlin")

    assert spring.end - spring.start == 23 * HOUR
    assert autumn.end - autumn.start == 25 * HOUR
