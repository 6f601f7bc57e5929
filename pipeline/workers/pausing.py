"""Pausing, the operator's side: what is paused, going on without a message, going on with it.

Owns: when a skip may be taken.
Does not own: holding messages (holding.py), obeying skips (stores/records.open_at, book).
Law: a skip is taken only while its partition is paused at it and the books have not passed it,
both under the lock that booking takes.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from pipeline.catalog.facts import Fact, NewFact, skip_fact
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import KafkaLog, usage_log
from pipeline.stores.kept_claims import forget_claims
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.pauses import POISON, RAW, USAGE, Pause
from pipeline.stores.records import open_message
from pipeline.workers.announcing import await_named
from pipeline.workers.seams import FactWriter, Log
from pipeline.workers.surroundings import Surroundings


class EndsPauses(Protocol):
    """What is paused: a session in autocommit."""

    def read_pauses(self, origin: str = USAGE) -> list[Pause]: ...

    def end_pause(self, partition: int, origin: str = USAGE) -> bool: ...


def paused(around: Surroundings) -> list[Pause]:
    """Return every partition that is paused, those of raw usage last.

    Raises:
        ServerFailed: Postgres does not answer.

    """
    with around.database.session("pauses") as connection:
        try:
            return [one for each in (USAGE, RAW) for one in connection.read_pauses(each)]
        except Unreachable as error:
            raise ServerFailed(f"Postgres went away: {error}") from None


def told(pause: Pause) -> str:
    """Return what a person must know of a pause, in one line."""
    where = f"{_name(pause.origin, pause.partition)} is paused at offset {pause.offset}"
    return f"{where} ({pause.reason}: {pause.cause}): {remedy(pause)}"


def news(before: frozenset[Pause], now: frozenset[Pause]) -> list[str]:
    """Return what a person who knew `before` must be told now, partition by partition."""
    still = {(pause.origin, pause.partition) for pause in now}
    lines = [(pause.partition, told(pause)) for pause in now - before]
    over = {(pause.origin, pause.partition) for pause in before} - still
    lines += [(number, f"{_name(origin, number)} goes on") for origin, number in over]
    return [line for _, line in sorted(lines)]


def _name(origin: str, partition: int) -> str:
    return f"partition {partition}{' of raw usage' if origin == RAW else ''}"


def remedy(pause: Pause) -> str:
    """Return the command that lets a partition go on."""
    raw = " --raw" if pause.origin == RAW else ""
    again = f"`talea resume --partition {pause.partition}{raw}` once the cause is mended"
    if pause.reason != POISON:
        return again
    place = f"--partition {pause.partition} --offset {pause.offset}"
    return f"{again}, or `talea skip {place} --actor WHO --reason WHY` to go on without the message"


class SkipStore(EndsPauses, FactWriter, Protocol):
    """Pauses and facts, in one transaction."""

    def lock_cursor(self, partition: int) -> int: ...


def skip(around: Surroundings, partition: int, offset: int, author: Author) -> Fact:
    """Go on without a message; return the fact once a tick names it everywhere.

    Raises:
        BadInput: the partition is not paused there, the books have passed it, or it is a tick.

    """
    forget = partial(forget_claims, around.redis, around.stack)
    with around.database.session("skip") as connection:
        fact = take_skip(
            around,
            KafkaLog(around.kafka),
            connection,
            forget,
            partition,
            offset,
            author,
            connection.clock(),
        )
    await_named(around, fact.serial)
    return fact


def take_skip(
    around: Surroundings,
    log: Log,
    store: SkipStore,
    forget: Callable[[Iterable[int]], object],
    partition: int,
    offset: int,
    author: Author,
    clock: Callable[[], Instant] = wall_clock,
) -> Fact:
    """Write the fact that skips a message, and end the pause at it."""
    _check_message(around, log, partition, offset)

    def decide(_known: Sequence[Fact]) -> Sequence[NewFact]:
        _check_pause(store, partition, offset)
        # Whoever died of it may have claimed its keys, and they would be nobody's for ever.
        forget([partition])
        store.end_pause(partition)
        return [skip_fact(partition, offset)]

    (fact,) = store.append_facts(decide, author, clock())
    return fact


def resume(around: Surroundings, partition: int | None, origin: str = USAGE) -> list[int]:
    """Let a partition (None: every one) go on with the message it stopped at; return which do.

    Raises:
        BadInput: it is not paused, or none is.

    """
    with around.database.session("resume") as connection:
        resumed = end_pauses(connection, partition, origin)
    if not resumed:
        named = "" if partition is None else _name(origin, partition)
        which = f"{named} is not" if named else "no partition is"
        raise BadInput(f"{which} paused: `talea audit` shows what is")
    return resumed


def end_pauses(store: EndsPauses, partition: int | None, origin: str = USAGE) -> list[int]:
    """End the pause of a partition, or every one; return of which there was one."""
    wanted = [pause.partition for pause in store.read_pauses(origin)]
    if partition is not None:
        wanted = [partition]
    return [number for number in wanted if store.end_pause(number, origin)]


def _check_pause(store: SkipStore, partition: int, offset: int) -> None:
    booked = store.lock_cursor(partition)
    pause = next((p for p in store.read_pauses() if p.partition == partition), None)
    if pause is None or pause.offset != offset:
        stands = "is not paused" if pause is None else f"is paused at offset {pause.offset}"
        raise BadInput(
            f"partition {partition} {stands}: only the message that a partition is paused at"
            " can be skipped"
        )
    if booked >= offset:
        raise BadInput(
            f"offset {offset} of partition {partition} is booked already:"
            f" `talea resume --partition {partition}` goes on behind it"
        )


def _check_message(around: Surroundings, log: Log, partition: int, offset: int) -> None:
    """Refuse what is no message yet, and ticks: time must be the same in every partition."""
    name = usage_log(around.stack)
    if not 0 <= partition < around.partitions:
        raise BadInput(f"there is no partition {partition}: they are 0 to {around.partitions - 1}")
    first, end = log.ends(name, around.partitions)[partition]
    if not first <= offset < end:
        raise BadInput(f"partition {partition} holds offsets {first} to {end - 1}, not {offset}")
    (record,) = log.read_range(name, partition, offset, offset + 1)
    if _is_tick(record.value):
        raise BadInput(
            f"offset {offset} of partition {partition} is a tick, which every partition must have:"
            f" mend the cause, then `talea resume --partition {partition}`"
        )


def _is_tick(message: bytes) -> bool:
    try:
        return isinstance(open_message(message), Tick)
    except Exception:  # what nobody can open is the very thing that is skipped
        return False
