"""Finalizing: the finalizer's process: its loop, and what runs beside it.

Owns: which threads there are, how often late usage is looked for.
Does not own: what each does (finalizer.py and their modules).
"""

from collections.abc import Callable
from threading import Event, Thread

from pipeline.workers.checkpointing import run_checkpoints
from pipeline.workers.conserving import watch_conservation
from pipeline.workers.correcting import correct_late
from pipeline.workers.finalizer import BITE, SHARED_BITE, Finalizer
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.matching import run_matching
from pipeline.workers.refusing import Letters, watch_refusals
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.taxing import run_taxing

_IDLE_S = 0.25
_LATE_EVERY = 20
"""Idle rounds between two looks for late usage that no invoice will take along."""


def run_finalizer(around: Surroundings, stop: Event) -> None:
    """Prepare and register until stopped.

    What goes on beside it decides and signs; a shadow finds what was decided.
    """
    connection = around.database.connect(name="finalizer", autocommit=True)
    facts = around.database.connect(name="finalizer facts", autocommit=True)  # by several threads
    deciding = around.database.connect(name="finalizer decisions", autocommit=True)
    clock = deciding.clock()
    bite = SHARED_BITE if around.is_shadow else BITE
    finalizer = Finalizer(connection, Knowledge(facts), clock, bite=bite)
    finalizer.tells_usage = finalizer.waits = not around.is_shadow
    if not around.is_shadow:
        finalizer.refusals.look = Letters(around)
        finalizer.refusals.catch_up()  # before a cut waits for it, locked
    beside: dict[str, Callable[[], None]] = {
        "audit": lambda: watch_conservation(around, finalizer.known, finalizer.unclosed, stop),
        "refusals": lambda: watch_refusals(finalizer.refusals, stop),
        "matching": lambda: run_matching(around, stop),
        "taxing": lambda: run_taxing(around, stop),
        "checkpoints": lambda: run_checkpoints(around, stop),
    }
    for name, run in () if around.is_shadow else beside.items():
        Thread(target=run, name=name, daemon=True).start()
    idle = 0
    while not stop.is_set():
        while not stop.is_set() and finalizer.prepare():
            pass
        if finalizer.register() or stop.wait(_IDLE_S):
            continue
        idle += 1
        if idle % _LATE_EVERY == 0 and not around.is_shadow:
            correct_late(deciding, finalizer.known.catalog, clock())
    for each in (connection, facts, deciding):
        each.close()
