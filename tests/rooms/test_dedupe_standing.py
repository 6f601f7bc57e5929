"""Events that come again: out of batches, against the log, and into batches under their keys."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import T0, keyed, sequenced, usage
from pipeline.collect import limits
from pipeline.collect.batch import PACKED_BYTES_MAX, UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent, events_at, keyed_event, pack_again
from pipeline.core.identity import sequenced_key
from pipeline.core.quantity import mantissa_scale
from pipeline.dedupe.standing import Outcome, Wanted, outcomes
from pipeline.stores.codec import encode_batch

WIDE = "12345678901234567890.125"


def key_of(event: UsageEvent) -> KeyedEvent:
    mantissa, scale = mantissa_scale(event.value)
    pairs = tuple(sorted(event.dimensions.items()))
    return keyed_event(
        event.customer, event.meter, event.time, mantissa, scale, pairs, event.source, event.id
    )


def events_of(batch: UsageBatch, partition: int = 0) -> list[KeyedEvent]:
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    return list(events_at(batch, columns, range(len(columns)), partition))


events = st.builds(
    lambda customer, meter, value, time, name, region: usage(
        customer, value, meter=meter, time=T0 + time, id=name, **region
    ),
    st.sampled_from(["acme", "café", "x" * limits.ID_CHARS_MAX]),
    st.sampled_from(["calls", "bytes"]),
    st.sampled_from(["0", "-3", "1.50", "0.001", WIDE]),
    st.integers(0, 10**9),
    st.text("abc", min_size=1, max_size=3),
    st.sampled_from([{}, {"region": "eu"}, {"region": "us", "tier": "gold"}]),
)


@given(st.lists(events, min_size=1, max_size=30))
def test_packed_again_an_event_is_what_it_was(given_events: list[UsageEvent]) -> None:
    once = events_of(keyed(*given_events))

    again = [event for batch in pack_again(once) for event in events_of(batch)]

    assert again == once == [key_of(event) for event in given_events]


@given(st.lists(events, min_size=1, max_size=10), st.integers(0, 7))
def test_events_of_a_sequence_get_the_keys_of_their_places(
    given_events: list[UsageEvent], partition: int
) -> None:
    read = events_of(sequenced(7, *given_events), partition)

    keys = [sequenced_key("host-1", "e1", partition, 7 + n) for n in range(len(given_events))]
    assert [event.key for event in read] == keys
    assert [event.fingerprint for event in read] == [key_of(e).fingerprint for e in given_events]
    (batch,) = pack_again(read)
    assert events_of(batch) == [replace(event, epoch=None) for event in read]


def test_a_value_in_a_longer_form_keeps_its_scale_and_has_the_print_of_the_shortest() -> None:
    batch = sequenced(0, usage(value="1.5"))
    longer = replace(
        batch,
        meters=[replace(batch.meters[0], scale=3)],
        mantissa=(1500).to_bytes(8, "little"),
    )

    (event,) = events_of(longer)

    assert (event.mantissa, event.scale) == (1500, 3)
    assert event.fingerprint == key_of(usage(value="1.5")).fingerprint


def test_batches_stay_within_the_limits() -> None:
    wide = {"d": "v" * limits.DIMENSION_CHARS_MAX}
    many = [key_of(replace(usage(id=str(n)), dimensions={**wide, "n": str(n)})) for n in range(900)]
    small = [key_of(usage(id=str(n))) for n in range(limits.BATCH_EVENTS_MAX + 1)]

    for given_events in (many, small):
        batches = list(pack_again(given_events))
        assert len(batches) > 1
        assert all(len(encode_batch(b)) <= limits.BATCH_BYTES_MAX for b in batches)
        assert [e for b in batches for e in events_of(b)] == given_events
    assert PACKED_BYTES_MAX < limits.BATCH_BYTES_MAX


A, B = key_of(usage(id="a")), key_of(usage(id="b", time=T0 + 5))
OTHER_A = key_of(usage(id="a", value="2"))


@pytest.mark.parametrize(
    ("coming", "standing", "proven_from", "expected"),
    [
        ([A, B], [], 0, [Outcome.SENT, Outcome.SENT]),
        ([A, B], [A], 0, [Outcome.STANDING, Outcome.SENT]),
        ([A, B], [OTHER_A], 0, [Outcome.CONFLICT, Outcome.SENT]),
        ([A, A], [], 0, [Outcome.SENT, Outcome.STANDING]),
        ([A, OTHER_A], [], 0, [Outcome.SENT, Outcome.CONFLICT]),
        ([A, B], [], T0 + 1, [Outcome.UNPROVEN, Outcome.SENT]),
        ([A, A], [], T0 + 1, [Outcome.UNPROVEN, Outcome.UNPROVEN]),
        ([A], [A], T0 + 1, [Outcome.STANDING]),
    ],
)
def test_what_becomes_of_events_that_come_again(
    coming: list[KeyedEvent], standing: list[KeyedEvent], proven_from: int, expected: list[Outcome]
) -> None:
    owners = {event.key: event.fingerprint for event in standing}

    assert outcomes(coming, owners, proven_from) == expected


def met(wanted: Wanted, batch: UsageBatch, *claimable: bool, partition: int = 0) -> list[bytes]:
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    mask = columns.time >= 0
    mask[: len(claimable)] = claimable
    return [event.key for event in wanted.met(batch, columns, mask, partition)]


def test_what_is_looked_for_is_met_where_it_is_claimable() -> None:
    wanted = Wanted.of([A, OTHER_A])
    batch = keyed(usage(id="b"), usage(id="a", value="7"))

    assert met(wanted, batch) == [A.key]
    assert met(wanted, batch, True, False) == []
    assert met(wanted, sequenced(0, usage(id="a"))) == []


def test_an_event_of_a_sequence_is_met_at_its_place_and_under_its_key() -> None:
    batch = sequenced(4, usage(), usage(value="2"))
    second = events_of(batch, partition=3)[1]
    wanted = Wanted.of([second])

    assert met(wanted, batch, partition=3) == [second.key]
    assert met(wanted, batch, partition=2) == []
    assert met(wanted, sequenced(5, usage(value="2")), partition=3) == [second.key]
    assert met(wanted, sequenced(6, usage(value="2")), partition=3) == []
    assert met(wanted, sequenced(4, usage(), usage(), epoch="e2"), partition=3) == []
    (again,) = pack_again([second])
    assert met(wanted, again, partition=1) == [second.key]
