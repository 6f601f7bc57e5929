"""Law: a copy of a log over other partitions and batches folds to the same usage, cut by cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import (
    GATE,
    MINUTE,
    T0,
    customer_of,
    facts,
    gate_pass_of,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from pipeline.catalog.catalog import FactLog
from pipeline.catalog.matches import EventPlace
from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json, batch_digest, partition_of
from pipeline.invoice.usage import UsageRequest
from pipeline.meter.meters import Grain
from pipeline.meter.place import NeedsTick, Place, Told, look
from pipeline.meter.sift import Arrival
from pipeline.meter.ticks import Tick
from pipeline.replay.copying import Copier, log_body, moved_bodies
from pipeline.replay.refold import Message, Refold
from pipeline.stores.codec import encode_batch

PARTITIONS, NAMES = 3, ("acme", "globex", "initech", "umbrella", "hooli", "stark")
LATE = keyed(usage("acme", id="old", time=T0 - 2 * GATE.horizon))
WIDTH = GATE.generation_width
DECISIONS = (
    log_of(PARTITIONS),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    meter_of("level", "latest"),
    plan_of("plus", price_of("calls", per_unit("1"), "calls"), cycle="P1D"),
    *map(customer_of, NAMES),
    *(subscription_of(f"s-{name}", name, "plus", instant_text(T0 - WIDTH)) for name in NAMES),
    gate_pass_of(LATE, until=T0 + WIDTH),
)
FACTS = facts(*DECISIONS)
PASS_ID = FACTS[-1].id
Logs = Sequence[Sequence[Message]]


@dataclass
class Sent:
    """A log as it grows: what was sent, and the ticks. The row of the next tick is there, too."""

    log: list[list[Message]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    rows: dict[int, Tick | None] = field(default_factory=dict)
    now: int = T0

    def tick(self, step: int) -> None:
        serial = max(1, len(self.rows))
        here = self.rows.get(serial) or Tick(serial, T0, len(FACTS))
        self.now = here.time
        following = Tick(serial + 1, here.time + step, len(FACTS))
        self.rows |= {serial: here, following.serial: following}
        for messages in self.log:
            messages.append(Message(here, 0, b""))

    def keyed(self, events: Sequence[UsageEvent]) -> None:
        for home in range(PARTITIONS):
            own = [e for e in events if partition_of(e.customer, PARTITIONS) == home]
            if own:
                self.log[home].append(whole(keyed(*own)))

    def sequenced(self, first: int, events: Sequence[UsageEvent]) -> None:
        home = partition_of(events[0].customer, PARTITIONS)
        own = [e for e in events if partition_of(e.customer, PARTITIONS) == home]
        self.log[home].append(whole(sequenced(first, *own)))

    def again(self, home: int) -> None:
        if self.log[home]:
            self.log[home].append(self.log[home][-1])


def whole(batch: UsageBatch) -> Message:
    digest = batch_digest(encode_batch(batch))
    return Message(batch, batch.event_count, digest if batch.mode == "sequenced" else b"")


names = st.sampled_from(NAMES)
events = st.builds(
    lambda who, what, when, value, number: usage(who, value, meter=what, time=when, id=str(number)),
    names,
    st.sampled_from(["calls", "calls", "level", "no_meter"]),
    st.sampled_from([-GATE.horizon - 1, -MINUTE, 0, 30 * MINUTE, GATE.tolerance + MINUTE]),
    st.sampled_from(["1", "2.5", "1" + "0" * 20]),
    st.integers(0, 4),
)
some = st.lists(events, min_size=1, max_size=5)
steps = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([MINUTE, 70 * MINUTE, GATE.horizon, WIDTH])),
    st.tuples(st.just("keyed"), some),
    st.tuples(st.just("keyed"), some),
    st.tuples(st.just("back"), some),
    st.tuples(st.just("sequenced"), st.integers(0, 9), some),
    st.tuples(st.just("sequenced"), st.integers(0, 9), some),
    st.tuples(st.just("again"), st.integers(0, PARTITIONS - 1)),
    st.tuples(st.just("late")),
)


def played(drawn: Sequence[tuple[Any, ...]]) -> Sent:
    """The log of a drawn story; times are told from where the log stands."""
    sent = Sent()
    for kind, *told in [("tick", MINUTE), *drawn, ("tick", MINUTE), ("tick", MINUTE)]:
        match kind:
            case "tick":
                sent.tick(told[0])
            case "again":
                sent.again(told[0])
            case "late":
                home = partition_of("acme", PARTITIONS)
                sent.log[home].append(whole(replace(LATE, gate_pass=PASS_ID)))
            case _:
                moved = [replace(e, time=e.time + sent.now) for e in told[-1]]
                if kind == "back":
                    sent.keyed([replace(e, reversed_at=sent.now) for e in moved])
                elif kind == "keyed":
                    sent.keyed(moved)
                else:
                    sent.sequenced(told[0], moved)
    return sent


def walked(sent: Sent, home: int, known: FactLog) -> Iterator[tuple[Arrival, Any]]:
    """A partition of the source as its reader judges it."""
    place = Place(0, 0)
    for message in sent.log[home]:
        here = place.arrival(message.header_count, message.digest)
        by = known.at(max(here.tick.fact_position, 1)).ground(home)
        looked = look(message.opened, here, by, sent.rows)
        assert not isinstance(looked, NeedsTick)
        yield here, looked
        place.pass_message(looked, claimed=False)


def copy_of(sent: Sent, copier: Copier) -> list[list[Message]]:
    """The copy, as its reader gets it."""
    known = FactLog()
    known.append(FACTS)
    walks = [walked(sent, home, known) for home in range(PARTITIONS)]
    found: list[list[Message]] = [[] for _ in range(copier.partitions)]
    told = {m.opened.serial: m.opened for m in sent.log[0] if isinstance(m.opened, Tick)}
    for tick in (None, *told.values()):  # one that is told again is none of its own
        made = [] if tick is None else [*copier.pass_tick(tick)]
        for walk in walks:
            for here, looked in walk:
                if isinstance(looked, Told):
                    if looked.piece.tick is not None:
                        break
                else:
                    made += copier.feed(looked, here)
        for one in made:
            assert one.offset == len(found[one.partition])
            message = one.message
            found[one.partition].append(
                Message(message, 0, b"") if isinstance(message, Tick) else whole(message)
            )
    assert copier.ends == [*map(len, found)]
    return found


def usage_of(log: Logs, rows: dict[int, Tick | None], first: dict[str, Json], bodies: Any) -> Any:
    """What each customer used at each cut, as evidence tells it: to the byte of every key."""
    told = [replace(fact, body=bodies.get(fact.serial, fact.body)) for fact in FACTS]
    known = FactLog()
    known.append([replace(told[0], body=first), *told[1:]])
    found = {}
    for home, messages in enumerate(log):
        refold = Refold(home, Place(0, 0), rows, known.at)
        for message in messages:
            refold.feed(message)
        for name in NAMES:
            if partition_of(name, len(log)) != home:
                continue
            for cut in (2, len(rows) // 2, len(rows)):
                asked = [
                    UsageRequest(name, "calls", 0, 1 << 62, Grain.WINDOWS),
                    UsageRequest(name, "level", 0, 1 << 62, Grain.POINTS),
                ]
                used, evidence = refold.usage(asked, cut)
                parts = {request: sorted(map(repr, used.get(request, []))) for request in asked}
                found[name, cut] = parts, sorted(map(repr, evidence))
    return found


@settings(max_examples=40)
@example([("sequenced", 0, [usage(time=0)]), ("again", partition_of("acme", PARTITIONS))], 5, 2)
@example([("again", 0), ("tick", MINUTE), ("keyed", [usage(time=GATE.tolerance)])], 1, 1)
@given(st.lists(steps, min_size=3, max_size=14), st.integers(1, 5), st.integers(1, 7))
def test_a_copy_folds_to_the_same(
    drawn: list[tuple[Any, ...]], partitions: int, events_max: int
) -> None:
    sent = played(drawn)
    every = {(home, EventPlace(offset, at)): event for home, offset, at, event in placed(sent.log)}
    copier = Copier("copy", "again", partitions, events_max, frozenset(every))
    copy = copy_of(sent, copier)

    bodies, first = moved_bodies(FACTS, copier), log_body(FACTS[0].body, partitions)
    before = usage_of(sent.log, sent.rows, dict(FACTS[0].body), {})
    assert usage_of(copy, sent.rows, first, bodies) == before
    came_from = {here: was for was, here in copier.places.items()}
    for home, offset, at, event in placed(copy):
        was = came_from[home, EventPlace(offset, at)]
        assert replace(event, epoch=None) == replace(every[was], epoch=None)
    batches = [m.opened for each in copy for m in each if isinstance(m.opened, UsageBatch)]
    assert all(batch.event_count <= events_max for batch in batches)


def placed(log: Logs) -> Iterator[tuple[int, int, int, KeyedEvent]]:
    """Every event of a log, with its partition, offset and place."""
    for home, messages in enumerate(log):
        for offset, message in enumerate(messages):
            if isinstance(message.opened, UsageBatch):
                columns = read_columns(message.opened, copied=True)
                assert isinstance(columns, Columns)
                every = events_at(message.opened, columns, range(len(columns)), home)
                for at, event in enumerate(every):
                    yield home, offset, at, event
