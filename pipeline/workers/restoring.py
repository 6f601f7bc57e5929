"""Restoring: before anybody works on tables out of a backup, they learn what the topics know.

Owns: noticing it, load -> compare -> save, and what is told of it.
Does not own: what is lost (ledger/restoring.py), writing (stores/postgres/restoring.py).
Law: facts, ticks and issued documents first, all or nothing; usage is then folded out of the log
again from the older cursors, and a cut that comes once more finds its documents issued.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from pipeline.agents.following import Follower
from pipeline.book.booking import Cursor
from pipeline.catalog.facts import Fact, FactKind, read_mirrored
from pipeline.core.errors import CheckFailed
from pipeline.invoice.published import Issued, read_issued
from pipeline.ledger.restoring import (
    Lost,
    lost_documents,
    lost_facts,
    lost_ticks,
    personal_in,
)
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import admin, log_ends, partition_counts, read_range, usage_log
from pipeline.stores.kept_claims import forget_claims
from pipeline.stores.postgres.facts import personal_values
from pipeline.stores.postgres.session import Session
from pipeline.stores.records import read_tick
from pipeline.stores.tails import last_of
from pipeline.topology import BILLING_FACTS, BILLING_INVOICES, USAGE_METERED
from pipeline.workers.retaining import remove_again
from pipeline.workers.surroundings import Surroundings

Tell = Callable[[str], None]
"""Called with one line for a person."""

T = TypeVar("T")
_POLL_S = 0.2
_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class _Ends:
    """The last that the topics know: a fact, a tick in every partition, a document of each."""

    fact: int
    tick: int
    documents: tuple[Issued, ...]


def restore_lost(around: Surroundings, tell: Tell) -> bool:
    """Bring tables that are older than their topics up to them; return whether they were.

    Raises:
        CheckFailed: a topic contradicts the tables, or the log lost what they lack.
        ServerFailed: a server does not answer.

    """
    counts = partition_counts(admin(around.kafka))
    log = usage_log(around.stack)
    others = map(around.stack.topic, (BILLING_FACTS, BILLING_INVOICES))
    if log not in counts or any(name not in counts for name in others):
        return False  # of a log that is new
    ends = _ends(around, counts[log])
    with around.database.session("restoring", owner=True) as connection:
        if not _is_behind(connection, ends):
            return False
        while not connection.lead_restoring():
            sleep(_POLL_S)
        if not _is_behind(connection, ends):
            return False  # somebody else was first
        tell("the database is older than its topics: what it lacks is taken from them first")
        try:
            lost = _lost(around, connection, counts[log])
        except ValueError as error:  # a contradiction, or what is no record of ours
            raise CheckFailed(
                f"{error}: nothing is changed, and nothing may be issued; restore a backup of this"
                " very log, or name other topics (TALEA_PREFIX)"
            ) from None
        head, _ = connection.fact_head()
        with connection.transaction():
            not_done = connection.write_lost(lost, head, counts[log])
            told = [fact for fact in lost.facts if fact.kind is FactKind.RETENTION]
            not_done += [_removal(fact) for fact in told if not remove_again(connection, fact)]
        for line in _told(connection, lost, not_done):
            tell(line)
    return True


def _ends(around: Surroundings, partitions: int) -> _Ends:
    """Return where the topics end."""
    kafka, topic = around.kafka, around.stack.topic
    facts = last_of(kafka, topic(BILLING_FACTS), 1, _if_ours(read_mirrored))
    log = usage_log(around.stack)
    ticks = last_of(kafka, log, partitions, read_tick, isolation="read_uncommitted")
    issued = last_of(kafka, topic(BILLING_INVOICES), partitions, _if_ours(read_issued))
    return _Ends(
        max((fact.serial for fact in facts.values()), default=0),
        min(tick.serial for tick in ticks.values()) if len(ticks) == partitions else 0,
        tuple(issued.values()),
    )


def _if_ours(read: Callable[[bytes], T]) -> Callable[[bytes], T | None]:
    """Return what reads a record, and tells one that is not of ours by None."""

    def wanted(value: bytes) -> T | None:
        try:
            return read(value)
        except ValueError:
            return None

    return wanted


def _is_behind(connection: Session, ends: _Ends) -> bool:
    head, _ = connection.fact_head()
    tick = connection.last_tick()
    if head < ends.fact or (tick.serial if tick else 0) < ends.tick:
        return True
    return any(connection.sealed_at(e.issuer, e.place) != e.seal for e in ends.documents)


def _lost(around: Surroundings, connection: Session, partitions: int) -> Lost:
    """Return what the tables lack."""
    topic = around.stack.topic
    known, tick = connection.read_facts(0), connection.last_tick()
    cursors = {number: cursor for number, (cursor, _) in connection.load_cursors().items()}
    _refuse_lost_log(around, cursors, partitions)
    _forget_dropped_claims(around, cursors, partitions)
    facts = lost_facts(_whole(around.kafka, topic(BILLING_FACTS)), known)
    seen = _ticks_seen(around, cursors, partitions)
    published = map(read_issued, _whole(around.kafka, topic(BILLING_INVOICES)))
    return Lost(
        facts,
        lost_ticks(seen, tick.serial if tick else 0, partitions),
        lost_documents(published, connection.seals_by_place()),
    )


def _whole(kafka: str, topic: str) -> Iterator[bytes]:
    with closing(Follower(kafka, topic)) as follower:
        for found in follower.until_end():
            if found.value is not None:
                yield found.value


def _ticks_seen(
    around: Surroundings, cursors: Mapping[int, Cursor], partitions: int
) -> Mapping[Tick, set[int]]:
    """Return the ticks that stand behind the cursors, each with its partitions."""
    log, seen = usage_log(around.stack), defaultdict[Tick, set[int]](set)
    for number, (_, end) in enumerate(log_ends(around.kafka, log, partitions)):
        cursor = cursors.get(number) or Cursor(number)
        for record in read_range(around.kafka, log, number, cursor.offset + 1, end):
            tick = read_tick(record.value)
            if tick is not None:
                seen[tick].add(number)
    return seen


def _refuse_lost_log(around: Surroundings, cursors: Mapping[int, Cursor], partitions: int) -> None:
    log = usage_log(around.stack)
    for number, (first, _) in enumerate(log_ends(around.kafka, log, partitions)):
        wanted = (cursors.get(number) or Cursor(number)).offset + 1
        if first > wanted:
            raise CheckFailed(
                f"{log}[{number}] begins at {first}, and this backup was booked up to {wanted}:"
                " usage between is gone from the log; restore a later backup"
            )


def _forget_dropped_claims(
    around: Surroundings, cursors: Mapping[int, Cursor], partitions: int
) -> None:
    """Forget claims where metering has to read again what it had passed long ago.

    Generations behind the lost cursor were dropped; all are made again out of the log.
    """
    metered = log_ends(around.kafka, around.stack.topic(USAGE_METERED), partitions)
    gone = [
        number
        for number, (first, _) in enumerate(metered)
        if first > (cursors.get(number) or Cursor(number)).metered_offset + 1
    ]
    if gone:
        forget_claims(around.redis, around.stack, gone)


def _told(connection: Session, lost: Lost, not_done: Iterable[str]) -> Iterator[str]:
    """Yield what was brought back, and what was not."""
    yield (
        f"brought back {len(lost.facts)} facts, {len(lost.ticks)} ticks and"
        f" {len(lost.documents)} issued documents; usage since is folded out of the log again"
    )
    for fact in not_done:
        yield f"not brought back: {fact} does not fit what is there: decide it again"
    behind = dict(personal_in(lost.facts))
    known = personal_values(connection, behind)
    without = sorted({who for value, who in behind.items() if value not in known})
    if without:
        yield (
            f"not brought back: personal values of {_some(without)}; they are on no topic: tell"
            " them again (talea catalog apply, talea invoices edit)"
        )
    if lost.documents:
        yield (
            "not brought back: warnings that documents were issued with, replays, and checkpoints"
            " signed since (new ones are)"
        )


def _removal(fact: Fact) -> str:
    return f"the removal of contents up to {fact.body['number']} (fact {fact.serial})"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
