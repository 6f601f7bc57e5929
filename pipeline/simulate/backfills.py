"""Backfills: old usage that people bring in bulk, in the story of one seed, and take back.

Owns: what a unit is made of, who stages, looks at, commits, reverts and drops which.
Does not own: the jobs (workers/backfilling.py), what must come of them (backfilled.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from pipeline.catalog.facts import FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.identity import event_key
from pipeline.replay.backfill import Gathering
from pipeline.simulate.errands import Errands, quiet
from pipeline.simulate.jobs import ADA
from pipeline.simulate.world import Runner
from pipeline.workers.backfilling import committed, dropped, previewed, reverted, stage
from pipeline.workers.readmission import Readmission

_UNITS_MAX = 4
_EVENTS_MAX = 12
_PATIENCE_S = 30.0
_REVERTED = (FactKind.BACKFILL, "reverted")


@dataclass(slots=True)
class Backfills(Errands):
    """Everybody who brings old usage in one world. `units` are all that were staged, by name."""

    units: dict[str, Sequence[UsageEvent]] = field(default_factory=dict)

    def act(self) -> None:
        """Do something about a unit."""
        random = self.stage.world.streams.of("backfill")
        what = random.choice(
            ["stage", "stage", "look", "commit", "commit", "commit", "revert", "drop"]
        )
        if not self.units or (what == "stage" and len(self.units) < _UNITS_MAX):
            self._stage(random)
            return
        name = random.choice([*self.units])
        with self._job("backfill") as process:
            job = self._readmission(process, name_of(what, name))
            self._do(what, name, job, process)
            self.stage.world.counted[f"backfill_{what}"] += 1

    def _do(self, what: str, name: str, job: Readmission, process: Runner) -> None:
        session = self.stage.session(process)
        match what:
            case "look":
                previewed(job, session, name, quiet)
            case "commit":
                committed(job, session, name, ADA, quiet, _PATIENCE_S)
            case "revert":
                reverted(job, session, name, ADA, quiet, _PATIENCE_S)
            case _:
                dropped(job, session, name)

    def _stage(self, random: Random) -> None:
        """Stage usage from anywhere, or what was taken back, mended or as it was."""
        name, gathering = self.story.names.new("unit"), Gathering()
        facts = self.stage.database.tables.facts.values()
        back = [f.subject for f in facts if (f.kind, f.body.get("what")) == _REVERTED]
        drawn = self._again(random, self.units[random.choice(back)]) if back else []
        if not drawn or random.random() < 0.4:
            now = self.stage.world.now
            count = random.randint(1, _EVENTS_MAX)
            drawn = [self.story.old_usage(random, now) for _ in range(count)]
        self.units[name] = [each for each in drawn if gathering.take(each) is None]
        for each in drawn:
            self.story.to_be_sent(each, keys_of(each, self.units))
        with self._job("stage") as process:
            events, partitions = [*gathering.events.values()], self.stage.around.partitions
            stage(self.stage.session(process), name, events, "a file", partitions)

    def _again(self, random: Random, events: Sequence[UsageEvent]) -> list[UsageEvent]:
        return [replace(e, value=e.value + 1) if random.random() < 0.5 else e for e in events]


def name_of(what: str, unit: str) -> str:
    """Return what a job is called that does something about a unit."""
    return f"{what} {unit}"


def keys_of(event: UsageEvent, units: Iterable[str]) -> list[bytes]:
    """Return every key that an event may have: one more after each unit that was taken back."""
    found = [event_key(event.customer, event.source, event.id)]
    for unit in units:
        found += [key_after(event, key, unit) for key in found]
    return found


def key_after(event: UsageEvent, key: bytes, unit: str) -> bytes:
    """Return the key that an event of another has once the unit that it came with is taken back."""
    return event_key(event.customer, "talea/backfill", f"{key.hex()}/{unit}")
