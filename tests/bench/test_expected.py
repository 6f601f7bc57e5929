"""The benchmark cannot lie: its oracle sees every difference; its load is what it says."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from builders import facts
from pipeline.bench.expected import Expected
from pipeline.bench.load import Load, Made, Shape
from pipeline.bench.shop import METER, WINDOW_US, cost_minor, customer_names, sheet
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.changes import Changes, changes, first_facts
from pipeline.catalog.facts import NewFact
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import KEY_BYTES, partition_of
from pipeline.stores.postgres.database import Connection
from pipeline.stores.records import open_message

START = 1_772_323_200_000_000 // WINDOW_US * WINDOW_US
HOUR_US = 3_600_000_000
SERIES, PARTITIONS, EVENTS = 40, 4, 9_000


@dataclass
class Books:
    """Answers the oracle's three queries, in its order."""

    outcomes: tuple[int, ...]
    usage: list[tuple[object, ...]]
    drafts: list[tuple[object, ...]]
    _asked: list[str] = field(default_factory=list)

    def execute(self, query: str) -> "Books":
        self._asked.append(query)
        return self

    def fetchone(self) -> tuple[int, ...]:
        return self.outcomes

    def __iter__(self) -> Any:
        return iter(self.usage if "FROM usage" in self._asked[-1] else self.drafts)


def made(mode: Mode) -> tuple[Expected, list[Made]]:
    """Return a small load and the oracle that heard it."""
    customers = customer_names(SERIES)
    expected = Expected(customers, START, 8)
    load = Load(Shape(mode, SERIES, PARTITIONS, 200), customers, expected)
    return expected, list(load.batches(EVENTS, START, START + HOUR_US))


def opened(message: bytes) -> tuple[UsageBatch, Columns]:
    """Return a batch and its columns, as the metering worker reads them."""
    batch = open_message(message)
    assert isinstance(batch, UsageBatch), batch
    columns = read_columns(batch)
    assert isinstance(columns, Columns), columns
    return batch, columns


def plainly(messages: list[Made]) -> Books:
    """Return the right books, worked out event by event with sets and dicts."""
    usage: dict[tuple[str, int], list[int]] = {}
    seen: set[object] = set()
    offered = fresh = 0
    for one in messages:
        batch, columns = opened(one.message)
        for index in range(len(columns)):
            key: object = batch.key[index * KEY_BYTES : (index + 1) * KEY_BYTES]
            if batch.mode is Mode.SEQUENCED:
                key = (batch.producer, one.partition, batch.first_sequence + index)
            offered += 1
            if key in seen:
                continue
            seen.add(key)
            fresh += 1
            when = int(columns.time[index]) // WINDOW_US * WINDOW_US
            row = usage.setdefault((batch.customers[columns.customer[index]], when), [0, 0])
            row[0] += 1
            row[1] += int(columns.mantissa[index])
    used = dict.fromkeys(customer_names(SERIES), 0)
    for (customer, _), (_, total) in usage.items():
        used[customer] += total
    return Books(
        outcomes=(offered, fresh, offered - fresh, 0),
        usage=[(name, METER, 0, when, *row) for (name, when), row in usage.items()],
        drafts=[(name, total, cost_minor(total)) for name, total in used.items()],
    )


def check(expected: Expected, books: Books) -> None:
    expected.check(cast(Connection, books))


@pytest.mark.parametrize("mode", list(Mode))
def test_the_oracle_agrees_with_a_count_event_by_event(mode: Mode) -> None:
    expected, messages = made(mode)
    books = plainly(messages)

    check(expected, books)
    assert books.outcomes[0] == EVENTS
    assert 0 < books.outcomes[2] < EVENTS // 10


@pytest.mark.parametrize("mode", list(Mode))
def test_batches_are_whole_in_their_customers_partition_and_in_time(mode: Mode) -> None:
    for one in made(mode)[1]:
        batch, columns = opened(one.message)
        assert batch.event_count == one.event_count == len(columns)
        assert {partition_of(name, PARTITIONS) for name in batch.customers} == {one.partition}
        assert columns.time.min() >= START
        assert columns.time.max() < START + HOUR_US


def test_a_load_of_neighbours_has_few_customers_a_batch() -> None:
    customers = customer_names(SERIES)
    shape = Shape(Mode.KEYED, SERIES, 1, 500, batch_customers=3)
    load = Load(shape, customers, Expected(customers, START, 8))
    batches = [opened(one.message)[0] for one in load.batches(5_000, START, START + HOUR_US)]

    fresh = [len(batch.customers) for batch in batches[:1]]
    assert fresh == [3]
    assert len({name for batch in batches for name in batch.customers}) > 3


SPOILED: dict[str, Any] = {
    "an event more is offered": lambda b: setattr(
        b, "outcomes", (b.outcomes[0] + 1, *b.outcomes[1:])
    ),
    "one was rejected": lambda b: setattr(b, "outcomes", (*b.outcomes[:3], 1)),
    "a sum is off by one": lambda b: b.usage.__setitem__(5, (*b.usage[5][:5], b.usage[5][5] + 1)),
    "a count is off by one": lambda b: b.usage.__setitem__(
        5, (*b.usage[5][:4], b.usage[5][4] + 1, b.usage[5][5])
    ),
    "a window is missing": lambda b: b.usage.pop(7),
    "a window stands elsewhere": lambda b: b.usage.__setitem__(
        3, (*b.usage[3][:3], b.usage[3][3] + 100 * WINDOW_US, *b.usage[3][4:])
    ),
    "a stranger has usage": lambda b: b.usage.append(("nobody", METER, 0, START, 1, 1)),
    "a draft is missing": lambda b: b.drafts.pop(),
    "a draft is twice there": lambda b: b.drafts.append(b.drafts[0]),
    "a draft is a cent too low": lambda b: b.drafts.__setitem__(
        2, (*b.drafts[2][:2], b.drafts[2][2] - 1)
    ),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_every_difference_is_seen(spoil: str) -> None:
    expected, messages = made(Mode.KEYED)
    books = plainly(messages)
    SPOILED[spoil](books)

    with pytest.raises(CheckFailed):
        check(expected, books)


@pytest.mark.parametrize(("quantity", "cents"), [(0, 0), (49, 0), (50, 1), (149, 1), (150, 2)])
def test_half_a_cent_is_rounded_up(quantity: int, cents: int) -> None:
    assert cost_minor(quantity) == cents


def in_force(*decisions: NewFact) -> Catalog:
    return extend(Catalog(), facts(*((one.kind, one.subject, dict(one.body)) for one in decisions)))


def test_every_customer_is_put_on_the_plan_and_only_once() -> None:
    customers = customer_names(SERIES)
    first = first_facts(PARTITIONS, 60, 60, 60, "2026a")
    catalog = in_force(*first)
    shop = sheet(customers, START)

    found = changes(shop, catalog, {}, lambda: bytes(16), "2026a")
    assert isinstance(found, Changes), found
    billed = in_force(*first, *found.facts)
    assert {one.customer for one in billed.subscriptions.values()} == set(customers)
    again = changes(shop, billed, {}, lambda: bytes(16), "2026a")
    assert isinstance(again, Changes)
    assert again.facts == ()


def test_the_same_load_twice() -> None:
    first, second = made(Mode.KEYED)[1], made(Mode.KEYED)[1]

    assert [one.message for one in first] == [one.message for one in second]
    assert np.array_equal(first[0].fresh["value"], second[0].fresh["value"])
