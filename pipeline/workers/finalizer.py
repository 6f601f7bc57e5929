"""Finalizer: prepare documents at their cuts, register them with number and seal.

Owns: load -> compose -> save, and register.  Does not own: content (invoice), seals (ledger).
Law: twice is once (unique by cut), numbers have no gaps (one transaction an issuer), content
is made of facts up to the cut and usage below it, so when it is made does not matter.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import cast

from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.compose import PlannedLine, carried_by_all, compose, planned_lines
from pipeline.ledger.seal import (
    Issue,
    PartitionEvidence,
    content_bytes,
    evidence_json,
    issue_record,
    seal_of,
)
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres import documents
from pipeline.stores.postgres.books import COUNT_NAMES
from pipeline.stores.postgres.database import Connection, one
from pipeline.stores.postgres.documents import Prepared
from pipeline.stores.postgres.usage import digest_of_usage, read_usage
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.surroundings import Surroundings

_IDLE_S = 0.25


@dataclass(slots=True)
class Finalizer:
    """Prepares and registers over one connection in autocommit."""

    connection: Connection
    known: Knowledge
    clock: Callable[[], Instant]

    def prepare(self) -> bool:
        """Compose the documents of one booked cut; return whether there was one."""
        with self.connection.transaction():
            taken = documents.take_cut(self.connection)
            if taken is None:
                return False
            cut, partition = taken
            documents.save_prepared(self.connection, cut, self._composed(cut, partition))
            return True

    def register(self) -> int:
        """Seal what is prepared; return how many documents were."""
        issuers = documents.issuers_waiting(self.connection)
        return sum(documents.register(self.connection, issuer, self._seal) for issuer in issuers)

    def _composed(self, cut: Cut, partition: int) -> list[Prepared]:
        tick, offset, counts = self._tick(partition, cut.serial)
        catalog = self.known.catalog(tick.fact_position)
        lines = self._lines(catalog, cut)
        requests = [line.request for line in lines if line.request]
        usage = read_usage(self.connection, requests, cut.serial)
        since_offset, since_counts = self._cut_before(partition, cut)
        evidence = PartitionEvidence(
            partition=partition,
            from_offset=since_offset,
            to_offset=offset,
            cut_tick=cut.serial,
            counts={
                name: now - before
                for name, now, before in zip(COUNT_NAMES, counts, since_counts, strict=True)
            },
        )
        digest = digest_of_usage(self.connection, requests, cut.serial)
        sealed_evidence = evidence_json([evidence], digest)
        return [
            Prepared(
                payer=cut.payer,
                currency=cut.currency,
                instant=cut.instant,
                kind=document.kind,
                ordinal=document.ordinal,
                issuer=document.issuer,
                cut_serial=cut.serial,
                content=content_bytes(document.content),
                evidence=sealed_evidence,
            )
            for document in compose(catalog, cut.payer, cut.currency, cut.instant, lines, usage)
        ]

    def _lines(self, catalog: Catalog, cut: Cut) -> Sequence[PlannedLine]:
        earlier = documents.contents_of(self.connection, cut.payer, cut.currency)
        carried = carried_by_all(earlier)
        return planned_lines(catalog, cut.payer, cut.currency, cut.instant, carried)

    def _tick(self, partition: int, serial: int) -> tuple[Tick, int, Sequence[int]]:
        """Return a tick as it stands in a partition, its offset, the counts up to it."""
        time_us, position, offset, counts = one(
            self.connection,
            "SELECT time_us, fact_position, source_offset, counts FROM partition_tick"
            " WHERE partition_no = %s AND serial = %s",
            partition,
            serial,
        )
        return Tick(serial, time_us, position), offset, counts

    def _cut_before(self, partition: int, cut: Cut) -> tuple[int, Sequence[int]]:
        """Return offset and counts at the payer's cut before this one (the log's start: none)."""
        (serial,) = one(
            self.connection,
            "SELECT max(serial) FROM cut WHERE payer = %s AND serial < %s",
            cut.payer,
            cut.serial,
        )
        if serial is None:
            return -1, [0] * len(COUNT_NAMES)
        _, offset, counts = self._tick(partition, serial)
        return offset, counts

    def _seal(self, prepared: Prepared, place: int, previous: str) -> tuple[str, bytes, bytes]:
        (cut_position,) = one(
            self.connection,
            "SELECT fact_position FROM tick WHERE serial = %s",
            prepared.cut_serial,
        )
        catalog = self.known.catalog(cut_position)
        issuer = catalog.issuers.get(prepared.issuer)
        if issuer is None:
            raise BrokenInvariant(f"issuer {prepared.issuer} is unknown at fact {cut_position}")
        rules = catalog.rules_in_force
        number = f"{issuer.number_prefix}{place:06d}"
        record = issue_record(
            prepared.content,
            Issue(
                number=number,
                issuer=prepared.issuer,
                issued_at=self.clock(),
                payment_days=_payment_days(catalog, prepared),
                fact_position_cut=cut_position,
                fact_position_last=cut_position,
                rule_version=rules.rule_version,
                tzdata_version=rules.tzdata_version,
                evidence=prepared.evidence,
                previous_seal=previous,
            ),
        )
        return number, record, seal_of(record)


def _payment_days(catalog: Catalog, prepared: Prepared) -> int:
    """Return the payment term: the longest among the plans on the document."""
    content = cast(dict[str, Json], json.loads(prepared.content))
    lines = cast(list[dict[str, Json]], content["lines"])
    plans = {cast(dict[str, str], line["rate_card"])["plan"] for line in lines}
    return max(catalog.plans[plan].payment_days for plan in plans)


def run_finalizer(around: Surroundings, clock: Callable[[], Instant], stop: Event) -> None:
    """Prepare and register until stopped."""
    connection = around.database.connect(name="finalizer", autocommit=True)
    facts = around.database.connect(name="finalizer facts", autocommit=True)
    finalizer = Finalizer(connection, Knowledge(facts), clock)
    while not stop.is_set():
        while not stop.is_set() and finalizer.prepare():
            pass
        if not finalizer.register():
            stop.wait(_IDLE_S)
    connection.close()
    facts.close()
