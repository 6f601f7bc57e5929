"""A metering worker, run as a program, whose fetching is broken while a file says how.

What production code is given here and nowhere else: a fetcher of aiokafka that dies or dozes.
"""

import sys
from pathlib import Path
from threading import Event
from typing import Any

from aiokafka.consumer.fetcher import Fetcher

from pipeline.bootstrap import surroundings
from pipeline.settings import Settings, read_settings
from pipeline.stores.telemetry import log_to_stderr
from pipeline.workers.streaming import run_metering

DIES, DOZES = "dies", "dozes"

_actions = Fetcher._get_actions_per_node


def ailment(settings: Settings) -> Path:
    """The file that says what is wrong with the next worker that starts."""
    return settings.home / "ailment"


def main() -> None:
    """Run as `talea worker metering` does."""
    settings = read_settings()
    assert settings.kafka
    assert settings.redis
    assert settings.postgres
    log_to_stderr("metering-0")

    def actions(self: Any, assignment: Any) -> Any:
        wrong = ailment(settings)
        if not wrong.exists():
            return _actions(self, assignment)
        if wrong.read_text() == DIES:
            wrong.unlink()
            raise KeyError("something nobody had thought of")
        return [], {}, 0.1, False, []

    Fetcher._get_actions_per_node = actions
    around = surroundings(settings, settings.kafka, settings.redis, settings.postgres)
    run_metering(around, int(sys.argv[sys.argv.index("--number") + 1]), Event())


if __name__ == "__main__":
    main()
