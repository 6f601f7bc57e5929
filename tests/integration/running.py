"""A stack under test: a tenant of its own on the session's servers, its workers real processes.

Waiting is polling with a deadline far above what an idle machine needs; what is still missing
then is told with the ends of the workers' logs.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep
from typing import Any, LiteralString, Self

import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from psycopg import sql

from integration.nursery import Nursery
from pipeline.bootstrap import set_up, surroundings
from pipeline.catalog.facts import Fact
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.cli.catalog import apply_sheet
from pipeline.core.calendar import Instant
from pipeline.embedded import Servers
from pipeline.meter.slices import Counts
from pipeline.replay.audit import Collection, Conservation, total
from pipeline.settings import Settings
from pipeline.stores.kafka import KafkaLog, SureProducer, log_ends, partition_counts, usage_log
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.database import Connection, one
from pipeline.stores.postgres.documents import Document, read_documents
from pipeline.stores.postgres.drafts import Draft, read_drafts
from pipeline.stores.postgres.facts import Author
from pipeline.topology import EVENT_COUNT_HEADER
from pipeline.workers.auditing import conservation
from pipeline.workers.collected import collection
from pipeline.workers.supervisor import Supervisor, WorkerKind, default_workers, spawn
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.verifying import Depth, Verified, Verifier

PARTITIONS = 4
PATIENCE_S = 90.0
WORKER_WAIT_S = 20.0
_POLL_S = 0.05
_DEFECTS = ("a defect of talea", "BrokenInvariant")
_TUNING: dict[str, float | str] = {"partitions": PARTITIONS, "tick_s": 0.3, "flush_s": 0.1}

TICKER, COLLECTOR, METERING, PRICING, FINALIZER, PUBLISHER = default_workers()
BILLING = (TICKER, METERING, PRICING, FINALIZER)
"""What it takes from usage to invoices; the publisher only tells of them."""


@dataclass(frozen=True, slots=True)
class Used:
    """What the books hold of one customer and meter."""

    count: int
    sum: Fraction
    maximum: Fraction


@dataclass(slots=True)
class RunningStack:
    """One tenant; a context that stops its workers and takes it off the servers."""

    around: Surroundings
    connection: Connection
    producer: SureProducer
    _client: Producer
    nursery: Nursery | None = None
    _supervisors: dict[str, Supervisor] = field(default_factory=dict)

    @classmethod
    def on(
        cls,
        servers: Servers,
        home: Path,
        tuning: Mapping[str, float | str],
        nursery: Nursery | None = None,
    ) -> Self:
        """Set a new tenant up."""
        return cls.over(set_up(bare(servers, home, tuning)), nursery)

    @classmethod
    def over(cls, around: Surroundings, nursery: Nursery | None = None) -> Self:
        """Take over a tenant that is set up; without a nursery its workers start from nothing."""
        connection = around.database.connect(name="test", autocommit=True)
        client = Producer({"bootstrap.servers": around.kafka, "linger.ms": 0, "log_level": 2})
        return cls(around, connection, SureProducer(around.kafka), client, nursery)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(wait_s=0)  # what they still do goes with the tenant
        self.connection.close()
        erase(self.around)

    # --- workers ---

    def start(self, *kinds: WorkerKind, program: Sequence[str] = ()) -> None:
        """Start workers, each under a supervisor of its own; those that bill unless named."""
        for kind in kinds or BILLING:
            supervisor = self.supervise(kind, self._logs)
            supervisor.program = program or supervisor.program
            supervisor.start()
            self._supervisors[kind.label] = supervisor

    def supervise(self, kind: WorkerKind, logs: Path) -> Supervisor:
        """Return a supervisor of one more worker, which is the caller's to start and stop."""
        return Supervisor(
            self.around, [kind], logs, spawn=self.nursery.spawn if self.nursery else spawn
        )

    def supervisor(self, kind: WorkerKind) -> Supervisor:
        """The supervisor of a worker that was started."""
        return self._supervisors[kind.label]

    def stop(self, *kinds: WorkerKind, wait_s: float = WORKER_WAIT_S) -> None:
        """Stop workers, politely; all that run unless named."""
        labels = [kind.label for kind in kinds] or list(self._supervisors)
        going = [self._supervisors.pop(label) for label in labels]
        with ThreadPoolExecutor(max(1, len(going))) as at_once:
            list(at_once.map(lambda one: one.stop(wait_s), going))

    def signal(self, kind: WorkerKind, number: signal.Signals) -> int:
        """Signal a worker, once it runs; return the pid it has."""
        label = kind.label
        self.until(lambda: label in self._pids(label), f"{label} runs")
        pid = self._pids(label)[label]
        os.kill(pid, number)
        return pid

    def kill(self, kind: WorkerKind) -> None:
        """SIGKILL a worker; its supervisor starts it again."""
        self.signal(kind, signal.SIGKILL)

    def said(self, kind: WorkerKind) -> str:
        """What a worker logged so far."""
        return (self._logs / f"{kind.label}.log").read_text(errors="replace")

    def pids(self) -> Mapping[str, int]:
        """The pid of each worker that runs."""
        return {name: pid for label in self._supervisors for name, pid in self._pids(label).items()}

    def defects(self) -> list[str]:
        """Lines in which a worker says that it met what nobody had thought of."""
        lines = [x for log in self._logs.glob("*.log") for x in log.read_text("utf-8").splitlines()]
        return [line for line in lines if any(sign in line for sign in _DEFECTS)]

    def _pids(self, label: str) -> Mapping[str, int]:
        return self._supervisors[label].pids()

    @property
    def _logs(self) -> Path:
        return self.around.settings.home / "logs"

    # --- what goes in ---

    def apply(self, text: str) -> list[Fact]:
        """Put a catalog in force."""
        sheet = parse_sheet(text)
        assert isinstance(sheet, Sheet), sheet
        return apply_sheet(self.around, sheet, "the test's catalog", Author("ada", "test"))

    def write(self, partition: int, message: bytes, event_count: int | None) -> int:
        """Write one message to the usage log; return its offset once the broker has it."""
        offsets: list[int | None] = []
        count = "" if event_count is None else str(event_count)
        self._client.produce(
            self.log,
            message,
            partition=partition,
            headers=[(EVENT_COUNT_HEADER, count.encode())] if count else [],
            on_delivery=lambda error, told: offsets.append(None if error else told.offset()),
        )
        self._client.flush(20)
        (offset,) = offsets  # the broker's word: behind it a tick may stand already
        assert offset is not None
        return offset

    # --- what stands there ---

    @property
    def log(self) -> str:
        """The usage log's name on the broker."""
        return usage_log(self.around.stack)

    def ends(self) -> list[int]:
        """The next offset of each partition of the usage log."""
        return [end for _, end in log_ends(self.around.kafka, self.log, self.around.partitions)]

    def offsets(self) -> list[int]:
        """The last offset booked of each partition."""
        cursors = load_cursors(self.connection)
        partitions = range(self.around.partitions)
        return [cursors[p][0].offset if p in cursors else -1 for p in partitions]

    def tick(self, partition: int) -> int:
        """The serial of the last tick booked in a partition."""
        cursors = load_cursors(self.connection)
        return cursors[partition][0].tick.serial if partition in cursors else 0

    def counts(self) -> Counts:
        """The outcomes booked, of all partitions together."""
        counted = Counts()
        for cursor, _ in load_cursors(self.connection).values():
            counted += cursor.counts
        return counted

    def used(self) -> dict[tuple[str, str], Used]:
        """The usage booked, by customer and meter."""
        rows = self.connection.execute(
            "SELECT customer, meter, scale, sum(count)::bigint, sum(sum), max(maximum)"
            " FROM usage JOIN series ON series.id = series_id GROUP BY customer, meter, scale"
        )
        found: dict[tuple[str, str], Used] = {}
        for customer, meter, scale, count, mantissa, high in rows:
            unit = Fraction(1, 10**scale)
            row = Used(count, int(mantissa) * unit, int(high) * unit)
            known = found.get((customer, meter))
            if known is not None:
                highest = max(known.maximum, row.maximum)
                row = Used(known.count + count, known.sum + row.sum, highest)
            found[customer, meter] = row
        return found

    def members(self) -> int:
        """How many metering workers have partitions."""
        group = self.around.stack.metering_group
        client = AdminClient(
            {"bootstrap.servers": self.around.kafka, "log_level": 2}
        )  # must outlive its answers
        described = client.describe_consumer_groups([group])[group].result(20)
        return sum(bool(member.assignment.topic_partitions) for member in described.members)

    def drafts(self, customer: str | None = None) -> list[Draft]:
        """The drafts that stand."""
        return read_drafts(self.connection, customer)

    def documents(self, customer: str | None = None) -> list[Document]:
        """The documents issued."""
        return read_documents(self.connection, customer)

    def invoiced(self, period_end: Instant | None = None) -> dict[str, int]:
        """What each customer was invoiced, in minor units; of all periods, or of one."""
        found: dict[str, int] = {}
        for document in self.documents():
            if period_end in (None, document.instant):
                content: Any = document.content
                total_minor = content["totals"]["total_minor"]
                found[document.payer] = found.get(document.payer, 0) + total_minor
        return found

    def conservation(self) -> dict[int, Conservation]:
        """The seven counts of every partition."""
        return conservation(self.around, lambda _done, _of: None)

    def collection(self) -> dict[int, Collection]:
        """The collector's four counts of every partition of raw usage."""
        return collection(self.around, lambda _done, _of: None)

    def verify(self, depth: Depth = Depth.LOG) -> Verified:
        """Verify every document."""
        with self.around.database.session("verify") as connection:
            return Verifier(self.around, KafkaLog(self.around.kafka), connection).verify(
                None, lambda _done, _of: None, depth
            )

    # --- waiting ---

    def until(self, holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Return once something holds."""
        deadline = monotonic() + patience_s
        while not holds():
            if monotonic() > deadline:
                raise AssertionError(f"not within {patience_s:.0f} s: {what}\n{self._told()}")
            sleep(_POLL_S)

    def await_booked(self, patience_s: float = PATIENCE_S) -> None:
        """Return once the books reached the end that the log has now."""
        ends = self.ends()

        def booked() -> bool:
            return all(at >= end - 1 for at, end in zip(self.offsets(), ends, strict=True))

        self.until(booked, f"the books reach {ends}", patience_s)

    def await_drained(self) -> None:
        """Return once everything sent is booked and every draft rated."""
        self.await_booked()
        self.until(lambda: self._count("SELECT count(*) FROM dirty") == 0, "drafts are rated")

    def await_documents(self, count: int, patience_s: float = PATIENCE_S) -> list[Document]:
        """Return the documents once that many are sealed."""
        self.until(lambda: len(self.documents()) >= count, f"{count} documents", patience_s)
        return self.documents()

    def _count(self, query: LiteralString) -> int:
        return int(one(self.connection, query)[0])

    def _told(self) -> str:
        """What the stack says of itself when something is missing."""
        ends = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted(self._logs.glob("*.log"))
        ]
        return "\n".join([f"log ends {self.ends()}, booked {self.offsets()}", *ends])

    # --- at the end of every test ---

    def close_the_books(self) -> dict[str, int]:
        """Drain; every event has one outcome, every invoice verifies; return the counts."""
        self.await_drained()
        counted = self.conservation()
        assert {p: c.missing for p, c in counted.items() if c.missing} == {}
        verified = self.verify()
        assert dict(verified.faults) == {}
        assert verified.checked == len(self.documents())
        assert self.defects() == []
        return total(counted)


def bare(servers: Servers, home: Path, tuning: Mapping[str, float | str]) -> Surroundings:
    """Return the surroundings of a new tenant, before anything is set up."""
    name = token_hex(4)
    given = {**_TUNING, **tuning}
    settings = Settings.model_validate(
        {"home": home, "prefix": f"t{name}.", "tenant_schema": f"t{name}", **given}
    )
    return surroundings(settings, servers.kafka, servers.redis, servers.postgres)


def erase(around: Surroundings) -> None:
    """Take a tenant off the servers, which may be somebody's own."""
    with around.database.session("erase", owner=True) as connection:
        schema = sql.Identifier(around.database.schema)
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
    wipe_claims(around)
    client = AdminClient({"bootstrap.servers": around.kafka, "log_level": 2})
    own = [name for name in partition_counts(client) if name.startswith(around.stack.prefix)]
    for deleted in client.delete_topics(own).values() if own else ():
        deleted.result(20)


def wipe_claims(around: Surroundings) -> int:
    """Delete every claim of a tenant, as an emptied Redis would have it; return how many keys."""
    with connected(around) as client:
        keys = list(client.scan_iter(match=f"{around.stack.prefix}*", count=1000))
        return int(client.delete(*keys)) if keys else 0


@contextmanager
def connected(around: Surroundings) -> Iterator["redis.Redis"]:
    """A client of the tenant's Redis."""
    with redis.Redis.from_url(around.redis) as client:
        yield client
