"""Beside: the workers that some stacks have: collectors, publishers, what matches and signs.

Owns: how each is put together over memory, and stepped.
Does not own: the workers themselves (workers), how they are started anew (roles.py).
"""

from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.collect.batch import UsageBatch
from pipeline.collect.raw import RawReader
from pipeline.core.calendar import SECOND
from pipeline.simulate.raw import MemorySink, MemorySource
from pipeline.simulate.roles import Stage, Step
from pipeline.simulate.signing import AHEAD
from pipeline.simulate.world import Runner
from pipeline.stores.records import open_usage_event
from pipeline.topology import USAGE_RAW
from pipeline.workers.checkpointing import Signing, sign_days
from pipeline.workers.holding import Resumed
from pipeline.workers.publisher import Topics

_SIGNS_S = 8.0
_FINISHES = 0.01
"""How often a collector is told to end before a step."""


def collecting(
    stage: Stage, numbers: list[int], noted: Callable[[bytes, UsageBatch], None]
) -> Callable[[Runner], Step]:
    """Return how a collector is started; now and then it ends as it should."""

    def start(process: Runner) -> Step:
        around, session = stage.around, stage.session(process)
        stands = session.open_stands(numbers, f"id of {USAGE_RAW.name}")
        starts = {stand.partition: stand.offset + 1 for stand in stands}
        one = stage.parts.collector(
            MemorySource(stage.world, process, stage.raw, starts),
            MemorySink(stage.world, process, stage.topics, noted),
            session.save_stands,
            stands,
            around.stack,
            RawReader(around.partitions, open_usage_event),
            around.partitions,
            around.settings.collector_linger_s,
            lambda: stage.world.now / SECOND,
        )

        def step() -> float:
            if process.chance(_FINISHES):
                one.finish()
                raise Resumed("it was told to end")
            return 0.1 if one.step() else 0.4

        return step

    return start


def matching(stage: Stage) -> Callable[[Runner], Step]:
    """Return how what matches reversals is started: beside a finalizer, over its own session."""

    def start(process: Runner) -> Step:
        session = stage.session(process)
        matcher = stage.parts.matcher(
            stage.around,
            stage.log(process),
            session,
            stage.clock(process),
            partial(stage.world.wait, process),
        )
        leads = False

        def step() -> float:
            nonlocal leads
            leads = leads or session.lock("matching")
            if not leads:
                return 5.0
            matcher.step()
            return 0.5

        return step

    return start


def signer(stage: Stage, key: Ed25519PrivateKey) -> Callable[[Runner], Step]:
    """Return how what signs chains is started: beside a finalizer, over its own session."""

    def start(process: Runner) -> Step:
        session, signing = stage.session(process), signing_of(stage, process, key)

        def step() -> float:
            sign_days(session, signing)
            return _SIGNS_S

        return step

    return start


def signing_of(stage: Stage, process: Runner, key: Ed25519PrivateKey) -> Signing:
    """Return a key with the clock of a process, whose day is over soon."""
    clock = stage.clock(process)
    return Signing(key, lambda: clock() + AHEAD)


def publisher(stage: Stage) -> Callable[[Runner], Step]:
    """Return how a publisher is started."""

    def start(process: Runner) -> Step:
        outlet = stage.parts.outlet(stage.world, process, stage.shelves)
        topics = Topics("id of {}".format, stage.shelves.whole)
        one = stage.parts.publisher(stage.around, stage.session(process), outlet, topics)
        leads = False

        def step() -> float:
            nonlocal leads
            leads = leads or one.try_lead()
            if not leads:
                return 2.0
            return 0.1 if one.step() else 0.5

        return step

    return start
