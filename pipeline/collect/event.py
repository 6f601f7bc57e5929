"""One usage event at the edge, and the CloudEvents JSON that carries it.

Owns: what a usage event is, which strings and numbers are let in, the CloudEvents mapping.
Does not own: packing (batch.py), the network (agents).
Law: an event that parses packs, and unpacks to the same event.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from unicodedata import category

from pipeline.collect import limits
from pipeline.core.calendar import EARLIEST, LATEST, Instant, instant_text, parse_instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import canonical
from pipeline.core.quantity import parse_decimal


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """What was used: unique by (customer, source, id).

    `reversed_at` is the own time of a reversal, which otherwise repeats its original;
    None for usage.
    """

    customer: str
    meter: str
    time: Instant
    value: Decimal
    id: str = ""
    source: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)
    reversed_at: Instant | None = None


class Refused(Exception):
    """A field of one event was refused; carries the Rejection."""

    def __init__(self, code: Code, path: str, message: str) -> None:
        """Hold the rejection of one field."""
        super().__init__(message)
        self.rejection = Rejection(code, path, message)


def checked_text(value: object, path: str, chars_max: int, *, empty: bool = False) -> str:
    """Return a string that may enter the log: no control character, not over-long.

    Raises:
        Refused: absent, of another type, empty, too long, or with characters we do not keep.

    """
    if value is None or (value == "" and not empty):
        raise Refused(Code.MISSING_FIELD, path, f"{path} is missing or empty")
    if type(value) is not str:  # a JsonNumber is a str, but no text
        raise Refused(Code.BAD_FIELD, path, f"{path} must be a string")
    if len(value) > chars_max:
        raise Refused(Code.TOO_LARGE, path, f"{path} is longer than {chars_max} characters")
    if not value.isprintable() and any(category(char) in ("Cc", "Cs") for char in value):
        raise Refused(Code.BAD_FIELD, path, f"{path} holds a control character or surrogate")
    return value


def checked_dimensions(value: object, path: str) -> dict[str, str]:
    """Return dimensions as a dictionary of checked strings.

    Raises:
        Refused: not an object of strings, or beyond the limits.

    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(Code.BAD_FIELD, path, f"{path} must be an object of strings")
    if len(value) > limits.DIMENSIONS_MAX:
        raise Refused(Code.TOO_LARGE, path, f"more than {limits.DIMENSIONS_MAX} dimensions")
    chars = limits.DIMENSION_CHARS_MAX
    checked = {
        checked_text(name, f"{path}.<name>", chars): checked_text(
            item, f"{path}.{str(name)[:40]}", chars, empty=True
        )
        for name, item in value.items()
    }
    if not _fits_series(checked):
        most = limits.DIMENSIONS_BYTES_MAX
        raise Refused(Code.TOO_LARGE, path, f"{path} are more than {most} bytes of JSON")
    return checked


def _fits_series(dimensions: dict[str, str]) -> bool:
    chars = sum(len(name) + len(item) for name, item in dimensions.items())
    # A character takes at most four bytes, a pair six more: few need be written out to know.
    if 4 * chars + 6 * len(dimensions) + 2 <= limits.DIMENSIONS_BYTES_MAX:
        return True
    return len(canonical(dict(dimensions))) <= limits.DIMENSIONS_BYTES_MAX


def checked_value(value: object, path: str) -> Decimal:
    """Return an event's value: a decimal string, or a JSON number as it was written.

    Raises:
        Refused: not a plain decimal, or beyond the limits.

    """
    if value is None:
        raise Refused(Code.MISSING_FIELD, path, f"{path} is missing")
    try:
        return parse_decimal(value)
    except ValueError as error:
        raise Refused(Code.BAD_VALUE, path, str(error)) from None


def checked_time(value: object, path: str) -> Instant:
    """Return an event's time.

    Raises:
        Refused: no instant with a zone, or outside [2000, 2100).

    """
    if value is None:
        raise Refused(Code.MISSING_FIELD, path, f"{path} is missing")
    try:
        instant = parse_instant(value)
    except ValueError as error:
        raise Refused(Code.BAD_TIME, path, str(error)) from None
    return _in_our_years(instant, path)


def _in_our_years(instant: Instant, path: str) -> Instant:
    if not EARLIEST <= instant < LATEST:
        told = instant_text(instant) if abs(instant) < LATEST else f"{instant} us"
        raise Refused(Code.BAD_TIME, path, f"{told} is outside the years 2000 to 2099")
    return instant


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise Refused(Code.BAD_FIELD, "", "a JSON object names the same key twice")
    return keys


def _no_constant(text: str) -> object:
    raise Refused(Code.BAD_VALUE, "", f"{text} is no JSON number")


def parse_json(line: bytes) -> object:
    """Return the value of one JSON text; numbers stay what they are in text.

    Raises:
        Refused: not UTF-8, not JSON, too deep, too long, or a key given twice.

    """
    if len(line) > limits.LINE_BYTES_MAX:
        raise Refused(Code.TOO_LARGE, "", f"more than {limits.LINE_BYTES_MAX} bytes")
    try:
        return json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique_object,
            parse_constant=_no_constant,
            parse_float=JsonNumber,
            parse_int=JsonNumber,
        )
    except UnicodeDecodeError:
        raise Refused(Code.UNREADABLE, "", "not UTF-8") from None
    except RecursionError:
        raise Refused(Code.UNREADABLE, "", "JSON nested too deep") from None
    except json.JSONDecodeError as error:
        raise Refused(Code.UNREADABLE, "", f"not JSON: {error}") from None


class JsonNumber(str):
    """A JSON number as it was written: it never becomes a float."""

    __slots__ = ()


def parse_cloudevent(line: bytes) -> UsageEvent | Rejection:
    """Return the usage event of one structured CloudEvent in JSON, or why there is none.

    `id`, `source`, `time` come from the envelope; `data` is
    {"customer", "meter", "value", "dimensions"}. Source: CloudEvents 1.0.2, JSON format 1.0.2.
    """
    try:
        envelope = parse_json(line)
        if not isinstance(envelope, dict):
            raise Refused(Code.BAD_FIELD, "", "a CloudEvent is a JSON object")
        _check_version(envelope)
        data = envelope.get("data")
        if not isinstance(data, dict):
            raise Refused(Code.MISSING_FIELD, "data", "data must be an object")
        return event_of(envelope, data)
    except Refused as refused:
        return refused.rejection


def parse_binary_cloudevent(
    attributes: Mapping[str, object], value: bytes
) -> UsageEvent | Rejection:
    """Return the usage event of a CloudEvent in binary mode, or why there is none.

    `attributes` are the record headers `ce_...` without that prefix, `value` is the data in
    JSON. Source: CloudEvents 1.0.2, Kafka protocol binding.
    """
    try:
        _check_version(attributes, "ce_")
        data = parse_json(value)
        if not isinstance(data, dict):
            raise Refused(Code.BAD_FIELD, "data", "the data must be a JSON object")
        return event_of(attributes, data, "ce_")
    except Refused as refused:
        return refused.rejection


def _check_version(envelope: Mapping[str, object], prefix: str = "") -> None:
    version = envelope.get("specversion")
    if type(version) is not str or version != "1.0":
        path = f"{prefix}specversion"
        raise Refused(Code.BAD_FIELD, path, f'{path} must be "1.0"')


def event_of_record(record: Mapping[str, object]) -> UsageEvent | Rejection:
    """Return the usage event of an Avro record `UsageEvent`, or why there is none."""
    chars = limits.ID_CHARS_MAX
    try:
        reversed_at = record.get("reversed_at")
        return UsageEvent(
            customer=checked_text(record.get("customer"), "customer", chars),
            meter=checked_text(record.get("meter"), "meter", limits.METER_CHARS_MAX),
            time=_checked_micros(record.get("time"), "time"),
            value=checked_value(record.get("value"), "value"),
            id=checked_text(record.get("id"), "id", chars),
            source=checked_text(record.get("source"), "source", chars),
            dimensions=checked_dimensions(record.get("dimensions"), "dimensions"),
            reversed_at=None
            if reversed_at is None
            else _checked_micros(reversed_at, "reversed_at"),
        )
    except Refused as refused:
        return refused.rejection


def _checked_micros(value: object, path: str) -> Instant:
    if type(value) is not int:
        raise Refused(Code.BAD_TIME, path, f"{path} must count microseconds")
    return _in_our_years(value, path)


def event_of(
    envelope: Mapping[str, object], data: Mapping[str, object], prefix: str = ""
) -> UsageEvent:
    """Return the usage event of a CloudEvent's attributes and data.

    `prefix` goes before the name of an attribute where a refusal names it.

    Raises:
        Refused: with the first field that is wrong.

    """
    chars = limits.ID_CHARS_MAX
    kind = data.get("kind", "usage")
    if kind not in ("usage", "reversal"):
        raise Refused(Code.BAD_FIELD, "data.kind", 'data.kind is "usage" or "reversal"')
    reversed_at = None
    if kind == "reversal":
        reversed_at = checked_time(data.get("reversed_at"), "data.reversed_at")
    return UsageEvent(
        customer=checked_text(data.get("customer"), "data.customer", chars),
        meter=checked_text(data.get("meter"), "data.meter", limits.METER_CHARS_MAX),
        time=checked_time(envelope.get("time"), f"{prefix}time"),
        value=checked_value(data.get("value"), "data.value"),
        id=checked_text(envelope.get("id"), f"{prefix}id", chars),
        source=checked_text(envelope.get("source"), f"{prefix}source", chars),
        dimensions=checked_dimensions(data.get("dimensions"), "data.dimensions"),
        reversed_at=reversed_at,
    )
