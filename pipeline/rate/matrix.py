"""Matrix: a unit price for each combination of dimension values, and one for all others.

Owns: which cell usage of some dimensions falls into. Does not own: telling usage apart by
dimensions (meter), a line for each combination (invoice).
Readings: a cell names a value for every dimension of the matrix, in their order; usage that
lacks one, or has a value no cell names, pays `default_unit_amount`, which is required. Every
line is rated with the values it was told apart by, and matched by its unit amount like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.limits import CELLS_MAX, MATRIX_DIMENSIONS_MAX
from pipeline.rate.lines import USAGE, Part

KEYS = frozenset({"type", "dimensions", "cells", "default_unit_amount"})
_CELL_KEYS = frozenset({"values", "unit_amount"})


@dataclass(frozen=True, slots=True)
class Cell:
    """`unit_amount` for usage of these values, one for each dimension of the matrix."""

    values: tuple[str, ...]
    unit_amount: Fraction


@dataclass(frozen=True, slots=True)
class MatrixPrice:
    """Cells over `dimensions`; whatever falls into none pays the default."""

    dimensions: tuple[str, ...]
    cells: tuple[Cell, ...]
    default_unit_amount: Fraction
    _amounts: Mapping[tuple[str, ...], Fraction] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        amounts = {cell.values: cell.unit_amount for cell in self.cells}
        object.__setattr__(self, "_amounts", amounts)

    def unit_amount(self, told: Mapping[str, str]) -> Fraction:
        """Return what a unit of usage of some dimensions costs."""
        values = tuple(told[name] for name in self.dimensions if name in told)
        return self._amounts.get(values, self.default_unit_amount)


def parts(price: MatrixPrice, quantity: Fraction, told: Mapping[str, str]) -> list[Part]:
    """Return the one line, none for a quantity of zero."""
    return [Part(USAGE, quantity, price.unit_amount(told))] if quantity.numerator else []


def read(fields: Fields) -> MatrixPrice:
    """Read a matrix price."""
    dimensions = fields.texts("dimensions", MATRIX_DIMENSIONS_MAX)
    if not dimensions:
        fields.note(FaultCode.MISSING, "dimensions", "there must be at least one")
    elif len(set(dimensions)) < len(dimensions):
        fields.note(FaultCode.DUPLICATE_KEY, "dimensions", "one stands twice")
    cells = [_read_cell(cell, len(dimensions)) for cell in fields.objects("cells", CELLS_MAX)]
    if not fields.has("cells") or fields.value("cells") == []:
        fields.note(FaultCode.MISSING, "cells", "there must be at least one")
    seen: set[tuple[str, ...]] = set()
    for at, cell in enumerate(cells):
        if cell.values in seen:
            fields.note(FaultCode.DUPLICATE_KEY, f"cells[{at}].values", "another cell has them")
        seen.add(cell.values)
    return MatrixPrice(dimensions, tuple(cells), fields.needed("default_unit_amount"))


def _read_cell(fields: Fields, count: int) -> Cell:
    fields.close(_CELL_KEYS)
    values = fields.texts("values", MATRIX_DIMENSIONS_MAX)
    if len(values) != count:
        message = f"{len(values)} values for {count} dimensions"
        fields.note(FaultCode.CELL_SIZE, "values", message)
    return Cell(values, fields.needed("unit_amount"))


def to_json(price: MatrixPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {
        "type": "matrix",
        "dimensions": list(price.dimensions),
        "cells": [
            {"values": list(cell.values), "unit_amount": quantity_text(cell.unit_amount)}
            for cell in price.cells
        ],
        "default_unit_amount": quantity_text(price.default_unit_amount),
    }
