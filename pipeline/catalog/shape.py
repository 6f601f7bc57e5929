"""Shape: which keys a sheet has and what stands at each, told once: for readers and for editors.

Owns: the keys of every mapping of a sheet, and the JSON Schema that editors check by.
Does not own: reading (sheet.py), the words and numbers themselves (fields.py), what only several
entries together can break (references.py, edits.py).
Law: what the schema refuses the sheet refuses too; whatever the sheet reads, the schema lets be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.fields import (
    ID_CHARS_MAX,
    ID_PATTERN,
    PREFIX_CHARS_MAX,
    PREFIX_PATTERN,
    TEXT_CHARS_MAX,
    ZONE_PATTERN,
)
from pipeline.collect.limits import DIMENSION_CHARS_MAX, DIMENSIONS_MAX
from pipeline.core.identity import Json
from pipeline.meter.meters import Aggregation
from pipeline.rate import package
from pipeline.rate.conversion import Operation, Rounding
from pipeline.rate.limits import (
    CELLS_MAX,
    DISCOUNTS_MAX,
    MATRIX_DIMENSIONS_MAX,
    NUMBER_DIGITS_MAX,
    REASON_CHARS_MAX,
    TIERS_MAX,
)
from pipeline.rate.terms import Duration, PaymentTerm

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PROFILE_MAX = 32
"""Personal values of one customer."""

Schema = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Shape:
    """One mapping of a sheet: the schema of each key, in the order that messages name them."""

    members: Mapping[str, Schema]
    required: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are read."""
        return tuple(self.members)

    def schema(self) -> Schema:
        """Return the schema of the mapping; what is not required may be null."""
        properties: dict[str, Json] = {
            key: member if key in self.required else _or_null(member)
            for key, member in self.members.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


def _or_null(schema: Schema) -> Schema:
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    types = schema["type"]
    found: Schema = {**schema, "type": [*(types if isinstance(types, list) else [types]), "null"]}
    if "enum" in schema:
        found["enum"] = [*cast(list[Json], schema["enum"]), None]
    return found


def _text(told: str, pattern: str, chars_max: int = TEXT_CHARS_MAX) -> Schema:
    return {
        "type": "string",
        "description": told,
        "pattern": f"^(?:{pattern})$",
        "maxLength": chars_max,
    }


def _list(told: str, items: Schema, **bounds: Json) -> Schema:
    return {"type": "array", "description": told, "items": items, **bounds}


def _number(told: str, pattern: str) -> Schema:
    """Return a number: a string to be exact everywhere; without quotes it is read alike."""
    return {"type": ["string", "number"], "description": told, "pattern": f"^(?:{pattern})$"}


def _decimal(told: str, sign: str = "-?") -> Schema:
    return {**_number(told, rf"{sign}[0-9]+(?:\.[0-9]+)?"), "maxLength": NUMBER_DIGITS_MAX + 2}


def _words(told: str, *words: str) -> Schema:
    return {"type": "string", "description": told, "enum": list(words)}


_READ = r"(?=[\s\S]*\S)[\s\S]*"
_CLOCK = r"PT(?=[0-9])(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+S)?"
_INSTANT = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _id(told: str) -> Schema:
    return _text(told, ID_PATTERN, ID_CHARS_MAX)


def _moment(told: str) -> Schema:
    return _text(f"{told}: an instant with a zone, like 2026-11-01T00:00:00Z.", _INSTANT)


def _clock(told: str) -> Schema:
    return _text(f"{told}: clock time, like PT15M or PT1H.", _CLOCK)


RULES = Shape({"grace": _clock("How long after a period its usage is waited for")}, ("grace",))
ISSUER = Shape(
    {
        "id": _id("The issuer."),
        "name": _text("The legal entity that issues invoices.", _READ),
        "number_prefix": _text("Stands before each number.", PREFIX_PATTERN, PREFIX_CHARS_MAX),
    },
    ("id", "name", "number_prefix"),
)
METER = Shape(
    {
        "id": _id("The meter; it never changes once in force."),
        "aggregation": _words("How values become a quantity.", *Aggregation),
        "unit": _text("What one is called.", _READ),
        "window": _clock("Usage is kept by windows of this length, which divides a day"),
        "dimensions": _list(
            "What usage is told apart by.", _text("", _READ), maxItems=DIMENSIONS_MAX
        ),
        "of": _text("The dimension whose values are counted (unique_count).", _READ),
        "percent": _decimal("Above 0, at most 100 (percentiles).", ""),
        "per": _clock("Levels are summed up in level x this time (time_weighted)"),
        "points": {
            "type": ["boolean", "string"],
            "description": "Keep single events, for prices that look at each (sum).",
            "enum": [True, False, "true", "false"],
        },
    },
    ("id", "aggregation", "unit"),
)

TIER = Shape(
    {
        "up_to": _decimal("The last unit of the tier; null, in the last one: no end.", ""),
        "unit_amount": _decimal("Of each unit."),
        "flat_amount": _decimal("Of the tier, once."),
        "block_size": _decimal("Units of a block, priced once begun.", ""),
        "block_amount": _decimal("Of each block begun."),
    },
    (),
)
PERCENTAGE_TIER = Shape(
    {
        "up_to": TIER.members["up_to"],
        "rate_percent": _decimal("Of the money in the tier.", ""),
        "flat_amount": TIER.members["flat_amount"],
    },
    (),
)
CELL = Shape(
    {
        "values": _list(
            "A value for each dimension, in their order.",
            {"type": "string", "maxLength": DIMENSION_CHARS_MAX},
            minItems=1,
        ),
        "unit_amount": _decimal("Of each unit."),
    },
    ("values", "unit_amount"),
)
_TIERS = _list("Sorted by up_to.", TIER.schema(), minItems=1, maxItems=TIERS_MAX)


def _price(name: str, required: tuple[str, ...], **members: Schema) -> Shape:
    return Shape({"type": _words("The model.", name), **members}, ("type", *required))


PRICES: Mapping[str, Shape] = {
    "flat": _price("flat", ("amount",), amount=_decimal("Of each cycle.")),
    "unit": _price("unit", ("unit_amount",), unit_amount=_decimal("Of each unit.")),
    "graduated": _price("graduated", ("tiers",), tiers=_TIERS),
    "volume": _price("volume", ("tiers",), tiers=_TIERS),
    "package": _price(
        "package",
        ("package_size", "package_amount"),
        package_size=_decimal("Units of a package.", ""),
        package_amount=_decimal("Of each package."),
        free_units=_decimal("Come off first.", ""),
        rounding=_words("What a package begun counts.", *package.PackageRounding),
    ),
    "percentage": _price(
        "percentage",
        (),
        rate_percent=_decimal("Of the money counted.", ""),
        fixed_per_event=_decimal("Of each paying event."),
        free_events=_number("The first events are free.", "[0-9]+"),
        free_amount=_decimal("The first money is free.", ""),
        per_event_minimum=_decimal("At least this of each paying event.", ""),
        per_event_maximum=_decimal("At most this of each paying event.", ""),
    ),
    "graduated_percentage": _price(
        "graduated_percentage",
        ("tiers",),
        tiers=_list("Sorted by up_to.", PERCENTAGE_TIER.schema(), minItems=1, maxItems=TIERS_MAX),
    ),
    "dynamic": _price(
        "dynamic", (), multiplier=_decimal("Times the money that events tell; 1 if left out.", "")
    ),
    "matrix": _price(
        "matrix",
        ("dimensions", "cells", "default_unit_amount"),
        dimensions=_list(
            "What the price depends on.",
            _text("", _READ),
            minItems=1,
            maxItems=MATRIX_DIMENSIONS_MAX,
        ),
        cells=_list("One for each combination.", CELL.schema(), minItems=1, maxItems=CELLS_MAX),
        default_unit_amount=_decimal("Of each unit of any other usage."),
    ),
}
"""The price models that are booked, by type."""

UNIT_CONVERSION = Shape(
    {
        "operation": _words("What is done with the factor.", *Operation),
        "factor": _decimal("Above 0.", ""),
        "rounding": _words("Of the converted quantity.", *Rounding),
        "precision": {
            **_number("Decimals it is rounded to.", "[0-9]{1,2}"),
            "type": ["string", "integer"],
        },
    },
    ("operation", "factor"),
)
_LASTING: Mapping[str, Schema] = {
    "duration": _words("How long it lasts.", *Duration),
    "cycles": _number("Cycles of the subscription (repeating).", "[0-9]{1,4}"),
    "reason": _text("Stands on the line.", _READ, REASON_CHARS_MAX),
}
DISCOUNTS = (
    Shape(
        {"type": _words("", "percentage"), "percent": _decimal("Of what is left.", ""), **_LASTING},
        ("type", "percent"),
    ),
    Shape(
        {"type": _words("", "fixed"), "amount": _decimal("Off what is left.", ""), **_LASTING},
        ("type", "amount"),
    ),
)
_TERMS: Mapping[str, Schema] = {
    "unit_conversion": UNIT_CONVERSION.schema(),
    "usage_discount": _decimal("Free of each period, in converted units.", ""),
    "discounts": _list(
        "All percentages first, then the fixed ones.",
        {"anyOf": [shape.schema() for shape in DISCOUNTS]},
        maxItems=DISCOUNTS_MAX,
    ),
    "maximum": _decimal("Of a period.", ""),
    "minimum": _decimal("Of a period: what lacks is charged at its end.", ""),
    "quantity": _decimal("Of a flat fee: seats or the like.", ""),
    "payment_term": _words("Of a flat fee.", *PaymentTerm),
}
PLAN_PRICE = Shape(
    {
        "id": _id("The price, within its plan."),
        "name": _text("Stands on the line.", _READ),
        "currency": _text("That of the plan, if told.", "[A-Z]{3}"),
        "meter": _id("What is billed; absent for a flat fee."),
        "filter": {
            "type": "object",
            "description": "Only usage of these values, by dimension.",
            "additionalProperties": _or_null(
                _list("", {"type": "string", "maxLength": DIMENSION_CHARS_MAX}, minItems=1)
            ),
        },
        "group_by": _list("A line for each value of these dimensions.", _text("", _READ)),
        "price": {"anyOf": [shape.schema() for shape in PRICES.values()]},
        **_TERMS,
    },
    ("id", "name", "price"),
)
PLAN = Shape(
    {
        "id": _id("The plan."),
        "name": _text("What people call it.", _READ),
        "issuer": _id("Who issues its invoices."),
        "currency": _text("ISO 4217, like EUR.", "[A-Z]{3}"),
        "cycle": _text("ISO 8601: P1M is a month, PT1M a minute.", "P[0-9YMWDTHS]+"),
        "payment_days": {
            **_number("Days until an invoice is due.", "[0-9]{1,4}"),
            "type": ["string", "integer"],
        },
        "effective": _moment("From when on its prices are in force, absent: throughout"),
        "prices": _list("Billed every cycle.", PLAN_PRICE.schema()),
    },
    ("id", "name", "issuer", "currency", "cycle"),
)
CUSTOMER = Shape(
    {
        "id": _id("The customer, as events name it."),
        "time_zone": _text("IANA name; UTC if left out.", ZONE_PATTERN),
        "profile": {
            "type": "object",
            "description": "Personal values; they never enter the fact log.",
            "propertyNames": {"pattern": f"^(?:{ID_PATTERN})$", "maxLength": ID_CHARS_MAX},
            "additionalProperties": _or_null(_text("", _READ)),
        },
    },
    ("id",),
)
SUBSCRIPTION = Shape(
    {
        "id": _id("The subscription."),
        "customer": _id("Who buys."),
        "plan": _id("What."),
        "start": _moment("From when on"),
        "end": _moment("Until when; null: until further notice"),
    },
    ("id", "customer", "plan", "start"),
)
SHEET = Shape(
    {
        "rules": RULES.schema(),
        "issuers": _list("Who issues invoices.", ISSUER.schema()),
        "meters": _list("What is counted.", METER.schema()),
        "plans": _list("What is sold.", PLAN.schema()),
        "customers": _list("Who is billed.", CUSTOMER.schema()),
        "subscriptions": _list("Who buys what.", SUBSCRIPTION.schema()),
    },
    (),
)


def sheet_schema() -> Schema:
    """Return the JSON Schema of a sheet."""
    told: Schema = {
        "$schema": DIALECT,
        "title": "Talea catalog",
        "description": "What `talea catalog apply` reads; `talea catalog check` tells the rest.",
    }
    return {**told, **_or_null(SHEET.schema())}
