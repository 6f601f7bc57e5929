"""Laws of reversals: what is left is what nobody took back, whatever came first or twice.

Usage and reversals reach the log in any order and any batches, again and again; matches are told
whenever somebody looks. In the end every meter has the quantity of the events that stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    GATE,
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    fact_log,
    facts,
    keyed,
    log_of,
    meter_of,
    named,
    rules_of,
    sequenced,
    usage,
)
from pipeline.catalog.catalog import FactLog
from pipeline.catalog.facts import Fact
from pipeline.catalog.matches import match_facts
from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import pack_again
from pipeline.core.identity import batch_digest, sequenced_key
from pipeline.invoice.usage import UsageRequest, quantity
from pipeline.meter.place import NeedsTick, Opened, Place, look
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick
from pipeline.replay.matching import Search, Sequences
from pipeline.replay.recount import KnownFacts, Recount
from pipeline.replay.refold import Message, Refold
from pipeline.stores.codec import batch_of, decode, encode_batch
from pipeline.stores.records import encode_slices, read_slices

METERS: dict[str, dict[str, Any]] = {
    "sum": {},
    "count": {},
    "average": {},
    "latest": {},
    "unique_count": {"of": "user"},
    "percentile": {"percent": "50"},
    "max": {"points": True},
    "time_weighted": {},
}
DECISIONS = (
    log_of(),
    rules_of(),
    *(meter_of(name, name, **given) for name, given in METERS.items()),
    meter_of("peak", "max"),
)


@dataclass
class Told(Line):
    """A line that remembers what was looked at."""

    sifted: list[tuple[Arrival, Sifted]] = field(default_factory=list)

    def read(self, opened: Opened, header_count: int | None, digest: bytes = bytes(16)) -> Slice:
        here = self.place.arrival(header_count, digest)
        by = self.facts.at(max(here.tick.fact_position, 1)).ground(self.partition)
        looked = look(opened, here, by, self.rows)
        assert not isinstance(looked, NeedsTick)
        if isinstance(looked, Sifted):
            self.sifted.append((here, looked))
        return super().read(opened, header_count, digest)


@dataclass
class World:
    """A log, its books, who matches and who recounts."""

    log: FactLog = field(default_factory=lambda: fact_log(*DECISIONS))
    line: Told = field(init=False)
    books: Books = field(init=False)
    messages: list[tuple[int | None, bytes, Tick | None]] = field(default_factory=list)
    told: list[Fact] = field(default_factory=list)
    serial: int = 0
    time: int = T0 + MINUTE

    def __post_init__(self) -> None:
        self.line, self.books = Told(self.log), Books(self.log)

    def tick(self, after: int = 1) -> Tick:
        """The next tick, which names all facts so far; everything is booked."""
        self.serial += 1
        self.time += after
        tick = Tick(self.serial, self.time, self.log.head)
        self.line.tick(tick)
        self.messages.append((0, b"", tick))
        self.book()
        return tick

    def send(self, batch: UsageBatch) -> None:
        self.line.send(batch)
        self.messages.append((batch.event_count, encode_batch(batch), None))

    def book(self) -> None:
        following = self.books.partition.cursor.offset + 1
        new = self.line.slices[following:]
        if any(piece.minuses for piece in new):
            travelled = read_slices(encode_slices(new))
            assert [piece.minuses for piece in travelled] == [piece.minuses for piece in new]
        self.books.book(new)

    def match(self) -> None:
        """Tell what somebody finds who reads the log up to the books."""
        self.book()
        search = Search(0, dict(self.books.partition.reversals.waiting))
        for arrival, sifted in self.line.sifted:
            search.feed(sifted, arrival, GATE.generation(sifted.log_time))
        sequences = Sequences(search.epochs)
        for arrival, sifted in self.line.sifted:
            sequences.feed(sifted, arrival)
        for new in match_facts(0, search.matches(sequences.taken)):
            serial = self.log.head + 1
            told = Fact(
                serial, f"m{serial}", new.kind, new.subject, dict(new.body), "talea", "test", T0
            )
            self.log.append([told])
            self.told.append(told)

    def recounted(self) -> Recount:
        """What the second account makes of the same log."""
        known = [*facts(*DECISIONS), *self.told]
        rows = {t.serial: (t.time, t.fact_position) for _, _, t in self.messages if t}
        recount = Recount(
            0, KnownFacts.of([(f.serial, f.id, f.kind.value, f.body) for f in known]), rows
        )
        for offset, (header, message, tick) in enumerate(self.messages):
            if tick is not None:
                record: dict[str, Any] = {
                    "serial": tick.serial,
                    "time": tick.time,
                    "fact_position": tick.fact_position,
                }
                recount.feed(offset, header, "Tick.v1", record, b"")
            else:
                name, found = decode(message)
                recount.feed(offset, header, name, found, batch_digest(message))
        return recount

    def quantity(self, meter: str) -> Fraction:
        """What a meter has come to."""
        known = self.log.at(self.log.head).meters[meter]
        request = UsageRequest("acme", meter, T0 - HOUR, T0 + HOUR, known.grain)
        return quantity(known, request, self.books.used([request], 1 << 62)[request])


def batch_of_reversals(*events: tuple[UsageEvent, int | None], at: int = T0 + MINUTE) -> UsageBatch:
    """Take events back: those with a place in the sequence under the key it gives them."""
    found = []
    for event, place in events:
        event_named = named(replace(event, reversed_at=at))
        key = event_named.key if place is None else sequenced_key("host-1", "e1", 0, place)
        found.append(replace(event_named, key=key))
    (batch,) = pack_again(found)
    return batch


originals = st.lists(
    st.builds(
        lambda meter, value, minute, user: usage(
            value=value, meter=meter, time=T0 + minute * MINUTE, user=user
        ),
        st.sampled_from([*METERS, "sum"]),
        st.sampled_from(["1", "2.5", "-1", "0.001", "9007199254740993", "1e19"]),
        st.integers(-3, 1),
        st.sampled_from(["ann", "ben"]),
    ),
    min_size=1,
    max_size=6,
)
chances = st.randoms(use_true_random=False)


def story(
    events: Sequence[UsageEvent], gone: set[int], back: set[int], chance: Random
) -> list[UsageBatch]:
    """Usage by key or in a sequence, but what is gone; reversals: in any order, some twice."""
    half = len(events) // 2
    own = [replace(event, id=str(n)) for n, event in enumerate(events)]
    sent = [sequenced(n, replace(own[n], id="")) for n in range(half) if n not in gone]
    rest = [own[n] for n in range(half, len(own)) if n not in gone]
    sent += [keyed(event) for event in rest]
    if rest:
        sent.append(keyed(*rest))
    for number in back:
        place = number if number < half else None
        moment = T0 + chance.randint(0, 3) * MINUTE
        sent.append(batch_of_reversals((own[number], place), at=moment))
    sent += chance.choices(sent, k=3) if sent else []
    chance.shuffle(sent)
    return sent


def told(batches: list[UsageBatch], chance: Random) -> World:
    """The world once all was sent, matched now and then, and at the end."""
    world = World()
    world.tick()
    for batch in batches:
        world.send(batch)
        if chance.random() < 0.4:
            world.match()
        if chance.random() < 0.4:
            world.tick()
        if chance.random() < 0.3:
            world.book()
            world.books.restart()
    world.tick()
    world.match()
    world.tick()
    return world


@settings(max_examples=60, deadline=None)
@given(originals, st.sets(st.integers(0, 5)), chances)
def test_what_is_left_is_what_nobody_took_back(
    events: list[UsageEvent], chosen: set[int], chance: Random
) -> None:
    back = {number for number in chosen if number < len(events)}
    world = told(story(events, set(), back, chance), chance)
    plain = told(story(events, back, set(), chance), chance)

    assert {m: world.quantity(m) for m in METERS} == {m: plain.quantity(m) for m in METERS}
    counts = world.books.partition.cursor.counts
    assert counts.fresh == len(events) + len(back)
    assert (counts.offered, counts.conflict) == (counts.fresh + counts.duplicate, 0)
    assert not world.books.partition.reversals.waiting
    assert sum(part.count for part in world.books.store.values()) == len(events) - len(back)
    again = world.recounted().tally
    assert again.billed + again.unpaid == counts.fresh
    assert (again.duplicate, again.conflict) == (counts.duplicate, 0)


@settings(max_examples=20, deadline=None)
@given(originals, chances)
def test_a_second_look_and_a_second_match_change_nothing(
    events: list[UsageEvent], chance: Random
) -> None:
    world = told(story(events, set(), {0}, chance), chance)
    before, points = dict(world.books.store), world.books.points
    world.match()
    text = world.told[0].body
    serial = world.log.head + 1
    world.log.append([replace(world.told[0], serial=serial, id="twice", body=text)])
    world.tick()

    assert world.books.store == before
    assert world.books.points == points


@pytest.mark.parametrize("first", [True, False], ids=["reversal first", "original first"])
def test_a_refold_of_a_part_of_the_log_sees_the_same(first: bool) -> None:
    """From two generations before a period on, or from a reversal before that which it needs."""
    world = World()
    world.tick()
    long_ago = usage(value="5", meter="sum", time=T0, id="long ago")
    world.send(keyed(long_ago))
    world.tick(5 * GATE.generation_width)
    begun = world.tick()
    start = len(world.messages)
    now = world.time
    event = usage(value="7", meter="sum", time=now + MINUTE, id="new")
    reversal = batch_of_reversals((event, None), at=now)
    if first:
        world.send(reversal)
        world.tick(4 * MINUTE)
    world.send(batch_of_reversals((long_ago, None), at=now))
    world.send(keyed(event, usage(value="1", meter="sum", time=now, id="stays")))
    if not first:
        world.send(reversal)
    world.match()
    world.tick()

    rows = {t.serial: t for _, _, t in world.messages if t}
    refold = Refold(0, Place(start, start, begun, begun.time), rows, world.log.at)
    for header, message, tick in world.messages[start:]:
        opened = tick if tick is not None else batch_of(decode(message)[1])
        refold.feed(Message(opened, header, batch_digest(message)))
    request = UsageRequest("acme", "sum", now - now % (15 * MINUTE), now + HOUR)
    used, _ = refold.usage([request], 1 << 62)
    meter = world.log.at(world.log.head).meters["sum"]
    lived = world.books.used([request], 1 << 62)[request]
    assert quantity(meter, request, used[request]) == quantity(meter, request, lived) == 1
    assert not world.books.partition.reversals.waiting
