"""Laws of log time under clocks that jump: what counts once counts once, whatever ticks say.

The model knows events, log times and the definition of a generation; no claims, no watermark.
"""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    fact_log,
    keyed,
    log_of,
    meter_of,
    rules_of,
    usage,
)
from pipeline.collect.gate import Gate
from pipeline.core.calendar import Instant
from pipeline.core.identity import batch_digest
from pipeline.invoice.usage import UsagePart, UsageRequest
from pipeline.meter.place import Place
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.replay.refold import Message, Refold
from pipeline.stores.codec import encode_batch
from pipeline.workers.metering import stale

GATE = Gate(horizon=HOUR, tolerance=5 * MINUTE)
WIDTH = GATE.generation_width
YEAR = 365 * 24 * HOUR
BEGIN = (T0 // WIDTH + 1) * WIDTH
"""The first instant of a generation."""
FACTS = fact_log(log_of(1, 3600, 300), rules_of(), meter_of("calls"))


@dataclass
class Model:
    """Deliveries of events that were in time: (id, generation)."""

    delivered: set[tuple[str, int]]
    late: int = 0
    fresh: int = 0
    duplicate: int = 0

    def hears(self, name: str, event_time: Instant, log_time: Instant) -> None:
        generation = log_time // WIDTH
        if event_time < log_time - GATE.horizon:
            self.late += 1
            return
        known = {(name, generation), (name, generation - 1)} & self.delivered
        self.delivered.add((name, generation))
        if known:
            self.duplicate += 1
        else:
            self.fresh += 1


jumps = st.sampled_from(
    [1, MINUTE, WIDTH // 2, WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 9 * WIDTH, YEAR]
)
sent = st.tuples(st.integers(0, 3), st.sampled_from([-HOUR, -MINUTE, 0, 5 * MINUTE]))
"""An id, and its event time against the first log time it is sent at."""
stories = st.lists(st.tuples(jumps, st.lists(sent, max_size=4)), min_size=1, max_size=8)
Story = list[tuple[int, list[tuple[int, int]]]]


@settings(max_examples=150)
@given(stories, st.integers(0, 3))
def test_an_event_counts_once_over_any_jumps_of_ticks(story: Story, lag: int) -> None:
    """Claims are dropped as the worker drops them, behind books that lag by some ticks."""
    line, model, times = Line(FACTS), Model(set()), dict[str, Instant]()
    messages: list[Message] = []
    log_times: list[Instant] = []
    now = BEGIN
    for serial, (jump, events) in enumerate(story, start=1):
        now += jump
        tick = Tick(serial, now, FACTS.head)
        line.tick(tick)
        log_times.append(now)
        messages.append(Message(tick, 0, bytes(16)))
        booked = log_times[max(0, len(log_times) - 1 - lag)]
        line.claims.drop(GATE.generation(booked) - 1)
        for number, ahead in events:
            name = str(number)
            time = times.setdefault(name, now + ahead)
            batch = keyed(usage(id=name, time=time))
            line.send(batch)
            messages.append(Message(batch, 1, batch_digest(encode_batch(batch))))
            model.hears(name, time, now)

    books = Books(FACTS)
    books.book(line.slices)
    counted = books.partition.cursor.counts
    assert counted == Counts(
        sum(len(events) for _, events in story),
        fresh=model.fresh,
        duplicate=model.duplicate,
        late=model.late,
    )
    refold = Refold(0, Place(0, 0), line.rows, FACTS.at)
    for message in messages:
        refold.feed(message)
    request = UsageRequest("acme", "calls", 0, 1 << 62)
    parts, _ = refold.usage([request], 1 << 62)
    additive = [part for part in parts.get(request, []) if isinstance(part, UsagePart)]
    assert sum(part.count for part in additive) == model.fresh


@pytest.mark.parametrize(
    ("ahead", "jump", "outcome"),
    [
        (0, 0, Counts(1, duplicate=1)),
        (0, HOUR, Counts(1, duplicate=1)),  # to the last microsecond of the horizon
        (0, HOUR + 1, Counts(1, late=1)),
        (5 * MINUTE, WIDTH, Counts(1, duplicate=1)),  # exactly one generation on
        (5 * MINUTE, WIDTH + 1, Counts(1, late=1)),
        (0, 3 * WIDTH, Counts(1, late=1)),
        (0, YEAR, Counts(1, late=1)),
    ],
)
def test_an_event_sent_again_after_a_jump(ahead: int, jump: int, outcome: Counts) -> None:
    for began in (BEGIN, BEGIN + WIDTH // 2, BEGIN + WIDTH - 1):
        line, batch = Line(FACTS), keyed(usage(id="1", time=began + ahead))
        line.tick(Tick(1, began, FACTS.head))
        assert line.send(batch).counts == Counts(1, fresh=1)
        line.tick(Tick(2, began + max(jump, 1) if jump else began + 1, FACTS.head))

        assert line.send(batch).counts == outcome


def test_after_a_jump_of_years_what_happens_now_is_in_time() -> None:
    line = Line(FACTS)
    line.tick(Tick(1, BEGIN, FACTS.head))
    line.send(keyed(usage(id="1", time=BEGIN)))
    line.tick(Tick(2, BEGIN + 40 * YEAR, FACTS.head))

    now = usage(id="1", time=BEGIN + 40 * YEAR)
    assert line.send(keyed(now)).counts == Counts(1, fresh=1)
    assert line.send(keyed(now, replace(now, value=now.value + 1))).counts.conflict == 1


@given(st.one_of(st.none(), st.integers(-1, 50)), st.integers(-1, 10_000))
def test_only_generations_that_nothing_asks_for_are_dropped(
    before: int | None, needed: int
) -> None:
    dropped = stale(before, needed)

    assert all(generation < needed for generation in dropped)
    assert len(dropped) <= 16
    if before is not None and before < needed:
        assert before in dropped  # what was needed until now, however far time jumped
        assert before + 1 in {*dropped, needed, needed + 1}
