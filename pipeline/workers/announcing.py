"""Announcing: wait until a fact is in force everywhere, ticking ourselves if nobody does.

Law: a command that writes a fact returns once a tick naming it is acked in every partition.
"""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Protocol

from pipeline.core.errors import ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import SureProducer
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.ticker import Ticker

_PATIENCE_S = 60.0
_POLL_S = 0.05
_IDLE_S = 15.0
"""A command that was stopped while it led must not keep the lead."""


class Named(Protocol):
    """What stands in every partition."""

    def last_acked_tick(self) -> Tick | None: ...


def await_named(around: Surroundings, serial: int) -> None:
    """Return once every partition has a tick that names fact `serial`.

    Raises:
        ServerFailed: that takes longer than a minute.

    """
    with around.database.session("announcing", idle_s=_IDLE_S) as connection:
        ticker = Ticker(around, connection, SureProducer(around.kafka), connection.clock())
        announce(serial, ticker, connection, sleep, monotonic)


def announce(
    serial: int,
    ticker: Ticker,
    named: Named,
    pause: Callable[[float], None],
    seconds: Callable[[], float],
) -> None:
    """Return once a tick names a fact, ticking over the ticker's session if nobody else does.

    Raises:
        ServerFailed: that takes longer than a minute.

    """
    deadline = seconds() + _PATIENCE_S
    while True:
        tick = named.last_acked_tick()
        if tick is not None and tick.fact_position >= serial:
            return
        if ticker.try_lead():
            ticker.tick()
        elif seconds() > deadline:
            raise ServerFailed(
                f"no tick named fact {serial} within {_PATIENCE_S:.0f} s: is the ticker"
                " running? (talea up; its log is ticker-0.log)"
            )
        else:
            pause(_POLL_S)
