"""Whoever makes a replay's documents is killed at it: the replay, run again, leaves none out."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fixtures_stack import StackMaker
from integration.generated import HORIZON_S, GeneratedShop
from integration.replays import replayed
from integration.running import RunningStack
from pipeline.book.booking import Cut
from pipeline.stores.postgres.session import Session
from pipeline.workers.shadowing import shadow_of
from pipeline.workers.supervisor import worker_environment
from pipeline.workers.surroundings import Surroundings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

NAMES = [f"g{number}" for number in range(13)]
EVENTS, PATIENCE_S, HELD = 4_000, 120.0, 5


def test_a_replay_whose_documents_were_being_made_is_run_again_whole(
    make_stack: StackMaker,
) -> None:
    stack = make_stack(horizon_s=HORIZON_S)
    shop = GeneratedShop(stack, NAMES, EVENTS, PATIENCE_S)
    shop.open()
    shop.close()
    stack.stop()
    shadow, documents = shadow_of(stack.around, "killed"), len(stack.documents())
    killed_in_mid_bite(stack, shadow)

    with ThreadPoolExecutor(1) as beside, never_found_dead(stack, shadow) as (lingering, cuts):
        again = replayed(stack, "killed", patience_s=PATIENCE_S)
        ran = beside.submit(again.__enter__)
        held = {cut.payer for cut in cuts}
        stack.until(lambda: not others_left(stack, shadow, held), "all else is made", PATIENCE_S)
        assert not ran.done()
        lingering.rollback()
        outcome = ran.result()
        assert (outcome["identical"], outcome["differing"]) == (True, [])
        assert outcome["documents"] == documents
        with shadow.database.session("look") as look:
            assert look.cuts_prepared() == (all_cuts(look),) * 2
        again.__exit__(None, None, None)


def killed_in_mid_bite(stack: RunningStack, shadow: Surroundings) -> None:
    """Run a replay, and kill it with cuts in its hands."""
    at_it = (
        "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)"
        " WHERE application_name = 'talea replay finalizer' AND relation = to_regclass(%s)"
        " AND mode = 'RowShareLock'"
    )
    table = f"{shadow.database.schema}.cut"

    def takes_cuts() -> bool:
        (count,) = stack.connection.execute(at_it, [table]).fetchone() or (0,)
        return bool(count)

    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "replay", "run", "killed"],
        env={**os.environ, **worker_environment(stack.around)},
        stderr=subprocess.DEVNULL,
    ) as process:
        stack.until(takes_cuts, "the replay makes documents", PATIENCE_S)
        process.send_signal(signal.SIGKILL)


@contextmanager
def never_found_dead(
    stack: RunningStack, shadow: Surroundings
) -> Iterator[tuple[Session, list[Cut]]]:
    """A connection that holds cuts as that of one who was killed would, did nobody miss him."""
    session = shadow.database.connect(name="killed")
    session.execute("SET idle_in_transaction_session_timeout = 0")
    session.commit()
    cuts: list[Cut] = []

    def holds_some() -> bool:
        session.rollback()
        cuts[:] = [cut for cut, _ in session.take_cuts([], HELD)]
        return len(cuts) == HELD

    stack.until(holds_some, "what was held by the killed one is let go", PATIENCE_S)
    try:
        yield session, cuts
    finally:
        session.close()


def others_left(stack: RunningStack, shadow: Surroundings, held: set[str]) -> int:
    """How many cuts of others than those wait for documents."""
    asked = (
        f"SELECT count(*) FROM {shadow.database.schema}.cut WHERE NOT prepared AND payer <> ALL(%s)"
    )
    (count,) = stack.connection.execute(asked, [[*held]]).fetchone() or (0,)
    return int(count)


def all_cuts(session: Session) -> int:
    """How many cuts there are."""
    (count,) = session.execute("SELECT count(*) FROM cut").fetchone() or (0,)
    return int(count)
