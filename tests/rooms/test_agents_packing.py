"""Packing: when a batch is full, and the place of each in its sequence."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agents.packing import Packing, Sealed
from pipeline.agents.spool import Reach
from pipeline.collect.batch import Entry, Mode
from pipeline.collect.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from pipeline.core.calendar import EARLIEST
from pipeline.core.errors import BadInput
from pipeline.stores.codec import batch_of, decode


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def packing(batch_events: int = 1000, first_id: int = 1, clock: Clock | None = None) -> Packing:
    return Packing("me", "e1", 8, batch_events, first_id, clock or Clock())


def entry(home: int = 0, event_id: str = "", customer: str = "acme", filler: str = "") -> Entry:
    pairs = (("filler", filler),) if filler else ()
    source = "gw" if event_id else ""
    return home, customer, "calls", EARLIEST, 1, 0, pairs, source, event_id, None


@pytest.mark.parametrize("batch_events", [1, 2, 999, BATCH_EVENTS_MAX])
def test_a_batch_is_full_at_its_count_and_not_before(batch_events: int) -> None:
    packs = packing(batch_events)
    for place in range(1, batch_events):
        assert packs.place(entry()) == (None, place == 1)
    sealed, first = packs.place(entry())
    assert sealed is not None
    assert (sealed.batch.event_count, first, packs.oldest_s()) == (batch_events, False, None)


@pytest.mark.parametrize("batch_events", [0, -1, BATCH_EVENTS_MAX + 1])
def test_a_count_beyond_the_limits_is_refused(batch_events: int) -> None:
    with pytest.raises(BadInput, match=f"batch_events: {batch_events} is not 1 to 2000"):
        packing(batch_events)


@pytest.mark.parametrize("event_id", ["", "x"])
def test_a_batch_is_full_before_its_bytes_are_too_many(event_id: str) -> None:
    packs = packing(BATCH_EVENTS_MAX)
    sizes = []
    for number in range(6000):
        sealed, _ = packs.place(entry(0, event_id, f"customer-{number}", f"{number}-" + "f" * 250))
        if sealed is not None:
            sizes.append(len(sealed.encoded().message))
            assert sealed.batch.event_count < BATCH_EVENTS_MAX
    assert sizes
    assert max(sizes) <= BATCH_BYTES_MAX
    assert min(sizes) > BATCH_BYTES_MAX // 2  # and it is not shy either


def test_modes_and_partitions_never_share_a_batch() -> None:
    packs = packing()
    for home in (3, 5, 3):
        packs.place(entry(home))
        packs.place(entry(home, "id"))
    sealed = packs.seal(float("inf"))
    assert {(s.partition, s.batch.mode, s.batch.event_count) for s in sealed} == {
        (3, Mode.KEYED, 2),
        (3, Mode.SEQUENCED, 2),
        (5, Mode.KEYED, 1),
        (5, Mode.SEQUENCED, 1),
    }


def test_a_keyed_batch_has_no_place_in_a_sequence() -> None:
    packs = packing(2)
    packs.place(entry(1, "a"))
    sealed, _ = packs.place(entry(1, "b"))
    assert sealed is not None
    assert (sealed.batch.first_sequence, sealed.reach) == (0, None)
    assert packs.heartbeats((), end=True) == []


def test_a_batch_is_old_by_its_first_event() -> None:
    clock = Clock()
    packs = packing(clock=clock)
    packs.place(entry(1))
    clock.now_s += 1
    packs.place(entry(1))
    packs.place(entry(2))
    assert packs.oldest_s() == 100
    assert [s.partition for s in packs.seal(100)] == [1]
    assert packs.oldest_s() == 101
    assert [s.partition for s in packs.seal(100.9)] == []
    assert [s.partition for s in packs.seal(101)] == [2]


def test_heartbeats_tell_how_far_each_sequence_got() -> None:
    packs = packing(2)
    for home in (1, 1, 1, 4, 4):
        packs.place(entry(home))
    packs.seal(float("inf"))
    marks = packs.heartbeats({4}, end=False)
    assert [(m.partition, m.batch.first_sequence, m.batch.end) for m in marks] == [(1, 3, False)]
    ends = packs.heartbeats((), end=True)
    assert [(m.partition, m.batch.first_sequence, m.batch.end) for m in ends] == [
        (1, 3, True),
        (4, 2, True),
    ]
    assert ends[0].reach == Reach("me", "e1", 1, 3, ended=True)
    assert ends[0].encoded().event_count == 0


def test_the_last_word_of_another_epoch_is_under_its_own_name() -> None:
    mark = packing(first_id=9).mark(Reach("they", "e0", 6, 44, ended=True))
    batch = batch_of(decode(mark.encoded().message)[1])
    assert (batch.producer, batch.epoch, batch.first_sequence, batch.end) == (
        "they",
        "e0",
        44,
        True,
    )
    assert (mark.id, mark.partition) == (9, 6)


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.booleans()) | st.none() | st.just("beat"), max_size=200
    ),
    st.integers(1, 5),
)
def test_sequences_have_no_hole_and_no_overlap_in_the_order_of_ids(
    acts: list[tuple[int, bool] | str | None], batch_events: int
) -> None:
    packs = packing(batch_events, first_id=7)
    sealed: list[Sealed] = []
    offered: dict[tuple[int, bool], int] = defaultdict(int)
    for act in acts:
        if isinstance(act, tuple):
            offered[act] += 1
            full, _ = packs.place(entry(act[0], "id" if act[1] else ""))
            sealed += [full] if full else []
        elif act == "beat":
            sealed += packs.heartbeats((), end=False)
        else:
            sealed += packs.seal(float("inf"))
    sealed += packs.seal(float("inf"))
    assert [each.id for each in sealed] == list(range(7, 7 + len(sealed)))
    assert packs.last_id == 6 + len(sealed)
    counted: dict[tuple[int, bool], int] = defaultdict(int)
    for each in sealed:
        keyed = each.batch.mode is Mode.KEYED
        if not keyed:
            assert each.batch.first_sequence == counted[each.partition, False]
        counted[each.partition, keyed] += each.batch.event_count
    assert {k: v for k, v in counted.items() if v} == dict(offered)
