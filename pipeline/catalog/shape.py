"""Shape: which keys a sheet has and what stands at each, told once: for readers and for editors.

Owns: the keys of every mapping of a sheet, and the JSON Schema that editors check by.
Does not own: rate cards (card_shapes.py), reading (sheet.py), the words and numbers themselves
(fields.py), what only several entries together can break (checking.py, agreements.py, edits.py).
Law: what the schema refuses the sheet refuses too; whatever the sheet reads, the schema lets be.
"""

from pipeline.catalog.card_shapes import DISCOUNTS, PLAN_PRICE, SELLER, TAX_TERMS
from pipeline.catalog.documents import Payer
from pipeline.catalog.fields import (
    ID_CHARS_MAX,
    ID_PATTERN,
    ITEM_PATTERN,
    PREFIX_CHARS_MAX,
    PREFIX_PATTERN,
    ZONE_PATTERN,
)
from pipeline.catalog.schema import (
    INSTANT,
    READ,
    Schema,
    Shape,
    clock,
    decimal,
    ident,
    listed,
    moment,
    number,
    or_null,
    text,
    words,
)
from pipeline.catalog.tax_places import REGIONS
from pipeline.catalog.tax_terms import Engine, Fallback
from pipeline.collect.limits import DIMENSIONS_MAX
from pipeline.meter.meters import Aggregation

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PROFILE_MAX = 32
"""Personal values of one customer."""
PHASES_MAX = 100
"""Phases of one plan: the last begins within the years that instants have."""

_FLAG: Schema = {"type": ["boolean", "string"], "enum": [True, False, "true", "false"]}
_SINCE = text("From which day on; throughout if left out.", "[0-9]{4}-[0-9]{2}-[0-9]{2}")
_REGIONS = sorted({region for regions in REGIONS.values() for region in regions})

RULES = Shape({"grace": clock("How long after a period its usage is waited for")}, ("grace",))
ISSUER_TAX = Shape(
    {
        "country": text("Where it is established: ISO 3166, like DE.", "[A-Z]{2}"),
        "vat_id": text("Its VAT id there.", READ),
        "registrations": {
            "type": "object",
            "description": "VAT ids it has in other countries, by country.",
            "propertyNames": {"pattern": "^[A-Z]{2}$"},
            "additionalProperties": or_null(text("", READ)),
        },
        "oss": _FLAG | {"description": "It declares consumers' tax in the one-stop shop."},
        "requires": listed("Values of the profile that a document needs.", ident("")),
        "engine": words("Who says which tax is due; own if left out.", *Engine),
        "fallback": words("Where an outside engine is silent; hold if left out.", *Fallback),
        "since": _SINCE,
    },
    ("country",),
)
EXEMPTION = Shape(
    {
        "reason": text("Why it owes no tax; stands on its documents.", READ),
        "evidence": text("What shows it: the number of a certificate.", READ),
    },
    ("reason", "evidence"),
)
CUSTOMER_TAX = Shape(
    {
        "country": text("Where it is: ISO 3166, like DE.", "[A-Z]{2}"),
        "region": words("A part with a tax law of its own.", *_REGIONS),
        "vat_id": text("With its country; a personal value, checked offline.", READ),
        "business": _FLAG | {"description": "Outside the Union; within it a VAT id says so."},
        "exempt": EXEMPTION.schema(),
        "since": _SINCE,
    },
    ("country",),
)
ISSUER = Shape(
    {
        "id": ident("The issuer."),
        "name": text("The legal entity that issues invoices.", READ),
        "number_prefix": text("Stands before each number.", PREFIX_PATTERN, PREFIX_CHARS_MAX),
        "tax": ISSUER_TAX.schema(),
        "approval": _FLAG | {"description": "Issue nothing that nobody approved."},
        "completeness": {
            "description": "While producers miss events: hold documents, or say so on them.",
            "enum": ["hold", "flag"],
        },
        "notes_from": decimal("The least that late usage makes a note of; less waits.", ""),
        "note_prefix": text("Stands before numbers of notes.", PREFIX_PATTERN, PREFIX_CHARS_MAX),
    },
    ("id", "name", "number_prefix"),
)
METER = Shape(
    {
        "id": ident("The meter; it never changes once in force."),
        "aggregation": words("How values become a quantity.", *Aggregation),
        "unit": text("What one is called.", READ),
        "window": clock("Usage is kept by windows of this length, which divides a day"),
        "dimensions": listed(
            "What usage is told apart by.", text("", READ), maxItems=DIMENSIONS_MAX
        ),
        "of": text("The dimension whose values are counted (unique_count).", READ),
        "percent": decimal("Above 0, at most 100 (percentiles).", ""),
        "per": clock("Levels are summed up in level x this time (time_weighted)"),
        "points": _FLAG | {"description": "Keep single events, for prices that look at each."},
    },
    ("id", "aggregation", "unit"),
)

PHASE = Shape(
    {
        "id": ident("The phase, within its plan; stands on lines as the reason of its discount."),
        "length": text("How long it lasts, like P3M.", "P[0-9YMWDTHS]+"),
        "percent_off": decimal("Off all that is billed in it.", ""),
        "prices": listed("Instead of the plan's.", PLAN_PRICE.schema()),
    },
    ("id", "length"),
)
THRESHOLDS_MAX = 32
THRESHOLDS = Shape(
    {
        "at": listed(
            "Amounts of usage in a period, ascending: it is billed as soon as it comes to one.",
            decimal("Above 0, in the plan's currency.", ""),
            maxItems=THRESHOLDS_MAX,
        ),
        "every": decimal("And again whenever it grew by so much behind them.", ""),
    },
    (),
)
PLAN = Shape(
    {
        "id": ident("The plan."),
        "name": text("What people call it.", READ),
        "issuer": ident("Who issues its invoices."),
        "currency": text("ISO 4217, like EUR.", "[A-Z]{3}"),
        "cycle": text("ISO 8601: P1M is a month, PT1M a minute.", "P[0-9YMWDTHS]+"),
        "payment_days": {
            **number("Days until an invoice is due.", "[0-9]{1,4}"),
            "type": ["string", "integer"],
        },
        "effective": moment("From when on its prices are in force, absent: throughout"),
        "prices": listed("Billed every cycle.", PLAN_PRICE.schema()),
        "trial": text("How long nothing is charged at first, like P14D.", "P[0-9YMWDTHS]+"),
        "phases": listed(
            "What it begins with, one after another.", PHASE.schema(), maxItems=PHASES_MAX
        ),
        "thresholds": THRESHOLDS.schema(),
        "seller": SELLER.schema(),
        **TAX_TERMS,
    },
    ("id", "name", "issuer", "currency", "cycle"),
)
BOOK_PLAN = Shape(
    {
        "id": ident("The plan."),
        "prices": listed("Instead of the plan's of the same ids.", PLAN_PRICE.schema()),
    },
    ("id", "prices"),
)
PRICE_BOOK = Shape(
    {
        "id": ident("The price book; `talea catalog book on` puts it in force for some."),
        "name": text("What people call it.", READ),
        "plans": listed("What it sells otherwise.", BOOK_PLAN.schema()),
    },
    ("id", "name", "plans"),
)
PROMOTION = Shape(
    {
        "id": ident("The code; stands on lines as the reason of its discount."),
        "discount": {"anyOf": [shape.schema() for shape in DISCOUNTS]},
        "currency": text("Of a fixed discount.", "[A-Z]{3}"),
        "plans": listed("Only of these plans.", ident("")),
        "prices": listed("Only of these prices; one, where the discount is fixed.", ident("")),
        "starts": moment("From when on it may be redeemed"),
        "ends": moment("From when on it may not"),
        "redemptions_max": number("How often in all.", "[0-9]{1,9}"),
        "per_customer_max": number("How often by one customer.", "[0-9]{1,9}"),
    },
    ("id", "discount"),
)
FX_RATE = Shape(
    {
        "from": text("One of this currency", "[A-Z]{3}"),
        "to": text("is so much of this one", "[A-Z]{3}"),
        "date": text("from this day on, at 00:00 UTC", "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        "rate": decimal("times", ""),
        "source": text("as this says.", READ),
    },
    ("from", "to", "date", "rate", "source"),
)
CUSTOMER = Shape(
    {
        "id": ident("The customer, as events name it."),
        "time_zone": text("IANA name; UTC if left out.", ZONE_PATTERN),
        "currency": text("What it is billed in; its plans' if left out.", "[A-Z]{3}"),
        "profile": {
            "type": "object",
            "description": "Personal values; they never enter the fact log.",
            "propertyNames": {"pattern": f"^(?:{ID_PATTERN})$", "maxLength": ID_CHARS_MAX},
            "additionalProperties": or_null(text("", READ)),
        },
        "tax": CUSTOMER_TAX.schema(),
        "approval": _FLAG | {"description": "Issue nothing that nobody approved."},
        "parent": ident("The customer that it is a sub-account of."),
        "payer": words("Who is invoiced for a sub-account; own if left out.", *Payer),
        "empty_invoices": _FLAG | {"description": "Invoice periods too that bill nothing."},
    },
    ("id",),
)
_QUANTITIES: Schema = {
    "type": "object",
    "description": "Of flat fees, by price: seats, or support/seats of an add-on.",
    "propertyNames": {"pattern": f"^(?:{ITEM_PATTERN})$"},
    "additionalProperties": or_null(decimal("", "")),
}
_OWN_PRICES = listed("Instead of the plan's of the same ids.", PLAN_PRICE.schema())
CHANGE = Shape(
    {
        "at": moment("From when on"),
        "plan": ident("What is bought instead."),
        "quantities": _QUANTITIES,
        "prices": _OWN_PRICES,
    },
    ("at",),
)
PAUSE = Shape(
    {
        "start": moment("From when on"),
        "end": moment("Until when; null: until further notice"),
    },
    ("start",),
)
ADD_ON = Shape(
    {
        "id": ident("The add-on, within its subscription."),
        "plan": ident("What is bought besides."),
        "start": moment("From when on"),
        "end": moment("Until when; null: as long as the subscription"),
    },
    ("id", "plan", "start"),
)
SUBSCRIPTION = Shape(
    {
        "id": ident("The subscription."),
        "customer": ident("Who buys."),
        "plan": ident("What."),
        "currency": text("What it is billed in; its customer's if left out.", "[A-Z]{3}"),
        "start": moment("From when on"),
        "end": moment("Until when; null: until further notice"),
        "anchor": text(
            "What cycles are counted from: calendar, or an instant; its start if left out.",
            f"calendar|{INSTANT}",
        ),
        "trial_end": moment("Until when nothing is charged, instead of the plan's trial"),
        "quantities": _QUANTITIES,
        "prices": _OWN_PRICES,
        "changes": listed("What is agreed anew, in order of time.", CHANGE.schema()),
        "pauses": listed("When nothing is served.", PAUSE.schema()),
        "add_ons": listed("What is bought besides.", ADD_ON.schema()),
        "thresholds": THRESHOLDS.schema() | {"description": "Instead of its plan's."},
    },
    ("id", "customer", "plan", "start"),
)
ORDER = Shape(
    {
        "id": ident("The order; told twice it is one."),
        "customer": ident("Who buys."),
        "issuer": ident("Who issues its invoice."),
        "currency": text("ISO 4217, like EUR.", "[A-Z]{3}"),
        "at": moment("When: it is due then, and on an invoice at once"),
        "payment_days": PLAN.members["payment_days"],
        "lines": listed("Flat prices, each with a quantity.", PLAN_PRICE.schema(), minItems=1),
    },
    ("id", "customer", "issuer", "currency", "at", "lines"),
)
SHEET = Shape(
    {
        "rules": RULES.schema(),
        "issuers": listed("Who issues invoices.", ISSUER.schema()),
        "meters": listed("What is counted.", METER.schema()),
        "plans": listed("What is sold.", PLAN.schema()),
        "price_books": listed("Other prices, for some customers.", PRICE_BOOK.schema()),
        "promotions": listed("Codes; `talea promotion redeem` gives one.", PROMOTION.schema()),
        "fx_rates": listed("Rates of exchange.", FX_RATE.schema()),
        "customers": listed("Who is billed.", CUSTOMER.schema()),
        "subscriptions": listed("Who buys what.", SUBSCRIPTION.schema()),
        "orders": listed("What is bought once.", ORDER.schema()),
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
    return {**told, **or_null(SHEET.schema())}
