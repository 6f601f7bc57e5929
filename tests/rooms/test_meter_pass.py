"""Gate passes: prepared batches come late, nobody else does, and never twice."""

from dataclasses import replace

import pytest

from builders import (
    GATE,
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    arrival,
    fact_log,
    facts,
    gate_pass_of,
    ground,
    keyed,
    log_of,
    meter_of,
    pass_for,
    rules_of,
    sequenced,
    usage,
)
from pipeline.collect.batch import UsageBatch
from pipeline.collect.gate import GatePass
from pipeline.core.calendar import DAY, Instant
from pipeline.core.errors import Code
from pipeline.invoice.usage import UsagePart, UsageRequest
from pipeline.meter.place import NeedsTick, Told, look
from pipeline.meter.sift import Sifted
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.replay.refold import Message, Refold

OLD = T0 - 30 * DAY
LATE = usage(value="2", time=OLD, id="late")
UNTIL = T0 + GATE.generation_width


def showing(batch: UsageBatch, name: str = "pass") -> UsageBatch:
    return replace(batch, gate_pass=name)


BY_PASS = showing(keyed(LATE))
MADE: list[tuple[str, UsageBatch, dict[str, GatePass], Instant, Code | None]] = [
    ("named", BY_PASS, {"pass": pass_for(BY_PASS)}, T0, None),
    ("at its last instant", BY_PASS, {"pass": pass_for(BY_PASS)}, UNTIL, None),
    ("expired", BY_PASS, {"pass": pass_for(BY_PASS)}, UNTIL + 1, Code.UNKNOWN_PASS),
    ("not in force", BY_PASS, {}, T0, Code.UNKNOWN_PASS),
    ("another id", BY_PASS, {"other": pass_for(BY_PASS)}, T0, Code.UNKNOWN_PASS),
    ("none shown", keyed(LATE), {"pass": pass_for(BY_PASS)}, T0, Code.LATE),
    (
        "other events",
        showing(keyed(replace(LATE, id="else"))),
        {"pass": pass_for(BY_PASS)},
        T0,
        Code.UNKNOWN_PASS,
    ),
    (
        "one event more",
        showing(keyed(LATE, replace(LATE, id="else"))),
        {"pass": pass_for(BY_PASS)},
        T0,
        Code.UNKNOWN_PASS,
    ),
    (
        "the same key with other content",
        showing(keyed(replace(LATE, meter="else"))),
        {"pass": pass_for(BY_PASS)},
        T0,
        Code.UNKNOWN_PASS,
    ),
    (
        "a sequence",
        showing(sequenced(0, LATE)),
        {"pass": pass_for(BY_PASS)},
        T0,
        Code.UNKNOWN_PASS,
    ),
    (
        "an unknown meter",
        showing(keyed(usage(meter="unheard", time=OLD))),
        {"pass": pass_for(keyed(usage(meter="unheard", time=OLD)))},
        T0,
        Code.UNKNOWN_METER,
    ),
    (
        "an event ahead",
        showing(keyed(usage(time=T0 + HOUR))),
        {"pass": pass_for(keyed(usage(time=T0 + HOUR)))},
        T0,
        Code.FUTURE,
    ),
]


@pytest.mark.parametrize(
    ("batch", "passes", "log_time", "code"), [row[1:] for row in MADE], ids=[row[0] for row in MADE]
)
def test_a_batch_that_shows_a_pass(
    batch: UsageBatch, passes: dict[str, GatePass], log_time: Instant, code: Code | None
) -> None:
    here = arrival(batch.event_count, log_time=log_time)
    by = replace(ground(), passes=passes)

    looked = look(batch, here, by, {2: Tick(2, log_time + MINUTE, 1)})

    assert not isinstance(looked, NeedsTick)
    assert [each.rejection.code for each in looked.refusals] == ([code] if code else [])
    if code is Code.UNKNOWN_PASS:
        assert isinstance(looked, Told)
        offered = batch.event_count
        assert looked.piece.counts == Counts(offered=offered, rejected=offered)
    elif code is None:
        assert isinstance(looked, Sifted)
        assert looked.claimable.all()


# ---- in the log: the pass is in force from the tick that names it ----------------------------

FACTS = [log_of(), rules_of(), meter_of("calls"), gate_pass_of(BY_PASS, until=T0 + 5 * MINUTE)]
PASS_ID = facts(*FACTS)[-1].id
PREPARED = showing(BY_PASS, PASS_ID)
BEFORE, NAMED, AFTER = Tick(1, T0, 3), Tick(2, T0 + MINUTE, 4), Tick(3, T0 + 6 * MINUTE, 4)


def test_a_pass_is_in_force_from_its_tick_until_it_expires_and_counts_once() -> None:
    line = Line(fact_log(*FACTS))

    line.tick(BEFORE)
    too_early = line.send(PREPARED)
    line.tick(NAMED)
    admitted, again = line.send(PREPARED), line.send(PREPARED)
    line.tick(AFTER)
    too_late = line.send(PREPARED)

    assert too_early.counts == too_late.counts == Counts(offered=1, rejected=1)
    assert admitted.counts == Counts(offered=1, fresh=1)
    assert again.counts == Counts(offered=1, duplicate=1)


def test_what_came_in_time_while_the_job_prepared_is_not_booked_twice() -> None:
    line = Line(fact_log(*FACTS))

    line.tick(BEFORE)
    meanwhile = line.send(keyed(replace(LATE, time=T0)))
    line.tick(NAMED)

    assert meanwhile.counts.fresh == 1
    assert line.send(PREPARED).counts == Counts(offered=1, conflict=1)


def test_a_refold_sees_the_pass_too() -> None:
    log = fact_log(*FACTS)
    line, books = Line(log), Books(log)
    line.tick(BEFORE)
    line.tick(NAMED)
    line.send(PREPARED)
    books.book(line.slices)

    refold = Refold(0, Line(log).place, {t.serial: t for t in (BEFORE, NAMED)}, log.at)
    for message in (BEFORE, NAMED, PREPARED):
        refold.feed(Message(message, 0 if isinstance(message, Tick) else 1, bytes(16)))

    asked = [UsageRequest("acme", "calls", OLD, OLD + DAY)]
    booked = books.used(asked, before_cut=1)
    (part,) = booked[asked[0]]
    assert isinstance(part, UsagePart)
    assert (part.count, part.sum) == (1, 2)
    assert refold.usage(asked, below_cut=1)[0] == booked
