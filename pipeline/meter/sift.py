"""Sift: one message of the usage log, from bytes decoded to slice.

Owns: the order of the questions (readable? in the log? pass in force? known meter? own
partition? in time?), the outcome of every event.
Does not own: decoding (stores/codec.py), claims (dedupe), fetching and sending (workers/metering).
Law: offered = fresh + duplicate + conflict + late + rejected, for every message.

    read(message) -> Sifted -- claim keys --> contribution(sifted, judged) -> Slice, Refusals
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.columns import Columns, Mask, outside_calendar
from pipeline.collect.gate import Gate, GatePass
from pipeline.collect.keyed import claimed_columns
from pipeline.collect.letters import Refusal
from pipeline.collect.names import Familiar
from pipeline.core.calendar import Instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES, partition_of
from pipeline.dedupe.claims import Delivery, Judged, Verdict, conflict_text
from pipeline.dedupe.sequences import SequenceRange
from pipeline.meter.fold import fold
from pipeline.meter.meters import Meter
from pipeline.meter.minus import parted, pick_minuses
from pipeline.meter.slices import Counts, Minus, Slice
from pipeline.meter.ticks import Tick

_TOLD_CHARS = 40
"""Of a name in a message: a dead letter with a reason for each event must still be sent."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a message is judged by: fixed for a log, or in force at its tick."""

    partition: int
    partitions: int
    gate: Gate
    meters: Mapping[str, Meter]
    passes: Mapping[str, GatePass] = field(default_factory=dict)
    copied: bool = False
    """Whether the log was copied from another: its sequenced events keep the keys of their old
    places."""
    familiar: Familiar = field(default_factory=Familiar, compare=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a message stands: its offset, the tick before it, the events its header counts.

    `log_time` is that tick's time, or the next one's where an earlier batch was judged by it.
    `header_count` is None where there is no readable header: the message then offers 1.
    `digest` is that of a message in sequence (`place.digest_of`).
    """

    offset: int
    tick: Tick
    log_time: Instant
    header_count: int | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Sifted:
    """A readable batch, event by event: `claimable` passed every question but the claim."""

    partition: int
    batch: UsageBatch
    columns: Columns
    meters: Sequence[Meter | None]
    log_time: Instant
    claimable: Mask
    late: int
    refusals: Sequence[Refusal]


def offered_by(arrival: Arrival) -> int:
    """Return how many events a message offers when its body cannot be trusted."""
    return 1 if arrival.header_count is None else arrival.header_count


def count_mismatch(arrival: Arrival, event_count: int) -> Rejection:
    """Return that header and body disagree: whoever counts by headers alone would be wrong."""
    offered = offered_by(arrival)
    return Rejection(
        Code.COUNT_MISMATCH,
        "event_count",
        f"the header counts {offered} events (1 where there is none), the body {event_count}",
    )


def refused(arrival: Arrival, rejection: Rejection) -> tuple[Slice, Refusal]:
    """Return the slice of a message refused whole."""
    offered = offered_by(arrival)
    counts = Counts(offered=offered, rejected=offered)
    return Slice(arrival.offset, arrival.log_time, None, counts), Refusal(rejection, offered)


def ticked(arrival: Arrival, seen: Tick) -> Slice:
    """Return the slice of a tick: it offers nothing and moves time (if higher)."""
    if seen.serial <= arrival.tick.serial:
        return Slice(arrival.offset, arrival.log_time, None, Counts())
    return Slice(arrival.offset, max(seen.time, arrival.log_time), seen, Counts())


def needs_next_tick(columns: Columns, arrival: Arrival, gate: Gate) -> bool:
    """Return whether an event is ahead of log time, so that the next tick's row must judge."""
    return bool(len(columns)) and bool(gate.future(columns.gate_time, arrival.log_time).any())


def sift(
    batch: UsageBatch,
    columns: Columns,
    arrival: Arrival,
    ground: Ground,
    log_time: Instant,
    *,
    familiar: bool = False,
) -> Sifted | Rejection:
    """Judge every event of a readable batch by itself and by time.

    `log_time` is that of the tick before it, or of the next one (`needs_next_tick`). Where all
    customers are `familiar`, they were found at home before.
    """
    if arrival.tick.serial == 0:
        return Rejection(Code.NO_TICK, "", "the record lies before the first tick of its log")
    if offered_by(arrival) != batch.event_count:
        return count_mismatch(arrival, batch.event_count)
    if batch.gate_pass and (refusal := _pass_fault(batch, ground, log_time)):
        return refusal
    meters = [ground.meters.get(entry.meter) for entry in batch.meters]
    wrong = _wrong_events(batch, columns, ground, meters, familiar=familiar)
    claimable = np.ones(len(columns), dtype=np.bool_)
    refusals = []
    for rejection, mask in wrong:
        hit = mask & claimable
        if hit.any():
            refusals.append(_refusal(rejection, hit))
            claimable &= ~hit
    times = columns.gate_time
    late_mask = claimable & ground.gate.late(times, log_time) & (not batch.gate_pass)
    ahead = claimable & ground.gate.future(times, log_time)
    claimable &= ~(late_mask | ahead)
    if ahead.any():
        refusals.append(
            _refusal(Rejection(Code.FUTURE, "time", "event time is ahead of log time"), ahead)
        )
    if late_mask.any():
        refusals.append(
            _refusal(
                Rejection(Code.LATE, "time", "event time is behind the horizon of the log"),
                late_mask,
            )
        )
    late = int(late_mask.sum())
    return Sifted(ground.partition, batch, columns, meters, log_time, claimable, late, refusals)


def _pass_fault(batch: UsageBatch, ground: Ground, log_time: Instant) -> Rejection | None:
    """Return why a batch may not come in by the pass that it shows."""
    given = ground.passes.get(batch.gate_pass)
    if given is not None and given.admits(batch, log_time):
        return None
    if given is None:
        why = "no such gate pass was in force"
    elif log_time > given.until:
        why = "the gate pass had expired"
    else:
        why = "the gate pass names other batches"
    return Rejection(Code.UNKNOWN_PASS, "gate_pass", why)


def _refusal(rejection: Rejection, mask: Mask) -> Refusal:
    indexes = np.flatnonzero(mask).tolist()
    return Refusal(rejection, len(indexes), indexes)


def _wrong_events(
    batch: UsageBatch,
    columns: Columns,
    ground: Ground,
    meters: Sequence[Meter | None],
    *,
    familiar: bool,
) -> list[tuple[Rejection, Mask]]:
    """Return what is wrong with events whatever the time, first reason first."""
    wrong = []
    for index, entry in enumerate(batch.meters):
        if meters[index] is None:
            rejection = Rejection(
                Code.UNKNOWN_METER, "meter", f"no meter {entry.meter[:_TOLD_CHARS]!r} was in force"
            )
            wrong.append((rejection, columns.meter == index))
    if not familiar:
        wrong += _from_elsewhere(batch, columns, ground)
    outside = outside_calendar(columns)
    if outside.any():
        wrong.append((Rejection(Code.BAD_TIME, "time", "outside the years 2000 to 2099"), outside))
    if columns.reversed_at:
        kept = [meter is None or meter.reversible for meter in meters]
        firm = ~np.array(kept)[columns.meter] & np.isin(
            np.arange(len(columns)), list(columns.reversed_at)
        )
        text = "a meter of least or greatest values is not reversible"
        wrong.append((Rejection(Code.NOT_REVERSIBLE, "meter", text), firm))
    return wrong


def _from_elsewhere(
    batch: UsageBatch, columns: Columns, ground: Ground
) -> list[tuple[Rejection, Mask]]:
    """Return events of customers of other partitions; where all are at home, learn their names."""
    homes = list(map(partition_of, batch.customers, repeat(ground.partitions)))
    if homes.count(ground.partition) == len(homes):
        ground.familiar.learn(batch.customers)
        return []
    wrong = []
    for index, home in enumerate(homes):
        if home != ground.partition:
            text = f"{batch.customers[index][:_TOLD_CHARS]!r} belongs to partition {home}"
            rejection = Rejection(Code.WRONG_PARTITION, "customer", text)
            wrong.append((rejection, columns.customer == index))
    return wrong


def delivery(sifted: Sifted, arrival: Arrival, after: int, gate: Gate) -> Delivery | None:
    """Return the claim that a keyed batch makes, or None where there is nothing to claim."""
    if sifted.batch.mode is not Mode.KEYED or not sifted.claimable.any():
        return None
    keys, prints = claimed_columns(sifted.batch, sifted.columns, sifted.partition)
    indexes: Sequence[int] = range(len(sifted.columns))
    if not sifted.claimable.all():
        indexes = np.flatnonzero(sifted.claimable).tolist()
        keys = b"".join(keys[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in indexes)
        width = FINGERPRINT_BYTES
        prints = b"".join(prints[i * width : (i + 1) * width] for i in indexes)
    return Delivery(arrival.offset, after, gate.generation(sifted.log_time), indexes, keys, prints)


def contribution(
    sifted: Sifted, arrival: Arrival, judged: Judged | None
) -> tuple[Slice, Sequence[Refusal]]:
    """Return the slice of a batch once its claims are judged (None: it claimed nothing)."""
    batch, fresh = sifted.batch, sifted.claimable
    refusals = list(sifted.refusals)
    repeats = judged.repeats if judged else ()
    if repeats:
        fresh = fresh.copy()
        fresh[[index for index, _, _ in repeats]] = False
    conflicts = [repeat for repeat in repeats if repeat[1] is Verdict.CONFLICT]
    for index, _, owner in conflicts:
        text = conflict_text(owner)
        refusals.append(Refusal(Rejection(Code.CONFLICT, "id", text), 1, [index]))
    counts = Counts(
        offered=batch.event_count,
        fresh=int(fresh.sum()),
        duplicate=len(repeats) - len(conflicts),
        conflict=len(conflicts),
        late=sifted.late,
        rejected=sum(
            refusal.event_count
            for refusal in sifted.refusals
            if refusal.rejection.code is not Code.LATE
        ),
    )
    sequence = None
    if batch.mode is Mode.SEQUENCED:
        sequence = SequenceRange(
            batch.producer,
            batch.epoch,
            batch.first_sequence,
            batch.event_count,
            arrival.digest,
            batch.end,
        )
    minuses: tuple[Minus, ...] = ()
    if sifted.columns.reversed_at:
        fresh, back = parted(sifted.columns, fresh)
        minuses = tuple(pick_minuses(batch, sifted.columns, back, sifted.meters, sifted.partition))
    rows = fold(batch, sifted.columns, fresh, sifted.meters, sifted.partition)
    piece = Slice(arrival.offset, sifted.log_time, None, counts, sequence, rows, minuses)
    return piece, refusals


def customer_of(sifted: Sifted, refusals: Sequence[Refusal]) -> str:
    """Return the customer of all that was refused of a batch, or nothing where it is not one."""
    named = {
        sifted.batch.customers[int(sifted.columns.customer[index])]
        for refusal in refusals
        for index in refusal.indexes
    }
    return named.pop() if len(named) == 1 else ""
