"""A metering worker, run as a program, that dies of every message a marker stands in.

What production code is given here and nowhere else: another way to decode messages.
"""

import os
import signal
import sys
from threading import Event

from pipeline.bootstrap import surroundings
from pipeline.settings import read_settings
from pipeline.stores.codec import decode
from pipeline.stores.telemetry import log_to_stderr
from pipeline.workers.streaming import run_metering

MARKER = b"poison-pill"
KILLER = b"killing-pill"


def poisoned(message: bytes) -> tuple[str, dict[str, object]]:
    """Decode a message, unless nobody can get past it."""
    if MARKER in message:
        raise ZeroDivisionError("this message is poison")
    if KILLER in message:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(message)


def main() -> None:
    """Run as `talea worker metering` does."""
    settings = read_settings()
    assert settings.kafka
    assert settings.redis
    assert settings.postgres
    log_to_stderr("metering-0")
    around = surroundings(settings, settings.kafka, settings.redis, settings.postgres)
    number = int(sys.argv[sys.argv.index("--number") + 1])
    run_metering(around, number, Event(), poisoned)


if __name__ == "__main__":
    main()
