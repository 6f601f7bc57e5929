"""The SDK against real Kafka: nothing lost, nothing twice, whatever goes away and comes back."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.agents import BrokerAway, Habits, NotDelivered, Recorder, WrongTopic
from pipeline.agents.cloudevents import read_lines, send_lines
from pipeline.agents.host import MEMORY_GB_SECONDS, HostAgent, Moment
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.core.identity import partition_of
from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range
from pipeline.embedded import EmbeddedServers
from pipeline.stores.codec import batch_of, decode
from pipeline.topology import EVENT_COUNT_HEADER, USAGE_EVENTS

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
PARTITIONS = 8
PATIENT = Habits(full_wait_s=None, close_wait_s=60)
QUIET = {"log_level": 0}
_numbers = count()


@dataclass(frozen=True)
class Arrived:
    """One message of the usage log, as an independent consumer reads it."""

    partition: int
    offset: int
    header: int
    message: bytes
    batch: UsageBatch


def arrived(got: Message) -> Arrived:
    message, headers = got.value(), cast(list[tuple[str, bytes]], got.headers())
    assert message is not None
    assert [name for name, _ in headers] == [EVENT_COUNT_HEADER]
    partition, offset = cast(int, got.partition()), cast(int, got.offset())
    return Arrived(partition, offset, int(headers[0][1]), message, batch_of(decode(message)[1]))


@dataclass(frozen=True)
class Log:
    """A topic of its own on a broker that can be stopped."""

    servers: EmbeddedServers
    kafka: str
    topic: str

    def create(self, partitions: int = PARTITIONS) -> None:
        topic = NewTopic(self.topic, partitions, 1, config=USAGE_EVENTS.config)
        admin = AdminClient({"bootstrap.servers": self.kafka, **QUIET})
        admin.create_topics([topic])[self.topic].result(30)

    def recorder(self, spool: Path, habits: Habits = PATIENT, partitions: int = 8) -> Recorder:
        return Recorder.open(
            kafka=self.kafka,
            spool=spool,
            producer="test",
            partitions=partitions,
            topic=self.topic,
            habits=habits,
        )

    def read(self) -> list[Arrived]:
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "reader", **QUIET})
        try:
            ends = {p: self._end(consumer, p) for p in range(PARTITIONS)}
            consumer.assign([TopicPartition(self.topic, p, 0) for p, end in ends.items() if end])
            found: list[Arrived] = []
            while len(found) < sum(ends.values()):
                got = consumer.poll(30)
                assert got is not None
                assert got.error() is None
                found.append(arrived(got))
        finally:
            consumer.close()
        found.sort(key=lambda each: (each.partition, each.offset))
        for partition, end in ends.items():  # contiguous: no transactions, no holes
            assert [e.offset for e in found if e.partition == partition] == list(range(end))
        return found

    def _end(self, consumer: Consumer, partition: int) -> int:
        while True:
            try:
                place = TopicPartition(self.topic, partition)
                return consumer.get_watermark_offsets(place, timeout=30)[1]
            except KafkaException as error:
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                time.sleep(0.1)  # a new topic's leaders need a moment


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    home = tmp_path_factory.mktemp("home")
    with EmbeddedServers(home, only=frozenset({"kafka"})) as running:
        yield running


@pytest.fixture
def log(servers: EmbeddedServers) -> Log:
    if not servers.pids():  # a test that failed left it down
        servers.restart("kafka")
    created = Log(servers, servers.start().kafka, f"t{next(_numbers)}.{USAGE_EVENTS.name}")
    created.create()
    return created


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "usage.spool"


def use(usage: Recorder, numbers: range, *, keyed: bool = False) -> None:
    for number in numbers:
        usage.record(
            customer=f"c{number % 40}",
            meter="calls",
            value=number,
            id=f"id-{number}" if keyed else None,
        )


def booked(arrived: list[Arrived]) -> int:
    """Count sequenced events by their places, as pricing does; there must be no gap."""
    states: dict[tuple[str, str, int], SequenceState] = {}
    fresh = 0
    for each in arrived:
        batch = each.batch
        if batch.mode is Mode.SEQUENCED:
            place = (batch.producer, batch.epoch, each.partition)
            seen = SequenceRange(
                *place[:2],
                batch.first_sequence,
                batch.event_count,
                each.message,
                batch.end,
            )
            verdict, states[place] = judge_range(states.get(place, SequenceState()), seen)
            assert verdict is not Verdict.CONFLICT
            fresh += batch.event_count if verdict is Verdict.FRESH else 0
    assert all(state.ended and not state.gaps for state in states.values())
    return fresh


def test_all_that_was_recorded_is_in_the_log_once_in_its_own_partition(
    log: Log, spool: Path
) -> None:
    with log.recorder(spool) as usage:
        usage.contact(30)
        use(usage, range(5000))
        use(usage, range(3000), keyed=True)
        usage.flush(60)
        assert usage._spool.standing().batches == 0
    arrived = log.read()
    assert Counter(each.batch.mode for each in arrived)[Mode.KEYED] >= 8
    assert all(each.header == each.batch.event_count for each in arrived)
    assert booked(arrived) == 5000
    assert len({each.batch.key[i : i + 16] for each in arrived for i in _places(each)}) == 3000
    for each in arrived:
        assert {partition_of(c, PARTITIONS) for c in each.batch.customers} <= {each.partition}


def _places(each: Arrived) -> range:
    return range(0, len(each.batch.key), 16)


def test_a_broker_that_restarts_in_the_middle_gets_each_batch_once(log: Log, spool: Path) -> None:
    usage = log.recorder(spool, Habits(batch_events=100, full_wait_s=None, close_wait_s=60))
    usage.contact(30)
    recording = Thread(target=_use_slowly, args=(usage, 12_000))
    recording.start()
    time.sleep(0.5)
    log.servers.restart("kafka")
    recording.join()
    usage.close()
    arrived = log.read()
    assert sum(each.header for each in arrived) == 12_000 == booked(arrived)
    assert set(Counter(each.message for each in arrived if each.header).values()) == {1}


def _use_slowly(usage: Recorder, events: int) -> None:
    for start in range(0, events, 100):
        use(usage, range(start, start + 100))
        time.sleep(0.05)


def test_a_broker_killed_in_the_middle_loses_nothing(log: Log, spool: Path) -> None:
    usage = log.recorder(spool, Habits(batch_events=100, full_wait_s=None, close_wait_s=60))
    usage.contact(30)
    recording = Thread(target=_use_slowly, args=(usage, 6_000))
    recording.start()
    time.sleep(0.5)
    log.servers.kill("kafka")
    recording.join()
    with pytest.raises(
        NotDelivered, match=r"are not acknowledged: Kafka at .*usage\.spool keeps them"
    ):
        usage.flush(0.5)
    log.servers.restart("kafka")
    usage.close()
    assert booked(log.read()) == 6_000


def test_a_broker_away_at_opening_is_waited_for(log: Log, spool: Path) -> None:
    log.servers.kill("kafka")
    usage = log.recorder(spool)
    use(usage, range(3000))
    with pytest.raises(BrokerAway, match="does not answer"):
        usage.contact(1)
    with pytest.raises(NotDelivered, match=r"3000 events\) are not acknowledged: Kafka at 127"):
        usage.flush(0.3)
    log.servers.restart("kafka")
    usage.close()
    arrived = log.read()
    assert sum(each.header for each in arrived) == 3000 == booked(arrived)


def test_a_program_that_ends_while_the_broker_is_away_is_drained_by_the_next(
    log: Log, spool: Path
) -> None:
    log.servers.kill("kafka")
    with pytest.raises(NotDelivered), log.recorder(spool, Habits(close_wait_s=0.1)) as usage:
        use(usage, range(500))
    log.servers.restart("kafka")
    with log.recorder(spool) as usage:
        use(usage, range(500, 700))
    arrived = log.read()
    assert len({each.batch.epoch for each in arrived}) == 2
    assert booked(arrived) == 700


KILLED = """
import sys
from pipeline.agents import Habits, Recorder
kafka, topic, spool, start = sys.argv[1:]
usage = Recorder.open(kafka=kafka, topic=topic, spool=spool, producer="test",
                      habits=Habits(batch_events=50, full_wait_s=None))
number = int(start)
while True:
    for number in range(number, number + 200):
        usage.record(customer=f"c{number % 40}", meter="calls", value=number)
        usage.record(customer=f"c{number % 40}", meter="calls", value=1, id=f"id-{number}")
    number += 1
    usage.sync()
    print(number, flush=True)
"""


def test_a_program_killed_again_and_again_loses_nothing_it_had_synced(
    log: Log, spool: Path
) -> None:
    synced = 0
    for pause_s in (0.2, 0.5, 0.8):
        command = [sys.executable, "-c", KILLED, log.kafka, log.topic, str(spool), str(synced)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            lines = [program.stdout.readline()]
            time.sleep(pause_s)
            os.kill(program.pid, signal.SIGKILL)
            lines += program.stdout.readlines()
        synced = max(int(line) for line in lines if line.endswith(b"\n"))
    with log.recorder(spool) as usage:
        usage.flush(60)
    arrived = log.read()
    copies: dict[tuple[str, int, int], set[bytes]] = {}
    for each in arrived:
        if each.batch.mode is Mode.SEQUENCED and each.batch.event_count:
            place = (each.batch.epoch, each.partition, each.batch.first_sequence)
            copies.setdefault(place, set()).add(each.message)
    assert all(len(messages) == 1 for messages in copies.values())
    assert booked(arrived) >= synced
    keys = {each.batch.key[i : i + 16] for each in arrived for i in _places(each)}
    assert len(keys) >= synced


def test_another_partition_count_is_refused_before_anything_is_sent(log: Log, spool: Path) -> None:
    usage = log.recorder(spool, partitions=4)
    with pytest.raises(WrongTopic, match=f"topic {log.topic} has 8 partitions, not 4: open with"):
        usage.contact(30)
    with pytest.raises(WrongTopic):
        use(usage, range(1))
    usage.close()
    assert log.read() == []


def test_a_topic_that_is_not_there_is_waited_for_and_never_made(log: Log, spool: Path) -> None:
    later = Log(log.servers, log.kafka, f"{log.topic}.later")
    usage = later.recorder(spool)
    use(usage, range(100))
    with pytest.raises(BrokerAway, match=r"later: does not exist \(yet\): create it"):
        usage.contact(2)
    admin = AdminClient({"bootstrap.servers": log.kafka, **QUIET})
    assert later.topic not in admin.list_topics(timeout=10).topics
    later.create()
    usage.close()
    assert booked(later.read()) == 100


def test_the_same_file_sent_twice_has_the_same_keys(log: Log, spool: Path, tmp_path: Path) -> None:
    file = tmp_path / "usage.jsonl"
    with file.open("w") as out:
        for number in range(2500):
            inside = {"customer": f"c{number % 9}", "meter": "calls", "value": "1"}
            event = {"specversion": "1.0", "type": "usage", "id": str(number), "source": "f"}
            event["time"] = "2026-01-31T12:00:00Z"
            print(json.dumps({**event, "data": inside}), file=out)
        print("{", file=out)
    for _ in range(2):
        with log.recorder(spool) as usage, file.open("rb") as lines:
            report = send_lines(read_lines(lines), usage)
        assert (report.sent, report.refused_count) == (2500, 1)
    keys = Counter(each.batch.key[i : i + 16] for each in log.read() for i in _places(each))
    assert set(keys.values()) == {2}
    assert len(keys) == 2500


def test_the_host_agent_meters_the_broker_itself(log: Log, spool: Path) -> None:
    with log.recorder(spool) as usage:
        agent = HostAgent(usage, lambda: {"kafka": [log.servers.pids()["kafka"]]})
        agent.sample(Moment.now())
        time.sleep(0.3)
        events = agent.sample(Moment.now())
        assert [e.customer for e in events if e.meter == MEMORY_GB_SECONDS] == ["kafka"]
        for event in events:
            usage.put(event)
    assert booked(log.read()) == len(events)
