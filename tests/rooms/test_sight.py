"""A batch is read at sight as its schema reads it, or left to the schema."""

import json
from dataclasses import replace
from io import BytesIO

import pytest
from fastavro import parse_schema, schemaless_reader
from hypothesis import example, given
from hypothesis import strategies as st

from builders import keyed, sequenced, usage
from pipeline.collect.batch import UsageBatch, heartbeat
from pipeline.stores import codec, sight
from pipeline.stores.codec import Unreadable, encode_batch
from pipeline.stores.schemas import schema_folder
from pipeline.stores.sight import decode_at_sight

_SCHEMA = json.loads((schema_folder() / "avro" / "UsageBatch.v1.avsc").read_text("utf-8"))
SCHEMA = parse_schema(_SCHEMA)
BATCH = sequenced(7, usage("acme", region="eu"), usage("globex", "1.5"))


def by_the_schema(message: bytes) -> object:
    """What fastavro alone makes of a message; None where it is none."""
    stream = BytesIO(message[10:])
    try:
        record = schemaless_reader(stream, SCHEMA, None)
    except Exception:
        return None
    return record if stream.tell() == len(message) - 10 else None


def read(message: bytes) -> object:
    try:
        return decode_at_sight(message)[1]
    except Unreadable:
        return None


@pytest.mark.parametrize(
    ("names", "at_sight"),
    [
        ([], True),
        (["acme"], True),
        ([f"c{number}" for number in range(2000)], True),
        (["a" * 63], True),
        (["a" * 64], False),
        (["", "acme"], True),
        (["café"], False),
        (["\x7f"], True),
        (["\x80"], False),
        ([""] * 9000, False),
    ],
    ids=["none", "one", "many", "63", "64", "empty", "not ASCII", "DEL", "C1", "too many"],
)
def test_short_ascii_names_are_read_at_sight(names: list[str], at_sight: bool) -> None:
    message = encode_batch(replace(BATCH, customers=names))
    found = sight._batch_at_sight(message)

    assert (found is not None) == at_sight
    assert read(message) == by_the_schema(message)
    assert found in (None, by_the_schema(message))


def test_names_in_blocks_are_left_to_the_schema() -> None:
    """Avro lets an array come in several blocks, also with their sizes before them."""
    message = encode_batch(replace(BATCH, customers=["acme", "globex"]))
    whole = b"\x04\x08acme\x0cglobex\x00"
    assert whole in message

    for split in (b"\x02\x08acme\x02\x0cglobex\x00", b"\x03\x18\x08acme\x0cglobex\x00"):
        blocks = message.replace(whole, split)
        assert sight._batch_at_sight(blocks) is None
        assert read(blocks) == by_the_schema(blocks)


batches = st.sampled_from(
    [
        encode_batch(each)
        for each in (
            BATCH,
            keyed(usage("café", id="1"), usage("b" * 70, id="2")),
            heartbeat("host-1", "e1", 5, end=True),
        )
    ]
)
edits = st.tuples(st.integers(10, 200), st.integers(0, 3), st.binary(max_size=3))


@given(batches, st.lists(edits, max_size=3))
@example(encode_batch(BATCH), [(11, 1, b"\xff")])
def test_broken_batches_are_read_as_the_schema_reads_them(
    message: bytes, spoiled: list[tuple[int, int, bytes]]
) -> None:
    for at, dropped, piece in spoiled:
        message = message[:at] + piece + message[at + dropped :]

    assert read(message) == by_the_schema(message)


def test_a_batch_is_what_it_was() -> None:
    for batch in (BATCH, keyed(usage("café", id="1"))):
        assert isinstance(batch, UsageBatch)
        assert codec.batch_of(decode_at_sight(encode_batch(batch))[1]) == batch
