"""The inquest of a finished world: everything that looks at what it kept.

Owns: who looks at what.
Does not own: what must be (witness.py and its friends), the course of a world (play.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import DeadLetter
from pipeline.simulate.alarms import Alarms
from pipeline.simulate.auditor import Auditor, Fault
from pipeline.simulate.backfilled import backfill_faults
from pipeline.simulate.billing import Billing
from pipeline.simulate.collected import collection_faults
from pipeline.simulate.edited import Edits
from pipeline.simulate.group import Ack, Member
from pipeline.simulate.lived import life_faults
from pipeline.simulate.missing import missing_faults
from pipeline.simulate.noted import note_faults
from pipeline.simulate.publication import Publication
from pipeline.simulate.reissued import reissues
from pipeline.simulate.repriced import repricing_faults, since_of
from pipeline.simulate.restored import incident_faults
from pipeline.simulate.retained import put_back, retention_faults
from pipeline.simulate.returns import Returns
from pipeline.simulate.roles import Stage
from pipeline.simulate.sellers import seller_faults
from pipeline.simulate.story import Story
from pipeline.simulate.taxes import Taxes
from pipeline.simulate.witness import Witness
from pipeline.simulate.workflow import workflow_faults
from pipeline.stores.kafka import usage_log
from pipeline.stores.records import encode_tick, letter_of, read_slices
from pipeline.topology import (
    BILLING_DRAFT_INVOICES,
    BILLING_DRAFT_LINES,
    BILLING_INVOICES,
    USAGE_EVENTS,
    USAGE_RAW,
    USAGE_REJECTED,
)
from pipeline.workers.verifying import Verifier

_PUBLISHED = (BILLING_DRAFT_INVOICES, BILLING_DRAFT_LINES, BILLING_INVOICES)


@dataclass(slots=True)
class Inquest:
    """Looks at a world whose story is over; `told`: whether it was published."""

    seed: int
    stage: Stage
    story: Story
    known_at: int
    told: bool
    units: Mapping[str, Sequence[UsageEvent]]
    """Old usage that was staged, by unit."""
    alarms: Alarms
    witness: Witness = field(init=False)

    def __post_init__(self) -> None:
        """Hear the whole log."""
        stage, tables = self.stage, self.stage.database.tables
        ticks = {serial: tick for serial, (tick, _) in tables.ticks.items()}
        partitions, name = stage.around.partitions, usage_log(stage.around.stack)
        messages = {encode_tick(tick, partitions): serial for serial, tick in ticks.items()}
        facts = [tables.facts[serial] for serial in sorted(tables.facts)]
        self.witness = Witness(partitions, ticks, messages, self.story.sent, facts)
        for number in range(partitions):
            self.witness.hear(number, stage.topics.records[name, number])

    def faults(self) -> list[Fault]:
        """Return everything that is wrong; where the world itself broke, no more than that."""
        faults = [*self.stage.faults, *self._ack_faults()]
        if faults:
            return faults
        stage, witness, letters = self.stage, self.witness, self._letters()
        faults += [*self._refold(), *retention_faults(stage.database.tables, witness.facts)]
        put_back(stage.database.tables)
        log = [
            stage.topics.records[usage_log(stage.around.stack), number]
            for number in range(witness.partitions)
        ]
        returns = Returns(witness)
        again = reissues(stage.database.tables.documents.values(), witness.facts)
        edited_as = {place: each.edited_as for place, each in again.items()}
        billing = Billing(
            witness.facts,
            witness,
            returns.taken,
            Edits.of(witness.facts, stage.database.drafts_stored, edited_as),
            again=again,
        )
        replays = self.alarms.replays.told
        since = since_of(replays, self.alarms.told, stage.database, billing)
        auditor = Auditor(
            witness,
            returns,
            billing,
            stage.database.tables,
            log,
            stage.database.drafts_stored,
            [each for each in letters if each.topic == USAGE_EVENTS.name],
            Random(f"{self.seed} audit"),
            Taxes.of(witness.facts),
            self.known_at,
            since,
        )
        stands = {number: stand for number, (stand, _) in stage.database.tables.stands.items()}
        raw = [each for each in letters if each.topic == USAGE_RAW.name]
        return [
            *faults,
            *auditor.faults(),
            *workflow_faults(stage.database, auditor.billing),
            *life_faults(stage.database, witness.facts),
            *note_faults(stage.database.tables.documents.values(), auditor.billing),
            *seller_faults(stage.database.tables.documents.values()),
            *backfill_faults(self.units, witness, returns, log),
            *missing_faults(witness, auditor.billing, stage.database.tables),
            *collection_faults(stage.raw, stands, log, self.story.packed, raw),
            *repricing_faults(replays, self.alarms.told, stage.database, billing, since),
            *incident_faults(self.alarms, stage.database.tables, auditor.billing),
            *self._published(),
        ]

    def _letters(self) -> list[DeadLetter]:
        """Return every dead letter, as often as it was written."""
        records, name = self.stage.topics.records, self.stage.around.stack.topic(USAGE_REJECTED)
        partitions = range(self.stage.around.partitions)
        return [letter_of(kept.value) for n in partitions for kept in records[name, n]]

    def _ack_faults(self) -> Iterator[tuple[str, str]]:
        """Yield acks of messages whose slices the broker did not have, and acks out of order."""
        group, first = self.stage.group, dict[tuple[int, int], int]()
        for partition in range(group.partitions):
            for at, record in enumerate(group.topics.records[group.slices, partition]):
                for piece in read_slices(record.value):
                    first.setdefault((partition, piece.offset), at)
        yield from ack_faults(group.acked, first)

    def _published(self) -> list[tuple[str, str]]:
        """Hold the billing topics, as a consumer sees them, against what was committed."""
        if not self.told:
            return []
        stage, database = self.stage, self.stage.database
        drafts, lines, documents = map(stage.around.stack.topic, _PUBLISHED)
        told = Publication(
            database.tables, database.drafts_stored, stage.shelves, (drafts, lines, documents)
        )
        return [("published", fault) for fault in told.faults()]

    def _refold(self) -> list[tuple[str, str]]:
        """Prove every document as `talea verify` does."""
        process = self.stage.world.start("verify")
        verifier = Verifier(self.stage.around, self.stage.log(process), self.stage.session(process))
        verified = verifier.verify(None, lambda _done, _of: None)
        return [("refold", f"{number}: {why}") for number, why in sorted(verified.faults.items())]


def ack_faults(
    acked: Iterable[Ack], first: Mapping[tuple[int, int], int]
) -> Iterator[tuple[str, str]]:
    """Yield what acks promise too early; `first` slices stand where, by partition and offset.

    An ack promises what comes before it as well. Whoever holds a partition acks nothing of it but
    what the books have meanwhile, and so has what was held before that.
    """
    last: dict[tuple[Member, int, int], int] = {}
    for ack in acked:
        place, there = f"partition {ack.partition}: {ack.offset}", ack.slices_there
        if first.get((ack.partition, ack.offset), there) >= there:
            yield "acked", f"{place} without its slice"
        line = ack.by, ack.term, ack.partition
        before = last.get(line, ack.offset - 1)
        left_out = range(before + 1, ack.offset)
        if ack.offset <= before or any(
            first.get((ack.partition, n), there) >= there for n in left_out
        ):
            yield "acked", f"{place} right after {before}"
        last[line] = ack.offset
