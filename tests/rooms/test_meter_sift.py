"""Sifting: each event of a message gets exactly one outcome, the first reason that holds."""

from dataclasses import replace

import pytest

from builders import (
    GATE,
    HOUR,
    MINUTE,
    T0,
    TICK_1,
    arrival,
    count_meter,
    ground,
    keyed,
    sequenced,
    usage,
)
from pipeline.collect.batch import UsageBatch, heartbeat
from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import Refusal
from pipeline.core.calendar import EARLIEST, LATEST
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import KEY_BYTES, event_key, partition_of
from pipeline.dedupe.claims import Claim, Judged, Verdict
from pipeline.dedupe.sequences import SequenceRange
from pipeline.meter.place import NeedsTick, Told, look
from pipeline.meter.sift import Arrival, Ground, Sifted, contribution, customer_of, delivery
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import NO_TICK, Tick

NEXT = Tick(2, T0 + MINUTE, 1)
ROWS = {2: NEXT}
HOME = partition_of("acme", 8)
OF_8 = ground(partition=HOME, partitions=8)
STRANGER = next(f"c{n}" for n in range(99) if partition_of(f"c{n}", 8) != HOME)

IN_TIME = "fresh"


def sifted(batch: UsageBatch, here: Arrival, by: Ground) -> Sifted:
    found = look(batch, here, by, ROWS)
    assert isinstance(found, Sifted)
    return found


EVENTS: list[tuple[UsageEvent, str]] = [
    (usage(), IN_TIME),
    (usage(time=T0 - GATE.horizon), IN_TIME),
    (usage(time=T0 - GATE.horizon - 1), Code.LATE),
    (usage(time=T0 + GATE.tolerance), IN_TIME),
    (usage(time=T0 - 10_000 * GATE.horizon), Code.BAD_TIME),
    (usage(time=EARLIEST - 1), Code.BAD_TIME),
    (usage(time=EARLIEST), Code.LATE),
    (usage(time=LATEST), Code.BAD_TIME),
    (usage(time=LATEST - 1), Code.FUTURE),
    (usage(meter="unheard"), Code.UNKNOWN_METER),
    (usage(meter="unheard", time=T0 - 2 * GATE.horizon), Code.UNKNOWN_METER),
    (usage(STRANGER), Code.WRONG_PARTITION),
    (usage(STRANGER, time=LATEST), Code.WRONG_PARTITION),
    (usage(STRANGER, meter="unheard"), Code.UNKNOWN_METER),
    (usage(value="-1"), IN_TIME),
    (usage(value="0"), IN_TIME),
]


@pytest.mark.parametrize(("event", "outcome"), EVENTS)
def test_the_outcome_of_one_event(event: UsageEvent, outcome: str) -> None:
    here = arrival(1)
    piece, refusals = contribution(sifted(sequenced(0, event), here, OF_8), here, None)

    found = refusals[0].rejection.code if refusals else IN_TIME
    assert found == outcome
    assert piece.counts == Counts(
        offered=1,
        fresh=int(outcome == IN_TIME),
        late=int(outcome is Code.LATE),
        rejected=int(outcome not in (IN_TIME, Code.LATE)),
    )


def test_each_event_of_a_mixed_batch_is_told_once_with_its_place() -> None:
    batch = sequenced(0, *(event for event, _ in EVENTS))
    here = arrival(len(EVENTS), log_time=T0)
    # an event in the far future makes the batch wait, so the next tick judges all of it
    piece, refusals = contribution(sifted(batch, here, OF_8), here, None)

    assert piece.log_time == NEXT.time
    assert piece.counts.closed
    told = {index: each.rejection.code for each in refusals for index in each.indexes}
    assert sum(each.event_count for each in refusals) == len(told)
    judged_later = {1: Code.LATE}  # it was in time at T0, not a minute later
    expected = {i: outcome for i, (_, outcome) in enumerate(EVENTS) if outcome != IN_TIME}
    assert told == expected | judged_later


def test_an_event_ahead_waits_for_the_next_tick_and_its_batch_is_judged_by_it() -> None:
    ahead = keyed(usage(id="1", time=T0 + GATE.tolerance + 1), usage(id="2", time=T0))
    here = arrival(2)

    assert look(ahead, here, OF_8, {}) == NeedsTick(2)
    assert look(ahead, here, OF_8, {2: None}) == NeedsTick(2)
    found = sifted(ahead, here, OF_8)
    assert (found.log_time, found.claimable.tolist()) == (NEXT.time, [True, True])


def test_what_is_still_ahead_of_the_next_tick_is_rejected() -> None:
    ahead = keyed(usage(id="1", time=NEXT.time + GATE.tolerance + 1), usage(id="2"))
    here = arrival(2)
    piece, refusals = contribution(sifted(ahead, here, OF_8), here, None)

    assert [(each.rejection.code, list(each.indexes)) for each in refusals] == [(Code.FUTURE, [0])]
    assert piece.counts == Counts(offered=2, fresh=1, rejected=1)


def test_log_time_raised_by_a_batch_ahead_holds_for_the_next_message() -> None:
    raised = arrival(1, log_time=NEXT.time)
    edge = sequenced(0, usage(time=NEXT.time - GATE.horizon - 1))

    assert sifted(edge, raised, OF_8).late == 1
    assert sifted(edge, arrival(1), OF_8).late == 0


HEADERS: list[tuple[UsageBatch, int | None, Counts]] = [
    (sequenced(0, usage(), usage()), 2, Counts(2, fresh=2)),
    (sequenced(0, usage(), usage()), 3, Counts(3, rejected=3)),
    (sequenced(0, usage(), usage()), 0, Counts()),
    (sequenced(0, usage(), usage()), None, Counts(1, rejected=1)),
    (sequenced(0, usage()), None, Counts(1, fresh=1)),
    (heartbeat("p", "e", 0, end=False), 0, Counts()),
    (heartbeat("p", "e", 0, end=False), 5, Counts(5, rejected=5)),
    (heartbeat("p", "e", 0, end=False), None, Counts(1, rejected=1)),
    (replace(sequenced(0, usage()), customers=[]), 1, Counts(1, rejected=1)),
    (replace(sequenced(0, usage()), customers=[]), None, Counts(1, rejected=1)),
]


@pytest.mark.parametrize(("batch", "header", "counts"), HEADERS)
def test_a_message_offers_what_its_header_says(
    batch: UsageBatch, header: int | None, counts: Counts
) -> None:
    """An independent reader counts by headers alone: 1 where there is none."""
    here = arrival(header)
    found = look(batch, here, OF_8, ROWS)
    assert not isinstance(found, NeedsTick)
    piece = found.piece if isinstance(found, Told) else contribution(found, here, None)[0]

    assert piece.counts == counts
    assert piece.counts.offered == (1 if header is None else header)


def test_a_batch_whose_header_disagrees_moves_no_sequence() -> None:
    found = look(sequenced(0, usage()), arrival(2), OF_8, ROWS)

    assert isinstance(found, Told)
    assert found.piece.sequence is None
    assert found.refusals[0].rejection.code is Code.COUNT_MISMATCH


@pytest.mark.parametrize("header", [0, 1, 4, None])
def test_before_the_first_tick_everything_is_rejected(header: int | None) -> None:
    here = arrival(header, tick=NO_TICK, log_time=0)
    for opened in (keyed(usage(id="1")), Rejection(Code.UNREADABLE, "", "rubbish")):
        found = look(opened, here, OF_8, {})
        assert isinstance(found, Told)
        offered = 1 if header is None else header
        assert found.piece.counts == Counts(offered, rejected=offered)
        assert found.refusals[0].event_count == offered


def test_no_tick_is_the_reason() -> None:
    found = look(keyed(usage(id="1")), arrival(1, tick=NO_TICK, log_time=0), OF_8, {})

    assert isinstance(found, Told)
    assert found.refusals[0].rejection.code is Code.NO_TICK


def test_an_unreadable_message_offers_what_its_header_says() -> None:
    rubbish = Rejection(Code.UNREADABLE, "", "rubbish")
    offered = [
        found.piece.counts
        for header in (0, 9, None)
        if isinstance(found := look(rubbish, arrival(header), OF_8, {}), Told)
    ]

    assert offered == [Counts(), Counts(9, rejected=9), Counts(1, rejected=1)]


def test_repeats_are_not_fresh_and_only_conflicts_are_told() -> None:
    batch = keyed(*(usage(id=str(n), value=str(n)) for n in range(4)))
    here = arrival(4)
    judged = Judged(
        [
            (1, Verdict.DUPLICATE, Claim(3, 0, b"aaaa")),
            (3, Verdict.CONFLICT, Claim(3, 7, b"bbbb")),
        ]
    )
    piece, refusals = contribution(sifted(batch, here, OF_8), here, judged)

    assert piece.counts == Counts(4, fresh=2, duplicate=1, conflict=1)
    assert [(each.rejection.code, list(each.indexes)) for each in refusals] == [
        (Code.CONFLICT, [3])
    ]
    assert "offset 3, event 7" in refusals[0].rejection.message
    assert int.from_bytes(piece.rows.count, "little") == 2
    assert int.from_bytes(piece.rows.sum, "little") == 0 + 2


def test_only_what_passed_the_gate_claims_its_key() -> None:
    batch = keyed(
        usage(id="1", time=T0 - 2 * GATE.horizon),
        usage(id="2"),
        usage(id="3", meter="unheard"),
        usage(id="4"),
    )
    here = arrival(4)
    claim = delivery(sifted(batch, here, OF_8), here, 5, GATE)

    assert claim is not None
    assert (claim.offset, claim.after, claim.generation) == (7, 5, GATE.generation(T0))
    assert list(claim.indexes) == [1, 3]
    assert claim.keys == event_key("acme", "shop", "2") + event_key("acme", "shop", "4")
    assert claim.fingerprints == batch.fingerprint[4:8] + batch.fingerprint[12:16]
    assert [key for _, key, _ in claim.events()] == [claim.keys[:KEY_BYTES], claim.keys[KEY_BYTES:]]


def test_a_batch_ahead_claims_in_the_generation_of_the_tick_that_judges_it() -> None:
    """Log time never falls below that tick's: what comes after claims there too."""
    width = GATE.generation_width
    edge = (T0 // width + 1) * width
    before, after = Tick(1, edge - 1, 1), Tick(2, edge, 1)
    here = arrival(1, tick=before)
    ahead = look(keyed(usage(id="1", time=edge + GATE.tolerance)), here, OF_8, {2: after})
    usual = look(keyed(usage(id="1", time=edge)), here, OF_8, {2: after})
    assert isinstance(ahead, Sifted)
    assert isinstance(usual, Sifted)

    generations = [
        claim.generation
        for looked in (ahead, usual)
        if (claim := delivery(looked, here, 0, GATE)) is not None
    ]
    assert generations == [edge // width, edge // width - 1]


@pytest.mark.parametrize(
    "batch",
    [sequenced(0, usage()), keyed(usage(id="1", meter="unheard")), keyed(usage(STRANGER, id="1"))],
)
def test_nothing_to_claim(batch: UsageBatch) -> None:
    here = arrival(1)

    assert delivery(sifted(batch, here, OF_8), here, 5, GATE) is None


def test_a_sequenced_batch_tells_its_whole_range_late_events_and_all() -> None:
    batch = sequenced(40, usage(time=T0 - 2 * GATE.horizon), usage())
    here = arrival(2, digest=b"d" * 16)
    piece, _ = contribution(sifted(batch, here, OF_8), here, None)

    assert piece.sequence == SequenceRange("host-1", "e1", 40, 2, b"d" * 16)
    assert piece.counts == Counts(2, fresh=1, late=1)


def test_a_heartbeat_is_a_slice_of_nothing_but_its_place() -> None:
    here = arrival(0)
    piece, refusals = contribution(sifted(heartbeat("p", "e", 9, end=True), here, OF_8), here, None)

    assert piece.sequence == SequenceRange("p", "e", 9, 0, bytes(16), end=True)
    assert (piece.counts, list(refusals), piece.rows.count) == (Counts(), [], b"")


def test_a_meter_counts_in_its_own_windows_and_dimensions() -> None:
    by = ground(count_meter("calls", HOUR, "region"), count_meter("bytes", 15 * MINUTE))
    batch = sequenced(
        0,
        usage(time=T0 - 1, region="eu", secret="x"),
        usage(time=T0 - HOUR, region="eu", secret="y"),
        usage(time=T0, region="eu"),
        usage(meter="bytes", time=T0 - 1, region="eu"),
    )
    rows = contribution(sifted(batch, arrival(4), by), arrival(4), None)[0].rows

    assert rows.dimensions == [{"region": "eu"}, {}]
    starts = [int.from_bytes(rows.window_start[i : i + 8], "little") for i in (0, 8, 16)]
    assert starts == [T0 - HOUR, T0, T0 - 15 * MINUTE]
    assert [rows.count[i] for i in (0, 8, 16)] == [2, 1, 1]


TICKS: list[tuple[str, Tick, int | None, Tick | None, Counts]] = [
    ("the next one", NEXT, 0, NEXT, Counts()),
    ("the same again", TICK_1, 0, None, Counts()),
    ("one without a row", Tick(9, T0 + 9, 1), 0, None, Counts()),
    ("another time than its row", Tick(2, NEXT.time + 1, 1), 0, None, Counts()),
    ("another fact position", Tick(2, NEXT.time, 99), 0, None, Counts()),
    ("one that offers usage", NEXT, 3, None, Counts(3, rejected=3)),
    ("one without a header", NEXT, None, None, Counts(1, rejected=1)),
]


@pytest.mark.parametrize(
    ("header", "seen", "moved", "counts"), [row[2:3] + row[1:2] + row[3:] for row in TICKS]
)
def test_a_tick(header: int | None, seen: Tick, moved: Tick | None, counts: Counts) -> None:
    rows = {1: TICK_1, 2: NEXT, 9: None}
    found = look(seen, arrival(header), OF_8, rows)

    assert isinstance(found, Told)
    assert (found.piece.tick, found.piece.counts) == (moved, counts)
    assert found.piece.log_time == (moved or TICK_1).time


def test_a_tick_whose_row_was_not_asked_for_yet_is_asked_for() -> None:
    assert look(Tick(3, T0 + 9, 1), arrival(0), OF_8, ROWS) == NeedsTick(3)


def test_a_refused_tick_says_why() -> None:
    found = look(Tick(2, T0, 1), arrival(0), OF_8, ROWS)

    assert isinstance(found, Told)
    assert found.refusals[0].rejection.code is Code.UNKNOWN_TICK


def test_a_tick_after_a_batch_ahead_does_not_turn_time_back() -> None:
    third = Tick(3, T0 + 2 * MINUTE, 1)
    found = look(NEXT, arrival(0, log_time=third.time), OF_8, {2: NEXT, 3: third})

    assert isinstance(found, Told)
    assert found.piece.log_time == third.time


@pytest.mark.parametrize(
    ("indexes", "customer"),
    [([[0]], "acme"), ([[0], [2]], "acme"), ([[0, 1]], ""), ([[0], [1]], ""), ([[]], ""), ([], "")],
)
def test_refusals_name_their_customer_where_it_is_one(
    indexes: list[list[int]], customer: str
) -> None:
    batch = keyed(usage("acme", id="1"), usage("bert", id="2"), usage("acme", id="3"))
    found = sifted(batch, arrival(3), ground())
    late = Rejection(Code.LATE, "time", "late")

    assert customer_of(found, [Refusal(late, len(few), few) for few in indexes]) == customer
