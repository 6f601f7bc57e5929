"""Where a reader of one partition stands, and the first look at each message.

Owns: tick and log time as the log moves on; which question a message raises first.
Does not own: decoding (stores/codec.py), reading (stores/kafka.py), claims (dedupe).
Law: the metering worker, a worker that catches up, re-claiming and refolding all walk the log
with this and see the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.columns import read_columns
from pipeline.collect.letters import Refusal
from pipeline.core.calendar import Instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import batch_digest
from pipeline.meter.sift import (
    Arrival,
    Ground,
    Sifted,
    count_mismatch,
    needs_next_tick,
    offered_by,
    refused,
    sift,
    ticked,
)
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import NO_TICK, Tick, advance

Opened = Tick | UsageBatch | Rejection
"""A message once decoded; a Rejection where it cannot be."""


SKIPPED = Rejection(Code.SKIPPED, "", "a fact skips this message")
"""What a message is that a fact skips, whatever it holds: nobody opens it any more."""


def digest_of(opened: Opened, message: bytes) -> bytes:
    """Return the digest of a message that is told apart by it, one in sequence; else nothing."""
    in_sequence = isinstance(opened, UsageBatch) and opened.mode is Mode.SEQUENCED
    return batch_digest(message) if in_sequence else b""


@dataclass(frozen=True, slots=True)
class NeedsTick:
    """The row of this tick must be known before the message can be judged."""

    serial: int


@dataclass(frozen=True, slots=True)
class Told:
    """A message that needs no claim: its slice, and what was refused of it."""

    piece: Slice
    refusals: Sequence[Refusal] = ()


@dataclass(slots=True)
class Place:
    """The next offset of one partition, the tick before it, the log time there.

    `after` is the offset after the last batch that claimed keys.
    """

    offset: int
    after: int
    tick: Tick = NO_TICK
    log_time: Instant = 0

    def arrival(self, header_count: int | None, digest: bytes) -> Arrival:
        """Return the place of the next message."""
        return Arrival(self.offset, self.tick, self.log_time, header_count, digest)

    def pass_message(self, looked: Told | Sifted, *, claimed: bool) -> None:
        """Step over the message that was looked at."""
        if isinstance(looked, Told):
            if looked.piece.tick is not None:
                self.tick = advance(self.tick, looked.piece.tick)
            log_time = looked.piece.log_time
        else:
            log_time = looked.log_time
        self.log_time = max(self.log_time, log_time)
        self.offset += 1
        if claimed:
            self.after = self.offset


def look(
    opened: Opened, arrival: Arrival, ground: Ground, rows: Mapping[int, Tick | None]
) -> Told | Sifted | NeedsTick:
    """Judge a message by itself and by time.

    `rows` holds the committed ticks that the reader knows; None for a serial that has no row.
    """
    if isinstance(opened, Rejection):
        return _told(arrival, opened)
    if isinstance(opened, Tick):
        return _look_at_tick(opened, arrival, rows)
    familiar = ground.familiar.holds(opened.customers)
    columns = read_columns(opened, copied=ground.copied, familiar=familiar)
    if isinstance(columns, Rejection):
        return _told(arrival, columns)
    log_time = arrival.log_time
    if arrival.tick.serial and needs_next_tick(columns, arrival, ground.gate):
        following = rows.get(arrival.tick.serial + 1)
        if following is None:
            return NeedsTick(arrival.tick.serial + 1)
        log_time = max(log_time, following.time)
    sifted = sift(opened, columns, arrival, ground, log_time, familiar=familiar)
    return _told(arrival, sifted) if isinstance(sifted, Rejection) else sifted


def _look_at_tick(
    seen: Tick, arrival: Arrival, rows: Mapping[int, Tick | None]
) -> Told | NeedsTick:
    if offered_by(arrival) != 0:
        return _told(arrival, count_mismatch(arrival, 0))
    if seen.serial not in rows:
        return NeedsTick(seen.serial)
    if rows[seen.serial] != seen:
        return _told(
            arrival, Rejection(Code.UNKNOWN_TICK, "serial", f"tick {seen.serial} has no such row")
        )
    return Told(ticked(arrival, seen))


def _told(arrival: Arrival, rejection: Rejection) -> Told:
    piece, refusal = refused(arrival, rejection)
    return Told(piece, [refusal])
