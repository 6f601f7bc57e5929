"""Alarms: somebody finds that prices were wrong, and leads an incident to its end, step by step.

Owns: the mistake, what of it is taken for wrong, what is done next of an incident.
Does not own: what each step decides (replay/incident.py), its replay (replays.py), what must come
of it (restored.py).
Law: whoever dies in a step does it again: an incident is what its facts say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BadInput
from pipeline.replay.incident import (
    Incident,
    Step,
    crediting,
    incidents,
    opening,
    rolling_back,
    stepping,
)
from pipeline.simulate.agreements import Body
from pipeline.simulate.jobs import announced, job
from pipeline.simulate.replays import Replay, Replays, Wanted, otherwise
from pipeline.simulate.roles import Stage
from pipeline.stores.postgres.facts import Author
from pipeline.workers.incidents import told_of

NAME = "INC-1"
_BOB, _EVE = Author("bob", "the alarm rang"), Author("eve", "a new price list")
_REPLAYED, _ALARMED, _STEP_S = 0.3, 0.25, 4.0
"""In how many of those seeds somebody replays, or leads an incident; how often they do a step."""
_FOUND_S = 15
"""So long nobody finds a mistake."""
_SURVEYS_MAX = 4
"""So often refused, an incident is closed without notes."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What somebody says was wrong: what was told of these, or of all, in [since, until)."""

    since: Instant
    until: Instant | None
    subjects: Sequence[str]


@dataclass(slots=True)
class Alarms:
    """Whoever replays in a world, or leads its one incident."""

    stage: Stage
    replays: Replays = field(init=False)
    told: Alarm | None = None
    """What it is about."""

    def __post_init__(self) -> None:
        """Begin with no replay."""
        self.replays = Replays(self.stage)

    def jobs(self) -> list[tuple[str, float, Callable[..., None]]]:
        """Return what is done again and again in this world, each `busy` or not."""
        drawn = self.stage.world.streams.of("wrong prices").random()
        if drawn < _REPLAYED:
            return [("replay", _STEP_S, self.replays.step)]
        return [("alarm", _STEP_S, self.step)] if drawn < _REPLAYED + _ALARMED else []

    @property
    def facts(self) -> list[Fact]:
        """All facts there are."""
        return [*self.stage.database.tables.facts.values()]

    @property
    def runs(self) -> bool:
        """Whether an incident was opened, and is not closed."""
        known = incidents(self.facts).get(NAME)
        return known is not None and known.step is not Step.CLOSED

    def step(self, *, busy: bool) -> None:
        """Do what is next, now and then what was done already."""
        known = incidents(self.facts).get(NAME)
        random, now = self.stage.world.streams.of("alarm"), self.stage.world.now
        if known is None:
            if self.wrong is not None and self.wrong.recorded_at < now - _FOUND_S * SECOND:
                self._open(self.wrong)
            elif self.wrong is None and busy:
                self._mistake()
        elif known.step is Step.OPENED or random.random() < 0.1:
            self._write("roll back", lambda facts: rolling_back(facts, NAME))
        elif known.step is Step.ROLLED_BACK:
            self._correct(random.random() < 0.1)
        elif known.step is Step.CREDITED:
            self._close(known)

    @property
    def wrong(self) -> Fact | None:
        """The mistake that somebody made."""
        return next((fact for fact in self.facts if fact.actor == _EVE.actor), None)

    def _mistake(self) -> None:
        """Put wrong prices in force."""
        random, kind = self.stage.world.streams.of("mistake"), FactKind.PLAN
        last = {fact.subject: fact.body for fact in self.facts if fact.kind is kind}
        sold = {str(f.body["plan"]) for f in self.facts if f.kind is FactKind.SUBSCRIPTION}
        plain = sorted(name for name in sold if "effective" not in last[name])
        if plain:
            name = random.choice(plain)
            wrong = NewFact(kind, name, otherwise(random, kind, last[name]))
            self._write("mistake", lambda _: [wrong], _EVE)

    def _open(self, wrong: Fact) -> None:
        random = self.stage.world.streams.of("alarm")
        until = random.choice([None, wrong.recorded_at + 1])
        subjects = random.choice([[], [wrong.subject], [wrong.subject]])
        alarm = self.told = Alarm(wrong.recorded_at, until, subjects)
        self._write(
            "open",
            lambda known: opening(known, NAME, alarm.since, until, subjects, hold=True),
        )

    def _correct(self, hurried: bool) -> None:
        """Survey once all is issued that was cut before, then have the notes decided."""
        tables, replay = self.stage.database.tables, self.replays.current
        if replay is None:
            known = incidents(self.facts)[NAME]
            if len(self.replays.told) == _SURVEYS_MAX:
                self._write("close", lambda facts: stepping(facts, NAME, Step.CLOSED))
            elif hurried or not (tables.unprepared or tables.prepared):
                name = f"{known.replay}_{len(self.replays.told) + 1}"
                self.replays.begin(name, Wanted(incident=NAME))
        elif self.replays.folded(replay):
            self.replays.apply(replay, lambda facts, bodies: _credited(replay, facts, bodies))

    def _close(self, known: Incident) -> None:
        told = told_of(self.facts, known, self.stage.database.tables.documents.values())
        if not told.missing:
            self._write("close", lambda facts: stepping(facts, NAME, Step.CLOSED))

    def _write(
        self,
        name: str,
        decide: Callable[[Sequence[Fact]], list[NewFact]],
        author: Author = _BOB,
    ) -> None:
        """Write what a step decides; return once it is in force."""
        stage = self.stage
        with job(stage, name) as process:
            try:
                written = stage.session(process).append_facts(decide, author, stage.world.now)
            except ValueError as error:
                raise BadInput(str(error)) from None
            if written:
                announced(stage, process, written[-1].serial)


def _credited(replay: Replay, facts: Sequence[Fact], bodies: Sequence[Body]) -> list[NewFact]:
    return crediting(facts, NAME, str(replay.diff_id), bodies)
