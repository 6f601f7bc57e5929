"""The records between workers, as messages: raw events, ticks, slices, dead letters.

Owns: their mapping onto the schemas.  Does not own: Avro itself (codec.py, light for the SDK).
"""

from collections.abc import Sequence
from struct import iter_unpack, pack
from typing import Any, cast

import numpy as np

from pipeline.catalog.facts import Skips
from pipeline.collect.batch import MeterScale, UsageBatch, WideValue
from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import DeadLetter, Refusal, kept_headers, kept_message
from pipeline.collect.limits import READ_BYTES_MAX
from pipeline.collect.names import Names, lines_of
from pipeline.core.errors import Code, Rejection
from pipeline.dedupe.sequences import SequenceRange
from pipeline.meter.place import SKIPPED, Opened
from pipeline.meter.slices import NO_POINTS, Counts, Minus, Points, Rows, Slice, WideRow
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import Decode, Record, Unreadable, batch_of, decode, encode
from pipeline.stores.figures import pack_figures, read_figures
from pipeline.stores.sight import decode_at_sight
from pipeline.topology import USAGE_EVENTS

_TICK_BYTES_MAX = 256
"""Above what one takes: a batch need not be opened to be told from it."""


def open_message(
    message: bytes, decoded: Decode = decode_at_sight
) -> Tick | UsageBatch | Rejection:
    """Return what a message of the usage log is, or that nobody can tell."""
    if len(message) > READ_BYTES_MAX:
        return Rejection(Code.TOO_LARGE, "", f"a message of more than {READ_BYTES_MAX} bytes")
    try:
        name, record = decoded(message)
        match name:
            case "UsageBatch.v1":
                return batch_of(record)
            case "Tick.v1":
                fields = cast(dict[str, int], record)
                return Tick(fields["serial"], fields["time"], fields["fact_position"])
    except Unreadable as error:
        return Rejection(Code.UNREADABLE, "", str(error))
    return Rejection(Code.UNREADABLE, "", f"{name} does not belong into the usage log")


def read_tick(message: bytes) -> Tick | None:
    """Return the tick that a message of the usage log is; None where it is none."""
    if len(message) > _TICK_BYTES_MAX:
        return None
    opened = open_message(message)
    return opened if isinstance(opened, Tick) else None


def open_at(
    partition: int, offset: int, message: bytes, skips: Skips, decoded: Decode = decode_at_sight
) -> Opened:
    """Return what the message of a position is; nobody looks into one that is skipped."""
    return SKIPPED if (partition, offset) in skips else open_message(message, decoded)


def open_usage_event(message: bytes, decoded: Decode = decode) -> Record | Rejection:
    """Return the fields of an Avro `UsageEvent`, or that nobody can tell."""
    try:
        name, record = decoded(message)
    except Unreadable as error:
        return Rejection(Code.UNREADABLE, "", str(error))
    if name != "UsageEvent.v1":
        return Rejection(Code.UNREADABLE, "", f"{name} is no usage event")
    return record


def encode_usage_event(event: UsageEvent) -> bytes:
    """Return the message of one event, as raw usage."""
    fields = {name: getattr(event, name) for name in UsageEvent.__slots__}
    return encode("UsageEvent.v1", {**fields, "value": format(event.value, "f")})


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


SLICES = tuple(f"MeteredSlices.v{version}" for version in (1, 2, 3, 4))
"""The records that hold slices."""
_COUNTS = ("offered", "fresh", "duplicate", "conflict", "late", "rejected")


def encode_slices(slices: Sequence[Slice]) -> bytes:
    """Return the record of slices of consecutive messages of one partition.

    Slices without points, without reversals and without many rows travel as they did before.
    """
    version = max((_version(piece) for piece in slices), default=1)
    records = [_slice_record(piece, version) for piece in slices]
    return encode(f"MeteredSlices.v{version}", {"slices": records})


def _version(piece: Slice) -> int:
    if len(piece.rows.count) > _MANY_ROWS * 8:
        return 4
    if piece.minuses:
        return 3
    return 2 if piece.rows.points.row else 1


_ROW_COLUMNS = tuple(name for name in Rows.__slots__ if name != "points")
_FIGURES = ("window_start", "count", "sum", "minimum", "maximum")
_MANY_ROWS = 64
"""More rows than so many travel in a form that takes longer to make of few, less of many."""


def _slice_record(piece: Slice, version: int) -> Record:
    rows, tick, seen = piece.rows, piece.tick, piece.sequence
    return {
        **(_point_columns(rows.points) if version > 1 else {}),
        **({"minuses": [_minus_record(minus) for minus in piece.minuses]} if version > 2 else {}),
        "offset": piece.offset,
        "log_time": piece.log_time,
        "tick": tick
        and {"serial": tick.serial, "time": tick.time, "fact_position": tick.fact_position},
        **{name: getattr(piece.counts, name) for name in _COUNTS},
        "sequence": seen and {name: getattr(seen, name) for name in SequenceRange.__slots__},
        **{name: getattr(rows, name) for name in _ROW_COLUMNS},
        **(_tight_columns(rows) if version > 3 else {"customers": list(rows.customers)}),
        "meters": [{"meter": m.meter, "scale": m.scale} for m in rows.meters],
        "wide": [{name: getattr(w, name) for name in WideRow.__slots__} for w in rows.wide],
    }


def _tight_columns(rows: Rows) -> Record:
    """Return what stands for names and figures, which are empty then."""
    if not rows.count:
        return {"customer_lines": "", "window_base": 0, "figure_widths": b"", "figures": b""}
    windows = np.frombuffer(rows.window_start, "<i8")
    base = int(windows.min())
    others = [getattr(rows, name) for name in _FIGURES[1:]]
    widths, figures = pack_figures([(windows - base).tobytes(), *others])
    return {
        "customers": [],
        "customer_lines": lines_of(rows.customers),
        **dict.fromkeys(_FIGURES, b""),
        "window_base": base,
        "figure_widths": widths,
        "figures": figures,
    }


def _loosened(fields: dict[str, Any]) -> dict[str, Any]:
    """Return names and figures of a slice whatever form they travelled in."""
    if not fields.get("figure_widths"):
        return fields
    rows = len(fields["customer_index"]) // 2
    try:
        windows, *others = read_figures(fields["figure_widths"], fields["figures"], rows)
        found = dict(zip(_FIGURES[1:], others, strict=True))
    except ValueError as error:
        raise Unreadable(str(error)) from None
    starts = np.frombuffer(windows, "<i8") + fields["window_base"]
    customers = Names(fields["customer_lines"])
    return {**fields, **found, "window_start": starts.tobytes(), "customers": customers}


def _minus_record(minus: Minus) -> Record:
    fields = {name: getattr(minus, name) for name in Minus.__slots__}
    return {**fields, "dimensions": dict(minus.dimensions), "mantissa": str(minus.mantissa)}


def _point_columns(points: Points) -> Record:
    return {
        **{f"point_{name}": getattr(points, name) for name in Points.__slots__},
        "point_wide": [{"index": w.index, "mantissa": w.mantissa} for w in points.wide],
    }


def read_slices(message: bytes) -> list[Slice]:
    """Return the slices of a record of `usage.metered`.

    Raises:
        Unreadable: it is none.

    """
    name, record = decode(message)
    if name not in SLICES:
        raise Unreadable(f"it is a {name}")
    return slices_of(record)


def slices_of(record: Record) -> list[Slice]:
    """Return the slices of a decoded `MeteredSlices` record."""
    return [
        _slice_of(cast(dict[str, Any], piece)) for piece in cast(list[object], record["slices"])
    ]


def _slice_of(fields: dict[str, Any]) -> Slice:
    fields = _loosened(fields)
    rows = Rows(
        **{
            **{name: fields[name] for name in _ROW_COLUMNS},
            "meters": [MeterScale(**m) for m in fields["meters"]],
            "wide": [WideRow(**w) for w in fields["wide"]],
            "points": _points_of(fields),
        }
    )
    return Slice(
        offset=fields["offset"],
        log_time=fields["log_time"],
        tick=fields["tick"] and Tick(**fields["tick"]),
        counts=Counts(*(fields[name] for name in _COUNTS)),
        sequence=fields["sequence"] and SequenceRange(**fields["sequence"]),
        rows=rows,
        minuses=tuple(_minus_of(minus) for minus in fields.get("minuses", ())),
    )


def _minus_of(fields: dict[str, Any]) -> Minus:
    dimensions = tuple(sorted(fields["dimensions"].items()))
    return Minus(**{**fields, "dimensions": dimensions, "mantissa": int(fields["mantissa"])})


def _points_of(fields: dict[str, Any]) -> Points:
    """Return the points of a slice; version 1 has none."""
    if not fields.get("point_row"):
        return NO_POINTS
    columns = {name: fields[f"point_{name}"] for name in Points.__slots__}
    return Points(**{**columns, "wide": [WideValue(**w) for w in fields["point_wide"]]})


def encode_letter(letter: DeadLetter) -> bytes:
    """Return the record of a dead letter."""
    return encode(
        "RejectedUsage.v2",
        {
            "partition": letter.partition,
            "offset": letter.offset,
            "log_time": letter.log_time,
            "reasons": [
                {
                    "code": refusal.rejection.code.value,
                    "path": refusal.rejection.path,
                    "message": refusal.rejection.message,
                    "event_count": refusal.event_count,
                    "indexes": pack(f"<{len(refusal.indexes)}H", *refusal.indexes),
                }
                for refusal in letter.refusals
            ],
            "message": kept_message(letter.message),
            "topic": letter.topic,
            "customer": letter.customer,
            "headers": [
                {"name": name, "value": value} for name, value in kept_headers(letter.headers)
            ],
        },
    )


def letter_of(message: bytes) -> DeadLetter:
    """Return the dead letter of a record, of any version.

    Raises:
        Unreadable: it is none.

    """
    name, record = decode(message)
    if name not in ("RejectedUsage.v1", "RejectedUsage.v2"):
        raise Unreadable(f"{name} is no dead letter")
    fields = cast(dict[str, Any], record)
    return DeadLetter(
        topic=fields.get("topic", USAGE_EVENTS.name),
        partition=fields["partition"],
        offset=fields["offset"],
        log_time=fields["log_time"],
        refusals=[_refusal_of(reason) for reason in fields["reasons"]],
        message=fields["message"],
        headers=tuple((one["name"], one["value"]) for one in fields.get("headers", ())),
        customer=fields.get("customer", ""),
    )


def _refusal_of(reason: dict[str, Any]) -> Refusal:
    rejection = Rejection(Code(reason["code"]), reason["path"], reason["message"])
    indexes = [index for (index,) in iter_unpack("<H", reason["indexes"])]
    return Refusal(rejection, reason["event_count"], indexes)
