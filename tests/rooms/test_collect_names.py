"""Names as one text are the names they were, and who is familiar is judged as a stranger is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, ground, keyed, sequenced, usage
from pipeline.collect.batch import UsageBatch
from pipeline.collect.names import Familiar, Names, lines_of
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import partition_of
from pipeline.meter.place import look
from pipeline.meter.sift import Sifted
from pipeline.stores.codec import batch_of, encode_batch
from pipeline.stores.sight import decode_at_sight

HOME = partition_of("acme", 8)
AT_HOME = [f"c{n}" for n in range(999) if partition_of(f"c{n}", 8) == HOME]
STRANGER = next(f"c{n}" for n in range(99) if partition_of(f"c{n}", 8) != HOME)


def sent(*customers: str) -> UsageBatch:
    """A batch as it comes out of the log."""
    batch = keyed(*(usage(customer, id=str(n)) for n, customer in enumerate(customers)))
    return batch_of(decode_at_sight(encode_batch(batch))[1])


@given(st.lists(st.text(st.characters(exclude_characters="\n")), min_size=1))
def test_names_are_the_sequence_they_are_made_of(known: list[str]) -> None:
    text = Names("\n".join(known))

    assert len(text) == len(known)
    assert [*text] == known
    assert text == known
    assert text == Names(lines_of(known))
    assert text != [*known, "another"]
    assert text[-1] == known[-1]
    assert text[:1] == known[:1]
    assert lines_of(text) == lines_of(known)


@pytest.mark.parametrize(
    "customers",
    [
        [f"customer-{n}" for n in range(100)],
        [f"{n:036}" for n in range(100)],
        [f"{n}" * 30 for n in range(1, 65)],
        ["!" * 15 for _ in range(64)],
        ["x" * (1 + n % 60) for n in range(200)],
        [""] * 64,
    ],
    ids=["short", "of one length", "long", "of signs", "of all lengths", "empty"],
)
def test_many_names_come_out_of_a_batch_as_one_text(customers: list[str]) -> None:
    message = encode_batch(replace(sequenced(0, usage()), customers=customers))
    read = batch_of(decode_at_sight(message)[1])

    assert isinstance(read.customers, Names)
    assert read.customers == customers


def test_a_line_break_in_a_name_is_no_name_more() -> None:
    for customers in (["ac\nme"], [f"c\n{n}" for n in range(99)]):
        read = batch_of(
            decode_at_sight(encode_batch(replace(sent("acme"), customers=customers)))[1]
        )

        assert read.customers == customers
        found = look(read, arrival(header_count=1), ground(partition=HOME, partitions=8), {})
        assert not isinstance(found, Sifted)


def test_who_is_familiar_is_judged_as_before() -> None:
    here = ground(partition=HOME, partitions=8)
    batch = sent(*AT_HOME[:9])
    first = look(batch, arrival(batch.event_count), here, {})

    assert here.familiar.holds(batch.customers)
    again = look(batch, arrival(batch.event_count), here, {})
    assert isinstance(first, Sifted)
    assert isinstance(again, Sifted)
    assert (first.claimable == again.claimable).all()
    assert first.refusals == again.refusals == []


def test_one_stranger_among_familiar_names_is_still_refused() -> None:
    here = ground(partition=HOME, partitions=8)
    known, mixed = sent(*AT_HOME[:9]), sent(*AT_HOME[:5], STRANGER, *AT_HOME[5:9])
    look(known, arrival(known.event_count), here, {})

    for _ in range(2):  # nobody learns a name that is not at home
        found = look(mixed, arrival(mixed.event_count), here, {})
        assert isinstance(found, Sifted)
        (refusal,) = found.refusals
        assert (refusal.rejection.code, list(refusal.indexes)) == (Code.WRONG_PARTITION, [5])


def test_a_name_that_is_not_well_formed_never_becomes_familiar() -> None:
    here = ground(partition=HOME, partitions=8)
    bad = next(f"\x1b{n}" for n in range(99) if partition_of(f"\x1b{n}", 8) == HOME)
    batch = replace(sent("acme"), customers=["acme", bad])

    for _ in range(2):
        found = look(batch, arrival(batch.event_count), here, {})
        assert not isinstance(found, Sifted | Rejection)
    assert not here.familiar.holds(["acme"])


def test_what_is_familiar_is_bounded() -> None:
    known = Familiar(count_max=2)
    known.learn(["a", "b", "c"])
    assert known.holds(["a", "b", "c"])

    known.learn(["d"])
    assert known.holds(["d"])
    assert not known.holds(["a"])
