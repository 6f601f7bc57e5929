"""Jobs: what a person starts, as a process of its own that may die in it.

Owns: that whatever the world does to a job is not its fault.
Does not own: the jobs (operators.py, clerks.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipeline.core.errors import BadInput, ServerFailed
from pipeline.simulate.roles import Stage
from pipeline.simulate.world import Crashed, Runner
from pipeline.stores.postgres.facts import Author

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
