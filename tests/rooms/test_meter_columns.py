"""Reading a batch: one that lies about itself is refused whole, with a code and a path."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from struct import pack

import numpy as np
import pytest

from builders import HOUR, MINUTE, T0, arrival, count_meter, ground, keyed, sequenced, usage
from pipeline.collect import limits
from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue, heartbeat
from pipeline.collect.columns import Columns, outside_calendar, read_columns
from pipeline.core.calendar import EARLIEST, LATEST, SECOND
from pipeline.core.errors import Code, Rejection
from pipeline.meter.fold import fold
from pipeline.meter.place import Told, look

KEYED = keyed(
    usage("acme", "1.5", id="1", region="eu"),
    usage("globex", "-2", id="2"),
    usage("acme", "98765432109876543210", id="3"),
)
SEQUENCED = sequenced(5, usage("acme", "1"), usage("acme", "2"))

LIES: list[tuple[Mapping[str, object], Code, str]] = [
    # lengths
    ({"event_count": 2}, Code.BAD_LENGTH, "customer_index"),
    ({"event_count": 4}, Code.BAD_LENGTH, "customer_index"),
    ({"event_count": -1}, Code.TOO_LARGE, "event_count"),
    ({"event_count": 2001}, Code.TOO_LARGE, "event_count"),
    ({"event_count": 2**31 - 1}, Code.TOO_LARGE, "event_count"),
    ({"customer_index": b""}, Code.BAD_LENGTH, "customer_index"),
    ({"customer_index": KEYED.customer_index[:-1]}, Code.BAD_LENGTH, "customer_index"),
    ({"meter_index": KEYED.meter_index + b"\0"}, Code.BAD_LENGTH, "meter_index"),
    ({"dimensions_index": KEYED.dimensions_index * 2}, Code.BAD_LENGTH, "dimensions_index"),
    ({"time": KEYED.time[:-8]}, Code.BAD_LENGTH, "time"),
    ({"mantissa": KEYED.mantissa + bytes(8)}, Code.BAD_LENGTH, "mantissa"),
    ({"key": KEYED.key[:-16]}, Code.BAD_LENGTH, "key"),
    ({"key": KEYED.key[:-1]}, Code.BAD_LENGTH, "key"),
    ({"key": b""}, Code.BAD_LENGTH, "key"),
    ({"fingerprint": KEYED.fingerprint + b"\0\0\0\0"}, Code.BAD_LENGTH, "fingerprint"),
    # indexes
    ({"customer_index": pack("<3H", 0, 1, 2)}, Code.BAD_INDEX, "customer_index"),
    ({"meter_index": pack("<3H", 0, 65535, 0)}, Code.BAD_INDEX, "meter_index"),
    ({"dimensions_index": pack("<3H", 2, 0, 0)}, Code.BAD_INDEX, "dimensions_index"),
    ({"customers": []}, Code.BAD_INDEX, "customer_index"),
    ({"dimensions": []}, Code.BAD_INDEX, "dimensions_index"),
    # mantissas and scales
    ({"mantissa": pack("<3q", 2**52, 0, 0)}, Code.BAD_VALUE, "mantissa"),
    ({"mantissa": pack("<3q", 0, -(2**52), 0)}, Code.BAD_VALUE, "mantissa"),
    ({"mantissa": pack("<3q", -(2**63), 0, 0)}, Code.BAD_VALUE, "mantissa"),
    ({"mantissa": pack("<3q", 15, -2, 1)}, Code.BAD_BATCH, "wide"),
    ({"meters": [MeterScale("calls", s) for s in (1, 0, 19)]}, Code.BAD_VALUE, "meters"),
    ({"meters": [MeterScale("calls", s) for s in (1, 0, -1)]}, Code.BAD_VALUE, "meters"),
    ({"meters": [MeterScale("calls", s) for s in (1, 0, 2**31)]}, Code.BAD_VALUE, "meters"),
    *(
        ({"wide": [WideValue(index, digits)]}, Code.BAD_BATCH, "wide")
        for index, digits in (
            (3, "1"),
            (-1, "1"),
            (2**31, "1"),
            (2, ""),
            (2, "-"),
            (2, "--1"),
            (2, "+1"),
            (2, " 1"),
            (2, "1\n"),
            (2, "1_000"),
            (2, "0x10"),
            (2, "1e9"),
            (2, "1.5"),
            (2, "NaN"),
            (2, "١٢"),  # Arabic digits
            (2, "²"),
            (2, "9" * 39),
        )
    ),
    ({"wide": [WideValue(2, "1"), WideValue(2, "1")]}, Code.BAD_BATCH, "wide"),
    ({"wide": [WideValue(0, "99999999999999999999")]}, Code.BAD_BATCH, "wide"),
    # dictionaries
    ({"customers": ["acme"] * 2001}, Code.TOO_LARGE, "customers"),
    ({"meters": [MeterScale("calls", 0)] * 2001}, Code.TOO_LARGE, "meters"),
    ({"dimensions": [{}] * 2001}, Code.TOO_LARGE, "dimensions"),
    ({"customers": ["acme", ""]}, Code.MISSING_FIELD, "customers[1]"),
    ({"customers": ["acme", "x" * 257]}, Code.TOO_LARGE, "customers[1]"),
    ({"customers": ["acme", "a\0b"]}, Code.BAD_FIELD, "customers[1]"),
    ({"customers": ["a\nb", "acme"]}, Code.BAD_FIELD, "customers[0]"),
    ({"customers": ["acme", "\x9f"]}, Code.BAD_FIELD, "customers[1]"),
    ({"customers": ["acme", "\ud800"]}, Code.BAD_FIELD, "customers[1]"),
    ({"meters": [MeterScale("", 1)] * 3}, Code.MISSING_FIELD, "meters[0]"),
    ({"meters": [MeterScale("m" * 129, 1)] * 3}, Code.TOO_LARGE, "meters[0]"),
    ({"meters": [MeterScale("m\x1b[2J", 1)] * 3}, Code.BAD_FIELD, "meters[0]"),
    ({"dimensions": [{"": "eu"}, {}]}, Code.MISSING_FIELD, "dimensions.<name>"),
    ({"dimensions": [{"r\t": "eu"}, {}]}, Code.BAD_FIELD, "dimensions.<name>"),
    ({"dimensions": [{"region": "e\x7fu"}, {}]}, Code.BAD_FIELD, "dimensions.region"),
    ({"dimensions": [{"region": "u" * 257}, {}]}, Code.TOO_LARGE, "dimensions.region"),
    ({"dimensions": [{str(n): "" for n in range(33)}, {}]}, Code.TOO_LARGE, "dimensions"),
    # what the header says of itself
    ({"end": True}, Code.BAD_BATCH, "event_count"),
    ({"reversals": [Reversal(-1, T0)]}, Code.BAD_BATCH, "reversals"),
    ({"reversals": [Reversal(9, T0)]}, Code.BAD_BATCH, "reversals"),
    ({"reversals": [Reversal(0, T0)] * 2}, Code.BAD_BATCH, "reversals"),
    ({"mode": Mode.SEQUENCED}, Code.MISSING_FIELD, "producer"),
    ({"mode": Mode.SEQUENCED, "producer": "p"}, Code.MISSING_FIELD, "epoch"),
    ({"mode": Mode.SEQUENCED, "producer": "p", "epoch": "e\n"}, Code.MISSING_FIELD, "epoch"),
    ({"mode": Mode.SEQUENCED, "producer": "p", "epoch": "e"}, Code.BAD_LENGTH, "key"),
]

SEQUENCED_LIES: list[tuple[Mapping[str, object], Code, str]] = [
    ({"reversals": [Reversal(0, T0)]}, Code.BAD_BATCH, "reversals"),
    ({"producer": ""}, Code.MISSING_FIELD, "producer"),
    ({"producer": "p" * 257}, Code.MISSING_FIELD, "producer"),
    ({"epoch": "\0"}, Code.MISSING_FIELD, "epoch"),
    ({"first_sequence": -1}, Code.BAD_BATCH, "first_sequence"),
    ({"first_sequence": 2**62}, Code.BAD_BATCH, "first_sequence"),
    ({"first_sequence": 2**63 - 1}, Code.BAD_BATCH, "first_sequence"),
    ({"key": bytes(32)}, Code.BAD_LENGTH, "key"),
    ({"fingerprint": bytes(8)}, Code.BAD_LENGTH, "fingerprint"),
    ({"mode": Mode.KEYED}, Code.BAD_LENGTH, "key"),
    ({"event_count": 0}, Code.BAD_LENGTH, "customer_index"),
]


def lying(batch: UsageBatch, lie: Mapping[str, object]) -> UsageBatch:
    return replace(batch, **lie)  # type: ignore[arg-type]


@pytest.mark.parametrize(("lie", "code", "path"), LIES)
def test_a_keyed_batch_that_lies_is_refused_whole(
    lie: Mapping[str, object], code: Code, path: str
) -> None:
    assert refusal(lying(KEYED, lie)) == (code, path)


@pytest.mark.parametrize(("lie", "code", "path"), SEQUENCED_LIES)
def test_a_sequenced_batch_that_lies_is_refused_whole(
    lie: Mapping[str, object], code: Code, path: str
) -> None:
    assert refusal(lying(SEQUENCED, lie)) == (code, path)


def refusal(batch: UsageBatch) -> tuple[Code, str]:
    """What the batch is refused for; all its header counts is then rejected."""
    read = read_columns(batch)
    assert isinstance(read, Rejection)
    told = look(batch, arrival(7), ground(), {})
    assert isinstance(told, Told)
    assert (told.piece.counts.offered, told.piece.counts.rejected) == (7, 7)
    assert told.piece.counts.closed
    assert [each.rejection for each in told.refusals] == [read]
    return read.code, read.path


def test_an_empty_keyed_batch_is_no_heartbeat() -> None:
    empty = replace(heartbeat("p", "e", 0, end=False), mode=Mode.KEYED)

    assert refusal(empty) == (Code.BAD_BATCH, "event_count")


def test_a_heartbeat_is_read() -> None:
    columns = read_columns(heartbeat("p", "e", 3, end=True))

    assert isinstance(columns, Columns)
    assert len(columns) == 0


def test_the_columns_of_a_good_batch() -> None:
    columns = read_columns(KEYED)

    assert isinstance(columns, Columns)
    assert columns.customer.tolist() == [0, 1, 0]
    assert columns.meter.tolist() == [0, 1, 1]
    assert columns.dimensions.tolist() == [0, 1, 1]
    assert columns.mantissa.tolist() == [15, -2, 0]
    assert columns.wide == {2: 98765432109876543210}
    assert columns.time.tolist() == [T0] * 3


@pytest.mark.parametrize(
    "change",
    [
        {"mantissa": pack("<3q", 2**52 - 1, -(2**52) + 1, 0)},
        {"wide": [WideValue(2, "9" * 38)]},
        {"wide": [WideValue(2, "-" + "9" * 38)]},
        {"customers": ["x" * 256, "é" * 256]},
        {"customers": ["acme", "acme"]},
        {"customers": ["acme", "globex", *map(str, range(1998))]},
        {"dimensions": [{str(n): "" for n in range(32)}, {}]},
        {"meters": [MeterScale("m" * 128, 18), MeterScale("calls", 0)]},
        {"time": pack("<3q", -(2**63), 2**63 - 1, 0)},  # the calendar judges event by event
    ],
)
def test_the_limits_themselves_are_within(change: Mapping[str, object]) -> None:
    assert isinstance(read_columns(lying(KEYED, change)), Columns)


def test_a_full_batch_of_the_largest_mantissas_adds_up() -> None:
    count, most = limits.BATCH_EVENTS_MAX, limits.MANTISSA_MAX - 1
    batch = sequenced(0, *[usage(value=str(most))] * count)
    columns = read_columns(batch)

    assert isinstance(columns, Columns)
    assert int(columns.mantissa.sum()) == count * most < 2**63


def test_what_lies_outside_the_calendar() -> None:
    times = [EARLIEST - 1, EARLIEST, LATEST - 1, LATEST, -(2**63), 2**63 - 1]
    batch = sequenced(0, *[usage()] * len(times))
    columns = read_columns(replace(batch, time=pack(f"<{len(times)}q", *times)))

    assert isinstance(columns, Columns)
    outside = outside_calendar(columns)
    assert outside.dtype == np.bool_
    assert outside.tolist() == [True, False, False, True, True, True]


def test_strangers_long_names_are_not_remembered() -> None:
    """A cache of checked names must not keep a megabyte for every one that was sent."""
    tracemalloc.start()
    try:
        for n in range(40):
            long = f"{n}".rjust(100_000, "x")
            read_columns(replace(KEYED, customers=["acme", long]))
            del long
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_000_000


@pytest.mark.parametrize("span", [1, 3 * HOUR, 5_000 * HOUR], ids=["one", "few", "many"])
def test_rows_stand_by_series_then_window_however_many_windows(span: int) -> None:
    meters = [count_meter("calls", MINUTE, "region"), count_meter("bytes", HOUR)]
    events = [
        usage(
            f"customer-{place % 3}",
            str(place),
            meter=("calls", "bytes")[place % 2],
            time=T0 + place * 7919 * SECOND % span,
            id=str(place),
            region=("eu", "us")[place % 5 % 2],
        )
        for place in range(400)
    ]
    batch = keyed(*events)
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    rows = fold(batch, columns, np.ones(400, np.bool_), meters, 0)

    expected: dict[tuple[str, str, tuple[tuple[str, str], ...], int], int] = {}
    for event in events:
        declared = {"region": event.dimensions["region"]} if event.meter == "calls" else {}
        width = MINUTE if event.meter == "calls" else HOUR
        window = event.time // width * width
        row = (event.customer, event.meter, tuple(declared.items()), window)
        expected[row] = expected.get(row, 0) + int(event.value)
    indexes = [np.frombuffer(c, "<u2").tolist() for c in (rows.customer_index, rows.meter_index)]
    dimensions = np.frombuffer(rows.dimensions_index, "<u2").tolist()
    places = list(zip(*indexes, dimensions, unpack_longs(rows.window_start), strict=True))
    told = {
        (
            rows.customers[who],
            rows.meters[what].meter,
            tuple(rows.dimensions[which].items()),
            window,
        ): total
        for (who, what, which, window), total in zip(places, unpack_longs(rows.sum), strict=True)
    }
    assert told == expected
    assert places == sorted(set(places))


def unpack_longs(column: bytes) -> list[int]:
    return [int(number) for number in np.frombuffer(column, "<i8")]


@pytest.mark.parametrize("apart", [0, 1, (1 << 16) - 2, (1 << 16) - 1, 1 << 16])
@pytest.mark.parametrize("customers", [1, 2])
def test_windows_of_few_customers_may_lie_far_apart(customers: int, apart: int) -> None:
    """Two customers, and as many windows as 16 bits tell, are more than 16 bits tell."""
    meter = count_meter("calls", MINUTE)
    events = [
        usage(f"c{n % customers}", time=T0 + when * MINUTE, id=str(n))
        for n, when in enumerate((apart, 0, apart, 0))
    ]
    batch = keyed(*events)
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    rows = fold(batch, columns, np.ones(4, np.bool_), [meter], 0)

    told = zip(
        np.frombuffer(rows.customer_index, "<u2").tolist(),
        unpack_longs(rows.window_start),
        unpack_longs(rows.count),
        strict=True,
    )
    expected: dict[tuple[int, int], int] = {}
    for n, event in enumerate(events):
        key = (n % customers, event.time)
        expected[key] = expected.get(key, 0) + 1
    assert {(who, when): count for who, when, count in told} == expected
