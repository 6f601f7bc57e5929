"""The second phase: how long an event takes to show on its customer's draft, at what cost.

Owns: a steady load, the moments events happen at, the moments drafts are seen to hold them.
Does not own: the rate (a share of what the first phase found), the load (load.py).
Law: pessimistic where it cannot know: an event is seen when a look at the drafts found it, not
when it was rated; a late send is latency too.

Events happen evenly in time. Each waits in a batch until that is full or `LINGER_S` old, as in
an agent, and is sent then. Some customers are watched: their drafts' quantities only grow, so a
quantity tells how many of their events are on the draft. Batches are packed beforehand: while
it is measured, this process only sends and looks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.drain import cpu_seconds_since
from pipeline.bench.expected import Expected
from pipeline.bench.load import NO_EVENTS, Lane, Load, Made
from pipeline.bench.probes import cpu_seconds
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.database import Connection

LINGER_S = 0.2
_WATCHED_EACH = 10
_LOOK_S = 0.025
_LOOKS_A_LOOK_INTO_BOOKS = 4
"""Looks cost what is measured: the books, which only explain it, are looked into more seldom."""
_PATIENCE_S = 60.0

_LOOK: LiteralString = (
    "SELECT payer, source_offset, (content::json #>> '{lines,0,metered_quantity}')::bigint"
    " FROM told_draft JOIN unnest(%s::text[], %s::bigint[]) AS w (payer, seen) USING (payer)"
    " WHERE source_offset > seen"
)
_BOOKED: LiteralString = (
    "SELECT s.customer, (SELECT sum(u.sum)::bigint FROM usage u WHERE u.series_id = s.id)"
    " FROM series s WHERE s.customer = ANY(%s::text[])"
)


@dataclass(slots=True)
class _Watched:
    """A customer's events: `reached[i]` is the quantity with event i, made at `made_s[i]`."""

    before: int
    offset: int = -1
    shown: int = 0
    booked: int = 0
    made_s: list[float] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    reached: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def on_draft(self, quantity: int, now_s: float) -> list[float]:
        """Return the latencies of the events that a draft of this quantity newly holds."""
        before, self.shown = self.shown, max(self._count(quantity, "a draft shows"), self.shown)
        return [now_s - made_s for made_s in self.made_s[before : self.shown]]

    def in_books(self, quantity: int, now_s: float) -> list[float]:
        """Return the latencies of the events that books of this quantity newly hold."""
        before, self.booked = self.booked, self._count(quantity, "the books hold")
        return [now_s - made_s for made_s in self.made_s[before : self.booked]]

    def _count(self, quantity: int, told: str) -> int:
        count = int(np.searchsorted(self.reached, quantity, side="right"))
        if quantity != (int(self.reached[count - 1]) if count else self.before):
            raise CheckFailed(f"{told} a quantity of {quantity} that never was")
        return count


@dataclass(frozen=True, slots=True)
class _Timed:
    """A message and when it is due, in seconds after the start."""

    due_s: float
    made: Made


@dataclass(frozen=True, slots=True)
class Steady:
    """What a steady load showed: seconds from event to draft, CPU by kind of process.

    `booked_s`: how much of them went by until the event was in the books; the rest it waited for
    its customer's turn to be rated.
    """

    events_per_s: float
    seconds: float
    latency_s: Mapping[str, float]
    booked_s: Mapping[str, float]
    cpu_s: Mapping[str, float]

    @property
    def cpu_s_per_million(self) -> dict[str, float]:
        """CPU seconds of each kind of process for a million events."""
        millions = self.events_per_s * self.seconds / 1e6
        return {kind: round(s / millions, 3) for kind, s in self.cpu_s.items()}

    def json(self) -> dict[str, object]:
        """Return the figures."""
        return {
            "events_per_s": round(self.events_per_s),
            "seconds": self.seconds,
            "latency_s": dict(self.latency_s),
            "booked_s": dict(self.booked_s),
            "cpu_s_per_million": self.cpu_s_per_million,
        }


def measure_latency(
    stand: Stand, load: Load, expected: Expected, rate: float, seconds: float, tell: Tell
) -> Steady:
    """Measure p50, p95 and p99 of seconds from event to draft at `rate` events a second."""
    tell("packing a steady load", None)
    watched: dict[str, _Watched] = {}
    timed: list[_Timed] = []
    base = wall_clock()
    total = sum(len(lane.numbers) for lane in load.lanes)
    for lane in load.lanes:
        own = _watch(lane, expected)
        watched |= own
        timed += _timed(lane, rate * len(lane.numbers) / total, seconds, base, own)
    for one in watched.values():
        one.reached = one.before + np.cumsum(np.array(one.values, np.int64))
    timed.sort(key=lambda message: message.due_s)
    tell(f"measuring latency at {rate:,.0f} events/s", None)
    spent = cpu_seconds(stand.pids())
    booked, drafted = _run(stand, timed, watched, seconds, tell)
    stand.settle()
    cpu_s = cpu_seconds_since(stand, spent)
    expected.check(stand.connection)
    return Steady(rate, seconds, _percentiles(drafted), _percentiles(booked), cpu_s)


def _percentiles(latencies_s: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(latencies_s, [50, 95, 99]).round(3).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def _watch(lane: Lane, expected: Expected) -> dict[str, _Watched]:
    last = len(lane.numbers) - 1
    few = np.unique(np.linspace(0, last, _WATCHED_EACH).astype(int)).tolist()
    return {lane.names[who]: _Watched(expected.quantity(int(lane.numbers[who]))) for who in few}


def _timed(
    lane: Lane, rate: float, seconds: float, base: Instant, watched: Mapping[str, _Watched]
) -> list[_Timed]:
    """Return a lane's messages; what is watched of them is noted down."""
    size = max(1, min(lane.shape.batch_events, int(rate * LINGER_S)))
    places = {who: watched[name] for who, name in enumerate(lane.names) if name in watched}
    timed = []
    for first in range(0, int(rate * seconds), size):
        made_s = np.arange(first, first + size) / rate
        made = lane.make(base + (made_s * SECOND).astype(np.int64))
        timed.append(_Timed((first + size) / rate, replace(made, fresh=NO_EVENTS)))
        events = made.fresh[np.isin(made.fresh["who"], list(places))]
        for who, at, value in zip(
            events["who"].tolist(), events["time"].tolist(), events["value"].tolist(), strict=True
        ):
            places[who].made_s.append((at - base) / SECOND)
            places[who].values.append(value)
    return timed


def _run(
    stand: Stand,
    timed: Sequence[_Timed],
    watched: Mapping[str, _Watched],
    seconds: float,
    tell: Tell,
) -> tuple[list[float], list[float]]:
    """Send each message when it is due and look on.

    Return every watched event's seconds until it was booked, and until it was on a draft.
    """
    booked, drafted = list[float](), list[float]()
    sender = stand.sender()
    wanted = sum(len(one.made_s) for one in watched.values())
    started, sent, look_s, looks = time.monotonic(), 0, 0.0, 0
    while min(len(booked), len(drafted)) < wanted:
        now_s = time.monotonic() - started
        while sent < len(timed) and timed[sent].due_s <= now_s:
            sender.send(timed[sent].made)
            sent += 1
        sender.poll()
        if now_s >= look_s:
            if looks % _LOOKS_A_LOOK_INTO_BOOKS == 0:
                booked += _look_into_books(stand.connection, watched, started)
            looks += 1
            drafted += _look(stand.connection, watched, started)
            look_s = now_s + _LOOK_S
            stand.check()
            tell("measuring latency", min(now_s / seconds, 0.99))
        if now_s > seconds + _PATIENCE_S:
            raise ServerFailed(f"{wanted - len(drafted)} watched events never came to a draft")
        due_s = timed[sent].due_s if sent < len(timed) else look_s
        time.sleep(max(0.001, min(due_s, look_s) - (time.monotonic() - started)))
    sender.flush()
    sender.close()
    return booked, drafted


def _look(connection: Connection, watched: Mapping[str, _Watched], started: float) -> list[float]:
    asked = [list(watched), [one.offset for one in watched.values()]]
    rows = connection.execute(_LOOK, asked).fetchall()
    now_s = time.monotonic() - started
    found: list[float] = []
    for payer, offset, quantity in rows:
        watched[payer].offset = offset
        found += watched[payer].on_draft(quantity, now_s)
    return found


def _look_into_books(
    connection: Connection, watched: Mapping[str, _Watched], started: float
) -> list[float]:
    rows = connection.execute(_BOOKED, [list(watched)]).fetchall()
    now_s = time.monotonic() - started
    return [each for payer, sum_ in rows for each in watched[payer].in_books(sum_, now_s)]
