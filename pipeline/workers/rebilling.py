"""Rebilling: a replay makes its documents, once its log is folded, by several hands.

Owns: how many hands there are, when nothing is left to make.
Does not own: what a hand does (finalizer.py), the fold (replaying.py), comparing (replay/diff.py).
Law: all is made that can be, whoever is killed meanwhile. Hands pass over cuts that others hold,
and a connection may hold some for a while after its process was killed; so that nothing is left
is believed only while nobody holds a cut.
"""

from time import monotonic, sleep

from pipeline.stores.postgres.session import Session
from pipeline.workers.copying import check_stop
from pipeline.workers.finalizer import SHARED_BITE, Finalizer
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.shadowing import Pace, Stage, Tell
from pipeline.workers.supervisor import Supervisor, WorkerKind
from pipeline.workers.surroundings import Surroundings

_SHARED_FROM = 10 * SHARED_BITE
"""Cuts from which on more processes are worth their start."""

_POLL_S = 0.1


def make_documents(shadow: Surroundings, session: Session, hands: int, tell: Tell) -> None:
    """Make every document that can be made: what is left waits for what it waits for live."""
    database, began = shadow.database, monotonic()
    made, of = session.cuts_prepared()
    now = made
    more = hands - 1 if of - made >= _SHARED_FROM else 0
    helpers = [WorkerKind("finalizer", number, more) for number in range(more)]
    with (
        database.session("replay finalizer") as store,
        database.session("replay facts") as facts,
        Supervisor(shadow, helpers, shadow.settings.home / "logs"),
    ):
        known, clock = Knowledge(facts), facts.clock()
        finalizer = Finalizer(store, known, clock, bite=SHARED_BITE, tells_usage=False, waits=False)
        while _go_on(finalizer) or _is_left(store, finalizer):
            check_stop(shadow, session)
            prepared, of = session.cuts_prepared()
            if prepared > now:
                now, seconds = prepared, monotonic() - began
                tell(Pace(now - made, of - made, now - made, 0, seconds, Stage.BILLING))


def _go_on(finalizer: Finalizer) -> bool:
    """Make some documents, and register what anybody made; return whether there were any."""
    prepared = finalizer.prepare()
    return finalizer.register() > 0 or prepared


def _is_left(store: Session, finalizer: Finalizer) -> bool:
    """Go on where nobody else can; return whether there was anything, or may be."""
    if not store.hold_all_cuts():
        sleep(_POLL_S)
        return True
    try:
        return _go_on(finalizer)
    finally:
        store.release_all_cuts()
