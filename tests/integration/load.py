"""A load: usage that keeps coming from a thread, with everything that goes wrong at the edge.

Fresh events by key and in sequence, repeats inside a batch and across batches, keys used twice,
messages resent to the byte, sequences out of order, late usage, unknown meters. The oracle hears
every message as it goes out.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from time import monotonic
from types import TracebackType
from typing import Self

from builders import usage
from integration.traffic import Sent, Traffic
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock

AHEAD_S = 3
"""Usage is sent so long before its time: a slow machine keeps it before its period's cut."""
REPEAT_WITHIN_S = 6.0
HOLD_BACK_S = 2.0
"""A gap is filled so soon that what was held back still finds its period open."""
_HOUR = 3600 * SECOND
_BATCH, _BESIDE = 150, 20
_PAUSE_S = 0.1


@dataclass
class Load:
    """Sends until left. Then `end` lies behind all usage."""

    traffic: Traffic
    customers: list[str]
    chance: Random
    end: Instant = 0
    beside: Callable[[list[UsageEvent]], None] = lambda _events: None
    """What sends a few fresh events more in each round, on a way of its own."""
    _number: int = 0
    _sequences: dict[int, int] = field(default_factory=dict)
    _held_back: dict[int, tuple[float, int, list[UsageEvent]]] = field(default_factory=dict)
    _events: deque[tuple[float, UsageEvent]] = field(default_factory=deque)
    _messages: deque[tuple[float, Sent]] = field(default_factory=deque)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _failed: list[BaseException] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        if self._failed and error is None:
            raise self._failed[0]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send nothing for the time of a block; the broker has everything, no gap is open."""
        with self._sending:
            self._release_all()
            yield
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        homes: dict[int, list[str]] = {}
        for name in self.customers:
            homes.setdefault(self.traffic.partition(name), []).append(name)
        try:
            with self._sending:
                self._send_each_kind(next(iter(homes.values())))
            while not self._stop.wait(_PAUSE_S):
                with self._sending:
                    for partition, names in homes.items():
                        self._release(partition, HOLD_BACK_S)
                        self._send(partition, names)
                    self.beside(self._fresh(self.customers)[:_BESIDE])
                    self.traffic.flush()
            self._release_all()
        except BaseException as error:
            self._failed.append(error)

    def _send_each_kind(self, names: list[str]) -> None:
        """Repeats, keys used twice, late and bad usage: however short this is, and however slow."""
        self._send_keyed(names)
        self._send_keyed(names)
        self._send_bad(names)
        self.traffic.flush()

    def _send(self, partition: int, names: list[str]) -> None:
        dice = self.chance.random()
        if dice < 0.5:
            self._send_keyed(names)
        elif dice < 0.85:
            self._send_sequenced(partition, names)
        elif dice < 0.95 and self._recent(self._messages):
            self.traffic.again(self.chance.choice(self._messages)[1])
        else:
            self._release(partition)
            self._send_bad(names)

    def _send_keyed(self, names: list[str]) -> None:
        events = self._fresh(names)
        if self._recent(self._events):
            repeats = [self.chance.choice(self._events)[1] for _ in range(10)]
            own = [event for event in repeats if event.customer in names]
            events += [*own, *(replace(event, value=event.value + 1) for event in own[:1])]
        events += events[:3]
        self.chance.shuffle(events)
        now = monotonic()
        self._messages += [(now, one) for one in self.traffic.keyed(*events)]
        self._events += [(now, event) for event in events[::20]]

    def _send_sequenced(self, partition: int, names: list[str]) -> None:
        events = self._fresh(names)
        first = self._sequences.get(partition, 0)
        self._sequences[partition] = first + len(events)
        if partition not in self._held_back and self.chance.random() < 0.1:
            self._held_back[partition] = (monotonic(), first, events)
            return
        one = self.traffic.sequenced(first, *events, producer="load")
        self._messages.append((monotonic(), one))

    def _release(self, partition: int, after_s: float = 0.0) -> None:
        """Fill the gap that was left in a sequence, if it is that old."""
        since, first, events = self._held_back.get(partition, (inf, 0, []))
        if monotonic() - since >= after_s:
            del self._held_back[partition]
            self.traffic.sequenced(first, *events, producer="load")

    def _release_all(self) -> None:
        for partition in list(self._held_back):
            self._release(partition)
        self.traffic.flush()

    def _send_bad(self, names: list[str]) -> None:
        one, other = self._fresh(names)[:2]
        self.traffic.keyed(replace(one, time=one.time - _HOUR), replace(other, meter="no_meter"))

    def _fresh(self, names: list[str]) -> list[UsageEvent]:
        time = wall_clock() + AHEAD_S * SECOND
        self.end = (time // SECOND + 1) * SECOND
        found = []
        for _ in range(_BATCH):
            self._number += 1
            meter = self.chance.choice(("requests", "gigabytes", "seats"))
            value = f"{self.chance.randrange(2000)}.{self.chance.randrange(1000)}"
            name = self.chance.choice(names)
            found.append(usage(name, value, meter=meter, time=time, id=str(self._number)))
        return found

    def _recent(self, sent: deque[tuple[float, UsageEvent]] | deque[tuple[float, Sent]]) -> bool:
        """Forget what is too old to be repeated in time; return whether there is anything left."""
        while sent and monotonic() - sent[0][0] > REPEAT_WITHIN_S:
            sent.popleft()
        return bool(sent)
