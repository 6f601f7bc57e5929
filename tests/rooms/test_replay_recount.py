"""The recount's edges: what decides between two outcomes, from both sides."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    GATE,
    MINUTE,
    T0,
    customer_of,
    facts,
    gate_pass_of,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    usage,
)
from pipeline.catalog.facts import FactKind
from pipeline.collect.batch import UsageBatch
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.replay.recount import KnownFacts, Recount, Tally
from pipeline.stores.codec import decode, encode_batch

START, END = T0 + 30 * MINUTE, T0 + 60 * MINUTE
UNTIL = T0 + MINUTE
OLD = keyed(usage(id="old", time=T0 - 2 * GATE.horizon))
CHOSEN: dict[str, Json] = {"region": ["eu", "us"]}
CHOOSING: dict[str, Json] = {**price_of("bytes", per_unit("1"), "bytes"), "filter": CHOSEN}
SKIPPED: dict[str, Json] = {"partition": 0, "offset": 1}
DECISIONS = (
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    meter_of("bytes", dimensions=["region"]),
    plan_of("plus", price_of("calls", per_unit("1"), "calls"), CHOOSING),
    customer_of("acme"),
    subscription_of("s1", "acme", "plus", instant_text(START - 1), instant_text(END - 1)),
    gate_pass_of(OLD, until=UNTIL),
    (FactKind.SKIP, "0/1", SKIPPED),
)
RAW = [(fact.serial, fact.id, fact.kind.value, fact.body) for fact in facts(*DECISIONS)]
PASS_ID = next(fact_id for _, fact_id, kind, _ in RAW if kind == "gate_pass")


def told(
    batch: UsageBatch, *, at: int = T0, offset: int = 2, position: int = len(RAW)
) -> dict[str, int]:
    """Return the outcomes of one batch behind a tick, those that are not 0."""
    recount = Recount(0, KnownFacts.of(RAW), {1: (at, position)})
    tick: dict[str, Any] = {"serial": 1, "time": at, "fact_position": position}
    recount.feed(0, 0, "Tick.v1", tick, b"")
    name, record = decode(encode_batch(batch))
    recount.feed(offset, batch.event_count, name, record, b"digest")
    tally = {field: getattr(recount.tally, field) for field in Tally.__slots__}
    assert tally.pop("offered") == batch.event_count
    return {field: count for field, count in tally.items() if count}


@pytest.mark.parametrize(
    ("time", "outcome"),
    [(START - 1, "unpaid"), (START, "billed"), (END - 1, "billed"), (END, "unpaid")],
)
def test_a_subscription_pays_from_window_edge_to_window_edge(time: int, outcome: str) -> None:
    assert told(keyed(usage(time=time)), at=END) == {outcome: 1}


@pytest.mark.parametrize(("region", "outcome"), [("us", "billed"), ("asia", "unpaid")])
def test_a_price_with_a_filter_pays_what_it_chooses(region: str, outcome: str) -> None:
    event = usage(meter="bytes", time=START, region=region)

    assert told(keyed(event), at=START) == {outcome: 1}


@pytest.mark.parametrize(
    ("at", "shown", "outcome"),
    [
        (UNTIL, PASS_ID, "unpaid"),
        (UNTIL + 1, PASS_ID, "rejected"),
        (UNTIL, "another", "rejected"),
        (UNTIL, "", "late"),
    ],
)
def test_late_usage_needs_a_pass_that_holds(at: int, shown: str, outcome: str) -> None:
    assert told(replace(OLD, gate_pass=shown), at=at) == {outcome: 1}


def test_a_pass_that_is_not_in_force_yet_admits_nothing() -> None:
    assert told(replace(OLD, gate_pass=PASS_ID), position=7) == {"rejected": 1}


@pytest.mark.parametrize(("offset", "outcome"), [(1, "rejected"), (2, "unpaid")])
def test_a_skipped_message_is_rejected_whatever_it_holds(offset: int, outcome: str) -> None:
    assert told(keyed(usage()), offset=offset) == {outcome: 1}


@pytest.mark.parametrize(
    ("by", "outcome"),
    [(-GATE.horizon - 1, "late"), (-GATE.horizon, "unpaid"), (GATE.tolerance, "unpaid"),
     (GATE.tolerance + 1, "rejected")],
)  # fmt: skip
def test_the_gate_stands_where_it_stands(by: int, outcome: str) -> None:
    assert told(keyed(usage(time=T0 + by))) == {outcome: 1}
