"""Beside: the workers that some stacks have: collectors, publishers, what matches and signs.

Owns: how each is put together over memory, and stepped.
Does not own: the workers themselves (workers), how they are started anew (roles.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.collect.batch import UsageBatch
from pipeline.collect.raw import RawReader
from pipeline.core.calendar import SECOND
from pipeline.core.errors import ServerFailed
from pipeline.core.identity import Json
from pipeline.simulate.raw import MemorySink, MemorySource
from pipeline.simulate.roles import Stage, Step, led
from pipeline.simulate.signing import AHEAD
from pipeline.simulate.world import Runner, World
from pipeline.stores.records import open_usage_event
from pipeline.stores.tax_engine import TaxEngineSaysNo
from pipeline.tax.asking import Asked
from pipeline.topology import USAGE_RAW
from pipeline.workers.checkpointing import Signing, sign_days
from pipeline.workers.holding import Resumed
from pipeline.workers.publisher import Topics
from pipeline.workers.taxing import Taxing

_SIGNS_S, _ASKS_AGAIN_S = 8.0, 5.0
_SILENT = 0.3
_RATES = (
    ("S", "US-CA", "7.25"),
    ("S", "US-NY", "8.875"),
    ("S", "DE", "19"),
    ("Z", "US-OR", "0"),
    ("E", "US-FL", "0"),
    ("no", "", ""),
)
"""What an outside engine says: the category, who taxes, the rate; of some it says nothing."""
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

        def match() -> float:
            matcher.step()
            return 0.5

        return led(lambda: session.lock("matching"), _ASKS_AGAIN_S, match)

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


@dataclass(slots=True)
class MemoryEngine:
    """An outside engine of taxes: it says the same to everybody, if it says anything."""

    world: World
    process: Runner
    name: str = "engine"

    def ask(self, question: Mapping[str, Json]) -> Mapping[str, object]:
        """Return what it says of a question.

        Raises:
            TaxEngineSaysNo: it never will.
            ServerFailed: it is silent.

        """
        self.world.effect(self.process, "ask for a tax")
        silent = self.process.chance(_SILENT) and self.world.chances.failure > 0
        if silent:
            raise ServerFailed("the engine is silent")
        return told_of(question)


def told_of(question: Mapping[str, Json]) -> Mapping[str, object]:
    """Return what is said of a question: by customer, and by what is sold."""
    terms = cast(Mapping[str, Json], question["terms"])
    random = Random(f"{question['customer']} {terms['code']}")
    category, place, rate = random.choice(_RATES)
    if category == "no":
        raise TaxEngineSaysNo("it does not know the customer")
    return {"category": category, "jurisdiction": place, "rate_percent": rate}


def taxing(stage: Stage) -> Callable[[Runner], Step]:
    """Return how what asks for taxes is started: beside a finalizer, over its own session."""

    def start(process: Runner) -> Step:
        session, engine = stage.session(process), MemoryEngine(stage.world, process)
        one = Taxing(session, engine, stage.clock(process), _one_by_one)

        def ask() -> float:
            one.step()
            return 3.0 if one.silent else 1.0

        return led(lambda: session.lock("taxing"), _ASKS_AGAIN_S, ask)

    return start


def _one_by_one(
    answer: Callable[[Asked], TaxAnswer | None], asked: Sequence[Asked]
) -> list[TaxAnswer | None]:
    return [*map(answer, asked)]


def publisher(stage: Stage) -> Callable[[Runner], Step]:
    """Return how a publisher is started."""

    def start(process: Runner) -> Step:
        outlet = stage.parts.outlet(stage.world, process, stage.shelves)
        topics = Topics("id of {}".format, stage.shelves.whole)
        one = stage.parts.publisher(stage.around, stage.session(process), outlet, topics)
        return led(one.try_lead, 2.0, lambda: 0.1 if one.step() else 0.5)

    return start
