"""Explaining: the way from a line to the windows it bills, the stretch of log, and its events.

Owns: load -> seek -> stream.  Does not own: which events those are (replay/explain.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.facts import Fact, Skips
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of
from pipeline.ledger.proof import Record
from pipeline.meter.place import digest_of
from pipeline.meter.scope import Pairs
from pipeline.meter.ticks import Tick
from pipeline.replay.explain import Explaining, MetEvent, Wanted, place_from
from pipeline.stores.kafka import usage_log
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.session import Session
from pipeline.stores.records import open_at
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.workers.proving import line_proof
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

_TICKS_AHEAD = 2_000


class Walked(Protocol):
    """Facts and ticks, as a walk over the log wants them."""

    def read_facts(self, after: int) -> list[Fact]: ...

    def tick_before(self, partition: int, offset: int) -> tuple[Tick, int]: ...

    def ticks_from(self, serial: int, count_max: int) -> list[Tick]: ...

    def read_skips(self) -> Skips: ...


@dataclass(frozen=True, slots=True)
class Explained:
    """A line of a document, what its usage comes to, and where in the log that stands."""

    document: Document
    line: Record
    usage: Record | None
    partition: int
    start: int
    end: int

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        stretch: Json = {"partition": self.partition, "from": self.start, "to": self.end}
        return {
            "line": self.line["id"],
            "invoice": self.document.sealed.number,
            "description": self.line["description"],
            "quantity": self.line["quantity"],
            "total_minor": self.line["total_minor"],
            "source_id": self.line["source_id"],
            "usage": None if self.usage is None else dict(self.usage),
            "log": None if self.usage is None else stretch,
        }


def explained(around: Surroundings, session: Session, line_id: str) -> Explained:
    """Return what a line rests on.

    Raises:
        BadInput: no issued document has it.

    """
    document = session.find_line(line_id)
    if document is None:
        raise BadInput(f"no invoice has a line {line_id}: `talea invoices show NUMBER` names them")
    line = next(
        each
        for each in cast(list[Record], document.content["lines"])
        if line_id in (each["id"], *(child["id"] for child in cast(list[Record], each["children"])))
    )
    facts = FactLog()
    facts.append(session.read_facts(0))
    usage = line_proof(session, facts.at, document, line)
    partition = partition_of(document.payer, around.partitions)
    if usage is None:
        return Explained(document, line, None, partition, 0, 0)
    tolerance = facts.at(1).parameters.gate.tolerance
    start = session.offset_at(partition, cast(int, usage["start_us"]) - tolerance)
    end = session.last_tick_offset(partition, document.cut_serial)
    return Explained(document, line, usage, partition, start, end)


def events_of(
    around: Surroundings, log: Log, session: Walked, told: Explained
) -> Iterator[MetEvent]:
    """Yield the events of a line as the log is read, the first at once."""
    usage = told.usage
    if usage is None:
        return
    facts = FactLog()
    facts.append(session.read_facts(0))
    tick, stands = session.tick_before(told.partition, told.start)
    explaining = Explaining(
        told.partition,
        place_from(tick, stands),
        lambda serial: session.ticks_from(serial, _TICKS_AHEAD),
        lambda position: facts.at(position).ground(told.partition),
        _wanted(usage),
    )
    skips = session.read_skips()
    decode = message_decoder(around.settings.registry, COMMAND_TRIES)
    name, first = usage_log(around.stack), explaining.place.offset
    for record in log.read_range(name, told.partition, first, told.end + 1):
        opened = open_at(told.partition, record.offset, record.value, skips, decode)
        digest = digest_of(opened, record.value)
        yield from explaining.feed(opened, record.event_count, digest)


def _wanted(usage: Record) -> Wanted:
    wanted = cast(dict[str, list[str]], usage["filter"])
    names, group = cast(list[str], usage["group_by"]), cast(dict[str, str], usage["group"])

    def holds(dimensions: Pairs) -> bool:
        known = dict(dimensions)
        return all(known.get(name) in values for name, values in wanted.items()) and all(
            known.get(name) == group.get(name) for name in names
        )

    return Wanted(
        str(usage["customer"]),
        str(usage["meter"]),
        cast(int, usage["start_us"]),
        cast(int, usage["end_us"]),
        holds,
    )
