"""One seed played to its end, and looked at.

Owns: the course of a world: set-up, a while of faults, calm, drained, audited.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import SECOND
from pipeline.core.errors import ServerFailed
from pipeline.simulate import beside, roles
from pipeline.simulate.alarms import Alarms
from pipeline.simulate.archivists import Archivists
from pipeline.simulate.auditor import Violation
from pipeline.simulate.backfills import Backfills
from pipeline.simulate.clerks import NOTED, Clerks
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.group import Group
from pipeline.simulate.inquest import Inquest
from pipeline.simulate.jobs import ADA
from pipeline.simulate.log import Kept, MemoryTopics
from pipeline.simulate.operators import Operators
from pipeline.simulate.roles import Parts, Role, Stage
from pipeline.simulate.signing import key_of, signing_faults
from pipeline.simulate.story import Story
from pipeline.simulate.world import Chances, Crashed, World
from pipeline.stores.kafka import usage_log
from pipeline.topology import (
    USAGE_METERED,
)
from pipeline.workers.surroundings import partitions_of

_LENGTH_S = (40, 100)
"""With the calm behind it two generations of claims. Seeds of twice this length see no more of the
planted defects in a second of CPU: more of them see more than longer ones."""
_CALM_S = 70
_CALM_PACE = 4.0
"""In the calm ticks come about as seldom as in production, and nobody looks more often."""
_KNOWN_S = 20
"""What is booked so long before the calm must be corrected by its end."""
_WAIVES_S, _PROVES_S, _EDITS_S, _APPROVES_S, _HOLDS_S, _BACKFILLS_S = 8, 25, 6, 6, 8, 5
_GIVES_UP_S, _RETAINS_S, _ANSWERS_S = 30, 20, 8
_SELDOM = 0.3
"""In how many of the seeds what not every stack has is played."""
_MATCHED_S = 10
"""What was booked last may be matched in this time."""
_DRAIN_S = 300
"""A stack that does not come nearer to its end in this time never will."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much happens: shrinking takes less of each."""

    length: float = 1.0
    usage: float = 1.0
    decisions: float = 1.0
    faults: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed came to."""

    seed: int
    events: int
    duplicates: int
    counted: dict[str, int]
    facts: Counter[FactKind]
    """How many facts of each kind were written."""
    violations: list[Violation]
    trace: str


def play(seed: int, scale: Scale | None = None, parts: Parts | None = None) -> Outcome:
    """Play one seed and audit it."""
    with _uncollected():
        one = _Play(seed, scale or Scale(), parts or Parts())
        one.run()
        outcome = one.outcome()
        del one
    return outcome


@contextmanager
def _uncollected() -> Iterator[None]:
    """Clear up after a world alone: the collector would walk all that it keeps, over and over.

    Nor does it come upon what a dead process left in the middle of another one's work. What was
    there before the world is not walked at all.
    """
    gc.disable()
    gc.freeze()
    try:
        yield
        gc.collect()
        gc.collect()  # coroutines that the first one ended let go of what they kept
    finally:
        gc.unfreeze()
        gc.enable()


class _Play:
    def __init__(self, seed: int, scale: Scale, parts: Parts) -> None:
        self.seed, self.scale = seed, scale
        self.world = world = World(seed, Chances().scaled(0))
        draw = world.streams.of("shape")
        partitions = draw.choice([1, 2, 2, 3])
        self.chances = Chances().scaled(scale.faults * draw.choice([0, 0.5, 1, 1, 2, 4]))
        self.story = Story(world.streams, partitions)
        self.attend_s = world.streams.of("pauses").choice([0, 0, 8, 15])
        around = roles.surroundings(partitions, draw, pauses=self.attend_s > 0)
        topics, name = MemoryTopics(), usage_log(around.stack)
        self.stage = Stage(
            world,
            around,
            Group(world, topics, name, around.stack.topic(USAGE_METERED), partitions),
            topics,
            MemoryDatabase(world),
            parts.redis(),
            parts,
        )
        self.operators = Operators(self.stage, self.story)
        decides = Clerks(self.stage).jobs()  # a note by hand of what is taxed is not audited
        untaxed = [each for each in decides if each[0] not in NOTED]
        self.decides = untaxed if self.story.decisions.taxes else decides
        self.archivists = Archivists(self.stage, self.story)
        self.backfills = Backfills(self.stage, self.story)
        backfills = world.streams.of("backfilling").random() < _SELDOM
        self.backfill_s = _BACKFILLS_S if backfills else 0
        self.alarms = Alarms(self.stage)
        self.redrive_s = world.streams.of("redrives").choice([0, 0, 15, 30])
        self.amend_s = world.streams.of("amendments").choice([0, 0, 12, 24])
        poison = world.streams.of("poisoned").choice([0.01, 0.03])
        self.story.poison = poison if self.attend_s else 0
        reversing = world.streams.of("reversing").choice([0.05, 0.15])
        self.story.reversing = reversing if self.amend_s else 0
        marking = world.streams.of("marked").choice([0.02, 0.08])
        self.story.marking = marking if self.story.decisions.waits else 0
        self.key = key_of(world.streams.of("key"))
        self.tell_s = world.streams.of("told").choice([0, 0, 10])
        edits = world.streams.of("edits").random() < _SELDOM
        self.edit_s = _EDITS_S if edits else 0
        gives_up = self.redrive_s and world.streams.of("giving up").random() < 0.5
        self.give_up_s = _GIVES_UP_S if gives_up else 0
        self.holds = world.streams.of("holding").random() < _SELDOM
        self.signs = world.streams.of("signing").random() < _SELDOM
        notes = any(name in NOTED for name, *_ in self.decides)  # of what is there years later
        retains = world.streams.of("retaining").random() < 0.7
        self.retains = self.signs and retains and not notes
        # Nobody audits what is taxed, or taken off by hand, or gone, by other prices.
        self.plain = not (notes or self.retains or self.story.decisions.taxes)
        self.collects = world.streams.of("collecting").random() < _SELDOM
        self.stage.raw += [[] for _ in range(partitions if self.collects else 0)]
        self.publishes = world.streams.of("publishing").random() < 0.4
        self.length_s = draw.randint(*_LENGTH_S) * scale.length
        self.roles = self._roles(draw)
        self.busy = True
        self.calm_end = world.now
        self.known_at = 0
        """The tick up to which all was booked a while before the calm."""

    def _roles(self, draw: Random) -> dict[str, Role]:
        stage, partitions = self.stage, self.stage.around.partitions
        tick_s, workers = draw.choice([1.0, 2.0, 3.0]), draw.choice([1, 1, 2])
        found = {
            "ticker-0": roles.ticker(stage, tick_s),
            "ticker-1": roles.ticker(stage, tick_s),
            **{f"finalizer-{n}": roles.finalizer(stage) for n in range(draw.choice([1, 2]))},
        }
        if self.signs:
            found |= {f"signer-{n}": beside.signer(stage, self.key) for n in range(2)}
        if self.story.decisions.taxes:
            found |= {f"taxing-{n}": beside.taxing(stage) for n in range(2)}
        if self.publishes:
            found |= {f"publisher-{n}": beside.publisher(stage) for n in range(2)}
        for number in range(min(partitions, 2) if self.collects else 0):
            own = partitions_of(number, min(partitions, 2), partitions)
            found[f"collector-{number}"] = beside.collecting(stage, own, self.story.collected)
        if self.amend_s or self.backfill_s:
            found |= {f"matching-{n}": beside.matching(stage) for n in range(2)}
        for number in range(workers):
            own = partitions_of(number, workers, partitions)
            found[f"pricing-{number}"] = roles.pricing(stage, own)
        made = {name: Role(stage, name, start) for name, start in found.items()}
        for number in range(draw.choice([1, 2, 2, 3])):
            name = f"metering-{number}"
            start = roles.metering(stage, lambda name=name: made[name])  # type: ignore[misc]
            made[name] = Role(stage, name, start)
        return made

    def run(self) -> None:
        """Play: set up, faults, calm, the end."""
        world = self.world
        self._write_facts(lambda _: self.story.decisions.first())
        for role in self.roles.values():
            role.launch()
        world.run_until(world.now + 3 * SECOND)
        world.chances = self.chances
        self._repeat("usage", 1.0 / self.scale.usage, self._send)
        if self.collects:
            self._repeat("raw", 1.0 / self.scale.usage, self._send_raw)
        for kind, each_s in self.story.decisions.kinds.items():
            self._repeat(kind, each_s / self.scale.decisions, partial(self._decide, kind))
        for name, each_s, fault in (
            ("redis", self.chances.redis_s, self._harm_redis),
            ("members", self.chances.rebalance_s, self._stall_member),
            ("rewinds", self.chances.rewind_s, self._rewind),
            ("redrive", self.redrive_s, self.operators.redrive),
            ("give up", self.give_up_s, self.operators.give_up),
            ("amend", self.amend_s, self.operators.amend),
            ("backfill", self.backfill_s, self.backfills.act),
            ("tell", self.tell_s, self.operators.tell),
            ("edit", self.edit_s, self.operators.edit),
            ("prove", _PROVES_S * self.signs, partial(self.operators.prove, self.key)),
            ("retain", _RETAINS_S * self.retains, self.archivists.retain),
        ):
            if each_s:
                self._repeat(name, each_s, fault)
        for name, each_s, decide in self.decides:
            self._repeat(name, each_s, decide)
        for name, each_s, step in self.alarms.jobs() if self.plain else ():
            self._repeat(name, each_s, partial(self._step, step), always=True)
        if self.story.decisions.waits:
            self._repeat("waive", _WAIVES_S, self.operators.waive, always=True)
        if self.story.decisions.approving:
            self._repeat("approve", _APPROVES_S, self.operators.approve, always=True)
        if self.story.decisions.taxes:
            self._repeat("answer", _ANSWERS_S, self.archivists.answer, always=True)
        if self.holds:
            self._repeat("hold", _HOLDS_S, partial(self._step, self.operators.hold), always=True)
        if self.attend_s:
            self._repeat("attend", self.attend_s, self.operators.attend, always=True)
        world.after(max(0, self.length_s - _KNOWN_S), None, self._note_known)
        world.run_until(world.now + int(self.length_s * SECOND))
        self.busy, world.chances = False, Chances().scaled(0)
        world.pace = _CALM_PACE
        world.run_until(world.now + _CALM_S * SECOND)
        self.calm_end = world.now
        self.roles["ticker-0"].retire()
        self.roles["ticker-1"].retire()
        still_s, stood = 0, ""
        while still_s < _DRAIN_S:
            if self._drained():
                world.run_until(world.now + _MATCHED_S * SECOND)
                if self._drained():  # else somebody's tick came meanwhile, with cuts
                    return
            stands = self._stands()
            still_s, stood = (still_s + 1 if stands == stood else 0), stands
            world.run_until(world.now + SECOND)
        self.stage.faults.append(("drained", f"the stack stands still: {self._stands()}"))

    def _note_known(self) -> None:
        cursors = self.stage.database.tables.cursors
        if len(cursors) == self.stage.around.partitions:
            self.known_at = min(cursor.tick.serial for cursor, _ in cursors.values())

    def _repeat(
        self, name: str, mean_s: float, call: Callable[[], None], *, always: bool = False
    ) -> None:
        """Call again and again, at random, while it is busy, or always."""

        def again() -> None:
            if self.busy or always:
                call()
                self._repeat(name, mean_s, call, always=always)

        pause = self.world.streams.of(f"when {name}").expovariate(1 / mean_s)
        self.world.after(pause, None, again)

    def _send(self) -> None:
        """Send what comes next, now and then once more."""
        name = usage_log(self.stage.around.stack)
        partition, kept = self.story.message(self.world.now)
        self.stage.topics.append(name, partition, kept)
        random = self.world.streams.of("repeated")
        if random.random() < self.chances.repeated:
            again_s = random.randint(0, 20)
            self.world.after(again_s, None, lambda: self._resend(partition, kept))

    def _send_raw(self) -> None:
        partition, kept = self.story.raw(self.world.now)
        self.stage.raw[partition].append(kept)

    def _resend(self, partition: int, kept: Kept) -> None:
        if self.busy:
            self.stage.topics.append(usage_log(self.stage.around.stack), partition, kept)

    def _decide(self, kind: str) -> None:
        self._write_facts(lambda known: self.story.decisions.next(kind, known, self.world.now))

    def _write_facts(self, decide: Callable[[Sequence[Fact]], Sequence[NewFact]]) -> None:
        process = self.world.start("operator")
        session = self.stage.session(process)
        with suppress(Crashed, ServerFailed):
            session.append_facts(decide, ADA, self.world.now)
        process.die()

    def _harm_redis(self) -> None:
        acts = ["save", "wipe", "roll back"]
        redis, act = self.stage.redis, self.world.streams.of("redis").choice(acts)
        self.world.note("redis", act)
        {"save": redis.save, "wipe": redis.wipe, "roll back": redis.roll_back}[act]()
        self.world.counted["redis_losses"] += act != "save"

    def _step(self, step: Callable[..., None]) -> None:
        step(busy=self.busy)

    def _stall_member(self) -> None:
        """Let a member stand still, longer than the group waits or not, and share out anew."""
        world, group = self.world, self.stage.group
        random = world.streams.of("members")
        alive = [member.process for member in group.members if member.process.alive]
        if alive and random.random() < 0.6:
            process = random.choice(alive)
            time_us = random.randint(1, 40) * SECOND
            process.stalled_until = world.now + time_us
            world.note(process.name, "stands still")
            group.lose_sight(time_us)
        else:
            group.rebalance()

    def _rewind(self) -> None:
        group, random = self.stage.group, self.world.streams.of("rewinds")
        partition = random.randrange(group.partitions)
        group.rewind(partition, random.randint(0, group.committed.get(partition, 0)))

    def _stands(self) -> str:
        tables, name = self.stage.database.tables, usage_log(self.stage.around.stack)
        ends = [
            len(self.stage.topics.records[name, n]) for n in range(self.stage.around.partitions)
        ]
        booked = {n: cursor.offset for n, (cursor, _) in sorted(tables.cursors.items())}
        waiting = len(tables.unprepared) + len(tables.prepared)
        raw = {number: stand.offset for number, (stand, _) in sorted(tables.stands.items())}
        places = f"raw {raw}, ends {ends}, booked {booked}"
        return f"{places}, cuts waiting {waiting}, dirty {sorted(tables.dirty)}"

    def _drained(self) -> bool:
        tables, name = self.stage.database.tables, usage_log(self.stage.around.stack)
        for number, messages in enumerate(self.stage.raw):
            if messages and tables.stands[number][0].offset < len(messages) - 1:
                return False
        for number in range(self.stage.around.partitions):
            end = len(self.stage.topics.records[name, number])
            if end and (number not in tables.cursors or tables.cursors[number][0].offset < end - 1):
                return False
        waits = tables.unprepared or tables.prepared or tables.dirty
        return not (waits or self._owes() or self.alarms.runs)

    def _owes(self) -> bool:
        """Return whether something is committed and not published yet."""
        tables = self.stage.database.tables
        behind = any(
            place > tables.chains.get(of, 0) and (of, place) not in tables.removed
            for of, place in tables.documents
        )
        return self.publishes and (behind or bool(tables.draft_changes))

    def outcome(self) -> Outcome:
        """Audit what the world came to."""
        looked = Inquest(
            self.seed,
            self.stage,
            self.story,
            self.known_at,
            told=self.publishes,
            units=self.backfills.units,
            alarms=self.alarms,
        )
        faults = looked.faults()
        if self.signs:
            faults += signing_faults(self.stage.database.tables, self.key, self.calm_end)
        outcomes = looked.witness.outcomes.values()
        return Outcome(
            self.seed,
            sum(told["offered"] for told in outcomes),
            sum(told["duplicate"] for told in outcomes),
            dict(self.world.counted),
            Counter(fact.kind for fact in looked.witness.facts),
            [Violation(self.seed, law, detail) for law, detail in faults],
            self.world.trace,
        )
