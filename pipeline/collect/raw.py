"""Raw usage: one event a message, as any Kafka client writes it.

Owns: which form a message has, and reading it fast.
Does not own: the rules of each form (event.py), Avro (handed in), packing (batch.py).
Law: what the fast way reads, the slow way would read too, to the last digit; it leaves to the
slow way whatever it does not know at sight, and refuses nothing itself.

    content-type application/cloudevents+json  -> CloudEvent, structured
    headers ce_...                             -> CloudEvent, binary: data in JSON
    neither, and the value begins with {       -> CloudEvent, structured
    else                                       -> Avro UsageEvent
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import NotRequired, TypedDict, TypeVar, cast

from pydantic_core import from_json

from pipeline.collect.batch import Entry, Pairs
from pipeline.collect.event import (
    Refused,
    UsageEvent,
    checked_dimensions,
    checked_text,
    event_of_record,
    parse_binary_cloudevent,
    parse_cloudevent,
    parse_json,
)
from pipeline.collect.letters import Headers
from pipeline.collect.limits import ID_CHARS_MAX, LINE_BYTES_MAX, METER_CHARS_MAX
from pipeline.core.calendar import EARLIEST, LATEST, Instant, parse_instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import partition_of
from pipeline.core.quantity import mantissa_scale, plain_mantissa

ReadRecord = Callable[[bytes], Mapping[str, object] | Rejection]
"""Reads the fields of an Avro `UsageEvent`."""

_ATTRIBUTE = "ce_"
_TYPE = "content-type"
_STRUCTURED = "application/cloudevents"
_AT_SIGHT = (b"application/cloudevents+json", b"application/cloudevents+json; charset=UTF-8")
_JSON_SPACE = b" \t\r\n"
_TYPED, _TYPED_QUOTES = 6, 22
"""Members and quotes of the commonest envelope: a type, and what must be; all texts but `data`."""
_SECOND_CHARS = len("2026-03-01T00:00:00")
_INTEGER_LIMIT = 10**18
_REMEMBERED_MAX = 1 << 16
_K = TypeVar("_K")
_V = TypeVar("_V")


class _Usage(TypedDict):
    """What data should be; what it is not sends a message the slow way."""

    customer: str
    meter: str
    value: str | int | float
    dimensions: NotRequired[dict[str, str] | None]


class _Envelope(TypedDict):
    """What a structured CloudEvent should be, and a few attributes more."""

    specversion: str
    id: str
    source: str
    time: str
    data: _Usage


class _Record(_Usage):
    """The same of an Avro record, which has its schema."""

    id: str
    source: str
    time: Instant


_decode = partial(from_json, allow_inf_nan=False, cache_strings="none")
"""An int is exact, a float is only a float. Few strings of a message were met before: looking each
up takes as long as all the rest."""
_decode_as_written = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode


class RawReader:
    """Reads messages; remembers the words it has seen, so that the next time is cheap."""

    def __init__(self, partitions: int, read_record: ReadRecord) -> None:
        """Serve a log of so many partitions."""
        self._partitions = partitions
        self._read_record = read_record
        self._homes: dict[str, int] = {}
        self._meters: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._seconds: dict[str, Instant] = {}
        self._pairs: dict[Pairs, Pairs] = {}

    def read(self, value: bytes | None, headers: Headers | None) -> Entry | Rejection:
        """Return the event of one message, ready to pack, or why there is none."""
        if value is not None:
            try:
                entry = self._at_sight(value, headers) if headers else self._plain(value)
                if entry is not None:
                    return entry
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError, Refused):
                pass  # the slow way says what it is
        parsed = self._parse(value, headers or ())
        if isinstance(parsed, Rejection):
            return parsed
        mantissa, scale = mantissa_scale(parsed.value)
        return (
            self._home(parsed.customer),
            parsed.customer,
            parsed.meter,
            parsed.time,
            mantissa,
            scale,
            tuple(sorted(parsed.dimensions.items())),
            parsed.source,
            parsed.id,
            parsed.reversed_at,
        )

    def customer(self, value: bytes | None, headers: Headers | None) -> str:
        """Return whose event a refused message is, as far as can be told, else nothing."""
        try:
            if value is None or len(value) > LINE_BYTES_MAX:
                return ""
            fields = parse_json(value) if _is_object(value) else self._read_record(value)
            if not isinstance(fields, Mapping):
                return ""
            data = fields.get("data", fields)
            return checked_text(data.get("customer"), "", ID_CHARS_MAX)
        except (Refused, AttributeError):
            return ""

    # --- the slow way: every form by its rules ---

    def _parse(self, value: bytes | None, headers: Headers) -> UsageEvent | Rejection:
        if value is None:
            return Rejection(Code.UNREADABLE, "", "a message without a value")
        try:
            attributes, kind = _attributes(headers)
        except Refused as refused:
            return refused.rejection
        if kind.startswith(_STRUCTURED):
            if kind.partition(";")[0].rstrip() != _STRUCTURED + "+json":
                return Rejection(
                    Code.UNREADABLE, _TYPE, f"{kind[:80]!r}: one CloudEvent a message, in JSON"
                )
            return parse_cloudevent(value)
        if attributes:
            return parse_binary_cloudevent(attributes, value)
        if _is_object(value):
            return parse_cloudevent(value)
        if len(value) > LINE_BYTES_MAX:
            return Rejection(Code.TOO_LARGE, "", f"more than {LINE_BYTES_MAX} bytes")
        record = self._read_record(value)
        return record if isinstance(record, Rejection) else event_of_record(record)

    # --- the fast way ---

    def _at_sight(self, value: bytes, headers: Headers) -> Entry | None:
        known = cast(dict[str, bytes], dict(headers))
        if len(known) != len(headers):
            return None
        kind = known.get(_TYPE)
        if "ce_id" in known and kind not in _AT_SIGHT:
            return self._binary(value, known, kind) if len(value) <= LINE_BYTES_MAX else None
        if kind not in (None, *_AT_SIGHT) or any(map(_is_odd, known)):
            return None
        return self._plain(value) if value[:1] == b"{" else None

    def _plain(self, value: bytes) -> Entry | None:
        if len(value) > LINE_BYTES_MAX:
            return None
        return self._structured(value) if value[:1] == b"{" else self._avro(value)

    def _structured(self, value: bytes) -> Entry | None:
        envelope = cast(_Envelope, _decode(value))
        data = envelope["data"]
        quotes = _TYPED_QUOTES
        if len(envelope) != _TYPED or type(envelope.get("type")) is not str:
            quotes = _quotes(envelope)
        if envelope["specversion"] != "1.0" or not _is_plain(value, data, quotes):
            return None
        if type(data["value"]) is float:
            data["value"] = _decode_as_written(value.decode())[0]["data"]["value"]
        return self._entry(
            envelope["id"], envelope["source"], self._instant(envelope["time"]), data
        )

    def _binary(self, value: bytes, known: Mapping[str, bytes], kind: bytes | None) -> Entry | None:
        data = cast(_Usage, _decode(value))
        if known["ce_specversion"] != b"1.0" or kind not in (None, b"application/json"):
            return None
        if not _is_plain(value, data, 0):
            return None
        if type(data["value"]) is float:
            data["value"] = _decode_as_written(value.decode())[0]["value"]
        event_id, source = known["ce_id"].decode(), known["ce_source"].decode()
        return self._entry(event_id, source, self._instant(known["ce_time"].decode()), data)

    def _avro(self, value: bytes) -> Entry | None:
        fields = self._read_record(value)
        if isinstance(fields, Rejection) or fields["reversed_at"] is not None:
            return None
        data = cast(_Record, fields)
        return self._entry(data["id"], data["source"], data["time"], data)

    def _entry(self, event_id: str, source: str, instant: Instant, data: _Usage) -> Entry | None:
        """Return the entry of fields that are known, or right at sight."""
        if not (0 < len(event_id) <= ID_CHARS_MAX and event_id.isprintable()):
            return None
        if not EARLIEST <= instant < LATEST or "kind" in data:
            return None
        customer, meter, dimensions = data["customer"], data["meter"], data.get("dimensions")
        home = self._homes.get(customer)
        if home is None:
            home = self._home(checked_text(customer, "", ID_CHARS_MAX))
        if meter not in self._meters:
            _remember(self._meters, checked_text(meter, "", METER_CHARS_MAX), meter)
        if source not in self._sources:
            _remember(self._sources, checked_text(source, "", ID_CHARS_MAX), source)
        pairs = () if dimensions is None else self._sorted(dimensions)
        value = data["value"]
        if type(value) is str:
            read = plain_mantissa(value)
        else:
            exact = type(value) is int and -_INTEGER_LIMIT < value < _INTEGER_LIMIT
            read = (cast(int, value), 0) if exact else None
        if read is None:
            return None
        return home, customer, meter, instant, *read, pairs, source, event_id, None

    def _instant(self, text: str) -> Instant:
        """Return the instant of a text: many events share a second."""
        second, rest = text[:_SECOND_CHARS], text[_SECOND_CHARS:]
        instant = self._seconds.get(second)
        if instant is None:
            if rest[-1:] != "Z":
                return parse_instant(text)
            instant = parse_instant(second + "Z")
            _remember(self._seconds, second, instant)
        if rest == "Z":
            return instant
        decimals = rest[1:-1]
        plain = len(rest) == 8 and rest[0] == "." and rest[7] == "Z" and rest.isascii()
        if plain and decimals.isdigit():
            return instant + int(decimals)
        return parse_instant(text)

    def _home(self, customer: str) -> int:
        home = self._homes.get(customer)
        if home is None:
            home = partition_of(customer, self._partitions)
            _remember(self._homes, customer, home)
        return home

    def _sorted(self, dimensions: dict[str, str]) -> Pairs:
        given = tuple(dimensions.items())
        pairs = self._pairs.get(given)
        if pairs is None:
            pairs = tuple(sorted(checked_dimensions(dimensions, "").items()))
            _remember(self._pairs, given, pairs)
        return pairs


def _is_object(value: bytes) -> bool:
    return value.lstrip(_JSON_SPACE)[:1] == b"{"


def _attributes(headers: Headers) -> tuple[dict[str, object], str]:
    """Return the CloudEvents attributes among record headers, and the content type."""
    attributes: dict[str, object] = {}
    kind = ""
    for name, value in headers:
        if name.lower() == _TYPE:
            kind = _text(name, value).strip().lower()
        elif name.startswith(_ATTRIBUTE):
            attribute = name.removeprefix(_ATTRIBUTE)
            if attribute in attributes:
                raise Refused(Code.BAD_FIELD, name[:80], f"two headers {name[:80]}")
            attributes[attribute] = None if value is None else _text(name, value)
    return attributes, kind


def _text(name: str, value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise Refused(Code.UNREADABLE, name[:80], f"{name[:80]} is not UTF-8") from None


def _is_odd(name: str) -> bool:
    """Return whether a header may decide the form in a way that the fast way does not know."""
    return name.startswith(_ATTRIBUTE) or (name != _TYPE and name.lower() == _TYPE)


def _is_plain(value: bytes, data: _Usage, quotes: int) -> bool:
    """Return whether `value` names no key twice; `quotes` are those of the envelope.

    A key given twice, of which reading keeps one, shows as more quotes than the strings that
    were kept have; a quote inside a string only adds to them. Whoever reads on refuses what is
    taken for a string here: customer, meter, and all of the dimensions.
    """
    dimensions = data.get("dimensions")
    if dimensions is None:
        known, own = 3, 12
    else:
        known, own = 4, 14
        quotes += 4 * len(dimensions)
    if len(data) != known or type(data["value"]) is not str:
        own = _quotes(data)
    return value.count(b'"') == quotes + own


def _quotes(known: Mapping[str, object]) -> int:
    """Return how many quotes a JSON object's own keys and strings have."""
    return 2 * (len(known) + list(map(type, known.values())).count(str))


def _remember(memory: dict[_K, _V], key: _K, value: _V) -> None:
    if len(memory) >= _REMEMBERED_MAX:
        memory.clear()
    memory[key] = value
