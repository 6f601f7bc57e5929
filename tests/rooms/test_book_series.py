"""Series have numbers: the same series the same number, in every slice and dictionary order."""

import numpy as np

from pipeline.book.series import SeriesIndex, SeriesKey
from pipeline.collect.batch import MeterScale
from pipeline.meter.slices import Rows


def rows(
    customers: list[str],
    meters: list[tuple[str, int]],
    dimensions: list[dict[str, str]],
    *places: tuple[int, int, int],
) -> Rows:
    index = np.array(places, "<u2").T
    return Rows(
        customers=customers,
        meters=[MeterScale(*meter) for meter in meters],
        dimensions=dimensions,
        customer_index=index[0].tobytes(),
        meter_index=index[1].tobytes(),
        dimensions_index=index[2].tobytes(),
    )


def test_a_series_keeps_its_number_whatever_the_dictionaries() -> None:
    index = SeriesIndex()
    eu = {"region": "eu", "az": "1"}

    first = rows(["acme", "globex"], [("calls", 0)], [{}, eu], (0, 0, 0), (1, 0, 1), (0, 0, 0))
    other = rows(
        ["zed", "globex", "acme"],
        [("calls", 2), ("calls", 0)],
        [{"az": "1", "region": "eu"}, {}],
        (1, 1, 0),
        (2, 1, 1),
        (2, 0, 1),
    )

    assert index.numbers(first).tolist() == [0, 1, 0]
    assert index.numbers(other).tolist() == [1, 0, 2]
    assert [index[number] for number in range(len(index))] == [
        SeriesKey("acme", "calls", 0, ()),
        SeriesKey("globex", "calls", 0, (("az", "1"), ("region", "eu"))),
        SeriesKey("acme", "calls", 2, ()),
    ]


def test_customers_without_rows_are_not_remembered() -> None:
    index = SeriesIndex()

    index.numbers(rows(["stranger", "acme"], [("calls", 0)], [{}], (1, 0, 0)))

    assert [index[number] for number in range(len(index))] == [SeriesKey("acme", "calls", 0, ())]
    assert [*index._kinds["calls", 0, ()].numbers] == ["acme"]
