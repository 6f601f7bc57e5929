"""Card shapes: which keys a rate card has: its price model, and the terms beside it.

Owns: the keys of each.  Does not own: reading them (cards.py, rate).
"""

from collections.abc import Mapping

from pipeline.catalog.rate_cards import COVERS_ALL, OF_MONEY
from pipeline.catalog.schema import (
    READ,
    Schema,
    Shape,
    decimal,
    ident,
    listed,
    number,
    or_null,
    text,
    words,
)
from pipeline.catalog.tax_terms import TaxCode
from pipeline.collect.limits import DIMENSION_CHARS_MAX
from pipeline.rate import package
from pipeline.rate.conversion import Operation, Rounding
from pipeline.rate.limits import (
    CELLS_MAX,
    DISCOUNTS_MAX,
    MATRIX_DIMENSIONS_MAX,
    REASON_CHARS_MAX,
    TIERS_MAX,
)
from pipeline.rate.terms import Duration, PaymentTerm

TIER = Shape(
    {
        "up_to": decimal("The last unit of the tier; null, in the last one: no end.", ""),
        "unit_amount": decimal("Of each unit."),
        "flat_amount": decimal("Of the tier, once."),
        "block_size": decimal("Units of a block, priced once begun.", ""),
        "block_amount": decimal("Of each block begun."),
    },
    (),
)
PERCENTAGE_TIER = Shape(
    {
        "up_to": TIER.members["up_to"],
        "rate_percent": decimal("Of the money in the tier.", ""),
        "flat_amount": TIER.members["flat_amount"],
    },
    (),
)
CELL = Shape(
    {
        "values": listed(
            "A value for each dimension, in their order.",
            {"type": "string", "maxLength": DIMENSION_CHARS_MAX},
            minItems=1,
        ),
        "unit_amount": decimal("Of each unit."),
    },
    ("values", "unit_amount"),
)
_TIERS = listed("Sorted by up_to.", TIER.schema(), minItems=1, maxItems=TIERS_MAX)


def _price(name: str, required: tuple[str, ...], **members: Schema) -> Shape:
    return Shape({"type": words("The model.", name), **members}, ("type", *required))


PRICES: Mapping[str, Shape] = {
    "flat": _price("flat", ("amount",), amount=decimal("Of each cycle.")),
    "unit": _price("unit", ("unit_amount",), unit_amount=decimal("Of each unit.")),
    "graduated": _price("graduated", ("tiers",), tiers=_TIERS),
    "volume": _price("volume", ("tiers",), tiers=_TIERS),
    "package": _price(
        "package",
        ("package_size", "package_amount"),
        package_size=decimal("Units of a package.", ""),
        package_amount=decimal("Of each package."),
        free_units=decimal("Come off first.", ""),
        rounding=words("What a package begun counts.", *package.PackageRounding),
    ),
    "percentage": _price(
        "percentage",
        (),
        rate_percent=decimal("Of the money counted.", ""),
        fixed_per_event=decimal("Of each paying event."),
        free_events=number("The first events are free.", "[0-9]+"),
        free_amount=decimal("The first money is free.", ""),
        per_event_minimum=decimal("At least this of each paying event.", ""),
        per_event_maximum=decimal("At most this of each paying event.", ""),
    ),
    "graduated_percentage": _price(
        "graduated_percentage",
        ("tiers",),
        tiers=listed("Sorted by up_to.", PERCENTAGE_TIER.schema(), minItems=1, maxItems=TIERS_MAX),
    ),
    "dynamic": _price(
        "dynamic", (), multiplier=decimal("Times the money that events tell; 1 if left out.", "")
    ),
    "matrix": _price(
        "matrix",
        ("dimensions", "cells", "default_unit_amount"),
        dimensions=listed(
            "What the price depends on.",
            text("", READ),
            minItems=1,
            maxItems=MATRIX_DIMENSIONS_MAX,
        ),
        cells=listed("One for each combination.", CELL.schema(), minItems=1, maxItems=CELLS_MAX),
        default_unit_amount=decimal("Of each unit of any other usage."),
    ),
}
"""The price models that are booked, by type."""

UNIT_CONVERSION = Shape(
    {
        "operation": words("What is done with the factor.", *Operation),
        "factor": decimal("Above 0.", ""),
        "rounding": words("Of the converted quantity.", *Rounding),
        "precision": {
            **number("Decimals it is rounded to.", "[0-9]{1,2}"),
            "type": ["string", "integer"],
        },
    },
    ("operation", "factor"),
)
_TAX = ("inclusive", "exclusive")
_LASTING: Mapping[str, Schema] = {
    "duration": words("How long it lasts.", *Duration),
    "cycles": number("Cycles of the subscription (repeating).", "[0-9]{1,4}"),
    "reason": text("Stands on the line.", READ, REASON_CHARS_MAX),
}
DISCOUNTS = (
    Shape(
        {"type": words("", "percentage"), "percent": decimal("Of what is left.", ""), **_LASTING},
        ("type", "percent"),
    ),
    Shape(
        {"type": words("", "fixed"), "amount": decimal("Off what is left.", ""), **_LASTING},
        ("type", "amount"),
    ),
)
_TERMS: Mapping[str, Schema] = {
    "unit_conversion": UNIT_CONVERSION.schema(),
    "usage_discount": decimal("Free of each period, in converted units.", ""),
    "discounts": listed(
        "All percentages first, then the fixed ones.",
        {"anyOf": [shape.schema() for shape in DISCOUNTS]},
        maxItems=DISCOUNTS_MAX,
    ),
    "maximum": decimal("Of a period.", ""),
    "minimum": decimal("Of a period: what lacks is charged at its end.", ""),
    "quantity": decimal("Of a flat fee: seats or the like.", ""),
    "payment_term": words("Of a flat fee.", *PaymentTerm),
}
TAX_TERMS: Mapping[str, Schema] = {
    "tax_code": words("What is sold, as tax law tells it apart; standard if left out.", *TaxCode),
    "tax": words("Whether amounts contain the tax; exclusive if left out.", *_TAX),
    "tax_reason": text("Why none is due (exempt, out_of_scope).", READ),
}
SELLER = Shape(
    {
        "id": ident("Who is paid out what it comes to before tax, less the commission."),
        "commission": decimal("What the issuer keeps of it, in percent.", ""),
    },
    ("id", "commission"),
)
LISTED = Shape(
    {
        "price": {"anyOf": [shape.schema() for shape in PRICES.values()]},
        **{key: _TERMS[key] for key in OF_MONEY},
    },
    ("price",),
)
_COVERED = listed("Some of its plan, by id.", ident(""), minItems=1)
PLAN_PRICE = Shape(
    {
        "id": ident("The price, within its plan."),
        "name": text("Stands on the line.", READ),
        "currency": text("That of the plan, if told.", "[A-Z]{3}"),
        "meter": ident("What is billed; absent for a flat fee."),
        "filter": {
            "type": "object",
            "description": "Only usage of these values, by dimension.",
            "additionalProperties": or_null(
                listed("", {"type": "string", "maxLength": DIMENSION_CHARS_MAX}, minItems=1)
            ),
        },
        "group_by": listed("A line for each value of these dimensions.", text("", READ)),
        "price": {"anyOf": [shape.schema() for shape in PRICES.values()]},
        "currencies": {
            "type": "object",
            "description": "What it is in other currencies than the plan's.",
            "propertyNames": {"pattern": "^[A-Z]{3}$"},
            "additionalProperties": or_null(LISTED.schema()),
        },
        "seller": SELLER.schema(),
        "covers": {
            "description": "Of a flat price: the least that these come to in a period.",
            "anyOf": [words("All others of its plan.", COVERS_ALL), _COVERED],
        },
        **_TERMS,
        **TAX_TERMS,
    },
    ("id", "name", "price"),
)
