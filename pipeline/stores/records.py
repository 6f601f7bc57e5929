"""The records between workers, as messages: ticks, slices, dead letters.

Owns: their mapping onto the schemas.  Does not own: Avro itself (codec.py, light for the SDK).
"""

from collections.abc import Sequence
from struct import pack
from typing import Any, cast

from pipeline.collect.batch import MeterScale, UsageBatch
from pipeline.collect.limits import READ_BYTES_MAX
from pipeline.core.errors import Code, Rejection
from pipeline.dedupe.sequences import SequenceRange
from pipeline.meter.sift import Refusal
from pipeline.meter.slices import Counts, Rows, Slice, WideRow
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import Record, Unreadable, batch_of, decode, encode


def open_message(message: bytes) -> Tick | UsageBatch | Rejection:
    """Return what a message of the usage log is, or that nobody can tell."""
    if len(message) > READ_BYTES_MAX:
        return Rejection(Code.TOO_LARGE, "", f"a message of more than {READ_BYTES_MAX} bytes")
    try:
        name, record = decode(message)
        match name:
            case "UsageBatch.v1":
                return batch_of(record)
            case "Tick.v1":
                fields = cast(dict[str, int], record)
                return Tick(fields["serial"], fields["time"], fields["fact_position"])
    except Unreadable as error:
        return Rejection(Code.UNREADABLE, "", str(error))
    return Rejection(Code.UNREADABLE, "", f"{name} does not belong into the usage log")


def encode_tick(tick: Tick, partitions: int) -> bytes:
    """Return the message of a tick."""
    return encode(
        "Tick.v1",
        {
            "serial": tick.serial,
            "time": tick.time,
            "fact_position": tick.fact_position,
            "partitions": partitions,
        },
    )


_COUNTS = ("offered", "fresh", "duplicate", "conflict", "late", "rejected")


def encode_slices(slices: Sequence[Slice]) -> bytes:
    """Return the record of slices of consecutive messages of one partition."""
    return encode("MeteredSlices.v1", {"slices": [_slice_record(piece) for piece in slices]})


def _slice_record(piece: Slice) -> Record:
    rows, tick, seen = piece.rows, piece.tick, piece.sequence
    return {
        "offset": piece.offset,
        "log_time": piece.log_time,
        "tick": tick
        and {"serial": tick.serial, "time": tick.time, "fact_position": tick.fact_position},
        **{name: getattr(piece.counts, name) for name in _COUNTS},
        "sequence": seen and {name: getattr(seen, name) for name in SequenceRange.__slots__},
        **{name: getattr(rows, name) for name in Rows.__slots__},
        "meters": [{"meter": m.meter, "scale": m.scale} for m in rows.meters],
        "wide": [{name: getattr(w, name) for name in WideRow.__slots__} for w in rows.wide],
    }


def slices_of(record: Record) -> list[Slice]:
    """Return the slices of a decoded `MeteredSlices` record."""
    return [
        _slice_of(cast(dict[str, Any], piece)) for piece in cast(list[object], record["slices"])
    ]


def _slice_of(fields: dict[str, Any]) -> Slice:
    rows = Rows(
        **{
            **{name: fields[name] for name in Rows.__slots__},
            "meters": [MeterScale(**m) for m in fields["meters"]],
            "wide": [WideRow(**w) for w in fields["wide"]],
        }
    )
    return Slice(
        offset=fields["offset"],
        log_time=fields["log_time"],
        tick=fields["tick"] and Tick(**fields["tick"]),
        counts=Counts(*(fields[name] for name in _COUNTS)),
        sequence=fields["sequence"] and SequenceRange(**fields["sequence"]),
        rows=rows,
    )


def encode_refusals(
    partition: int, piece: Slice, refusals: Sequence[Refusal], message: bytes
) -> bytes:
    """Return the dead letter of one message: what was refused of it and why, with its bytes."""
    return encode(
        "RejectedUsage.v1",
        {
            "partition": partition,
            "offset": piece.offset,
            "log_time": piece.log_time,
            "reasons": [
                {
                    "code": refusal.rejection.code.value,
                    "path": refusal.rejection.path,
                    "message": refusal.rejection.message,
                    "event_count": refusal.event_count,
                    "indexes": pack(f"<{len(refusal.indexes)}H", *refusal.indexes),
                }
                for refusal in refusals
            ],
            "message": message[:READ_BYTES_MAX],  # of a monster the head; its position says where
        },
    )
