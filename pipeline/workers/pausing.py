"""Pausing, the operator's side: what is paused, going on without a message, going on with it.

Owns: when a skip may be taken.
Does not own: holding messages (holding.py), obeying skips (stores/records.open_at, book).
Law: a skip is taken only while its partition is paused at it and the books have not passed it,
both under the lock that booking takes.
"""

from collections.abc import Sequence

from pipeline.catalog.facts import Fact, NewFact, skip_fact
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.kept_claims import forget_claims
from pipeline.stores.postgres import pauses
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.facts import Author, append_facts
from pipeline.stores.postgres.pauses import POISON, RAW, USAGE, Pause
from pipeline.stores.records import open_message
from pipeline.workers.announcing import await_named
from pipeline.workers.surroundings import Surroundings


def paused(around: Surroundings) -> list[Pause]:
    """Return every partition that is paused, those of raw usage last.

    Raises:
        ServerFailed: Postgres does not answer.

    """
    with around.database.session("pauses") as connection:
        try:
            return [one for each in (USAGE, RAW) for one in pauses.read_pauses(connection, each)]
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


def skip(around: Surroundings, partition: int, offset: int, author: Author) -> Fact:
    """Go on without a message; return the fact once a tick names it everywhere.

    Raises:
        BadInput: the partition is not paused there, the books have passed it, or it is a tick.

    """
    _check_message(around, partition, offset)
    with around.database.session("skip") as connection:

        def decide(_known: Sequence[Fact]) -> Sequence[NewFact]:
            _check_pause(connection, partition, offset)
            # Whoever died of it may have claimed its keys, and they would be nobody's for ever.
            forget_claims(around.redis, around.stack, [partition])
            pauses.end_pause(connection, partition)
            return [skip_fact(partition, offset)]

        (fact,) = append_facts(connection, decide, author, wall_clock())
    await_named(around, fact.serial)
    return fact


def resume(around: Surroundings, partition: int | None, origin: str = USAGE) -> list[int]:
    """Let a partition (None: every one) go on with the message it stopped at; return which do.

    Raises:
        BadInput: it is not paused, or none is.

    """
    with around.database.session("resume") as connection:
        wanted = [pause.partition for pause in pauses.read_pauses(connection, origin)]
        if partition is not None:
            wanted = [partition]
        resumed = [number for number in wanted if pauses.end_pause(connection, number, origin)]
    if not resumed:
        named = "" if partition is None else _name(origin, partition)
        which = f"{named} is not" if named else "no partition is"
        raise BadInput(f"{which} paused: `talea audit` shows what is")
    return resumed


def _check_pause(connection: Connection, partition: int, offset: int) -> None:
    booked = pauses.lock_cursor(connection, partition)
    pause = next((p for p in pauses.read_pauses(connection) if p.partition == partition), None)
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


def _check_message(around: Surroundings, partition: int, offset: int) -> None:
    """Refuse what is no message yet, and ticks: time must be the same in every partition."""
    name = usage_log(around.stack)
    if not 0 <= partition < around.partitions:
        raise BadInput(f"there is no partition {partition}: they are 0 to {around.partitions - 1}")
    first, end = log_ends(around.kafka, name, around.partitions)[partition]
    if not first <= offset < end:
        raise BadInput(f"partition {partition} holds offsets {first} to {end - 1}, not {offset}")
    (record,) = read_range(around.kafka, name, partition, offset, offset + 1)
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
