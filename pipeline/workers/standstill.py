"""Standstill: a metering worker ends when metering is to stand still, and starts when it need not.

Owns: noticing.  Does not own: the lock (stores/postgres/standstill.py), who asks (healing.py,
rewinding.py).  Law: what was not acked comes again, so a worker may end at any moment.
"""

import asyncio
import os
from collections.abc import Callable
from threading import Event

import structlog

from pipeline.stores.postgres.session import Session
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_POLL_S = 0.25


async def leave_when_held(connection: Session, die: Callable[[], None]) -> None:
    """End the process once metering is to stand still; `die` where nobody can say so."""
    try:
        while not await asyncio.to_thread(connection.metering_held):
            await asyncio.sleep(_POLL_S)
        _log.warning("metering stands still: talea heal or talea rewind asked for it")
        os._exit(0)
    except asyncio.CancelledError:
        raise
    except BaseException:
        die()


def await_free(around: Surroundings, stop: Event) -> bool:
    """Return once metering need not stand still; whether it may start (it was not stopped)."""
    with around.database.session("metering start") as connection:
        while connection.metering_held():
            if stop.wait(_POLL_S):
                return False
    return not stop.is_set()
