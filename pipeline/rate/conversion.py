"""Conversion: from metered to priced units, rounded before pricing (rules 9, 10).

Owns: the conversion and its roundings. Does not own: when it happens (rating.py: on the running
total, never per line).
Readings: a running total is never below zero, so `half_up` and half away from zero agree;
`precision` counts decimals, from 0; beside `none` it says nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from pipeline.core.quantity import ratio, rounded_ratio
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields, shown
from pipeline.rate.limits import PRECISION_MAX

_KEYS = frozenset({"operation", "factor", "rounding", "precision"})


class Operation(StrEnum):
    """What is done with the factor."""

    DIVIDE = "divide"
    MULTIPLY = "multiply"


class Rounding(StrEnum):
    """How the converted quantity is rounded to `precision` decimals."""

    NONE = "none"
    CEILING = "ceiling"
    FLOOR = "floor"
    HALF_UP = "half_up"


@dataclass(frozen=True, slots=True)
class UnitConversion:
    """Divide or multiply by a factor above zero, then round."""

    operation: Operation
    factor: Fraction
    rounding: Rounding = Rounding.NONE
    precision: int = 0


def converted(conversion: UnitConversion, quantity: Fraction) -> Fraction:
    """Return a running total, from 0 on, in priced units."""
    numerator, denominator = quantity.as_integer_ratio()
    top, below = conversion.factor.as_integer_ratio()
    match conversion.operation:
        case Operation.DIVIDE:
            numerator, denominator = numerator * below, denominator * top
        case Operation.MULTIPLY:
            numerator, denominator = numerator * top, denominator * below
    scale: int = 10**conversion.precision
    match conversion.rounding:
        case Rounding.NONE:
            return ratio(numerator, denominator)
        case Rounding.CEILING:
            return ratio(-(-numerator * scale // denominator), scale)
        case Rounding.FLOOR:
            return ratio(numerator * scale // denominator, scale)
        case Rounding.HALF_UP:
            return ratio(rounded_ratio(numerator * scale, denominator), scale)


def read_conversion(fields: Fields) -> UnitConversion:
    """Read `unit_conversion`; operation and factor are required."""
    fields.close(_KEYS)
    if fields.opened and not fields.has("operation"):
        fields.note(FaultCode.MISSING, "operation", "required, but absent or null")
    return UnitConversion(
        fields.word("operation", Operation, Operation.DIVIDE),
        fields.needed("factor", positive=True),
        fields.word("rounding", Rounding, Rounding.NONE),
        _precision(fields),
    )


def _precision(fields: Fields) -> int:
    """Read the one JSON integer of the contract (rule 2)."""
    value = fields.value("precision")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        fields.note(FaultCode.WRONG_TYPE, "precision", f"{shown(value)} is no JSON integer")
        return 0
    if not 0 <= value <= PRECISION_MAX:
        code = FaultCode.NEGATIVE if value < 0 else FaultCode.TOO_LARGE
        fields.note(code, "precision", f"{value} is not from 0 to {PRECISION_MAX}")
        return 0
    return value
