"""The collector's order of effects, without servers: a broker and a book that can fail at will."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from builders import T0, usage
from pipeline.collect.letters import Headers
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.collect.raw import RawReader
from pipeline.collect.rounds import Stand
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import event_key, partition_of
from pipeline.replay.audit import collection_of
from pipeline.settings import Settings
from pipeline.stores.codec import batch_of, decode
from pipeline.stores.postgres.pauses import Pause
from pipeline.stores.records import encode_usage_event, letter_of, open_usage_event
from pipeline.topology import Stack
from pipeline.workers.collector import Collector, check_stands
from pipeline.workers.holding import Resumed, Stops

PARTITIONS = 2
CUSTOMERS = [f"c{number}" for number in range(20)]


@dataclass(frozen=True)
class Message:
    """A raw message."""

    at: tuple[int, int]
    body: bytes | None

    def partition(self) -> int:
        return self.at[0]

    def offset(self) -> int:
        return self.at[1]

    def value(self) -> bytes | None:
        return self.body

    def headers(self) -> Headers | None:
        return None


@dataclass
class Log:
    """Raw usage as it lies on a broker; `now_s` moves by one with every look at up to `most`."""

    messages: list[Message]
    now_s: float = 0.0
    most: int = 100

    def clock(self) -> float:
        return self.now_s

    def reader(self, stands: Sequence[Stand]) -> "Reading":
        own = {stand.partition: stand.offset for stand in stands}
        left = [m for m in self.messages if m.offset() > own.get(m.partition(), 9e9)]
        return Reading(self, left, self.most)


@dataclass
class Reading:
    """One collector's way through it."""

    log: Log
    left: list[Message]
    most: int = 100
    paused: set[int] = field(default_factory=set)

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def read(self, count_max: int, wait_s: float) -> list[Message]:
        self.log.now_s += 1
        count = min(count_max, self.most)
        found, self.left = self.left[:count], self.left[count:]
        return found


@dataclass
class Broker:
    """Takes records; acks those that chance picks, when it is asked."""

    chance: Random
    taken: list[tuple[str, int, bytes, int | None]] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    away: bool = False

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
        acked: Callable[[], None] = lambda: None,
    ) -> None:
        self.taken.append((topic, partition, value, event_count))
        self.waiting.append(acked)

    def poll(self, wait_s: float = 0.0) -> None:
        while self.waiting and not self.away and self.chance.random() < 0.7:
            self.waiting.pop(self.chance.randrange(len(self.waiting)))()

    def flush(self) -> None:
        while self.waiting:
            self.waiting.pop()()

    def keys(self) -> list[bytes]:
        """The key of every event it has, as often as it has it."""
        found = []
        for topic, partition, value, count in self.taken:
            if topic == "usage.events.v1":
                batch = batch_of(decode(value)[1])
                assert batch.event_count == count == len(batch.key) // 16 <= BATCH_EVENTS_MAX
                assert {partition_of(c, PARTITIONS) for c in batch.customers} == {partition}
                found += [batch.key[at : at + 16] for at in range(0, len(batch.key), 16)]
        return found

    def letters(self) -> set[tuple[int, int]]:
        """Where the messages lie that it has dead letters of."""
        letters = [letter_of(value) for topic, _, value, _ in self.taken if "rejected" in topic]
        assert all(letter.topic == "usage.raw.v1" for letter in letters)
        return {(letter.partition, letter.offset) for letter in letters}


def log_of(count: int, chance: Random) -> Log:
    """Messages of everybody in two partitions, some of them bad."""
    messages = []
    for offset in range(count):
        for partition in range(2):
            who = chance.choice(CUSTOMERS)
            event = usage(who, time=T0, id=f"{partition}-{offset}", source="shop")
            bad = chance.random() < 0.1
            messages.append(
                Message((partition, offset), None if bad else encode_usage_event(event))
            )
    return Log(messages)


def expected(log: Log) -> tuple[set[bytes], set[tuple[int, int]]]:
    """The keys that must be there, and where the refused lie."""
    keys, bad = set(), set()
    for message in log.messages:
        if message.body is None:
            bad.add(message.at)
        else:
            record = decode(message.body)[1]
            keys.add(event_key(str(record["customer"]), "shop", str(record["id"])))
    return keys, bad


def collector(
    log: Log,
    broker: Broker,
    book: dict[int, Stand],
    linger_s: float = 3,
    stops: Stops | None = None,
) -> Collector:
    """A collector that goes on from the book."""

    def save(moves: Sequence[tuple[Stand, Stand]]) -> None:
        for before, after in moves:
            assert book[before.partition] == before
            book[before.partition] = after

    stands = list(book.values())
    source, reader = log.reader(stands), RawReader(PARTITIONS, open_usage_event)
    return Collector(
        source, broker, save, stands, Stack(), reader, PARTITIONS, linger_s, log.clock, stops
    )


def runs(chance: Random) -> Iterator[int]:
    """How many steps each life has, until one that is left to finish."""
    for _ in range(chance.randrange(6)):
        yield chance.randrange(12)


@pytest.mark.parametrize("seed", range(20))
def test_crashes_repeat_events_and_lose_none(seed: int) -> None:
    chance = Random(seed)
    log, broker = log_of(500, chance), Broker(chance)
    book = {number: Stand(number) for number in range(2)}
    for steps in runs(chance):  # each ends in a crash: what waits in it is gone
        life = collector(log, broker, book)
        for _ in range(steps):
            life.step()
        broker.waiting.clear()
    life = collector(log, broker, book)
    while life.step():
        pass
    life.finish()

    keys, bad = expected(log)
    assert (set(broker.keys()), broker.letters()) == (keys, bad)
    for partition, stand in book.items():
        own = sum(place[0] == partition for place in bad)
        assert stand == Stand(partition, 499, 500 - own, own, 0)


def test_without_crashes_each_event_goes_once() -> None:
    log, broker = log_of(300, Random(1)), Broker(Random(1))
    life = collector(log, broker, {number: Stand(number) for number in range(2)})
    while life.step():
        pass
    life.finish()

    assert len(broker.keys()) == len(set(broker.keys())) == len(expected(log)[0])


@pytest.mark.parametrize(
    ("most", "batches"), [(1000, 4), (999, 14)], ids=["more lies ready", "all was read"]
)
def test_a_round_lasts_longer_while_more_lies_ready(most: int, batches: int) -> None:
    """Three looks at 1000 messages make a round of two batches; a look at less is one by itself."""
    log, broker = replace(log_of(3000, Random(4)), most=most), Broker(Random(4))
    life = collector(log, broker, {number: Stand(number) for number in range(2)}, linger_s=0.5)
    while life.step():
        pass

    sent = [topic for topic, *_ in broker.taken if topic == "usage.events.v1"]
    assert len(sent) == batches


def test_nothing_moves_while_the_broker_is_away_and_no_more_is_read_than_fits() -> None:
    log, broker = log_of(100_000, Random(2)), Broker(Random(2), away=True)
    book = {number: Stand(number) for number in range(2)}
    life = collector(log, broker, book, linger_s=1)
    while life.step():
        pass
    held = len(broker.waiting)
    for _ in range(50):
        life.step()

    assert book == {number: Stand(number) for number in range(2)}
    assert len(broker.waiting) == held < 300


@dataclass
class Table:
    """The rows of pauses of raw usage."""

    rows: dict[int, Pause] = field(default_factory=dict)

    def read_pauses(self) -> list[Pause]:
        return [*self.rows.values()]

    def pause(self, partition: int, offset: int, reason: str, cause: str) -> None:
        self.rows.setdefault(partition, Pause(partition, offset, reason, cause, T0, "raw"))


def test_a_partition_of_rejects_is_read_no_further_until_it_is_resumed() -> None:
    """The other one goes on; what was held is read again by the next process."""
    good = [encode_usage_event(usage("c1", id=str(n), source="shop")) for n in range(1000)]
    log = Log([Message((p, n), good[n] if p else None) for n in range(1000) for p in range(2)])
    broker, table = Broker(Random(5)), Table()
    book = {number: Stand(number) for number in range(2)}
    settings = Settings(home=Path("nowhere"), reject_window_events=100)

    def live() -> Reading:
        stops = Stops(table, settings)
        stops.poll()
        life = collector(log, broker, book, stops=stops)
        while life.step():
            pass
        life.finish()
        assert isinstance(life._source, Reading)
        return life._source

    first = live()
    pause = table.rows[0]
    assert (pause.reason, pause.offset % 50, book[0].offset) == ("rejects", 0, pause.offset - 1)
    assert pause.offset < 1000
    assert (first.paused, book[1]) == ({0}, Stand(1, 999, 1000, 0))
    assert live().paused == {0}  # a restart changes nothing
    assert book[0].offset == pause.offset - 1

    stopped_at = []
    while table.rows:
        stopped_at.append(table.rows.pop(0).offset)
        live()
    assert book[0] == Stand(0, 999, 0, 1000)
    assert stopped_at == sorted(set(stopped_at))
    assert broker.letters() == {(0, n) for n in range(1000)}


def test_a_collector_that_holds_what_was_resumed_begins_anew() -> None:
    log, table = log_of(300, Random(6)), Table({0: Pause(0, 5, "rejects", "why", T0, "raw")})
    stops = Stops(table, Settings(home=Path("nowhere")))
    stops.poll()
    life = collector(log, Broker(Random(6)), {n: Stand(n) for n in range(2)}, stops=stops)
    life.step()
    table.rows.clear()

    log.now_s += 10
    with pytest.raises(Resumed):
        life.step()


def test_an_event_waits_a_linger_at_most() -> None:
    log, broker = Log([]), Broker(Random(3))
    life = collector(log, broker, {0: Stand(0), 1: Stand(1)}, linger_s=5)
    reading = life._source
    assert isinstance(reading, Reading)
    sent_at = []
    for number in range(60):
        if number in (7, 31, 33):
            event = encode_usage_event(usage("c1", id=str(number), source="shop"))
            reading.left.append(Message((0, number), event))
        before = len(broker.taken)
        life.step()
        sent_at += [number] * (len(broker.taken) - before)

    assert sent_at == [11, 35]


def test_a_full_batch_does_not_wait() -> None:
    events = [usage("c1", id=str(number), source="shop") for number in range(BATCH_EVENTS_MAX + 1)]
    log = Log([Message((0, n), encode_usage_event(event)) for n, event in enumerate(events)])
    broker = Broker(Random(4))
    life = collector(log, broker, {0: Stand(0)}, linger_s=10_000)
    while life.step():
        pass

    assert [count for *_, count in broker.taken] == [BATCH_EVENTS_MAX]


@pytest.mark.parametrize(
    ("stand", "first", "end", "told"),
    [
        (Stand(0), 0, 0, 0),
        (Stand(0, 9), 0, 10, 0),
        (Stand(0, 9), 10, 30, 0),
        (Stand(0, 9), 11, 30, 1),
    ],
)
def test_what_retention_took_is_told(stand: Stand, first: int, end: int, told: int) -> None:
    assert len(check_stands([stand], [(first, end)], "usage.raw.v1")) == told


def test_a_truncated_topic_stops_the_collector() -> None:
    with pytest.raises(BrokenInvariant, match="truncated or recreated"):
        check_stands([Stand(0, 9)], [(0, 9)], "usage.raw.v1")


@pytest.mark.parametrize(
    ("stand", "first", "below", "beyond", "offered", "missing"),
    [
        pytest.param(Stand(0), 0, 0, 3, 3, 0, id="nothing collected yet"),
        pytest.param(Stand(0, 9, 8, 2), 0, 10, 3, 13, 0, id="all kept"),
        pytest.param(Stand(0, 9, 6, 1, 3), 0, 7, 0, 7, 0, id="marks of transactions"),
        pytest.param(Stand(0, 9, 6, 1, 3), 5, 4, 2, 9, 0, id="some of both deleted"),
        pytest.param(Stand(0, 9, 8, 2), 20, 0, 5, 25, 10, id="deleted before it was collected"),
        pytest.param(Stand(0, 9, 8, 1), 0, 10, 0, 10, 1, id="one too few"),
        pytest.param(Stand(0, 9, 9, 2), 0, 10, 0, 10, -1, id="one too many"),
        pytest.param(Stand(0, 9, 8, 1, 1), 0, 10, 0, 10, 1, id="one skipped that is there"),
    ],
)
def test_the_collectors_equation(
    stand: Stand, first: int, below: int, beyond: int, offered: int, missing: int
) -> None:
    counts = collection_of(stand, first, below, beyond)

    assert (counts.offered, counts.pending, counts.missing) == (offered, beyond, missing)
