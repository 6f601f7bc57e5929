"""Faults: what goes wrong in real life, done to a scene on purpose.

Each begins, and is over when its function returns; what it left behind has to mend by itself.
"""

import os
import resource
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from time import sleep

import psutil
import redis

from chaos.scene import OwnServers, Scene
from integration.running import (
    COLLECTOR,
    FINALIZER,
    PRICING,
    PUBLISHER,
    TICKER,
    wipe_claims,
)
from pipeline.workers.supervisor import WorkerKind

METERING = [WorkerKind("metering", number, 2) for number in range(2)]
WORKERS = (TICKER, COLLECTOR, *METERING, PRICING, FINALIZER, PUBLISHER)
THIRD = WorkerKind("metering", 2, 3)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `servers`: it takes servers of one's own to do it."""

    name: str
    strike: Callable[[Scene], None]
    servers: bool = False


def _kill(kind: WorkerKind, scene: Scene) -> None:
    scene.stack.kill(kind)


def _kill_metering(scene: Scene) -> None:
    for kind in scene.chance.sample(METERING, scene.chance.choice((1, 2))):
        scene.stack.kill(kind)


def _freeze_metering(scene: Scene) -> None:
    frozen = scene.chance.choice(METERING)
    scene.stack.signal(frozen, signal.SIGSTOP)
    sleep(scene.stack.around.settings.session_s + 1 + scene.chance.random())
    scene.stack.signal(frozen, signal.SIGCONT)


def _rebalance(scene: Scene) -> None:
    stack = scene.stack
    stack.start(THIRD)
    scene.until(lambda: stack.members() == len(METERING) + 1, "a third one has partitions")
    stack.stop(THIRD)


def _second_pricing(scene: Scene) -> None:
    """Both book the same partitions: one of them finds that out, and stops."""
    stack = scene.stack
    logs = stack.around.settings.home / "second"
    told = "another worker books it"

    def met() -> int:
        log = logs / f"{PRICING.label}.log"
        said = stack.said(PRICING) + (log.read_text() if log.exists() else "")
        return said.count(told)

    before = met()
    with ExitStack() as held:
        second = stack.supervise(PRICING, logs)
        second.start()
        held.callback(second.stop)
        scene.until(lambda: met() > before, "the two meet")


def _wipe_redis(scene: Scene) -> None:
    if scene.own is None:  # others have theirs on it
        wipe_claims(scene.stack.around)
        return
    with redis.Redis.from_url(scene.own.redis.url) as client:
        client.flushall()


def _end_connections(scene: Scene) -> None:
    with scene.stack.around.database.session("test chaos", owner=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'talea %' AND application_name NOT LIKE 'talea test%'"
        )


def _lock_cursors(scene: Scene) -> None:
    """Hold what every booking needs: sometimes longer than a statement waits for a lock."""
    database = scene.stack.around.database
    with database.session("test lock", owner=True) as session, session.transaction():
        session.execute("LOCK TABLE cursor IN EXCLUSIVE MODE")
        sleep(scene.chance.choice((1, 3, 12)))


def _fill_disk(scene: Scene) -> None:
    program = scene.program
    before = len(program.said())
    program.let_write(1)
    scene.until(lambda: len(program.said()) > before, "the program meets the full disk")
    sleep(scene.chance.random() * 2)
    program.let_write(resource.RLIM_INFINITY)


def _own(scene: Scene) -> OwnServers:
    assert scene.own is not None
    return scene.own


def _restart_broker(scene: Scene) -> None:
    servers = _own(scene).embedded
    if scene.chance.random() < 0.5:
        servers.kill("kafka")
    servers.restart("kafka")


def _pause_broker(scene: Scene) -> None:
    pid = _own(scene).embedded.pids()["kafka"]
    os.kill(pid, signal.SIGSTOP)
    sleep(1 + scene.chance.random() * (scene.stack.around.settings.session_s + 2))
    os.kill(pid, signal.SIGCONT)


def _restart_postgres(scene: Scene) -> None:
    servers = _own(scene).embedded
    if scene.chance.random() < 0.3:
        servers.kill("postgres")
    servers.restart("postgres")
    scene.reconnect()


def _freeze_postgres(scene: Scene) -> None:
    postmaster = psutil.Process(_own(scene).embedded.pids()["postgres"])
    frozen = [postmaster, *postmaster.children(recursive=True)]
    with suppress(psutil.NoSuchProcess):
        for process in frozen:
            process.suspend()
        sleep(1 + scene.chance.random() * 3)
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _older_redis(scene: Scene) -> None:
    own = _own(scene).redis
    own.save()
    sleep(1 + scene.chance.random() * 2)
    own.back_with_older_save()


FAULTS = (
    *(
        Fault(f"SIGKILL {kind.name}", partial(_kill, kind))
        for kind in (TICKER, COLLECTOR, PRICING, FINALIZER, PUBLISHER)
    ),
    Fault("SIGKILL metering", _kill_metering),
    Fault("SIGSTOP metering beyond its session", _freeze_metering),
    Fault("a third metering worker comes and goes", _rebalance),
    Fault("two pricing workers for one partition", _second_pricing),
    Fault("Redis emptied", _wipe_redis),
    Fault("Redis back with an older save", _older_redis, servers=True),
    Fault("every Postgres connection ended", _end_connections),
    Fault("cursors locked by somebody else", _lock_cursors),
    Fault("Postgres stands still for seconds", _freeze_postgres, servers=True),
    Fault("Postgres restarted", _restart_postgres, servers=True),
    Fault("broker restarted", _restart_broker, servers=True),
    Fault("broker paused", _pause_broker, servers=True),
    Fault("disk of the spool full", _fill_disk),
)
