"""Figures of a slice's rows: as few bytes as the values need, and every bit of them again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stores.figures import pack_figures, read_figures


def column(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ((0, 127), 1),
        ((-128, 0), 1),
        ((0, 128), 2),
        ((-129, 0), 2),
        ((32767, -32768), 2),
        ((32768, 0), 4),
        (((1 << 31) - 1, -(1 << 31)), 4),
        ((1 << 31, 0), 8),
        (((1 << 63) - 1, -(1 << 63)), 8),
    ],
)
def test_a_column_is_as_wide_as_its_values(values: tuple[int, int], width: int) -> None:
    widths, figures = pack_figures([column(*values)])

    assert (widths, len(figures)) == (bytes([width]), 2 * width)
    assert read_figures(widths, figures, 2) == [column(*values)]


longs = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-200, 200)


@given(
    st.integers(1, 4).flatmap(
        lambda rows: st.lists(st.lists(longs, min_size=rows, max_size=rows), min_size=1, max_size=5)
    )
)
def test_every_bit_comes_back(table: list[list[int]]) -> None:
    columns = [column(*values) for values in table]

    assert read_figures(*pack_figures(columns), len(table[0])) == columns


@pytest.mark.parametrize(
    ("widths", "figures", "rows"),
    [
        (b"\3", bytes(6), 2),
        (b"\1", bytes(3), 2),
        (b"\1\2", bytes(5), 2),
        (b"\1", b"", 0),
    ],
    ids=["a width there is not", "too many bytes", "too few", "no row"],
)
def test_what_lies_about_itself_is_refused(widths: bytes, figures: bytes, rows: int) -> None:
    with pytest.raises(ValueError, match="bytes of figures"):
        read_figures(widths, figures, rows)
