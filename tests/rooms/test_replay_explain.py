"""Explain: what became of each event of a line, told as the log is read."""

from dataclasses import replace

from builders import MINUTE, T0, fact_log, keyed, log_of, meter_of, sequenced, usage
from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent
from pipeline.meter.place import Opened, Place
from pipeline.meter.scope import Pairs
from pipeline.meter.ticks import Tick
from pipeline.replay.explain import Explaining, MetEvent, Wanted

FACTS = fact_log(log_of(), meter_of("calls", dimensions=["region"]), meter_of("size"))
DAY = 24 * 60 * MINUTE
EVENT = usage(id="a", meter="calls", value="2.5", time=T0 + MINUTE)


def in_eu(dimensions: Pairs) -> bool:
    return dict(dimensions).get("region") in (None, "eu")


def met(*messages: Opened) -> list[MetEvent]:
    """What is told of a log that begins with tick 1 at T0, of acme's calls of the first hour."""
    ticks = [Tick(1, T0, FACTS.head), *(each for each in messages if isinstance(each, Tick))]
    explaining = Explaining(
        0,
        Place(0, 0),
        lambda serial: [tick for tick in ticks if tick.serial >= serial][:1],
        lambda position: FACTS.at(position).ground(0),
        Wanted("acme", "calls", T0, T0 + 60 * MINUTE, in_eu),
    )
    found: list[MetEvent] = []
    for message in (ticks[0], *messages):
        count = message.event_count if isinstance(message, UsageBatch) else 0
        found += explaining.feed(message, count, b"")
    return found


def outcomes(*messages: Opened) -> list[str]:
    return [each.outcome for each in met(*messages)]


def test_an_event_is_billed_once_and_told_where_it_stands() -> None:
    first, again = met(keyed(usage(id="x", meter="size"), EVENT), keyed(EVENT))

    assert first.json() == {
        "partition": 0,
        "offset": 1,
        "index": 1,
        "key": first.event.key.hex(),
        "time": "2026-03-01T00:01:00Z",
        "log_time": "2026-03-01T00:00:00Z",
        "value": "2.5",
        "kind": "usage",
        "dimensions": {},
        "outcome": "billed",
    }
    assert (again.offset, again.outcome) == (2, "duplicate")


def test_other_content_under_its_key_is_a_conflict() -> None:
    assert outcomes(keyed(EVENT), keyed(replace(EVENT, value=EVENT.value + 1))) == [
        "billed",
        "conflict",
    ]


def test_usage_of_another_customer_meter_period_or_filter_is_none_of_its() -> None:
    others: list[UsageEvent] = [
        usage("globex", meter="calls", time=T0 + MINUTE),
        usage(meter="size", time=T0 + MINUTE),
        usage(meter="calls", time=T0 - MINUTE),
        usage(meter="calls", time=T0 + 3 * MINUTE, region="us"),
    ]

    assert outcomes(*map(keyed, others)) == []


def test_what_comes_behind_the_horizon_is_late() -> None:
    later = Tick(2, T0 + 4 * DAY, FACTS.head)

    assert outcomes(keyed(EVENT), later, keyed(replace(EVENT, id="b"))) == ["billed", "late"]


def test_a_repeat_behind_the_horizon_is_late_and_no_duplicate() -> None:
    later = Tick(2, T0 + 4 * DAY, FACTS.head)
    explained = outcomes(keyed(EVENT), later, keyed(EVENT))

    assert explained == ["billed", "late"]


def test_sequenced_events_have_the_keys_of_their_places() -> None:
    batch = sequenced(0, EVENT, EVENT)

    assert outcomes(batch, batch) == ["billed", "billed", "duplicate", "duplicate"]


def test_no_event_is_told_behind_the_last_tick() -> None:
    ahead = replace(EVENT, time=T0 + 30 * MINUTE)

    assert outcomes(keyed(ahead)) == []
