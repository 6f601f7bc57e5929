"""Faults: why something cannot be rated, as data.

Owns: the closed list of codes. Does not own: what to do about one (a command prints it, the
catalog adds file and line, a draft carries it as a validation issue).
"""

from dataclasses import dataclass
from enum import StrEnum


class FaultCode(StrEnum):
    """Every reason, once."""

    INVALID_JSON = "invalid_json"
    """The line is not JSON (rule 4)."""
    NOT_AN_OBJECT = "not_an_object"
    """The line is JSON, but no object (rule 4)."""
    TOO_LARGE = "too_large"
    """Longer or deeper than the limits allow (limits.py)."""
    DUPLICATE_KEY = "duplicate_key"
    """A key stands twice in one object."""
    UNKNOWN_KEY = "unknown_key"
    """A key nobody reads (rule 3)."""
    MISSING = "missing"
    """A required value is absent or null (rule 5)."""
    WRONG_TYPE = "wrong_type"
    """A string where an object belongs, and the like."""
    BAD_NUMBER = "bad_number"
    """Not a plain decimal string, or beyond the digits allowed (rule 2)."""
    BAD_CHOICE = "bad_choice"
    """Not one of the words that may stand here."""
    BAD_CURRENCY = "bad_currency"
    """No upper-case ISO 4217 currency with a minor unit (rule 3)."""
    NEGATIVE = "negative"
    """Below zero where that means nothing (rule 33)."""
    NOT_POSITIVE = "not_positive"
    """Zero or below where something is divided or bounded by it (rules 16, 33)."""
    TIER_ORDER = "tier_order"
    """Bounds that do not ascend, or an open tier before the last (rule 16)."""
    TIER_MIXED = "tier_mixed"
    """Block and unit amounts in one tier (rule 18)."""
    CELL_SIZE = "cell_size"
    """A matrix cell without a value for each dimension."""
    BEYOND_LAST_TIER = "beyond_last_tier"
    """A quantity above a bounded last tier (rule 16)."""
    MINIMUM_ABOVE_MAXIMUM = "minimum_above_maximum"
    """They cannot both hold (rule 33)."""
    EVENTS_NEEDED = "events_needed"
    """The price looks at single events, none were given (rule 25)."""
    EVENTS_MISMATCH = "events_mismatch"
    """Event amounts that do not sum to the quantity, or not as many as counted (rule 25)."""
    EVENTS_FORBIDDEN = "events_forbidden"
    """Event data beside a past, a usage discount or conversion, or another price (rule 25)."""
    OUT_OF_RANGE = "out_of_range"
    """A count or text of a rate card that is beyond what is sensible."""
    UNFIT = "unfit"
    """A term of a rate card that its price has no use for."""
    UNREACHABLE = "unreachable"
    """A discount that can never take anything."""
    BAD_TIME = "bad_time"
    """No date, local date-time or instant (rule 36)."""
    UNKNOWN_ZONE = "unknown_zone"
    """No such time zone (rule 37)."""
    BAD_PERIOD = "bad_period"
    """An empty or reversed period, or a reversed service (rule 37)."""
    OUTSIDE_PERIOD = "outside_period"
    """Service that starts before the period or ends after it (rule 37)."""
    MISSING_RATE = "missing_rate"
    """A price in another currency, and no rate to exchange it by."""
    BAD_WEIGHTS = "bad_weights"
    """Weights that are empty or all zero (rule 38)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason: a code, the path inside the input (`price.tiers[1].up_to`), a sentence."""

    code: FaultCode
    path: str
    message: str
