"""Jobs: what a person starts, as a process of its own that may die in it.

Owns: that whatever the world does to a job is not its fault, how it waits for what it decided.
Does not own: the jobs (operators.py, clerks.py, replays.py, alarms.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from pipeline.core.calendar import SECOND
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.simulate.log import MemoryWriter
from pipeline.simulate.roles import Stage
from pipeline.simulate.world import Crashed, Runner
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import announce
from pipeline.workers.ticker import Ticker

ADA = Author("ada", "because")


@contextmanager
def job(stage: Stage, name: str) -> Iterator[Runner]:
    """Run a job in a process of its own."""
    process = stage.world.start(name)
    try:
        with suppress(Crashed, ServerFailed, BadInput):
            yield process
    except Exception as error:
        stage.died(process, error)
    process.die()


def announced(stage: Stage, process: Runner, serial: int) -> None:
    """Wait as `await_named` does, over a session of its own."""
    session = stage.session(process)
    writer = MemoryWriter(stage.world, process, stage.topics)
    ticker = Ticker(stage.around, session, writer, stage.clock(process))
    pause = partial(stage.world.wait, process)
    try:
        announce(serial, ticker, session, pause, lambda: stage.world.now / SECOND)
    finally:
        session.close()
