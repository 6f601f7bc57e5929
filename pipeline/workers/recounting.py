"""Recounting: the whole log read once more, decoded and judged by an account of its own.

Owns: decoding by the schema files directly, feeding replay/recount.py, holding both accounts
against each other.
Does not own: what becomes of an event there (replay/recount.py), here (everything else).
Law: nothing here calls a step of the pipeline; a message of a registry's wire format alone is
decoded by the store that speaks to the registry.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from io import BytesIO
from typing import cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.replay.audit import Conservation
from pipeline.replay.recount import KnownFacts, Recount
from pipeline.replay.recount_batch import Record
from pipeline.stores.codec import Unreadable
from pipeline.stores.kafka import LogRecord, read_range, usage_log
from pipeline.stores.registry import COMMAND_TRIES, is_foreign, message_decoder
from pipeline.stores.schemas import schema_folder
from pipeline.workers.auditing import Audit, Progress
from pipeline.workers.surroundings import Surroundings

_LOOKED_INTO_MAX = 1 << 20
_ALL_TICKS = 1 << 40


@dataclass(frozen=True, slots=True)
class Recounted:
    """One partition told twice; `disagreeing`: messages whose header and body count differently."""

    books: Conservation
    recount: Conservation
    disagreeing: int

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """The counts that differ: (of the books, of the recount) by name."""
        ours, theirs = asdict(self.books), asdict(self.recount)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def json(self) -> dict[str, Json]:
        """Return it by name."""
        differences: dict[str, Json] = {
            name: {"books": ours, "recount": theirs}
            for name, (ours, theirs) in self.differences.items()
        }
        return {
            **self.recount.json(),
            "header_disagrees": self.disagreeing,
            "differences": differences,
        }


class Schemas:
    """The schema files of the usage log, by the ten bytes that a message begins with."""

    def __init__(self, registry: str | None) -> None:
        """Read them."""
        self._foreign = message_decoder(registry, COMMAND_TRIES) if registry else None
        self._known: dict[bytes, tuple[str, dict[str, object]]] = {}
        for path in sorted((schema_folder() / "avro").glob("*.avsc")):
            raw = json.loads(path.read_text("utf-8"))
            mark = bytes.fromhex(fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO"))
            parsed = cast(dict[str, object], fastavro.parse_schema(raw, named_schemas={}))
            self._known[b"\xc3\x01" + mark] = path.stem, parsed

    def read(self, message: bytes) -> tuple[str, Record | None]:
        """Return (schema, record), or ('', None) for what nobody can read."""
        if len(message) > _LOOKED_INTO_MAX:
            return "", None
        if self._foreign is not None and is_foreign(message):
            try:
                return self._foreign(message)
            except Unreadable:
                return "", None
        name, schema = self._known.get(message[:10], ("", None))
        if schema is None:
            return "", None
        body = BytesIO(message[10:])
        try:
            record = fastavro.schemaless_reader(body, schema, None)
        except Exception:  # whatever the bytes provoke
            return "", None
        return (name, cast(Record, record)) if not body.read(1) else ("", None)


def recount(
    around: Surroundings, audit: Audit, books: Mapping[int, Conservation], progress: Progress
) -> list[Recounted]:
    """Return every partition of the last look, and what a second account says of it.

    Raises:
        BadInput: the log no longer has its beginning: what came before cannot be recounted.
        ServerFailed: a server does not answer.

    """
    for number, (first, _) in enumerate(audit.ends):
        if first:
            raise BadInput(
                f"partition {number}: the log begins at offset {first}: claims and sequences"
                " before it cannot be recounted; leave --deep away"
            )
    with around.database.session("recount") as connection:
        facts = KnownFacts.of(
            (fact.serial, fact.id, fact.kind.value, fact.body)
            for fact in connection.read_facts(0, audit.stock.fact_head)
        )
        rows = connection.ticks_from(1, _ALL_TICKS)
    ticks = {row.serial: (row.time, row.fact_position) for row in rows}
    schemas, total, read, found = Schemas(around.settings.registry), 0, 0, []
    total = sum(end for _, end in audit.ends)
    for number, (_, end) in enumerate(audit.ends):
        one, beyond = Recount(number, facts, ticks), 0
        booked = audit.stock.cursor(number).offset
        for record in read_range(around.kafka, usage_log(around.stack), number, 0, end):
            if record.offset <= booked:
                _feed(one, schemas, record)
            else:
                beyond += 1 if record.event_count is None else record.event_count
            read += 1
            if read % 500 == 0:
                progress(read, total)
        found.append(Recounted(books[number], _account(one, beyond), one.disagreeing))
    progress(total, total)
    return found


def _feed(one: Recount, schemas: Schemas, record: LogRecord) -> None:
    name, opened = schemas.read(record.value)
    digest = blake2b(record.value, digest_size=16).digest()
    one.feed(record.offset, record.event_count, name, opened, digest)


def _account(one: Recount, beyond: int) -> Conservation:
    tally = one.tally
    return Conservation(
        partition=one.partition,
        offered=tally.offered + beyond,
        billed=tally.billed,
        duplicate=tally.duplicate,
        conflict=tally.conflict,
        late=tally.late,
        rejected=tally.rejected,
        pending=beyond + tally.unpaid,
    )
