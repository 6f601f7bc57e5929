"""The stack a command works on: servers from settings, the one that runs, or its own for now.

Owns: the choice, in that order.  Does not own: starting workers (workers/supervisor.py).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.bootstrap import set_up, surroundings
from pipeline.cli.screen import steps
from pipeline.core.calendar import Instant
from pipeline.embedded import EmbeddedServers, Home, Servers
from pipeline.settings import Settings, read_settings
from pipeline.workers.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class OwnedStack:
    """Servers that this process holds, with the home locked; `embedded` is None for others'."""

    around: Surroundings
    home: Home
    embedded: EmbeddedServers | None


@contextmanager
def any_stack() -> Iterator[Surroundings]:
    """Use the servers named or the stack that runs, or start servers for the time of a command."""
    there = running_stack()
    if there is not None:
        yield set_up(there)
        return
    with own_stack(read_settings()) as owned:
        yield owned.around


def running_stack() -> Surroundings | None:
    """Return the servers named or the stack that runs, as they are; None where there is none."""
    settings = read_settings()
    there = _named(settings) or Home(settings.home).running()
    if there is None:
        return None
    return surroundings(settings, there.kafka, there.redis, there.postgres)


@contextmanager
def own_stack(settings: Settings, test_clock: Instant | None = None) -> Iterator[OwnedStack]:
    """Hold the home, start the servers that settings do not name, set the log up."""
    named = {
        "kafka": settings.kafka,
        "redis": settings.redis,
        "postgres": settings.postgres,
    }
    missing = frozenset(name for name, address in named.items() if not address)
    with ExitStack() as held:
        home = Home(settings.home)
        embedded = None
        started = Servers("", "", "")
        held.enter_context(home)
        if missing:
            tell = held.enter_context(steps("talea"))
            embedded = EmbeddedServers(settings.home, progress=tell, only=missing)
            held.callback(embedded.stop)
            started = embedded.start()
        around = surroundings(
            settings,
            settings.kafka or started.kafka,
            settings.redis or started.redis,
            settings.postgres or started.postgres,
        )
        around = set_up(around, test_clock)
        yield OwnedStack(around, home, embedded)


def _named(settings: Settings) -> Servers | None:
    """Return the servers that settings name, if they name all; nobody's home is needed then."""
    if settings.kafka and settings.redis and settings.postgres:
        return Servers(settings.kafka, settings.redis, settings.postgres)
    return None
