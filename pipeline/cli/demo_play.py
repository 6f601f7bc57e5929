"""The demo's play: who the customers are, what they use, what goes wrong on the way.

Owns: the run's catalog, the host agent's groups, the planted trouble, waiting for the end.
Does not own: what is shown (demo_screen.py), any figure of it (the stack).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from pipeline.agents import Recorder
from pipeline.agents.host import MEMORY_GB_SECONDS, HostAgent, Moment
from pipeline.agents.processes import LocalProcesses, with_descendants
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, instant_text, window_start
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import log_ends, usage_log
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.documents import Document, read_documents
from pipeline.stores.postgres.drafts import Draft, read_drafts
from pipeline.workers.supervisor import Supervisor
from pipeline.workers.surroundings import Surroundings

WINDOW_S = 5
CYCLE_S = 60
_SAMPLE_S = 0.5
_PATIENCE_S = 180.0
_BURST_MAX = 500

_CATALOG = """
rules: {{grace: PT4S}}
issuers: [{{id: demo-ltd, name: Demo Ltd, number_prefix: DEMO-}}]
meters:
  - {{id: cpu_seconds, aggregation: sum, unit: CPU seconds, window: PT5S}}
  - {{id: memory_gb_seconds, aggregation: sum, unit: GB seconds, window: PT5S}}
plans:
  - id: per-minute
    name: Per minute
    issuer: demo-ltd
    currency: EUR
    cycle: PT1M
    prices:
      - {{id: base, name: Base fee, price: {{type: flat, amount: "0.25"}}}}
      - id: cpu
        name: CPU time
        meter: cpu_seconds
        price:
          type: graduated
          tiers:
            - {{up_to: "5", unit_amount: "0.04"}}
            - {{up_to: null, unit_amount: "0.025"}}
      - id: memory
        name: Memory
        meter: memory_gb_seconds
        price: {{type: unit, unit_amount: "0.0125"}}
customers:
{customers}
subscriptions:
{subscriptions}
"""


@dataclass(frozen=True, slots=True)
class Billed:
    """What the stack says of this run at one moment."""

    drafts: list[Draft]
    documents: int
    offered: int
    duplicate: int
    conflict: int
    late: int
    rejected: int
    workers: Mapping[str, int]


class Play:
    """One run of the demo over a running stack."""

    def __init__(
        self,
        around: Surroundings,
        supervisor: Supervisor,
        servers: Mapping[str, int],
        seconds: float,
    ) -> None:
        """Name this run's customers after the processes they are."""
        self._around, self._supervisor, self._servers = around, supervisor, servers
        self.killed = 0
        self.first_draft_at: float | None = None
        self._cycles = max(1, int((seconds - 12) // CYCLE_S))
        self._end = 0
        self._run = f"{wall_clock() // SECOND:x}"
        workers = [kind.label for kind in supervisor.kinds]
        self._roles = {f"{role}-{self._run}": role for role in (*servers, *workers)}
        self._keyed: deque[UsageEvent] = deque(maxlen=_BURST_MAX)
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread: threading.Thread | None = None
        self._recorder: Recorder | None = None
        self._connection = around.database.connect(name="demo", autocommit=True)

    def __enter__(self) -> Self:
        """Return the play."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the agent, whatever happened."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._recorder is not None and kind is None:
            self._recorder.close()
        self._connection.close()

    def sheet(self) -> Sheet:
        """Return the catalog of this run: one-minute cycles, from now on for some of them."""
        start = window_start(wall_clock(), WINDOW_S * SECOND)
        self._end = start + CYCLE_S * SECOND * self._cycles
        customers = "\n".join(
            f"  - {{id: {name}, profile: {{name: The {role} process}}}}"
            for name, role in self._roles.items()
        )
        subscriptions = "\n".join(
            f"  - {{id: {name}, customer: {name}, plan: per-minute,"
            f" start: {instant_text(start)}, end: {instant_text(self._end)}}}"
            for name in self._roles
        )
        sheet = parse_sheet(_CATALOG.format(customers=customers, subscriptions=subscriptions))
        if not isinstance(sheet, Sheet):
            raise BrokenInvariant(f"the demo's own catalog: {sheet[0]}")
        return sheet

    def start_metering(self) -> None:
        """Start the host agent over this stack's own processes."""
        self._recorder = Recorder.open(
            kafka=self._around.kafka,
            spool=self._around.settings.home / "demo.spool",
            producer="demo-host",
            partitions=self._around.partitions,
            topic=usage_log(self._around.stack),
        )
        processes = LocalProcesses()
        groups = with_descendants(self._groups, processes)
        agent = HostAgent(self._recorder, groups, _SAMPLE_S, processes)
        self._thread = threading.Thread(target=self._meter, args=(agent,), name="host agent")
        self._thread.start()

    def _groups(self) -> Mapping[str, list[int]]:
        """Return the pid of each customer's process, where it runs."""
        pids = {**self._servers, **self._supervisor.pids()}
        return {name: [pids[role]] if role in pids else [] for name, role in self._roles.items()}

    def _meter(self, agent: HostAgent) -> None:
        """Record every sample: CPU in sequence, memory under keys of our own."""
        try:
            sample = 0
            while not self._stop.wait(_SAMPLE_S):
                sample += 1
                for event in agent.sample(Moment.now()):
                    self._put(event, sample)
        except BaseException as error:
            self._failed.append(error)

    def _put(self, event: UsageEvent, sample: int) -> None:
        if event.meter == MEMORY_GB_SECONDS:
            event = replace(event, id=f"{event.meter}/{sample}", source="host")
            self._keyed.append(event)
        if self._recorder is not None:
            self._recorder.put(event)

    def stop_metering(self) -> None:
        """End the agent; everything it recorded is acknowledged when this returns."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._recorder is not None:
            self._recorder.close(60.0)
            self._recorder = None
        if self._failed:
            raise ServerFailed(f"the host agent failed: {self._failed[0]}")

    def resend_burst(self) -> str:
        """Send every keyed event of the last minutes once more."""
        burst = list(self._keyed)
        for event in burst:
            if self._recorder is not None:
                self._recorder.put(event)
        return f"resent a burst of {len(burst)} events: every one must count once"

    def send_bad_events(self) -> str:
        """Send three events that must not be billed: one late, one unknown, one in conflict."""
        if self._recorder is None or not self._keyed:
            return "nothing to spoil yet"
        one = self._keyed[0]
        days = timedelta(seconds=self._around.settings.horizon_s) + timedelta(days=1)
        late = datetime.now(UTC) - days
        record = self._recorder.record
        record(customer=one.customer, meter=one.meter, value="1", id="late", source="x", time=late)
        record(customer=one.customer, meter="no_such_meter", value="1", id="odd", source="x")
        self._recorder.put(replace(one, value=one.value + 1))
        return "sent three bad events: one late, one of no meter, one key with another payload"

    def kill_metering(self) -> str:
        """SIGKILL the metering worker."""
        pid = self._supervisor.kill("metering-0")
        self.killed += 1
        return (
            f"killed the metering worker (process {pid}) with SIGKILL: the supervisor restarts it"
        )

    def look(self) -> Billed:
        """Return what the stack says now."""
        if self._failed:
            raise ServerFailed(f"the host agent failed: {self._failed[0]}")
        drafts = [d for d in read_drafts(self._connection) if d.payer in self._roles]
        counts = [cursor.counts for cursor, _ in load_cursors(self._connection).values()]
        return Billed(
            drafts=drafts,
            documents=len(self._documents()),
            offered=sum(c.offered for c in counts),
            duplicate=sum(c.duplicate for c in counts),
            conflict=sum(c.conflict for c in counts),
            late=sum(c.late for c in counts),
            rejected=sum(c.rejected for c in counts),
            workers=self._supervisor.pids(),
        )

    def _documents(self) -> list[Document]:
        return [d for d in read_documents(self._connection) if d.payer in self._roles]

    def first_draft_s(self, servers_up: float) -> float:
        """Return the seconds from servers up to the first priced draft of this run."""
        if self.first_draft_at is None:
            raise ServerFailed("no draft was priced while usage flowed: see the workers' logs")
        return self.first_draft_at - servers_up

    def await_drained(self) -> None:
        """Return once the books reached the end that the log has now."""
        name = usage_log(self._around.stack)
        ends = log_ends(self._around.kafka, name, self._around.partitions)

        def drained() -> bool:
            cursors = load_cursors(self._connection)
            return all(
                end == 0 or (number in cursors and cursors[number][0].offset >= end - 1)
                for number, (_, end) in enumerate(ends)
            )

        _await(drained, "the books do not reach the end of the log")

    def await_invoices(self, meanwhile: Callable[[], None]) -> list[Document]:
        """Return this run's invoices once every period of every customer is sealed."""
        expected = len(self._roles) * self._cycles

        def sealed() -> bool:
            meanwhile()
            return len(self._documents()) >= expected

        _await(sealed, f"not all {expected} invoices were sealed")
        return self._documents()


def _await(condition: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailed(
                f"{why} within {_PATIENCE_S:.0f} s: see the workers' logs in the home's logs folder"
            )
        time.sleep(0.3)
