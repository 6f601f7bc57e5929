"""The stand: a throw-away stack under measurement.

Owns: starting and stopping its workers, sending as agents send, seeing where the books stand.
Does not own: the servers (embedded, wired by the command), what is measured when.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.agents.link import KafkaLink
from pipeline.agents.spool import Spooled
from pipeline.bench.flame import flames
from pipeline.bench.load import Made
from pipeline.bench.probes import MemoryWatch, kind_of
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.stores.groups import is_shared_out
from pipeline.stores.kafka import log_ends, usage_log
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.connection import one
from pipeline.stores.postgres.database import Connection
from pipeline.workers.supervisor import Supervisor, WorkerKind
from pipeline.workers.surroundings import Surroundings

Tell = Callable[[str, float | None], None]
"""Progress: what is going on, and how far (None: nobody knows)."""

_POLL_S = 0.05
_PATIENCE_S = 120.0
"""How long nothing may move before the stand gives up."""
_LOG_LINES = 5


@dataclass
class Stand:
    """Servers and their pids from outside; a context that stops every worker it started.

    `flames` is the folder for flame graphs of the workers, None for none.
    """

    around: Surroundings
    server_pids: Mapping[str, int]
    logs: Path
    connection: Connection
    flames: Path | None = None
    _supervisors: dict[str, Supervisor] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.connection.close()

    def start(self, *kinds: WorkerKind) -> None:
        """Start workers."""
        for kind in kinds:
            supervisor = self._supervisors[kind.label] = Supervisor(self.around, [kind], self.logs)
            supervisor.start()

    def stop(self, name: str = "") -> None:
        """Stop the workers of one kind, or all of them."""
        for label in [label for label in self._supervisors if label.startswith(name)]:
            self._supervisors.pop(label).stop()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Hold the workers of one kind still, as they are, warm and with all they have open."""
        pids = [pid for label, pid in self.worker_pids().items() if kind_of(label) == name]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def watched(self) -> Iterator[MemoryWatch]:
        """Look at the workers for as long as this is entered."""
        with ExitStack() as held:
            if self.flames is not None:
                held.enter_context(flames(self.worker_pids(), self.flames))
            yield held.enter_context(MemoryWatch(self.worker_pids))

    def worker_pids(self) -> dict[str, int]:
        """Return the pid of every worker."""
        found: dict[str, int] = {}
        for supervisor in dict(self._supervisors).values():
            found |= supervisor.pids()
        return found

    def pids(self) -> dict[str, int]:
        """Return the pid of every server and worker."""
        return {**self.server_pids, **self.worker_pids()}

    def check(self) -> None:
        """See that no worker died.

        Raises:
            CheckFailed: one did: what was measured is not what was meant.

        """
        for label, supervisor in self._supervisors.items():
            if supervisor.restarts:
                words = (self.logs / f"{label}.log").read_text("utf-8", errors="replace")
                said = " | ".join(words.splitlines()[-_LOG_LINES:])
                raise CheckFailed(f"{label} died while it was measured; it said: {said}")

    def sender(self) -> "Sender":
        """Return a new way to the usage log."""
        return Sender(KafkaLink(self.around.kafka, usage_log(self.around.stack), {}))

    def ends(self) -> dict[int, int]:
        """Return the next offset of each partition of the usage log."""
        name = usage_log(self.around.stack)
        ends = log_ends(self.around.kafka, name, self.around.partitions)
        return {partition: end for partition, (_, end) in enumerate(ends)}

    def await_booked(self, ends: Mapping[int, int], tell: Callable[[float], None]) -> float:
        """Return the moment at which the books were seen to have reached these offsets."""
        total, done = sum(ends.values()), -1
        deadline = 0.0
        while True:
            cursors = load_cursors(self.connection)
            now = time.monotonic()
            stands = {number: cursor.offset + 1 for number, (cursor, _) in cursors.items()}
            reached = sum(min(stands.get(number, 0), end) for number, end in ends.items())
            if reached == total:
                return now
            if reached > done:
                done, deadline = reached, now + _PATIENCE_S
                tell(reached / total)
            self.check()
            if now > deadline:
                raise ServerFailed(f"the books stand still at {reached} of {total} messages")
            time.sleep(_POLL_S)

    def await_drafted(self) -> float:
        """Return the moment at which every payer's draft was seen to be up to date."""
        first, deadline = 0, 0.0
        while waiting := self._first_to_rate():
            self.check()
            now = time.monotonic()
            if waiting != first:
                first, deadline = waiting, now + _PATIENCE_S
            if now > deadline:
                raise ServerFailed("payers wait to be rated, and none of them is")
            time.sleep(_POLL_S)
        return time.monotonic()

    def _first_to_rate(self) -> int:
        """Return the mark that has waited longest, 0: none; to count all would cost the run."""
        (since,) = one(self.connection, "SELECT coalesce(min(since), 0) FROM dirty")
        return int(since)

    def await_fact(self, position: int) -> None:
        """Return once the books of every partition stand behind a tick that names a fact."""

        def named() -> bool:
            cursors = load_cursors(self.connection)
            reached = [cursor.tick.fact_position for cursor, _ in cursors.values()]
            return len(reached) == self.around.partitions and min(reached) >= position

        self._until(named, f"the books do not reach a tick that names fact {position}")

    def await_shared_out(self) -> None:
        """Return once every metering worker has its partitions: none joins under the clock."""
        members = sum(kind_of(label) == "metering" for label in self.worker_pids())
        group = self.around.stack.metering_group
        self._until(
            lambda: is_shared_out(self.around.kafka, group, members),
            f"{members} metering workers do not share the log out",
        )

    def _until(self, holds: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            self.check()
            if time.monotonic() > deadline:
                raise ServerFailed(failure)
            time.sleep(_POLL_S)

    def settle(self) -> None:
        """Return once everything sent so far is booked and drafted."""
        self.await_booked(self.ends(), lambda _: None)
        self.await_drafted()


class Sender:
    """Sends messages as an agent's link does: lz4, idempotent, in order."""

    def __init__(self, link: KafkaLink) -> None:
        """Use a link that nobody else uses."""
        self._link = link
        self._sent = self._acked = 0

    def send(self, made: Made) -> None:
        """Hand one message to the client; waits while its queue is full."""
        self._sent += 1
        spooled = Spooled(self._sent, made.partition, made.event_count, made.message)
        while not self._link.send(spooled):
            self.poll(0.05)

    def poll(self, wait_s: float = 0.0) -> int:
        """Take acknowledgements; return how many messages still lack theirs."""
        self._acked += len(self._link.poll(wait_s))
        return self._sent - self._acked

    def flush(self) -> None:
        """Return once the broker has everything.

        Raises:
            ServerFailed: it did not take it.

        """
        deadline = time.monotonic() + _PATIENCE_S
        while self.poll(0.05):
            if time.monotonic() > deadline:
                raise ServerFailed(f"Kafka does not take the load: {self._link.trouble()}")

    def close(self) -> None:
        """Let go of the client."""
        self._link.close()
