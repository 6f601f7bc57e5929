"""Booking, told as stories: slices in, rows under their cuts out."""

from dataclasses import replace

import pytest

from builders import (
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    customer_of,
    fact_log,
    flat,
    keyed,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from pipeline.book.booking import Booked, Cursor, Cut, Gap, SequenceKey
from pipeline.book.series import SeriesKey
from pipeline.collect.batch import heartbeat
from pipeline.core.calendar import DAY
from pipeline.core.errors import BrokenInvariant, Code, Rejection
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.usage import UsagePart
from pipeline.meter.slices import Counts, Slice
from pipeline.meter.ticks import Tick

WIDE = 98765432109876543210


FACTS = fact_log(
    log_of(),
    rules_of(grace_s=60),
    meter_of("calls", dimensions=["region"]),
    plan_of("daily", price_of("fee", flat("1")), cycle="P1D"),
    customer_of("acme"),
    customer_of("globex"),
    subscription_of("s", "acme", "daily", "2026-03-01T00:00:00Z"),
    rules_of(grace_s=3600),
)
EARLY_GRACE = FACTS.head - 1
"""Before the rules gave more grace."""


def line() -> Line:
    story = Line(FACTS)
    story.tick(Tick(1, T0 + HOUR, EARLY_GRACE))
    return story


def booked(story: Line) -> Books:
    books = Books(FACTS)
    books.book(story.slices)
    return books


def day(number: int) -> Tick:
    """A tick just after the grace of a day's end."""
    return Tick(number + 1, T0 + number * DAY + MINUTE, EARLY_GRACE)


def test_usage_stands_under_its_payer_s_latest_cut() -> None:
    story = line()
    story.send(keyed(usage(id="1"), usage("globex", id="2")))
    story.tick(day(1))
    story.send(keyed(usage(id="3"), usage("globex", id="4")))
    story.tick(day(2))
    story.send(keyed(usage(id="5")))

    rows = {
        (series.customer, cut): part.count for (series, _, cut), part in booked(story).store.items()
    }

    # globex has no subscription: it is never cut
    assert rows == {("acme", 0): 1, ("acme", 2): 1, ("acme", 3): 1, ("globex", 0): 2}


def test_the_record_of_the_cutting_tick_parts_before_from_after() -> None:
    story = line()
    story.send(keyed(usage(id="1")))
    story.tick(day(1))
    books = booked(story)

    assert books.cuts == [Cut("acme", "EUR", T0 + DAY, 2)]
    assert [cut for _, _, cut in books.store] == [0]


def test_more_grace_does_not_cut_again_what_was_cut() -> None:
    story = line()
    story.tick(day(1))
    for serial, minutes in ((3, 2), (4, 59), (5, 60), (6, 61)):
        story.tick(Tick(serial, T0 + DAY + minutes * MINUTE, FACTS.head))
    books = booked(story)
    books.restart()

    assert books.cuts == [Cut("acme", "EUR", T0 + DAY, 2)]


def test_a_flush_tells_who_must_be_drafted_anew() -> None:
    story = line()
    story.send(keyed(usage("globex", id="1")))
    story.send(keyed(usage("globex", id="1")))  # nothing new
    story.tick(day(1))
    books = Books(FACTS)

    assert [books.book([piece]).dirty for piece in story.slices] == [
        {"acme"},  # its first period began
        {"globex"},
        set(),
        {"acme"},
    ]


def test_each_tick_is_booked_with_its_offset_and_the_counts_up_to_it() -> None:
    story = line()
    story.send(keyed(usage(id="1"), usage(id="1", value="2"), usage(id="3", meter="x")))
    story.tick(day(1))
    story.tick(day(1))  # a repeat moves nothing

    (flush,) = booked(story).booked
    assert [(seen.tick.serial, seen.offset) for seen in flush.ticks] == [(1, 0), (2, 2)]
    assert flush.ticks[1].counts == Counts(3, fresh=1, conflict=1, rejected=1)


def test_a_row_has_its_series_window_and_figures() -> None:
    story = line()
    story.send(
        keyed(
            usage(value="1.5", id="1", region="eu", ignored="x"),
            usage(value="-2.5", id="2", region="eu"),
            usage(value=str(WIDE), id="3", time=T0 - 1),
            usage(value="-7", id="4", time=T0 - 1),
        )
    )
    narrow = SeriesKey("acme", "calls", 1, (("region", "eu"),))
    wide = SeriesKey("acme", "calls", 0, ())

    assert booked(story).store == {
        (narrow, T0, 0): UsagePart(1, 2, -10, -25, 15),
        (wide, T0 - 15 * MINUTE, 0): UsagePart(0, 2, WIDE - 7, -7, WIDE),
    }


def test_the_cursor_goes_with_the_slices() -> None:
    story = line()
    story.send(keyed(usage(id="1")))
    books = booked(story)

    assert books.partition.cursor == Cursor(
        partition=0,
        offset=1,
        metered_offset=1,
        tick=Tick(1, T0 + HOUR, EARLY_GRACE),
        log_time=T0 + HOUR,
        counts=Counts(1, fresh=1),
    )


def test_a_slice_that_comes_again_is_counted_and_moves_only_the_metered_offset() -> None:
    story = line()
    story.send(keyed(usage(id="1")))
    books = booked(story)
    before, store = books.partition.cursor, dict(books.store)
    flush = books.book([story.slices[1], story.slices[0]])

    assert (flush.repeated, flush.rows, flush.ticks, flush.cuts) == (2, [], [], [])
    assert books.partition.cursor == replace(before, metered_offset=before.metered_offset + 2)
    assert books.store == store


@pytest.mark.parametrize("skipped", [1, 5])
def test_a_gap_is_named(skipped: int) -> None:
    books = Books(FACTS)
    with pytest.raises(Gap, match=f"partition 0: slice {skipped} came, but 0 is next") as gap:
        books.book([Slice(skipped, T0, None, Counts())])

    assert (gap.value.partition, gap.value.expected, gap.value.got) == (0, 0, skipped)


def test_log_time_never_falls() -> None:
    books = Books(FACTS)
    books.book([Slice(0, T0 + 5, None, Counts()), Slice(1, T0, None, Counts())])

    assert books.partition.cursor.log_time == T0 + 5


def test_outcomes_that_do_not_add_up_stop_the_partition() -> None:
    with pytest.raises(BrokenInvariant, match="slice 0: outcomes do not add up"):
        Books(FACTS).book([Slice(0, T0, None, Counts(offered=2, fresh=1))])


def test_rejected_messages_move_the_cursor_and_count() -> None:
    story = line()
    story.read(Rejection(Code.UNREADABLE, "", "rubbish"), 12)
    cursor = booked(story).partition.cursor

    assert (cursor.offset, cursor.counts) == (1, Counts(12, rejected=12))


LATE = usage(value="9", time=T0 - 30 * DAY)
ONE, TWO = usage(value="1"), usage(value="2")


def test_a_sequence_moves_fresh_to_what_it_is_and_leaves_the_rest() -> None:
    story = line()
    for batch in (
        sequenced(0, ONE, LATE, TWO),
        sequenced(0, ONE, LATE, TWO),  # resent
        sequenced(0, ONE, ONE, ONE),  # forged
        sequenced(7, ONE),  # a jump
        heartbeat("host-1", "e1", 10, end=True),
        sequenced(3, ONE, ONE),  # part of what was missing
        sequenced(0, ONE, epoch="e2"),  # another epoch
    ):
        story.send(batch)
    books = booked(story)
    sequences = books.booked[0].sequences

    assert books.partition.cursor.counts == Counts(
        offered=3 + 3 + 3 + 1 + 2 + 1, fresh=2 + 1 + 2 + 1, duplicate=2, conflict=3, late=1 + 1
    )
    assert sequences["host-1", "e1"].gaps == ((5, 7), (8, 10))
    assert sequences["host-1", "e1"].since == (books.partition.cursor.log_time,) * 2
    assert (sequences["host-1", "e1"].next, sequences["host-1", "e1"].ended) == (10, True)
    assert sequences["host-1", "e2"].next == 1
    (conflict,) = books.booked[0].conflicts
    forged, first = story.slices[3], story.slices[1]
    assert (conflict.offset, conflict.seen) == (forged.offset, forged.sequence)
    assert [each.offset for each in conflict.recent] == [first.offset]
    ((_, part),) = books.store.items()
    assert (part.count, part.sum) == (6, 1 + 2 + 1 + 1 + 1 + 1)


def test_a_repeated_sequence_touches_no_draft() -> None:
    story = line()
    story.send(sequenced(0, ONE))
    story.send(sequenced(0, ONE))
    books = Books(FACTS)

    assert [books.book([piece]).dirty for piece in story.slices] == [{"acme"}, {"acme"}, set()]


def test_sequences_that_are_over_are_let_go_of_and_taken_up_again() -> None:
    """Who books by what is at hand and what is kept counts like one who forgets nothing."""
    story = line()
    for batch in (
        sequenced(0, ONE),
        heartbeat("host-1", "e1", 1, end=True),
        sequenced(0, ONE, TWO, epoch="gap"),
        heartbeat("host-1", "gap", 3, end=True),
        sequenced(0, ONE),  # resent
        sequenced(0, TWO),  # forged
        sequenced(2, ONE, epoch="gap"),  # the missing one: now it is over
        sequenced(2, ONE, epoch="gap"),
    ):
        story.send(batch)
    books, kept = Books(FACTS), dict[SequenceKey, SequenceState]()
    at_hand = []
    for piece in story.slices:
        key = piece.sequence and (piece.sequence.producer, piece.sequence.epoch)
        if key and not books.partition.knows(key):
            books.partition.take_up({key: kept.get(key, SequenceState())})
        flush = books.book([piece])
        kept |= flush.sequences
        books.partition.forget_over(flush)
        at_hand.append(
            [epoch for epoch in ("e1", "gap") if books.partition.knows(("host-1", epoch))]
        )

    assert books.partition.cursor.counts == booked(story).partition.cursor.counts
    assert books.partition.cursor.counts.duplicate == 2
    assert books.partition.cursor.counts.conflict == 1
    assert at_hand == [
        [], ["e1"], [], ["gap"], ["gap"], ["gap"], ["gap"], [], []
    ]  # fmt: skip


def test_series_that_are_numbered_anew_stand_under_the_same_cuts() -> None:
    story = line()
    story.send(keyed(usage(), usage("globex", id="2")))
    story.tick(Tick(2, T0 + DAY + HOUR, FACTS.head))
    story.send(keyed(usage("globex", id="3", time=T0 + DAY), usage(id="4", time=T0 + DAY)))
    forgetful = Books(FACTS)
    for piece in story.slices:
        forgetful.book([piece])
        forgetful.partition.forget_series()
        assert forgetful.partition.series_met == 0

    assert forgetful.store == booked(story).store
    assert {cut for _, _, cut in forgetful.store} == {0, 2}


def test_sequences_of_one_partition_know_nothing_of_another() -> None:
    story = line()
    story.send(sequenced(0, ONE))
    here, there = booked(story), Books(FACTS, number=1)
    flush = there.book(story.slices)

    assert flush.sequences == here.booked[0].sequences
    assert there.partition.cursor.counts.fresh == 1


def test_nothing_booked_is_an_empty_flush() -> None:
    assert Books(FACTS).book([]) == Booked()
