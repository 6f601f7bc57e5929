"""Knowledge: a reader that lacks a fact waits for it, and goes on."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from builders import T0, customer_of, facts, issuer_of, log_of, meter_of, rules_of
from pipeline.catalog.catalog import JUDGING
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.errors import ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.workers.knowledge import Knowledge

FACTS = facts(
    log_of(), rules_of(), meter_of("calls"), meter_of("seats"), customer_of("acme"), issuer_of()
)


@dataclass
class Slow:
    """A source that shows one more fact each time somebody waited."""

    shown: int = 1
    waits: list[float] = field(default_factory=list)
    reads: list[tuple[int, int | None]] = field(default_factory=list)

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        self.reads.append((after, until))
        shown = FACTS[after : self.shown][: None if until is None else until - after]
        return [f for f in shown if kinds is None or f.kind in kinds or f.serial == until]

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.shown += 1


def test_a_fact_that_a_tick_names_is_waited_for() -> None:
    source = Slow()
    known = Knowledge(source, pause=source.wait)

    found = known.ground(0, Tick(7, T0, 4))

    assert set(found.meters) == {"calls", "seats"}
    assert len(source.waits) == 3


def test_what_is_there_is_not_waited_for() -> None:
    source = Slow(shown=4)
    known = Knowledge(source, pause=source.wait)

    assert set(known.ground(0, Tick(7, T0, 3)).meters) == {"calls"}
    assert source.waits == []


def test_a_fact_that_never_comes_is_a_server_that_failed() -> None:
    known = Knowledge(Slow(shown=4), pause=lambda _: None, fact_patience_s=0.0)

    with pytest.raises(ServerFailed, match="fact 9, which a tick names, does not come"):
        known.catalog(9)


def test_facts_are_read_once_and_an_older_position_reads_no_more_than_it_needs() -> None:
    source = Slow(shown=6)
    known = Knowledge(source)

    assert [known.catalog(p).position for p in (3, 5, 4, 5, 3)] == [3, 5, 4, 5, 3]
    assert source.reads == [(0, 3), (3, 5), (3, 4)]
    assert known.latest().issuers.keys() == {"talea"}
    assert source.reads[3:] == [(5, 5005)]


def test_who_judges_usage_knows_nothing_else_and_yet_waits_for_all() -> None:
    source = Slow(shown=4)
    known = Knowledge(source, JUDGING, pause=source.wait)

    found = known.catalog(5)

    assert len(source.waits) == 1
    assert found.position == 5
    assert set(found.ground(0).meters) == {"calls", "seats"}
    assert (found.rules, found.customers) == (None, {})


def test_ground_is_at_hand_once_it_was_asked_for() -> None:
    known = Knowledge(Slow(shown=4), JUDGING)
    tick = Tick(7, T0, 4)

    assert not known.has_ground(0, tick)
    known.ground(0, tick)
    assert known.has_ground(0, tick)
    assert known.has_ground(1, tick)
    assert not known.has_ground(0, Tick(8, T0, 3))
