"""`talea worker`: what the supervisor starts, a process each."""

import ctypes
import gc
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import BadInput
from pipeline.settings import read_settings

_PR_SET_PDEATHSIG = 1
_NICE = 5
_YOUNG_OBJECTS = (50_000, 20, 50)
"""So many before rings of objects are looked for. Facts and plans are many small objects that live
long and hold no rings: to look through them every 700 costs more than to make them."""


def worker(
    name: Annotated[
        str, typer.Argument(help="ticker, collector, metering, pricing, finalizer or publisher")
    ],
    number: Annotated[int, typer.Option(help="Which of them this one is.")] = 0,
    of: Annotated[int, typer.Option(help="How many there are.")] = 1,
) -> None:
    """Run one worker over the servers that TALEA_KAFKA, _REDIS, _POSTGRES name.

    A server that fails it is told in one line.
    """
    from pipeline.bootstrap import surroundings, worker_runner
    from pipeline.stores.telemetry import log_to_stderr
    from pipeline.workers.failing import servers_told

    die_with_parent()
    gc.set_threshold(*_YOUNG_OBJECTS)
    settings = read_settings()
    if gives_way(name, settings.replay):
        give_way()
    if not (settings.kafka and settings.redis and settings.postgres):
        raise BadInput("a worker needs TALEA_KAFKA, TALEA_REDIS and TALEA_POSTGRES")
    log_to_stderr(f"{name}-{number}")
    around = surroundings(settings, settings.kafka, settings.redis, settings.postgres)
    with servers_told():
        worker_runner(around, name, number, of)()


def die_with_parent() -> None:
    """Let the kernel end this process when its supervisor dies, however it dies."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def gives_way(name: str, replay: str) -> bool:
    """Return whether others go first: a replay is nobody's invoice, and what is published is there.

    Where cores lack, the publisher's share of them would be taken from whom drafts wait for.
    """
    return bool(replay) or name == "publisher"


def give_way() -> None:
    """Let whoever works live go first, also where the kernel shares time out by session."""
    os.nice(_NICE)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE), "ascii")
