"""The world of one seed: its time, its chance, its processes, and the trace of what they did.

Owns: virtual time, the order of everything, where a process crashes, fails or stalls.
Does not own: what processes do (play.py), servers (log, claims, database).
Law: the same seed gives the same trace. Nothing here or around it asks a clock, a thread or the
order of a set.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from random import Random

from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.errors import ServerFailed

BEGIN: Instant = parse_instant("2026-03-01T00:00:00Z")
_STALLS_DEEP = 3
_NOTES_MAX = 4096
_STALL_S_MAX = 40
SESSION_S = 15
"""After how long a silent session of the database, or member of the group, is given up."""


class Crashed(BaseException):
    """The process was killed here."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely each fault is: at each effect, or (`_s`) once in so many seconds; 0 is never."""

    crash: float = 0.0008
    failure: float = 0.0006
    stall: float = 0.0006
    lost_ack: float = 0.01
    repeated: float = 0.06
    redis_s: float = 60
    rebalance_s: float = 25
    rewind_s: float = 60

    def scaled(self, by: float) -> "Chances":
        """Return chances so much smaller, or none at all."""
        each = {field.name: getattr(self, field.name) for field in fields(self)}
        seldom = {name: by and value / by for name, value in each.items() if name.endswith("_s")}
        return Chances(**{**{name: value * by for name, value in each.items()}, **seldom})


@dataclass(slots=True, eq=False)
class Runner:
    """A process: dead for ever, stalled for a while, or running, by a clock that is off."""

    name: str
    random: Random
    """Draws its own part of the schedule, so that another process more shifts no other's."""
    skew: Instant = 0
    alive: bool = True
    stalled_until: Instant = 0
    waiting: "list[_Entry] | None" = None
    """What it would do next, while it stands still in the middle of a call."""
    on_death: list[Callable[[], None]] = field(default_factory=list)
    on_stall: list[Callable[[Instant], None]] = field(default_factory=list)

    def chance(self, likely: float) -> bool:
        """Return whether something happens to it."""
        return self.random.random() < likely

    def die(self) -> None:
        """Stop for ever; what others held for it is let go."""
        if self.alive:
            self.alive = False
            for call in self.on_death:
                call()


_Entry = tuple[Instant, int, Runner | None, Callable[[], None]]


class Streams:
    """Chance by feature: each draws from a stream of its own, so that none shifts another."""

    def __init__(self, seed: int) -> None:
        """Begin every stream of a seed."""
        self._seed = seed
        self._streams: dict[str, Random] = {}

    def of(self, feature: str) -> Random:
        """Return the stream of a feature."""
        if feature not in self._streams:
            self._streams[feature] = Random(f"{self._seed} {feature}")
        return self._streams[feature]


class World:
    """Runs what was planned, in the order of time."""

    def __init__(self, seed: int, chances: Chances) -> None:
        """Begin at BEGIN."""
        self.streams = Streams(seed)
        self.now = BEGIN
        self.chances = chances
        self.pace = 1.0
        """How many times longer everybody rests who found nothing to do."""
        self.counted: Counter[str] = Counter()
        self._entries: list[_Entry] = []
        self._planned = 0
        self._deep = 0
        self._trace = blake2b(digest_size=16)
        self._noted: list[tuple[Instant, tuple[object, ...]]] = []

    @property
    def trace(self) -> str:
        """The digest of all that was done so far."""
        self._fold_notes()
        return self._trace.hexdigest()

    def _fold_notes(self) -> None:
        self._trace.update(repr(self._noted).encode())
        self._noted.clear()

    def note(self, *words: object) -> None:
        """Put something into the trace."""
        self._noted.append((self.now, words))
        if len(self._noted) > _NOTES_MAX:
            self._fold_notes()

    def start(self, name: str) -> Runner:
        """Start a process."""
        self.note("start", name)
        random = self.streams.of(f"process {name}")
        return Runner(name, random, random.randint(-2, 2) * SECOND)

    def after(self, pause: float, process: Runner | None, call: Callable[[], None]) -> None:
        """Plan a call in `pause` seconds, which a dead process does not make."""
        self.at(self.now + int(pause * SECOND), process, call)

    def at(self, instant: Instant, process: Runner | None, call: Callable[[], None]) -> None:
        """Plan a call at an instant."""
        self._planned += 1
        when = instant if instant > self.now else self.now
        heapq.heappush(self._entries, (when, self._planned, process, call))

    def run_until(self, instant: Instant) -> None:
        """Let time pass."""
        entries = self._entries
        while entries and entries[0][0] <= instant:
            at, planned, process, call = heapq.heappop(entries)
            if process is not None:
                if not process.alive:
                    continue
                if process.waiting is not None:
                    process.waiting.append((at, planned, process, call))
                    continue
                if process.stalled_until > at:
                    heapq.heappush(entries, (process.stalled_until, planned, process, call))
                    continue
            if at > self.now:
                self.now = at
            call()
        self.now = max(self.now, instant)

    def effect(self, process: Runner, what: str, *, stalls: float = 0) -> None:
        """Come to an effect: here a process may crash, fail, or stall while others go on.

        `stalls`: how many times likelier than elsewhere; 0: never.

        Raises:
            Crashed: it was killed.
            ServerFailed: the server did not answer.

        """
        self.note(process.name, what)
        if not process.alive:
            raise Crashed
        chances, draw = self.chances, process.random.random()
        if draw >= chances.crash + chances.failure + stalls * chances.stall:
            return
        if draw < chances.crash:
            self.counted["crashes"] += 1
            process.die()
            raise Crashed
        draw -= chances.crash
        if draw < chances.failure:
            self.counted["failures"] += 1
            raise ServerFailed(f"{what} was not answered")
        if self._deep < _STALLS_DEEP:
            self._stall(process)

    def _stall(self, process: Runner) -> None:
        """Let the others go on while this process stands still in the middle of a call."""
        self.counted["stalls"] += 1
        until = self.now + process.random.randint(1, _STALL_S_MAX) * SECOND
        process.stalled_until, process.waiting = until, []
        for call in process.on_stall:
            call(until - self.now)
        self._deep += 1
        self.run_until(until)
        self._deep -= 1
        waiting, process.waiting = process.waiting, None
        for entry in waiting:
            heapq.heappush(self._entries, entry)
        if not process.alive:
            raise Crashed

    def wait(self, process: Runner, seconds: float) -> None:
        """Let a process wait in the middle of a call, while the others go on.

        Raises:
            Crashed: it was killed meanwhile.

        """
        self.run_until(self.now + int(seconds * SECOND))
        if not process.alive:
            raise Crashed
