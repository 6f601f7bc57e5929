"""The SDK against a broker of ours: what is acknowledged, kept, resent, refused."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from pipeline.agents import (
    BrokerAway,
    Habits,
    NotDelivered,
    NotRecording,
    Recorder,
    RefusedUsage,
    SpoolBusy,
    SpoolFailed,
    SpoolFull,
    WrongTopic,
)
from pipeline.agents.spool import Spool, Spooled
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.core.errors import BadInput
from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range
from pipeline.stores.codec import batch_of, decode

ROOT = Path(__file__).parents[2]
PARTITIONS = 8
FAST = Habits(linger_s=0.01, heartbeat_s=60, full_wait_s=1, close_wait_s=5)


class Broker:
    """A log of what arrived, and a switch: while it is away, links answer nothing."""

    def __init__(self) -> None:
        self.log: list[Spooled] = []
        self.away = Event()
        self.slow = Event()
        self.partitions = PARTITIONS
        self.links = 0
        self.lose_next = 0
        self._lock = Lock()

    def connect(self) -> "BrokerLink":
        self.links += 1
        return BrokerLink(self)

    def arrive(self, batches: Sequence[Spooled]) -> None:
        with self._lock:
            self.log += batches

    def batches(self) -> list[UsageBatch]:
        return [batch_of(decode(each.message)[1]) for each in self.log]

    def events(self) -> int:
        return sum(each.event_count for each in self.log)


class BrokerLink:
    """Writes what it is sent at the next poll; may lose acknowledgements and then break."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._queue: list[Spooled] = []
        self._broken = False

    def partitions(self, wait_s: float) -> int:
        if self._broker.away.is_set():
            raise BrokerAway("Kafka at nowhere:1 does not answer: refused")
        return self._broker.partitions

    def send(self, batch: Spooled) -> bool:
        self._queue.append(batch)
        return True

    def poll(self, wait_s: float) -> Sequence[Spooled]:
        if self._broken:
            raise BrokerAway("the link broke")
        if self._broker.away.is_set() or self._broker.slow.is_set():
            time.sleep(min(wait_s, 0.01))
            return []
        written, self._queue = self._queue, []
        self._broker.arrive(written)
        if written and self._broker.lose_next:
            self._broker.lose_next -= 1
            self._broken = True
            return written[: len(written) // 2]
        return written

    def trouble(self) -> str:
        return "Kafka at nowhere:1: gone" if self._broker.away.is_set() else ""

    def close(self) -> None:
        self._queue = []

    def abandon(self) -> None:
        pass


Open = Callable[..., Recorder]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.spool"


@pytest.fixture
def start(path: Path, broker: Broker) -> Iterator[Open]:
    """Open Recorders on one spool; what a test leaves open is closed."""
    opened: list[Recorder] = []

    def opener(habits: Habits = FAST, partitions: int = PARTITIONS) -> Recorder:
        spool = Spool.open(path, topic="t", partitions=partitions)
        recorder = Recorder(
            spool,
            broker.connect,
            producer="me",
            partitions=partitions,
            topic="t",
            habits=habits,
        )
        opened.append(recorder)
        return recorder

    yield opener
    broker.away.clear()
    for recorder in opened:
        recorder._close_quietly(5)


def crash(recorder: Recorder) -> None:
    """End a Recorder as SIGKILL would: threads gone, nothing said, file let go of."""
    recorder._sender.stop(5)
    with recorder._board.lock:
        recorder._board.closed = NotRecording("crashed")
        recorder._writer._lined.clear()
        recorder._board.tell()
    recorder._writer._thread.join(5)
    recorder._spool.close()


def use(recorder: Recorder, count: int, customer: str = "acme", **more: str) -> None:
    for _ in range(count):
        recorder.record(customer=customer, meter="calls", value="1", **more)  # type: ignore[arg-type]


def use_counting(recorder: Recorder, taken: list[int]) -> None:
    while True:
        use(recorder, 1)
        taken.append(1)


def record_durably(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        recorder.record(customer="acme", meter="calls", value="1", durable=True)


def fail_after(recorder: Recorder, count: int) -> None:
    with recorder:
        use(recorder, count)
        raise ZeroDivisionError


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never came to hold"
        time.sleep(0.005)


def booked(broker: Broker) -> int:
    """Count sequenced events as pricing does: by their places, resends and all."""
    states: dict[tuple[str, str, int], SequenceState] = {}
    fresh = 0
    for arrived, batch in zip(broker.log, broker.batches(), strict=True):
        if batch.mode is Mode.SEQUENCED:
            place = (batch.producer, batch.epoch, arrived.partition)
            seen = SequenceRange(
                batch.producer,
                batch.epoch,
                batch.first_sequence,
                batch.event_count,
                arrived.message,
                batch.end,
            )
            verdict, states[place] = judge_range(states.get(place, SequenceState()), seen)
            assert verdict is not Verdict.CONFLICT
            fresh += batch.event_count if verdict is Verdict.FRESH else 0
    assert not any(state.gaps for state in states.values())
    return fresh


def test_flush_returns_when_all_is_acknowledged(start: Open, broker: Broker) -> None:
    usage = start()
    use(usage, 2500)
    use(usage, 1500, id="same", source="gw")
    usage.flush()
    assert broker.events() == 4000
    assert usage._spool.oldest() is None


def test_a_lone_event_goes_out_by_age(start: Open, broker: Broker) -> None:
    use(start(), 1)
    wait_until(lambda: broker.events() == 1)


def test_a_refused_event_leaves_no_trace(start: Open, broker: Broker) -> None:
    usage = start()
    with pytest.raises(RefusedUsage, match=r"^value"):
        usage.record(customer="acme", meter="calls", value="much")
    use(usage, 1)
    usage.flush()
    assert broker.events() == 1


def test_closing_ends_each_sequence_and_keyed_events_have_none(start: Open, broker: Broker) -> None:
    usage = start()
    for number in range(40):
        use(usage, 3, customer=f"c{number}")
    use(usage, 5, id="x")
    usage.close()
    ends = [batch for batch in broker.batches() if batch.end]
    assert len(ends) == PARTITIONS
    assert sum(batch.first_sequence for batch in ends) == 120
    assert all(last.end for last in broker.batches()[-PARTITIONS:])
    assert booked(broker) == 120
    usage.close()  # twice is once


def test_a_quiet_sequence_sends_heartbeats(start: Open, broker: Broker) -> None:
    usage = start(Habits(linger_s=0.01, heartbeat_s=0.05))
    use(usage, 3)
    wait_until(lambda: sum(b.event_count == 0 for b in broker.batches()) >= 2)
    beats = [b for b in broker.batches() if b.event_count == 0]
    assert {(b.first_sequence, b.end) for b in beats} == {(3, False)}


def test_heartbeats_do_not_pile_up_while_the_broker_is_away(start: Open, broker: Broker) -> None:
    broker.away.set()
    usage = start(Habits(linger_s=0.01, heartbeat_s=0.02))
    use(usage, 3)
    time.sleep(0.5)
    assert usage._spool.standing().batches == 1


def test_recorded_while_the_broker_is_away_is_sent_when_it_comes(
    start: Open, broker: Broker
) -> None:
    broker.away.set()
    usage = start()
    use(usage, 1200)
    with pytest.raises(NotDelivered, match=r"\d+ batches \(1200 events\) .*refused.*usage\.spool"):
        usage.flush(timeout_s=0.2)
    with pytest.raises(BrokerAway, match="nowhere:1 does not answer"):
        usage.contact(timeout_s=0.1)
    broker.away.clear()
    usage.contact()
    usage.flush()
    assert booked(broker) == 1200


def test_closing_while_the_broker_is_away_keeps_all_for_the_next_opening(
    start: Open, broker: Broker
) -> None:
    broker.away.set()
    usage = start()
    use(usage, 10)
    with pytest.raises(NotDelivered):
        usage.close(timeout_s=0.1)
    broker.away.clear()
    start().flush()
    assert booked(broker) == 10
    assert [b.end for b in broker.batches()] == [False, True]


def test_a_crashed_epoch_is_drained_first_and_ended(start: Open, broker: Broker) -> None:
    broker.away.set()
    first = start()
    use(first, 10)
    first.sync()
    kept = first._spool.after(0, 9)
    use(first, 5)  # never on disk: lost with the process, and never had a place
    crash(first)
    broker.away.clear()
    second = start()
    use(second, 7)
    second.flush()
    assert [each.message for each in broker.log[: len(kept)]] == [each.message for each in kept]
    batches = broker.batches()
    told = [(b.epoch == batches[0].epoch, b.first_sequence, b.event_count, b.end) for b in batches]
    assert told == [(True, 0, 10, False), (True, 10, 0, True), (False, 0, 7, False)]
    assert booked(broker) == 17


def test_a_lost_link_resends_the_same_bytes_and_nothing_counts_twice(
    start: Open, broker: Broker
) -> None:
    broker.lose_next = 3
    usage = start(Habits(batch_events=10, linger_s=0.01, full_wait_s=None))
    for number in range(30):
        use(usage, 50, customer=f"c{number}")
        time.sleep(0.01)
    usage.flush(30)
    assert broker.links == 4
    assert broker.events() > 1500
    assert booked(broker) == 1500
    by_id: dict[int, set[bytes]] = {}
    for each in broker.log:
        by_id.setdefault(each.id, set()).add(each.message)
    assert all(len(messages) == 1 for messages in by_id.values())


@pytest.mark.parametrize("found", [1, 9])
def test_a_topic_with_other_partitions_gets_nothing(
    start: Open, broker: Broker, found: int
) -> None:
    broker.partitions = found
    usage = start()
    wait_until(lambda: usage._board.refusal is not None)
    with pytest.raises(WrongTopic, match=f"topic t has {found} partitions, not 8: open with"):
        use(usage, 1)
    with pytest.raises(WrongTopic) as caught:
        use(usage, 1)
    assert "\n" not in str(caught.value)
    with pytest.raises(WrongTopic):
        usage.contact()
    usage._close_quietly(1)
    assert broker.log == []


class TestSpoolLimit:
    def test_a_full_spool_takes_nothing_and_drops_nothing(
        self, start: Open, broker: Broker
    ) -> None:
        broker.away.set()
        usage = start(Habits(batch_events=10, linger_s=60, spool_bytes_max=20_000, full_wait_s=0.1))
        taken: list[int] = []
        with pytest.raises(SpoolFull, match=r"bytes of 20000: .*: see to the broker"):
            use_counting(usage, taken)
        assert len(taken) % 10 == 0
        broker.away.clear()
        usage.flush()
        use(usage, 1)
        usage.flush()
        assert booked(broker) == len(taken) + 1

    def test_one_that_waits_goes_on_when_there_is_room(self, start: Open, broker: Broker) -> None:
        broker.slow.set()
        usage = start(Habits(batch_events=10, spool_bytes_max=5_000, full_wait_s=None))
        thread = Thread(target=use, args=(usage, 2_000))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert usage._spool.bytes_held < 5_000 + 40 * 600
        broker.slow.clear()
        thread.join(20)
        assert not thread.is_alive()
        usage.flush()
        assert booked(broker) == 2_000


class TestDisk:
    def fill(self, usage: Recorder, pages: int) -> None:
        with usage._spool._lock:
            usage._spool._connection.execute(f"PRAGMA max_page_count = {pages}")

    def test_a_full_disk_refuses_and_heals(self, start: Open, broker: Broker) -> None:
        broker.away.set()
        usage = start()
        use(usage, 10)
        usage.sync()
        self.fill(usage, 1)
        use(usage, 500)
        with pytest.raises(SpoolFailed, match="free some space"):
            usage.sync()
        with pytest.raises(SpoolFailed, match="free some space"):
            use(usage, 1)
        self.fill(usage, 1 << 20)
        wait_until(lambda: usage._board.failure is None)
        use(usage, 5)
        broker.away.clear()
        usage.flush()
        assert booked(broker) == 515

    def test_a_durable_record_says_when_it_is_not(self, start: Open, broker: Broker) -> None:
        broker.away.set()
        usage = start()
        record_durably(usage, 1)
        assert usage._spool.standing().events == 1
        self.fill(usage, 1)
        with pytest.raises(SpoolFailed):
            record_durably(usage, 100)

    def test_closing_on_a_full_disk_counts_what_is_lost(self, start: Open, broker: Broker) -> None:
        broker.away.set()
        usage = start(Habits(linger_s=60, heartbeat_s=60))
        use(usage, 10)
        usage.sync()
        self.fill(usage, 1)
        use(usage, 700)
        with pytest.raises(
            SpoolFailed, match=r"700 events that were never on disk are lost: .*full"
        ):
            usage.close(timeout_s=0.2)
        broker.away.clear()
        start().flush()
        assert booked(broker) == 10

    def test_acknowledged_but_undeletable_is_deleted_later(
        self, start: Open, broker: Broker
    ) -> None:
        usage = start()
        real = usage._spool.forget
        fails = iter([True] * 3)

        def forget(batches: Sequence[Spooled]) -> None:
            if next(fails, False):
                raise SpoolFailed("the disk is full")
            real(batches)

        usage._spool.forget = forget  # type: ignore[method-assign]
        use(usage, 10)
        usage.flush()
        assert broker.events() == 10
        assert usage._spool.bytes_held == 0


class TestLife:
    def test_a_closed_recorder_takes_nothing(self, start: Open) -> None:
        usage = start()
        usage.close()
        acts: list[Callable[[], None]] = [lambda: use(usage, 1), usage.sync, usage.flush]
        for act in acts:
            with pytest.raises(NotRecording, match="closed: open another"):
                act()

    def test_leaving_the_block_closes_and_says_what_is_left(
        self, start: Open, broker: Broker
    ) -> None:
        broker.away.set()
        with pytest.raises(NotDelivered), start(Habits(close_wait_s=0.1)) as usage:
            use(usage, 1)

    def test_a_failing_block_is_not_hidden_and_still_spooled(
        self, start: Open, broker: Broker
    ) -> None:
        broker.away.set()
        with pytest.raises(ZeroDivisionError):
            fail_after(start(Habits(close_wait_s=0.1)), 3)
        broker.away.clear()
        start().flush()
        assert booked(broker) == 3

    def test_many_threads_lose_nothing(self, start: Open, broker: Broker) -> None:
        usage = start(Habits(batch_events=100, linger_s=0.005, full_wait_s=None))
        threads = [Thread(target=use, args=(usage, 1500, f"c{n}")) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        usage.close()
        assert booked(broker) == 9000

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # 3.12 warns of threads
    def test_a_forked_child_is_told_to_open_its_own(self, start: Open, broker: Broker) -> None:
        usage = start()
        use(usage, 5)
        pid = os.fork()
        if pid == 0:
            try:
                use(usage, 1)
            except NotRecording as error:
                usage.close()
                os._exit(0 if "before a fork" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        use(usage, 5)
        usage.flush()
        assert booked(broker) == 10


class TestOpening:
    def opened(self, path: Path, **more: object) -> Recorder:
        settings = {"kafka": "127.0.0.1:1", "spool": path, "producer": "me", **more}
        return Recorder.open(**settings)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("setting", "value", "message"),
        [
            ("partitions", 0, "partitions: 0 is not 1 or more"),
            ("kafka", " ", "kafka: is empty"),
            ("producer", "", "producer is missing"),
            ("habits", Habits(batch_events=2001), "batch_events: 2001 is not 1 to 2000"),
            ("client", {"acks": 1}, "client: acks is not yours to set"),
            ("client", {"transactional.id": "x"}, "client: transactional.id is not yours"),
            ("client", {"no.such.setting": "x"}, "refuses its settings: .*no.such.setting"),
        ],
    )
    def test_a_wrong_setting_is_one_line_and_holds_no_lock(
        self, path: Path, setting: str, value: object, message: str
    ) -> None:
        with pytest.raises(BadInput, match=message) as caught:
            self.opened(path, **{setting: value})
        assert "\n" not in str(caught.value)
        self.opened(path)._close_quietly(0)

    def test_one_spool_has_one_recorder(self, path: Path) -> None:
        usage = self.opened(path)
        with pytest.raises(SpoolBusy):
            self.opened(path)
        usage.close(0)

    def test_a_program_that_just_ends_has_spooled_its_last_events(self, path: Path) -> None:
        program = (
            "import sys; from pipeline.agents import Recorder\n"
            "usage = Recorder.open(kafka='127.0.0.1:1', spool=sys.argv[1], producer='me')\n"
            "usage.record(customer='acme', meter='calls', value='1')\n"
        )
        subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True)
        with sqlite3.connect(path) as connection:
            counts = connection.execute("SELECT event_count FROM batch ORDER BY id").fetchall()
        connection.close()
        assert counts == [(1,), (0,)]  # the event, and the end of its sequence

    def test_the_sdk_is_light_to_import(self) -> None:
        program = (
            "import sys, pipeline.agents\n"
            "heavy = {'faust', 'redis', 'psycopg', 'numpy', 'typer', 'rich', 'confluent_kafka',"
            " 'fastavro', 'psutil', 'pydantic', 'asyncio'}\n"
            "sys.exit(1 if heavy & set(sys.modules) else 0)\n"
        )
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
