"""Knowledge: a reader that lacks a fact waits for it, and goes on."""

from dataclasses import dataclass, field

import pytest

from builders import T0, facts, log_of, meter_of, rules_of
from pipeline.catalog.facts import Fact
from pipeline.core.errors import ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.workers.knowledge import Knowledge

FACTS = facts(log_of(), rules_of(), meter_of("calls"), meter_of("seats"))


@dataclass
class Slow:
    """A source that shows one more fact each time somebody waited."""

    shown: int = 1
    waits: list[float] = field(default_factory=list)

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]:
        return FACTS[after : self.shown]

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
