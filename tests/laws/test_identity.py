"""Laws of identity: one content, one name; two contents, two names."""

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from golden import avro_oracle
from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue
from pipeline.core.identity import (
    Json,
    canonical,
    commitment,
    derived_id,
    digest,
    event_key,
    fingerprint,
    partition_of,
    sequenced_key,
    value_key,
)
from pipeline.core.quantity import mantissa_scale
from pipeline.stores.codec import decode, encode_batch

few = settings(max_examples=50)
texts = st.text(max_size=8)
wholes = st.integers(0, 2**62)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)

NAMERS: list[tuple[Callable[..., object], list[st.SearchStrategy[object]]]] = [
    (event_key, [texts, texts, texts]),
    (sequenced_key, [texts, texts, st.integers(0, 2**31 - 1), wholes]),
    (value_key, [texts]),
    (lambda *parts: derived_id("inv", *parts), [texts, texts, texts]),
    (commitment, [st.binary(max_size=8), texts]),
]


@pytest.mark.parametrize(
    ("name", "fields"), NAMERS, ids=["event", "place", "value", "id", "commitment"]
)
@few
@given(st.data())
def test_other_fields_have_another_name(
    name: Callable[..., object], fields: list[st.SearchStrategy[object]], data: st.DataObject
) -> None:
    """Also where the fields side by side read the same: "ab", "c" and "a", "bc"."""
    one = data.draw(st.tuples(*fields))
    other = data.draw(st.tuples(*fields))
    assume(one != other)

    assert name(*one) != name(*other)
    assert name(*one) == name(*one)


@given(texts, texts, texts)
def test_letters_cannot_move_from_field_to_field(one: str, two: str, three: str) -> None:
    assume(two)

    assert event_key(one + two, three, "") != event_key(one, two + three, "")
    assert derived_id("a", one, two) != derived_id("a", one + two)
    assert derived_id("a", one, "") != derived_id("a", one)


payloads = st.tuples(
    texts,
    wholes,
    st.decimals(-100, 100, places=2),
    st.dictionaries(texts, texts, max_size=3),
    st.none() | wholes,
)


def printed(payload: tuple[str, int, Decimal, dict[str, str], int | None]) -> bytes:
    meter, time, value, dimensions, reversed_at = payload
    return fingerprint(meter, time, *mantissa_scale(value), dimensions, reversed_at)


@few
@given(payloads, st.integers(0, 4), payloads)
def test_whatever_changes_in_a_payload_shows_in_its_fingerprint(
    payload: tuple[str, int, Decimal, dict[str, str], int | None],
    field: int,
    other: tuple[str, int, Decimal, dict[str, str], int | None],
) -> None:
    """4 bytes: a chance in four milliards a draw that this is red without cause."""
    changed = (*payload[:field], other[field], *payload[field + 1 :])
    assume(changed != payload)

    assert printed(changed) != printed(payload)  # type: ignore[arg-type]


@given(payloads)
def test_neither_zeros_nor_the_order_of_dimensions_show(
    payload: tuple[str, int, Decimal, dict[str, str], int | None],
) -> None:
    meter, time, value, dimensions, reversed_at = payload
    backwards = dict(reversed(dimensions.items()))
    longer = Decimal(f"{value}000")

    assert printed((meter, time, longer, backwards, reversed_at)) == printed(payload)


@given(texts, st.integers(1, 1000))
def test_a_customer_lives_in_one_partition_of_the_log(customer: str, partitions: int) -> None:
    assert 0 <= partition_of(customer, partitions) < partitions
    assert partition_of(customer, partitions) == partition_of(customer, partitions)


@given(json_values)
def test_canonical_json_says_the_same_in_one_way(value: Json) -> None:
    written = canonical(value)

    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written
    assert written == canonical(json.loads(json.dumps(value, indent=3)))
    assert len(digest(written)) == 64


@few
@given(json_values, json_values)
def test_other_content_has_other_bytes(one: Json, other: Json) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (canonical(one) == canonical(other)) == same


@given(json_values, st.floats())
def test_no_float_anywhere(value: Json, number: float) -> None:
    for hidden in ([value, number], {"a": {"b": number}}, {"c": [[number]]}, number):
        with pytest.raises(TypeError):
            canonical(hidden)  # type: ignore[arg-type]


def test_half_a_character_has_no_bytes() -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical("\ud800")


batches = st.builds(
    UsageBatch,
    mode=st.sampled_from(Mode),
    producer=texts,
    epoch=texts,
    first_sequence=st.integers(-(2**63), 2**63 - 1),
    gate_pass=texts,
    event_count=st.integers(-(2**31), 2**31 - 1),
    end=st.booleans(),
    customers=st.lists(texts, max_size=3),
    meters=st.lists(st.builds(MeterScale, texts, st.integers(-9, 99)), max_size=3),
    dimensions=st.lists(st.dictionaries(texts, texts, max_size=3), max_size=3),
    key=st.binary(max_size=40),
    fingerprint=st.binary(max_size=8),
    customer_index=st.binary(max_size=8),
    meter_index=st.binary(max_size=8),
    dimensions_index=st.binary(max_size=8),
    time=st.binary(max_size=70),
    mantissa=st.binary(max_size=8),
    wide=st.lists(st.builds(WideValue, st.integers(-9, 9**9), texts), max_size=2),
    reversals=st.lists(st.builds(Reversal, st.integers(-9, 9), wholes), max_size=2),
)


@few
@given(batches)
def test_batches_are_written_as_the_avro_specification_says(batch: UsageBatch) -> None:
    message = encode_batch(batch)
    name, record = decode(message)

    assert name == "UsageBatch.v1"
    assert message == avro_oracle.encoded(name, record)
