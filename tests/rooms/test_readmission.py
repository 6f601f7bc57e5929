"""Which rejected events may be sent again, over a log and tables in memory."""

from collections.abc import Sequence

from builders import T0, customer_of, facts, log_of, meter_of, rules_of, sequenced, usage
from pipeline.catalog.facts import Fact
from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.calendar import SECOND
from pipeline.core.errors import Code, Rejection
from pipeline.dedupe.standing import Outcome
from pipeline.meter.place import SKIPPED
from pipeline.meter.ticks import Tick
from pipeline.replay.letters import REJECTED, parse_id
from pipeline.settings import Settings
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.log import Kept, MemoryLog, MemoryTopics, MemoryWriter
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.world import Chances, World
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import usage_log
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.facts import Author
from pipeline.stores.records import encode_letter, encode_tick
from pipeline.topology import USAGE_EVENTS, USAGE_REJECTED, Stack
from pipeline.workers.letters import LetterReader, letters_since, read_letters
from pipeline.workers.readmission import Machine, Readmission
from pipeline.workers.surroundings import Surroundings

KNOWN = facts(log_of(), rules_of(), customer_of("acme"), meter_of("calls", "count"))
NEW_METER = facts(
    log_of(), rules_of(), customer_of("acme"), meter_of("calls", "count"), meter_of("pages", "sum")
)


def event_of(batch: UsageBatch, at: int) -> KeyedEvent:
    columns = read_columns(batch)
    assert isinstance(columns, Columns)
    return next(events_at(batch, columns, [at], 0))


def job_over(*messages: Tick | UsageBatch, known: Sequence[Fact] = NEW_METER) -> Readmission:
    """A job over one partition that holds these messages."""
    world = World(0, Chances().scaled(0))
    process, topics, database = world.start("job"), MemoryTopics(), MemoryDatabase(world)
    stack, settings = Stack(), Settings.model_construct(partitions=1)
    around = Surroundings("", "", Database("", ""), stack, 1, settings)
    database.tables.facts.become({fact.serial: fact for fact in known})
    for message in messages:
        if isinstance(message, Tick):
            database.tables.ticks[message.serial] = (message, True)
            kept = Kept(encode_tick(message, 1), 0)
        else:
            kept = Kept(encode_batch(message), message.event_count)
        topics.append(usage_log(stack), 0, kept)
    machine = Machine(lambda: MemoryWriter(world, process, topics), lambda serial: None)
    session = WorkerSession(database, process)
    return Readmission(around, MemoryLog(world, process, topics), session, machine)


def outcome(event: KeyedEvent, job: Readmission) -> Outcome:
    readmitted = job.readmit([event], Author("ada", "test"), lambda read, total: None)
    (found,) = readmitted.outcomes
    return found


def test_what_a_stalled_worker_told_of_a_message_hides_no_skip() -> None:
    """It was refused in part, paused at, and gone on without: all of it must come home."""
    job = job_over(FIRST)
    late = Refusal(Rejection(Code.LATE, "time", "late"), 1, [0])
    letters = [
        DeadLetter("usage.events", 0, 7, T0, [refusal], b"")
        for refusal in (late, late, Refusal(SKIPPED, 2))
    ]
    for letter in letters:
        topic = job.around.stack.topic(USAGE_REJECTED)
        assert isinstance(job.log, MemoryLog)
        job.log.topics.append(topic, 0, Kept(encode_letter(letter)))

    found = read_letters(job.around, job.log, lambda read, total: None)

    assert [letter.by_skip for letter in found] == [False, True]


def test_a_record_that_is_no_dead_letter_is_told_at_its_place_and_stops_nobody() -> None:
    """Garbage, a tick, and a letter of a code that nobody knows: those behind them come."""
    job = job_over(FIRST)
    letter = DeadLetter(USAGE_EVENTS.name, 0, 7, T0, [Refusal(SKIPPED, 2)], b"")
    strange = encode_letter(letter).replace(b"skipped", b"skapped")
    topic = job.around.stack.topic(USAGE_REJECTED)
    assert isinstance(job.log, MemoryLog)
    for record in (b"junk", encode_letter(letter), encode_tick(FIRST, 1), strange):
        job.log.topics.append(topic, 0, Kept(record))

    read: dict[int, int] = {}
    found = [*letters_since(job.around, job.log, read)]
    rejected = [each for letter in found for each in LetterReader(job.around).events(letter)]

    assert found == [*read_letters(job.around, job.log, lambda read, total: None)]
    assert (read, [*letters_since(job.around, job.log, read)]) == ({0: 4}, [])
    assert [str(each.id) for each in rejected] == [
        "rejected:0:0",
        "usage:0:7",
        "rejected:0:2",
        "rejected:0:3",
    ]
    assert [parse_id(str(each.id)) for each in rejected] == [each.id for each in rejected]
    assert [each.event_count for each in rejected] == [1, 2, 1, 1]
    for each, record in zip(found, (b"junk", b"", encode_tick(FIRST, 1), strange), strict=True):
        assert each.message == record
    unread = [each.rejection for each in rejected if each.id.origin == REJECTED]
    assert {each.code for each in unread} == {Code.UNREADABLE}
    assert all("no dead letter (" in each.message for each in unread)


FIRST = Tick(1, T0, len(KNOWN))
NEXT = Tick(2, T0 + 300 * SECOND, len(KNOWN))
LATER = Tick(3, T0 + 400 * SECOND, len(NEW_METER))
AHEAD = T0 + 601 * SECOND
"""Ahead of what the first tick and the next let in."""


def test_what_a_sequence_took_stands() -> None:
    batch = sequenced(0, usage(time=T0), usage(time=T0))

    assert outcome(event_of(batch, 1), job_over(FIRST, batch, NEXT, LATER)) is Outcome.STANDING


def test_a_repeat_of_a_place_does_not_stand_for_what_was_refused_there() -> None:
    """Its producer sent it again once it was in time, or its meter known: that is a duplicate."""
    ahead = sequenced(0, usage(time=T0), usage(time=AHEAD))
    unknown = sequenced(0, usage(time=T0), usage(time=T0, meter="pages"), producer="host-2")
    for batch in (ahead, unknown):
        job = job_over(FIRST, batch, NEXT, LATER, batch)
        assert outcome(event_of(batch, 1), job) is Outcome.SENT
