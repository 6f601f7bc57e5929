"""Proof: one file that shows a document to whoever was billed, without asking us.

Owns: what stands in it.  Does not own: reading documents and usage (workers/proving.py), checking
it (schemas/verify_proof.py, which shares no code with this).
Law: a line costs the same few hundred bytes whether ten events or ten million made it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from pipeline.core.calendar import parse_instant, snap_up
from pipeline.core.identity import Json
from pipeline.ledger.checkpoint import Checkpoint
from pipeline.ledger.seal import Sealed
from pipeline.meter.meters import Aggregation, Meter

PROOF_FORMAT = "talea.proof.1"
_ADDS_UP = frozenset((Aggregation.COUNT, Aggregation.SUM))
_WHOLE = frozenset((Aggregation.AVERAGE, Aggregation.MIN, Aggregation.MAX))

Record = Mapping[str, Json]
Window = Sequence[Json]
"""[customer, meter, scale, dimensions as text, start, count, sum, minimum, maximum]."""


def proof_of(
    document: Sealed,
    following: Sequence[Sealed],
    checkpoint: Checkpoint | None,
    notes: Sequence[tuple[Sealed, Record]],
    content: Record,
    usage: tuple[Sequence[Json], Sequence[Json]],
    windows: Sequence[Json] | None,
) -> dict[str, Json]:
    """Return the proof of a document.

    `following` are the documents behind it in its chain, up to the one that `checkpoint` signs, or
    to the head where none does; `notes` those that correct it, with their contents; `windows` all
    that it rests on, or None to leave them out; `usage` what its lines' usage came to at its cut,
    and at that of its last note.
    """
    head = following[-1] if following else document
    record = _record(document)
    return {
        "format": PROOF_FORMAT,
        "issuer": record["issuer"],
        "place": document.place,
        **_sealed(document),
        "following": [each.record.decode() for each in following],
        "head": {"place": head.place, "number": head.number, "seal": head.seal.hex()},
        "checkpoint": None if checkpoint is None else checkpoint.json(),
        "notes": [_sealed(note) for note, _ in notes],
        "left_minor": sum(map(_total, [content, *(told for _, told in notes)])),
        "usage": list(usage[0]),
        "corrected": list(usage[1]),
        "windows": None if windows is None else list(windows),
    }


def line_usage(
    line: Record, meter: Meter, customer: str, windows: Iterable[Window]
) -> dict[str, Json]:
    """Return what the usage of a line comes to, and which windows it is made of.

    `aggregation` is None where the quantity does not follow from parts alone.
    """
    start = snap_up(parse_instant(line["period_start"]), meter.window_us)
    end = snap_up(parse_instant(line["period_end"]), meter.window_us)
    card = cast(dict[str, Json], line["rate_card"])
    told: dict[str, Json] = {
        "line": line["id"],
        "customer": customer,
        "meter": meter.id,
        "start_us": start,
        "end_us": end,
        "filter": card.get("filter", {}),
        "group_by": card.get("group_by", []),
        "group": card.get("group", {}),
        "aggregation": meter.aggregation.value if _follows(line, meter) else None,
    }
    by_scale: dict[int, list[int]] = {}
    count = 0
    for window in windows:
        scale, figures = cast(int, window[2]), [cast(int, each) for each in window[5:]]
        count += 1
        known = by_scale.get(scale)
        by_scale[scale] = figures if known is None else _merged(known, figures)
    parts: list[Json] = [[scale, *figures] for scale, figures in sorted(by_scale.items())]
    return {**told, "windows": count, "parts": parts}


def _follows(line: Record, meter: Meter) -> bool:
    if meter.points or line["metered_quantity"] is None:
        return False
    return meter.aggregation in _ADDS_UP or (
        meter.aggregation in _WHOLE and line["pre_line_quantity"] == "0"
    )


def _merged(one: Sequence[int], other: Sequence[int]) -> list[int]:
    counts = [one[0] + other[0], one[1] + other[1]]
    return [*counts, min(one[2], other[2]), max(one[3], other[3])]


def _sealed(document: Sealed) -> dict[str, Json]:
    return {
        "number": document.number,
        "content": document.content.decode(),
        "record": document.record.decode(),
        "seal": document.seal.hex(),
    }


def _record(document: Sealed) -> Record:
    return cast(Record, json.loads(document.record))


def _total(content: Record) -> int:
    return cast(int, cast(Record, content["totals"])["total_minor"])
