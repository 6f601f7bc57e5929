"""Intake: what a program says it used, checked before anything is sent.

Owns: which Python values are let in, and the memory of those that were.
Does not own: the rules for text, values and dimensions (collect/event.py), packing.
Law: what passes here is never rejected by the metering worker for its form.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias, TypeVar

from pipeline.agents.failures import RefusedUsage
from pipeline.collect.batch import Entry, Pairs
from pipeline.collect.event import (
    Refused,
    UsageEvent,
    checked_dimensions,
    checked_text,
    checked_value,
)
from pipeline.collect.limits import ID_CHARS_MAX, METER_CHARS_MAX
from pipeline.core.calendar import EARLIEST, LATEST, Instant, from_datetime, instant_text
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import partition_of
from pipeline.core.quantity import INTEGER_DIGITS_MAX, SCALE_MAX, mantissa_scale, plain_mantissa

Value: TypeAlias = str | int | Decimal
"""What a quantity may be given as: never a float."""

_REMEMBERED_MAX = 1 << 16
_INTEGER_LIMIT = 10**INTEGER_DIGITS_MAX
_K = TypeVar("_K")
_V = TypeVar("_V")


class Intake:
    """Checks events; remembers the words it has seen, so that the next time is cheap."""

    def __init__(self, producer: str, partitions: int) -> None:
        """Serve one producer and one partition count."""
        self._producer = _text(producer, "producer", ID_CHARS_MAX)
        self._partitions = partitions
        self._homes: dict[str, int] = {}
        self._meters: dict[str, str] = {}
        self._values: dict[str, tuple[int, int]] = {}
        self._pairs: dict[tuple[tuple[str, str], ...], Pairs] = {}

    def entry(
        self,
        customer: str,
        meter: str,
        value: Value,
        dimensions: Mapping[str, str] | None,
        event_id: str | None,
        source: str | None,
        moment: datetime | None,
    ) -> Entry:
        """Return a checked event, ready to pack.

        Raises:
            RefusedUsage: naming the first field that is wrong.

        """
        instant = time.time_ns() // 1000 if moment is None else _instant(moment)
        try:  # words seen before: the hot path
            home = self._homes[customer]
            self._meters[meter]
            pairs = self._pairs[tuple(dimensions.items())] if dimensions else ()
        except (KeyError, TypeError, AttributeError):
            home = self._home(customer)
            _remember(self._meters, _text(meter, "meter", METER_CHARS_MAX), meter)
            pairs = self._read_dimensions(dimensions)
        read = self._values.get(value) if type(value) is str else None
        mantissa, scale = read or self._read_value(value)
        if event_id is None:
            if source is not None:
                raise RefusedUsage(
                    Rejection(
                        Code.BAD_FIELD, "source", "source is kept only for an event with an id"
                    )
                )
            return home, customer, meter, instant, mantissa, scale, pairs, "", "", None
        event_id = _text(event_id, "id", ID_CHARS_MAX)
        source = self._producer if source is None else _text(source, "source", ID_CHARS_MAX)
        return home, customer, meter, instant, mantissa, scale, pairs, source, event_id, None

    def entry_of(self, event: UsageEvent) -> Entry:
        """Return an event that was checked before (parse_cloudevent, the host agent)."""
        back = event.reversed_at
        if back is not None and not event.id:
            raise RefusedUsage(
                Rejection(Code.MISSING_FIELD, "id", "id: a reversal has its original's")
            )
        mantissa, scale = mantissa_scale(event.value)
        pairs = tuple(sorted(event.dimensions.items()))
        who, what, when = event.customer, event.meter, event.time
        home, source, event_id = self._home(who), event.source, event.id
        return home, who, what, when, mantissa, scale, pairs, source, event_id, back

    def _home(self, customer: str) -> int:
        home = self._homes.get(customer) if type(customer) is str else None
        if home is None:
            home = partition_of(_text(customer, "customer", ID_CHARS_MAX), self._partitions)
            _remember(self._homes, customer, home)
        return home

    def _read_value(self, value: object) -> tuple[int, int]:
        if type(value) is int and -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
            return value, 0
        read = plain_mantissa(value) if type(value) is str else None
        if read is None:
            try:
                read = mantissa_scale(checked_value(_value_text(value), "value"))
            except Refused as refused:
                raise RefusedUsage(refused.rejection) from None
        if type(value) is str:
            _remember(self._values, value, read)
        return read

    def _read_dimensions(self, dimensions: Mapping[str, str] | None) -> Pairs:
        try:
            checked = checked_dimensions(dimensions, "dimensions")
        except Refused as refused:
            raise RefusedUsage(refused.rejection) from None
        pairs = tuple(sorted(checked.items()))
        _remember(self._pairs, tuple(checked.items()), pairs)
        return pairs


def _remember(memory: dict[_K, _V], key: _K, value: _V) -> None:
    if len(memory) >= _REMEMBERED_MAX:
        memory.clear()
    memory[key] = value


def _text(value: object, path: str, chars_max: int) -> str:
    try:
        return checked_text(value, path, chars_max)
    except Refused as refused:
        raise RefusedUsage(refused.rejection) from None


def _value_text(value: object) -> object:
    """Return a number as plain digits; what is none goes on to be refused."""
    if isinstance(value, float):
        message = f"value: {value!r} is a float, which is never exact: give a str or Decimal"
        raise RefusedUsage(Rejection(Code.BAD_VALUE, "value", message))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _INTEGER_LIMIT else "1" + "0" * INTEGER_DIGITS_MAX
    if isinstance(value, Decimal):
        # One with an enormous exponent would be an enormous text.
        fits = value.is_finite() and -SCALE_MAX - 64 < value.adjusted() < INTEGER_DIGITS_MAX
        return format(value, "f") if fits else str(value)
    return value


def _instant(moment: object) -> Instant:
    if not isinstance(moment, datetime) or moment.tzinfo is None or moment.utcoffset() is None:
        message = f"time: {moment!r} is no datetime with a time zone"
        raise RefusedUsage(Rejection(Code.BAD_TIME, "time", message[:160]))
    instant = from_datetime(moment)
    if not EARLIEST <= instant < LATEST:
        message = f"time: {instant_text(instant)} is outside the years 2000 to 2099"
        raise RefusedUsage(Rejection(Code.BAD_TIME, "time", message))
    return instant
