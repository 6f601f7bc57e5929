"""Replays: the log is folded once more beside the stack, by other prices, and what differs applied.

Owns: when a shadow is planted, folded, billed, looked at, applied; by which prices.
Does not own: its workers (roles.py), what a diff is and decides (replay, workers/applying.py), what
must come of it (repriced.py).
Law: its workers die as live ones do, and nothing of it shows in the stack until it is applied.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.replay.diff import Selection
from pipeline.replay.incident import incidents, without
from pipeline.replay.revising import Bodies, as_known, priced_by
from pipeline.simulate import roles
from pipeline.simulate.agreements import Body
from pipeline.simulate.database import CutKey, MemoryDatabase, Tables
from pipeline.simulate.group import Group
from pipeline.simulate.jobs import announced, job
from pipeline.simulate.roles import Role, Stage, Step
from pipeline.simulate.world import BEGIN, Runner
from pipeline.stores.kafka import usage_log
from pipeline.stores.postgres.facts import Author
from pipeline.topology import USAGE_METERED
from pipeline.workers.applying import Also, decide_looked, look, nothing_else
from pipeline.workers.finalizer import SHARED_BITE, Finalizer
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.shadowing import shadow_of
from pipeline.workers.surroundings import partitions_of

_ADA = Author("ada", "the price was wrong")
_BITE_S, _IDLE_S = 0.05, 3600.0
_FEW = 5
"""Of so few documents a replay mostly shows nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """By which prices: these throughout, none later than an instant, or none of an incident's.

    With none of it, by the same.
    """

    said: Mapping[tuple[FactKind, str], Body] = field(default_factory=dict)
    known: Instant | None = None
    incident: str = ""

    def bodies(self, facts: Sequence[Fact]) -> Bodies:
        """Return what facts say instead.

        Raises:
            BadInput: they cannot.

        """
        try:
            if self.incident:
                return without(facts, incidents(facts)[self.incident])
            if self.known is not None:
                return as_known(facts, self.known)
            return priced_by(facts, [NewFact(*of, body) for of, body in self.said.items()])
        except ValueError as error:
            raise BadInput(str(error)) from None


@dataclass(slots=True, eq=False)
class Replay:
    """One of them, and how the live stack stood when it was planted and when it was applied."""

    name: str
    wanted: Wanted
    shadow: Stage
    workers: list[Role] = field(default_factory=list)
    position: int = 0
    """How many facts there were when it was planted; 0: it is not yet."""
    issued: frozenset[str] = frozenset()
    """What was issued by then."""
    through: bool = False
    diff_id: str | None = None
    """What somebody looked at."""
    applied: bool = False
    again: bool = False
    """Whether it was applied a second time."""
    done: frozenset[CutKey] = frozenset()
    """The cuts whose documents were issued when what is applied was looked at."""
    refused: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nobody will come back to it."""
        return self.again or self.refused

    @property
    def facts(self) -> list[Fact]:
        """The facts of what was looked at, if it was applied."""
        known = self.live.facts.values() if self.diff_id else ()
        told = (fact for fact in known if fact.kind is FactKind.REPRICING)
        return [fact for fact in told if fact.body["reference"] == self.diff_id]

    @property
    def live(self) -> Tables:
        """The tables that it was planted from."""
        (live,) = self.shadow.database.beside.values()
        return live.tables

    @property
    def is_folded(self) -> bool:
        """Whether its books are at the end of what it is about."""
        tables = self.shadow.database.tables
        booked = {number: cursor.offset for number, (cursor, _) in tables.cursors.items()}
        ends = (pause for pause in tables.pauses.values())
        return all(booked.get(each.partition, -1) >= each.offset - 1 for each in ends)


def beside(stage: Stage, name: str) -> Stage:
    """Return the stage of a replay: a group, books and claims of its own, over the same log."""
    around, world, topics = shadow_of(stage.around, name), stage.world, stage.topics
    metered, log = around.stack.topic(USAGE_METERED), usage_log(around.stack)
    return Stage(
        world,
        around,
        Group(world, topics, log, metered, around.partitions),
        topics,
        MemoryDatabase(world, beside={stage.around.database.schema: stage.database}),
        stage.parts.redis(),
        stage.parts,
        faults=stage.faults,
    )


@dataclass(slots=True)
class Replays:
    """Everybody who replays in one world: one replay at a time."""

    stage: Stage
    told: list[Replay] = field(default_factory=list)

    @property
    def current(self) -> Replay | None:
        """The one that is not over."""
        return self.told[-1] if self.told and not self.told[-1].is_over else None

    def step(self, *, busy: bool) -> None:
        """Begin one, or go on with what was begun."""
        random, now = self.stage.world.streams.of("replay"), self.stage.world.now
        replay = self.current
        if replay is None and busy:
            tables = self.stage.database.tables
            facts = [*tables.facts.values()]
            if not tables.documents or (len(tables.documents) < _FEW and random.random() < 0.7):
                return
            self.begin(f"again_{len(self.told) + 1}", drawn(random, facts, now, _billed(tables)))
        elif replay is not None and self.folded(replay):
            self.apply(replay)

    def begin(self, name: str, wanted: Wanted) -> None:
        """Begin a replay: it is planted by and by."""
        self.told.append(Replay(name, wanted, beside(self.stage, name)))

    def folded(self, replay: Replay) -> bool:
        """Go on with a replay; return whether it is through."""
        if not replay.position:
            self._plant(replay)
        elif replay.workers and replay.is_folded:
            for worker in replay.workers:
                worker.retire()
            replay.workers.clear()
            name = f"rebilling-{replay.name}"
            Role(replay.shadow, name, _rebilling(replay)).launch()
        return replay.through

    def _plant(self, replay: Replay) -> None:
        tables, shadow = self.stage.database.tables, replay.shadow
        with job(self.stage, "plant") as process, self._refusable(replay):
            shadow.session(process).plant(self.stage.around.database.schema, replay.wanted.bodies)
        planted = shadow.database.tables
        if not planted.facts:
            return
        replay.position = len(planted.facts)
        replay.issued = frozenset(
            document.id
            for (issuer, place), document in tables.documents.items()
            if place <= planted.shadowed.get(issuer, 0)
        )
        replay.workers = [*_folding(replay)]
        for worker in replay.workers:
            worker.launch()
        self.stage.world.counted["replays"] += 1

    def apply(self, replay: Replay, also: Also = nothing_else) -> None:
        """Look at what differs; the next time have it corrected, and then once more."""
        stage, shadow = self.stage, replay.shadow
        with job(stage, "apply") as process, self._refusable(replay):
            live, told = stage.around.database.schema, f"replay {replay.name}"
            looked = look(shadow.session(process), live, told, Selection())
            if replay.diff_id is None:
                replay.diff_id = looked.shown.id
                return
            if not replay.facts:
                replay.done = shadow.database.compared
            session, now = stage.session(process), stage.world.now
            applied = decide_looked(session, looked, replay.diff_id, _ADA, now, also)
            replay.again, replay.applied = replay.applied, True
            if applied.facts:
                announced(stage, process, applied.facts[-1].serial)

    @contextmanager
    def _refusable(self, replay: Replay) -> Iterator[None]:
        """Note that what is asked of a replay is refused: whoever wants it begins anew."""
        try:
            yield
        except BadInput:
            replay.refused = True
            self.stage.world.counted["replays_refused"] += 1


def _folding(replay: Replay) -> Iterator[Role]:
    """Yield the workers that fold the log anew: as few as a replay begins with."""
    shadow, partitions = replay.shadow, replay.shadow.around.partitions
    own = partitions_of(0, 1, partitions)
    yield Role(shadow, f"pricing-{replay.name}", roles.pricing(shadow, own))
    metering = Role(shadow, f"metering-{replay.name}", roles.metering(shadow, lambda: metering))
    yield metering


def _rebilling(replay: Replay) -> Callable[[Runner], Step]:
    """Return how whoever makes the documents of a replay is started."""

    def start(process: Runner) -> Step:
        shadow = replay.shadow
        known = Knowledge(shadow.session(process))
        one = Finalizer(
            shadow.session(process),
            known,
            shadow.clock(process),
            bite=SHARED_BITE,
            tells_usage=False,
            waits=False,
        )

        def step() -> float:
            prepared = one.prepare()
            if one.register() or prepared:
                return _BITE_S
            replay.through = True
            return _IDLE_S

        return step

    return start


def _billed(tables: Tables) -> list[str]:
    """Return the plans that anything was issued by."""
    contents = (document.content for document in tables.documents.values())
    lines = (line for content in contents for line in cast(list[Body], content["lines"]))
    cards = (cast(Body, line["rate_card"] or {}) for line in lines)
    return sorted({str(card["plan"]) for card in cards if card.get("plan")})


def drawn(random: Random, facts: Sequence[Fact], now: Instant, plans: Sequence[str]) -> Wanted:
    """Return by which prices somebody replays: others, those of some time ago, or the same."""
    match random.choice([*["others"] * 4, "known", "same"]):
        case "others":
            of = random.choice([*[FactKind.PLAN] * 4, FactKind.FX_RATE, FactKind.BOOK])
            last = {fact.subject: fact.body for fact in facts if fact.kind is of}
            subjects = plans if of is FactKind.PLAN else sorted(last)
            if not subjects:
                return Wanted()
            subject = random.choice(subjects)
            return Wanted(said={(of, subject): otherwise(random, of, last[subject])})
        case "known":
            return Wanted(known=random.randint(BEGIN, now))
        case _:
            return Wanted()


def otherwise(random: Random, kind: FactKind, body: Body) -> Body:
    """Return what says prices with other amounts; of a plan without a day of its own."""
    told = {name: value for name, value in body.items() if name != "effective"}
    if kind is FactKind.FX_RATE:
        rate = Fraction(str(body["rate"])) * Fraction(random.randint(500, 1500), 1000)
        return {**told, "rate": quantity_text(rate)}
    if kind is FactKind.BOOK:
        (plan,) = cast(list[Body], body["plans"])
        return {**told, "plans": [{**plan, "prices": [*_other_cards(random, plan)]}]}
    return {**told, "prices": [*_other_cards(random, body)]}


def _other_cards(random: Random, told: Body) -> Iterator[Json]:
    for card in cast(list[Body], told["prices"]):
        price = cast(Body, card["price"])
        share = Fraction(random.randint(0, 30), 10)
        yield {**card, "price": {name: _scaled(price[name], name, share) for name in price}}


def _scaled(value: Json, name: str, share: Fraction) -> Json:
    """Return an amount times a share; of tiers each of theirs."""
    if name == "tiers":
        tiers = cast(list[Body], value)
        return [{key: _scaled(tier[key], key, share) for key in tier} for tier in tiers]
    if name in ("amount", "unit_amount", "flat_amount"):
        return quantity_text(Fraction(str(value)) * share)
    return value
