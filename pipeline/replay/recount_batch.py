"""Batches as a recount reads them: what holds of one, what its events say.

Owns: a second account of which batches are readable.
Does not own: any rule the pipeline has: these are written again, from the design alone.
Law: nothing is believed of a batch that cannot be.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np

from pipeline.core.calendar import EARLIEST, LATEST, Instant
from pipeline.core.identity import KEY_BYTES, canonical, fingerprint, reversal_key

Record = Mapping[str, object]

_EVENTS_MAX, _ENTRIES_MAX, _SCALE_MAX, _WIDE_DIGITS_MAX = 2000, 2000, 18, 38
_NAME_MAX, _METER_MAX, _DIMENSIONS_MAX, _DIMENSIONS_BYTES_MAX = 256, 128, 32, 1024


def dictionaries(batch: Record) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Return customers, meters and dimensions, as the columns name them."""
    meters = [cast(str, entry["meter"]) for entry in cast(list[Record], batch["meters"])]
    dimensions = cast(list[dict[str, str]], batch["dimensions"])
    return cast(list[str], batch["customers"]), meters, dimensions


def event_places(batch: Record) -> Iterator[tuple[int, int, int]]:
    """Yield where customer, meter and dimensions of every event stand."""
    names = ("customer_index", "meter_index", "dimensions_index")
    return zip(
        *(np.frombuffer(cast(bytes, batch[name]), "<u2").tolist() for name in names), strict=True
    )


def well_formed(batch: Record) -> bool:
    """Return whether a batch says nothing about itself that cannot be."""
    count, keyed = cast(int, batch["event_count"]), batch["mode"] == "keyed"
    if not 0 <= count <= _EVENTS_MAX or not reversals_hold(batch, count):
        return False
    if keyed and (count == 0 or batch["end"]):
        return False
    if not keyed and not (
        _clean(cast(str, batch["producer"]), _NAME_MAX)
        and _clean(cast(str, batch["epoch"]), _NAME_MAX)
        and 0 <= cast(int, batch["first_sequence"]) < 1 << 62
    ):
        return False
    widths = {"customer_index": 2, "meter_index": 2, "dimensions_index": 2, "time": 8}
    widths |= {"mantissa": 8, "key": KEY_BYTES * keyed, "fingerprint": 4 * keyed}
    if any(len(cast(bytes, batch[name])) != count * width for name, width in widths.items()):
        return False
    return _dictionaries_hold(batch) and _values_hold(batch, count)


def _dictionaries_hold(batch: Record) -> bool:
    customers, meters = cast(list[str], batch["customers"]), cast(list[Record], batch["meters"])
    dimensions = cast(list[dict[str, str]], batch["dimensions"])
    sized = (("customer", customers), ("meter", meters), ("dimensions", dimensions))
    for name, entries in sized:
        used = np.frombuffer(cast(bytes, batch[f"{name}_index"]), "<u2")
        if len(entries) > _ENTRIES_MAX or (len(used) and int(used.max()) >= len(entries)):
            return False
    return (
        all(_clean(name, _NAME_MAX) for name in customers)
        and all(_clean(cast(str, entry["meter"]), _METER_MAX) for entry in meters)
        and all(0 <= cast(int, entry["scale"]) <= _SCALE_MAX for entry in meters)
        and all(_dimensions_hold(entry) for entry in dimensions)
    )


def _dimensions_hold(entry: dict[str, str]) -> bool:
    return (
        len(entry) <= _DIMENSIONS_MAX
        and all(_clean(n, _NAME_MAX) and (not v or _clean(v, _NAME_MAX)) for n, v in entry.items())
        and len(canonical(dict(entry))) <= _DIMENSIONS_BYTES_MAX
    )


def _values_hold(batch: Record, count: int) -> bool:
    mantissas = np.frombuffer(cast(bytes, batch["mantissa"]), "<i8")
    if count and not -(1 << 52) < int(mantissas.min()) <= int(mantissas.max()) < 1 << 52:
        return False
    places = set()
    for entry in cast(list[Record], batch["wide"]):
        index, digits = cast(int, entry["index"]), cast(str, entry["mantissa"]).removeprefix("-")
        if not 0 <= index < count or index in places or int(mantissas[index]):
            return False
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _WIDE_DIGITS_MAX:
            return False
        places.add(index)
    return True


def _clean(text: str, most: int) -> bool:
    """Whether a name is there, not over-long, without control characters or surrogates."""
    if not 0 < len(text) <= most:
        return False
    return not any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)


def own_times(batch: Record) -> dict[int, Instant]:
    """Return the own times of a batch's reversals, by place."""
    return {
        cast(int, each["index"]): cast(int, each["time"])
        for each in cast(list[Record], batch["reversals"])
    }


def reversals_hold(batch: Record, count: int) -> bool:
    """Return whether reversals are of events there, once each, and keyed."""
    places = [cast(int, each["index"]) for each in cast(list[Record], batch["reversals"])]
    held = len(set(places)) == len(places) and all(0 <= place < count for place in places)
    return held and (not places or batch["mode"] == "keyed")


def in_calendar(time: Instant) -> bool:
    """Return whether a time is in the years that are billed."""
    return EARLIEST <= time < LATEST


def payload_print(batch: Record, place: int) -> bytes:
    """Return the print over an event's payload without any time of its own."""
    meters = cast(list[Record], batch["meters"])
    entry = meters[_entry(batch, "meter_index", place)]
    dimensions = cast(list[dict[str, str]], batch["dimensions"])
    mantissa = int(np.frombuffer(cast(bytes, batch["mantissa"]), "<i8")[place])
    for wide in cast(list[Record], batch["wide"]):
        if wide["index"] == place:
            mantissa = int(cast(str, wide["mantissa"]))
    scale = cast(int, entry["scale"])
    while scale and not mantissa % 10:
        mantissa, scale = mantissa // 10, scale - 1
    time = int(np.frombuffer(cast(bytes, batch["time"]), "<i8")[place])
    given = dimensions[_entry(batch, "dimensions_index", place)]
    return fingerprint(cast(str, entry["meter"]), time, mantissa, scale, given)


def _entry(batch: Record, column: str, place: int) -> int:
    return int(np.frombuffer(cast(bytes, batch[column]), "<u2")[place])


def claim_of(batch: Record, place: int) -> tuple[bytes, bytes]:
    """Return the key and print that a reversal claims."""
    key = cast(bytes, batch["key"])[place * KEY_BYTES : (place + 1) * KEY_BYTES]
    own_print = payload_print(batch, place)
    return reversal_key(key, own_print), own_print
