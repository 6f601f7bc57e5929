"""Merging a flush's rows in columns: exact whatever the order, the split and the size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.book.merging import Merged, merge

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
FAR = 1 << 40
"""Two keys so far apart do not fit one number."""
ROW = st.tuples(
    st.sampled_from([1, 2, 3, FAR]),
    st.sampled_from([0, 1, 2, FAR]),
    st.integers(0, 1),
    st.integers(1, 9),
    INT64,
    INT64,
    INT64,
)
Row = tuple[int, ...]


def in_columns(rows: list[Row]) -> Merged:
    return merge([np.array(column, np.int64) for column in zip(*rows, strict=True)])


def by_key(rows: list[Row]) -> dict[Row, Row]:
    found: dict[Row, Row] = {}
    for *key, count, total, low, high in rows:
        known = found.get(tuple(key))
        if known is not None:
            count, total = count + known[0], total + known[1]
            low, high = min(low, known[2]), max(high, known[3])
        found[tuple(key)] = (count, total, low, high)
    return found


def rows_of(merged: Merged) -> list[Row]:
    return [*zip(*(column.tolist() for column in merged.columns), strict=True), *merged.wide]


@given(st.lists(ROW, min_size=1, max_size=40))
def test_rows_merge_to_what_python_makes_of_them(rows: list[Row]) -> None:
    found = rows_of(in_columns(rows))

    assert {row[:3]: row[3:] for row in found} == by_key(rows)
    assert len({row[:3] for row in found}) == len(found)


@given(st.lists(ROW, min_size=1, max_size=20), st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Row], chance: object) -> None:
    shuffled = sorted(rows, key=lambda _: chance.random())  # type: ignore[attr-defined]

    assert rows_of(in_columns(shuffled)) == rows_of(in_columns(rows))


def test_a_sum_beyond_int64_leaves_as_a_wide_row() -> None:
    most = (1 << 63) - 1
    merged = in_columns([(1, 0, 0, 1, most, 5, 5), (1, 0, 0, 1, most, 3, 9), (2, 0, 0, 1, 7, 7, 7)])

    assert merged.wide == [(1, 0, 0, 2, 2 * most, 3, 9)]
    assert [column.tolist() for column in merged.columns] == [[2], [0], [0], [1], [7], [7], [7]]


def test_nothing_merges_to_nothing() -> None:
    empty = np.empty(0, np.int64)

    assert merge([empty] * 7).wide == ()
